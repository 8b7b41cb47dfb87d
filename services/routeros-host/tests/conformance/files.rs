//! G. Files.

use serde_json::json;

use crate::router::{NOT_FOUND, Router, id_of};

#[tokio::test]
async fn s073_a_file_is_made_with_its_directories() {
    let router = Router::new().await;
    router.put("/file", json!({"name": "d1/x.txt", "contents": "abc"})).await.ok(201);
    let rows = router.rows("/file?name=d1/x.txt").await;
    assert_eq!(rows.len(), 1);
    assert!(rows[0]["type"].as_str().is_some_and(|kind| kind.ends_with("file")), "{rows:?}");
    assert_eq!((&rows[0]["size"], &rows[0]["contents"]), (&json!("3"), &json!("abc")));
    assert_eq!(router.rows("/file?name=d1").await[0]["type"], "directory");
    assert_eq!(router.get("/file/d1/x.txt").await.ok(200), rows[0]);
    assert_eq!(router.rows("/file?type=directory").await.len(), 1);
}

#[tokio::test]
async fn s074_a_directory_is_made_once() {
    let router = Router::new().await;
    router.put("/file", json!({"name": "d2", "type": "directory"})).await.ok(201);
    router.put("/file", json!({"name": "d2", "type": "directory"})).await.refuses(400, "already");
}

#[tokio::test]
async fn s075_contents_have_a_limit() {
    let router = Router::new().await;
    let body = |size: usize| json!({"name": format!("disk1/f{size}"), "contents": "x".repeat(size)});
    router.put("/file", body(61_441)).await.refuses(400, "contents too long");
    router.put("/file", body(60_000)).await.ok(201);
    router.put("/file", body(61_440)).await.ok(201);
    assert_eq!(router.rows("/file?name=disk1/f61441").await.len(), 0);
}

#[tokio::test]
async fn s076_a_file_is_read_in_pieces() {
    let router = Router::new().await;
    router.put("/file", json!({"name": "d1/x.txt", "contents": "abc"})).await.ok(201);
    for (offset, chunk) in [(json!("1"), json!("2")), (json!(1), json!(2))] {
        let read = router.post("/file/read", json!({"file": "d1/x.txt", "offset": offset, "chunk-size": chunk})).await;
        assert_eq!(read.ok(200), json!([{"data": "bc"}]));
    }
    let read = router.post("/file/read", json!({"file": "d1/x.txt", "chunk-size": "32769"})).await;
    read.refuses(400, "out of range");
    router.post("/file/read", json!({"file": "d1/none"})).await.is_exactly(404, NOT_FOUND);
}

#[tokio::test]
async fn s077_a_file_gets_another_name() {
    let router = Router::new().await;
    router.put("/file", json!({"name": "d1/x.txt", "contents": "abc"})).await.ok(201);
    router.post("/file/set", json!({"numbers": "d1/x.txt", "name": "d1/y.txt"})).await.ok(200);
    assert_eq!(router.rows("/file?name=d1/x.txt").await.len(), 0);
    assert_eq!(router.rows("/file?name=d1/y.txt").await[0]["contents"], "abc");
}

#[tokio::test]
async fn s078_a_file_is_removed_by_name_and_by_id() {
    let router = Router::new().await;
    let reply = router.post("/file/remove", json!({"numbers": "d1/gone.txt"})).await;
    assert_eq!(reply.status, 404, "{reply:?}");
    let row = router.put("/file", json!({"name": "d1/x.txt", "contents": "abc"})).await.ok(201);
    router.delete(&format!("/file/{}", id_of(&row))).await.is_exactly(204, "");
    router.delete(&format!("/file/{}", id_of(&row))).await.is_exactly(404, NOT_FOUND);
    // A directory goes with what is in it.
    router.put("/file", json!({"name": "d1/y.txt", "contents": "abc"})).await.ok(201);
    router.post("/file/remove", json!({"numbers": "d1"})).await.ok(200);
    assert_eq!(router.rows("/file?name=d1/y.txt").await.len(), 0);
}

#[tokio::test]
async fn s079_contents_are_told_only_when_asked_for() {
    let router = Router::new().await;
    router.put("/file", json!({"name": "disk1/x.txt", "contents": "abc"})).await.ok(201);
    let reply = router.get("/file?.proplist=name,type,size").await;
    assert!(reply.text.contains("disk1/x.txt") && !reply.text.contains("contents") && !reply.text.contains("abc"));
    let printed =
        router.post("/file/print", json!({".proplist": "name", ".query": ["name=disk1/x.txt"]})).await.ok(200);
    assert_eq!(printed, json!([{"name": "disk1/x.txt"}]));
}

#[tokio::test]
async fn contents_are_written_anew() {
    let router = Router::new().await;
    router.put("/file", json!({"name": "disk1/x.txt", "contents": "abc"})).await.ok(201);
    assert_eq!(router.patch("/file/disk1/x.txt", json!({"contents": "other"})).await.ok(200)["size"], "5");
    router.patch("/file/disk1/x.txt", json!({"contents": "x".repeat(61_441)})).await.refuses(400, "contents too long");
    assert_eq!(router.get("/file/disk1/x.txt").await.ok(200)["contents"], "other");
}
