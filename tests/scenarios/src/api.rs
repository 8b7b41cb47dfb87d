//! A thin HTTP client: what was asked stays visible in the test, and nothing is repeated or repaired on the way.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, Response};
use serde_json::Value;

use crate::world::PATIENCE;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, `null` when it is not JSON.
    pub body: Value,
    /// The body as text.
    pub text: String,
}

impl Answer {
    async fn of(response: Response) -> anyhow::Result<Self> {
        let (code, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        Ok(Self { code, headers, body: serde_json::from_str(&text).unwrap_or_default(), text })
    }

    /// Insists on a status, and shows the answer when it is another.
    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    /// Insists on a refusal: code, reason, and a `Status` that says the same.
    #[track_caller]
    pub fn refused(self, code: u16, reason: &str) -> Self {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{}", self.text);
        assert_eq!((&self.body["kind"], &self.body["apiVersion"]), (&"Status".into(), &"v1".into()), "{}", self.text);
        assert_eq!((&self.body["status"], &self.body["code"]), (&"Failure".into(), &code.into()), "{}", self.text);
        self
    }

    /// Insists on a word in the message.
    #[track_caller]
    pub fn saying(self, words: &str) -> Self {
        let message = self.body["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{words:?} is not in {message:?}");
        self
    }

    /// Fields named by the causes of a refusal.
    pub fn fields(&self) -> Vec<&str> {
        let causes = self.body.pointer("/details/causes").and_then(Value::as_array);
        causes.into_iter().flatten().filter_map(|cause| cause["field"].as_str()).collect()
    }

    /// Names of the items of a list.
    pub fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
    }

    /// Texts of all `Warning:` headers.
    pub fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter();
        values.map(|value| value.to_str().unwrap_or_default().to_owned()).collect()
    }

    /// `metadata.resourceVersion`.
    pub fn version(&self) -> &str {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The API of a world.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    client: reqwest::Client,
}

impl Api {
    /// A client of whoever listens there.
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        // Whoever comes first; later ones find it set.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { address, client: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Any request.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.client.request(Method::from_bytes(method.as_bytes())?, self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.into();
        if body.as_bytes().is_none_or(|bytes| !bytes.is_empty()) {
            request = request.body(body);
        }
        Answer::of(request.send().await?).await
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, &[], "").await
    }

    /// GET with an `Accept` header.
    pub async fn get_as(&self, path: &str, accept: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, &[("accept", accept)], "").await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// PATCH with a type of patch: `json`, `merge`, `strategic-merge`, or a whole content type.
    pub async fn patch(&self, path: &str, how: &str, body: &Value) -> anyhow::Result<Answer> {
        let media = if how.contains('/') { how.to_owned() } else { format!("application/{how}-patch+json") };
        self.send("PATCH", path, &[("content-type", &media)], body.to_string()).await
    }

    /// DELETE without a body.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("DELETE", path, &[], "").await
    }

    /// DELETE with `DeleteOptions`.
    pub async fn delete_with(&self, path: &str, options: &Value) -> anyhow::Result<Answer> {
        self.send("DELETE", path, &[("content-type", "application/json")], options.to_string()).await
    }

    /// Opens a watch; the answer's header is there when this returns.
    pub async fn watch(&self, path: &str, accept: &str) -> anyhow::Result<Watch> {
        let response = self.client.get(self.url(path)).header("accept", accept).send().await?;
        anyhow::ensure!(response.status() == 200, "{}: {}", response.status(), response.text().await?);
        Ok(Watch { response, text: Vec::new() })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// An open watch.
pub struct Watch {
    response: Response,
    text: Vec<u8>,
}

impl Watch {
    /// The next event; `None` when the server ended the stream.
    pub async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let chunk =
                tokio::time::timeout(PATIENCE, self.response.chunk()).await.context("the watch is silent")??;
            match chunk {
                Some(chunk) => self.text.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    /// The next event's type and the name of its object; fails when the stream ended.
    pub async fn event(&mut self) -> anyhow::Result<(String, String)> {
        let event = self.next().await?.context("the watch ended")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((text(&event["type"]), text(&event["object"]["metadata"]["name"])))
    }

    /// Whether nothing comes within `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.text.is_empty() && tokio::time::timeout(time, self.response.chunk()).await.is_err()
    }
}
