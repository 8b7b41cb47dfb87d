//! create, get, list, update, delete of every kind.

use serde_json::{Value, json};

use crate::{MAPS, PODS, map, pod, quiet};

#[actix_rt::test]
async fn every_kind_is_created_read_replaced_and_deleted() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let event = json!({
        "metadata": {"name": "x"}, "reason": "Tested", "message": "hello", "type": "Normal",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
    });
    let kinds = [
        ("/api/v1/namespaces", json!({"metadata": {"name": "x"}})),
        ("/api/v1/nodes", json!({"metadata": {"name": "x"}})),
        (MAPS, map("x", json!({"a": "1"}))),
        ("/api/v1/namespaces/default/events", event),
        (PODS, pod("x")),
    ];
    for (path, body) in kinds {
        let one = format!("{path}/x");
        let created = api.post(path, &body).await?.expect(201);
        assert_eq!(created.body["metadata"]["name"], "x");
        assert!(created.body["metadata"]["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{path}");
        assert!(created.body["metadata"]["creationTimestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert!(created.version().parse::<u64>().is_ok_and(|version| version > 0), "{path}");
        let again = api.post(path, &body).await?.refused(409, "AlreadyExists");
        assert!(again.body["message"].as_str().is_some_and(|text| text.ends_with("\"x\" already exists")));
        let read = api.get(&one).await?.expect(200);
        assert!(read.body["kind"].is_string() && read.body["apiVersion"] == "v1", "{path}");
        assert!(api.get(path).await?.expect(200).names().contains(&"x"), "{path}");
        let mut next = read.body.clone();
        next["metadata"]["labels"]["changed"] = json!("yes");
        next["metadata"].as_object_mut().map(|meta| meta.remove("resourceVersion"));
        let replaced = api.put(&one, &next).await?.expect(200);
        assert_eq!(replaced.body["metadata"]["labels"]["changed"], "yes");
        assert_ne!(replaced.version(), read.version());
        api.delete(&one).await?.expect(200);
        world
            .until("the deletion", |view| {
                !view.kinds.values().any(|kind| kind.objects.keys().any(|key| key.name == "x"))
            })
            .await?;
        api.get(&one).await?.refused(404, "NotFound");
        api.delete(&one).await?.refused(404, "NotFound").saying("\"x\" not found");
        api.put(&one, &next).await?.refused(404, "NotFound");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_stale_version_another_uid_and_another_name_are_refused_on_replacement() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    let first = api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201).body;
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    api.put(&one, &second).await?.expect(200);
    let words = "the object has been modified; please apply your changes to the latest version and try again";
    api.put(&one, &second).await?.refused(409, "Conflict").saying(words);
    let mut other = map("m", json!({}));
    other["metadata"]["uid"] = json!("another");
    api.put(&one, &other).await?.refused(409, "Conflict");
    let wrong = api.put(&one, &map("n", json!({}))).await?.refused(400, "BadRequest");
    assert!(wrong.body["message"].as_str().is_some_and(|text| text.contains("does not match the name on the URL")));
    // Without a version it is last writer wins, and nothing new is no new version.
    let third = api.put(&one, &map("m", json!({"a": "3"}))).await?.expect(200);
    let same = api.put(&one, &map("m", json!({"a": "3"}))).await?.expect(200);
    assert_eq!(third.version(), same.version());
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_deletion_obeys_its_preconditions() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    let made = api.post(MAPS, &map("m", json!({}))).await?.expect(201);
    let wrong_uid = json!({"preconditions": {"uid": "another"}});
    api.delete_with(&one, &wrong_uid).await?.refused(409, "Conflict").saying("UID in precondition");
    let wrong_version = json!({"preconditions": {"resourceVersion": "1"}});
    api.delete_with(&one, &wrong_version).await?.refused(409, "Conflict");
    api.get(&one).await?.expect(200);
    let right = json!({"preconditions": {"uid": made.body["metadata"]["uid"], "resourceVersion": made.version()}});
    let gone = api.delete_with(&one, &right).await?.expect(200);
    assert_eq!((&gone.body["kind"], &gone.body["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone.body["details"]["uid"], made.body["metadata"]["uid"]);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn options_of_a_deletion_that_make_no_sense_delete_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    api.post(MAPS, &map("m", json!({}))).await?.expect(201);
    let before = world.stored();
    for (options, code) in [
        (json!(["x"]), 400),
        (json!({"kind": "Pod"}), 400),
        (json!({"gracePeriodSeconds": "soon"}), 400),
        (json!({"gracePeriodSeconds": -1}), 422),
        (json!({"propagationPolicy": "Sideways"}), 422),
        (json!({"dryRun": ["Some"]}), 422),
        (json!({"dryRun": "All"}), 422),
        (json!({"preconditions": "uid"}), 400),
    ] {
        for path in [&one, MAPS] {
            assert_eq!(api.delete_with(path, &options).await?.code, code, "{options} {path}");
        }
    }
    api.delete(&format!("{one}?gracePeriodSeconds=x")).await?.refused(400, "BadRequest");
    api.delete(&format!("{MAPS}?labelSelector=%zz")).await?.refused(400, "BadRequest");
    api.delete(&format!("{MAPS}?labelSelector=a+b")).await?.refused(400, "BadRequest");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_collection_is_deleted_by_its_selector() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    for number in 0..70 {
        let mut one = map(&format!("m{number:02}"), json!({}));
        one["metadata"]["labels"] = json!({"half": if number < 35 { "first" } else { "second" }});
        api.post(MAPS, &one).await?.expect(201);
    }
    let would = api.delete(&format!("{MAPS}?labelSelector=half%3Dfirst&dryRun=All")).await?.expect(200);
    assert_eq!(would.names().len(), 35);
    assert_eq!(api.get(MAPS).await?.names().len(), 70);
    let deleted = api.delete(&format!("{MAPS}?labelSelector=half%3Dfirst")).await?.expect(200);
    assert_eq!((&deleted.body["kind"], deleted.names().len()), (&json!("ConfigMapList"), 35));
    let left = api.get(MAPS).await?;
    assert_eq!((left.names().len(), left.names()[0]), (35, "m35"));
    api.delete("/api/v1/configmaps").await?.refused(405, "MethodNotAllowed");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_dry_run_answers_as_if_and_changes_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201);
    let before = world.stored();
    let one = format!("{MAPS}/m?dryRun=All");
    let created = api.post(&format!("{MAPS}?dryRun=All"), &map("n", json!({}))).await?.expect(201);
    assert_eq!(created.version(), "");
    assert!(created.body["metadata"]["uid"].is_string());
    let pod = api.post(&format!("{PODS}?dryRun=All"), &pod("p")).await?.expect(201);
    assert_eq!(pod.body["spec"]["restartPolicy"], "Always", "defaults are shown");
    assert_eq!(api.put(&one, &map("m", json!({"a": "2"}))).await?.expect(200).body["data"]["a"], "2");
    let patched = api.patch(&one, "merge", &json!({"data": {"b": "3"}})).await?.expect(200);
    assert_eq!(patched.body["data"], json!({"a": "1", "b": "3"}));
    api.delete(&one).await?.expect(200);
    api.delete_with(&format!("{MAPS}/m"), &json!({"dryRun": ["All"]})).await?.expect(200);
    api.post(&format!("{MAPS}?dryRun=All"), &map("m", json!({}))).await?.refused(409, "AlreadyExists");
    api.post(&format!("{MAPS}?dryRun=Some"), &map("n", json!({}))).await?.refused(422, "Invalid").saying("dryRun");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn generated_names_differ_and_keep_their_prefix() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let body = json!({"metadata": {"generateName": "job-"}, "data": {}});
    let mut names = std::collections::HashSet::new();
    for _ in 0..5 {
        let made = api.post(MAPS, &body).await?.expect(201);
        let name = made.body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        assert!(name.starts_with("job-") && name.len() == 9, "{name}");
        assert_eq!(made.body["metadata"]["generateName"], "job-");
        names.insert(name);
    }
    assert_eq!(names.len(), 5);
    let refused = api.post(MAPS, &json!({"metadata": {}})).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["metadata.name"]);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn the_status_subresource_and_the_object_do_not_write_each_other() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let node = json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"phase": "Running"}});
    let made = api.post("/api/v1/nodes", &node).await?.expect(201);
    assert_eq!(made.body["status"], Value::Null, "a new object has the status of its controller");
    let both = json!({"spec": {"unschedulable": true}, "status": {"nodeInfo": Value::Null, "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}});
    let status = api.patch("/api/v1/nodes/n/status", "merge", &both).await?.expect(200);
    assert_eq!(status.body["spec"], json!({"podCIDR": "10.0.0.0/24"}));
    assert_eq!(status.body["status"]["addresses"][0]["address"], "10.0.0.9");
    assert_eq!(status.body["metadata"]["generation"], 1);
    let object = api
        .patch("/api/v1/nodes/n", "merge", &json!({"spec": {"unschedulable": true}, "status": {"addresses": []}}))
        .await?;
    assert_eq!(object.expect(200).body["status"]["addresses"][0]["address"], "10.0.0.9");
    let read = api.get("/api/v1/nodes/n/status").await?.expect(200).body;
    assert_eq!((&read["spec"]["unschedulable"], &read["metadata"]["generation"]), (&json!(true), &json!(2)));
    let mut whole = read.clone();
    whole["status"] = json!({"addresses": []});
    whole["spec"] = json!({});
    let put = api.put("/api/v1/nodes/n/status", &whole).await?.expect(200).body;
    assert_eq!((&put["spec"]["unschedulable"], &put["status"]["addresses"]), (&json!(true), &json!([])));
    api.get(&format!("{MAPS}/m/status")).await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut held = map("m", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.post(MAPS, &held).await?.expect(201);
    let one = format!("{MAPS}/m");
    let marked = api.delete(&one).await?.expect(200);
    assert!(marked.body["metadata"]["deletionTimestamp"].is_string());
    let again = api.delete(&one).await?.expect(200);
    assert_eq!(again.version(), marked.version());
    let more = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let refused = api.patch(&one, "merge", &more).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["metadata.finalizers"]);
    let unset = api.patch(&one, "merge", &json!({"metadata": {"deletionTimestamp": null}})).await?.expect(200);
    assert!(unset.body["metadata"]["deletionTimestamp"].is_string(), "a deletion cannot be taken back");
    api.patch(&one, "merge", &json!({"metadata": {"finalizers": null}})).await?.expect(200);
    api.get(&one).await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_namespace_takes_its_content_with_it_and_default_stays() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await?.expect(201);
    let inside = "/api/v1/namespaces/team";
    let mut held = map("m", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.post(&format!("{inside}/configmaps"), &held).await?.expect(201);
    api.post(&format!("{inside}/pods"), &pod("p")).await?.expect(201);
    let going = api.delete(inside).await?.expect(200);
    assert_eq!(going.body["status"]["phase"], "Terminating");
    let refused = api.post(&format!("{inside}/configmaps"), &map("n", json!({}))).await?.refused(403, "Forbidden");
    refused.saying("because it is being terminated");
    let one = format!("{inside}/configmaps/m");
    world
        .until("the mark on the content", |view| {
            view.kinds
                .values()
                .flat_map(|kind| kind.objects.values())
                .any(|object| object.key.name == "m" && object.value()["metadata"]["deletionTimestamp"].is_string())
        })
        .await?;
    api.get(inside).await?.expect(200);
    api.patch(&one, "merge", &json!({"metadata": {"finalizers": null}})).await?.expect(200);
    world
        .until("the end of the namespace", |view| {
            !view.kinds.values().any(|kind| kind.objects.keys().any(|key| key.name == "team"))
        })
        .await?;
    assert_eq!(api.get(&format!("{inside}/pods")).await?.expect(200).names(), Vec::<&str>::new());
    api.delete("/api/v1/namespaces/default").await?.refused(403, "Forbidden").saying("may not be deleted");
    api.post("/api/v1/namespaces/nosuch/configmaps", &map("m", json!({})))
        .await?
        .refused(404, "NotFound")
        .saying("namespaces \"nosuch\" not found");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_pod_becomes_running_and_is_gone_after_its_deletion() -> anyhow::Result<()> {
    let world = mkube_scenarios::World::start().await?;
    let api = world.api();
    let made = api.post(PODS, &pod("p")).await?.expect(201).body;
    assert_eq!((&made["status"]["phase"], &made["spec"]["nodeName"]), (&json!("Pending"), &json!("mkube")));
    world.until_pod("p", "Running").await?;
    let running = api.get(&format!("{PODS}/p")).await?.expect(200).body;
    assert!(running["status"]["podIP"].as_str().is_some_and(|address| address.starts_with("10.90.0.")));
    let deleted = api.delete(&format!("{PODS}/p")).await?.expect(200).body;
    assert_eq!((&deleted["kind"], &deleted["metadata"]["deletionGracePeriodSeconds"]), (&json!("Pod"), &json!(30)));
    let gone = world.until("the end of the pod", |view| {
        !view.kinds.values().any(|kind| kind.objects.keys().any(|key| key.name == "p"))
    });
    gone.await?;
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_pod_with_a_finalizer_goes_when_device_and_finalizer_are_done_with_it() -> anyhow::Result<()> {
    let world = mkube_scenarios::World::start().await?;
    let api = world.api();
    let mut held = pod("p");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    api.post(PODS, &held).await?.expect(201);
    world.until_pod("p", "Running").await?;
    let one = format!("{PODS}/p");
    for (asked, expected) in [(Some(30), 30), (Some(5), 5), (Some(60), 5), (None, 5)] {
        let options = asked.map_or(json!({}), |seconds| json!({"gracePeriodSeconds": seconds}));
        let marked = api.delete_with(&one, &options).await?.expect(200).body;
        assert_eq!(
            marked["metadata"]["deletionGracePeriodSeconds"], expected,
            "a grace is shortened, never lengthened"
        );
    }
    let rows = world.controller().device.clone().wait_for(|picture| picture.containers.is_empty()).await.map(drop);
    assert!(rows.is_ok(), "the container goes, whoever holds the object");
    api.get(&format!("{PODS}/p")).await?.expect(200);
    api.patch(&format!("{PODS}/p"), "merge", &json!({"metadata": {"finalizers": null}})).await?.expect(200);
    world
        .until("the end of the pod", |view| {
            !view.kinds.values().any(|kind| kind.objects.keys().any(|key| key.name == "p"))
        })
        .await?;
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn no_event_outlives_its_namespace() -> anyhow::Result<()> {
    let world = mkube_scenarios::World::start().await?;
    let api = world.api();
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await?.expect(201);
    api.post("/api/v1/namespaces/team/pods", &pod("p")).await?.expect(201);
    let event_of = |view: &mkube_messages::objects::ObjectsView, namespace: &str| {
        view.kinds
            .iter()
            .any(|(id, kind)| id.plural == "events" && kind.objects.keys().any(|key| key.namespace == namespace))
    };
    world.until("an event of the pod", |view| event_of(view, "team")).await?;
    api.delete("/api/v1/namespaces/team").await?.expect(200);
    world
        .until("the end of the namespace", |view| {
            !view.kinds.values().any(|kind| kind.objects.keys().any(|key| key.name == "team"))
        })
        .await?;
    // Events are written in order: when this one is there, those of before are.
    api.post(PODS, &pod("q")).await?.expect(201);
    world.until("an event of the other pod", |view| event_of(view, "default")).await?;
    assert!(!event_of(&world.view(), "team"));
    world.stop().await;
    Ok(())
}
