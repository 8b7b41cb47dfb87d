//! What clients ask first.

use serde_json::json;

use crate::quiet;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[actix_rt::test]
async fn both_forms_of_discovery_name_the_same_resources() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let aggregated = api.get_as("/api?timeout=32s", AGGREGATED).await?.expect(200);
    assert_eq!(
        aggregated.header("content-type"),
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    let resources = aggregated.body["items"][0]["versions"][0]["resources"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for resource in &resources {
        let name = resource["resource"].as_str().unwrap_or_default();
        names.push(name.to_owned());
        for sub in resource["subresources"].as_array().into_iter().flatten() {
            names.push(format!("{name}/{}", sub["subresource"].as_str().unwrap_or_default()));
        }
    }
    let legacy = api.get("/api/v1").await?.expect(200).body;
    assert_eq!((&legacy["kind"], &legacy["groupVersion"]), (&json!("APIResourceList"), &json!("v1")));
    let listed: Vec<String> = legacy["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    for expected in ["pods", "pods/log", "pods/status", "configmaps", "namespaces", "nodes", "events"] {
        assert!(names.iter().any(|name| name == expected), "{expected} is not in {names:?}");
    }
    let pods = resources.iter().find(|one| one["resource"] == "pods").cloned().unwrap_or_default();
    assert_eq!(
        (&pods["scope"], &pods["shortNames"], &pods["singularResource"]),
        (&json!("Namespaced"), &json!(["po"]), &json!("pod"))
    );
    assert_eq!(pods["responseKind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
    assert_eq!(pods["verbs"].as_array().map(Vec::len), Some(8));
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn subresources_say_what_they_take_and_answer() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
    let eviction = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
    for (paths, name, kind, verbs) in [
        (("/apis/apps/v1", "/apis"), "deployments/scale", scale, json!(["get", "patch", "update"])),
        (("/api/v1", "/api"), "pods/eviction", eviction, json!(["create"])),
    ] {
        let legacy = api.get(paths.0).await?.expect(200).body;
        let mut resources = legacy["resources"].as_array().into_iter().flatten();
        let found = resources.find(|one| one["name"] == name).cloned().unwrap_or_default();
        assert_eq!(json!({"group": found["group"], "version": found["version"], "kind": found["kind"]}), kind);
        assert_eq!(found["verbs"], verbs);
        let aggregated = api.get_as(paths.1, AGGREGATED).await?.expect(200).body;
        let groups = aggregated["items"].as_array().into_iter().flatten();
        let resources = groups.flat_map(|group| group["versions"][0]["resources"].as_array().into_iter().flatten());
        let mut subs = resources.flat_map(|resource| {
            let subs = resource["subresources"].as_array().into_iter().flatten();
            subs.map(|sub| {
                (
                    format!(
                        "{}/{}",
                        resource["resource"].as_str().unwrap_or_default(),
                        sub["subresource"].as_str().unwrap_or_default()
                    ),
                    sub,
                )
            })
        });
        let found = subs.find(|(found, _)| found == name).map(|(_, sub)| sub.clone()).unwrap_or_default();
        assert_eq!((&found["responseKind"], &found["verbs"]), (&kind, &verbs));
    }
    // Clients that drain a node look for this group, which has nothing but the subresource.
    let groups = api.get("/apis").await?.expect(200).body;
    assert!(groups["groups"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "policy")));
    let policy = api.get("/apis/policy").await?.expect(200).body;
    assert_eq!(policy["preferredVersion"]["groupVersion"], "policy/v1");
    let resources = api.get("/apis/policy/v1").await?.expect(200).body;
    // kubectl up to 1.29 takes an empty list for a group that failed.
    assert_eq!(
        (&resources["kind"], &resources["resources"][0]["name"]),
        (&json!("APIResourceList"), &json!("evictions"))
    );
    assert!(resources["resources"].as_array().is_some_and(|all| all.len() == 1));
    let index = api.get("/openapi/v3").await?.expect(200).body;
    let url = index["paths"]["apis/policy/v1"]["serverRelativeURL"].as_str().unwrap_or_default().to_owned();
    api.get(&url).await?.expect(200);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn plain_discovery_is_for_those_who_do_not_know_the_other_and_trailing_slashes_are_allowed() -> anyhow::Result<()>
{
    let world = quiet().await?;
    let api = world.api();
    for (path, kind) in [
        ("/api", "APIVersions"),
        ("/api/", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/", "APIGroupList"),
        ("/api/v1/", "APIResourceList"),
        ("/apis/apps/", "APIGroup"),
        ("/apis/apps/v1/", "APIResourceList"),
    ] {
        let answer = api.get_as(path, "application/json").await?.expect(200);
        assert_eq!((&answer.body["kind"], answer.header("content-type")), (&json!(kind), "application/json"), "{path}");
    }
    assert_eq!(api.get("/version/").await?.expect(200).body, api.get("/version").await?.expect(200).body);
    let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    assert_eq!(api.get_as("/api", old).await?.expect(200).body["kind"], "APIVersions");
    for path in ["/apis/nosuch/v1", "/apis/nosuch", "/api/v2", "/api/v1/nosuch", "/nosuch", "/openapi/v3/api/v2"] {
        assert_eq!(api.get(path).await?.code, 404, "{path}");
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn the_version_is_the_one_kubectl_is_chosen_by() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    for path in ["/version", "/version/", "/version?timeout=5s"] {
        let version = api.get(path).await?.expect(200).body;
        assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("32")));
        assert_eq!(version["gitVersion"], format!("v1.32.0+mkube-{}", mkube::compose::VERSION));
    }
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn health_is_said_in_plain_text() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(api.get(path).await?.expect(200).text, "ok", "{path}");
    }
    let verbose = api.get("/readyz?verbose").await?.expect(200).text;
    assert!(verbose.contains("[+]store ok") && verbose.contains("[+]device ok"), "{verbose}");
    let head = api.send("HEAD", "/", &[], "").await?.expect(200);
    assert_eq!(head.text, "");
    assert!(api.get("/metrics").await?.expect(200).text.contains("mkube_http_requests_total"));
    world.stop().await;
    Ok(())
}
