//! `GET /api/v1/export`: what owners wrote, as text that `POST /api/v1/import` takes. One snapshot, sent piece by piece.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures_util::stream;
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_model::kinds::{Kind, KindTable};
use mkube_model::portable;
use mkube_model::status::Status;
use tokio::sync::mpsc;

use crate::parameters::yes_or_no;
use crate::parts::{HttpParts, Query};
use crate::read::loaded_view;
use crate::respond;

/// Bytes of a piece, and a little more.
const PIECE: usize = 64 << 10;
/// Pieces that wait for a slow client.
const WAITING: usize = 4;
/// Time a client may take to read one.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Yaml,
    Json,
}

pub fn answer(parts: &HttpParts, query: &Query) -> Result<HttpResponse, Status> {
    let exporter = Exporter::new(loaded_view(parts)?, parts.objects.kinds(), query)?;
    let media = match exporter.format {
        Format::Yaml => "application/x-yaml",
        Format::Json => "application/json",
    };
    let stale = exporter.view.stale.as_ref().map(|why| format!("this is what was last known of the store: {why}"));
    let (pieces, receiver) = mpsc::channel::<Option<Bytes>>(WAITING);
    actix_web::rt::spawn(send(exporter, pieces));
    // A text that stops in the middle is not to look whole.
    let cut = || actix_web::error::ErrorInternalServerError("the export was not read in time");
    let body = stream::unfold(Some(receiver), move |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some(receiver))),
            Some(None) => None,
            None => Some((Err(cut()), None)),
        }
    });
    let mut response = HttpResponse::Ok().content_type(media).streaming(Box::pin(body));
    respond::set(&mut response, "cache-control", "no-store");
    respond::warn(&mut response, stale.as_slice());
    Ok(response)
}

/// Sends all pieces and then the end; nothing more to a client that does not read.
async fn send(mut exporter: Exporter, pieces: mpsc::Sender<Option<Bytes>>) {
    loop {
        let piece = exporter.next_piece();
        let is_last = piece.is_none();
        let sent = tokio::time::timeout(PATIENCE, pieces.send(piece.map(Bytes::from))).await;
        if is_last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

struct Exporter {
    view: Arc<ObjectsView>,
    /// Those that are still to come, the next one last.
    kinds: Vec<Kind>,
    /// Whether passwords are written too.
    secrets: bool,
    namespace: Option<String>,
    format: Format,
    /// The last object that was looked at.
    after: Option<ObjectKey>,
    began: bool,
    ended: bool,
    any: bool,
}

impl Exporter {
    fn new(view: Arc<ObjectsView>, table: &KindTable, query: &Query) -> Result<Self, Status> {
        let text = |name: &str| query.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let format = match text("format") {
            None | Some("yaml") => Format::Yaml,
            Some("json") => Format::Json,
            Some(other) => return Err(Status::bad_request(format!("format {other:?} is not one of yaml, json"))),
        };
        let secrets = match text("secrets") {
            None => false,
            Some(word) => yes_or_no(word)
                .ok_or_else(|| Status::bad_request(format!("secrets {word:?} is neither true nor false")))?,
        };
        let namespace = text("namespace").map(str::to_owned);
        if let (Some(name), Some(namespaces)) = (&namespace, table.named("Namespace"))
            && view.get(&namespaces.id(), &ObjectKey::new("", name.as_str())).is_none()
        {
            return Err(Status::not_found(namespaces, name));
        }
        let mut kinds = match text("kinds") {
            Some(words) => chosen(table, words, secrets)?,
            None => table.iter().filter(|kind| portable::stays(kind).is_none()).copied().collect(),
        };
        kinds.retain(|kind| secrets || kind.kind != "Secret");
        kinds.sort_by_key(|kind| std::cmp::Reverse(portable::rank(kind)));
        kinds.dedup_by_key(|kind| kind.id());
        Ok(Self { view, kinds, secrets, namespace, format, after: None, began: false, ended: false, any: false })
    }

    fn next_piece(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let mut piece = String::new();
        if !self.began && self.format == Format::Json {
            piece += "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[";
        }
        self.began = true;
        while piece.len() < PIECE {
            let Some(kind) = self.kinds.last().copied() else {
                self.ended = true;
                if self.format == Format::Json {
                    piece += "]}\n";
                }
                break;
            };
            if !self.next_object(&kind, &mut piece) {
                self.kinds.pop();
                self.after = None;
            }
        }
        (!piece.is_empty()).then_some(piece)
    }

    /// Writes the next object of a kind, if it moves; false when there is none.
    fn next_object(&mut self, kind: &Kind, piece: &mut String) -> bool {
        let of_kind = self.view.kind(&kind.id());
        let first = || match &self.namespace {
            Some(namespace) if kind.namespaced => ObjectKey::new(namespace.as_str(), ""),
            Some(namespace) => ObjectKey::new("", namespace.as_str()),
            None => ObjectKey::new("", ""),
        };
        let from = self.after.take().map_or_else(|| Bound::Included(first()), Bound::Excluded);
        let Some((key, object)) = of_kind.objects.range((from, Bound::Unbounded)).next() else { return false };
        let is_wanted = match &self.namespace {
            None => true,
            Some(namespace) if kind.namespaced => key.namespace == *namespace,
            // Of what has no namespace, the namespace itself.
            Some(namespace) => kind.kind == "Namespace" && key.name == *namespace,
        };
        if !is_wanted {
            return false;
        }
        self.after = Some(key.clone());
        let Some(mut object) = portable::portable(kind, &object.value()) else { return true };
        if !self.secrets {
            portable::hide_passwords(kind, &mut object);
        }
        match self.format {
            Format::Yaml => {
                piece.push_str("---\n");
                piece.push_str(&mkube_manifests::to_yaml(&object));
            }
            Format::Json => {
                piece.push_str(if self.any { ",\n" } else { "\n" });
                piece.push_str(&object.to_string());
            }
        }
        self.any = true;
        true
    }
}

/// The kinds that are named, by any of their names.
fn chosen(table: &KindTable, words: &str, secrets: bool) -> Result<Vec<Kind>, Status> {
    let mut found = Vec::new();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let word = word.to_ascii_lowercase();
        let is_named = |kind: &&Kind| {
            [kind.plural, kind.singular].contains(&word.as_str())
                || kind.short_names.contains(&word.as_str())
                || kind.resource() == word
        };
        let kind = table.iter().find(is_named);
        let kind = kind.ok_or_else(|| Status::bad_request(format!("kinds: there is no kind {word:?}")))?;
        if let Some(why) = portable::stays(kind) {
            return Err(Status::bad_request(format!("kinds: {} are not exported: {why}", kind.plural)));
        }
        if kind.kind == "Secret" && !secrets {
            return Err(Status::bad_request("kinds: secrets are exported only with secrets=true"));
        }
        found.push(*kind);
    }
    Ok(found)
}
