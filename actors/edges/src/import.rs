//! `POST /api/v1/import` and `POST /api/v1/apply`: many documents in one body, one result for each. One that is refused holds up no
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::StreamExt;
use mkube_model::status::Status;
use serde_json::{Map, Value, json};

use crate::documents::{Document, documents, in_order};
use crate::parts::{HttpParts, Query};
use crate::prune::{Plan, Prune};
use crate::read::loaded_view;
use crate::request_body::{self, Bounds, content_type};
use crate::taking_in::{Action, How, Taking};
use crate::{respond, write, writing};

/// A whole site in one text.
const BOUNDS: Bounds = Bounds { limit: 32 << 20, patience: Duration::from_secs(120) };
/// Documents that are written at the same time, so that they are made durable together.
const TOGETHER: usize = 64;
/// Content types that a web page of somebody else can send without being asked.
const SIMPLE: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

type Taken = Result<(Action, Vec<String>), Status>;

pub async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    query: &Query,
    how: How,
) -> Result<HttpResponse, Status> {
    // The type of the body is what it looks like, as it was with the Go controller; so web pages are kept out here.
    let media = content_type(request).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if SIMPLE.contains(&media.as_str()) && request.headers().contains_key("origin") {
        return Err(Status::new(403, "Forbidden", "requests of web pages (with an Origin header) are refused"));
    }
    let options = match how {
        How::Import => "ImportOptions",
        How::Apply => "ApplyOptions",
    };
    let (dry_run, writer) = (write::dry_run(query, options, false)?, writing::taking_in(query, request, options)?);
    let prune = Prune::asked(query, how, options)?;
    let taking = Taking { parts, how, dry_run, writer };
    loaded_view(parts)?;
    let mut counted = request_body::Counted::new(parts.figures.clone());
    let bytes = request_body::read_within(payload, &mut counted, BOUNDS).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Status::bad_request("the body is not UTF-8"))?;
    let documents = documents(parts.objects.kinds(), text).await?;
    let Some(prune) = prune else {
        if documents.is_empty() {
            return Err(Status::bad_request("there is no document in the body"));
        }
        let taken = take_all(&taking, &documents).await;
        return Ok(told(&documents, &taken, taking.dry_run, None));
    };
    let plan = planned(&prune, parts, &documents)?;
    let guard = plan.as_ref().map_or(Ok(()), |plan| prune.check(plan, documents.len()));
    if !dry_run {
        guard.clone()?;
    }
    let taken = take_all(&taking, &documents).await;
    let mut pruned = Pruned { told: json!({"selector": prune.selector()}), ..Pruned::default() };
    match plan.filter(|_| taken.iter().all(Result::is_ok)) {
        None => pruned.told["skipped"] = json!("a document was refused, so nothing was deleted"),
        Some(plan) => {
            pruned.told["applied"] = json!(plan.applied);
            pruned.told["going"] = json!(plan.going.len());
            pruned.told["needsConfirmation"] = json!(guard.is_err());
            pruned.rows = prune.carry_out(&taking, &plan).await;
        }
    }
    pruned.strangers = strangers(&prune, parts, &documents);
    Ok(told(&documents, &taken, dry_run, Some(pruned)))
}

/// What became of what stands in no document.
#[derive(Default)]
struct Pruned {
    rows: Vec<(Value, Option<Status>)>,
    /// For the answer.
    told: Value,
    /// Positions of documents that no pruning will find again.
    strangers: BTreeSet<usize>,
}

/// What would be pruned; nothing when a document cannot be read, since it may be about anything.
fn planned(prune: &Prune, parts: &HttpParts, documents: &[Document<'_>]) -> Result<Option<Plan>, Status> {
    let view = loaded_view(parts)?;
    let mut named = BTreeSet::new();
    for document in documents {
        let Ok((kind, key, _)) = &document.object else { return Ok(None) };
        named.insert((kind.id(), key.clone()));
    }
    let in_one = named.iter().filter(|(_, key)| !key.namespace.is_empty());
    let namespaces: BTreeSet<String> = in_one.map(|(_, key)| key.namespace.clone()).collect();
    prune.plan(parts.objects.kinds(), &view, &named, &namespaces).map(Some)
}

fn strangers(prune: &Prune, parts: &HttpParts, documents: &[Document<'_>]) -> BTreeSet<usize> {
    let found_again = |document: &Document| {
        let source = document.object.as_ref().ok().map(|(.., source)| source);
        source.and_then(|source| source.read(parts.objects.kinds()).ok()).is_none_or(|body| prune.would_find(&body))
    };
    documents.iter().enumerate().filter(|(_, document)| !found_again(document)).map(|(index, _)| index).collect()
}

/// Takes them rank by rank. When the store is away, what is left is not tried.
async fn take_all(taking: &Taking<'_>, documents: &[Document<'_>]) -> Vec<Taken> {
    let refused = |document: &Document| Err(document.object.as_ref().err().cloned().unwrap_or_else(not_tried));
    let mut taken: Vec<Taken> = documents.iter().map(refused).collect();
    let mut coming = BTreeSet::new();
    for rank in in_order(documents) {
        let here = &coming;
        let mut under_way = futures_util::stream::iter(rank)
            .map(|index| async move { (index, take(taking, &documents[index], here).await) })
            .buffered(TOGETHER);
        let (mut away, mut made) = (false, Vec::new());
        while let Some((index, done)) = under_way.next().await {
            away = away || matches!(&done, Err(status) if [503, 504].contains(&status.code));
            if let (Ok((kind, key, _)), Ok((Action::Created, _))) = (&documents[index].object, &done)
                && kind.kind == "Namespace"
            {
                made.push(key.name.clone());
            }
            taken[index] = done;
            if away {
                // Those under way are dropped: their outcome is unknown, as it says.
                break;
            }
        }
        drop(under_way);
        coming.extend(made);
        if away {
            break;
        }
    }
    taken
}

fn not_tried() -> Status {
    Status::unavailable("it was not tried, or its outcome is unknown: the store is away", 5)
}

async fn take(taking: &Taking<'_>, document: &Document<'_>, coming: &BTreeSet<String>) -> Taken {
    let (kind, key, source) = document.object.as_ref().map_err(Clone::clone)?;
    let body = source.read(taking.parts.objects.kinds())?;
    taking.take(kind, key, &body, coming).await
}

/// How many of each kind were taken, as the Go controller told it, and what became of each.
fn told(documents: &[Document], taken: &[Taken], dry_run: bool, pruned: Option<Pruned>) -> HttpResponse {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (document, _) in documents.iter().zip(taken).filter(|(_, taken)| taken.is_ok()) {
        if let Ok((kind, ..)) = &document.object {
            *counts.entry(kind.plural).or_default() += 1;
        }
    }
    let mut results: Vec<Value> =
        documents.iter().zip(taken).map(|(document, taken)| result(document, taken)).collect();
    let mut faults: Vec<&Status> = taken.iter().filter_map(|taken| taken.as_ref().err()).collect();
    if let Some(pruned) = &pruned {
        for index in &pruned.strangers {
            let why = "it has not the labels that are pruned by: when it leaves the documents, it stays";
            match results[*index]["warnings"].as_array_mut() {
                Some(warnings) => warnings.push(json!(why)),
                None => results[*index]["warnings"] = json!([why]),
            }
        }
        results.extend(pruned.rows.iter().map(|(row, _)| row.clone()));
        faults.extend(pruned.rows.iter().filter_map(|(_, fault)| fault.as_ref()));
    }
    let all = results.len();
    let mut body: Map<String, Value> =
        counts.into_iter().map(|(plural, count)| (plural.to_owned(), json!(count))).collect();
    body.insert("results".into(), json!(results));
    body.insert("failed".into(), json!(faults.len()));
    body.insert("dryRun".into(), json!(dry_run));
    if let Some(pruned) = pruned.as_ref() {
        body.insert("prune".into(), pruned.told.clone());
    }
    let away = faults.iter().find(|fault| fault.code >= 500);
    let code = match faults.len() {
        0 => 200,
        failed if failed < all => 207,
        _ if away.is_some() => 503,
        // Nothing was changed.
        _ => 400,
    };
    if let Some(first) = faults.first() {
        let message = format!("{} of {all} documents were refused; the first: {}", faults.len(), first.message);
        body.insert("message".into(), json!(message));
    }
    let mut response = respond::json(code, &Value::Object(body));
    if let Some(seconds) = away.and_then(|status| status.retry_after()) {
        respond::set(&mut response, "retry-after", &seconds.to_string());
    }
    response
}

fn result(document: &Document, taken: &Taken) -> Value {
    let mut row = json!({"document": document.number, "kind": document.kind_name});
    if let Some(item) = document.item {
        row["item"] = json!(item);
    }
    if let Ok((kind, key, _)) = &document.object {
        row["kind"] = json!(kind.kind);
        row["name"] = json!(key.name);
        if kind.namespaced {
            row["namespace"] = json!(key.namespace);
        }
    }
    match taken {
        Ok((action, warnings)) => {
            row["action"] = json!(action.as_str());
            if !warnings.is_empty() {
                row["warnings"] = json!(warnings);
            }
        }
        Err(status) => {
            row["action"] = json!("failed");
            row["error"] = json!(status.message);
            row["code"] = json!(status.code);
            row["reason"] = json!(status.reason);
            if let Some(causes) = status.details.get("causes") {
                row["causes"] = causes.clone();
            }
        }
    }
    row
}
