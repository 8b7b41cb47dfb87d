//! What goes back to the client, in RouterOS' words.

use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body; `None` is an empty one.
    pub body: Option<Value>,
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: Value) -> Self {
        Self { status: 200, body: Some(body) }
    }

    /// A command that did its work silently.
    pub fn done() -> Self {
        Self::ok(json!([]))
    }

    /// 201 with the created row.
    pub fn created(body: Value) -> Self {
        Self { status: 201, body: Some(body) }
    }

    /// 204.
    pub fn nothing() -> Self {
        Self { status: 204, body: None }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// RouterOS' words, if it says any.
    pub detail: Option<String>,
}

impl Refusal {
    /// 400 with words.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self { status: 400, detail: Some(detail.into()) }
    }

    /// 400 `failure: …`.
    pub fn failure(why: impl std::fmt::Display) -> Self {
        Self::bad(format!("failure: {why}"))
    }

    /// 404.
    pub fn not_found() -> Self {
        Self { status: 404, detail: None }
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self { status: 401, detail: None }
    }

    /// As an answer.
    pub fn to_answer(&self) -> Answer {
        let message = match self.status {
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            406 => "Not Acceptable",
            413 => "Request Entity Too Large",
            415 => "Unsupported Media Type",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let mut body = json!({"error": self.status, "message": message});
        if let Some(detail) = &self.detail {
            body["detail"] = json!(detail);
        }
        Answer { status: self.status, body: Some(body) }
    }
}
