//! create, update, patch, delete: decode, one message, encode.

use actix_web::HttpResponse;
use mkube_messages::objects::{FieldValidation, ObjectKey, PatchType, Verb, WriteObject, Written};
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_model::metadata;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::http_edge::HttpParts;
use crate::negotiate::Form;
use crate::read::{Selection, key_of, loaded_view, shown};
use crate::route::{Query, Target};
use crate::{request_body, respond};

async fn ask(
    parts: &HttpParts,
    target: &Target,
    key: ObjectKey,
    verb: Verb,
    query: &Query,
    extra_dry_run: bool,
) -> Result<Written, Status> {
    let field_validation = match query.get("fieldValidation").map(String::as_str) {
        None | Some("" | "Warn") => FieldValidation::Warn,
        Some("Strict") => FieldValidation::Strict,
        Some("Ignore") => FieldValidation::Ignore,
        Some(other) => {
            return Err(Status::bad_request(format!("fieldValidation {other:?} is not Ignore, Warn or Strict")));
        }
    };
    let dry_run = match query.get("dryRun").map(String::as_str) {
        None | Some("") => extra_dry_run,
        Some("All") => true,
        Some(other) => return Err(Status::bad_request(format!("dryRun {other:?} is not All"))),
    };
    let order = WriteObject {
        context: RequestContext::new("http write", patience::WRITE),
        kind: target.kind.id(),
        key,
        verb,
        subresource: if target.sub.as_deref() == Some("status") { "status" } else { "" },
        dry_run,
        field_validation,
    };
    parts.write.ask(order).await.map_err(respond::status_of)
}

fn answer(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    written: &Written,
    code: u16,
    wants: Form,
) -> HttpResponse {
    let mut response = shown(parts, &target.kind, &written.object, code, query, wants);
    respond::warn(&mut response, &written.warnings);
    response
}

pub async fn create(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    body: Value,
    wants: Form,
) -> Result<HttpResponse, Status> {
    // A namespaced object posted to the cluster-wide collection says its namespace itself.
    let in_body = metadata::namespace(&body).to_owned();
    let namespace = match (&target.namespace, target.kind.namespaced) {
        (_, false) => String::new(),
        (Some(namespace), true) => namespace.clone(),
        (None, true) if !in_body.is_empty() => in_body,
        (None, true) => "default".to_owned(),
    };
    let key = ObjectKey::new(namespace, metadata::name(&body).to_owned());
    let written = ask(parts, target, key, Verb::Create { body }, query, false).await?;
    Ok(answer(parts, target, query, &written, 201, wants))
}

pub async fn update(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    body: Value,
    wants: Form,
) -> Result<HttpResponse, Status> {
    let written = ask(parts, target, key_of(target), Verb::Update { body }, query, false).await?;
    Ok(answer(parts, target, query, &written, 200, wants))
}

pub async fn patch(
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    content_type: &str,
    bytes: &[u8],
    wants: Form,
) -> Result<HttpResponse, Status> {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let patch = match media {
        "application/json-patch+json" => PatchType::Json,
        "application/merge-patch+json" => PatchType::Merge,
        "application/strategic-merge-patch+json" => PatchType::Strategic,
        "application/apply-patch+yaml" => PatchType::Apply,
        other => {
            let accepted =
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";
            return Err(Status::unsupported_media(format!(
                "patch type {other:?} is not supported; use one of {accepted}"
            )));
        }
    };
    let body = request_body::parse(media, bytes)?;
    let written = ask(parts, target, key_of(target), Verb::Patch { patch, body }, query, false).await?;
    Ok(answer(parts, target, query, &written, 200, wants))
}

/// `DeleteOptions` from body and query; both may say the same things.
fn delete_options(query: &Query, body: Value) -> Value {
    let mut options = if body.is_object() { body } else { json!({}) };
    if let Some(seconds) = query.get("gracePeriodSeconds").and_then(|text| text.parse::<u64>().ok()) {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    options
}

fn asks_for_dry_run(options: &Value) -> bool {
    options["dryRun"].as_array().is_some_and(|values| values.iter().any(|value| value == "All"))
}

pub async fn delete(parts: &HttpParts, target: &Target, query: &Query, body: Value) -> Result<HttpResponse, Status> {
    let options = delete_options(query, body);
    let dry_run = asks_for_dry_run(&options);
    let key = key_of(target);
    let written = ask(parts, target, key.clone(), Verb::Delete { options }, query, dry_run).await?;
    if !written.gone {
        return Ok(respond::json_text(200, written.object.text().to_owned()));
    }
    Ok(respond::json(
        200,
        &json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {
                "name": key.name, "group": target.kind.group, "kind": target.kind.plural,
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
    if target.kind.namespaced && target.namespace.is_none() {
        return Err(Status::method_not_allowed());
    }
    let options = delete_options(query, body);
    let dry_run = asks_for_dry_run(&options);
    let selection = Selection::of(target, query)?;
    let view = loaded_view(parts)?;
    let kind = view.kind(&target.kind.id());
    let mut items = Vec::new();
    for object in kind.objects.values().filter(|object| selection.matches(object)) {
        let verb = Verb::Delete { options: options.clone() };
        match ask(parts, target, object.key.clone(), verb, query, dry_run).await {
            Ok(written) => items.push(written.object.value()),
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    Ok(respond::json(
        200,
        &json!({
            "kind": format!("{}List", target.kind.kind), "apiVersion": target.kind.api_version(),
            "metadata": {"resourceVersion": parts.objects.view().revision.to_string()}, "items": items,
        }),
    ))
}
