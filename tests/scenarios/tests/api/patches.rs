//! The three types of patches.

use serde_json::json;

use crate::{MAPS, PODS, map, pod, quiet};

#[actix_rt::test]
async fn a_merge_patch_sets_and_removes_and_replaces_lists() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    api.post(MAPS, &map("m", json!({"a": "1", "b": "2"}))).await?.expect(201);
    let patched = api.patch(&one, "merge", &json!({"data": {"a": null, "c": "3"}})).await?.expect(200);
    assert_eq!(patched.body["data"], json!({"b": "2", "c": "3"}));
    let same = api.patch(&one, "merge", &json!({"data": {"c": "3"}})).await?.expect(200);
    assert_eq!(same.version(), patched.version(), "a patch that says nothing new writes nothing");
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"c": "4"}});
    api.patch(&one, "merge", &stale).await?.refused(409, "Conflict");
    let fresh = json!({"metadata": {"resourceVersion": patched.version()}, "data": {"c": "4"}});
    api.patch(&one, "merge", &fresh).await?.expect(200);
    api.patch(&one, "merge", &json!({"metadata": {"uid": "x"}}))
        .await?
        .refused(422, "Invalid")
        .saying("field is immutable");
    api.patch(&one, "merge", &json!(["x"])).await?.refused(400, "BadRequest");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_strategic_patch_merges_lists_by_their_keys_and_obeys_its_directives() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let mut body = pod("p");
    body["spec"]["containers"] = json!([
        {"name": "a", "image": "hello:latest", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]},
        {"name": "b", "image": "other:1"},
    ]);
    body["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]);
    api.post(PODS, &body).await?.expect(201);
    let one = format!("{PODS}/p");
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "n"}, {"name": "a"}],
        "containers": [
            {"name": "n", "image": "hello:latest"},
            {"name": "a", "env": [{"name": "B", "value": "2"}], "ports": [{"containerPort": 81}]},
            {"name": "b", "$patch": "delete"},
        ],
        "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}],
    }});
    let spec = api.patch(&one, "strategic-merge", &patch).await?.expect(200).body["spec"].clone();
    let names: Vec<_> = spec["containers"].as_array().into_iter().flatten().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["n", "a"]);
    assert_eq!(spec["containers"][1]["env"], json!([{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]));
    let ports: Vec<_> =
        spec["containers"][1]["ports"].as_array().into_iter().flatten().map(|p| p["containerPort"].clone()).collect();
    assert_eq!(ports, [81, 80]);
    assert_eq!(spec["volumes"], json!([{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}]));
    let replaced = json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z", "image": "hello:latest"}]}});
    let spec = api.patch(&one, "strategic-merge", &replaced).await?.expect(200).body["spec"].clone();
    assert_eq!(spec["containers"].as_array().map(Vec::len), Some(1));
    let keyless = json!({"spec": {"containers": [{"image": "x"}]}});
    api.patch(&one, "strategic-merge", &keyless).await?.refused(400, "BadRequest").saying("merge key");
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn a_json_patch_is_applied_as_a_whole_or_not_at_all() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let one = format!("{MAPS}/m");
    api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201);
    let good = json!([{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]);
    let patched = api.patch(&one, "json", &good).await?.expect(200);
    assert_eq!(patched.body["data"], json!({"a": "1", "b": "2"}));
    let before = world.stored();
    for (bad, code) in [
        (json!([{"op": "add", "path": "/data/c", "value": "3"}, {"op": "test", "path": "/data/a", "value": "9"}]), 422),
        (json!([{"op": "remove", "path": "/data/nosuch"}]), 422),
        (json!([{"op": "fly", "path": "/data"}]), 400),
        (json!({"op": "add"}), 400),
        (json!([{"op": "replace", "path": "", "value": 5}]), 400),
        (json!([{"op": "replace", "path": "/data", "value": {"a b": "x"}}]), 422),
        (
            json!(
                (0..60)
                    .map(|n| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/x{n}")}))
                    .collect::<Vec<_>>()
            ),
            413,
        ),
    ] {
        assert_eq!(api.patch(&one, "json", &bad).await?.code, code, "{bad}");
    }
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn other_patch_types_are_refused_with_the_list_of_those_that_work() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    api.post(MAPS, &map("m", json!({"a": "1"}))).await?.expect(201);
    let before = world.stored();
    let one = format!("{MAPS}/m");
    let refused = api.patch(&one, "application/json", &json!({})).await?.refused(415, "UnsupportedMediaType");
    refused.saying("application/strategic-merge-patch+json");
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}
