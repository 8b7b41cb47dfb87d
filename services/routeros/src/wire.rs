//! What carries a request to the device and its answer back: HTTP in life, the state machine in process in tests.

use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::router::RouterFault;
use reqwest::Method;
use serde_json::Value;

/// One request below `/rest`.
#[derive(Debug, Clone)]
pub struct WireRequest<'a> {
    /// Verb.
    pub method: Method,
    /// Such as `/container/add`.
    pub path: &'a str,
    /// Filters.
    pub query: &'a [(&'a str, &'a str)],
    /// JSON body, if there is one.
    pub body: Option<&'a Value>,
    /// Nobody waits longer.
    pub timeout: Duration,
    /// It may take as long as a download does: it has a place of its own, and takes none from short requests.
    pub slow: bool,
}

impl WireRequest<'_> {
    /// Verb and path, for messages.
    pub fn operation(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct WireAnswer {
    /// HTTP status.
    pub status: u16,
    /// Body as sent.
    pub body: Vec<u8>,
}

/// Carries requests. Never repeats one. A fault says whether the device may have seen it.
#[async_trait]
pub trait Wire: Send + Sync {
    /// One request, one answer.
    async fn exchange(&self, request: WireRequest<'_>) -> Result<WireAnswer, RouterFault>;
}
