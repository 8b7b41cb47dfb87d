//! Speaking with a server: requests, answers, and what a person is told when one of them goes wrong.

use std::error::Error as _;
use std::io::Write;
use std::time::Duration;

use reqwest::{Certificate, Identity, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::access::Access;
use crate::cli::ServerArgs;
use crate::failure::{FAILED, Failure, INTERNAL, NOT_PERMITTED, UNAVAILABLE};

/// Longest wait for an answer that is not a stream.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server's API.
pub struct Api {
    access: Access,
    http: reqwest::Client,
}

/// Runs `work` on a runtime of its own.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(INTERNAL, error))?.block_on(work)
}

impl Api {
    /// The server asked for, or the one of a kubeconfig, or the usual one.
    pub fn new(args: &ServerArgs) -> Result<Self, Failure> {
        let access = Access::of(args)?;
        let bad = |what: &str, error: reqwest::Error| {
            Failure::new(FAILED, anyhow::Error::new(error).context(format!("{what} cannot be used")))
        };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .user_agent(concat!("mkube/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .tls_danger_accept_invalid_certs(access.insecure);
        if let Some(ca) = &access.ca {
            let all = Certificate::from_pem_bundle(ca).map_err(|error| bad("the authority's certificate", error))?;
            builder = builder.tls_certs_only(all);
        }
        if let Some(identity) = &access.identity {
            let identity = Identity::from_pem(identity).map_err(|error| bad("the client's certificate", error))?;
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(|error| bad("the settings of the connection", error))?;
        Ok(Self { access, http })
    }

    /// The server's address.
    pub fn server(&self) -> &str {
        &self.access.server
    }

    /// The namespace that is meant: the one asked for, that of the kubeconfig, or `default`.
    pub fn namespace<'a>(&'a self, asked: Option<&'a str>) -> &'a str {
        asked.or(self.access.namespace.as_deref()).unwrap_or("default")
    }

    /// A request that is let in, if anybody is.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.access.server));
        match (&self.access.token, &self.access.password) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some((name, password))) => request.basic_auth(name, Some(password)),
            (None, None) => request,
        }
    }

    /// An answer of any kind.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.not_reached(error))
    }

    fn not_reached(&self, error: reqwest::Error) -> Failure {
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(one) = cause {
            words += &format!(": {one}");
            cause = one.source();
        }
        let hint = hint_of(&words.to_ascii_lowercase(), &self.access.server);
        let what = if error.is_builder() {
            format!("{:?} is no address of a server", self.access.server)
        } else {
            "the server cannot be reached".to_owned()
        };
        Failure::new(UNAVAILABLE, anyhow::Error::new(error).context(what)).hint(hint)
    }

    /// A JSON answer with its code; refusals are answers too.
    pub async fn json(&self, request: RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        self.json_within(PATIENCE, request).await
    }

    /// The same for an answer that takes its time.
    pub async fn json_within(
        &self,
        patience: Duration,
        request: RequestBuilder,
    ) -> Result<(StatusCode, Value), Failure> {
        let answer = self.send(request.timeout(patience)).await?;
        warn(&answer);
        read(answer).await
    }

    /// A JSON answer that is not a refusal.
    pub async fn get_json(&self, path: &str, accept: &str) -> Result<Value, Failure> {
        let answer = self.json(self.request(Method::GET, path).header("accept", accept)).await?;
        self.accepted(answer)
    }

    /// An answer that is not a refusal.
    pub async fn good(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let answer = self.json(request).await?;
        self.accepted(answer)
    }

    /// A text, whatever its code.
    pub async fn get_text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.send(self.request(Method::GET, path).timeout(PATIENCE)).await?;
        answer.text().await.map_err(|error| Failure::new(FAILED, error))
    }

    /// A merge patch that is not refused.
    pub async fn merge_patch(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::PATCH, path).header("content-type", "application/merge-patch+json");
        self.good(request.body(patch.to_string())).await
    }

    /// A JSON patch that is not refused.
    pub async fn json_patch(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        let request = self.request(Method::PATCH, path).header("content-type", "application/json-patch+json");
        self.good(request.body(patch.to_string())).await
    }

    /// The JSON answer to an order without a body, for which one waits so long.
    pub async fn post_json(&self, path: &str, patience: Duration) -> Result<Value, Failure> {
        let answer = self.json_within(patience, self.request(Method::POST, path)).await?;
        self.accepted(answer)
    }

    /// The answer to a text, refusals included.
    pub async fn post_text(
        &self,
        path: &str,
        text: Vec<u8>,
        patience: Duration,
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self.request(Method::POST, path).header("content-type", "application/yaml");
        self.json_within(patience, request.body(text)).await
    }

    /// A stream that was not refused.
    pub async fn stream(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = self.send(request).await?;
        warn(&answer);
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let refusal = read(answer).await?;
        Err(self.accepted(refusal).err().unwrap_or_else(|| Failure::text(FAILED, "the server refused")))
    }

    /// An answer that is passed on as it comes.
    pub async fn download(&self, path: &str, query: &[(&str, String)], out: &mut dyn Write) -> Result<(), Failure> {
        let mut answer = self.stream(self.request(Method::GET, path).query(query)).await?;
        loop {
            let chunk = tokio::time::timeout(PATIENCE, answer.chunk()).await;
            let chunk = chunk.map_err(|_| Failure::text(FAILED, "the server stopped in the middle of its answer"))?;
            match chunk.map_err(|error| Failure::new(FAILED, error))? {
                Some(chunk) => out.write_all(&chunk).map_err(|error| Failure::new(FAILED, error))?,
                None => return out.flush().map_err(|error| Failure::new(FAILED, error)),
            }
        }
    }

    /// The body of an answer that is not a refusal.
    pub fn accepted(&self, (code, body): (StatusCode, Value)) -> Result<Value, Failure> {
        if code.is_success() {
            return Ok(body);
        }
        let words = body["message"].as_str().unwrap_or_default().trim();
        let message = if words.is_empty() { "no reason was given" } else { words };
        let from_api = body["kind"] == "Status" || body.get("results").is_some();
        let failure = |exit| Failure::text(exit, format!("{message} ({code})"));
        Err(match code.as_u16() {
            401 => failure(NOT_PERMITTED).hint("--token, MKUBE_TOKEN or a user in the kubeconfig say who you are"),
            _ if !from_api => {
                let hint =
                    format!("what answers at {} does not look like mkube; --server names another one", self.server());
                let text = if message.len() > 200 { "the answer is no Kubernetes Status" } else { message };
                Failure::text(FAILED, format!("{text} ({code})")).hint(hint)
            }
            403 if message.contains("for host") => {
                failure(FAILED).hint("`mkube dev` answers to the address it listens on, and to no other name")
            }
            429 => failure(FAILED).hint("the server is busy; the same once more will do"),
            503 | 504 => failure(UNAVAILABLE).hint("`mkube status` and /readyz?verbose say what is missing"),
            _ => failure(FAILED),
        })
    }
}

async fn read(answer: Response) -> Result<(StatusCode, Value), Failure> {
    let code = answer.status();
    let text = answer.text().await.map_err(|error| Failure::new(FAILED, error))?;
    let body = serde_json::from_str(&text).unwrap_or_else(|_| json!({"message": text.trim()}));
    Ok((code, body))
}

/// What to try when there was no answer.
fn hint_of(words: &str, server: &str) -> String {
    let any = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    if any(&["unknownissuer", "certificate", "not valid for name", "notvalidforname"]) {
        return "--ca FILE names the authority that signed the server's certificate; the name in --server must be in it".to_owned();
    }
    if any(&["corrupt message", "invalidcontenttype", "wrong version"]) {
        return format!("it does not speak TLS: try {}", server.replacen("https://", "http://", 1));
    }
    if any(&["invalid http version", "message head", "incomplete message", "connection closed before"]) {
        return format!("it may speak TLS: try {}", server.replacen("http://", "https://", 1));
    }
    if any(&["builder error", "relative url", "invalid port", "unsupported"]) {
        return "an address looks like http://192.168.200.2:8082".to_owned();
    }
    if any(&["dns error", "failed to lookup"]) {
        return "the name is not known here; --server or MKUBE_SERVER name another one".to_owned();
    }
    format!("is mkube running at {server}? --server or MKUBE_SERVER name another one")
}

fn warn(answer: &Response) {
    for warning in answer.headers().get_all("warning") {
        // A number and an agent stand before the text.
        let text = warning.to_str().unwrap_or_default();
        let text = text.splitn(3, ' ').nth(2).unwrap_or(text);
        eprintln!("warning: {}", text.trim_matches('"').replace("\\\"", "\""));
    }
}

/// A word as part of a path or a query.
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_leads_to_what_to_try() {
        for (words, hint) in [
            ("tcp connect error: connection refused", "is mkube running at https://x"),
            ("invalid peer certificate: unknownissuer", "--ca FILE"),
            ("received corrupt message of type invalidcontenttype", "try http://x"),
            ("dns error: failed to lookup address information", "not known here"),
        ] {
            assert!(hint_of(words, "https://x").contains(hint), "{words}");
        }
        assert!(hint_of("invalid http version parsed", "http://x").contains("try https://x"));
    }

    #[test]
    fn words_are_encoded_for_paths_and_queries() {
        assert_eq!(encoded("a in (b,c)"), "a%20in%20%28b%2Cc%29");
        assert_eq!(encoded("web-0.x_~"), "web-0.x_~");
    }
}
