//! Server-side apply and field managers over HTTP (statements 26 to 28, 34 and §2.6 of the Kubernetes reference).

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Config};
use mkube_messages::objects::ObjectsView;
use mkube_scenarios::{Answer, World};
use serde_json::{Value, json};

use crate::{JSON, MAPS, PODS, map, pod, quiet};

const APPLY: &str = "application/apply-patch+yaml";
const NETWORKS: &str = "/apis/vkube.io/v1alpha1/networks";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn apply(world: &World, path: &str, query: &str, body: &Value) -> anyhow::Result<Answer> {
    world.api().patch(&format!("{path}?{query}"), APPLY, body).await
}

/// The entries of a manager: operation, subresource and fields.
fn entries(object: &Value, manager: &str) -> Vec<(String, String, Value)> {
    let list = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    list.filter(|entry| entry["manager"] == manager)
        .map(|entry| (text(entry, "operation"), text(entry, "subresource"), entry["fieldsV1"].clone()))
        .collect()
}

fn own(operation: &str, fields: Value) -> Vec<(String, String, Value)> {
    vec![(operation.to_owned(), String::new(), fields)]
}

#[actix_rt::test]
async fn an_apply_makes_an_object_changes_it_and_says_who_manages_what() -> anyhow::Result<()> {
    let world = quiet().await?;
    let one = format!("{MAPS}/m");
    let first = apply(&world, &one, "fieldManager=m1", &map("m", json!({"a": "1", "b": "2"}))).await?.expect(201);
    let entry = &first.body["metadata"]["managedFields"][0];
    for (field, value) in [("manager", "m1"), ("operation", "Apply"), ("apiVersion", "v1"), ("fieldsType", "FieldsV1")]
    {
        assert_eq!(entry[field], value, "{entry}");
    }
    assert_eq!(entry["fieldsV1"], json!({"f:data": {"f:a": {}, "f:b": {}}}));
    assert!(entry["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{entry}");
    let same = apply(&world, &one, "fieldManager=m1", &map("m", json!({"a": "1", "b": "2"}))).await?.expect(200);
    assert_eq!(same.body, first.body, "the same once more changes nothing, not even the version");
    let second = apply(&world, &one, "fieldManager=m1", &map("m", json!({"a": "1", "c": "3"}))).await?.expect(200);
    assert_eq!(second.body["data"], json!({"a": "1", "c": "3"}), "what is applied no more goes");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata:\n  a: \"1\"\n";
    let path = format!("{one}?fieldManager=m2");
    let shared = world.api().send("PATCH", &path, &[("content-type", APPLY)], yaml).await?.expect(200);
    assert_eq!(entries(&shared.body, "m2"), own("Apply", json!({"f:data": {"f:a": {}}})));
    let left = apply(&world, &one, "fieldManager=m1", &map("m", json!({}))).await?.expect(200);
    assert_eq!(left.body["data"], json!({"a": "1"}), "what is shared stays");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_field_of_another_manager_is_not_changed_without_force() -> anyhow::Result<()> {
    let world = quiet().await?;
    let one = format!("{MAPS}/m");
    apply(&world, &one, "fieldManager=m1", &map("m", json!({"a": "1"}))).await?.expect(201);
    let before = world.stored();
    let other = map("m", json!({"a": "2"}));
    for query in ["fieldManager=m2", "fieldManager=m2&force=false", "fieldManager=m2&dryRun=All"] {
        let refused = apply(&world, &one, query, &other).await?.refused(409, "Conflict");
        let refused = refused.saying("Apply failed with 1 conflict: conflict with \"m1\": .data.a");
        assert_eq!(
            refused.body["details"]["causes"],
            json!([{"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a"}])
        );
    }
    let dry = apply(&world, &one, "fieldManager=m2&force=true&dryRun=All", &other).await?.expect(200);
    assert_eq!(dry.body["data"]["a"], "2");
    assert_eq!(world.stored(), before);
    let forced = apply(&world, &one, "fieldManager=m2&force=true", &other).await?.expect(200);
    assert_eq!((entries(&forced.body, "m1").len(), entries(&forced.body, "m2").len()), (0, 1));
    let dry = apply(&world, &format!("{MAPS}/new"), "fieldManager=m&dryRun=All", &map("new", json!({}))).await?;
    assert_eq!(dry.expect(201).version(), "", "what is not stored has no version");
    world.api().get(&format!("{MAPS}/new")).await?.expect(404);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn every_write_records_its_manager_or_the_program_that_sent_it() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let headers = [("content-type", JSON), ("user-agent", "tool/v1.2 (linux)")];
    let made = api.send("POST", MAPS, &headers, map("m", json!({"a": "1"})).to_string()).await?.expect(201);
    assert_eq!(entries(&made.body, "tool"), own("Update", json!({"f:data": {"f:a": {}}})));
    let one = format!("{MAPS}/m");
    let patch = json!({"data": {"b": "2"}, "metadata": {"labels": {"l": "1"}}});
    let patched = api.patch(&format!("{one}?fieldManager=p"), "merge", &patch).await?.expect(200);
    let fields = json!({"f:data": {"f:b": {}}, "f:metadata": {"f:labels": {"f:l": {}}}});
    assert_eq!(entries(&patched.body, "p"), own("Update", fields));
    let mut next = patched.body.clone();
    next["data"] = json!({"a": "9", "b": "2"});
    next["metadata"].as_object_mut().expect("a map").remove("managedFields");
    let put = api.put(&format!("{one}?fieldManager=q"), &next).await?.expect(200);
    assert_eq!(entries(&put.body, "q"), own("Update", json!({"f:data": {"f:a": {}}})));
    assert!(entries(&put.body, "tool").is_empty(), "who does not know of managers loses nobody but himself");
    let refused = apply(&world, &one, "fieldManager=kubectl", &map("m", json!({"a": "1", "b": "1"}))).await?;
    refused
        .refused(409, "Conflict")
        .saying("conflicts with \"p\" using v1:\n- .data.b\nconflicts with \"q\" using v1:");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn managers_are_cleared_replaced_or_left_as_a_body_says() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    apply(&world, &one, "fieldManager=m1", &map("m", json!({"a": "1"}))).await?.expect(201);
    let set = |list: Value| json!({"metadata": {"managedFields": list}});
    let kept = api.patch(&one, "merge", &set(json!([]))).await?.expect(200);
    assert_eq!(entries(&kept.body, "m1").len(), 1, "an empty list is of clients that do not know of them");
    let entry = json!({"manager": "m9", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}}});
    let migrated = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [entry]}]);
    let migrated = api.patch(&one, "json", &migrated).await?.expect(200);
    assert_eq!((entries(&migrated.body, "m9").len(), entries(&migrated.body, "m1").len()), (1, 0));
    let before = world.stored();
    let mut bad = entry.clone();
    bad["operation"] = json!("Steal");
    let refused = api.patch(&one, "merge", &set(json!([bad]))).await?.refused(422, "Invalid");
    assert_eq!(refused.fields(), ["metadata.managedFields[0].operation"]);
    assert_eq!(world.stored(), before);
    let cleared = api.patch(&one, "merge", &set(json!([{}]))).await?.expect(200);
    assert!(cleared.body["metadata"].get("managedFields").is_none(), "{}", cleared.body);
    let patch = json!({"data": {"b": "2"}});
    let untold = api.patch(&format!("{one}?fieldManager=u"), "merge", &patch).await?.expect(200);
    assert!(untold.body["metadata"].get("managedFields").is_none(), "nothing is kept until somebody applies");
    let refused = apply(&world, &one, "fieldManager=m1", &map("m", json!({"a": "2"}))).await?;
    refused.refused(409, "Conflict").saying("conflict with \"before-first-apply\" using v1: .data.a");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_bad_apply_is_refused_and_changes_nothing() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201);
    api.post(PODS, &pod("p")).await?.expect(201);
    let before = world.stored();
    let good = map("m", json!({"a": "2"}));
    let without = |field: &str| {
        let mut body = good.clone();
        body.as_object_mut().expect("a map").remove(field);
        body
    };
    let with = |pointer: &str, value: Value| {
        let mut body = good.clone();
        body["metadata"][pointer] = value;
        body
    };
    let long = format!("fieldManager={}", "x".repeat(129));
    let (m, force) = ("fieldManager=m", "fieldManager=m&force=true");
    let required = "fieldManager: Required value: is required for apply patch";
    let cases: Vec<(&str, Value, u16, &str)> = vec![
        ("", good.clone(), 422, required),
        ("fieldManager=", good.clone(), 422, required),
        (&long, good.clone(), 422, "fieldManager: Too long"),
        ("fieldManager=a%07b", good.clone(), 422, "fieldManager: Invalid value"),
        ("fieldManager=m&force=perhaps", good.clone(), 400, "force"),
        (m, without("apiVersion"), 400, "apiVersion: must be set"),
        (m, without("kind"), 400, "kind: must be set"),
        (m, with("managedFields", json!([])), 400, "metadata.managedFields must be nil"),
        (force, with("resourceVersion", json!("1")), 409, "the object has been modified"),
        (force, with("uid", json!("other")), 409, "UID in precondition"),
        (force, with("name", json!("other")), 400, "does not match the name on the URL"),
        (force, with("namespace", json!("other")), 400, "namespace"),
        (force, json!([]), 400, "must be a JSON or YAML object"),
        (force, map("m", json!({"a": 5})), 400, "data.a"),
        ("fieldManager=m&force=true&fieldValidation=Strict", with("x", json!(1)), 400, "unknown field \"metadata.x\""),
        (force, map("m", json!({"a b": "x"})), 422, "data[a b]"),
    ];
    for (query, body, code, words) in cases {
        let answer = apply(&world, &one, query, &body).await?;
        assert_eq!(answer.code, code, "{query} {body}: {}", answer.body);
        answer.saying(words);
    }
    let new = format!("{MAPS}/new");
    let mut versioned = map("new", json!({}));
    versioned["metadata"]["resourceVersion"] = json!("7");
    apply(&world, &new, m, &versioned).await?.refused(409, "Conflict");
    apply(&world, "/api/v1/namespaces/nosuch/configmaps/m", m, &good).await?.refused(404, "NotFound");
    apply(&world, &format!("{new}/status"), m, &map("new", json!({}))).await?.expect(404);
    let mut twice = pod("p");
    twice["spec"]["containers"] = json!([{"name": "c", "image": "x:1"}, {"name": "c", "image": "x:2"}]);
    let refused = apply(&world, &format!("{PODS}/p"), force, &twice).await?.refused(400, "BadRequest");
    refused.saying(".spec.containers[name=\"c\"]: duplicate entries");
    let text = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1", "a": "2"}}"#;
    let path = format!("{one}?fieldManager=m&force=true&fieldValidation=Strict");
    let refused = api.send("PATCH", &path, &[("content-type", APPLY)], text).await?.refused(400, "BadRequest");
    refused.saying("duplicate field \"data.a\"");
    let cbor = api.patch(&format!("{one}?fieldManager=m"), "application/apply-patch+cbor", &good).await?;
    cbor.refused(415, "UnsupportedMediaType");
    let forced = api.patch(&format!("{one}?force=true"), "merge", &json!({"data": {"a": "2"}})).await?;
    forced.refused(422, "Invalid").saying("force: Forbidden: may not be specified for non-apply patch");
    let named = api.patch(&format!("{one}?{long}"), "merge", &json!({"data": {"a": "2"}})).await?;
    named.refused(422, "Invalid").saying("fieldManager: Too long: may not be more than 128 bytes");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn what_a_kind_does_not_know_is_warned_of_and_managed_by_nobody() -> anyhow::Result<()> {
    let world = quiet().await?;
    let mut body = map("m", json!({"a": "1"}));
    body["dta"] = json!({"b": "2"});
    let made = apply(&world, &format!("{MAPS}/m"), "fieldManager=m", &body).await?.expect(201);
    assert_eq!(made.warnings(), ["299 - \"unknown field 'dta'\""]);
    assert_eq!(entries(&made.body, "m"), own("Apply", json!({"f:data": {"f:a": {}}})));
    let same = apply(&world, &format!("{MAPS}/m"), "fieldManager=m", &body).await?.expect(200);
    assert_eq!(same.version(), made.version());
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn replicas_set_through_scale_conflict_under_the_name_of_the_subresource() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{DEPLOYMENTS}/web");
    let deployment = |replicas: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "hello:latest"}]}}},
        })
    };
    let made = apply(&world, &one, "fieldManager=m", &deployment(json!(0))).await?.expect(201);
    assert_eq!(entries(&made.body, "m")[0].2["f:spec"]["f:selector"], json!({}), "a selector is one value");
    let scale = json!({"spec": {"replicas": 1}});
    api.patch(&format!("{one}/scale?fieldManager=sc"), "merge", &scale).await?.expect(200);
    let refused = apply(&world, &one, "fieldManager=m", &deployment(json!(0))).await?.refused(409, "Conflict");
    refused.saying("conflict with \"sc\" with subresource \"scale\" using apps/v1: .spec.replicas");
    let without = apply(&world, &one, "fieldManager=m", &deployment(Value::Null)).await?.expect(200);
    assert_eq!(without.body["spec"]["replicas"], 1, "it is the scaler's");
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 2}});
    apply(&world, &format!("{one}/scale"), "fieldManager=auto", &scale).await?.refused(409, "Conflict");
    let scaled = apply(&world, &format!("{one}/scale"), "fieldManager=auto&force=true", &scale).await?.expect(200);
    assert_eq!((&scaled.body["kind"], &scaled.body["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    let after = api.get(&one).await?.expect(200).body;
    let fields = json!({"f:spec": {"f:replicas": {}}});
    assert_eq!(entries(&after, "auto"), [("Apply".to_owned(), "scale".to_owned(), fields)]);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_status_is_applied_by_itself_and_a_spec_without_it() -> anyhow::Result<()> {
    let world = quiet().await?;
    let one = "/api/v1/nodes/other";
    let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other", "labels": {"l": "1"}}});
    apply(&world, one, "fieldManager=m", &node).await?.expect(201);
    node["status"] = json!({"nodeInfo": {"kubeletVersion": "v1"}, "conditions": [{"type": "Ready", "status": "True"}]});
    let ignored = apply(&world, one, "fieldManager=m", &node).await?.expect(200);
    assert!(ignored.body["status"]["conditions"].is_null(), "{}", ignored.body);
    node["metadata"]["labels"]["l"] = json!("2");
    let status = format!("{one}/status");
    let applied = apply(&world, &status, "fieldManager=m", &node).await?.expect(200);
    assert_eq!(applied.body["metadata"]["labels"]["l"], "1");
    let found = entries(&applied.body, "m");
    let [(_, none, labels), (_, sub, fields)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((none.as_str(), sub.as_str()), ("", "status"));
    assert_eq!(*labels, json!({"f:metadata": {"f:labels": {"f:l": {}}}}));
    let ready = json!({".": {}, "f:type": {}, "f:status": {}});
    assert_eq!(fields["f:status"]["f:conditions"][r#"k:{"type":"Ready"}"#], ready);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn own_kinds_are_applied_with_lists_as_one_value() -> anyhow::Result<()> {
    let world = quiet().await?;
    let network = |cidr: &str| {
        json!({
            "apiVersion": "vkube.io/v1alpha1", "kind": "Network", "metadata": {"name": "lab"},
            "spec": {"cidr": cidr, "gateway": "10.91.0.1", "bridge": "br-lab"},
        })
    };
    let one = format!("{NETWORKS}/lab");
    let made = apply(&world, &one, "fieldManager=m", &network("10.91.0.0/24")).await?.expect(201);
    assert_eq!(entries(&made.body, "m")[0].2["f:spec"]["f:cidr"], json!({}));
    apply(&world, &one, "fieldManager=n", &network("10.91.0.0/25"))
        .await?
        .refused(409, "Conflict")
        .saying(".spec.cidr");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_running_pod_says_little_of_its_managers_and_no_more_with_time() -> anyhow::Result<()> {
    let world = World::start().await?;
    let path = format!("{PODS}/web");
    apply(&world, &path, "fieldManager=kubectl", &pod("web")).await?.expect(201);
    let running = |view: &ObjectsView| {
        let mut pods = view.kinds.values().flat_map(|kind| kind.objects.values()).filter(|one| one.key.name == "web");
        pods.any(|pod| pod.value()["status"]["phase"] == "Running")
    };
    world.until("the pod to run", running).await?;
    let object = world.api().get(&path).await?.expect(200).body;
    let of_status: Vec<_> = entries(&object, "mkube").into_iter().filter(|(_, sub, _)| sub == "status").collect();
    assert_eq!(of_status, [("Update".to_owned(), "status".to_owned(), json!({"f:status": {}}))]);
    let list = object["metadata"]["managedFields"].to_string();
    assert!(list.len() < 1000, "{} bytes of {}: {list}", list.len(), object.to_string().len());
    let again = apply(&world, &path, "fieldManager=kubectl", &pod("web")).await?.expect(200);
    assert_eq!(again.body["spec"], object["spec"], "what controllers and defaults wrote is no conflict");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_typed_client_applies_and_forces() -> anyhow::Result<()> {
    let world = quiet().await?;
    let config = Config::new(format!("http://{}", world.api().address()).parse()?);
    let maps: Api<ConfigMap> = Api::default_namespaced(Client::try_from(config)?);
    let patch = |value: &str| Patch::Apply(map("m", json!({"a": value})));
    let made = maps.patch("m", &PatchParams::apply("one"), &patch("1")).await?;
    let managers = made.metadata.managed_fields.unwrap_or_default();
    assert_eq!(managers.first().and_then(|entry| entry.manager.as_deref()), Some("one"));
    let refused = maps.patch("m", &PatchParams::apply("two"), &patch("2")).await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "Conflict"),
        "{refused:?}"
    );
    let forced = maps.patch("m", &PatchParams::apply("two").force(), &patch("2")).await?;
    assert_eq!(forced.data.and_then(|data| data.get("a").cloned()).as_deref(), Some("2"));
    world.stop().await;
    Ok(())
}
