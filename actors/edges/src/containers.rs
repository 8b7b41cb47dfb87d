//! Which pod and which of its containers a request about one is for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mkube_messages::objects::{ObjectKey, ObjectsView, StoredObject};
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::status::Status;
use serde_json::Value;

use crate::parts::{HttpParts, Query, Target};
use crate::read::{key_of, loaded_view};

/// The pod of a request, if it runs on this node.
pub fn pod(parts: &HttpParts, target: &Target) -> Result<Arc<StoredObject>, Status> {
    let view = loaded_view(parts)?;
    let key = key_of(target);
    let object = view.get(&target.kind.id(), &key).ok_or_else(|| Status::not_found(&target.kind, &key.name))?;
    if !parts.objects.is_here(&target.kind.id(), &key) {
        let pod = object.value();
        let node = target.kind.home.of(&pod).unwrap_or("that is not known yet");
        let its = api_of(parts, &view, node).map_or_else(String::new, |address| format!(", http://{address}"));
        let why = format!("pod {} runs on node {node}: ask the API of that node for its containers{its}", key.name);
        return Err(Status::bad_request(why));
    }
    Ok(object.clone())
}

/// Where the API of a node listens, as its Node says.
fn api_of(parts: &HttpParts, view: &ObjectsView, node: &str) -> Option<String> {
    let nodes = parts.objects.kinds().named("Node")?.id();
    let node = view.get(&nodes, &ObjectKey::new("", node))?.value();
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port")?.as_u64().filter(|port| *port > 0)?;
    let addresses = node.pointer("/status/addresses")?.as_array()?;
    let of = |kind: &str| addresses.iter().find(|one| one["type"] == kind)?["address"].as_str();
    let ip: IpAddr = of("ExternalIP").or_else(|| of("InternalIP"))?.parse().ok()?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?).to_string())
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
