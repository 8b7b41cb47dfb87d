//! Kinds that need nothing but to be kept and shown: Lease, BareMetalHost, PersistentVolumeClaim, and events in their own group.

use serde_json::{Value, json};

use crate::{JSON, TABLE, pod, quiet};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const HOSTS: &str = "/apis/vkube.io/v1alpha1/namespaces/default/baremetalhosts";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const CORE_EVENTS: &str = "/api/v1/namespaces/default/events";

fn headings(table: &Value) -> Vec<&str> {
    let columns = table["columnDefinitions"].as_array().into_iter().flatten();
    columns.filter_map(|column| column["name"].as_str()).collect()
}

#[actix_rt::test]
async fn a_lease_is_taken_renewed_and_taken_over_by_whoever_read_it_last() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000001Z"});
    let made = api.post(LEASES, &json!({"metadata": {"name": "leader"}, "spec": spec})).await?.expect(201).body;
    assert_eq!((&made["spec"], &made["apiVersion"]), (&spec, &json!("coordination.k8s.io/v1")));
    let one = format!("{LEASES}/leader");
    let mut next = made.clone();
    next["spec"]["holderIdentity"] = json!("b");
    api.put(&one, &next).await?.expect(200);
    api.put(&one, &made).await?.refused(409, "Conflict").saying("the object has been modified");
    let table = api.get_as(LEASES, TABLE).await?.expect(200).body;
    assert_eq!((headings(&table), &table["rows"][0]["cells"][1]), (vec!["Name", "Holder", "Age"], &json!("b")));
    let wrong = json!({"metadata": {"name": "x"}, "spec": {"leaseDurationSeconds": 0}});
    api.post(LEASES, &wrong).await?.refused(422, "Invalid").saying("spec.leaseDurationSeconds");
    api.delete(&one).await?.expect(200);
    world.stop().await;
    Ok(())
}

/// Statement 30.
#[actix_rt::test]
async fn a_bare_metal_host_is_one_object_on_both_paths_and_takes_merge_patches_only() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let spec = json!({"bmc": {"address": "198.51.100.7", "username": "ADMIN", "password": "hunter2"},
        "bootMACAddress": "02:00:00:00:00:07", "online": true});
    let old = "/api/v1/namespaces/default/baremetalhosts";
    let body = json!({"apiVersion": "v1", "kind": "BareMetalHost", "metadata": {"name": "node7"}, "spec": spec});
    let made = api.post(old, &body).await?.expect(201).body;
    assert_eq!((&made["apiVersion"], &made["status"]["phase"]), (&json!("vkube.io/v1alpha1"), &json!("Registering")));
    let one = format!("{HOSTS}/node7");
    assert_eq!(api.get(&one).await?.expect(200).body["spec"], spec);
    let refused = api.patch(&one, "strategic-merge", &json!({"spec": {"online": false}})).await?;
    refused
        .refused(415, "UnsupportedMediaType")
        .saying("application/strategic-merge-patch+json is not supported by vkube.io/v1alpha1 BareMetalHost");
    let patched = api.patch(&one, "merge", &json!({"spec": {"image": "fedora"}})).await?.expect(200).body;
    assert_eq!((&patched["spec"]["image"], &patched["metadata"]["generation"]), (&json!("fedora"), &json!(2)));
    let status = json!({"status": {"phase": "Ready", "poweredOn": true, "ip": "198.51.100.8"}});
    api.patch(&format!("{one}/status"), "merge", &status).await?.expect(200);
    let table = api.get_as("/api/v1/baremetalhosts", TABLE).await?.expect(200).body;
    assert_eq!(headings(&table), ["Name", "Status", "Power", "Image", "IP", "MAC", "Age"]);
    let cells = table["rows"][0]["cells"].as_array().map(|cells| cells[..6].to_vec()).unwrap_or_default();
    assert_eq!(json!(cells), json!(["node7", "Ready", "on", "fedora", "198.51.100.8", "02:00:00:00:00:07"]));
    let before = world.stored();
    let wrong = json!({"spec": {"bootMACAddress": "seven"}});
    api.patch(&one, "merge", &wrong).await?.refused(422, "Invalid").saying("spec.bootMACAddress");
    let wrong = json!({"metadata": {"name": "x"}, "spec": {"online": "yes"}});
    api.post(HOSTS, &wrong).await?.refused(400, "BadRequest").saying("spec.online");
    assert_eq!(world.stored(), before);
    let exported = api.get("/api/v1/export").await?.expect(200).text;
    assert!(exported.contains("node7") && !exported.contains("hunter2"), "{exported}");
    assert!(api.get("/api/v1/export?secrets=true").await?.expect(200).text.contains("hunter2"));
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn events_are_the_same_in_both_groups() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut watch = api.watch(&format!("{EVENTS}?watch=true"), JSON).await?;
    let event = json!({"metadata": {"name": "e1"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        "note": "hello", "reason": "Greeted", "type": "Normal", "reportingController": "example.com/c",
        "reportingInstance": "c-1", "action": "Greet", "eventTime": "2026-01-01T00:00:00.000000Z"});
    let made = api.post(EVENTS, &event).await?.expect(201).body;
    assert_eq!((&made["apiVersion"], &made["note"]), (&json!("events.k8s.io/v1"), &json!("hello")));
    assert_eq!(watch.event().await?, ("ADDED".to_owned(), "e1".to_owned()));
    let core = api.get(&format!("{CORE_EVENTS}/e1")).await?.expect(200).body;
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("hello")));
    assert_eq!(core["involvedObject"]["name"], "p");
    assert_eq!((&core["reportingComponent"], &core["action"]), (&json!("example.com/c"), &json!("Greet")));
    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}, "note": "again"});
    let patched = api.patch(&format!("{EVENTS}/e1"), "strategic-merge", &series).await?.expect(200).body;
    assert_eq!((&patched["series"]["count"], &patched["note"]), (&json!(2), &json!("again")));
    let list = api.get(&format!("{EVENTS}?fieldSelector=regarding.name%3Dp")).await?.expect(200);
    assert_eq!(
        (&list.body["apiVersion"], &list.body["items"][0]["note"]),
        (&json!("events.k8s.io/v1"), &json!("again"))
    );
    assert_eq!(api.get(&format!("{EVENTS}?fieldSelector=regarding.name%3Dq")).await?.names(), Vec::<&str>::new());
    let table = api.get_as("/apis/events.k8s.io/v1/events", TABLE).await?.expect(200).body;
    assert_eq!((headings(&table)[3], &table["rows"][0]["cells"][3]), ("Object", &json!("pod/p")));
    let typo = json!({"metadata": {"name": "e2"}, "message": "core's word"});
    let strict = format!("{EVENTS}?fieldValidation=Strict");
    api.post(&strict, &typo).await?.refused(400, "BadRequest").saying("unknown field \"message\"");
    api.get(&format!("{EVENTS}/none"))
        .await?
        .refused(404, "NotFound")
        .saying("events.events.k8s.io \"none\" not found");
    assert_eq!(api.delete(&format!("{EVENTS}/e1")).await?.expect(200).body["details"]["group"], "events.k8s.io");
    api.get(&format!("{CORE_EVENTS}/e1")).await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

/// Statement 42, and what is said of namespaces that are not there.
#[actix_rt::test]
async fn the_namespace_of_a_network_comes_about_by_itself_and_no_other_does() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    for name in ["default", "infra", "kube-system", "kube-node-lease"] {
        assert_eq!(api.get(&format!("/api/v1/namespaces/{name}")).await?.expect(200).body["status"]["phase"], "Active");
        api.delete(&format!("/api/v1/namespaces/{name}")).await?.refused(403, "Forbidden");
    }
    let networks = api.get_as("/apis/vkube.io/v1alpha1/networks", TABLE).await?.expect(200).body;
    let network = networks["rows"][0]["cells"][0].as_str().unwrap_or_default().to_owned();
    let home = format!("/api/v1/namespaces/{network}");
    api.delete(&home).await?;
    let gone = |view: &mkube_messages::objects::ObjectsView| {
        !view
            .kinds
            .iter()
            .any(|(id, kind)| id.plural == "namespaces" && kind.objects.keys().any(|key| key.name == network.as_str()))
    };
    world.until("the network's namespace to be gone", gone).await?;
    let before = world.stored();
    let wrong = json!({"metadata": {"name": "p"}, "spec": {"containers": []}});
    api.post(&format!("{home}/pods"), &wrong).await?.refused(422, "Invalid");
    api.post(&format!("{home}/configmaps?dryRun=All"), &json!({"metadata": {"name": "m"}})).await?.expect(201);
    api.post("/api/v1/namespaces/nosuch/pods", &pod("p"))
        .await?
        .refused(404, "NotFound")
        .saying("namespaces \"nosuch\"");
    assert_eq!(world.stored(), before, "what is refused makes no namespace");
    // Whoever applies on the server makes things, too.
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "zero", "namespace": network}});
    let zero = format!("{home}/configmaps/zero?fieldManager=m");
    api.patch(&zero, "application/apply-patch+yaml", &applied).await?.expect(201);
    assert_eq!(api.get(&home).await?.expect(200).body["status"]["phase"], "Active");
    api.delete(&home).await?;
    world.until("the network's namespace to be gone once more", gone).await?;
    let maps = format!("{home}/configmaps");
    let (one, two) = (json!({"metadata": {"name": "one"}}), json!({"metadata": {"name": "two"}}));
    let (one, two) = futures_util::join!(api.post(&maps, &one), api.post(&maps, &two));
    one?.expect(201);
    two?.expect(201);
    assert_eq!(api.get(&home).await?.expect(200).body["status"]["phase"], "Active");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn whoever_asks_for_a_kind_that_is_not_there_is_told_what_to_do_instead() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    api.post(roles, &json!({})).await?.refused(404, "NotFound").saying("mkube has no roles: whoever reaches this API");
    let accounts = "/api/v1/namespaces/default/serviceaccounts/x/token";
    api.post(accounts, &json!({})).await?.refused(404, "NotFound").saying("mkube has no serviceaccounts");
    api.get("/api/v1/nosuch").await?.refused(404, "NotFound").saying("could not find the requested resource");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_claim_is_kept_and_says_that_nobody_binds_it() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let made = api.post(claims, &json!({"metadata": {"name": "data"}, "spec": spec})).await?.expect(201);
    assert!(made.warnings().iter().any(|text| text.contains("claims are not bound here")), "{:?}", made.warnings());
    let status = &made.body["status"];
    assert_eq!((&status["phase"], &status["conditions"][0]["status"]), (&json!("Pending"), &json!("False")));
    let table = api.get_as(claims, TABLE).await?.expect(200).body;
    assert_eq!(headings(&table)[..5], ["Name", "Status", "Volume", "Capacity", "Access Modes"]);
    assert_eq!((&table["rows"][0]["cells"][1], &table["rows"][0]["cells"][4]), (&json!("Pending"), &json!("RWO")));
    let one = format!("{claims}/data");
    let other = json!({"spec": {"accessModes": ["ReadWriteMany"]}});
    api.patch(&one, "merge", &other).await?.refused(422, "Invalid").saying("spec.accessModes");
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    api.patch(&one, "strategic-merge", &more).await?.expect(200);
    let before = world.stored();
    let empty = json!({"metadata": {"name": "x"}, "spec": {"accessModes": []}});
    api.post(claims, &empty).await?.refused(422, "Invalid").saying("spec.resources.requests[storage]");
    assert_eq!(world.stored(), before);
    api.delete(&one).await?.expect(200);
    world.stop().await;
    Ok(())
}
