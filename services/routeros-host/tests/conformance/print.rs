//! D. The print command, and what is beside it in E.

use serde_json::{Value, json};

use crate::router::Router;

async fn with_addresses() -> Router {
    let router = Router::new().await;
    router.bridge().await;
    router.veth().await;
    router.put("/ip/address", json!({"address": "10.0.0.1/24", "interface": "br-t", "comment": "first"})).await.ok(201);
    router.put("/ip/address", json!({"address": "10.0.0.20/24", "interface": "br-t"})).await.ok(201);
    router
}

async fn addresses(router: &Router, query: Value) -> Vec<String> {
    let rows = router.post("/ip/address/print", json!({".query": query})).await.ok(200);
    let rows = rows.as_array().expect("an array").iter();
    rows.map(|row| row["address"].as_str().expect("an address").to_owned()).collect()
}

#[tokio::test]
async fn s047_print_is_what_get_is() {
    let router = with_addresses().await;
    for menu in ["/ip/address", "/interface", "/interface/veth", "/log", "/ip/route", "/system/package", "/user"] {
        let printed = router.post(&format!("{menu}/print"), json!({})).await.ok(200);
        assert_eq!(printed, router.get(menu).await.ok(200), "{menu}");
    }
    let identity = router.post("/system/identity/print", json!({})).await.ok(200);
    assert_eq!(identity, json!([{"name": "MikroTik"}]), "records come as an array, also a single one");
}

#[tokio::test]
async fn s048_and_s049_a_property_list_is_exact() {
    let router = with_addresses().await;
    let picked = router.post("/ip/address/print", json!({".proplist": "address,interface"})).await.ok(200);
    let expected = json!([
        {"address": "10.0.0.1/24", "interface": "br-t"},
        {"address": "10.0.0.20/24", "interface": "br-t"},
    ]);
    assert_eq!(picked, expected);
    let picked = router.post("/ip/address/print", json!({".proplist": [".id", "address"]})).await.ok(200);
    assert_eq!(picked[0], json!({".id": "*1", "address": "10.0.0.1/24"}));
    let picked = router.post("/ip/address/print", json!({".proplist": "comment"})).await.ok(200);
    assert_eq!(picked, json!([{"comment": "first"}, {}]), "what a row lacks is absent");
}

#[tokio::test]
async fn s050_a_property_list_of_get_keeps_the_id() {
    let router = with_addresses().await;
    let picked = router.get("/ip/address?.proplist=address&interface=br-t").await.ok(200);
    assert_eq!(picked[0], json!({".id": "*1", "address": "10.0.0.1/24"}));
    let user = router.get("/user?.proplist=name,password").await.ok(200);
    assert_eq!(user, json!([{".id": "*1", "name": "admin"}]), "a secret is not told when asked for by name either");
}

#[tokio::test]
async fn s051_a_query_joins_conditions() {
    let router = with_addresses().await;
    let query = json!({".query": ["type=bridge", "type=veth", "#|"], ".proplist": ["name"]});
    let names = router.post("/interface/print", query).await.ok(200);
    assert_eq!(names, json!([{"name": "br-t"}, {"name": "veth-a"}]));
    let none = router.post("/interface/print", json!({".query": ["type=bridge", "type=veth"]})).await.ok(200);
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn s052_a_query_asks_whether_there_is_a_value() {
    let router = with_addresses().await;
    assert_eq!(addresses(&router, json!(["comment"])).await, ["10.0.0.1/24"]);
    assert_eq!(addresses(&router, json!(["-comment"])).await, ["10.0.0.20/24"]);
    assert_eq!(addresses(&router, json!(["comment=first", "#!"])).await, ["10.0.0.20/24"]);
}

#[tokio::test]
async fn s053_a_query_nobody_passes_answers_an_empty_list() {
    let router = with_addresses().await;
    assert!(addresses(&router, json!(["disabled=true"])).await.is_empty());
}

#[tokio::test]
async fn s054_rows_can_be_counted() {
    let router = with_addresses().await;
    assert_eq!(router.post("/ip/address/print", json!({"count-only": ""})).await.ok(200), json!({"ret": "2"}));
    let counted = router.post("/interface/print", json!({"count-only": "", ".query": ["type=veth"]})).await.ok(200);
    assert_eq!(counted, json!({"ret": "1"}));
}

#[tokio::test]
async fn s055_a_query_word_is_no_parameter() {
    let router = with_addresses().await;
    router.post("/ip/address/print", json!({"?name": "x"})).await.refuses(400, "?name");
    router.post("/ip/address/print", json!({"where": "x"})).await.refuses(400, "where");
}

#[tokio::test]
async fn s056_scripts_are_refused_clearly() {
    let router = Router::new().await;
    router.post("/execute", json!({"script": ":put hello", "as-string": ""})).await.refuses(400, "runs no scripts");
}

#[tokio::test]
async fn s060_a_message_of_ones_own_is_logged() {
    let router = Router::new().await;
    assert_eq!(router.post("/log/info", json!({"message": "m1"})).await.ok(200), json!([]));
    let rows = router.rows("/log?message=m1").await;
    assert_eq!(rows.len(), 1);
    assert!(
        rows[0]["topics"].as_str().is_some_and(|topics| topics.split(',').any(|topic| topic == "info")),
        "{rows:?}"
    );
}

#[tokio::test]
async fn the_log_keeps_its_last_thousand_rows() {
    let router = Router::new().await;
    for count in 0..1005 {
        router.post("/log/info", json!({"message": format!("m{count}")})).await.ok(200);
    }
    let rows = router.rows("/log").await;
    assert_eq!((rows.len(), &rows[0]["message"], &rows[999]["message"]), (1000, &json!("m5"), &json!("m1004")));
}
