//! The `scale` subresource, the lightweight paths of Deployments, and kinds that clients only read.

use std::time::Duration;

use mkube_messages::objects::ObjectsView;
use mkube_scenarios::{Setup, World};
use serde_json::{Value, json};

use crate::{JSON, TABLE, quiet, settled};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const LIGHT: &str = "/api/v1/namespaces/default/deployments";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";

fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "hello:latest"}]}}},
    })
}

#[actix_rt::test]
async fn a_deployment_is_scaled_by_put_and_every_kind_of_patch() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(DEPLOYMENTS, &deployment("web", 0)).await?.expect(201);
    settled(&world, "web").await?;
    let one = format!("{DEPLOYMENTS}/web/scale");
    let both = async || {
        let made = api.get(&format!("{DEPLOYMENTS}/web")).await?.expect(200).body;
        anyhow::Ok((made, api.get(&one).await?.expect(200).body))
    };
    let (mut made, mut scale) = both().await?;
    while made["metadata"]["resourceVersion"] != scale["metadata"]["resourceVersion"] {
        // Its controller said something in between; it ends saying things.
        (made, scale) = both().await?;
    }
    assert_eq!(
        scale,
        json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {
                "name": "web", "namespace": "default", "uid": made["metadata"]["uid"],
                "resourceVersion": made["metadata"]["resourceVersion"],
                "creationTimestamp": made["metadata"]["creationTimestamp"],
            },
            "spec": {"replicas": 0}, "status": {"replicas": 0, "selector": "app=web"},
        })
    );
    let mut put = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": scale["metadata"], "spec": {"replicas": 2}});
    put["metadata"]["resourceVersion"] = json!("");
    // Some clients send it without a word about its type.
    let answer = api.send("PUT", &one, &[], put.to_string()).await?.expect(200).body;
    assert_eq!((&answer["kind"], &answer["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    put["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"].clone();
    api.put(&one, &put).await?.refused(409, "Conflict").saying("the object has been modified");
    let set = json!({"spec": {"replicas": 3}});
    assert_eq!(api.patch(&one, "merge", &set).await?.expect(200).body["spec"]["replicas"], 3);
    let set = json!({"spec": {"replicas": 4}});
    assert_eq!(api.patch(&one, "strategic-merge", &set).await?.expect(200).body["spec"]["replicas"], 4);
    let set = json!([{"op": "test", "path": "/spec/replicas", "value": 4}, {"op": "replace", "path": "/spec/replicas", "value": 5}]);
    assert_eq!(api.patch(&one, "json", &set).await?.expect(200).body["spec"]["replicas"], 5);
    let dry = api.patch(&format!("{one}?dryRun=All"), "merge", &json!({"spec": {"replicas": 9}})).await?.expect(200);
    assert_eq!(dry.body["spec"]["replicas"], 9);
    let object = api.get(&format!("{DEPLOYMENTS}/web")).await?.expect(200).body;
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(5), &json!(5)));
    assert_eq!(object["spec"]["template"], made["spec"]["template"]);
    // Types of clients leave out a number that is zero.
    let none = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "web"}, "spec": {}});
    assert_eq!(api.put(&one, &none).await?.expect(200).body["spec"]["replicas"], 0);
    let table = api.get_as(&one, TABLE).await?.expect(200).body;
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
    assert_eq!(table["rows"][0]["cells"][0], "web");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_bad_scale_is_refused_with_its_field_and_changes_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(DEPLOYMENTS, &deployment("web", 0)).await?.expect(201);
    let one = format!("{DEPLOYMENTS}/web/scale");
    // What its controller says of it meanwhile is no change of what is wanted.
    let wanted = async || {
        let object = api.get(&format!("{DEPLOYMENTS}/web")).await?.expect(200).body;
        anyhow::Ok((object["spec"].clone(), object["metadata"]["generation"].clone()))
    };
    let before = wanted().await?;
    let negative = api.patch(&one, "merge", &json!({"spec": {"replicas": -1}})).await?.refused(422, "Invalid");
    assert_eq!(
        negative.body["message"],
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(negative.fields(), ["spec.replicas"]);
    let named = |more: Value| {
        let mut body = json!({"metadata": {"name": "web"}});
        body.as_object_mut()
            .into_iter()
            .for_each(|fields| fields.extend(more.as_object().cloned().unwrap_or_default()));
        body
    };
    for (body, code) in [
        (json!({}), 422),
        (named(json!({})), 422),
        (json!({"spec": {"replicas": 1}}), 422),
        (named(json!({"spec": {"replicas": "1"}})), 400),
        (named(json!({"spec": {"replicas": 1.5}})), 400),
        (named(json!({"spec": {"replicas": 5_000_000_000_u64}})), 400),
        (named(json!({"kind": "Deployment", "spec": {"replicas": 1}})), 400),
        (json!({"metadata": {"name": "other"}, "spec": {"replicas": 1}}), 400),
        (json!({"metadata": {"name": "web", "uid": "other"}, "spec": {"replicas": 1}}), 409),
        (json!([]), 400),
    ] {
        assert_eq!(api.put(&one, &body).await?.code, code, "{body}");
    }
    let typo = named(json!({"spec": {"replicas": 1, "replica": 2}}));
    api.put(&format!("{one}?fieldValidation=Strict"), &typo).await?.refused(400, "BadRequest").saying("spec.replica");
    api.send("PUT", &one, &[], "").await?.refused(400, "BadRequest");
    api.patch(&one, "json", &json!([{"op": "test", "path": "/spec/replicas", "value": 7}]))
        .await?
        .refused(422, "Invalid");
    api.patch(&one, "apply", &json!({"spec": {"replicas": 1}})).await?.refused(415, "UnsupportedMediaType");
    api.post(&one, &json!({})).await?.refused(405, "MethodNotAllowed");
    api.delete(&one).await?.refused(405, "MethodNotAllowed");
    api.delete(&format!("{DEPLOYMENTS}/web/status")).await?.refused(405, "MethodNotAllowed");
    for path in [format!("{DEPLOYMENTS}/no/scale"), format!("{LIGHT}/no/scale")] {
        let words = "deployments/scale.apps \"no\" not found";
        api.get(&path).await?.refused(404, "NotFound").saying(words);
        api.patch(&path, "merge", &json!({"spec": {"replicas": 1}})).await?.refused(404, "NotFound").saying(words);
    }
    api.get("/api/v1/namespaces/default/pods/x/scale").await?.refused(404, "NotFound");
    assert_eq!(wanted().await?, before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn the_paths_of_the_go_controller_serve_the_same_deployments() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut watch = api.watch(&format!("{LIGHT}?watch=true"), JSON).await?;
    let light = json!({"apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 0,
        "template": {"spec": {"containers": [{"name": "c", "image": "hello:latest"}]}}}});
    let made = api.post(LIGHT, &light).await?.expect(201).body;
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["selector"]),
        (&json!("apps/v1"), &json!({"matchLabels": {"app": "web"}}))
    );
    assert_eq!(watch.event().await?, ("ADDED".to_owned(), "web".to_owned()));
    settled(&world, "web").await?;
    let there = api.get(&format!("{DEPLOYMENTS}/web")).await?.expect(200).body;
    assert_eq!(api.get(&format!("{LIGHT}/web")).await?.expect(200).body, there);
    assert_eq!((&there["metadata"]["uid"], &there["spec"]), (&made["metadata"]["uid"], &made["spec"]));
    for path in [LIGHT, "/api/v1/deployments", DEPLOYMENTS, "/apis/apps/v1/deployments"] {
        let list = api.get(path).await?.expect(200);
        assert_eq!(
            (list.names(), &list.body["kind"], &list.body["apiVersion"]),
            (vec!["web"], &json!("DeploymentList"), &json!("apps/v1")),
            "{path}"
        );
    }
    api.post(LIGHT, &deployment("other", 0)).await?.expect(201);
    // Their statuses are news too.
    while watch.event().await? != ("ADDED".to_owned(), "other".to_owned()) {}
    settled(&world, "other").await?;
    let patch = json!({"apiVersion": "v1", "metadata": {"labels": {"a": "b"}}});
    assert_eq!(
        api.patch(&format!("{LIGHT}/web"), "merge", &patch).await?.expect(200).body["metadata"]["labels"]["a"],
        "b"
    );
    while watch.event().await? != ("MODIFIED".to_owned(), "web".to_owned()) {}
    let mut next = light.clone();
    next["spec"]["replicas"] = json!(1);
    next["spec"]["selector"] = made["spec"]["selector"].clone();
    next["spec"]["template"] = made["spec"]["template"].clone();
    assert_eq!(api.put(&format!("{LIGHT}/web"), &next).await?.expect(200).body["spec"]["replicas"], 1);
    assert_eq!(
        api.patch(&format!("{LIGHT}/web/scale"), "merge", &json!({"spec": {"replicas": 0}})).await?.expect(200).body["spec"]
            ["replicas"],
        0
    );
    api.post(LIGHT, &json!({"apiVersion": "v2", "kind": "Deployment", "metadata": {"name": "x"}}))
        .await?
        .refused(400, "BadRequest");
    // Only there: other kinds of that group are where Kubernetes has them, and other groups have no such thing.
    api.get("/api/v1/namespaces/default/replicasets").await?.refused(404, "NotFound");
    api.get("/api/v2/namespaces/default/deployments").await?.refused(404, "NotFound");
    api.get("/apis/policy/v1/namespaces/default/deployments").await?.refused(404, "NotFound");
    let listed = api.get("/api/v1").await?.expect(200).text;
    assert!(!listed.contains("\"deployments\""), "discovery of v1 does not tell: {listed}");
    api.delete(&format!("{LIGHT}/web")).await?.expect(200);
    while watch.event().await? != ("DELETED".to_owned(), "web".to_owned()) {}
    api.get(&format!("{DEPLOYMENTS}/web")).await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn replica_sets_are_read_and_watched_and_written_by_nobody() -> anyhow::Result<()> {
    // Controllers write them by the same way as everything else; so does a manifest.
    let made = [("web-1", "web"), ("web-2", "web"), ("other-1", "other")].map(|(name, app)| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "labels": {"app": app}}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": app}},
            "template": {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
    });
    let setup = Setup { tick: Duration::from_secs(3600), manifests: made.to_vec(), ..Setup::default() };
    let world = World::with(setup).await?;
    let api = world.api();
    let all =
        |view: &ObjectsView| view.kinds.iter().any(|(id, kind)| id.plural == "replicasets" && kind.objects.len() == 3);
    world.until("the three", all).await?;
    let before = world.stored();
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "x"}, "spec": {}});
    let one = format!("{SETS}/web-1");
    api.post(SETS, &set).await?.refused(405, "MethodNotAllowed");
    api.put(&one, &set).await?.refused(405, "MethodNotAllowed");
    api.patch(&one, "merge", &json!({})).await?.refused(405, "MethodNotAllowed");
    api.patch(&format!("{one}/status"), "merge", &json!({})).await?.refused(405, "MethodNotAllowed");
    api.delete(&one).await?.refused(405, "MethodNotAllowed");
    api.delete(SETS).await?.refused(405, "MethodNotAllowed");
    assert_eq!(world.stored(), before);
    assert_eq!(api.get(&format!("{SETS}?labelSelector=app%3Dweb")).await?.expect(200).names(), ["web-1", "web-2"]);
    let table = api.get_as(SETS, TABLE).await?.expect(200).body;
    assert_eq!(table["rows"].as_array().map(Vec::len), Some(3));
    let mut watch = api.watch(&format!("{SETS}?watch=true&labelSelector=app%3Dother"), JSON).await?;
    assert_eq!(watch.event().await?, ("ADDED".to_owned(), "other-1".to_owned()));
    let listed = api.get("/apis/apps/v1").await?.expect(200).body;
    let verbs = |name: &str| {
        let resources = listed["resources"].as_array().into_iter().flatten();
        resources.clone().find(|one| one["name"] == name).map(|one| one["verbs"].clone())
    };
    assert_eq!(verbs("replicasets"), Some(json!(["get", "list", "watch"])));
    assert_eq!(verbs("replicasets/status"), Some(json!(["get"])));
    assert_eq!(verbs("deployments/scale"), Some(json!(["get", "patch", "update"])));
    world.stop().await;
    Ok(())
}
