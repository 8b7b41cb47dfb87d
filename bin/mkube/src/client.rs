//! `mkube apply`, `get`, `delete`, `logs`: a small client for people without kubectl.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::{Table, presets};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::{ApplyArgs, DeleteArgs, GetArgs, LogsArgs, OutputFormat, ServerArgs};
use crate::failure::{FAILED, Failure, INTERNAL, UNAVAILABLE};
use crate::{images, kubeconfig, volumes};

/// Longest wait for an answer that is not a stream.
const PATIENCE: Duration = Duration::from_secs(30);
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// A server's API.
pub struct Api {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// A resource as discovery tells it.
struct Resource {
    /// `/api/v1` or `/apis/<group>/<version>`.
    prefix: String,
    plural: String,
    singular: String,
    namespaced: bool,
}

impl Resource {
    fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = self.prefix.clone();
        if let (true, Some(namespace)) = (self.namespaced, namespace) {
            path += &format!("/namespaces/{namespace}");
        }
        path += &format!("/{}", self.plural);
        if let Some(name) = name {
            path += &format!("/{name}");
        }
        path
    }
}

/// Runs `work` on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(INTERNAL, error))?.block_on(work)
}

impl Api {
    /// The server asked for, or the one of the kubeconfig here, or the usual one.
    pub fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let here = || kubeconfig::server(Path::new(".mkube/kubeconfig"));
        let base = args.server.clone().or_else(here).unwrap_or_else(|| "http://127.0.0.1:8082".to_owned());
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()
            .map_err(|error| Failure::new(INTERNAL, error))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token: args.token.clone(), http })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        request.send().await.map_err(|error| {
            let failure = Failure::new(UNAVAILABLE, anyhow::Error::new(error).context("the server cannot be reached"));
            failure.hint(format!("is mkube running at {}? --server or MKUBE_SERVER name another one", self.base))
        })
    }

    /// A JSON answer with its code; refusals are answers too.
    async fn json(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        self.json_within(PATIENCE, request).await
    }

    async fn json_within(
        &self,
        patience: Duration,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Value), Failure> {
        let answer = self.send(request.timeout(patience)).await?;
        for warning in answer.headers().get_all("warning") {
            // A number and an agent stand before the text.
            let text = warning.to_str().unwrap_or_default();
            eprintln!("warning: {}", text.splitn(3, ' ').nth(2).unwrap_or(text));
        }
        let code = answer.status();
        let text = answer.text().await.map_err(|error| Failure::new(FAILED, error))?;
        let body = serde_json::from_str(&text).unwrap_or_else(|_| json!({"message": text.trim()}));
        Ok((code, body))
    }

    /// A JSON answer that is not a refusal.
    pub async fn get_json(&self, path: &str, accept: &str) -> Result<Value, Failure> {
        let answer = self.json(self.request(Method::GET, path).header("accept", accept)).await?;
        accepted(answer)
    }

    /// A text, whatever its code.
    pub async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.send(self.request(Method::GET, path).timeout(PATIENCE)).await?;
        answer.text().await.map_err(|error| Failure::new(FAILED, error))
    }

    /// A merge patch that is not refused.
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::PATCH, path).header("content-type", "application/merge-patch+json");
        accepted(self.json(request.body(patch.to_string())).await?)
    }

    /// The JSON answer to an order without a body, for which one waits so long.
    pub async fn post_json(&self, path: &str, patience: Duration) -> Result<Value, Failure> {
        accepted(self.json_within(patience, self.request(Method::POST, path)).await?)
    }

    async fn resources(&self) -> Result<Vec<(String, Value)>, Failure> {
        let mut found = vec![("/api/v1".to_owned(), self.get_json("/api/v1", "application/json").await?)];
        let groups = self.get_json("/apis", "application/json").await?;
        for group in groups["groups"].as_array().into_iter().flatten() {
            let Some(version) = group.pointer("/preferredVersion/groupVersion").and_then(Value::as_str) else {
                continue;
            };
            let prefix = format!("/apis/{version}");
            let list = self.get_json(&prefix, "application/json").await?;
            found.push((prefix, list));
        }
        Ok(found)
    }

    async fn find(&self, wanted: impl Fn(&str, &Value) -> bool) -> Result<Option<Resource>, Failure> {
        for (prefix, list) in self.resources().await? {
            let all = list["resources"].as_array().cloned().unwrap_or_default();
            let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
            let plain = |one: &&Value| !text(one, "name").contains('/');
            if let Some(one) = all.iter().filter(plain).find(|one| wanted(&prefix, one)) {
                return Ok(Some(Resource {
                    plural: text(one, "name"),
                    singular: text(one, "singularName"),
                    namespaced: one["namespaced"] == true,
                    prefix,
                }));
            }
        }
        Ok(None)
    }

    async fn named(&self, word: &str) -> Result<Resource, Failure> {
        let word = word.to_ascii_lowercase();
        let matches = |_: &str, one: &Value| {
            let short =
                one["shortNames"].as_array().is_some_and(|names| names.iter().any(|name| name == word.as_str()));
            short || one["name"] == word.as_str() || one["singularName"] == word.as_str()
        };
        let unknown = || Failure::text(FAILED, format!("the server has no resource type {word:?}"));
        self.find(matches).await?.ok_or_else(unknown)
    }
}

fn accepted((code, body): (StatusCode, Value)) -> Result<Value, Failure> {
    if code.is_success() {
        return Ok(body);
    }
    let message = body["message"].as_str().unwrap_or("no reason was given").to_owned();
    Err(Failure::text(FAILED, format!("{message} ({code})")))
}

/// `mkube apply`.
pub fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    let mut documents = Vec::new();
    for path in &args.filename {
        let read = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            std::fs::read_to_string(path)
        };
        let bad = |cause: String| Failure::text(FAILED, format!("{}: {cause}", path.display()));
        let text = read.map_err(|error| bad(error.to_string()))?;
        documents.extend(mkube_manifests::parse_documents(&text).map_err(|fault| bad(fault.to_string()))?);
    }
    let api = Api::new(&args.server)?;
    block_on(async {
        for document in documents.into_iter().filter(|document| !document.is_null()) {
            apply_one(&api, document, &args.namespace).await?;
        }
        Ok(())
    })
}

async fn apply_one(api: &Api, document: Value, namespace: &str) -> Result<(), Failure> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    let prefix = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
    let found = api.find(|at, one| at == prefix && one["kind"] == kind.as_str()).await?;
    let resource = found
        .ok_or_else(|| Failure::text(FAILED, format!("the server has no kind {kind:?} in version {api_version:?}")))?;
    let own = text("/metadata/namespace");
    let namespace = if own.is_empty() { namespace } else { &own };
    let create = api.request(Method::POST, &resource.path(Some(namespace), None));
    let (code, body) = api.json(create.json(&document)).await?;
    let done = if code == StatusCode::CONFLICT {
        let patch = api.request(Method::PATCH, &resource.path(Some(namespace), Some(&name)));
        let patch = patch.header("content-type", "application/merge-patch+json").body(document.to_string());
        let before = api.get_json(&resource.path(Some(namespace), Some(&name)), "application/json").await?;
        let after = accepted(api.json(patch).await?)?;
        let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
        if version(&before) == version(&after) { "unchanged" } else { "configured" }
    } else {
        accepted((code, body))?;
        "created"
    };
    println!("{}/{name} {done}", resource.singular);
    Ok(())
}

/// `mkube get`.
pub fn get(args: &GetArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        if images::is_meant(&args.resource) {
            return images::get(&api, args).await;
        }
        if volumes::is_meant(&args.resource) {
            return volumes::get(&api, args).await;
        }
        let resource = api.named(&args.resource).await?;
        let namespace = (!args.all_namespaces).then_some(args.namespace.as_str());
        let path = resource.path(namespace, args.name.as_deref());
        match args.output {
            OutputFormat::Json => println!("{:#}", api.get_json(&path, "application/json").await?),
            OutputFormat::Yaml => {
                print!("{}", mkube_manifests::to_yaml(&api.get_json(&path, "application/json").await?))
            }
            OutputFormat::Table | OutputFormat::Wide => {
                let table = api.get_json(&path, TABLE).await?;
                print_table(&table, args.output == OutputFormat::Wide, args.all_namespaces && resource.namespaced);
            }
        }
        Ok(())
    })
}

/// Columns without lines, as kubectl prints them.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn print_table(answer: &Value, wide: bool, with_namespace: bool) {
    let columns = answer["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let shown: Vec<usize> = (0..columns.len()).filter(|index| wide || columns[*index]["priority"] == 0).collect();
    let rows = answer["rows"].as_array().cloned().unwrap_or_default();
    if rows.is_empty() {
        eprintln!("No resources found");
        return;
    }
    let mut table = plain_table();
    let heading = |index: &usize| columns[*index]["name"].as_str().unwrap_or_default().to_uppercase();
    let first = with_namespace.then(|| "NAMESPACE".to_owned());
    table.set_header(first.into_iter().chain(shown.iter().map(heading)).collect::<Vec<_>>());
    for row in &rows {
        let cell = |index: &usize| match &row["cells"][*index] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let namespace =
            row.pointer("/object/metadata/namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
        let first = with_namespace.then_some(namespace);
        table.add_row(first.into_iter().chain(shown.iter().map(cell)).collect::<Vec<_>>());
    }
    println!("{table}");
}

/// `mkube delete`.
pub fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    block_on(async {
        let resource = api.named(&args.resource).await?;
        for name in &args.names {
            let request = api.request(Method::DELETE, &resource.path(Some(&args.namespace), Some(name)));
            accepted(api.json(request).await?)?;
            println!("{}/{name} deleted", resource.singular);
        }
        Ok(())
    })
}

/// `mkube logs`.
pub fn logs(args: &LogsArgs) -> Result<(), Failure> {
    let api = Api::new(&args.server)?;
    let path = format!("/api/v1/namespaces/{}/pods/{}/log", args.namespace, args.pod);
    let mut query: Vec<(&str, String)> = Vec::new();
    query.extend(args.container.clone().map(|name| ("container", name)));
    query.extend(args.tail.map(|lines| ("tailLines", lines.to_string())));
    query.extend(args.since.map(|since| ("sinceSeconds", since.as_secs().max(1).to_string())));
    for (name, on) in [("follow", args.follow), ("previous", args.previous), ("timestamps", args.timestamps)] {
        query.extend(on.then(|| (name, "true".to_owned())));
    }
    block_on(async {
        let mut answer = api.send(api.request(Method::GET, &path).query(&query)).await?;
        if !answer.status().is_success() {
            let code = answer.status();
            let text = answer.text().await.unwrap_or_default();
            let body = serde_json::from_str(&text).unwrap_or_else(|_| json!({"message": text.trim()}));
            return accepted((code, body)).map(drop);
        }
        let mut out = std::io::stdout().lock();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::new(FAILED, error))? {
            let written = out.write_all(&chunk).and_then(|()| out.flush());
            if written.is_err() {
                // Whoever read it has seen enough.
                return Ok(());
            }
        }
        Ok(())
    })
}
