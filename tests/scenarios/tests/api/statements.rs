//! Statements of the Kubernetes reference that no other theme covers, by their numbers: see docs/compatibility.md.

use mkube_scenarios::World;
use serde_json::{Value, json};

use crate::{JSON, MAPS, PODS, TABLE, map, pod, quiet, settled};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(image: &str) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
    }})
}

/// Statement 11.
#[actix_rt::test]
async fn every_kind_has_the_columns_that_people_know() -> anyhow::Result<()> {
    let world = quiet().await?;
    for (path, columns) in [
        (PODS, "Name Ready Status Restarts Age IP1 Node1 Nominated Node1 Readiness Gates1"),
        (DEPLOYMENTS, "Name Ready Up-to-date Available Age Containers1 Images1 Selector1"),
        (
            "/apis/apps/v1/namespaces/default/replicasets",
            "Name Desired Current Ready Age Containers1 Images1 Selector1",
        ),
        (
            "/api/v1/nodes",
            "Name Status Roles Age Version Internal-IP1 External-IP1 OS-Image1 Kernel-Version1 Container-Runtime1",
        ),
        (
            "/api/v1/namespaces/default/events",
            "Last Seen Type Reason Object Subobject1 Source1 Message First Seen1 Count1 Name1",
        ),
        (MAPS, "Name Data Age"),
        ("/api/v1/namespaces/default/secrets", "Name Type Data Age"),
        ("/api/v1/namespaces", "Name Status Age"),
        ("/api/v1/namespaces/default/services", "Name Type Cluster-IP External-IP Port(s) Age Selector1"),
        ("/apis/coordination.k8s.io/v1/namespaces/default/leases", "Name Holder Age"),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            "Name Status Volume Capacity Access Modes StorageClass VolumeAttributesClass Age VolumeMode1",
        ),
        (
            "/apis/batch/v1/namespaces/default/jobs",
            "Name Status Completions Duration Age Containers1 Images1 Selector1",
        ),
    ] {
        let table = world.api().get_as(path, TABLE).await?.expect(200).body;
        let told = table["columnDefinitions"].as_array().into_iter().flatten().map(|column| {
            let priority = if column["priority"] == 0 { String::new() } else { column["priority"].to_string() };
            format!("{}{priority}", column["name"].as_str().unwrap_or_default())
        });
        assert_eq!(told.collect::<Vec<_>>().join(" "), columns, "{path}");
    }
    world.stop().await;
    Ok(())
}

/// Statement 12.
#[actix_rt::test]
async fn a_row_says_how_a_pod_is() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut pair = pod("pair");
    pair["metadata"]["finalizers"] = json!(["example.org/held"]);
    let containers = ["a", "b"].map(|name| json!({"name": name, "image": "hello:latest"}));
    pair["spec"]["containers"] = json!(containers);
    api.post(PODS, &pair).await?.expect(201);
    let row = async |status: Value| -> anyhow::Result<String> {
        // The answer to the write itself is read: whoever runs the pod writes its own status soon after.
        let headers = [("content-type", "application/merge-patch+json"), ("accept", TABLE)];
        let body = json!({"status": status}).to_string();
        let table = api.send("PATCH", &format!("{PODS}/pair/status"), &headers, body).await?.expect(200).body;
        let cells = table["rows"][0]["cells"].as_array().cloned().unwrap_or_default();
        Ok(cells[1..4].iter().map(|cell| cell.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" "))
    };
    let runs =
        json!({"name": "a", "ready": true, "restartCount": 0, "image": "", "imageID": "", "state": {"running": {}}});
    let state = |state: Value| json!({"name": "b", "ready": false, "restartCount": 3, "image": "", "imageID": "", "state": state});
    let waits = state(json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    let told = row(json!({"phase": "Running", "containerStatuses": [runs, waits]})).await?;
    assert_eq!(told, "1/2 CrashLoopBackOff 3");
    let ended = state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
    let told = row(json!({"phase": "Running", "containerStatuses": [runs, ended]})).await?;
    assert_eq!(told, "1/2 NotReady 3");
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let told = row(json!({"phase": "Running", "conditions": ready, "containerStatuses": [runs, ended]})).await?;
    assert_eq!(told, "1/2 Running 3");
    api.delete(&format!("{PODS}/pair")).await?.expect(200);
    let told = row(json!({"phase": "Running", "containerStatuses": [runs, runs]})).await?;
    assert_eq!(told, "2/2 Terminating 0");
    let told = row(json!({"phase": "Succeeded", "containerStatuses": [ended, ended]})).await?;
    assert_eq!(told, "0/2 Completed 6");
    world.stop().await;
    Ok(())
}

/// Statement 34.
#[actix_rt::test]
async fn a_dry_run_is_told_to_nobody_who_watches() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201);
    let list = api.get(MAPS).await?.expect(200);
    let mut watch = api.watch(&format!("{MAPS}?watch=true&resourceVersion={}", list.version()), JSON).await?;
    let one = format!("{MAPS}/m?dryRun=All");
    api.post(&format!("{MAPS}?dryRun=All"), &map("n", json!({}))).await?.expect(201);
    api.put(&one, &map("m", json!({"a": "2"}))).await?.expect(200);
    for how in ["merge", "strategic-merge"] {
        api.patch(&one, how, &json!({"data": {"a": "3"}})).await?.expect(200);
    }
    let applied = map("m", json!({"b": "4"})).to_string();
    let apply = [("content-type", "application/apply-patch+yaml")];
    api.send("PATCH", &format!("{one}&fieldManager=me&force=true"), &apply, applied).await?.expect(200);
    api.delete(&one).await?.expect(200);
    api.delete_with(&format!("{MAPS}/m"), &json!({"dryRun": ["All"]})).await?.expect(200);
    // The first that is told of is the first that happened.
    api.post(MAPS, &map("real", json!({}))).await?.expect(201);
    assert_eq!(watch.event().await?, ("ADDED".to_owned(), "real".to_owned()));
    assert_eq!(api.get(&format!("{MAPS}/m")).await?.expect(200).body["data"], json!({"a": "1"}));
    world.stop().await;
    Ok(())
}

/// Statement 37.
#[actix_rt::test]
async fn objects_that_cannot_be_are_refused_with_the_path_of_the_field() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut other = deployment("hello:latest");
    other["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let refused = api.post(DEPLOYMENTS, &other).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["spec.template.metadata.labels"]);
    refused.saying("`selector` does not match template `labels`");
    let mut none = pod("none");
    none["spec"]["containers"] = json!([]);
    let refused = api.post(PODS, &none).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["spec.containers"]);
    refused.saying("Required value");
    let mut twice = pod("twice");
    twice["spec"]["containers"] =
        json!([{"name": "d", "image": "x"}, {"name": "c", "image": "x"}, {"name": "d", "image": "x"}]);
    let refused = api.post(PODS, &twice).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["spec.containers[2].name"]);
    refused.saying("Duplicate value: \"d\"");
    world.stop().await;
    Ok(())
}

/// Statement 50.
#[actix_rt::test]
async fn the_generation_grows_with_the_spec_alone_and_is_caught_up_with() -> anyhow::Result<()> {
    let world = World::start().await?;
    let api = world.api();
    let one = format!("{DEPLOYMENTS}/web");
    let made = api.post(DEPLOYMENTS, &deployment("hello:latest")).await?.expect(201);
    assert_eq!(made.body["metadata"]["generation"], 1);
    settled(&world, "web").await?;
    let known = api.get(&one).await?.expect(200).body;
    assert_eq!((&known["metadata"]["generation"], &known["status"]["observedGeneration"]), (&json!(1), &json!(1)));
    assert!(known["status"]["readyReplicas"] == 1, "its status was written meanwhile: {}", known["status"]);
    let labels = json!({"metadata": {"labels": {"tier": "front"}}});
    let labelled = api.patch(&one, "merge", &labels).await?.expect(200);
    assert_eq!(labelled.body["metadata"]["generation"], 1, "labels are no spec");
    let noted = json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "a whim"}}});
    let noted = api.patch(&one, "merge", &noted).await?.expect(200);
    assert_eq!(noted.body["metadata"]["generation"], 2, "annotations of a Deployment are, as in Kubernetes");
    settled(&world, "web").await?;
    assert_eq!(api.get(&one).await?.expect(200).body["status"]["observedGeneration"], 2);
    let status = json!({"status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    let reported = api.patch(&format!("{one}/status"), "merge", &status).await?.expect(200);
    assert_eq!(reported.body["metadata"]["generation"], 2, "the status is none");
    let more = json!({"spec": {"replicas": 2}});
    assert_eq!(api.patch(&one, "merge", &more).await?.expect(200).body["metadata"]["generation"], 3);
    settled(&world, "web").await?;
    assert_eq!(api.get(&one).await?.expect(200).body["status"]["observedGeneration"], 3);
    api.post(MAPS, &map("m", json!({}))).await?.expect(201);
    let noted = json!({"metadata": {"annotations": {"a": "b"}}});
    let noted = api.patch(&format!("{MAPS}/m"), "merge", &noted).await?.expect(200);
    assert_eq!(noted.body["metadata"]["generation"], 1, "those of other kinds are not");
    world.stop().await;
    Ok(())
}
