//! kubectl, unmodified and with validation on.

use serde_json::json;

use crate::kubectl_tool::Kubectl;

const IMAGES: &[&str] = &["web:1", "web:2"];

fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels:\n    app: {name}\nspec:\n  containers:\n    - \
         name: c\n      image: {image}\n      ports:\n        - containerPort: 80\n      resources:\n        limits:\n          \
         memory: 64Mi\n"
    )
}

fn map(name: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n{data}")
}

#[test]
fn a_manifest_is_created_left_alone_changed_and_compared() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    let first = pod("web", "web:1");
    assert_eq!(kubectl.ok_with("apply -f -", &first), "pod/web created");
    assert_eq!(kubectl.ok_with("apply -f -", &first), "pod/web unchanged");
    assert_eq!(kubectl.ok("wait --for=condition=Ready pod/web --timeout=50s"), "pod/web condition met");
    assert_eq!(kubectl.ok_with("apply -f -", &first), "pod/web unchanged", "status and defaults are no difference");
    assert_eq!(kubectl.run_with(&["diff", "-f", "-"], &first)?.code, 0);
    let second = pod("web", "web:2");
    let before = kubectl.json("get pod web");
    let difference = kubectl.run_with(&["diff", "-f", "-"], &second)?;
    assert_eq!((difference.code, difference.out.contains("+  - image: web:2")), (1, true), "{}", difference.out);
    assert_eq!(kubectl.json("get pod web")["spec"], before["spec"], "diff changes nothing");
    assert_eq!(kubectl.ok_with("apply --dry-run=server -f -", &second), "pod/web configured (server dry run)");
    assert_eq!(kubectl.json("get pod web")["spec"], before["spec"], "nor does a dry run");
    assert_eq!(kubectl.ok_with("apply -f -", &second), "pod/web configured");
    assert_eq!(kubectl.json("get pod web")["spec"]["containers"][0]["image"], "web:2");

    let with = |data: &str| map("settings", data);
    assert_eq!(kubectl.ok_with("apply -f -", &with("  a: \"1\"\n  b: \"2\"\n")), "configmap/settings created");
    kubectl.ok("patch configmap settings -p {\"data\":{\"mine\":\"3\"}}");
    assert_eq!(kubectl.ok_with("apply -f -", &with("  a: \"1\"\n")), "configmap/settings configured");
    let data = &kubectl.json("get configmap settings")["data"];
    assert_eq!(*data, json!({"a": "1", "mine": "3"}), "what apply never set stays, what it set and dropped goes");

    let typo = first.replace("containers:", "contaners:");
    let refused = kubectl.fails("create -f -", &typo);
    assert!(
        refused.contains("strict decoding error") && refused.contains("unknown field \"spec.contaners\""),
        "{refused}"
    );
    let typo = map("typo", "  a: \"1\"\n") + "dta: {}\n";
    let warned = kubectl.run_with(&["create", "--validate=warn", "-f", "-"], &typo)?;
    assert_eq!((warned.code, warned.err.contains("unknown field")), (0, true), "{}", warned.err);
    Ok(())
}

#[test]
fn objects_are_shown_in_every_form_and_described() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    assert_eq!(kubectl.ok("get pods"), "");
    kubectl.ok_with("apply -f -", &pod("web", "web:1"));
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=50s");
    let headings =
        |text: &str| text.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let table = kubectl.ok("get pods");
    assert_eq!(headings(&table), "NAME READY STATUS RESTARTS AGE");
    assert!(table.contains("1/1") && table.contains("Running"), "{table}");
    let wide = kubectl.ok("get pods -o wide");
    assert_eq!(headings(&wide), "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES");
    assert!(wide.contains("10.90.0.") && wide.contains("mkube"), "{wide}");
    assert_eq!(headings(&kubectl.ok("get pods -A")), "NAMESPACE NAME READY STATUS RESTARTS AGE");
    assert_eq!(kubectl.ok("get pods -o name"), "pod/web");
    assert!(kubectl.ok("get pod web -o yaml").contains("phase: Running"));
    assert_eq!(kubectl.json("get pods")["items"][0]["kind"], "Pod");
    assert_eq!(kubectl.ok("get po web -o jsonpath={.spec.containers[0].image}"), "web:1");
    assert!(kubectl.ok("get pods --sort-by=.metadata.creationTimestamp --show-labels").contains("app=web"));
    assert!(kubectl.ok("get pods -o custom-columns=N:.metadata.name").contains("web"));
    assert_eq!(kubectl.ok("get pods -l app=web -o name"), "pod/web");
    assert_eq!(kubectl.ok("get pods -l app!=web -o name"), "");
    assert_eq!(kubectl.ok("get pods --field-selector=status.phase=Running,spec.nodeName=mkube -o name"), "pod/web");
    assert!(kubectl.fails("get pods --field-selector=spec.foo=b", "").contains("field label not supported: spec.foo"));
    assert_eq!(kubectl.fails("get pods nosuch", ""), "Error from server (NotFound): pods \"nosuch\" not found");
    assert!(kubectl.fails("get nosuch", "").contains("the server doesn't have a resource type \"nosuch\""));
    assert!(kubectl.ok("get all").contains("web"), "pods belong to the category all");
    assert!(kubectl.ok("get nodes -o wide").contains("Ready"));
    assert!(kubectl.ok("get ns").contains("default"));
    let resources = kubectl.ok("api-resources --no-headers");
    for (plural, short, namespaced, kind) in [
        ("pods", "po", "true", "Pod"),
        ("configmaps", "cm", "true", "ConfigMap"),
        ("namespaces", "ns", "false", "Namespace"),
        ("nodes", "no", "false", "Node"),
        ("events", "ev", "true", "Event"),
    ] {
        let line = resources.lines().find(|line| line.starts_with(&format!("{plural} "))).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, [plural, short, "v1", namespaced, kind], "{resources}");
        kubectl.ok(&format!("get {short} -A"));
    }
    let described = kubectl.ok("describe pod web");
    for words in ["Status:", "Running", "web:1", "Events:", "Started"] {
        assert!(described.contains(words), "{words} is not in\n{described}");
    }
    let node = kubectl.ok("describe node mkube");
    assert!(node.contains("Non-terminated Pods:") && node.contains("web"), "{node}");
    assert!(kubectl.ok("describe ns default").contains("Active"));
    assert!(kubectl.ok("events --for pod/web").contains("Pod/web"));
    assert!(kubectl.ok("get events --field-selector involvedObject.name=web").contains("pod/web"));
    let log = kubectl.run_with(&["logs", "web", "--tail=5"], "")?;
    assert_eq!(log.code, 0, "{}", log.err);
    assert!(kubectl.fails("logs web -c zz", "").contains("container zz is not valid for pod web"));
    let version = kubectl.run_with(&["version"], "")?;
    assert!(version.out.contains("Server Version: v1.32.0+mkube-"), "{}", version.out);
    assert!(!version.err.contains("exceeds the supported minor version skew"), "{}", version.err);
    Ok(())
}

#[test]
fn a_watch_prints_what_happens() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    let mut watch = kubectl.follow("get pods -w")?;
    kubectl.ok_with("apply -f -", &pod("web", "web:1"));
    watch.until(&["web", "0/1", "Pending"]).or_else(|_| watch.until(&["web", "0/1", "ContainerCreating"]))?;
    watch.until(&["web", "1/1", "Running"])?;
    let mut events = kubectl.follow("get pods --watch-only --output-watch-events")?;
    kubectl.ok("delete pod web --wait=false");
    watch.until(&["web", "Terminating"])?;
    events.until(&["DELETED", "web"])?;
    Ok(())
}

#[test]
fn objects_are_changed_by_every_verb() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    kubectl.ok_with("create -f -", &pod("web", "web:1"));
    assert!(kubectl.fails("create -f -", &pod("web", "web:1")).contains("(AlreadyExists)"));
    assert_eq!(kubectl.ok("label pod web tier=front"), "pod/web labeled");
    assert!(kubectl.fails("label pod web tier=back", "").contains("already has a value"));
    assert_eq!(kubectl.ok("label --overwrite pod web tier=back"), "pod/web labeled");
    assert_eq!(kubectl.json("get pod web")["metadata"]["labels"], json!({"app": "web", "tier": "back"}));
    assert_eq!(kubectl.ok("label pod web tier-"), "pod/web unlabeled");
    assert_eq!(kubectl.ok("annotate pod web note=hello"), "pod/web annotated");
    assert_eq!(kubectl.json("get pod web")["metadata"]["annotations"], json!({"note": "hello"}));
    let strategic = "{\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"web:2\"}]}}";
    assert_eq!(kubectl.ok(&format!("patch pod web -p {strategic}")), "pod/web patched");
    let container = kubectl.json("get pod web")["spec"]["containers"][0].clone();
    assert_eq!((&container["image"], &container["ports"][0]["containerPort"]), (&json!("web:2"), &json!(80)));
    kubectl.ok("patch pod web --type=merge -p {\"metadata\":{\"annotations\":{\"note\":null}}}");
    let operation = "[{\"op\":\"add\",\"path\":\"/metadata/labels/x\",\"value\":\"y\"}]";
    kubectl.ok(&format!("patch pod web --type=json -p {operation}"));
    let metadata = kubectl.json("get pod web")["metadata"].clone();
    assert_eq!((&metadata["annotations"], &metadata["labels"]["x"]), (&json!(null), &json!("y")));
    assert_eq!(kubectl.ok("patch pod web -p {\"metadata\":{\"labels\":{\"x\":\"y\"}}}"), "pod/web patched (no change)");
    assert_eq!(kubectl.ok_with("replace -f -", &pod("web", "web:1")), "pod/web replaced");
    assert_eq!(kubectl.json("get pod web")["spec"]["nodeName"], "mkube");
    let mut stale = kubectl.json("get pod web");
    kubectl.ok("label pod web again=yes");
    stale["metadata"]["labels"]["mine"] = json!("yes");
    let refused = kubectl.fails("replace -f -", &stale.to_string());
    assert!(
        refused.contains("the object has been modified; please apply your changes to the latest version"),
        "{refused}"
    );
    // Its status may come in between; who reads it again has the newest.
    let replaced = (0..10).any(|_| {
        let live = kubectl.ok("get pod web -o yaml");
        let line = ["replace", "--dry-run=server", "-f", "-"];
        let told = kubectl.run_with(&line, &live).expect("kubectl runs");
        assert!(told.code == 0 || told.err.contains("the object has been modified"), "{}", told.err);
        told.code == 0
    });
    assert!(replaced, "it is modified all the time");
    assert_eq!(kubectl.ok("run other --image=web:1 --restart=Never"), "pod/other created");
    kubectl.ok("wait --for=condition=Ready pod/other --timeout=50s");
    assert_eq!(kubectl.ok("cordon mkube"), "node/mkube cordoned");
    assert!(kubectl.ok("get node mkube").contains("SchedulingDisabled"));
    assert_eq!(kubectl.ok("uncordon mkube"), "node/mkube uncordoned");
    let generated = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: job-\n";
    let (one, two) =
        (kubectl.ok_with("create -f - -o name", generated), kubectl.ok_with("create -f - -o name", generated));
    assert!(one.starts_with("configmap/job-") && one != two, "{one} {two}");
    assert!(kubectl.fails("create -f -", &map("Bad_Name", "  a: b\n")).contains("a lowercase RFC 1123 subdomain"));
    Ok(())
}

#[test]
fn objects_made_by_kubectl_itself_arrive() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    assert_eq!(kubectl.ok("create ns team"), "namespace/team created");
    assert_eq!(kubectl.ok("create configmap settings -n team --from-literal=a=1"), "configmap/settings created");
    assert_eq!(kubectl.json("get cm settings -n team")["data"], json!({"a": "1"}));
    assert!(kubectl.fails("create ns team", "").contains("(AlreadyExists)"));
    assert_eq!(kubectl.ok("create ns other --dry-run=server"), "namespace/other created (server dry run)");
    assert!(kubectl.fails("get ns other", "").contains("NotFound"));
    let none = kubectl.run_with(&["get", "pods", "-n", "nosuch"], "")?;
    assert_eq!((none.code, none.err.as_str()), (0, "No resources found in nosuch namespace."));
    kubectl.ok_with("apply -n team -f -", &pod("inside", "web:1"));
    assert_eq!(kubectl.ok("delete ns team --timeout=50s"), "namespace \"team\" deleted");
    assert_eq!(kubectl.ok("get pods,cm -A -o name --field-selector metadata.namespace=team"), "");
    assert!(kubectl.fails("delete ns default", "").contains("this namespace may not be deleted"));
    Ok(())
}

#[test]
fn deletions_wait_until_everything_is_gone() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    for name in ["a", "b", "c", "d"] {
        kubectl.ok_with("apply -f -", &pod(name, "web:1"));
    }
    kubectl.ok("wait --for=condition=Ready pod --all --timeout=50s");
    assert_eq!(kubectl.ok("delete pod a --timeout=50s"), "pod \"a\" deleted");
    assert!(kubectl.fails("get pod a", "").contains("NotFound"));
    let mut waiting = kubectl.follow("wait --for=delete pod/b --timeout=50s")?;
    assert_eq!(kubectl.ok("delete pod b --wait=false"), "pod \"b\" deleted");
    waiting
        .until(&["pod/b condition met"])
        .or_else(|_| kubectl.run_with(&["wait", "--for=delete", "pod/b"], "").map(drop))?;
    assert_eq!(kubectl.ok("delete pod c --dry-run=server"), "pod \"c\" deleted (server dry run)");
    assert_eq!(kubectl.ok("get pods -o name"), "pod/c\npod/d");
    kubectl.ok("delete pod c --force --grace-period=0 --timeout=50s");
    assert_eq!(kubectl.ok("delete pods -l app=d --timeout=50s"), "pod \"d\" deleted");
    assert_eq!(kubectl.ok("get pods -o name"), "");
    assert!(kubectl.fails("delete cm nosuch", "").contains("NotFound"));
    kubectl.ok("delete cm nosuch --ignore-not-found");
    kubectl.ok_with("apply -f -", &map("m", "  a: b\n"));
    assert_eq!(kubectl.ok("delete cm --all"), "configmap \"m\" deleted");
    Ok(())
}
