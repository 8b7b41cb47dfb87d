//! `/apis/metrics.k8s.io/v1beta1`: what pods and the node use, for `kubectl top`. From the device's own figures, as published.

use std::sync::Arc;

use actix_web::HttpResponse;
use jiff::Timestamp;
use mkube_messages::objects::StoredObject;
use mkube_messages::router::DeviceReader;
use mkube_model::kinds::Kind;
use mkube_model::neighbours::pod_logs::ContainerRef;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::parts::{HttpParts, Query, Target};
use crate::read::{Selection, loaded_view};
use crate::respond;

/// Group and version.
const API: &str = "metrics.k8s.io/v1beta1";
/// How far back figures reach: the pause between two readings of the device.
const WINDOW: &str = "10s";

/// What one container uses now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContainerUsage {
    /// Bytes.
    pub memory: u64,
    /// Percent of one core.
    pub cpu_percent: f64,
}

/// Finds what a container uses; nothing while it does not run, or where the device does not tell.
pub type FindUsage = Arc<dyn Fn(&ContainerRef) -> Option<ContainerUsage> + Send + Sync>;

/// Where figures come from.
#[derive(Clone)]
pub struct HttpUsage {
    /// The device.
    pub device: DeviceReader,
    /// Its containers.
    pub find: FindUsage,
}

/// What is shown of one object; nothing where there are no figures.
type Figures = fn(&HttpParts, &StoredObject, Timestamp) -> Option<Value>;

/// Answers a read below the group.
pub fn answer(parts: &HttpParts, rest: &[&str], query: &Query) -> Result<HttpResponse, Status> {
    let (plural, namespace, name) = match *rest {
        [plural] => (plural, None, None),
        ["namespaces", namespace, plural @ "pods"] => (plural, Some(namespace), None),
        ["namespaces", namespace, plural @ "pods", name] => (plural, Some(namespace), Some(name)),
        [plural @ "nodes", name] => (plural, None, Some(name)),
        _ => return Err(Status::no_such_path()),
    };
    let (kind, figures) = match plural {
        "pods" => ("Pod", of_pod as Figures),
        "nodes" => ("Node", of_node as Figures),
        _ => return Err(Status::no_such_path()),
    };
    let kind = *parts.objects.kinds().named(kind).ok_or_else(Status::no_such_path)?;
    let all = chosen(parts, kind, namespace, name, query)?;
    let now = parts.clock.now();
    let mut items = all.iter().filter_map(|object| figures(parts, object, now));
    let Some(name) = name else {
        let items: Vec<Value> = items.collect();
        let kind = format!("{}MetricsList", kind.kind);
        return Ok(respond::json(200, &json!({"kind": kind, "apiVersion": API, "metadata": {}, "items": items})));
    };
    let missing = || {
        let plural = format!("{}metrics.metrics.k8s.io", kind.singular);
        Status::new(404, "NotFound", format!("{plural} {name:?} not found"))
    };
    items.next().map(|found| respond::json(200, &found)).ok_or_else(missing)
}

fn chosen(
    parts: &HttpParts,
    kind: Kind,
    namespace: Option<&str>,
    name: Option<&str>,
    query: &Query,
) -> Result<Vec<Arc<StoredObject>>, Status> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let target = Target {
        kind,
        namespace: owned(namespace),
        name: owned(name),
        sub: None,
        in_core: false,
        agent: String::new(),
        view: None,
    };
    let selection = Selection::of(&target, query)?;
    let view = loaded_view(parts)?;
    let objects = view.kinds.get(&kind.id()).into_iter().flat_map(|kind| kind.objects.values());
    // What runs elsewhere is known elsewhere.
    let here = objects.filter(|object| parts.objects.is_here(&kind.id(), &object.key));
    Ok(here.filter(|object| selection.matches(object)).cloned().collect())
}

fn of_pod(parts: &HttpParts, object: &StoredObject, now: Timestamp) -> Option<Value> {
    let pod = object.value();
    let names = pod["spec"]["containers"].as_array()?.iter().filter_map(|one| one["name"].as_str());
    let containers: Vec<Value> = names
        .filter_map(|name| {
            let key = &object.key;
            let container =
                ContainerRef { namespace: key.namespace.clone(), pod: key.name.clone(), container: name.to_owned() };
            let used = (parts.usage.find)(&container)?;
            Some(json!({"name": name, "usage": amounts(used.cpu_percent / 100.0, used.memory)}))
        })
        .collect();
    if containers.is_empty() {
        return None;
    }
    let mut shown = figures("PodMetrics", object, &pod, now);
    shown["metadata"]["namespace"] = json!(object.key.namespace);
    shown["containers"] = json!(containers);
    Some(shown)
}

fn of_node(parts: &HttpParts, object: &StoredObject, now: Timestamp) -> Option<Value> {
    let device = parts.usage.device.borrow().clone();
    let resource = device.resource.as_ref().filter(|_| device.reachable)?;
    let cores = f64::from(resource.cpu_load) / 100.0 * f64::from(resource.cpu_count);
    let mut shown = figures("NodeMetrics", object, &object.value(), now);
    shown["usage"] = amounts(cores, resource.memory_total.saturating_sub(resource.memory_free));
    Some(shown)
}

fn figures(kind: &str, object: &StoredObject, value: &Value, now: Timestamp) -> Value {
    let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut metadata = json!({"name": object.key.name, "creationTimestamp": time});
    if !value["metadata"]["labels"].is_null() {
        metadata["labels"] = value["metadata"]["labels"].clone();
    }
    json!({"kind": kind, "apiVersion": API, "metadata": metadata, "timestamp": time, "window": WINDOW})
}

/// Cores and bytes as quantities.
fn amounts(cores: f64, bytes: u64) -> Value {
    let nanos = (cores.max(0.0) * 1e9).round() as u64;
    json!({"cpu": format!("{nanos}n"), "memory": format!("{}Ki", bytes.div_ceil(1024))})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_quantities_that_kubectl_adds_up() {
        assert_eq!(amounts(0.176, 519_647_232), json!({"cpu": "176000000n", "memory": "507468Ki"}));
        assert_eq!(amounts(-1.0, 1), json!({"cpu": "0n", "memory": "1Ki"}));
    }
}
