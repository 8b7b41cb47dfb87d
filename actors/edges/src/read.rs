//! get and list, from the published view.

use std::ops::Bound;
use std::sync::Arc;

use actix_web::HttpResponse;
use base64::Engine as _;
use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::{Kind, KindId};
use mkube_model::problem::Problem;
use mkube_model::selectors::{FieldSelector, LabelSelector};
use mkube_model::status::Status;
use mkube_model::table::{self, IncludeObject};
use serde_json::{Value, json};

use crate::negotiate::Form;
use crate::parts::{HttpParts, Query, Target};
use crate::{parameters, respond};

/// What a list or watch selects.
#[derive(Debug, Clone)]
pub struct Selection {
    /// `None` is all namespaces.
    pub namespace: Option<String>,
    /// One name only.
    pub name: Option<String>,
    /// By labels.
    pub labels: LabelSelector,
    /// By fields.
    pub fields: FieldSelector,
}

impl Selection {
    /// From path and query.
    pub fn of(target: &Target, query: &Query) -> Result<Self, Status> {
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        Ok(Self {
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            labels: LabelSelector::parse(text("labelSelector")).map_err(Status::bad_request)?,
            fields: match target.view {
                Some(view) => FieldSelector::parse(&view.taken_selector(text("fieldSelector")), target.kind.selectable),
                None => FieldSelector::parse(text("fieldSelector"), target.kind.selectable),
            }
            .map_err(Status::bad_request)?,
        })
    }

    /// Whether neither labels nor fields are asked for: then nothing of an object has to be read.
    fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    fn picks(&self, object: &Value) -> bool {
        self.labels.matches(object) && self.fields.matches(object)
    }

    /// Whether an object belongs to it.
    pub fn matches(&self, object: &StoredObject) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == object.key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == object.key.name)
            && (self.is_everything() || self.picks(&object.value()))
    }
}

/// The key of the object a path names.
pub fn key_of(target: &Target) -> ObjectKey {
    ObjectKey::new(target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default())
}

/// Values named one by one in warnings.
const NAMED: usize = 3;

/// What a reader of this has to know: it may be out of date, or something is missing in it.
pub fn remarks(view: &ObjectsView, target: &Target) -> Vec<String> {
    let away = view.stale.iter().map(|why| format!("the store is away ({why}): this is what was last known"));
    let kind = target.kind.id();
    let meant = |(of, key): &(KindId, ObjectKey)| {
        *of == kind
            && target.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && target.name.as_ref().is_none_or(|name| *name == key.name)
    };
    let bad = view.unreadable.iter().filter(|(place, _)| meant(place)).take(NAMED);
    let bad = bad.map(|((_, key), why)| {
        format!("{key} in the store is no {} ({why}): it is left out, or shown as last known", target.kind.kind)
    });
    away.chain(bad).collect()
}

/// The published view; refused while it is not complete, since absence would mean nothing.
pub fn loaded_view(parts: &HttpParts) -> Result<Arc<ObjectsView>, Status> {
    let view = parts.objects.view();
    if view.loaded {
        return Ok(view);
    }
    let why = view.not_loaded_because.clone().unwrap_or_else(|| "the store is being read".into());
    Err(Status::unavailable(format!("objects are not loaded: {why}"), 1))
}

pub fn get(parts: &HttpParts, target: &Target, query: &Query, wants: Form) -> Result<HttpResponse, Status> {
    let view = loaded_view(parts)?;
    if let Some(version) = parameters::version(query)? {
        not_too_new(version, view.kind(&target.kind.id()).revision)?;
    }
    let key = key_of(target);
    let object = view.get(&target.kind.id(), &key).ok_or_else(|| {
        match view.unreadable.get(&(target.kind.id(), key.clone())) {
            // Nobody is to believe that there is none.
            Some(why) => {
                Status::new(500, "InternalError", format!("what the store has under this name is no object: {why}"))
            }
            None => Status::not_found(target.called(), &key.name),
        }
    })?;
    Ok(target_shown(parts, target, &object, 200, query, wants))
}

/// One object in the form asked for, and in the words of its client.
pub fn target_shown(
    parts: &HttpParts,
    target: &Target,
    object: &StoredObject,
    code: u16,
    query: &Query,
    wants: Form,
) -> HttpResponse {
    if let (Some(_), Form::Plain) = (target.view, wants) {
        return respond::json_text(code, target.text(object).into_owned());
    }
    shown(parts, &target.kind, object, code, query, wants)
}

/// One object in the form asked for.
pub fn shown(
    parts: &HttpParts,
    kind: &Kind,
    object: &StoredObject,
    code: u16,
    query: &Query,
    wants: Form,
) -> HttpResponse {
    match wants {
        Form::Table => {
            let object = object.value();
            let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let now = parts.clock.now();
            respond::json(code, &table::render(kind, [&object].into_iter(), include_of(query), meta, true, now))
        }
        Form::Partial => respond::json(code, &table::partial(&object.value())),
        _ => respond::json_text(code, object.text().to_owned()),
    }
}

/// `includeObject` of the query.
pub fn include_of(query: &Query) -> IncludeObject {
    match query.get("includeObject").map(String::as_str) {
        Some("None") => IncludeObject::None,
        Some("Object") => IncludeObject::Object,
        _ => IncludeObject::Metadata,
    }
}

pub fn list(parts: &HttpParts, target: &Target, query: &Query, wants: Form) -> Result<HttpResponse, Status> {
    let view = loaded_view(parts)?;
    let selection = Selection::of(target, query)?;
    let limit = limit(query)?;
    let kind = view.kind(&target.kind.id());
    check_version(&kind, query)?;
    let after = query.get("continue").filter(|token| !token.is_empty()).map(|token| parse_token(token)).transpose()?;
    if after.as_ref().is_some_and(|(_, last)| selection.namespace.as_ref().is_some_and(|one| *one != last.namespace)) {
        return Err(Status::bad_request("the continue token is one of a list of another namespace"));
    }
    // A list that took so long that no watch can continue from it must begin again.
    if after.as_ref().is_some_and(|(version, _)| *version < kind.history_after || *version > kind.revision) {
        return Err(Status::expired(
            "The provided continue parameter is too old: please start the list again without it",
        ));
    }
    if wants == Form::Plain && limit == 0 && after.is_none() && target.view.is_none() && selection.is_everything() {
        let which = (target.kind.id(), target.kind.api_version(), selection.namespace.clone());
        let meta = json!({"resourceVersion": kind.revision.to_string()});
        let write = || {
            let (found, _) = chosen(&kind, &selection, None, 0);
            plain(target, &found, &meta)
        };
        return Ok(respond::json_shared(parts.lists.of(which, &kind, write)));
    }
    let (found, more) = chosen(&kind, &selection, after.as_ref().map(|(_, key)| key), limit);
    // Every page carries the version of the first: a watch from it sees what changed while the pages were read.
    let version = after.as_ref().map_or(kind.revision, |(version, _)| *version);
    let mut meta = json!({"resourceVersion": version.to_string()});
    if let (true, Some(last)) = (more, found.last()) {
        meta["continue"] = json!(token(version, &last.key));
    }
    let body = match wants {
        Form::Table => {
            let values: Vec<Value> = found.iter().map(|object| object.value()).collect();
            table::render(&target.kind, values.iter(), include_of(query), meta, true, parts.clock.now())
        }
        Form::Partial => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
            "items": found.iter().map(|object| table::partial(&object.value())).collect::<Vec<_>>(),
        }),
        _ => return Ok(respond::json_shared(plain(target, &found, &meta).into())),
    };
    Ok(respond::json(200, &body))
}

/// What a list holds, after this key and so many at most, and whether there is more.
fn chosen<'k>(
    kind: &'k KindView,
    selection: &Selection,
    after: Option<&ObjectKey>,
    limit: usize,
) -> (Vec<&'k Arc<StoredObject>>, bool) {
    let start = match after {
        Some(key) => Bound::Excluded(key.clone()),
        None => Bound::Included(ObjectKey::new(selection.namespace.clone().unwrap_or_default(), "")),
    };
    let mut found: Vec<&Arc<StoredObject>> = Vec::new();
    for (key, object) in kind.objects.range((start, Bound::Unbounded)) {
        // Keys are in order of namespace: what follows belongs to others.
        if selection.namespace.as_ref().is_some_and(|namespace| *namespace != key.namespace) {
            break;
        }
        if !selection.matches(object) {
            continue;
        }
        if limit > 0 && found.len() == limit {
            return (found, true);
        }
        found.push(object);
    }
    (found, false)
}

/// A list as text. The objects are text already: a list of many is not worth a tree.
fn plain(target: &Target, found: &[&Arc<StoredObject>], meta: &Value) -> String {
    let mut text = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
        target.kind.kind,
        target.called().api_version()
    );
    for (index, object) in found.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text += &target.text(object);
    }
    text += "]}";
    text
}

fn list_option(problem: &Problem) -> Status {
    Status::invalid_option("ListOptions", problem)
}

/// Objects that a page has at most; 0 is all there are.
fn limit(query: &Query) -> Result<usize, Status> {
    // Kubernetes takes what is below zero for no limit.
    Ok(parameters::number(query, "limit")?.and_then(|limit| limit.try_into().ok()).unwrap_or(0))
}

/// A version from the future is one this server never gave.
fn not_too_new(version: u64, newest: u64) -> Result<(), Status> {
    if version > newest { Err(Status::too_new(version, newest)) } else { Ok(()) }
}

fn check_version(kind: &KindView, query: &Query) -> Result<(), Status> {
    parameters::timeout_seconds(query)?;
    let how = query.get("resourceVersionMatch").map(String::as_str).unwrap_or_default();
    if !["", "Exact", "NotOlderThan"].contains(&how) {
        let problem = Problem::not_supported("resourceVersionMatch", how, &["Exact", "NotOlderThan"]);
        return Err(list_option(&problem));
    }
    if query.get("sendInitialEvents").is_some_and(|value| !value.is_empty()) {
        return Err(list_option(&Problem::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")));
    }
    let goes_on = query.get("continue").is_some_and(|token| !token.is_empty());
    if goes_on && !how.is_empty() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        return Err(list_option(&Problem::forbidden("resourceVersionMatch", why)));
    }
    let Some(version) = parameters::version(query)? else {
        if how.is_empty() {
            return Ok(());
        }
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(list_option(&Problem::forbidden("resourceVersionMatch", why)));
    };
    if goes_on && version > 0 {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    if how == "Exact" && version == 0 {
        let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        return Err(list_option(&Problem::forbidden("resourceVersionMatch", why)));
    }
    not_too_new(version, kind.revision)?;
    if how == "Exact" && version != kind.revision {
        return Err(Status::expired(format!("The provided resource version is too old: {version}")));
    }
    Ok(())
}

/// Where a list goes on: its version, and the last key that was sent.
pub fn token(version: u64, key: &ObjectKey) -> String {
    let text = json!([version, key.namespace, key.name]).to_string();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// Reads a token of ours.
pub fn parse_token(token: &str) -> Result<(u64, ObjectKey), Status> {
    let bad = || Status::bad_request("the continue token is not one of this server");
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let (version, namespace, name): (u64, String, String) = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    Ok((version, ObjectKey::new(namespace, name)))
}
