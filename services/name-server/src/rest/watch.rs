//! The stream of events: one line each, a sign of life in silence. Nothing is repeated and nothing is kept.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use crate::events::Event;

/// Silence after which a sign of life is sent.
const SILENCE: Duration = Duration::from_secs(15);

struct Watching {
    events: Receiver<Event>,
    words: Option<Vec<String>>,
    stopping: watch::Receiver<bool>,
    _room: OwnedSemaphorePermit,
}

/// Answers with events of the wanted sorts, all when none is named.
pub fn stream(
    events: Receiver<Event>,
    types: Option<&str>,
    stopping: watch::Receiver<bool>,
    room: OwnedSemaphorePermit,
) -> HttpResponse {
    let words = types.filter(|types| !types.is_empty());
    let words = words.map(|types| types.split(',').map(|word| word.trim().to_owned()).collect());
    let watching = Watching { events, words, stopping, _room: room };
    let lines = stream::unfold(watching, async |mut watching| {
        let line = watching.next().await?;
        Some((Ok::<_, actix_web::Error>(line), watching))
    });
    HttpResponse::Ok().content_type("text/event-stream").insert_header(("cache-control", "no-cache")).streaming(lines)
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let received = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                received = timeout(SILENCE, self.events.recv()) => received,
            };
            match received {
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
                Ok(Ok(event)) => {
                    let wanted = self.words.as_ref().is_none_or(|words| words.iter().any(|word| word == event.word()));
                    if wanted && let Ok(text) = serde_json::to_string(&event) {
                        return Some(format!("data: {text}\n\n").into());
                    }
                }
                // Who reads slowly misses some; a list tells the rest.
                Ok(Err(RecvError::Lagged(_))) => {}
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }
}
