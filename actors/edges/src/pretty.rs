//! `?pretty=true`: JSON on lines of its own, for people.

use actix_web::HttpResponse;
use actix_web::body::{self, BodySize, MessageBody};
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use actix_web::web::Bytes;

/// Bytes of an answer that is indented. What is longer nobody reads.
const LONGEST: u64 = 16 << 20;

/// Whether a query asks for it. What else is in the query is not for this to judge.
pub fn is_asked_for(query: &str) -> bool {
    let word = query.split(['&', '?']).find_map(|part| part.strip_prefix("pretty="));
    word.is_some_and(|word| matches!(word, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// The same answer, indented if it is JSON that has an end and is not compressed.
pub async fn answer(response: HttpResponse) -> HttpResponse {
    let json =
        response.headers().get(CONTENT_TYPE).is_some_and(|media| media.as_bytes().starts_with(b"application/json"));
    let packed = response.headers().contains_key(CONTENT_ENCODING);
    if !json || packed || !matches!(response.body().size(), BodySize::Sized(bytes) if bytes <= LONGEST) {
        return response;
    }
    let (head, text) = response.into_parts();
    // What is in memory as a whole always comes.
    let text = body::to_bytes(text).await.unwrap_or_default();
    head.set_body(Bytes::from(indented(&text))).map_into_boxed_body()
}

/// JSON with two spaces for each level. The text is ours, so nothing in it has to be checked.
fn indented(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let break_line = |lines: &mut Vec<u8>, depth: usize| {
        lines.push(b'\n');
        lines.resize(lines.len() + 2 * depth, b' ');
    };
    for (place, &byte) in text.iter().enumerate() {
        if quoted {
            lines.push(byte);
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                lines.push(byte);
                depth += 1;
                if !matches!(text.get(place + 1), Some(b'}' | b']')) {
                    break_line(&mut lines, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(place.checked_sub(1).and_then(|before| text.get(before)), Some(b'{' | b'[')) {
                    break_line(&mut lines, depth);
                }
                lines.push(byte);
            }
            b',' => {
                lines.push(byte);
                break_line(&mut lines, depth);
            }
            b':' => lines.extend_from_slice(b": "),
            _ => {
                quoted = byte == b'"';
                lines.push(byte);
            }
        }
    }
    lines.push(b'\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn indented_text_says_the_same_on_more_lines() {
        let value = json!({"a": [1, {"b": {}, "c": []}, "x\"y{,:\\"], "d": "\\", "e": [[]], "f": null});
        let expected = serde_json::to_string_pretty(&value).expect("JSON") + "\n";
        assert_eq!(String::from_utf8(indented(value.to_string().as_bytes())).expect("UTF-8"), expected);
    }

    #[test]
    fn it_is_asked_for_by_a_word_that_says_yes() {
        let asked = ["pretty=true", "a=b&pretty=1", "?pretty=True&x=1"];
        assert!(asked.into_iter().all(is_asked_for));
        let not_asked = ["", "pretty", "pretty=false", "pretty=", "ugly=true&pretty=0", "unpretty=true"];
        assert!(!not_asked.into_iter().any(is_asked_for));
    }
}
