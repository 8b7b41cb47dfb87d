//! Methods and parameters as kube-apiserver takes them: what is odd is refused where it refuses it, and means the same where it does not.

use mkube_scenarios::World;
use serde_json::{Value, json};

use crate::{JSON, MAPS, PODS, map, pod, quiet};

const FOREIGN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

#[actix_rt::test]
async fn a_method_that_is_not_allowed_is_answered_with_those_that_are() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(PODS, &pod("there")).await?.expect(201);
    world.until_pod("there", "Running").await?;
    let one = format!("{PODS}/there");
    let sub = |name: &str| format!("{one}/{name}");
    let rows: &[(String, &str)] = &[
        (PODS.into(), "DELETE, GET, HEAD, POST"),
        ("/api/v1/pods".into(), "GET, HEAD"),
        ("/api/v1/deployments".into(), "GET, HEAD"),
        ("/api/v1/nodes".into(), "DELETE, GET, HEAD, POST"),
        (one.clone(), "DELETE, GET, HEAD, PATCH, PUT"),
        (sub("status"), "GET, HEAD, PATCH, PUT"),
        (sub("log"), "GET"),
        (sub("exec"), "GET, POST"),
        (sub("eviction"), "POST"),
        ("/apis/apps/v1/namespaces/default/replicasets".into(), "GET, HEAD"),
        ("/apis/apps/v1/namespaces/default/deployments/x/scale".into(), "GET, HEAD, PATCH, PUT"),
        ("/apis/authentication.k8s.io/v1/selfsubjectreviews".into(), "POST"),
        ("/api/v1/consistency".into(), "GET, HEAD"),
        ("/api/v1/consistency/repair".into(), "POST"),
        ("/api/v1/images".into(), "GET, HEAD"),
        ("/api/v1/images/redeploy".into(), "POST"),
        ("/api/v1/zones".into(), "GET, HEAD, POST"),
        ("/api/v1/zones/nosuch".into(), "DELETE, GET, HEAD"),
        ("/api/v1/instances".into(), "GET, HEAD"),
        ("/api/v1/instances/nosuch".into(), "GET, HEAD"),
        ("/api/v1/apply".into(), "POST"),
        ("/api/v1/export".into(), "GET, HEAD"),
        ("/api/v1/store".into(), "GET, HEAD"),
        ("/api/v1/store/accept".into(), "POST"),
        ("/api/v1/supervisor".into(), "GET, HEAD"),
        ("/api/v1/supervisor/mkube/release".into(), "POST"),
        ("/version".into(), "GET, HEAD"),
        ("/api/v1".into(), "GET, HEAD"),
        ("/apis".into(), "GET, HEAD"),
        ("/".into(), "GET, HEAD"),
    ];
    let before = world.stored();
    for (path, allowed) in rows {
        for method in
            FOREIGN.into_iter().chain(["BREW"]).filter(|method| !allowed.split(", ").any(|one| one == *method))
        {
            let answer = api.send(method, path, &[("content-type", JSON)], "{}").await?;
            assert_eq!((answer.code, answer.header("allow")), (405, *allowed), "{method} {path}: {}", answer.text);
        }
    }
    assert_eq!(world.stored(), before);
    assert_eq!(api.send("POST", "/apis/apps/v9", &[], "").await?.code, 404);
    world.stop().await;
    Ok(())
}

/// Neither Kubernetes nor the Go controller has such a route: what would be made, and where, would be a guess.
#[actix_rt::test]
async fn an_object_of_a_namespace_is_not_made_without_one_in_the_path() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let before = world.stored();
    let mut elsewhere = pod("x");
    elsewhere["metadata"]["namespace"] = json!("default");
    for (path, body) in [
        ("/api/v1/pods", pod("x")),
        ("/api/v1/pods", elsewhere),
        ("/api/v1/configmaps", map("x", json!({}))),
        ("/apis/apps/v1/deployments", json!({"metadata": {"name": "x"}})),
        ("/api/v1/baremetalhosts", json!({"metadata": {"name": "x"}})),
    ] {
        api.post(path, &body).await?.refused(405, "MethodNotAllowed");
    }
    assert_eq!(world.stored(), before);
    api.post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}})).await?.expect(201);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn parameters_that_make_no_sense_are_refused_by_name() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("there", json!({"a": "1"}))).await?.expect(201);
    let one = format!("{MAPS}/there");
    let before = world.stored();
    for (query, code, word) in [
        ("timeoutSeconds=soon", 400, "timeoutSeconds"),
        ("timeoutSeconds=-1", 400, "timeoutSeconds"),
        ("limit=few", 400, "limit"),
        ("resourceVersion=new", 400, "resourceVersion"),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422, "forbidden for resourceVersion"),
        ("watch=true&timeoutSeconds=soon", 400, "timeoutSeconds"),
        ("watch=true&resourceVersion=new", 400, "resourceVersion"),
    ] {
        let refused = api.get(&format!("{MAPS}?{query}")).await?;
        assert_eq!(refused.code, code, "{query}: {}", refused.text);
        refused.saying(word);
    }
    api.get(&format!("{one}?resourceVersion=new")).await?.refused(400, "BadRequest").saying("resourceVersion");
    api.get(&format!("{one}?resourceVersion=999999"))
        .await?
        .refused(504, "Timeout")
        .saying("Too large resource version");
    let long = "m".repeat(129);
    for (query, code, word) in [
        (format!("fieldManager={long}"), 422, "fieldManager"),
        ("fieldManager=a%07b".into(), 422, "fieldManager"),
        ("dryRun=foo".into(), 422, "dryRun"),
        ("fieldValidation=bogus".into(), 422, "fieldValidation"),
    ] {
        for method in ["POST", "PUT", "PATCH"] {
            let path = if method == "POST" { MAPS.to_owned() } else { one.clone() };
            let media = if method == "PATCH" { "application/merge-patch+json" } else { JSON };
            let name = if method == "POST" { "fresh" } else { "there" };
            let body = map(name, json!({"a": "2"})).to_string();
            let refused = api.send(method, &format!("{path}?{query}"), &[("content-type", media)], body).await?;
            assert_eq!(refused.code, code, "{method} {query}: {}", refused.text);
            refused.saying(word);
        }
    }
    for query in ["propagationPolicy=Nonsense", "gracePeriodSeconds=-5", "dryRun=foo"] {
        api.delete(&format!("{one}?{query}")).await?.refused(422, "Invalid");
    }
    for query in ["limit=few", "timeoutSeconds=soon", "gracePeriodSeconds=soon"] {
        api.delete(&format!("{MAPS}?{query}")).await?.refused(400, "BadRequest");
    }
    for media in ["json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"] {
        let media = format!("application/{media}");
        let empty = api.send("PATCH", &format!("{one}?fieldManager=me"), &[("content-type", &media)], "").await?;
        assert_eq!((empty.code, &empty.body["kind"]), (400, &json!("Status")), "{media}: {}", empty.text);
    }
    let other = map("other", json!({}));
    api.put(&one, &other).await?.refused(400, "BadRequest").saying("does not match the name on the URL");
    let stranger = json!({"preconditions": {"uid": "another"}});
    api.delete_with(&one, &stranger).await?.refused(409, "Conflict").saying("UID");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn parameters_mean_what_kubernetes_takes_them_for() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("a", json!({}))).await?.expect(201);
    api.post(MAPS, &map("b", json!({}))).await?.expect(201);
    // Less than nothing is no limit.
    assert_eq!(api.get(&format!("{MAPS}?limit=-1&timeoutSeconds=10")).await?.expect(200).names(), ["a", "b"]);
    // As Python writes it.
    assert_eq!(api.get(&format!("{MAPS}?watch=False")).await?.expect(200).names(), ["a", "b"]);
    let mut watch = api.watch(&format!("{MAPS}?watch=True&allowWatchBookmarks=True&timeoutSeconds=1"), JSON).await?;
    let mut last = Value::Null;
    while let Some(event) = watch.next().await? {
        last = event;
    }
    assert_eq!(last["type"], "BOOKMARK", "{last}");
    let one = format!("{MAPS}/a");
    let newest = api.get(&one).await?.expect(200);
    api.get(&format!("{one}?resourceVersion={}", newest.version())).await?.expect(200);
    api.get(&format!("{one}?resourceVersion=0")).await?.expect(200);
    // What the server says of an object is not for its maker to say.
    let mut boast = map("c", json!({}));
    boast["metadata"]["uid"] = json!("mine");
    boast["metadata"]["generation"] = json!(40);
    boast["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    let made = api.post(MAPS, &boast).await?.expect(201).body;
    assert!(made["metadata"]["uid"] != "mine" && made["metadata"]["generation"] == 1, "{made}");
    assert_eq!(made["metadata"]["deletionTimestamp"], Value::Null);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_page_goes_on_where_it_was_begun_and_nowhere_else() -> anyhow::Result<()> {
    let world: World = quiet().await?;
    let api = world.api();
    for name in ["a", "b", "c"] {
        api.post(MAPS, &map(name, json!({}))).await?.expect(201);
    }
    let first = api.get(&format!("{MAPS}?limit=1")).await?.expect(200);
    let token = first.body["metadata"]["continue"].as_str().expect("there is more");
    let further = |more: &str| format!("{MAPS}?limit=5&continue={token}{more}");
    assert_eq!(api.get(&further("")).await?.expect(200).names(), ["b", "c"]);
    assert_eq!(api.get(&further("&resourceVersion=0")).await?.expect(200).names(), ["b", "c"]);
    let both = api.get(&further("&resourceVersion=1")).await?.refused(400, "BadRequest");
    both.saying("specifying resource version is not allowed when using continue");
    let how = api.get(&further("&resourceVersion=0&resourceVersionMatch=NotOlderThan")).await?.refused(422, "Invalid");
    how.saying("resourceVersionMatch is forbidden when continue is provided");
    let elsewhere = format!("/api/v1/namespaces/kube-system/configmaps?limit=5&continue={token}");
    api.get(&elsewhere).await?.refused(400, "BadRequest").saying("another namespace");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn json_is_indented_for_people_who_ask() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({"a": "{\"x\": [1]}"}))).await?.expect(201);
    for path in [&format!("{MAPS}/m"), MAPS, "/version", &format!("{MAPS}/nosuch"), "/apis"] {
        let (plain, pretty) = (api.get(path).await?, api.get(&format!("{path}?pretty=true")).await?);
        assert_eq!((plain.code, &plain.body), (pretty.code, &pretty.body), "{path}");
        assert!(pretty.text.starts_with("{\n  \"") && pretty.text.ends_with("\n}\n"), "{path}: {}", pretty.text);
        assert_eq!(api.get(&format!("{path}?pretty=false")).await?.text, plain.text);
    }
    let log = api.get(&format!("{MAPS}?watch=true&pretty=true&timeoutSeconds=1")).await?.expect(200);
    assert!(log.text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "a watch is one line each");
    world.stop().await;
    Ok(())
}
