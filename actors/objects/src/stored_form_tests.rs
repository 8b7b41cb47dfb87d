use mkube_model::kinds::KindTable;

use super::*;

fn kind(name: &str) -> Kind {
    *KindTable::builtin().named(name).expect("a builtin kind")
}

fn at(bucket: &str, key: &str) -> StoreKey {
    StoreKey { bucket: bucket.into(), key: key.into() }
}

fn read_value(kind_name: &str, key: &str, value: &Value) -> Result<(ObjectKey, Value), String> {
    let kind = kind(kind_name);
    read(&kind, &at(kind.bucket, key), value.to_string().as_bytes())
}

/// What the Go controller leaves in its buckets.
fn left_by_go() -> Vec<(&'static str, &'static str, Value)> {
    let container = json!([{"name": "front", "image": "192.0.2.3:5000/front:edge", "resources": {}}]);
    vec![
        (
            "Pod",
            "g10.web",
            json!({"metadata": {"name": "web", "namespace": "g10", "creationTimestamp": null,
                "annotations": {"vkube.io/network": "g10"}}, "spec": {"containers": container}, "status": {}}),
        ),
        ("Pod", "g10.web", json!({"metadata": {"name": "web"}, "spec": {"containers": container}})),
        (
            "Pod",
            "g10.web",
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "g10",
                "creationTimestamp": "2026-02-25T10:00:00Z"}, "spec": {"containers": container, "restartPolicy": "Always"}}),
        ),
        (
            "ConfigMap",
            "g10.web-conf",
            json!({"metadata": {"name": "web-conf", "namespace": "g10"}, "data": {"a": "1"}}),
        ),
        (
            "Deployment",
            "g10.web",
            json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "namespace": "g10"},
                "spec": {"replicas": 2, "template": {"metadata": {"creationTimestamp": null,
                    "annotations": {"vkube.io/image-policy": "auto"}}, "spec": {"containers": container}}},
                "status": {"replicas": 2, "readyReplicas": 2, "updatedAt": "2026-02-25T12:00:00Z"}}),
        ),
        (
            "Deployment",
            "g10.web",
            json!({"apiVersion": "v1", "metadata": {"name": "web"}, "spec": {"template": {"spec": {"containers": container}}}}),
        ),
        (
            "Namespace",
            "team",
            json!({"name": "team", "domain": "team.g10.example", "zone": "z1", "network": "g10", "mode": "nested",
                "containers": ["team_web_front"]}),
        ),
        (
            "Namespace",
            "bare",
            json!({"name": "bare", "domain": "", "zone": "", "network": "", "mode": "", "containers": null}),
        ),
    ]
}

#[test]
fn what_the_go_controller_left_becomes_whole_objects_the_same_ones_at_every_reading() {
    for (name, key, value) in left_by_go() {
        let (place, object) = read_value(name, key, &value).unwrap_or_else(|why| panic!("{value}: {why}"));
        let row = kind(name);
        assert_eq!(store_key(&row, &place).key, key);
        assert_eq!((&object["kind"], &object["apiVersion"]), (&json!(name), &json!(row.api_version())), "{value}");
        assert_eq!(object["metadata"]["name"], key.rsplit('.').next().expect("a word"));
        assert!(
            !object["metadata"]["creationTimestamp"].is_null() || object["metadata"].get("creationTimestamp").is_none()
        );
        let uid = metadata::uid(&object).to_owned();
        assert_eq!((uid.len(), uid.as_bytes()[14]), (36, b'8'), "{uid}");
        assert_eq!(read_value(name, key, &value).map(|(_, object)| object).as_ref(), Ok(&object), "the same again");
        // Once written by us it is read as it was written.
        let written = write(&row, &object);
        let (_, again) = read(&row, &at(row.bucket, key), &written).expect("ours");
        assert_eq!(again, object, "{value}");
        assert_eq!((row.validate)(&object, None), [], "{value}");
    }
    let uid = |key: &str| {
        let (_, map) =
            read_value("ConfigMap", key, &json!({"metadata": {"name": key.split_once('.').expect("two").1}}))
                .expect("read");
        metadata::uid(&map).to_owned()
    };
    assert_ne!(uid("g10.a"), uid("g10.b"));
    assert_ne!(uid("g10.a"), uid("g11.a"));
}

#[test]
fn what_we_write_is_read_by_the_go_controller_as_its_own() {
    for (name, key, value) in left_by_go() {
        let row = kind(name);
        let (_, object) = read_value(name, key, &value).expect("read");
        let written: Value = serde_json::from_slice(&write(&row, &object)).expect("JSON");
        if name == "Namespace" {
            for field in ["name", "domain", "zone", "network", "mode"] {
                assert_eq!(written[field], value[field], "{field} of {value}");
            }
            let before = value["containers"].as_array().cloned().unwrap_or_default();
            assert_eq!(written["containers"], json!(before));
        } else {
            // Its types are those of Kubernetes or a part of them, and it ignores what it does not know.
            assert_eq!(written["metadata"]["namespace"], "g10");
            for pointer in
                ["/spec/containers/0/image", "/data", "/spec/template/spec/containers/0/image", "/status/updatedAt"]
            {
                if let Some(before) = value.pointer(pointer) {
                    assert_eq!(written.pointer(pointer), Some(before), "{pointer}");
                }
            }
        }
    }
}

#[test]
fn a_namespace_that_the_go_controller_wrote_over_is_known_by_what_it_says() {
    let (_, team) =
        read_value("Namespace", "team", &left_by_go().into_iter().find(|one| one.1 == "team").expect("one").2)
            .expect("read");
    let annotations = &team["metadata"]["annotations"];
    assert_eq!(
        (&annotations["vkube.io/domain"], &annotations["vkube.io/network"], &annotations["vkube.io/mode"]),
        (&json!("team.g10.example"), &json!("g10"), &json!("nested"))
    );
    assert_eq!(team["status"]["phase"], "Active");
    // The object is right where both stand together.
    let mut both: Value = serde_json::from_slice(&write(&kind("Namespace"), &team)).expect("JSON");
    both["metadata"]["annotations"]["vkube.io/mode"] = json!("open");
    let (_, read) = read_value("Namespace", "team", &both).expect("read");
    assert_eq!(read["metadata"]["annotations"]["vkube.io/mode"], "open");
    assert!(read.get("mode").is_none() && read.get("name").is_none());
}

#[test]
fn an_object_that_has_a_uid_is_read_as_it_stands() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "g10", "uid": "u"}, "spec": {}});
    assert_eq!(read_value("Pod", "g10.web", &pod), Ok((ObjectKey::new("g10", "web"), pod)));
}

#[test]
fn what_is_no_object_is_told_with_the_reason() {
    let row = kind("Pod");
    let why = |bytes: &[u8]| read(&row, &at("PODS", "g10.web"), bytes).expect_err("no object");
    for (bytes, word) in [
        ("{not json", "key must be a string"),
        ("[]", "no JSON object"),
        ("null", "no JSON object"),
        ("{}", "no name"),
        (r#"{"metadata":[]}"#, "metadata"),
        (r#"{"metadata":{"name":"other"}}"#, "g10/other"),
        (r#"{"metadata":{"name":"web","namespace":"g11"}}"#, "g11/web"),
        (r#"{"kind":"ConfigMap","metadata":{"name":"web"}}"#, "ConfigMap"),
    ] {
        let why = why(bytes.as_bytes());
        assert!(why.contains(word), "{bytes}: {why}");
    }
    assert_eq!(object_key(&row, &at("PODS", "g10.web.x")), ObjectKey::new("g10", "web.x"));
    assert_eq!(object_key(&row, &at("PODS", "odd")), ObjectKey::new("", "odd"));
}
