//! watch: what is there, then what changes, as one JSON document a line. Served from the published history; a watcher that is
//! slower than the history is long gets 410 and lists again.
//!
//! A line is written when its client can take it, and not before: one that never reads costs what it had been sent when it stopped,
//! and [`crate::HttpLimits::unread`] ends it. From the version of the last line it has, it can go on.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, BytesMut};
use futures_util::stream;
use mkube_messages::objects::{
    ChangeType, KindView, ObjectChange, ObjectKey, ObjectsReader, ObjectsView, StoredObject,
};
use mkube_messages::watch;
use mkube_model::kinds::{Kind, View};
use mkube_model::metadata;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use mkube_model::table::{self, IncludeObject};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::negotiate::Form;
use crate::parameters::{self, says_yes};
use crate::parts::{Figures, HttpParts, Query, Target, text_in};
use crate::read::{Selection, include_of, loaded_view};

/// Bytes of lines that are written together.
const TOGETHER: usize = 16 << 10;
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
    reader: ObjectsReader,
    notices: watch::Receiver<u64>,
    stage: Stage,
    /// Everything up to this revision was sent.
    sent: u64,
    until: Instant,
    next_bookmark: Instant,
    _counted: Counted,
}

/// What comes next.
enum Stage {
    /// What was there at the beginning, after this key; then perhaps a bookmark that says that this was all.
    Initial { there: Arc<KindView>, after: Option<ObjectKey>, marks_end: bool },
    /// What happens.
    News,
    /// Nothing.
    End,
}

pub fn answer(parts: &HttpParts, target: &Target, query: &Query, wants: Form) -> Result<HttpResponse, Status> {
    let view = loaded_view(parts)?;
    let flag = |name: &str| says_yes(query, name);
    let how = query.get("resourceVersionMatch").map(String::as_str).unwrap_or_default();
    let asks_initial = query.get("sendInitialEvents").is_some_and(|value| !value.is_empty());
    if asks_initial != (how == "NotOlderThan") || !["", "NotOlderThan"].contains(&how) {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, and the other way round";
        return Err(Status::invalid_option("ListOptions", &Problem::forbidden("resourceVersionMatch", why)));
    }
    let from = parameters::version(query)?.filter(|version| *version > 0);
    let seconds = parameters::timeout_seconds(query)?;
    let life = if seconds == 0 { LIFE } else { Duration::from_secs(seconds).min(LIFE * 4) };
    let newest = view.kind(&target.kind.id()).revision;
    if let Some(version) = from.filter(|version| asks_initial && *version > newest) {
        return Err(Status::too_new(version, newest));
    }
    let initial = if asks_initial { flag("sendInitialEvents") } else { from.is_none() };
    let selection = Selection::of(target, query)?;
    let counted = Counted::take(parts)?;
    let mut watch = Watch {
        kind: target.kind,
        view: target.view,
        selection,
        form: wants,
        include: include_of(query),
        bookmarks: flag("allowWatchBookmarks"),
        headings_sent: false,
        clock: parts.clock.clone(),
        reader: parts.objects.clone(),
        notices: parts.objects.notices(),
        stage: Stage::News,
        sent: from.unwrap_or(newest),
        until: Instant::now() + life,
        next_bookmark: Instant::now() + BOOKMARK,
        _counted: counted,
    };
    if initial {
        let there = view.kind(&target.kind.id());
        watch.sent = there.revision;
        let marks_end = flag("sendInitialEvents") && watch.bookmarks;
        watch.stage = Stage::Initial { there, after: None, marks_end };
    }
    // An old version is told inside the stream, where clients look for it.
    let lines = stream::unfold(watch, async |mut watch| {
        let lines = watch.next().await?;
        Some((Ok::<_, actix_web::Error>(lines), watch))
    });
    Ok(HttpResponse::Ok().content_type("application/json").streaming(lines))
}

/// Counts a watch until it is dropped.
struct Counted(Arc<Figures>);

impl Counted {
    fn take(parts: &HttpParts) -> Result<Self, Status> {
        let before = parts.figures.watches.fetch_add(1, Ordering::Relaxed);
        let counted = Self(parts.figures.clone());
        if before >= parts.limits.watches { Err(Status::busy(5)) } else { Ok(counted) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watch {
    /// The next lines, as soon as there are any; `None` when there will be none.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(lines) = self.initial() {
            return Some(lines);
        }
        loop {
            if matches!(self.stage, Stage::End) {
                return None;
            }
            self.notices.mark_unchanged();
            match self.news(&self.reader.view()) {
                Ok(lines) if !lines.is_empty() => return Some(lines),
                Ok(_) => {}
                Err(status) => {
                    self.stage = Stage::End;
                    let line = format!("{}\n", json!({"type": "ERROR", "object": status.to_json()}));
                    return Some(line.into());
                }
            }
            let now = Instant::now();
            if now >= self.until {
                self.stage = Stage::End;
            }
            if now >= self.next_bookmark.min(self.until) {
                self.next_bookmark = now + BOOKMARK;
                if self.bookmarks {
                    // The last word says from where to go on.
                    return Some(self.bookmark(false));
                }
                continue;
            }
            tokio::select! {
                // The news that never end come last.
                biased;
                () = tokio::time::sleep_until(self.next_bookmark.min(self.until)) => {}
                changed = self.notices.changed() => if changed.is_err() { return None }
            }
        }
    }

    /// The next lines of what was there at the beginning.
    fn initial(&mut self) -> Option<Bytes> {
        let Stage::Initial { there, after, marks_end } = &mut self.stage else { return None };
        let (there, after, marks_end) = (there.clone(), after.take(), *marks_end);
        self.stage = Stage::News;
        let mut lines = BytesMut::new();
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, object) in there.objects.range((start, Bound::Unbounded)) {
            if self.selection.matches(object) {
                self.line("ADDED", object, &mut lines);
            }
            if lines.len() >= TOGETHER {
                let after = Some(key.clone());
                self.stage = Stage::Initial { there: there.clone(), after, marks_end };
                return Some(lines.freeze());
            }
        }
        if marks_end {
            lines.extend_from_slice(&self.bookmark(true));
        }
        (!lines.is_empty()).then(|| lines.freeze())
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

    /// What happened since the last line, as this watch sees it; of much only the first.
    fn news(&mut self, view: &ObjectsView) -> Result<Bytes, Status> {
        self.check_history(view)?;
        let kind = view.kind(&self.kind.id());
        let unsent = |index: &usize| kind.history.get(*index).is_some_and(|change| change.revision > self.sent);
        let start = (0..kind.history.len()).rev().take_while(unsent).last().unwrap_or(kind.history.len());
        let mut lines = BytesMut::new();
        for index in start..kind.history.len() {
            let Some(change) = kind.history.get(index) else { break };
            // What has one version is told together, or somebody who goes on from it would miss something.
            if lines.len() >= TOGETHER && change.revision > self.sent {
                return Ok(lines.freeze());
            }
            self.tell(change, &mut lines);
            self.sent = change.revision;
        }
        self.sent = kind.revision;
        Ok(lines.freeze())
    }

    fn tell(&mut self, change: &ObjectChange, lines: &mut BytesMut) {
        let before = change.previous.as_ref().is_some_and(|object| self.selection.matches(object));
        let after = change.change != ChangeType::Deleted && self.selection.matches(&change.object);
        let word = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        // What left the selection is shown as it was when it belonged to it, at the version at which it left.
        let left = before && !after && change.change != ChangeType::Deleted;
        match &change.previous {
            Some(previous) if left => {
                let mut value = previous.value();
                metadata::of_mut(&mut value).insert("resourceVersion".into(), json!(change.revision.to_string()));
                let object = StoredObject::new(previous.kind, previous.key.clone(), &value, change.revision);
                self.line(word, &object, lines);
            }
            _ => self.line(word, &change.object, lines),
        }
    }

    fn line(&mut self, word: &str, object: &StoredObject, lines: &mut BytesMut) {
        let shown: Value = match self.form {
            Form::Table => {
                let headings = !std::mem::replace(&mut self.headings_sent, true);
                let meta = json!({"resourceVersion": object.revision.to_string()});
                let now = self.clock.now();
                table::render(&self.kind, [&object.value()].into_iter(), self.include, meta, headings, now)
            }
            Form::Partial => table::partial(&object.value()),
            _ => {
                let text = text_in(self.view, object);
                for part in ["{\"type\":\"", word, "\",\"object\":", &text, "}\n"] {
                    lines.extend_from_slice(part.as_bytes());
                }
                return;
            }
        };
        lines.extend_from_slice(format!("{{\"type\":\"{word}\",\"object\":{shown}}}\n").as_bytes());
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
