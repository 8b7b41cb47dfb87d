//! Statements of the Kubernetes reference that no other story covers, by their numbers: see docs/compatibility.md.

use std::collections::BTreeSet;

use serde_json::json;

use crate::kubectl_tool::Kubectl;

const IMAGES: &[&str] = &["web:1", "web:2"];

const MACHINE: &str = "apiVersion: vkube.io/v1alpha1\nkind: BareMetalHost\nmetadata:\n  name: machine\nspec:\n  bootMACAddress: 02:00:00:00:00:07\n";

fn deployment(replicas: u32, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  \
         selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    \
         spec:\n      containers:\n        - {{name: c, image: '{image}'}}\n"
    )
}

/// Statement 2.
#[test]
fn a_cold_get_asks_three_times_and_a_warm_one_once() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(&[])? else { return Ok(()) };
    let asked = || -> anyhow::Result<Vec<String>> {
        let told = kubectl.run_with(&["get", "pods", "-v=6"], "")?;
        let lines = told.err.lines().filter(|line| line.contains("GET http") || line.contains("verb=\"GET\""));
        let paths = lines
            .filter_map(|line| Some(line.split(&kubectl.server.url).nth(1)?.split(['?', ' ', '"']).next()?.to_owned()));
        Ok(paths.collect())
    };
    let cold = asked()?;
    assert_eq!(cold.len(), 3, "{cold:?}");
    let cold: BTreeSet<&str> = cold.iter().map(String::as_str).collect();
    assert_eq!(cold, BTreeSet::from(["/api", "/apis", "/api/v1/namespaces/default/pods"]));
    assert_eq!(asked()?, ["/api/v1/namespaces/default/pods"]);
    Ok(())
}

/// Statements 14, 17, 20, 21, 26, 30 and 32.
#[test]
fn what_is_there_is_shown_once_edited_and_put_back_as_it_is() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    kubectl.ok("create secret generic db --from-literal=a=1");
    kubectl.ok("create cm settings --from-literal=a=1");
    kubectl.ok("create cm others --from-literal=b=1");
    kubectl.ok("create service clusterip shop --tcp=80:80");
    kubectl.ok("create cronjob nightly --image=web:1 --schedule=@yearly");
    kubectl.ok("create job once --image=web:1");
    kubectl.ok_with(
        "create -f -",
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: turn}\nspec: {holderIdentity: me}\n",
    );
    for name in ["one", "two"] {
        kubectl.ok(&format!("run {name} --image=web:1"));
    }
    kubectl.ok("wait --for=condition=Ready pod/one pod/two --timeout=50s");

    assert_eq!(kubectl.ok_with("apply -f -", MACHINE), "baremetalhost.vkube.io/machine created");
    assert_eq!(kubectl.ok_with("apply -f -", &deployment(1, "web:1")), "deployment.apps/web created");
    kubectl.ok("rollout status deploy/web --timeout=50s");
    assert_eq!(kubectl.ok_with("apply -f -", &deployment(1, "web:1")), "deployment.apps/web unchanged");
    assert_eq!(kubectl.ok_with("apply -f -", &deployment(2, "web:1")), "deployment.apps/web configured");
    let labelled = |more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: named, labels: {{a: b{more}}}}}\nspec: {{containers: [{{name: c, image: 'web:1'}}]}}\n"
        )
    };
    assert_eq!(kubectl.ok_with("apply -f -", &labelled("")), "pod/named created");
    assert_eq!(kubectl.ok_with("apply -f -", &labelled("")), "pod/named unchanged");
    assert_eq!(kubectl.ok_with("apply -f -", &labelled(", c: d")), "pod/named configured");
    kubectl.ok("patch deploy web --type=merge -p {\"metadata\":{\"labels\":{\"x\":\"y\"}}}");
    kubectl.ok("patch deploy web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":1}]");
    assert_eq!(kubectl.ok("get deploy web -o jsonpath={.metadata.labels.x}{.spec.replicas}"), "y1");

    for object in [
        "ns/default",
        "no/mkube",
        "po/one",
        "cm/settings",
        "secret/db",
        "svc/shop",
        "deploy/web",
        "job/once",
        "cronjob/nightly",
        "lease/turn",
        "bmh/machine",
    ] {
        // A status may come in between; who reads it again has the newest.
        let put_back = (0..20).any(|_| {
            let live = kubectl.ok(&format!("get {object} -o yaml"));
            let told = kubectl.run_with(&["replace", "--dry-run=server", "-f", "-"], &live).expect("kubectl runs");
            assert!(told.code == 0 || told.err.contains("the object has been modified"), "{object}: {}", told.err);
            told.code == 0
        });
        assert!(put_back, "{object} is modified all the time");
    }

    let all = kubectl.ok("get cm --chunk-size=1 -o name");
    assert_eq!(all, kubectl.ok("get cm -o name"));
    assert!(all.contains("configmap/others\nconfigmap/settings"), "{all}");

    let described = kubectl.ok("describe pod one");
    let events = described.split("Events:").nth(1).unwrap_or_default();
    assert!(events.contains("Started") && !described.contains("two"), "{described}");
    let count = |line: &str| kubectl.ok(line).lines().count();
    // One more may come between the two.
    let the_same = (0..20).any(|_| {
        count("events --for pod/one --no-headers")
            == count("get events --field-selector involvedObject.name=one --no-headers")
    });
    assert!(the_same, "both show the events of the pod");

    let edited = kubectl.edit("cm settings", "sed -i 's/a: \"1\"/a: \"2\"/' \"$1\"")?;
    assert_eq!((edited.code, edited.out.as_str()), (0, "configmap/settings edited"), "{}", edited.err);
    assert_eq!(kubectl.json("get cm settings")["data"], json!({"a": "2"}));
    let edited = kubectl.edit("bmh machine", "sed -i 's/02:00:00:00:00:07/02:00:00:00:00:08/' \"$1\"")?;
    assert_eq!((edited.code, edited.out.as_str()), (0, "baremetalhost.vkube.io/machine edited"), "{}", edited.err);
    assert_eq!(kubectl.json("get bmh machine")["spec"]["bootMACAddress"], "02:00:00:00:00:08");
    let left = kubectl.edit("cm settings", "true")?;
    assert_eq!((left.code, left.err.as_str()), (0, "Edit cancelled, no changes made."));
    Ok(())
}

/// Statements 45 and 49.
#[test]
fn whoever_waits_for_a_deployment_is_told_when_it_is_there() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    kubectl.ok_with("create -f -", &deployment(1, "web:1"));
    assert_eq!(
        kubectl.ok("wait --for=condition=Available deploy/web --timeout=50s"),
        "deployment.apps/web condition met"
    );
    kubectl.ok("scale deploy web --replicas=3");
    let waited = kubectl.ok("wait --for=jsonpath={.status.readyReplicas}=3 deploy/web --timeout=50s");
    assert_eq!(waited, "deployment.apps/web condition met");
    assert!(kubectl.ok("get deploy web --no-headers").contains("3/3"));
    assert_eq!(kubectl.ok("get pods -l app=web -o name").lines().count(), 3);
    Ok(())
}
