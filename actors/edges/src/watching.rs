//! watch: what is there, then what changes, as one JSON document a line. Served from the published history; a watcher that is
//! slower than the history is long gets 410 and lists again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use mkube_messages::objects::{ChangeType, ObjectsReader, ObjectsView, StoredObject};
use mkube_model::kinds::{Kind, View};
use mkube_model::metadata;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use mkube_model::table::{self, IncludeObject};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use crate::negotiate::Form;
use crate::parts::{Figures, HttpParts, Query, Target, text_in};
use crate::read::{Selection, include_of, loaded_view};

/// Watches at the same time.
const WATCHES: usize = 256;
/// Events waiting for a slow client; then it is dropped.
const WAITING: usize = 64;
/// Pause between bookmarks.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Longest life of a watch the client gave no timeout.
const LIFE: Duration = Duration::from_secs(1800);

struct Watch {
    kind: Kind,
    view: Option<&'static View>,
    selection: Selection,
    form: Form,
    include: IncludeObject,
    bookmarks: bool,
    headings_sent: bool,
    clock: Arc<dyn WallClock>,
    /// Everything up to this revision was sent.
    sent: u64,
    until: Instant,
}

pub fn answer(parts: &HttpParts, target: &Target, query: &Query, wants: Form) -> Result<HttpResponse, Status> {
    let view = loaded_view(parts)?;
    let flag = |name: &str| query.get(name).is_some_and(|value| value == "true" || value == "1");
    let how = query.get("resourceVersionMatch").map(String::as_str).unwrap_or_default();
    let asks_initial = query.get("sendInitialEvents").is_some_and(|value| !value.is_empty());
    if asks_initial != (how == "NotOlderThan") || !["", "NotOlderThan"].contains(&how) {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, and the other way round";
        return Err(Status::invalid_option("ListOptions", &Problem::forbidden("resourceVersionMatch", why)));
    }
    let from = match query.get("resourceVersion").map(String::as_str).unwrap_or_default() {
        "" | "0" => None,
        text => Some(
            text.parse::<u64>()
                .map_err(|_| Status::bad_request(format!("resourceVersion {text:?} is not a number")))?,
        ),
    };
    let seconds = match query.get("timeoutSeconds").filter(|text| !text.is_empty()) {
        None => 0,
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| Status::bad_request(format!("timeoutSeconds {text:?} is not a number of seconds")))?,
    };
    let life = if seconds == 0 { LIFE } else { Duration::from_secs(seconds).min(LIFE * 4) };
    let newest = view.kind(&target.kind.id()).revision;
    if let Some(version) = from.filter(|version| asks_initial && *version > newest) {
        return Err(Status::too_new(version, newest));
    }
    let initial = if asks_initial { flag("sendInitialEvents") } else { from.is_none() };
    let mut watch = Watch {
        kind: target.kind,
        view: target.view,
        selection: Selection::of(target, query)?,
        form: wants,
        include: include_of(query),
        bookmarks: flag("allowWatchBookmarks"),
        headings_sent: false,
        clock: parts.clock.clone(),
        sent: from.unwrap_or(newest),
        until: Instant::now() + life,
    };
    if parts.figures.watches.fetch_add(1, Ordering::Relaxed) >= WATCHES {
        parts.figures.watches.fetch_sub(1, Ordering::Relaxed);
        return Err(Status::busy(5));
    }
    let counted = Counted(parts.figures.clone());
    let mut first = Vec::new();
    if initial {
        let kind = view.kind(&target.kind.id());
        first.extend(kind.objects.values().filter(|object| watch.selection.matches(object)).cloned());
        watch.sent = kind.revision;
    } else if let Err(status) = watch.check_history(&view) {
        // An old version is told inside the stream, where clients look for it.
        let line = format!("{}\n", json!({"type": "ERROR", "object": status.to_json()}));
        return Ok(HttpResponse::Ok().content_type("application/json").body(line));
    }
    let marks_end = flag("sendInitialEvents") && watch.bookmarks;
    let (lines, stream) = mpsc::channel::<Result<Bytes, actix_web::Error>>(WAITING);
    let reader = parts.objects.clone();
    actix_web::rt::spawn(async move {
        let _counted = counted;
        watch.run(reader, first, marks_end, lines).await;
    });
    Ok(HttpResponse::Ok().content_type("application/json").streaming(ReceiverStream::new(stream)))
}

/// Counts a watch until it is dropped.
struct Counted(Arc<Figures>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watch {
    async fn run(
        mut self,
        reader: ObjectsReader,
        first: Vec<Arc<StoredObject>>,
        marks_end: bool,
        lines: mpsc::Sender<Result<Bytes, actix_web::Error>>,
    ) {
        // Written out one by one: what waits for a slow client is bounded.
        for object in first {
            let line = self.line("ADDED", &object);
            if lines.send_timeout(Ok(line), BOOKMARK).await.is_err() {
                return;
            }
        }
        if marks_end && lines.send_timeout(Ok(self.bookmark(true)), BOOKMARK).await.is_err() {
            return;
        }
        let mut notices = reader.notices();
        let mut next_bookmark = Instant::now() + BOOKMARK;
        loop {
            notices.mark_unchanged();
            let view = reader.view();
            match self.news(&view) {
                Ok(news) => {
                    for (word, object) in news {
                        let line = self.line(word, &object);
                        // A client that does not read is dropped rather than remembered without end.
                        if lines.send_timeout(Ok(line), BOOKMARK).await.is_err() {
                            return;
                        }
                    }
                }
                Err(status) => {
                    let line = format!("{}\n", json!({"type": "ERROR", "object": status.to_json()}));
                    let _ = lines.send_timeout(Ok(Bytes::from(line)), BOOKMARK).await;
                    return;
                }
            }
            tokio::select! {
                // The news that never end come last.
                biased;
                () = lines.closed() => return,
                () = tokio::time::sleep_until(next_bookmark.min(self.until)) => {
                    if Instant::now() >= self.until {
                        // The last word says from where to go on.
                        if self.bookmarks {
                            let _ = lines.send_timeout(Ok(self.bookmark(false)), BOOKMARK).await;
                        }
                        return;
                    }
                    next_bookmark = Instant::now() + BOOKMARK;
                    if self.bookmarks && lines.send_timeout(Ok(self.bookmark(false)), BOOKMARK).await.is_err() {
                        return;
                    }
                }
                changed = notices.changed() => if changed.is_err() { return },
            }
        }
    }

    fn check_history(&self, view: &ObjectsView) -> Result<(), Status> {
        // A version this server has not given out came from another store: clients list again when it is called expired.
        let kind = view.kind(&self.kind.id());
        if self.sent > kind.revision {
            return Err(Status::expired(format!("too large resource version: {} ({})", self.sent, kind.revision)));
        }
        let oldest = kind.history_after;
        if self.sent < oldest {
            return Err(Status::expired(format!("too old resource version: {} ({oldest})", self.sent)));
        }
        Ok(())
    }

    /// What happened since the last line, as this watch sees it.
    fn news(&mut self, view: &ObjectsView) -> Result<Vec<(&'static str, Arc<StoredObject>)>, Status> {
        self.check_history(view)?;
        let kind = view.kind(&self.kind.id());
        let start = kind.history.iter().rev().take_while(|change| change.revision > self.sent).count();
        let mut news = Vec::new();
        for change in kind.history.iter().skip(kind.history.len() - start) {
            let before = change.previous.as_ref().is_some_and(|object| self.selection.matches(object));
            let after = change.change != ChangeType::Deleted && self.selection.matches(&change.object);
            let word = match (before, after) {
                (false, true) => "ADDED",
                (true, true) => "MODIFIED",
                (true, false) => "DELETED",
                (false, false) => continue,
            };
            // What left the selection is shown as it was when it belonged to it, at the version at which it left.
            let left = before && !after && change.change != ChangeType::Deleted;
            let object = match &change.previous {
                Some(previous) if left => {
                    let mut value = previous.value();
                    metadata::of_mut(&mut value).insert("resourceVersion".into(), json!(change.revision.to_string()));
                    Arc::new(StoredObject::new(previous.kind, previous.key.clone(), &value, change.revision))
                }
                _ => change.object.clone(),
            };
            news.push((word, object));
        }
        self.sent = kind.revision;
        Ok(news)
    }

    fn line(&mut self, word: &str, object: &StoredObject) -> Bytes {
        let shown: Value = match self.form {
            Form::Table => {
                let headings = !std::mem::replace(&mut self.headings_sent, true);
                let meta = json!({"resourceVersion": object.revision.to_string()});
                let now = self.clock.now();
                table::render(&self.kind, [&object.value()].into_iter(), self.include, meta, headings, now)
            }
            Form::Partial => table::partial(&object.value()),
            _ => return Bytes::from(format!("{{\"type\":\"{word}\",\"object\":{}}}\n", text_in(self.view, object))),
        };
        Bytes::from(format!("{{\"type\":\"{word}\",\"object\":{shown}}}\n"))
    }

    fn bookmark(&mut self, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.sent.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            _ => {
                let called = self.view.map_or(&self.kind, |view| &view.kind);
                json!({"kind": called.kind, "apiVersion": called.api_version(), "metadata": metadata})
            }
        };
        Bytes::from(format!("{}\n", json!({"type": "BOOKMARK", "object": object})))
    }
}
