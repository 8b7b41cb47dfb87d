//! H. Environment and mount lists.

use serde_json::json;

use crate::router::Router;

#[tokio::test]
async fn s098_a_variable_belongs_to_a_list() {
    let router = Router::new().await;
    router.put("/container/envs", json!({"list": "e1", "key": "A", "value": "1"})).await.ok(201);
    router.put("/container/envs", json!({"key": "A", "value": "1"})).await.refuses(400, "missing =list=");
    let named = router.put("/container/envs", json!({"name": "e1", "key": "A", "value": "1"})).await;
    named.refuses(400, "unknown parameter name");
    let old = Router::of("7.19.6").await;
    old.put("/container/envs", json!({"name": "e1", "key": "A", "value": "1"})).await.ok(201);
    old.put("/container/envs", json!({"list": "e1", "key": "A", "value": "1"}))
        .await
        .refuses(400, "unknown parameter list");
}

#[tokio::test]
async fn s099_a_container_sees_its_lists_and_above_them_its_own_variables() {
    let router = Router::new().await;
    for (list, key, value) in [("e1", "A", "1"), ("e1", "B", "1"), ("e2", "B", "2"), ("e2", "C", "2")] {
        router.put("/container/envs", json!({"list": list, "key": key, "value": value})).await.ok(201);
    }
    let id = router.container(json!({"envlists": "e1,e2", "env": "C=3"})).await;
    let row = router.get(&format!("/container/{id}")).await.ok(200);
    assert_eq!(row["env-current"], "A=1,B=2,C=3");
    let b = router.rows("/container/envs?list=e2&key=B").await.remove(0);
    router.post("/container/envs/disable", json!({"numbers": b[".id"]})).await.ok(200);
    assert_eq!(router.get(&format!("/container/{id}")).await.ok(200)["env-current"], "A=1,B=1,C=3");
}

#[tokio::test]
async fn s100_a_list_without_rows_does_not_exist() {
    let router = Router::new().await;
    router.veth().await;
    router.archives().await;
    let body = |property: &str| json!({"file": "disk1/img.tar", "interface": "veth-a", "root-dir": "disk1/c1", property: "nolist"});
    for property in ["envlists", "mountlists"] {
        let reply = router.put("/container", body(property)).await;
        reply.refuses(400, &format!("input does not match any value of {property}"));
    }
    assert_eq!(router.rows("/container").await.len(), 0);
}

#[tokio::test]
async fn s101_a_mount_has_leading_slashes_and_its_place_is_taken_once_in_a_list() {
    let router = Router::new().await;
    let mount = router.put("/container/mounts", json!({"list": "m1", "src": "disk1/v", "dst": "/data"})).await.ok(201);
    assert_eq!((&mount["src"], &mount["dst"], &mount["mode"]), (&json!("/disk1/v"), &json!("/data"), &json!("rw")));
    for dst in ["/data", "data"] {
        let again = router.put("/container/mounts", json!({"list": "m1", "src": "disk1/w", "dst": dst})).await;
        again.refuses(400, "same dst already exists");
    }
    router.put("/container/mounts", json!({"list": "m2", "src": "disk1/w", "dst": "/data"})).await.ok(201);
    router.put("/container/mounts", json!({"list": "m1", "src": "disk1/w", "dst": "/"})).await.refuses(400, "dst");
    let mode = router.put("/container/mounts", json!({"list": "m1", "src": "x", "dst": "/x", "mode": "odd"})).await;
    mode.refuses(400, "input does not match any value of mode");
}

#[tokio::test]
async fn s102_a_mounted_directory_is_made_and_survives_its_container() {
    let router = Router::new().await;
    router.put("/container/mounts", json!({"list": "m1", "src": "disk1/v", "dst": "/data"})).await.ok(201);
    let id = router.container(json!({"mountlists": "m1"})).await;
    assert_eq!(router.rows("/file?name=disk1/v").await.len(), 0);
    router.run(&id).await;
    assert_eq!(router.rows("/file?name=disk1/v").await[0]["type"], "directory", "made at the start");
    // What the container writes there is shown with the linux engine; here the file stands for it.
    router.put("/file", json!({"name": "disk1/v/kept", "contents": "x"})).await.ok(201);
    router.post("/container/stop", json!({".id": id})).await.ok(200);
    router.reaches(&id, "stopped").await;
    router.delete(&format!("/container/{id}")).await.ok(204);
    crate::router::until("the container is gone", || async {
        router.rows("/container").await.is_empty().then_some(())
    })
    .await;
    let id = router.another_container(json!({"mountlists": "m1"})).await;
    router.run(&id).await;
    assert_eq!(router.get("/file/disk1/v/kept").await.ok(200)["contents"], "x");
}
