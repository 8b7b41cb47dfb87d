//! Kubernetes' `Status`: the one shape of every refusal.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::kinds::Kind;
use crate::problem::Problem;

/// A refusal, with HTTP code and Kubernetes reason.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// CamelCase reason such as `NotFound`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `details`, or null.
    pub details: Value,
    /// Methods that are allowed instead, as the header `Allow` has them; empty where the method was not what is wrong.
    pub allow: Cow<'static, str>,
}

impl Status {
    /// A refusal without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null, allow: Cow::Borrowed("") }
    }

    /// 404 for an object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let resource = kind.resource();
        Self::new(404, "NotFound", format!("{resource} {name:?} not found")).about(kind, name)
    }

    /// 404 for a subresource of an object that is not there.
    pub fn not_found_below(kind: &Kind, name: &str, subresource: &str) -> Self {
        let group = if kind.group.is_empty() { String::new() } else { format!(".{}", kind.group) };
        let message = format!("{}/{subresource}{group} {name:?} not found", kind.plural);
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// 404 for a path.
    pub fn no_such_path() -> Self {
        Self::absent("the server could not find the requested resource")
    }

    /// 404 for what is on no path at all. It has details, which name nothing: kubectl looks there.
    pub fn absent(why: impl Into<String>) -> Self {
        Self { details: json!({}), ..Self::new(404, "NotFound", why) }
    }

    /// 409 on create.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let resource = kind.resource();
        Self::new(409, "AlreadyExists", format!("{resource} {name:?} already exists")).about(kind, name)
    }

    /// 409 on a stale resourceVersion or a failed precondition.
    pub fn conflict(kind: &Kind, name: &str, why: impl std::fmt::Display) -> Self {
        let resource = kind.resource();
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// 409 on a stale resourceVersion, in the words clients look for.
    pub fn stale(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 422 with every problem.
    pub fn invalid(kind: &Kind, name: &str, problems: &[Problem]) -> Self {
        let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
        let list = if let [one] = list.as_slice() { one.clone() } else { format!("[{}]", list.join(", ")) };
        let mut status = Self::new(422, "Invalid", format!("{} {name:?} is invalid: {list}", kind.qualified_kind()));
        status = status.about(kind, name);
        status.details["kind"] = json!(kind.kind);
        status.details["causes"] = problems.iter().map(Problem::to_cause).collect();
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403.
    pub fn forbidden(kind: &Kind, name: &str, why: impl std::fmt::Display) -> Self {
        let resource = kind.resource();
        Self::new(403, "Forbidden", format!("{resource} {name:?} is forbidden: {why}")).about(kind, name)
    }

    /// 410: the resourceVersion is too old to continue from.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415.
    pub fn unsupported_media(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422 for a parameter of the request rather than a field of an object. `options` is such as `CreateOptions`.
    pub fn invalid_option(options: &str, problem: &Problem) -> Self {
        let mut status = Self::new(422, "Invalid", format!("{options}.meta.k8s.io \"\" is invalid: {problem}"));
        status.details = json!({"group": "meta.k8s.io", "kind": options, "causes": [problem.to_cause()]});
        status
    }

    /// 504: a version this server has not given out yet.
    pub fn too_new(version: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {version}, current: {current}");
        let mut status = Self::new(504, "Timeout", message).retry(1);
        status.details["causes"] =
            json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        status
    }

    /// 405 where these methods are allowed.
    pub fn method_not_allowed(allow: impl Into<Cow<'static, str>>) -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { allow: allow.into(), ..Self::new(405, "MethodNotAllowed", message) }
    }

    /// 429: repeat after so many seconds.
    pub fn busy(seconds: u64) -> Self {
        Self::new(429, "TooManyRequests", "too many requests, please try again later").retry(seconds)
    }

    /// 503: repeat after so many seconds.
    pub fn unavailable(message: impl Into<String>, seconds: u64) -> Self {
        Self::new(503, "ServiceUnavailable", message).retry(seconds)
    }

    /// 504: the outcome is unknown.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// Seconds after which repeating makes sense.
    pub fn retry_after(&self) -> Option<u64> {
        self.details.get("retryAfterSeconds").and_then(Value::as_u64)
    }

    /// The body.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            body["details"] = self.details.clone();
        }
        body
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = json!({"name": name, "kind": kind.plural});
        if !kind.group.is_empty() {
            self.details["group"] = json!(kind.group);
        }
        self
    }

    fn retry(mut self, seconds: u64) -> Self {
        self.details = json!({"retryAfterSeconds": seconds});
        self
    }
}
