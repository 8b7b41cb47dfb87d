//! kubectl and Secrets: made, shown and described without their values, deleted.

use serde_json::json;

use crate::kubectl_tool::Kubectl;

#[test]
fn secrets_are_made_shown_described_and_deleted() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(&["web:1"])? else { return Ok(()) };
    let line =
        "create secret docker-registry pull --docker-server=r:5000 --docker-username=bob --docker-password=hunter2";
    assert_eq!(kubectl.ok(line), "secret/pull created");
    assert_eq!(kubectl.ok("create secret generic db --from-literal=password=hunter2"), "secret/db created");
    let table = kubectl.ok("get secrets");
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "TYPE", "DATA", "AGE"]);
    assert_eq!(
        (words[1][..3].to_vec(), words[2][..3].to_vec()),
        (vec!["db", "Opaque", "1"], vec!["pull", "kubernetes.io/dockerconfigjson", "1"],)
    );
    assert_eq!(kubectl.ok("get secrets --field-selector type=Opaque -o name"), "secret/db");
    let described = kubectl.ok("describe secret pull db");
    assert!(described.contains(".dockerconfigjson:") && described.contains("password:  7 bytes"), "{described}");
    assert!(!described.contains("hunter2") && !described.contains("aHVudGVyMg"), "{described}");
    assert_eq!(kubectl.json("get secret db")["data"], json!({"password": "aHVudGVyMg=="}));

    let manifest = |kind: &str, data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: own\ntype: {kind}\nstringData:\n{data}")
    };
    assert_eq!(kubectl.ok_with("apply -f -", &manifest("Opaque", "  key: hunter2\n")), "secret/own created");
    assert_eq!(kubectl.json("get secret own")["data"], json!({"key": "aHVudGVyMg=="}));
    let refused = kubectl.fails("apply -f -", &manifest("kubernetes.io/tls", "  key: hunter3\n"));
    assert!(refused.contains("type: Invalid value: \"kubernetes.io/tls\": field is immutable"), "{refused}");
    let refused =
        kubectl.fails("create -f -", &manifest("kubernetes.io/tls", "  key: hunter3\n").replace("own", "tls"));
    assert!(refused.contains("data[tls.crt]: Required value") && !refused.contains("hunter3"), "{refused}");
    let broken = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: broken\ndata:\n  key: hunter2%\n";
    let refused = kubectl.fails("create --validate=false -f -", broken);
    assert!(refused.contains("data.key") && !refused.contains("hunter2"), "{refused}");

    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [{"name": "keys", "secret": {"secretName": "own"}}],
        "containers": [{"name": "c", "image": "web:1",
            "env": [{"name": "PW", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
            "volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}]}});
    assert_eq!(kubectl.ok_with("apply -f -", &pod.to_string()), "pod/web created");
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=50s");
    let told = kubectl.ok("describe pod web") + &kubectl.ok("get events -o yaml");
    assert!(!told.contains("hunter") && !told.contains("aHVudGVy"), "{told}");
    assert!(told.contains("<set to the key 'password' in secret 'db'>"), "{told}");
    pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Sometimes");
    pod["metadata"]["annotations"] = json!({"vkube.io/image-pin": "c=web:1"});
    let refused = kubectl.fails("apply -f -", &pod.to_string());
    assert!(refused.contains("spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\""), "{refused}");
    assert!(refused.contains("metadata.annotations[vkube.io/image-pin]"), "{refused}");
    assert_eq!(kubectl.ok("delete secret pull own"), "secret \"pull\" deleted\nsecret \"own\" deleted");
    Ok(())
}
