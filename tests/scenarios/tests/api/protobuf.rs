//! Bodies that kubectl 1.32 sends for objects it makes itself, byte for byte.

use serde_json::json;

use crate::{MAPS, PODS, quiet};

pub const MEDIA: &[(&str, &str)] = &[
    ("content-type", "application/vnd.kubernetes.protobuf"),
    ("accept", "application/vnd.kubernetes.protobuf,application/json"),
];

/// A field with bytes in it; short ones only.
pub fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn envelope(kind: &str, object: &[u8]) -> Vec<u8> {
    envelope_of("v1", kind, object)
}

pub fn envelope_of(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
    let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &types), field(2, object), field(3, b""), field(4, b"")].concat()
}

fn metadata(name: &str) -> Vec<u8> {
    let empty = [2, 3, 4, 5, 6].map(|number| field(number, b"")).concat();
    field(1, &[field(1, name.as_bytes()), empty, vec![7 << 3, 0], field(8, b"")].concat())
}

#[actix_rt::test]
async fn objects_in_protobuf_equal_those_their_json_would_make() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let body = envelope("Namespace", &[metadata("team"), field(2, b""), field(3, b"")].concat());
    let path = "/api/v1/namespaces?fieldManager=kubectl-create&fieldValidation=Strict";
    let made = api.send("POST", path, MEDIA, body).await?.expect(201);
    assert_eq!(made.header("content-type"), "application/json");
    assert_eq!((&made.body["metadata"]["name"], &made.body["status"]["phase"]), (&json!("team"), &json!("Active")));
    let entry = field(2, &[field(1, b"key"), field(2, b"value")].concat());
    let body = envelope("ConfigMap", &[metadata("m"), entry].concat());
    let made = api.send("POST", MAPS, MEDIA, body).await?.expect(201);
    assert_eq!(made.body["data"], json!({"key": "value"}));
    let other = api.post(MAPS, &json!({"metadata": {"name": "n"}, "data": {"key": "value"}})).await?.expect(201);
    let keys = |answer: &mkube_scenarios::Answer| {
        answer.body["metadata"].as_object().map(|meta| meta.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(keys(&made), keys(&other));
    let options = envelope("DeleteOptions", &[vec![1 << 3, 0], field(5, b"All")].concat());
    api.send("DELETE", &format!("{MAPS}/m"), MEDIA, options).await?.expect(200);
    api.get(&format!("{MAPS}/m")).await?.expect(200);
    let options = envelope("DeleteOptions", &[vec![1 << 3, 0], field(4, b"Background")].concat());
    api.send("DELETE", &format!("{MAPS}/m"), MEDIA, options).await?.expect(200);
    api.get(&format!("{MAPS}/m")).await?.refused(404, "NotFound");
    world.stop().await;
    Ok(())
}

/// As `kubectl create deployment web --image=hello:latest --replicas=2 --port=80` sends it.
fn deployment() -> Vec<u8> {
    let label = |number: u8| field(number, &[field(1, b"app"), field(2, b"web")].concat());
    let port = [field(1, b""), vec![2 << 3, 0, 3 << 3, 80], field(4, b""), field(5, b"")].concat();
    let container = [
        field(1, b"hello"),
        field(2, b"hello:latest"),
        field(5, b""),
        field(6, &port),
        field(8, b""),
        field(13, b""),
        field(14, b""),
        vec![0x80, 1, 0, 0x88, 1, 0, 0x90, 1, 0],
    ]
    .concat();
    let flags = vec![11 << 3, 0, 12 << 3, 0, 13 << 3, 0];
    let pod = [field(2, &container), field(3, b""), field(6, b""), field(8, b""), flags].concat();
    let template = [field(1, &[field(1, b""), field(8, b""), label(11)].concat()), field(2, &pod)].concat();
    let strategy = field(4, &field(1, b""));
    let spec =
        [vec![1 << 3, 2], field(2, &label(1)), field(3, &template), strategy, vec![5 << 3, 0, 7 << 3, 0]].concat();
    let metadata = field(1, &[field(1, b"web"), field(3, b"default"), vec![7 << 3, 0], label(11)].concat());
    let status = field(3, &[1 << 3, 0, 2 << 3, 0]);
    let types = [field(1, b"apps/v1"), field(2, b"Deployment")].concat();
    let object = [metadata, long(2, &spec), status].concat();
    [b"k8s\0".to_vec(), field(1, &types), long(2, &object)].concat()
}

/// A field with more bytes than one byte of length can tell.
fn long(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = [bytes.len() as u8 & 0x7f | 0x80, (bytes.len() >> 7) as u8];
    [&[number << 3 | 2][..], &length, bytes].concat()
}

#[actix_rt::test]
async fn a_deployment_in_protobuf_equals_what_its_json_would_make() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let path =
        "/apis/apps/v1/namespaces/default/deployments?fieldManager=kubectl-create&fieldValidation=Strict&dryRun=All";
    let made = api.send("POST", path, MEDIA, deployment()).await?.expect(201).body;
    let body = json!({"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "hello", "image": "hello:latest", "ports": [{"containerPort": 80}]}]}}}});
    let other = api.post(path, &body).await?.expect(201).body;
    assert_eq!(made["spec"], other["spec"]);
    assert_eq!(made["metadata"]["labels"], other["metadata"]["labels"]);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn protobuf_that_is_broken_or_of_another_kind_is_refused() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let before = world.stored();
    let good = envelope("ConfigMap", &metadata("m"));
    for (path, body, code) in [
        (MAPS, b"k8s\0\xff\xff\xff".to_vec(), 400),
        (MAPS, b"{}".to_vec(), 400),
        (MAPS, good[..good.len() - 9].to_vec(), 400),
        (MAPS, envelope("Secret", &metadata("m")), 400),
        (MAPS, envelope("ConfigMap", &field(9, b"new")), 400),
        (PODS, envelope("ConfigMap", &metadata("m")), 400),
        ("/api/v1/nodes", envelope("Node", &metadata("m")), 415),
    ] {
        assert_eq!(api.send("POST", path, MEDIA, body.clone()).await?.code, code, "{body:?}");
    }
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}
