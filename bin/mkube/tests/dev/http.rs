//! HTTP with JSON, for stories that read from top to bottom.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{SOON, eventually};
use tokio::time::Instant;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Only the first story installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Somebody who answers HTTP.
#[derive(Clone)]
pub struct Http {
    base: String,
    user: Option<(String, String)>,
    client: reqwest::Client,
}

/// Status and body.
pub type Answer = (u16, String);

impl Http {
    /// At `base`, as this user.
    pub fn new(base: &str, user: Option<(&str, &str)>) -> Self {
        runtime();
        let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(2)).no_proxy().build();
        Self {
            base: base.to_owned(),
            user: user.map(|(name, password)| (name.to_owned(), password.to_owned())),
            client: client.expect("a client"),
        }
    }

    fn request(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(password));
        }
        if let Some((kind, text)) = body {
            request = request.header("content-type", kind).body(text.to_owned());
        }
        request
    }

    /// One call; an error when there was no answer.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let text = body.map(Value::to_string);
        self.send(method, path, text.as_deref().map(|text| ("application/json", text)))
    }

    /// The same with a body of this type.
    pub fn send(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Result<Answer, String> {
        let request = self.request(method, path, body);
        runtime().block_on(async {
            let work = async {
                let answer = request.send().await?;
                let status = answer.status().as_u16();
                Ok::<_, reqwest::Error>((status, answer.text().await?))
            };
            match tokio::time::timeout(PATIENCE, work).await {
                Ok(answer) => answer.map_err(|error| format!("{error:?}")),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            }
        })
    }

    /// One call that must succeed.
    #[track_caller]
    pub fn good(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        match self.call(method, path, body) {
            Ok((status, text)) if (200..300).contains(&status) => serde_json::from_str(&text).unwrap_or(json!(text)),
            other => panic!("{method} {path}: {other:?}"),
        }
    }

    /// GET that must succeed.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.good("GET", path, None)
    }

    /// POST that must succeed.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.good("POST", path, Some(body))
    }

    /// Merge patch that must succeed.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Value {
        let request = self.request("PATCH", path, Some(("application/merge-patch+json", &body.to_string())));
        let answer = runtime().block_on(async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        });
        match answer {
            Ok((200, text)) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("PATCH {path}: {other:?}"),
        }
    }

    /// The text of a page, or why there is none.
    pub fn page(&self, path: &str) -> Result<String, String> {
        match self.call("GET", path, None) {
            Ok((200, text)) => Ok(text),
            Ok((status, text)) => Err(format!("{status}: {text}")),
            Err(why) => Err(why),
        }
    }

    /// A body as it comes; the end of it is `None`.
    #[track_caller]
    pub fn stream(&self, path: &str) -> Stream {
        let request = self.request("GET", path, None);
        let answer = runtime().block_on(request.send()).expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "GET {path}");
        Stream { answer, read: String::new() }
    }

    /// Waits until the API says that all is well.
    #[track_caller]
    pub fn wait_ready(&self) {
        eventually("readiness", SOON, || self.page("/readyz?verbose"));
    }

    /// Creates a pod.
    #[track_caller]
    pub fn create(&self, pod: &Value) -> Value {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
        self.post(&format!("/api/v1/namespaces/{namespace}/pods"), pod)
    }

    /// A pod of the default namespace.
    #[track_caller]
    pub fn pod(&self, name: &str) -> Value {
        self.get(&path_of(name))
    }

    /// Deletes a pod.
    #[track_caller]
    pub fn delete(&self, name: &str) {
        self.good("DELETE", &path_of(name), None);
    }

    /// Waits until a pod is as wanted.
    #[track_caller]
    pub fn wait_pod(&self, name: &str, what: &str, longest: Duration, as_wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("pod {name}: {what}"), longest, || {
            let (status, text) = self.call("GET", &path_of(name), None)?;
            if status != 200 {
                return Err(format!("{status}: {text}"));
            }
            let pod: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if as_wanted(&pod) { Ok(pod) } else { Err(pod["status"].to_string()) }
        })
    }

    /// Waits until a pod and all its containers run.
    #[track_caller]
    pub fn wait_running(&self, name: &str) -> Value {
        self.wait_pod(name, "running", SOON, is_running)
    }

    /// Waits until a pod is gone.
    #[track_caller]
    pub fn wait_gone(&self, name: &str) {
        eventually(&format!("the end of pod {name}"), SOON, || match self.call("GET", &path_of(name), None) {
            Ok((404, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn path_of(name: &str) -> String {
    match name.split_once('/') {
        Some((namespace, name)) => format!("/api/v1/namespaces/{namespace}/pods/{name}"),
        None => format!("/api/v1/namespaces/default/pods/{name}"),
    }
}

/// Whether a pod is Running and Ready.
pub fn is_running(pod: &Value) -> bool {
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    pod["status"]["phase"] == "Running"
        && pod["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready))
}

/// A body that is read piece by piece.
pub struct Stream {
    answer: reqwest::Response,
    /// Everything so far.
    pub read: String,
}

impl Stream {
    /// Reads on until `text` was seen.
    #[track_caller]
    pub fn until(&mut self, text: &str, longest: Duration) {
        self.until_any(&[text], longest);
    }

    /// Reads on until one of these was seen.
    #[track_caller]
    pub fn until_any(&mut self, texts: &[&str], longest: Duration) {
        let started = Instant::now();
        while !texts.iter().any(|text| self.read.contains(text)) {
            let left = longest.saturating_sub(started.elapsed());
            assert!(self.next(left), "the stream ended before {texts:?}: {:?}", self.read);
        }
    }

    /// Reads on until the end.
    #[track_caller]
    pub fn rest(&mut self, longest: Duration) -> &str {
        let started = Instant::now();
        while self.next(longest.saturating_sub(started.elapsed())) {}
        &self.read
    }

    #[track_caller]
    fn next(&mut self, longest: Duration) -> bool {
        let chunk = runtime().block_on(async { tokio::time::timeout(longest, self.answer.chunk()).await });
        match chunk {
            Ok(Ok(Some(bytes))) => {
                self.read.push_str(&String::from_utf8_lossy(&bytes));
                true
            }
            Ok(Ok(None)) => false,
            Ok(Err(error)) => panic!("the stream broke: {error:?}; read so far: {:?}", self.read),
            Err(_) => panic!("nothing came in time; read so far: {:?}", self.read),
        }
    }
}
