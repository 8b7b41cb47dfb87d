//! The `eviction` subresource: asks that a pod goes, which is refused while it is needed.

use actix_web::HttpResponse;
use mkube_messages::deployments::EvictPod;
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_model::metadata;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::{HttpParts, Query, Target};
use crate::read::key_of;
use crate::request_body::Body;
use crate::{respond, write};

pub async fn create(parts: &HttpParts, target: &Target, query: &Query, body: Body) -> Result<HttpResponse, Status> {
    let Body { value: eviction, counted: _counted, .. } = body;
    let pod = key_of(target);
    check(&eviction, &pod.namespace, &pod.name)?;
    let metadata = json!({"metadata": eviction["metadata"]});
    (target.kind.typed)(&metadata)
        .map_err(|why| Status::bad_request(format!("the Eviction cannot be understood: {why}")))?;
    let options = write::delete_options(&Query::new(), eviction["deleteOptions"].clone())?;
    let dry_run = write::dry_run(query, "CreateOptions", write::asks_for_dry_run(&options)?)?;
    let context = RequestContext::new("evict", patience::WRITE);
    let asked = parts.evict.ask(EvictPod { context, pod, options, dry_run }).await;
    asked.map_err(|error| respond::status_from("whoever decides on evictions", error))?;
    Ok(respond::json(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

/// Whether a body is an Eviction of the pod of the path.
fn check(eviction: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    if !eviction.is_object() {
        return Err(Status::bad_request("the body must be an Eviction of policy/v1"));
    }
    let differs = |found: &Value, expected: &str| match found {
        Value::Null => false,
        Value::String(found) => !found.is_empty() && found != expected,
        _ => true,
    };
    // As kubectl up to 1.21 writes it.
    let older = eviction["apiVersion"] == "policy/v1beta1";
    let expected = if older { "policy/v1beta1" } else { "policy/v1" };
    for (field, expected) in [("apiVersion", expected), ("kind", "Eviction")] {
        if differs(&eviction[field], expected) {
            let found = &eviction[field];
            let message =
                format!("the {field} in the data ({found}) does not match the expected {field} ({expected:?})");
            return Err(Status::bad_request(message));
        }
    }
    if differs(&eviction["metadata"]["name"], name) {
        let message =
            format!("name in URL ({name}) does not match name in Eviction object: {}", metadata::name(eviction));
        return Err(Status::bad_request(message));
    }
    if differs(&eviction["metadata"]["namespace"], namespace) {
        return Err(Status::bad_request("the namespace of the Eviction does not match the namespace on the request"));
    }
    Ok(())
}
