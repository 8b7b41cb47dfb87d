//! Answers: JSON, `Status`, warnings.

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use futures_util::stream;
use mkube_messages::door::{CallError, NotAnswered};
use mkube_model::status::Status;
use serde_json::Value;

/// Bytes of a body that are passed on at once. Each piece wakes its reader; more than 128 KiB, and the framework keeps no buffer for
/// the connection afterwards.
const PIECE: usize = 160 << 10;

/// A JSON body.
pub fn json(code: u16, body: &Value) -> HttpResponse {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(code).content_type("application/json").body(body.to_string())
}

/// A JSON body that is text already.
pub fn json_text(code: u16, body: String) -> HttpResponse {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(code).content_type("application/json").body(body)
}

/// The same with text that others are sent, too. Much of it is passed on in pieces: a client that reads slowly, or not at all,
/// has no copy of its own.
pub fn json_shared(text: Bytes) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if text.len() <= PIECE {
        return response.body(text);
    }
    let size = text.len() as u64;
    let pieces = stream::unfold(text, async |mut rest| {
        let piece = rest.split_to(PIECE.min(rest.len()));
        (!piece.is_empty()).then_some((Ok::<_, std::io::Error>(piece), rest))
    });
    response.body(SizedStream::new(size, Box::pin(pieces)))
}

/// A refusal.
pub fn refusal(status: &Status) -> HttpResponse {
    let mut response = json(status.code, &status.to_json());
    if let Some(seconds) = status.retry_after() {
        set(&mut response, "retry-after", &seconds.to_string());
    }
    if !status.allow.is_empty() {
        set(&mut response, "allow", &status.allow);
    }
    response
}

/// Adds `Warning:` headers.
pub fn warn(response: &mut HttpResponse, warnings: &[String]) {
    warn_as("-", response, warnings);
}

/// Warnings that one answer has at most: there are clients that read no answer of more than 100 headers.
const MOST_WARNINGS: usize = 50;
/// Letters of each; what is longer repeats what the client sent.
const LONGEST_WARNING: usize = 256;

/// Adds `Warning:` headers of this agent.
pub fn warn_as(agent: &str, response: &mut HttpResponse, warnings: &[String]) {
    let (said, more) = match warnings.len().checked_sub(MOST_WARNINGS) {
        None | Some(0) => (warnings, None),
        Some(more) => (&warnings[..MOST_WARNINGS], Some(format!("and {more} more"))),
    };
    for warning in said.iter().chain(&more) {
        let text: String = warning
            .chars()
            .map(|c| if c == '"' || c == '\\' { '\'' } else { c })
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .take(LONGEST_WARNING)
            .collect();
        if let Ok(value) = format!("299 {agent} \"{text}\"").parse() {
            response.headers_mut().append(actix_web::http::header::WARNING, value);
        }
    }
}

/// Sets a header; names are ours, values are digits and words.
pub fn set(response: &mut HttpResponse, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(actix_web::http::header::HeaderName::from_static(name), value);
    }
}

/// What a refusal of the object layer's door means to an HTTP client.
pub fn status_of(error: CallError<Status>) -> Status {
    status_from("the object layer", error)
}

/// What a door's refusal means to an HTTP client; `who` is behind the door.
pub fn status_from(who: &str, error: CallError<Status>) -> Status {
    match error {
        CallError::Fault(status) => status,
        CallError::NotAnswered(NotAnswered::Busy) => Status::busy(1),
        CallError::NotAnswered(NotAnswered::Away) => Status::unavailable(format!("{who} is restarting"), 1),
        CallError::NotAnswered(NotAnswered::Gone | NotAnswered::Late) => {
            Status::timeout("no answer in time; the outcome of the request is unknown")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_wrong_an_answer_has_few_and_short_headers() {
        let mut response = json(200, &Value::Null);
        let warnings: Vec<String> = (0..1000).map(|number| format!("{number} {}", "x".repeat(10_000))).collect();
        warn(&mut response, &warnings);
        let headers: Vec<&str> =
            response.headers().get_all("warning").filter_map(|value| value.to_str().ok()).collect();
        assert_eq!(headers.len(), MOST_WARNINGS + 1);
        assert!(headers.len() < 90, "with the others they are no hundred");
        assert!(headers.iter().all(|header| header.len() <= LONGEST_WARNING + 10));
        assert_eq!(headers[MOST_WARNINGS], "299 - \"and 950 more\"");
    }

    #[test]
    fn each_way_not_to_be_answered_has_its_code() {
        let code = |reason| status_of(CallError::NotAnswered(reason)).code;
        assert_eq!(code(NotAnswered::Busy), 429);
        assert_eq!(code(NotAnswered::Away), 503);
        assert_eq!(code(NotAnswered::Gone), 504);
        assert_eq!(code(NotAnswered::Late), 504);
        assert_eq!(refusal(&Status::busy(7)).headers().get("retry-after").map(|v| v.as_bytes()), Some(&b"7"[..]));
    }
}
