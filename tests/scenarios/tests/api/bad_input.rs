//! Bad input: each is refused with a `Status` that names the culprit, and nothing changes.

use mkube_scenarios::{Answer, Api, World};
use serde_json::{Value, json};

use crate::{JSON, MAPS, PODS, map, pod, quiet};

const YAML: &str = "application/yaml";

async fn send(api: &Api, path: &str, media: &str, body: &str) -> anyhow::Result<Answer> {
    api.send("POST", path, &[("content-type", media)], body.to_owned()).await
}

/// Runs `attempts` and insists that nothing was stored.
async fn changes_nothing(attempts: impl AsyncFnOnce(&Api) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let world: World = quiet().await?;
    world.api().post(PODS, &pod("there")).await?.expect(201);
    world.api().post(MAPS, &map("there", json!({"a": "1"}))).await?.expect(201);
    world.until_pod("there", "Running").await?;
    let before = world.stored();
    attempts(world.api()).await?;
    assert_eq!(world.stored(), before);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn text_that_is_no_object_is_refused() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        for (media, body) in [
            (JSON, "{"),
            (JSON, "{\"kind\": \"ConfigMap\",}"),
            (JSON, "{metadata: {name: x}}"),
            (JSON, "[]"),
            (JSON, "\"text\""),
            (JSON, "42"),
            (JSON, ""),
            (JSON, "{\"metadata\": {\"name\": \"x\"}} trailing"),
            (YAML, "metadata: [unclosed"),
            (YAML, "metadata:\n  name: x\n  name: y\n"),
            (YAML, "just words"),
            (YAML, "a: 1\n---\nb: 2\n"),
            (YAML, "metadata:\n\tname: x\n"),
        ] {
            send(api, MAPS, media, body).await?.refused(400, "BadRequest");
        }
        let line = send(api, MAPS, YAML, "metadata:\n  name: x\n  bad: [\n").await?.refused(400, "BadRequest");
        line.saying("line");
        let not_text = api.send("POST", MAPS, &[("content-type", YAML)], vec![0xff, 0xfe]).await?;
        not_text.refused(400, "BadRequest");
        let media = send(api, MAPS, "text/plain", "{}").await?.refused(415, "UnsupportedMediaType");
        media.saying("application/json");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn yaml_and_bodies_without_content_type_or_kind_are_taken() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    send(api, MAPS, YAML, "metadata:\n  name: y\ndata:\n  a: \"1\"\n").await?.expect(201);
    api.send("POST", MAPS, &[], "{\"metadata\": {\"name\": \"z\"}}").await?.expect(201);
    api.send("POST", MAPS, &[], "{\"metadata\": {\"name\": \"n\", \"creationTimestamp\": null}, \"kind\": \"\"}")
        .await?
        .expect(201);
    api.send("PUT", &format!("{MAPS}/z"), &[], "{\"metadata\": {\"name\": \"z\"}, \"data\": {\"a\": \"2\"}}")
        .await?
        .expect(200);
    api.send("DELETE", &format!("{MAPS}/z"), &[("content-type", JSON)], "").await?.expect(200);
    api.get(&format!("{MAPS}?&labelSelector=")).await?.expect(200);
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn paths_and_methods_that_do_not_exist_are_refused() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        for (method, path, code) in [
            ("GET", "/api/v1/namespaces/default/nosuch", 404),
            ("GET", "/api/v1/namespaces/default/nodes", 404),
            ("GET", "/api/v1/pods/there", 404),
            ("GET", "/api/v1/namespaces/default/pods/there/nosuch", 404),
            ("GET", "/api/v1/namespaces/default/pods/there/status/x", 404),
            ("GET", "/apis/apps/v9/deployments", 404),
            ("POST", "/api/v1/namespaces/default/pods/there", 405),
            ("PUT", PODS, 405),
            ("PATCH", PODS, 405),
            ("POST", "/api/v1/namespaces/default/pods/there/log", 405),
            ("PUT", "/version", 405),
            ("BREW", PODS, 405),
        ] {
            assert_eq!(api.send(method, path, &[], "").await?.code, code, "{method} {path}");
        }
        send(api, MAPS, JSON, "{\"kind\": \"Secret\", \"metadata\": {\"name\": \"x\"}}")
            .await?
            .refused(400, "BadRequest");
        let version = "{\"apiVersion\": \"v2\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"x\"}}";
        send(api, MAPS, JSON, version).await?.refused(400, "BadRequest").saying("apiVersion");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn a_namespace_that_is_not_that_of_the_path_or_does_not_exist_is_refused() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let mut other = map("x", json!({}));
        other["metadata"]["namespace"] = json!("kube-system");
        let words = "the namespace of the provided object does not match the namespace sent on the request";
        api.post(MAPS, &other).await?.refused(400, "BadRequest").saying(words);
        let mut there = map("there", json!({}));
        there["metadata"]["namespace"] = json!("kube-system");
        api.put(&format!("{MAPS}/there"), &there).await?.refused(400, "BadRequest");
        let moved = json!({"metadata": {"namespace": "kube-system"}});
        api.patch(&format!("{MAPS}/there"), "merge", &moved).await?.refused(400, "BadRequest");
        api.post("/api/v1/namespaces/nosuch/pods", &pod("x")).await?.refused(404, "NotFound").saying("nosuch");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn names_follow_rfc_1123() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let long = "a".repeat(254);
        for name in ["Bad_Name", "a..b", "-a", "a-", "a b", "ä", "a/b", long.as_str()] {
            for (path, body) in [(MAPS, map(name, json!({}))), (PODS, pod(name))] {
                let refused = api.post(path, &body).await?.refused(422, "Invalid");
                assert_eq!(refused.fields()[0], "metadata.name", "{name}");
                refused.saying("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters");
            }
        }
        for name in ["a.b", "A", &"a".repeat(64)] {
            let refused =
                api.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?.refused(422, "Invalid");
            assert_eq!(refused.fields()[0], "metadata.name", "{name}");
            refused.saying("a lowercase RFC 1123 label must consist of");
        }
        for labels in [json!({"-a": "x"}), json!({"a": "x y"}), json!({"a/b/c": "x"}), json!({"a": "x".repeat(64)})] {
            let mut one = map("x", json!({}));
            one["metadata"]["labels"] = labels.clone();
            assert_eq!(api.post(MAPS, &one).await?.refused(422, "Invalid").fields(), ["metadata.labels"], "{labels}");
        }
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn bodies_over_three_mebibytes_are_refused_with_413() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        for size in [3 << 20, 20 << 20] {
            let body = map("x", json!({"a": "x".repeat(size)})).to_string();
            for (method, path) in [("POST", MAPS), ("PUT", "/api/v1/namespaces/default/configmaps/there")] {
                let refused = api.send(method, path, &[("content-type", JSON)], body.clone()).await?;
                refused.refused(413, "RequestEntityTooLarge").saying("limit is 3145728");
            }
        }
        // Below the limit of bodies the kind has its own.
        let refused = api.post(MAPS, &map("x", json!({"a": "x".repeat(2 << 20)}))).await?.refused(422, "Invalid");
        refused.saying("Too long: may not be more than 1048576 bytes");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn deep_nesting_and_masses_of_values_are_refused() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let deep = |levels: usize| {
            format!(
                "{{\"metadata\": {{\"name\": \"x\"}}, \"data\": {}1{}}}",
                "{\"a\":".repeat(levels),
                "}".repeat(levels)
            )
        };
        for levels in [100, 100_000] {
            send(api, MAPS, JSON, &deep(levels)).await?.refused(400, "BadRequest");
        }
        let many = format!("{{\"metadata\": {{\"name\": \"x\"}}, \"data\": [{}1]}}", "1,".repeat(1_000_000));
        send(api, MAPS, JSON, &many).await?.refused(400, "BadRequest").saying("values");
        let deep_yaml = format!("data: {}{}", "[".repeat(1000), "]".repeat(1000));
        send(api, MAPS, YAML, &deep_yaml).await?.refused(400, "BadRequest");
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (name, before) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f"), ("h", "g")] {
            bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(","));
        }
        send(api, MAPS, YAML, &bomb).await?.refused(400, "BadRequest");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn a_wrong_type_is_refused_with_the_name_of_the_field() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let with = |spec: Value| json!({"metadata": {"name": "x"}, "spec": spec});
        for (spec, field) in [
            (json!({"containers": "c"}), "spec.containers"),
            (json!({"containers": [{"name": 5, "image": "hello:latest"}]}), "spec.containers[0].name"),
            (
                json!({"containers": [{"name": "c", "ports": [{"containerPort": "http"}]}]}),
                "spec.containers[0].ports[0].containerPort",
            ),
            (
                json!({"containers": [{"name": "c", "env": [{"name": "A", "value": 1}]}]}),
                "spec.containers[0].env[0].value",
            ),
            (json!({"containers": [], "terminationGracePeriodSeconds": "soon"}), "spec.terminationGracePeriodSeconds"),
            (json!({"containers": [], "hostNetwork": "yes"}), "spec.hostNetwork"),
        ] {
            api.post(PODS, &with(spec)).await?.refused(400, "BadRequest").saying(field);
        }
        api.post(MAPS, &json!({"metadata": {"name": "x", "labels": {"a": 1}}}))
            .await?
            .refused(400, "BadRequest")
            .saying("metadata.labels");
        api.post(MAPS, &json!({"metadata": "x"})).await?.refused(400, "BadRequest").saying("metadata");
        api.post(MAPS, &map("x", json!({"a": 1}))).await?.refused(400, "BadRequest").saying("data.a");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn a_bad_pod_is_refused_with_every_field_that_is_wrong() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let container = |name: &str| json!({"name": name, "image": "hello:latest"});
        let with = |field: &str, value: Value| {
            let mut one = container("c");
            one[field] = value;
            json!({"containers": [one]})
        };
        for (spec, fields, words) in [
            (json!({"containers": []}), vec!["spec.containers"], "Required value"),
            (json!({}), vec!["spec.containers"], "Required value"),
            (
                json!({"containers": [container("c"), container("c")]}),
                vec!["spec.containers[1].name"],
                "Duplicate value: \"c\"",
            ),
            (json!({"containers": [{"name": "c"}]}), vec!["spec.containers[0].image"], "Required value"),
            (json!({"containers": [container("C.C")]}), vec!["spec.containers[0].name"], "RFC 1123 label"),
            (
                with("env", json!([{"name": "a=b"}, {"name": ""}, {"name": "a b"}])),
                vec![
                    "spec.containers[0].env[0].name",
                    "spec.containers[0].env[1].name",
                    "spec.containers[0].env[2].name",
                ],
                "environment variable",
            ),
            (
                with("env", json!([{"name": "A", "value": "two\nlines"}])),
                vec!["spec.containers[0].env[0].value"],
                "RouterOS cannot express",
            ),
            (with("command", json!(["say", "\"hi\""])), vec!["spec.containers[0].command[1]"], "double quote"),
            (with("args", json!(["two\nlines"])), vec!["spec.containers[0].args[0]"], "line break"),
            (
                with("ports", json!([{"containerPort": 70000}])),
                vec!["spec.containers[0].ports[0].containerPort"],
                "must be between 1 and 65535, inclusive",
            ),
            (
                with("volumeMounts", json!([{"name": "v", "mountPath": "rel"}])),
                vec!["spec.containers[0].volumeMounts[0].mountPath"],
                "absolute",
            ),
            (
                json!({"restartPolicy": "X", "containers": [container("c")]}),
                vec!["spec.restartPolicy"],
                "supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
        ] {
            let refused =
                api.post(PODS, &json!({"metadata": {"name": "x"}, "spec": spec})).await?.refused(422, "Invalid");
            assert_eq!(refused.fields(), fields, "{}", refused.text);
            refused.saying(words);
        }
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn annotations_with_bad_values_are_refused() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        for (key, value) in [
            ("vkube.io/static-ip", "not an address"),
            ("vkube.io/static-ip", "10.90.0.999"),
            ("vkube.io/file", "../../etc/passwd"),
        ] {
            let mut one = pod("x");
            one["metadata"]["annotations"] = json!({key: value});
            let refused = api.post(PODS, &one).await?.refused(422, "Invalid");
            assert_eq!(refused.fields(), [format!("metadata.annotations[{key}]")]);
        }
        let mut one = pod("x");
        one["metadata"]["annotations"] = json!({"a": "x".repeat(300_000)});
        assert_eq!(api.post(PODS, &one).await?.refused(422, "Invalid").fields(), ["metadata.annotations"]);
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn an_unknown_network_leaves_the_pod_pending_with_the_reason() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut one = pod("x");
    one["metadata"]["annotations"] = json!({"vkube.io/network": "nosuch"});
    world.api().post(PODS, &one).await?.expect(201);
    world
        .until("the reason in the pod's status", |view| {
            let pods = view.kinds.values().flat_map(|kind| kind.objects.values());
            pods.filter(|object| object.key.name == "x").any(|pod| {
                let status = pod.value()["status"].clone();
                status["phase"] == "Pending"
                    && status.to_string().contains("nosuch")
                    && status.to_string().contains("gt")
            })
        })
        .await?;
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn unknown_and_repeated_fields_are_refused_warned_of_or_ignored_as_asked() -> anyhow::Result<()> {
    let world = quiet().await?;
    let api = world.api();
    let body = r#"{"metadata": {"name": "x", "foo": 1}, "data": {"a": "1", "a": "2"}, "bar": {}}"#;
    let before = world.stored();
    let strict = send(api, &format!("{MAPS}?fieldValidation=Strict"), JSON, body).await?.refused(400, "BadRequest");
    strict.saying("strict decoding error: duplicate field \"data.a\"");
    let typo = r#"{"metadata": {"name": "x", "foo": 1}, "bar": {}}"#;
    let strict = send(api, &format!("{MAPS}?fieldValidation=Strict"), JSON, typo).await?.refused(400, "BadRequest");
    let strict = strict.saying("strict decoding error: ").saying("unknown field \"metadata.foo\"");
    strict.saying("unknown field \"bar\"");
    let other = send(api, &format!("{MAPS}?fieldValidation=Perhaps"), JSON, body).await?.refused(422, "Invalid");
    other.saying("supported values: \"Ignore\", \"Strict\", \"Warn\"");
    let mut misspelt = pod("x");
    misspelt["spec"]["contaners"] = json!([{"name": "d"}]);
    let refused = api.post(&format!("{PODS}?fieldValidation=Strict"), &misspelt).await?.refused(400, "BadRequest");
    refused.saying("unknown field \"spec.contaners\"");
    assert_eq!(world.stored(), before);
    let warned = send(api, MAPS, JSON, body).await?.expect(201);
    let warnings = warned.warnings();
    assert!(warnings.contains(&"299 - \"unknown field 'metadata.foo'\"".to_owned()), "{warnings:?}");
    assert!(warnings.contains(&"299 - \"duplicate field 'data.a'\"".to_owned()), "{warnings:?}");
    assert_eq!((&warned.body["data"]["a"], &warned.body["bar"]), (&json!("2"), &Value::Null));
    api.delete(&format!("{MAPS}/x")).await?.expect(200);
    let ignored = send(api, &format!("{MAPS}?fieldValidation=Ignore"), JSON, body).await?.expect(201);
    assert_eq!(ignored.warnings(), Vec::<String>::new());
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn pod_fields_without_effect_are_warned_of_by_name() -> anyhow::Result<()> {
    let world = quiet().await?;
    let mut one = pod("x");
    one["spec"]["hostNetwork"] = json!(true);
    one["spec"]["initContainers"] = json!([{"name": "i", "image": "hello:latest"}]);
    // Whether a device runs commands is not known here: the pod's condition says it.
    one["spec"]["containers"][0]["livenessProbe"] = json!({"exec": {"command": ["true"]}});
    let warned = world.api().post(PODS, &one).await?.expect(201).warnings().join("\n");
    for field in ["spec.hostNetwork", "spec.initContainers"] {
        assert!(warned.contains(field), "{field} is not in {warned}");
    }
    assert!(!warned.contains("livenessProbe"), "{warned}");
    let plain = world.api().post(PODS, &pod("y")).await?.expect(201);
    assert_eq!(plain.warnings(), Vec::<String>::new());
    world.stop().await;
    Ok(())
}

#[actix_rt::test]
async fn an_object_that_brings_its_own_version_is_not_created() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let mut one = map("x", json!({}));
        one["metadata"]["resourceVersion"] = json!("5");
        api.post(MAPS, &one).await?.refused(400, "BadRequest").saying("resourceVersion should not be set");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn logs_of_containers_and_lines_that_do_not_exist_are_refused() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        let log = format!("{PODS}/there/log");
        api.get(&format!("{PODS}/nosuch/log")).await?.refused(404, "NotFound");
        api.get(&format!("{log}?container=zz"))
            .await?
            .refused(400, "BadRequest")
            .saying("container zz is not valid for pod there");
        api.get(&format!("{log}?tailLines=-1")).await?.refused(422, "Invalid").saying("tailLines");
        api.get(&format!("{log}?sinceTime=yesterday")).await?.refused(400, "BadRequest");
        Ok(())
    })
    .await
}

#[actix_rt::test]
async fn a_name_that_the_json_library_keeps_for_itself_is_refused_however_it_comes() -> anyhow::Result<()> {
    changes_nothing(async |api| {
        // Stored, it could be read by nobody any more.
        let name = "$serde_json::private::RawValue";
        let mut one = pod("x");
        one["spec"]["nodeSelector"] = json!({name: "{"});
        api.post(PODS, &one).await?.refused(400, "BadRequest").saying(name);
        let text = format!("metadata: {{name: x}}\nspec: {{nodeSelector: {{\"{name}\": \"x\"}}, containers: [{{name: c, image: i}}]}}");
        send(api, PODS, YAML, &text).await?.refused(400, "BadRequest").saying(name);
        let there = format!("{PODS}/there");
        let body = json!([{"op": "add", "path": "/spec/nodeSelector", "value": {}}, {"op": "add", "path": format!("/spec/nodeSelector/{name}"), "value": "{"}]);
        api.patch(&there, "json", &body).await?.refused(400, "BadRequest").saying(name);
        let merged = json!({"spec": {"nodeSelector": {name: "{"}}});
        api.patch(&there, "strategic-merge", &merged).await?.refused(400, "BadRequest");
        let applied = api.post("/api/v1/apply", &one).await?;
        assert_eq!(applied.code, 400, "{}", applied.text);
        api.get(PODS).await?.expect(200);
        Ok(())
    })
    .await
}
