//! One request: bounded in time and size, never repeated; and what its end means.

use std::time::Duration;

use mkube_model::neighbours::name_servers::{CALL, NameFault};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

/// Bytes of an answer: a page of a thousand records takes less than one in ten of it.
const ANSWER_LIMIT: usize = 8 << 20;
/// Of an error's text, so much is worth reading.
const REASON_LIMIT: usize = 300;
/// Well inside the time of a request: what ends while connecting was not sent.
const CONNECT: Duration = Duration::from_millis(1000);

pub struct Wire {
    http: Client,
}

/// A good answer.
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Wire {
    pub fn new() -> Result<Self, String> {
        // The HTTP client insists on knowing which library does TLS, even without TLS. Whoever said it first is right.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only(Vec::new())
            .connect_timeout(CONNECT)
            // A server that went away with a connection open is noticed by the next request at the latest.
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
        Ok(Self { http })
    }

    pub async fn get(&self, endpoint: &str, path: &str, patience: Duration) -> Result<Value, NameFault> {
        self.send(Method::GET, endpoint, path, None, patience).await.map(|answer| answer.body)
    }

    pub async fn change(
        &self,
        method: Method,
        endpoint: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, NameFault> {
        self.send(method, endpoint, path, body, CALL).await
    }

    async fn send(
        &self,
        method: Method,
        endpoint: &str,
        path: &str,
        body: Option<Value>,
        patience: Duration,
    ) -> Result<Answer, NameFault> {
        let url = format!("{}/api/v1{path}", endpoint.trim_end_matches('/'));
        let mut request = self.http.request(method.clone(), url).timeout(patience);
        if let Some(body) = &body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let started = tokio::time::Instant::now();
        let answer = request.send().await.map_err(|error| of_transport(&error))?;
        let status = answer.status();
        let bytes = read_body(answer).await?;
        tracing::debug!(%method, path, status = status.as_u16(), took = ?started.elapsed(), "name server");
        if !status.is_success() {
            return Err(of_status(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Answer { status, body: Value::Null });
        }
        // It said yes in words nobody understands.
        let body = serde_json::from_slice(&bytes)
            .map_err(|error| NameFault::Unknown(format!("the answer is no JSON: {error}")))?;
        Ok(Answer { status, body })
    }
}

async fn read_body(mut answer: Response) -> Result<Vec<u8>, NameFault> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| NameFault::Unknown(cause(&error)))? {
        if bytes.len() + chunk.len() > ANSWER_LIMIT {
            return Err(NameFault::Unknown(format!("the answer is larger than {ANSWER_LIMIT} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What ended while connecting was not done; anything later may have been.
fn of_transport(error: &reqwest::Error) -> NameFault {
    if error.is_connect() || error.is_builder() {
        NameFault::Away(cause(error))
    } else {
        NameFault::Unknown(cause(error))
    }
}

/// The innermost reason: the outer ones repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { inner.to_string() }
}

fn of_status(status: StatusCode, body: &[u8]) -> NameFault {
    let text: String = String::from_utf8_lossy(body).trim().chars().take(REASON_LIMIT).collect();
    let words = if text.is_empty() { status.to_string() } else { format!("{}: {text}", status.as_u16()) };
    match status.as_u16() {
        // A route that the release does not have says nothing, an id that it does not have says so.
        404 if text.is_empty() => NameFault::Unsupported(words),
        405 => NameFault::Unsupported(words),
        404 => NameFault::NotFound(words),
        409 => NameFault::Exists(words),
        // It may be done when others are.
        408 | 425 | 429 | 500..=599 => NameFault::Unknown(words),
        _ => NameFault::Refused(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_means_what_the_server_may_have_done() {
        let of = |code: u16, body: &str| of_status(StatusCode::from_u16(code).expect("a code"), body.as_bytes());
        assert!(matches!(of(404, ""), NameFault::Unsupported(_)));
        assert!(matches!(of(404, "record not found"), NameFault::NotFound(_)));
        assert!(matches!(of(409, "duplicate zone: gt.lo"), NameFault::Exists(_)));
        assert!(matches!(of(422, "bad IP"), NameFault::Refused(_)));
        assert!(of(500, "internal server error").leaves_doubt(), "it may be done all the same");
        assert!(of(503, "").leaves_doubt());
    }
}
