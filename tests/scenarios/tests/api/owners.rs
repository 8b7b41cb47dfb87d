//! Deleting owners over HTTP, as `kubectl delete --cascade` does.

use mkube_scenarios::World;
use serde_json::{Value, json};

use crate::{MAPS, PODS, map, pod, quiet, settled};

/// A Deployment with a ConfigMap and a pod that belong to it, and are none of its replicas.
async fn family(world: &World, name: &str) -> anyhow::Result<()> {
    let api = world.api();
    let body = json!({"metadata": {"name": name}, "spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "c", "image": "hello:latest"}]}}}});
    let owner = api.post("/apis/apps/v1/namespaces/default/deployments", &body).await?.expect(201).body;
    let reference = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": true}]);
    for (path, mut body) in [(MAPS, map(&format!("{name}-map"), json!({}))), (PODS, pod(&format!("{name}-pod")))] {
        body["metadata"]["ownerReferences"] = reference.clone();
        api.post(path, &body).await?.expect(201);
    }
    settled(world, name).await
}

async fn until_gone(world: &World, name: &str) -> anyhow::Result<()> {
    let gone = |view: &mkube_messages::objects::ObjectsView| {
        let kinds = view.kinds.iter().filter(|(id, _)| id.plural != "events");
        !kinds.flat_map(|(_, kind)| kind.objects.keys()).any(|key| key.name == name)
    };
    world.until(&format!("the end of {name}"), gone).await
}

fn one(name: &str) -> String {
    format!("/apis/apps/v1/namespaces/default/deployments/{name}")
}

#[actix_rt::test]
async fn a_deployment_takes_its_own_along_unless_they_are_orphaned() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = world.api();
    let background: Value = json!({"propagationPolicy": "Background"});
    let foreground = json!({"propagationPolicy": "Foreground"});
    for (name, options) in
        [("a", background), ("b", foreground), ("c", json!({"orphanDependents": false})), ("d", json!({}))]
    {
        family(&world, name).await?;
        world.until_pod(&format!("{name}-pod"), "Running").await?;
        let answer = api.delete_with(&one(name), &options).await?.expect(200).body;
        let waits = name == "b";
        let finalizers = if waits { json!(["foregroundDeletion"]) } else { Value::Null };
        assert_eq!(answer["metadata"]["finalizers"], finalizers, "{name}");
        for gone in [name.to_owned(), format!("{name}-map"), format!("{name}-pod")] {
            until_gone(&world, &gone).await?;
        }
    }
    for (name, options) in [("e", json!({"propagationPolicy": "Orphan"})), ("f", json!({"orphanDependents": true}))] {
        family(&world, name).await?;
        let answer = api.delete_with(&one(name), &options).await?.expect(200).body;
        assert_eq!(answer["metadata"]["finalizers"], json!(["orphan"]));
        until_gone(&world, name).await?;
        for path in [format!("{MAPS}/{name}-map"), format!("{PODS}/{name}-pod")] {
            let left = api.get(&path).await?.expect(200).body;
            assert_eq!(
                (&left["metadata"]["ownerReferences"], &left["metadata"]["deletionTimestamp"]),
                (&Value::Null, &Value::Null)
            );
        }
        world.until_pod(&format!("{name}-pod"), "Running").await?;
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_policy_in_the_query_counts_and_two_that_differ_are_refused() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    family(&world, "a").await?;
    world.until_pod("a-pod", "Running").await?;
    let before = world.stored();
    for (query, options, code) in [
        ("propagationPolicy=Sideways", json!({}), 422),
        ("orphanDependents=maybe", json!({}), 400),
        ("", json!({"orphanDependents": "yes"}), 400),
        ("", json!({"propagationPolicy": 5}), 422),
        ("", json!({"propagationPolicy": "Foreground", "orphanDependents": false}), 422),
        ("orphanDependents=true", json!({"propagationPolicy": "Orphan"}), 422),
    ] {
        let answer = api.delete_with(&format!("{}?{query}", one("a")), &options).await?;
        assert_eq!(answer.code, code, "{query} {options} {}", answer.text);
    }
    let dry = api.delete(&format!("{}?propagationPolicy=Foreground&dryRun=All", one("a"))).await?.expect(200).body;
    assert_eq!(dry["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(world.stored(), before);
    api.delete(&format!("{}?propagationPolicy=Orphan", one("a"))).await?.expect(200);
    until_gone(&world, "a").await?;
    api.get(&format!("{MAPS}/a-map")).await?.expect(200);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_collection_of_owners_goes_with_all_that_depend_on_them() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = world.api();
    for name in ["a", "b"] {
        family(&world, name).await?;
    }
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deleted = api.delete_with(path, &json!({"propagationPolicy": "Foreground"})).await?.expect(200);
    assert_eq!(deleted.names(), ["a", "b"]);
    for name in ["a", "b", "a-map", "b-map", "a-pod", "b-pod"] {
        until_gone(&world, name).await?;
    }
    api.post(path, &json!({"metadata": {"name": "a"}, "spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "c", "image": "hello:latest"}]}}}}))
        .await?
        .expect(201);
    world.stop().await;
    Ok(())
}
