//! Selectors, pages, tables, forms.

use serde_json::{Value, json};

use crate::{JSON, MAPS, PODS, TABLE, map, pod, quiet};

async fn labelled(api: &mkube_scenarios::Api, name: &str, labels: Value) -> anyhow::Result<()> {
    let mut one = map(name, json!({}));
    one["metadata"]["labels"] = labels;
    api.post(MAPS, &one).await?.expect(201);
    Ok(())
}

#[actix_rt::test]
async fn label_selectors_select_by_equality_and_by_set() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    labelled(api, "a", json!({"app": "web", "tier": "front"})).await?;
    labelled(api, "b", json!({"app": "db"})).await?;
    labelled(api, "c", json!({})).await?;
    for (selector, expected) in [
        ("app=web", "a"),
        ("app==web,tier=front", "a"),
        ("app!=web", "bc"),
        ("app in (web,db)", "ab"),
        ("app notin (web)", "bc"),
        ("app", "ab"),
        ("!app", "c"),
        ("app,!tier", "b"),
        ("app in (web, db),tier", "a"),
    ] {
        let encoded = selector.replace(' ', "%20").replace('=', "%3D").replace(',', "%2C");
        let found = api.get(&format!("{MAPS}?labelSelector={encoded}")).await?.expect(200);
        assert_eq!(found.names().concat(), expected, "{selector}");
    }
    for bad in ["a%20b", "app%20in%20web", "%3Dx", "-a%3Db", "a%3Db%20c", "app%20in%20(web"] {
        let refused = api.get(&format!("{MAPS}?labelSelector={bad}")).await?.refused(400, "BadRequest");
        refused.saying("unable to parse requirement");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn events_are_found_by_the_object_they_are_about() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let events = "/api/v1/namespaces/default/events";
    for (name, about, uid, reason) in
        [("e1", "p", "1", "Started"), ("e2", "p", "2", "Killed"), ("e3", "q", "3", "Started")]
    {
        let event = json!({
            "metadata": {"name": name}, "reason": reason, "message": "m", "type": "Normal",
            "involvedObject": {"kind": "Pod", "apiVersion": "v1", "namespace": "default", "name": about, "uid": uid},
            "source": {"component": "somebody"},
        });
        api.post(events, &event).await?.expect(201);
    }
    for (selector, expected) in [
        ("involvedObject.name=p", "e1e2"),
        ("involvedObject.name=p,involvedObject.namespace=default,involvedObject.kind=Pod,involvedObject.uid=2", "e2"),
        ("involvedObject.name!=p,reason=Started,source=somebody", "e3"),
        ("involvedObject.kind=Deployment", ""),
    ] {
        let encoded = selector.replace("!=", "%21%3D").replace('=', "%3D").replace(',', "%2C");
        let found = api.get(&format!("{events}?fieldSelector={encoded}")).await?.expect(200);
        assert_eq!(found.names().concat(), expected, "{selector}");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn field_selectors_know_the_fields_of_their_kind() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    for name in ["p", "q"] {
        api.post(PODS, &pod(name)).await?.expect(201);
    }
    let find = async |path: &str, selector: &str| -> anyhow::Result<String> {
        let encoded = selector.replace("!=", "%21%3D").replace('=', "%3D").replace(',', "%2C");
        Ok(api.get(&format!("{path}?fieldSelector={encoded}")).await?.expect(200).names().concat())
    };
    assert_eq!(find(PODS, "metadata.name=p").await?, "p");
    assert_eq!(find(PODS, "metadata.name!=p").await?, "q");
    assert_eq!(find("/api/v1/pods", "metadata.namespace=default,spec.nodeName=mkube").await?, "pq");
    assert_eq!(find(PODS, "status.phase!=Succeeded,status.phase!=Failed").await?, "pq");
    assert_eq!(find(PODS, "spec.nodeName=elsewhere").await?, "");
    assert_eq!(find(PODS, "spec.hostNetwork=false").await?, "pq");
    assert_eq!(find("/api/v1/nodes", "spec.unschedulable=false").await?, "mkube");
    assert_eq!(find("/api/v1/namespaces", "status.phase=Active,metadata.name=default").await?, "default");
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p", "uid": "u"}, "source": {"component": "test"}, "reason": "R"});
    api.post("/api/v1/namespaces/default/events", &event).await?.expect(201);
    let events = "/api/v1/namespaces/default/events";
    assert_eq!(find(events, "involvedObject.name=p,involvedObject.uid=u,source=test,reason=R").await?, "e");
    assert_eq!(find(events, "source=other").await?, "");
    for (path, bad) in [(PODS, "spec.foo%3Db"), (MAPS, "status.phase%3DRunning"), (PODS, "nonsense")] {
        api.get(&format!("{path}?fieldSelector={bad}")).await?.refused(400, "BadRequest");
    }
    api.get(&format!("{PODS}?fieldSelector=spec.foo%3Db"))
        .await?
        .refused(400, "BadRequest")
        .saying("field label not supported: spec.foo");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn pages_show_everything_once_and_a_foreign_token_is_refused() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    for name in ["a", "b", "c", "d", "e"] {
        labelled(api, name, json!({"odd": if "ace".contains(name) { "yes" } else { "no" }})).await?;
    }
    for (query, expected) in [("limit=2", "abcde"), ("limit=2&labelSelector=odd%3Dyes", "ace"), ("limit=5", "abcde")] {
        let (mut seen, mut token, mut version) = (String::new(), String::new(), None);
        loop {
            let page = api.get(&format!("{MAPS}?{query}&continue={token}")).await?.expect(200);
            assert!(page.names().len() <= 5);
            assert_eq!(*version.get_or_insert(page.version().to_owned()), page.version(), "one version for all pages");
            seen += &page.names().concat();
            match page.body["metadata"]["continue"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{query}");
    }
    let empty = api.get(&format!("{MAPS}?labelSelector=nosuch")).await?.expect(200);
    assert_eq!((&empty.body["items"], &empty.body["kind"]), (&json!([]), &json!("ConfigMapList")));
    api.get(&format!("{MAPS}?limit=2&continue=nonsense")).await?.refused(400, "BadRequest").saying("continue");
    api.get(&format!("{MAPS}?limit=few")).await?.refused(400, "BadRequest");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn versions_of_lists_are_checked() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let list = api.get(MAPS).await?.expect(200);
    assert!(list.version().parse::<u64>().is_ok_and(|version| version > 0), "of none it would mean any");
    api.post(MAPS, &map("m", json!({}))).await?.expect(201);
    api.get(&format!("{MAPS}?resourceVersion=0&limit=500")).await?.expect(200);
    api.get(&format!("{MAPS}?resourceVersion=1&resourceVersionMatch=NotOlderThan")).await?.expect(200);
    let future = api.get(&format!("{MAPS}?resourceVersion=999999")).await?.refused(504, "Timeout");
    assert_eq!(future.body["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    future.saying("Too large resource version: 999999");
    api.get(&format!("{MAPS}?resourceVersion=new")).await?.refused(400, "BadRequest");
    api.get(&format!("{MAPS}?resourceVersionMatch=Exact")).await?.refused(422, "Invalid");
    api.get(&format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Near")).await?.refused(422, "Invalid");
    api.get(&format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact")).await?.refused(410, "Expired");
    api.get(&format!("{MAPS}?sendInitialEvents=true")).await?.refused(422, "Invalid");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_table_has_the_columns_of_kubernetes_and_as_much_of_the_objects_as_asked() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({"a": "1", "b": "2"}))).await?.expect(201);
    api.post(PODS, &pod("p")).await?.expect(201);
    let headings = |table: &Value| -> Vec<String> {
        let columns = table["columnDefinitions"].as_array().into_iter().flatten();
        columns.map(|column| format!("{}{}", column["name"].as_str().unwrap_or_default(), column["priority"])).collect()
    };
    let table = api.get_as(MAPS, TABLE).await?.expect(200);
    assert_eq!((&table.body["kind"], &table.body["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    assert_eq!(headings(&table.body), ["Name0", "Data0", "Age0"]);
    assert_eq!(table.body["columnDefinitions"][0]["format"], "name");
    let row = &table.body["rows"][0];
    assert_eq!((&row["cells"][0], &row["cells"][1]), (&json!("m"), &json!(2)));
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    assert_eq!((&row["object"]["metadata"]["namespace"], &row["object"]["data"]), (&json!("default"), &Value::Null));
    assert!(table.version().parse::<u64>().is_ok());
    let full = api.get_as(&format!("{MAPS}?includeObject=Object"), TABLE).await?.expect(200).body;
    assert_eq!(full["rows"][0]["object"]["data"]["a"], "1");
    let none = api.get_as(&format!("{MAPS}?includeObject=None"), TABLE).await?.expect(200).body;
    assert_eq!(none["rows"][0]["object"], Value::Null);
    let one = api.get_as(&format!("{MAPS}/m"), TABLE).await?.expect(200).body;
    assert_eq!((&one["kind"], one["rows"].as_array().map(Vec::len)), (&json!("Table"), Some(1)));
    let pods = api.get_as(PODS, TABLE).await?.expect(200).body;
    assert_eq!(
        headings(&pods),
        ["Name0", "Ready0", "Status0", "Restarts0", "Age0", "IP1", "Node1", "Nominated Node1", "Readiness Gates1"]
    );
    assert_eq!(pods["rows"][0]["cells"][6], "mkube");
    let nodes = api.get_as("/api/v1/nodes", TABLE).await?.expect(200).body;
    assert_eq!(headings(&nodes)[..5], ["Name0", "Status0", "Roles0", "Age0", "Version0"]);
    let patch = json!({"spec": {"unschedulable": true}});
    api.patch("/api/v1/nodes/mkube", "merge", &patch).await?.expect(200);
    let nodes = api.get_as("/api/v1/nodes", TABLE).await?.expect(200).body;
    assert!(nodes["rows"][0]["cells"][1].as_str().is_some_and(|word| word.ends_with(",SchedulingDisabled")), "{nodes}");
    let events = api.get_as("/api/v1/events", TABLE).await?.expect(200).body;
    assert_eq!(headings(&events)[..4], ["Last Seen0", "Type0", "Reason0", "Object0"]);
    api.get_as(&format!("{MAPS}/nosuch"), TABLE).await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn accept_chooses_the_first_form_there_is() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201);
    for (accept, kind) in [
        (JSON, "ConfigMapList"),
        ("*/*", "ConfigMapList"),
        ("application/vnd.kubernetes.protobuf,application/json", "ConfigMapList"),
        ("application/json; g=meta.k8s.io; v=v1; as=Table", "Table"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", "ConfigMapList"),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "PartialObjectMetadataList"),
        ("text/html,application/json;q=0.9", "ConfigMapList"),
    ] {
        let answer = api.get_as(MAPS, accept).await?.expect(200);
        assert_eq!(
            (&answer.body["kind"], answer.header("content-type")),
            (&json!(kind), "application/json"),
            "{accept}"
        );
    }
    let partial = api.get_as(MAPS, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await?.body;
    assert_eq!((&partial["items"][0]["metadata"]["name"], &partial["items"][0]["data"]), (&json!("m"), &Value::Null));
    for accept in ["text/html", "application/yaml", "image/png"] {
        api.get_as(MAPS, accept).await?.refused(406, "NotAcceptable");
    }
    world.stop().await;
    Ok(())
}
