//! One request at a time through one pool: bounded, with a deadline, never repeated.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::router::RouterFault;
use reqwest::{Certificate, Method};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::wire::{Wire, WireAnswer, WireRequest};
use crate::{answer, fault};

/// Bytes of an answer.
const ANSWER_LIMIT: usize = 64 << 20;

/// The command that takes as long as a download does.
const SLOW: &str = "/tool/fetch";

/// A password that prints as stars.
#[derive(Clone, Default)]
pub struct Password(String);

impl Password {
    /// As it is sent.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Keeps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// How to reach the device.
#[derive(Debug, Clone)]
pub struct RestOptions {
    /// Such as `https://192.168.200.1/rest`.
    pub base_url: String,
    /// RouterOS user.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// PEM of the authority the device's certificate must come from.
    pub ca_pem: Option<Vec<u8>>,
    /// Take any certificate.
    pub insecure: bool,
    /// Requests at the same time.
    pub max_in_flight: usize,
    /// Longest time of a short command.
    pub timeout: Duration,
    /// Longest time of a command that may unpack an image.
    pub long_timeout: Duration,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            base_url: "https://192.168.88.1/rest".into(),
            user: "admin".into(),
            password: Password::default(),
            ca_pem: None,
            insecure: false,
            max_in_flight: 2,
            timeout: Duration::from_secs(10),
            long_timeout: Duration::from_secs(70),
        }
    }
}

/// HTTP to a real device.
pub struct HttpWire {
    http: reqwest::Client,
    options: RestOptions,
    room: Semaphore,
    /// The place of a download: one at a time, beside the short requests.
    slow_room: Semaphore,
}

impl HttpWire {
    pub fn new(options: RestOptions) -> Result<Self, String> {
        let http = http_client(&options)?;
        let room = Semaphore::new(options.max_in_flight.max(1));
        Ok(Self { http, options, room, slow_room: Semaphore::new(1) })
    }
}

/// An HTTP client for the device.
pub fn http_client(options: &RestOptions) -> Result<reqwest::Client, String> {
    // The HTTP client insists on knowing which library does TLS, even without TLS. Whoever said it first is right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .pool_max_idle_per_host(options.max_in_flight)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // Well inside the time of a request: what ends while connecting was not sent, what ends later may have been.
        .connect_timeout(Duration::from_secs(5).min(options.timeout / 2))
        // What a cut network holds back is not delivered when nobody waits for the answer any more.
        .tcp_user_timeout(Duration::from_secs(5).min(options.timeout / 2));
    if options.base_url.starts_with("https:") {
        // The roots are said, not looked for: a device's certificate is never one of the public authorities'.
        let mut roots = Vec::new();
        if let Some(pem) = &options.ca_pem {
            roots =
                Certificate::from_pem_bundle(pem).map_err(|error| format!("the device's CA is not PEM: {error}"))?;
        }
        builder = builder.tls_certs_only(roots).tls_danger_accept_invalid_certs(options.insecure);
    }
    builder.build().map_err(|error| format!("the HTTP client cannot be made: {error}"))
}

#[async_trait]
impl Wire for HttpWire {
    async fn exchange(&self, request: WireRequest<'_>) -> Result<WireAnswer, RouterFault> {
        let operation = request.operation();
        let mutating = request.method != Method::GET;
        let room = if request.slow { &self.slow_room } else { &self.room };
        let waiting = tokio::time::timeout(request.timeout, room.acquire()).await;
        let _place = match waiting {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => {
                let detail = "other requests to the device take too long".to_owned();
                return Err(RouterFault::Overloaded { operation, detail });
            }
        };
        let url = format!("{}{}", self.options.base_url.trim_end_matches('/'), request.path);
        let mut sending = self
            .http
            .request(request.method, url)
            .basic_auth(&self.options.user, Some(self.options.password.text()))
            .header("accept", "application/json")
            .timeout(request.timeout);
        if !request.query.is_empty() {
            sending = sending.query(request.query);
        }
        if let Some(body) = request.body {
            // Exactly this media type: some releases compare it literally.
            sending = sending.header("content-type", "application/json").body(body.to_string());
        }
        let started = tokio::time::Instant::now();
        let answer = sending.send().await.map_err(|error| fault::of_transport(&operation, mutating, &error))?;
        let status = answer.status().as_u16();
        let body = read_body(answer, &operation, mutating).await?;
        tracing::debug!(%operation, status, took = ?started.elapsed(), "device");
        Ok(WireAnswer { status, body })
    }
}

/// The verbs of RouterOS over a wire.
#[derive(Clone)]
pub struct Client {
    wire: Arc<dyn Wire>,
    timeout: Duration,
    long_timeout: Duration,
}

impl Client {
    pub fn new(options: RestOptions) -> Result<Self, String> {
        let (timeout, long_timeout) = (options.timeout, options.long_timeout);
        Ok(Self { wire: Arc::new(HttpWire::new(options)?), timeout, long_timeout })
    }

    /// Over another wire than HTTP, with the usual times.
    pub fn over(wire: Arc<dyn Wire>) -> Self {
        let RestOptions { timeout, long_timeout, .. } = RestOptions::default();
        Self { wire, timeout, long_timeout }
    }

    /// `GET <menu>` with filters; rows that have an id and one of `marks`, each as `decode` reads it. Right after boot a device
    /// may answer with another menu's rows.
    pub async fn list<Row>(
        &self,
        menu: &str,
        filters: &[(&str, &str)],
        marks: &[&str],
        decode: impl Fn(&Value) -> Row,
    ) -> Result<Vec<Row>, RouterFault> {
        let bytes = self.exchange(Method::GET, menu, filters, None, self.timeout).await?;
        answer::rows(&bytes, marks, decode)
            .map_err(|detail| RouterFault::Gibberish { operation: format!("GET {menu}"), detail })
    }

    /// `GET <menu>` of a settings menu; an object.
    pub async fn settings(&self, menu: &str) -> Result<Value, RouterFault> {
        let operation = format!("GET {menu}");
        let value = self.send(Method::GET, menu, &[], None, self.timeout).await?;
        if value.is_object() {
            Ok(value)
        } else {
            Err(RouterFault::Gibberish { operation, detail: "an object was expected".into() })
        }
    }

    /// `POST <menu>/<command>`.
    pub async fn command(&self, path: &str, body: Value) -> Result<Value, RouterFault> {
        self.send(Method::POST, path, &[], Some(body), self.timeout).await
    }

    /// The same for one that takes as long as a download does.
    pub async fn slow_command(&self, path: &str, body: Value) -> Result<Value, RouterFault> {
        self.send(Method::POST, path, &[], Some(body), self.long_timeout).await
    }

    /// `POST <menu>/add`; the new row's id. `long` for what may unpack an image.
    pub async fn add(&self, menu: &str, body: Value, long: bool) -> Result<String, RouterFault> {
        let path = format!("{menu}/add");
        let timeout = if long { self.long_timeout } else { self.timeout };
        let answer = self.send(Method::POST, &path, &[], Some(body), timeout).await?;
        match answer.get("ret").and_then(Value::as_str) {
            Some(id) => Ok(id.to_owned()),
            // It said yes and not which: the row exists, the caller has to look for it.
            None => Err(RouterFault::ReplyLost { operation: format!("POST {path}"), cause: "no id came back".into() }),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
        timeout: Duration,
    ) -> Result<Value, RouterFault> {
        let operation = format!("{method} {path}");
        let bytes = self.exchange(method, path, query, body, timeout).await?;
        if bytes.is_empty() {
            return Ok(Value::Array(Vec::new()));
        }
        answer::value(&bytes).map_err(|error| RouterFault::Gibberish { operation, detail: error.to_string() })
    }

    /// The body of an answer that is no refusal.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
        timeout: Duration,
    ) -> Result<Vec<u8>, RouterFault> {
        let mutating = method != Method::GET;
        let slow = path == SLOW;
        let request = WireRequest { method, path, query, body: body.as_ref(), timeout, slow };
        let operation = request.operation();
        let WireAnswer { status, body } = self.wire.exchange(request).await?;
        if (200..300).contains(&status) { Ok(body) } else { Err(fault::of_answer(&operation, mutating, status, &body)) }
    }
}

async fn read_body(mut answer: reqwest::Response, operation: &str, mutating: bool) -> Result<Vec<u8>, RouterFault> {
    let announced = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(announced.min(ANSWER_LIMIT));
    while let Some(chunk) = answer.chunk().await.map_err(|error| fault::of_transport(operation, mutating, &error))? {
        if bytes.len() + chunk.len() > ANSWER_LIMIT {
            let detail = format!("the answer is larger than {ANSWER_LIMIT} bytes");
            return Err(RouterFault::Gibberish { operation: operation.to_owned(), detail });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_shows() {
        let options = RestOptions { password: Password::new("s3cret"), ..RestOptions::default() };
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}
