//! kubectl and Services: usual manifests apply, twice, and what is not done is said.

use serde_json::json;

use crate::kubectl_tool::Kubectl;

const MANIFEST: &str = "apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
  - name: http
    port: 80
  - name: dns
    port: 53
    protocol: UDP
";

fn words(table: &str) -> Vec<Vec<String>> {
    let line = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    table.lines().map(line).collect()
}

#[test]
fn services_are_applied_twice_shown_described_exposed_and_deleted() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(&["web:1"])? else { return Ok(()) };
    let applied = kubectl.run_with(&["apply", "-f", "-"], MANIFEST)?;
    assert_eq!((applied.out.as_str(), applied.err.as_str()), ("service/web created", ""), "and no warning");
    assert_eq!(kubectl.ok_with("apply -f -", MANIFEST), "service/web unchanged");
    let table = words(&kubectl.ok("get svc web -o wide"));
    assert_eq!(table[0], ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]);
    assert_eq!(table[1][..5], ["web", "ClusterIP", "None", "<none>", "80/TCP,53/UDP"]);
    assert_eq!(table[1][6], "app=web");
    let described = kubectl.ok("describe service web");
    assert!(described.contains("Selector:") && described.contains("app=web"), "{described}");
    assert!(described.contains("53/UDP"), "{described}");
    assert!(kubectl.ok("get all").contains("service/web"));

    // One port changes and the other stays.
    let changed = MANIFEST.replace("    port: 80\n", "    port: 80\n    targetPort: 8080\n");
    let told = kubectl.run_with(&["apply", "-f", "-"], &changed)?;
    assert_eq!(told.out, "service/web configured");
    assert!(told.err.contains("ports are not translated") && told.err.contains("8080"), "{}", told.err);
    let ports = kubectl.json("get svc web")["spec"]["ports"].clone();
    assert_eq!((&ports[0]["targetPort"], &ports[1]["targetPort"]), (&json!(8080), &json!(53)));
    let told = kubectl.run_with(&["apply", "-f", "-"], &MANIFEST.replace("spec:\n", "spec:\n  type: NodePort\n"))?;
    assert!(told.err.contains("NodePort has no effect beyond ClusterIP"), "{}", told.err);

    // Bodies that kubectl makes itself.
    kubectl.ok("create service clusterip made --tcp=80:8080");
    let made = kubectl.json("get svc made");
    assert_eq!(made["spec"]["ports"][0]["targetPort"], 8080, "{made}");
    assert_eq!(made["spec"]["selector"], json!({"app": "made"}));
    assert_eq!(kubectl.ok("create deployment shop --image=web:1"), "deployment.apps/shop created");
    assert_eq!(kubectl.ok("expose deployment shop --port=80"), "service/shop exposed");
    assert_eq!(kubectl.json("get svc shop")["spec"]["selector"], json!({"app": "shop"}));

    let bad = MANIFEST.replace("name: web", "name: other").replace("port: 53", "port: 70000");
    let refused = kubectl.fails("apply -f -", &bad);
    assert!(refused.contains("spec.ports[1].port: Invalid value: 70000"), "{refused}");
    let outside = "apiVersion: v1\nkind: Service\nmetadata:\n  name: out\nspec:\n  type: ExternalName\n  externalName: a.example\n";
    let refused = kubectl.fails("apply -f -", outside);
    assert!(refused.contains("spec.type: Invalid value: \"ExternalName\""), "{refused}");
    assert_eq!(kubectl.ok("get svc -o name"), "service/made\nservice/shop\nservice/web");
    assert_eq!(kubectl.ok("delete svc web made shop").lines().count(), 3);
    Ok(())
}
