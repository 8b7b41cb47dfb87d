//! What a failed call means. RouterOS is to be read by its words rather than by its status codes.

use mkube_model::neighbours::router::RouterFault;
use mkube_model::secret::{MASK, Secret};
use serde_json::Value;

/// A refusal of the device.
pub fn of_answer(operation: &str, mutating: bool, status: u16, body: &[u8]) -> RouterFault {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let text = |field: &str| parsed.get(field).and_then(Value::as_str).unwrap_or_default();
    let detail = if text("detail").is_empty() { text("message") } else { text("detail") };
    let detail = if detail.is_empty() { format!("HTTP status {status}") } else { detail.to_owned() };
    let operation = operation.to_owned();
    let says = |words: &[&str]| words.iter().any(|word| detail.contains(word));
    if status == 401 {
        return RouterFault::Unauthorized { operation };
    }
    if status == 404 || says(&["no such item"]) {
        return RouterFault::NotFound { operation };
    }
    if says(&["Session closed", "action timed out"]) {
        return lost_or_not_done(operation, mutating, detail);
    }
    if status == 429 || status == 503 || says(&["too many sessions", "max sessions"]) {
        return RouterFault::Overloaded { operation, detail };
    }
    if says(&["not enough permissions", "not allowed by device-mode", "no such command"]) {
        return RouterFault::Refused { operation, detail };
    }
    // A veth or root directory that is being given up answers like one that does not exist.
    let passes = [
        "cannot remove running",
        "root-dir overlap",
        "any value of interface",
        "in use by container",
        "already running",
        "is running",
        "not running",
        "not stopped",
        "extracting",
    ];
    if says(&passes) {
        return RouterFault::WrongState { operation, detail };
    }
    if says(&["already"]) {
        return RouterFault::AlreadyExists { operation, detail };
    }
    if status >= 500 {
        return lost_or_not_done(operation, mutating, detail);
    }
    RouterFault::Refused { operation, detail }
}

/// The same fault, with `***` where the device repeats what must not be read.
pub fn without(mut fault: RouterFault, secret: &Secret) -> RouterFault {
    match &mut fault {
        RouterFault::AlreadyExists { detail: text, .. }
        | RouterFault::WrongState { detail: text, .. }
        | RouterFault::Refused { detail: text, .. }
        | RouterFault::Overloaded { detail: text, .. }
        | RouterFault::Gibberish { detail: text, .. }
        | RouterFault::NotDriving { why: text, .. }
        | RouterFault::Unreachable { cause: text, .. }
        | RouterFault::ReplyLost { cause: text, .. } => *text = text.replace(secret.expose(), MASK),
        RouterFault::Unauthorized { .. } | RouterFault::NotFound { .. } => {}
    }
    fault
}

/// A call that got no answer at all.
pub fn of_transport(operation: &str, mutating: bool, error: &reqwest::Error) -> RouterFault {
    let operation = operation.to_owned();
    let cause = chain(error);
    // Nothing was sent when the connection itself failed.
    if error.is_connect() || error.is_builder() {
        return RouterFault::Unreachable { operation, cause };
    }
    lost_or_not_done(operation, mutating, cause)
}

/// A question whose answer is lost did nothing; a command may have been done.
fn lost_or_not_done(operation: String, mutating: bool, cause: String) -> RouterFault {
    if mutating { RouterFault::ReplyLost { operation, cause } } else { RouterFault::Unreachable { operation, cause } }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::neighbours::router::Outcome;

    fn fault(mutating: bool, status: u16, detail: &str) -> RouterFault {
        let body = serde_json::json!({"error": status, "message": "Bad Request", "detail": detail}).to_string();
        of_answer("POST /x", mutating, status, body.as_bytes())
    }

    #[test]
    fn words_decide_what_a_refusal_means() {
        use RouterFault as F;
        assert!(matches!(fault(true, 400, "failure: already have interface with such name"), F::AlreadyExists { .. }));
        assert!(matches!(fault(true, 400, "failure: mount with same dst already exists"), F::AlreadyExists { .. }));
        assert!(matches!(fault(true, 400, "failure: cannot remove running"), F::WrongState { .. }));
        assert!(matches!(fault(true, 400, "failure: root-dir overlap"), F::WrongState { .. }));
        assert!(matches!(fault(true, 400, "failure: already running"), F::WrongState { .. }));
        assert!(matches!(fault(true, 400, "failure: root-dir already exists"), F::AlreadyExists { .. }));
        assert!(matches!(fault(true, 400, "input does not match any value of interface"), F::WrongState { .. }));
        assert!(matches!(fault(true, 400, "input does not match any value of file"), F::Refused { .. }));
        assert!(matches!(fault(true, 500, "not enough permissions (9)"), F::Refused { .. }));
        assert!(matches!(fault(true, 500, "not allowed by device-mode"), F::Refused { .. }));
        assert!(matches!(fault(true, 400, "unknown parameter nosuch"), F::Refused { .. }));
        assert!(matches!(of_answer("GET /x", false, 401, b"{}"), F::Unauthorized { .. }));
        assert!(matches!(of_answer("GET /x", false, 404, b""), F::NotFound { .. }));
    }

    #[test]
    fn an_address_with_a_token_is_not_repeated() {
        let url = Secret::new("http://10.0.0.1/offers/abc");
        let told = without(fault(true, 400, "failure: cannot fetch http://10.0.0.1/offers/abc now"), &url).to_string();
        assert!(!told.contains("abc") && told.contains("cannot fetch ***"), "{told}");
    }

    #[test]
    fn a_lost_reply_leaves_the_outcome_open_only_for_commands() {
        for (status, detail) in [(400, "Session closed"), (500, "oops"), (502, "")] {
            assert_eq!(fault(true, status, detail).outcome(), Outcome::Unknown, "{status} {detail}");
            assert_eq!(fault(false, status, detail).outcome(), Outcome::NotDone, "{status} {detail}");
        }
    }
}
