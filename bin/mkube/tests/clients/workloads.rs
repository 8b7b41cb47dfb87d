//! kubectl with Deployments as objects: made, scaled, deleted with what belongs to them.

use serde_json::json;

use crate::kubectl_tool::Kubectl;

const IMAGES: &[&str] = &["web:1"];

#[test]
fn a_deployment_is_made_from_arguments_and_scaled() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    let made = kubectl.ok("create deployment web --image=web:1 --replicas=2 --port=80");
    assert_eq!(made, "deployment.apps/web created");
    let object = kubectl.json("get deploy web");
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&object["spec"]["replicas"], &container["ports"][0]["containerPort"]), (&json!(2), &json!(80)));
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"app": "web"}}));
    assert_eq!(kubectl.ok("scale deploy web --replicas=3"), "deployment.apps/web scaled");
    assert_eq!(kubectl.json("get deploy web")["spec"]["replicas"], 3);
    let refused = kubectl.fails("scale deploy web --current-replicas=9 --replicas=1", "");
    assert!(refused.contains("Expected replicas to be 9, was 3"), "{refused}");
    assert_eq!(kubectl.ok("scale deploy web --current-replicas=3 --replicas=0"), "deployment.apps/web scaled");
    let object = kubectl.json("get deploy web");
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(0), &json!(3)));
    assert!(kubectl.fails("scale deploy nosuch --replicas=1", "").contains("not found"));
    let scale = kubectl.ok("get --raw /apis/apps/v1/namespaces/default/deployments/web/scale");
    assert!(scale.contains("app=web"), "{scale}");
    let listed = kubectl.ok("api-resources --no-headers");
    let line = listed.lines().find(|line| line.starts_with("deployments ")).unwrap_or_default();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["deployments", "deploy", "apps/v1", "true", "Deployment"]);
    let records = kubectl.ok("get rs -l app=web -o name");
    assert!(records.starts_with("replicaset.apps/web-"), "the record of its template: {records}");
    let set = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata:\n  name: x\nspec:\n  selector:\n    matchLabels: {a: b}\n  template:\n    metadata:\n      labels: {a: b}\n    spec:\n      containers: [{name: c, image: x}]\n";
    assert!(kubectl.fails("create --validate=false -f -", set).contains("MethodNotAllowed"));
    Ok(())
}

#[test]
fn a_cascade_takes_along_or_lets_go_what_an_owner_owns() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    for (cascade, left) in [("background", ""), ("foreground", ""), ("orphan", "configmap/child\npod/child")] {
        kubectl.ok("create deployment web --image=web:1 --replicas=0");
        let uid = kubectl.ok("get deploy web -o jsonpath={.metadata.uid}");
        let owner = format!(
            "  name: child\n  labels: {{of: web}}\n  ownerReferences:\n    - {{apiVersion: apps/v1, kind: Deployment, name: web, uid: {uid}, blockOwnerDeletion: true}}\n"
        );
        kubectl.ok_with("create -f -", &format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n{owner}"));
        let spec = "spec:\n  containers: [{name: c, image: 'web:1'}]\n";
        kubectl.ok_with("create -f -", &format!("apiVersion: v1\nkind: Pod\nmetadata:\n{owner}{spec}"));
        kubectl.ok("wait --for=condition=Ready pod/child --timeout=50s");
        let deleted = kubectl.ok(&format!("delete deploy web --cascade={cascade} --timeout=50s"));
        assert!(deleted.contains("deleted"), "{deleted}");
        assert!(kubectl.fails("get deploy web", "").contains("NotFound"));
        if left.is_empty() {
            kubectl.ok("wait --for=delete pod/child --timeout=50s");
        }
        assert_eq!(kubectl.ok("get cm,pods -l of=web -o name"), left, "{cascade}");
    }
    assert_eq!(kubectl.ok("get pod child -o jsonpath={.metadata.ownerReferences}"), "");
    Ok(())
}
