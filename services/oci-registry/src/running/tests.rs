use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::settings::{Overrides, check_registry};
use serde_json::{Value, json};

use super::*;

/// Settings of a file, listening on a free port of this machine and keeping everything in `directory`.
pub(crate) fn settings(directory: &Path, mut file: Value) -> RegistryServerSettings {
    let map = file.as_object_mut().expect("a map");
    map.entry("listenAddr").or_insert("127.0.0.1:0".into());
    map.entry("storePath").or_insert(directory.join("store").display().to_string().into());
    map.entry("management").or_insert(json!({"listen": ""}));
    check_registry(file, &|_| None, Overrides::none()).expect("good settings").0
}

/// A registry of a file.
pub(crate) async fn registry(directory: &Path, file: Value) -> RunningRegistry {
    // A second test of this process finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    start(&settings(directory, file), Arc::new(SystemClock), None).await.expect("it starts")
}

pub(crate) fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

async fn refused(directory: &Path, file: Value) -> String {
    match start(&settings(directory, file), Arc::new(SystemClock), None).await {
        Ok(_) => panic!("it starts"),
        Err(fault) => fault.to_string(),
    }
}

#[tokio::test]
async fn the_management_port_keeps_the_go_registrys_routes() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = registry(dir.path(), json!({"management": {"listen": "127.0.0.1:0"}})).await;
    let url = |path: &str| format!("http://{}{path}", one.management().expect("there is one"));
    let health = http().get(url("/healthz")).send().await.expect("an answer");
    assert_eq!((health.status().as_u16(), health.text().await.expect("a body").as_str()), (200, "ok"));
    let poll = http().post(url("/poll")).send().await.expect("an answer");
    assert_eq!(poll.status().as_u16(), 404, "nothing is watched");
}

#[tokio::test]
async fn what_is_in_the_way_of_a_start_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = registry(dir.path(), json!({})).await;
    let taken = refused(&dir.path().join("b"), json!({"listenAddr": one.address().to_string()})).await;
    assert!(taken.contains(&one.address().to_string()), "{taken}");
    let twice = refused(dir.path(), json!({})).await;
    assert!(twice.contains("another registry"), "{twice}");
    let missing =
        json!({"tls": {"required": true}, "tlsCertFile": "/nowhere/tls.crt", "tlsKeyFile": "/nowhere/tls.key"});
    assert!(refused(&dir.path().join("c"), missing).await.contains("tls.required"));
    let half = dir.path().join("half.crt");
    std::fs::write(&half, "nonsense").expect("written");
    let broken = json!({"tlsCertFile": half.display().to_string(), "tlsKeyFile": "/nowhere/tls.key"});
    let broken = refused(&dir.path().join("d"), broken).await;
    assert!(broken.contains("half.crt"), "{broken}");
    let hash = json!({"access": {"users": [{"name": "ann", "password": "$2y$05$x"}]}});
    assert!(refused(&dir.path().join("e"), hash).await.contains("ann"));
}

#[tokio::test]
async fn the_certificate_has_every_name_of_the_configuration() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = registry(
        dir.path(),
        json!({
            "localAddresses": ["192.168.200.3:5000", "registry.example:5000"],
            "tls": {"directory": dir.path().join("tls").display().to_string(), "names": ["more.example"]},
        }),
    )
    .await;
    let authority = std::fs::read(one.authority().expect("ours")).expect("readable");
    let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
    for name in ["registry.example", "more.example", "registry.gt.lo", "localhost"] {
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([authority.clone()])
            .resolve(name, one.address())
            .build()
            .expect("a client");
        let answer = client.get(format!("https://{name}:{}/v2/", one.address().port())).send().await;
        assert_eq!(answer.expect("trusted").status().as_u16(), 200, "{name}");
    }
}

#[tokio::test]
async fn on_this_machine_alone_it_answers_under_its_own_names_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = registry(dir.path(), json!({"localAddresses": ["registry.example:5000"]})).await;
    let port = one.address().port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("LOCALHOST:{port}"), 200),
        ("[::1]".to_owned(), 200),
        ("registry.example".to_owned(), 200),
        (format!("evil.example:{port}"), 403),
    ] {
        let answer = http().get(format!("http://{}/v2/_catalog", one.address())).header("host", &host).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn a_login_decides_at_the_door_of_each_request() {
    let dir = tempfile::tempdir().expect("a directory");
    let users = json!([
        {"name": "ann", "password": "hunter2", "roles": ["write"]}, {"name": "bob", "password": "hunter3", "roles": ["read"]},
    ]);
    let one = registry(dir.path(), json!({"access": {"anonymousPull": true, "users": users}})).await;
    let url = |path: &str| format!("http://{}{path}", one.address());
    let client = http();
    let asked = client.get(url("/v2/")).send().await.expect("an answer");
    assert_eq!(asked.status().as_u16(), 401);
    let challenge = asked.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.starts_with(&format!("Bearer realm=\"{}\"", url("/v2/_token"))), "{challenge}");
    let begin = |authorization: Option<String>| {
        let request = client.post(url("/v2/app/blobs/uploads/"));
        match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    };
    let status = |answer: reqwest::Response| answer.status().as_u16();
    assert_eq!(status(begin(None).send().await.expect("an answer")), 401);
    let denied = begin(None).basic_auth("bob", Some("hunter3")).send().await.expect("an answer");
    assert_eq!(denied.status().as_u16(), 403);
    let body: Value = denied.json().await.expect("JSON");
    assert_eq!(body["errors"][0]["code"], "DENIED");
    let token = client.get(url("/v2/_token")).basic_auth("ann", Some("hunter2")).send().await.expect("an answer");
    let token: Value = token.json().await.expect("JSON");
    let bearer = format!("Bearer {}", token["token"].as_str().expect("a token"));
    assert_eq!(status(begin(Some(bearer)).send().await.expect("an answer")), 202);
    assert_eq!(status(client.get(url("/v2/_catalog")).send().await.expect("an answer")), 200, "without a name");
    let pull = client.post(url("/v2/_pull")).body("{\"image\":\"ghcr.io/a/b\"}").send().await.expect("an answer");
    assert_eq!(pull.status().as_u16(), 401, "whoever may not push may not have something fetched");
}
