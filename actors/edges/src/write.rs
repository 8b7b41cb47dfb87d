//! create, update, patch, delete: decode, one message, encode.

use actix_web::HttpResponse;
use futures_util::StreamExt;
use mkube_messages::objects::{FieldValidation, ObjectKey, PatchType, Verb, WriteObject, Written};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_model::metadata;
use mkube_model::problem::Problem;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::negotiate::Form;
use crate::parameters::yes_or_no;
use crate::parts::{HttpParts, Query, Target};
use crate::read::{Selection, key_of, loaded_view, target_shown};
use crate::request_body::Body;
use crate::{parameters, request_body, respond, writing};

/// Deletions of a collection under way at the same time.
const TOGETHER: usize = 64;

async fn ask(
    parts: &HttpParts,
    target: &Target,
    key: ObjectKey,
    verb: Verb,
    query: &Query,
    extra_dry_run: bool,
    repeated: &[String],
) -> Result<Written, Status> {
    let field_validation = match query.get("fieldValidation").map(String::as_str) {
        None | Some("" | "Warn") => FieldValidation::Warn,
        Some("Strict") => FieldValidation::Strict,
        Some("Ignore") => FieldValidation::Ignore,
        Some(other) => {
            let problem = Problem::not_supported("fieldValidation", other, &["Ignore", "Strict", "Warn"]);
            return Err(Status::invalid_option(options_of(&verb), &problem));
        }
    };
    let dry_run = dry_run(query, options_of(&verb), extra_dry_run)?;
    let writer = writing::writer(query, &target.agent, &verb, options_of(&verb))?;
    let repeated: Vec<String> = repeated.iter().map(|path| format!("duplicate field {path:?}")).collect();
    if field_validation == FieldValidation::Strict && !repeated.is_empty() {
        return Err(Status::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {kind}: strict decoding error: {}",
            target.kind.version,
            repeated.join(", "),
            kind = target.kind.kind
        )));
    }
    let order = WriteObject {
        context: RequestContext::new("http write", patience::WRITE),
        kind: target.kind.id(),
        key,
        verb,
        subresource: match target.sub.as_deref() {
            Some("status") => "status",
            Some("scale") => "scale",
            _ => "",
        },
        dry_run,
        field_validation,
        writer,
        behind: false,
    };
    let mut written = parts.write.ask(order).await.map_err(respond::status_of)?;
    if field_validation == FieldValidation::Warn {
        written.warnings.extend(repeated);
    }
    Ok(written)
}

/// Whether a request is only to say what it would do. `options`: what Kubernetes calls its parameters.
pub fn dry_run(query: &Query, options: &str, extra: bool) -> Result<bool, Status> {
    match query.get("dryRun").map(String::as_str) {
        None | Some("") => Ok(extra),
        Some("All") => Ok(true),
        Some(other) => Err(not_a_dry_run(options, other)),
    }
}

/// An object of a kind that the Go controller had in the core group, as its own group has it.
fn in_its_group(target: &Target, body: &mut Value) {
    if target.in_core && target.sub.is_none() && body.get("apiVersion").is_some_and(|version| version == "v1") {
        body["apiVersion"] = json!(target.kind.api_version());
    }
}

/// A body in the words of a second look, as the stored kind has it.
fn in_stored_words(target: &Target, query: &Query, body: &mut Value) -> Result<(), Status> {
    let Some(view) = target.view else { return Ok(()) };
    let cannot = |why: String| {
        Status::bad_request(format!("Event in version {:?} cannot be handled as a Event: {why}", view.kind.version))
    };
    let (taken, unknown) = view.taken(std::mem::take(body)).map_err(cannot)?;
    if let Some(first) = unknown.first().filter(|_| query.get("fieldValidation").is_some_and(|how| how == "Strict")) {
        return Err(cannot(format!("strict decoding error: unknown field {first:?}")));
    }
    *body = taken;
    Ok(())
}

/// What Kubernetes calls the parameters of a request.
fn options_of(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create { .. } => "CreateOptions",
        Verb::Update { .. } | Verb::Replace { .. } => "UpdateOptions",
        Verb::Patch { .. } => "PatchOptions",
        Verb::Delete { .. } => "DeleteOptions",
    }
}

fn not_a_dry_run(options: &str, found: &str) -> Status {
    Status::invalid_option(options, &Problem::not_supported("dryRun", found, &["All"]))
}

fn answer(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    written: &Written,
    code: u16,
    wants: Form,
) -> HttpResponse {
    let mut response = target_shown(parts, target, &written.object, code, query, wants);
    respond::warn(&mut response, &written.warnings);
    response
}

pub async fn create(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    body: Body,
    wants: Form,
) -> Result<HttpResponse, Status> {
    let Body { value: mut body, repeated, counted: _counted } = body;
    in_its_group(target, &mut body);
    in_stored_words(target, query, &mut body)?;
    if !metadata::resource_version(&body).is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let key = ObjectKey::new(target.namespace.clone().unwrap_or_default(), metadata::name(&body).to_owned());
    let written = ask(parts, target, key, Verb::Create { body }, query, false, &repeated).await?;
    Ok(answer(parts, target, query, &written, 201, wants))
}

pub async fn update(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    body: Body,
    wants: Form,
) -> Result<HttpResponse, Status> {
    let written = replaced(parts, target, query, body).await?;
    Ok(answer(parts, target, query, &written, 200, wants))
}

/// Replaces an object, or what a subresource shows of it.
pub async fn replaced(parts: &HttpParts, target: &Target, query: &Query, body: Body) -> Result<Written, Status> {
    let Body { value: mut body, repeated, counted: _counted } = body;
    in_its_group(target, &mut body);
    in_stored_words(target, query, &mut body)?;
    ask(parts, target, key_of(target), Verb::Update { body }, query, false, &repeated).await
}

pub async fn patch(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    content_type: &str,
    bytes: &[u8],
    wants: Form,
) -> Result<HttpResponse, Status> {
    let written = patched(parts, target, query, content_type, bytes).await?;
    let code = if written.created { 201 } else { 200 };
    Ok(answer(parts, target, query, &written, code, wants))
}

/// Patches an object, or what a subresource shows of it.
pub async fn patched(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    content_type: &str,
    bytes: &[u8],
) -> Result<Written, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let patch = match media {
        "application/json-patch+json" => PatchType::Json,
        "application/merge-patch+json" => PatchType::Merge,
        "application/strategic-merge-patch+json" => PatchType::Strategic,
        "application/apply-patch+yaml" => PatchType::Apply,
        other => {
            let accepted = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";
            return Err(Status::unsupported_media(format!(
                "patch type {other:?} is not supported; use one of {accepted}"
            )));
        }
    };
    let Body { value: mut body, repeated, .. } = request_body::parse(media, bytes, &[])?;
    in_its_group(target, &mut body);
    if let Some(view) = target.view {
        let named = body.get("apiVersion").is_some();
        body = view.taken_patch(body);
        if named && patch == PatchType::Apply && body.get("apiVersion").is_none() {
            // Who applies must say it, and has.
            body["apiVersion"] = json!(target.kind.api_version());
        }
    }
    ask(parts, target, key_of(target), Verb::Patch { patch, body }, query, false, &repeated).await
}

/// `DeleteOptions` from body and query; both may say the same things. What cannot be understood is refused: a deletion is not
/// to mean more than its sender meant.
pub fn delete_options(query: &Query, body: Value) -> Result<Value, Status> {
    let mut options = match body {
        Value::Null => json!({}),
        Value::Object(fields) => Value::Object(fields),
        _ => return Err(Status::bad_request("the body of a deletion must be DeleteOptions")),
    };
    let kind = options["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        return Err(Status::bad_request(format!("the body of a deletion must be DeleteOptions, it is {kind:?}")));
    }
    if let Some(text) = query.get("gracePeriodSeconds").filter(|text| !text.is_empty()) {
        let seconds = text.parse::<i64>();
        let seconds =
            seconds.map_err(|_| Status::bad_request(format!("gracePeriodSeconds {text:?} is not a number")))?;
        options["gracePeriodSeconds"] = json!(seconds);
    }
    match &options["gracePeriodSeconds"] {
        Value::Null => {}
        Value::Number(seconds) if seconds.is_u64() => {}
        Value::Number(seconds) => {
            let problem = Problem::invalid("gracePeriodSeconds", seconds.clone(), "must be greater than or equal to 0");
            return Err(Status::invalid_option("DeleteOptions", &problem));
        }
        other => return Err(Status::bad_request(format!("gracePeriodSeconds {other} is not a number"))),
    }
    options["propagationPolicy"] = propagation(query, &options)?;
    if !(options["preconditions"].is_null() || options["preconditions"].is_object()) {
        return Err(Status::bad_request("preconditions must be an object"));
    }
    Ok(options)
}

/// What is to become of dependents, in the word of today; null when nothing is said of it.
fn propagation(query: &Query, options: &Value) -> Result<Value, Status> {
    let refused = |problem: &Problem| Err(Status::invalid_option("DeleteOptions", problem));
    let policy = match query.get("propagationPolicy").filter(|policy| !policy.is_empty()) {
        Some(policy) => json!(policy),
        None => options["propagationPolicy"].clone(),
    };
    let policies = ["Background", "Foreground", "Orphan"];
    let said = match &policy {
        Value::Null => false,
        Value::String(policy) if policy.is_empty() => false,
        Value::String(policy) if policies.contains(&policy.as_str()) => true,
        other => return refused(&Problem::not_supported("propagationPolicy", other.clone(), &policies)),
    };
    let orphans = match query.get("orphanDependents").filter(|word| !word.is_empty()) {
        Some(word) => yes_or_no(word).map_or_else(|| json!(word), Value::Bool),
        None => options["orphanDependents"].clone(),
    };
    match orphans {
        Value::Null if said => Ok(policy),
        Value::Null => Ok(Value::Null),
        Value::Bool(_) if said => {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            refused(&Problem::invalid("propagationPolicy", policy, why))
        }
        Value::Bool(orphans) => Ok(json!(if orphans { "Orphan" } else { "Background" })),
        other => Err(Status::bad_request(format!("orphanDependents {other} is neither true nor false"))),
    }
}

pub fn asks_for_dry_run(options: &Value) -> Result<bool, Status> {
    match &options["dryRun"] {
        Value::Null => Ok(false),
        Value::Array(values) => match values.iter().find(|value| *value != "All") {
            Some(other) => Err(not_a_dry_run("DeleteOptions", &other.to_string())),
            None => Ok(!values.is_empty()),
        },
        other => Err(not_a_dry_run("DeleteOptions", &other.to_string())),
    }
}

pub async fn delete(parts: &HttpParts, target: &Target, query: &Query, body: Value) -> Result<HttpResponse, Status> {
    let options = delete_options(query, body)?;
    let dry_run = asks_for_dry_run(&options)?;
    let key = key_of(target);
    let written = ask(parts, target, key.clone(), Verb::Delete { options }, query, dry_run, &[]).await?;
    if !written.gone {
        return Ok(respond::json_text(200, target.text(&written.object).into_owned()));
    }
    Ok(respond::json(
        200,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {
                "name": key.name, "group": target.called().group, "kind": target.kind.plural,
                "uid": written.object.uid(),
            },
        }),
    ))
}

pub async fn delete_collection(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    body: Value,
) -> Result<HttpResponse, Status> {
    let options = delete_options(query, body)?;
    let dry_run = asks_for_dry_run(&options)?;
    let selection = Selection::of(target, query)?;
    parameters::number(query, "limit")?;
    parameters::timeout_seconds(query)?;
    let view = loaded_view(parts)?;
    let kind = view.kind(&target.kind.id());
    let chosen: Vec<ObjectKey> =
        kind.objects.values().filter(|object| selection.matches(object)).map(|object| object.key.clone()).collect();
    // Several at a time, so that they are made durable together.
    let mut deleted = futures_util::stream::iter(chosen)
        .map(|key| ask(parts, target, key, Verb::Delete { options: options.clone() }, query, dry_run, &[]))
        .buffered(TOGETHER);
    let mut items = Vec::new();
    while let Some(result) = deleted.next().await {
        match result {
            Ok(written) => items.push(match target.view {
                Some(view) => view.shown(&written.object.value()),
                None => written.object.value(),
            }),
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(respond::json(
        200,
        &json!({
            "kind": format!("{}List", target.kind.kind), "apiVersion": target.called().api_version(),
            "metadata": {"resourceVersion": parts.objects.view().kind(&target.kind.id()).revision.to_string()}, "items": items,
        }),
    ))
}
