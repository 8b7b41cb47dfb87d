//! kubectl reads what the kinds look like: it explains them, and computes patches by them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::kubectl_tool::Kubectl;

const IMAGES: &[&str] = &["web:1"];

/// Statement 8 of the compatibility reference.
#[test]
fn fields_are_explained_with_types_and_fields_there_are_not_are_named() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    let one_space = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let containers = one_space(&kubectl.ok("explain pods.spec.containers"));
    for expected in [
        "KIND: Pod VERSION: v1 FIELD: containers <[]Container>",
        "image <string> Container image name.",
        "env <[]EnvVar>",
        "livenessProbe <Probe>",
        "name <string> -required-",
    ] {
        assert!(containers.contains(expected), "{expected:?} is not in {containers}");
    }
    let port = one_space(&kubectl.ok("explain pods.spec.containers.livenessProbe.httpGet.port"));
    assert!(port.contains("FIELD: port <IntOrString>"), "{port}");
    let limits = one_space(&kubectl.ok("explain pods.spec.containers.resources.limits"));
    assert!(limits.contains("FIELD: limits <map[string]Quantity>"), "{limits}");
    let all = one_space(&kubectl.ok("explain deploy --recursive --api-version=apps/v1"));
    for expected in
        ["GROUP: apps KIND: Deployment", "matchLabels <map[string]string>", "containerPort <integer> -required-"]
    {
        assert!(all.contains(expected), "{expected:?} is not in {all}");
    }
    let network = one_space(&kubectl.ok("explain net.spec"));
    for expected in
        ["GROUP: vkube.io KIND: Network VERSION: v1alpha1", "cidr <string> -required- The subnet", "dhcp <Object>"]
    {
        assert!(network.contains(expected), "{expected:?} is not in {network}");
    }
    let reservations = one_space(&kubectl.ok("explain net.spec.dhcp.reservations"));
    assert!(
        reservations.contains("FIELD: reservations <[]Object>") && reservations.contains("mac <string>"),
        "{reservations}"
    );
    for (field, why) in
        [("pods.nosuch", "field \"nosuch\" does not exist"), ("net.spec.colour", "field \"colour\" does not exist")]
    {
        let refused = kubectl.fails(&format!("explain {field}"), "");
        assert!(refused.contains(why), "{refused}");
    }
    for kind in kubectl.ok("api-resources -o name").lines() {
        // Questions and figures are explained as objects are.
        // kubectl takes the first resource of a name for granted, and what follows for fields.
        let line = match kind.split_once('.') {
            Some((plural, "events.k8s.io")) => format!("explain {plural} --api-version=events.k8s.io/v1"),
            Some((plural, "metrics.k8s.io")) => format!("explain {plural} --api-version=metrics.k8s.io/v1beta1"),
            _ => format!("explain {kind}"),
        };
        let explained = kubectl.ok(&line);
        assert!(explained.contains("KIND:") && explained.contains("apiVersion"), "{kind}: {explained}");
    }
    let older = one_space(&kubectl.ok("explain pods.spec.containers --output=plaintext-openapiv2"));
    assert!(older.contains("RESOURCE: containers <[]Object>") && older.contains("image <string>"), "{older}");
    Ok(())
}

fn two_containers(more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 0\n  selector: {{matchLabels: {{a: b}}}}\n  \
         template:\n    metadata: {{labels: {{a: b}}}}\n    spec:\n      containers:\n        - {{name: one, image: \"web:1\"}}\n{more}"
    )
}

/// Patches are computed from the documents: an item that went from the manifest goes, one that another client added stays.
#[test]
fn lists_are_merged_as_the_documents_say() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    let both = two_containers("        - {name: two, image: \"web:1\"}\n");
    assert_eq!(kubectl.ok_with("apply -f -", &both), "deployment.apps/web created");
    let mine = json!({"spec": {"template": {"spec": {"containers": [{"name": "mine", "image": "web:1"}]}}}});
    kubectl.ok(&format!("patch deploy web -p {mine}"));
    let names = || {
        let object = kubectl.json("get deploy web");
        let containers = object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
        let names = containers.filter_map(|one| one["name"].as_str().map(str::to_owned));
        names.collect::<BTreeSet<_>>()
    };
    let these = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    kubectl.ok_with("apply -f -", &both);
    assert_eq!(names(), these(&["mine", "one", "two"]));
    assert_eq!(kubectl.ok_with("apply -f -", &two_containers("")), "deployment.apps/web configured");
    assert_eq!(names(), these(&["mine", "one"]));
    Ok(())
}

/// kubectl up to 1.28 looks into version 2 for whether the server validates, and for how lists merge.
#[test]
fn an_older_kubectl_validates_applies_and_explains() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    for minor in [27, 28] {
        let Some(older) = kubectl.older(minor) else { continue };
        let both = two_containers("        - {name: two, image: \"web:1\"}\n");
        let run = |line: &str, input: &str| older.run(line, input);
        let applied = run("apply -f -", &both)?;
        assert_eq!((applied.code, applied.out.as_str()), (0, "deployment.apps/web created"), "{}", applied.err);
        assert_eq!(run("apply -f -", &both)?.out, "deployment.apps/web unchanged");
        assert_eq!(run("apply -f -", &two_containers(""))?.out, "deployment.apps/web configured");
        let containers = kubectl.json("get deploy web")["spec"]["template"]["spec"]["containers"].clone();
        assert_eq!(containers.as_array().map(Vec::len), Some(1), "{containers}");
        let refused = run("create -f -", &both.replace("replicas:", "replicsa:"))?;
        assert!(refused.code != 0 && refused.err.contains("unknown field \"spec.replicsa\""), "{}", refused.err);
        let explained = run("explain pods.spec.containers", "")?;
        assert!(explained.code == 0 && explained.out.contains("livenessProbe"), "{}{}", explained.out, explained.err);
        let explained = run("explain net.spec --output=plaintext-openapiv2", "")?;
        assert!(explained.code == 0 && explained.out.contains("cidr"), "{}{}", explained.out, explained.err);
        kubectl.ok("delete deploy web");
    }
    Ok(())
}
