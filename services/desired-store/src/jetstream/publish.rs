//! Changes on their way to JetStream, and what it says of them.

use std::time::Duration;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM};
use async_nats::{Client, HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::future::join_all;
use mkube_model::neighbours::desired_store::{Revision, StoreKey};
use serde_json::Value;

/// How long JetStream may take for its word on a change.
const WORD: Duration = Duration::from_secs(4);
/// JetStream's number for "the last sequence is another one".
const WRONG_LAST_SEQUENCE: u64 = 10071;
/// Room the headers of a change need beside its value.
const HEADERS: usize = 512;

/// One change.
#[derive(Debug, Clone)]
pub(crate) struct Publication {
    pub(crate) at: StoreKey,
    /// None: a deletion.
    pub(crate) value: Option<Bytes>,
    /// The last change of the key has this revision, 0 for none; `None`: whichever.
    pub(crate) expected: Option<Revision>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// It was made, with this revision.
    Made(Revision),
    /// Not made: the key's last change has this revision, where that is known.
    Mismatch(Option<Revision>),
    /// Not made, for this reason.
    Refused(String),
    /// Not made: no stream listens.
    NobodyListens,
    /// Made or not.
    Unknown(String),
}

/// Whether a key can be one in NATS.
pub(crate) fn is_key(key: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_=/.".contains(c);
    !key.is_empty() && key.chars().all(fits) && !key.starts_with('.') && !key.ends_with('.') && !key.contains("..")
}

/// Whether a value is too long for the server.
pub(crate) fn is_too_long(client: &Client, value: &Bytes) -> bool {
    value.len() + HEADERS > client.server_info().max_payload
}

/// Sends changes one after the other and then awaits the word on all of them.
pub(crate) async fn publish(client: &Client, changes: Vec<Publication>) -> Vec<Word> {
    join_all(changes.into_iter().map(|change| send(client, change))).await
}

async fn send(client: &Client, change: Publication) -> Word {
    let Publication { at, value, expected } = change;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_STREAM, format!("KV_{}", at.bucket));
    if let Some(expected) = expected {
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected.to_string());
    }
    if value.is_none() {
        headers.insert("KV-Operation", "DEL");
    }
    let request = Request::new().headers(headers).payload(value.unwrap_or_default()).timeout(Some(WORD));
    match client.send_request(format!("$KV.{}.{}", at.bucket, at.key), request).await {
        Ok(answer) => read(&answer.payload),
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => Word::NobodyListens,
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => Word::Refused(error.to_string()),
            RequestErrorKind::TimedOut => {
                Word::Unknown("JetStream did not say in time what became of a change".to_owned())
            }
            _ => Word::Unknown(
                "the connection to NATS was lost before JetStream said what became of a change".to_owned(),
            ),
        },
    }
}

fn read(answer: &[u8]) -> Word {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Word::Unknown("JetStream's word on a change makes no sense".to_owned());
    };
    let error = &answer["error"];
    if error.is_null() {
        return match answer["seq"].as_u64() {
            Some(revision) if revision > 0 => Word::Made(revision),
            _ => Word::Unknown("JetStream's word on a change has no sequence".to_owned()),
        };
    }
    let description = error["description"].as_str().unwrap_or("it does not say why");
    if error["err_code"].as_u64() == Some(WRONG_LAST_SEQUENCE) {
        return Word::Mismatch(description.rsplit(' ').next().and_then(|last| last.parse().ok()));
    }
    match error["code"].as_u64() {
        // A cluster without a leader: the change may be on its way.
        Some(503) => Word::Unknown(format!("JetStream: {description}")),
        _ => Word::Refused(format!("JetStream: {description}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_jetstream_is_read() {
        assert_eq!(read(br#"{"stream":"KV_PODS","seq":7}"#), Word::Made(7));
        let wrong = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 6"},"stream":"KV_PODS","seq":0}"#;
        assert_eq!(read(wrong), Word::Mismatch(Some(6)));
        let full = br#"{"error":{"code":500,"err_code":10047,"description":"insufficient storage"}}"#;
        assert_eq!(read(full), Word::Refused("JetStream: insufficient storage".to_owned()));
        let away =
            br#"{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}"#;
        assert!(matches!(read(away), Word::Unknown(_)));
        assert!(matches!(read(b"{}"), Word::Unknown(_)) && matches!(read(b"?"), Word::Unknown(_)));
    }

    #[test]
    fn what_nats_allows_in_a_key() {
        for fine in ["default.web-0", "infra", "a/b=c_D.1"] {
            assert!(is_key(fine), "{fine}");
        }
        for bad in ["", ".a", "a.", "a..b", "a b", "system:node", "a*", "a.>", "ä"] {
            assert!(!is_key(bad), "{bad}");
        }
    }
}
