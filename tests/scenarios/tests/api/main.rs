//! The API over real HTTP: one file for each theme.

mod apply;
mod bad_input;
mod connections;
mod consistency;
mod crud;
mod discovery;
mod images;
mod kinds;
mod lists;
mod many;
mod matrix;
mod moving;
mod networks;
mod new_kind;
mod offers;
mod openapi;
mod owners;
mod parameters;
mod passing_on;
mod patches;
mod protobuf;
mod prune;
mod reviews;
mod rust_client;
mod scale;
mod statements;
mod store;
mod streams;
mod turns;
mod watching;

use std::time::Duration;

use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};

/// Collections of namespace `default`.
const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What kubectl accepts for a list.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const JSON: &str = "application/json";

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "hello:latest"}]},
    })
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Waits until its controller has nothing more to say of a Deployment.
async fn settled(world: &World, name: &str) -> anyhow::Result<()> {
    let says_so = |deployment: &Value| {
        let conditions = deployment.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
        let whole = conditions.into_iter().any(|one| one["reason"] == "NewReplicaSetAvailable");
        whole && deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
    };
    let settled = |view: &ObjectsView| {
        let deployments = view.kinds.iter().find(|(id, _)| id.plural == "deployments").map(|(_, kind)| kind);
        let found = deployments.and_then(|kind| kind.objects.get(&ObjectKey::new("default", name)));
        found.is_some_and(|deployment| says_so(&deployment.value()))
    };
    world.until(&format!("deployment {name} to settle"), settled).await
}

/// A world in which nothing happens by itself.
async fn quiet() -> anyhow::Result<World> {
    World::with(Setup { tick: Duration::from_secs(3600), ..Setup::default() }).await
}
