//! `GET /api/v1/networks…` and `/api/v1/allocations` in the shapes of the Go controller. From what is published.
//!
//! The same path leads to the objects, for whoever asks as Kubernetes clients do: with a table in mind, or with options of a
//! list. Those with a plain question get the plain answer scripts are used to.

use actix_web::HttpResponse;
use mkube_messages::ipam::{HeldAddress, LeasesReader, NetworksReader};
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::{Kind, NETWORKS};
use mkube_model::names;
use mkube_model::network::Network;
use mkube_model::status::Status;
use serde_json::{Map, Value, json};

use crate::negotiate::Form;
use crate::parts::{HttpParts, Query};
use crate::respond;

/// What is told of networks and addresses.
#[derive(Clone)]
pub struct HttpNetworks {
    /// Networks.
    pub networks: NetworksReader,
    /// Addresses.
    pub leases: LeasesReader,
}

/// Answers a plain question; nothing when it is to be answered as Kubernetes would, or by nobody.
pub fn plain(parts: &HttpParts, rest: &[&str], query: &Query, wants: Form) -> Option<Result<HttpResponse, Status>> {
    let ports = matches!(rest, [_, "ports"]);
    if !ports && (wants != Form::Plain || !query.is_empty()) {
        return None;
    }
    match rest {
        [] => Some(list(parts)),
        [name] => Some(one(parts, name)),
        [name, "ports"] => Some(ports_of(parts, name)),
        _ => None,
    }
}

/// Addresses by interface.
pub fn allocations(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let leases = parts.networks.leases.borrow().clone();
    if !leases.loaded {
        return Err(Status::unavailable("addresses are not known before device and store were read", 1));
    }
    let all: Map<String, Value> =
        leases.by_veth.iter().map(|(veth, held)| (veth.clone(), json!(held.address))).collect();
    Ok(respond::json(200, &Value::Object(all)))
}

fn list(parts: &HttpParts) -> Result<HttpResponse, Status> {
    let view = parts.networks.networks.borrow().clone();
    let all: Vec<Value> = view.by_name.values().map(|network| Value::Object(facts(network))).collect();
    Ok(respond::json(200, &json!(all)))
}

fn one(parts: &HttpParts, name: &str) -> Result<HttpResponse, Status> {
    let network = find(parts, name)?;
    let mut shown = facts(&network);
    shown.insert("dnsZone".into(), json!(network.names.zone));
    shown.insert("ports".into(), json!(inside(parts, &network)?.len()));
    Ok(respond::json(200, &Value::Object(shown)))
}

fn ports_of(parts: &HttpParts, name: &str) -> Result<HttpResponse, Status> {
    let network = find(parts, name)?;
    let ports: Vec<Value> = inside(parts, &network)?
        .iter()
        .map(|(veth, held)| json!({"name": veth, "ip": held.address, "hostname": hostname(parts, veth, held)}))
        .collect();
    Ok(respond::json(200, &json!(ports)))
}

fn facts(network: &Network) -> Map<String, Value> {
    let facts = [
        ("name", json!(network.name)),
        ("bridge", json!(network.bridge)),
        ("cidr", json!(network.cidr.to_string())),
        ("gateway", json!(network.gateway)),
    ];
    facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn find(parts: &HttpParts, name: &str) -> Result<std::sync::Arc<Network>, Status> {
    let view = parts.networks.networks.borrow().clone();
    let kind = parts.objects.kinds().get(&NETWORKS);
    let missing = |kind: &Kind| Status::not_found(kind, name);
    view.by_name.get(name).cloned().ok_or_else(|| kind.map_or_else(Status::no_such_path, missing))
}

/// Interfaces with an address of the network.
fn inside(parts: &HttpParts, network: &Network) -> Result<Vec<(String, HeldAddress)>, Status> {
    let leases = parts.networks.leases.borrow().clone();
    if !leases.loaded {
        return Err(Status::unavailable("addresses are not known before device and store were read", 1));
    }
    let inside = leases.by_veth.iter().filter(|(_, held)| network.cidr.contains(&held.address));
    Ok(inside.map(|(veth, held)| (veth.clone(), held.clone())).collect())
}

/// `<container>.<pod>`; empty for an interface of somebody else.
fn hostname(parts: &HttpParts, veth: &str, held: &HeldAddress) -> String {
    let Some(ObjectKey { namespace, name }) = &held.pod else { return String::new() };
    let kind = parts.objects.kinds().named("Pod").map(Kind::id);
    let key = ObjectKey::new(namespace.as_str(), name.as_str());
    let pod = kind.and_then(|kind| parts.objects.view().get(&kind, &key)).map(|pod| pod.value());
    let containers = pod.as_ref().and_then(|pod| pod.pointer("/spec/containers")?.as_array());
    let of_veth = |index: &usize| {
        let plain = names::veth_name(namespace, name, *index);
        veth == plain || veth == names::suffixed(&plain, &format!("{key}/{index}"), None)
    };
    let index = (0..containers.map_or(0, Vec::len)).find(of_veth);
    let container = index.and_then(|index| containers?.get(index)?.get("name")?.as_str());
    container.map_or_else(|| name.clone(), |container| format!("{container}.{name}"))
}
