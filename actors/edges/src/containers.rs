//! What is asked of a pod's containers: by which pod and container a request is answered, and by which node.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use mkube_messages::objects::{ObjectsView, StoredObject};
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::status::Status;
use serde_json::Value;

use crate::methods::Verb;
use crate::parts::{HttpParts, Query, Target};
use crate::passing_on::{self, Elsewhere};
use crate::read::{key_of, loaded_view};
use crate::{exec, logs, port_forward};

/// Answers what is asked of them: here, or by the API of the node that has them.
pub async fn answer(
    request: &HttpRequest,
    payload: web::Payload,
    parts: &HttpParts,
    target: &Target,
    query: &Query,
    verb: Verb,
) -> Result<HttpResponse, Status> {
    let view = loaded_view(parts)?;
    let pod = found(&view, target)?;
    if let Some(there) = Elsewhere::of(parts, &view, target, &pod) {
        return passing_on::pass_on(request, payload, parts, &there).await;
    }
    passing_on::check(request, target, &pod)?;
    match verb {
        Verb::Exec => exec::answer(request, payload, parts, target, query).await,
        Verb::Attach => exec::attach(request, payload, parts, target, query).await,
        Verb::PortForward => port_forward::answer(request, payload, parts, target),
        _ => logs::answer(parts, target, query).await,
    }
}

fn found(view: &ObjectsView, target: &Target) -> Result<Arc<StoredObject>, Status> {
    let key = key_of(target);
    view.get(&target.kind.id(), &key).ok_or_else(|| Status::not_found(&target.kind, &key.name))
}

/// The pod of a request, if it runs on this node.
pub fn pod(parts: &HttpParts, target: &Target) -> Result<Arc<StoredObject>, Status> {
    let view = loaded_view(parts)?;
    let pod = found(&view, target)?;
    Elsewhere::of(parts, &view, target, &pod).map_or(Ok(pod), |there| Err(there.refusal()))
}

/// The container of a request: the one it names, or the only one.
pub fn chosen(parts: &HttpParts, target: &Target, query: &Query) -> Result<ContainerRef, Status> {
    let object = pod(parts, target)?;
    let (key, pod) = (object.key.clone(), object.value());
    let containers: Vec<&str> = pod
        .pointer("/spec/containers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("name")?.as_str())
        .collect();
    let wanted = query.get("container").map(String::as_str).filter(|name| !name.is_empty());
    let container = match (wanted, containers.as_slice()) {
        (Some(name), all) if all.contains(&name) => name,
        (Some(name), _) => {
            return Err(Status::bad_request(format!("container {name} is not valid for pod {}", key.name)));
        }
        (None, [only]) => only,
        (None, all) => {
            let message =
                format!("a container name must be specified for pod {}, choose one of: [{}]", key.name, all.join(" "));
            return Err(Status::bad_request(message));
        }
    };
    Ok(ContainerRef { namespace: key.namespace, pod: key.name, container: container.to_owned() })
}
