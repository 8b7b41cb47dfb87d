//! kubectl with the smaller kinds: questions of rights, leases, machines, events, what every `create` makes, and namespaces that go.

use serde_json::json;

use crate::kubectl_tool::Kubectl;

const IMAGES: &[&str] = &["web:1"];

/// Statement 9.
#[test]
fn everybody_is_told_who_he_is_and_what_he_may_do() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(&[])? else { return Ok(()) };
    assert_eq!(kubectl.ok("auth can-i get pods"), "yes");
    assert_eq!(kubectl.ok("auth can-i delete deployments.apps/web -n infra"), "yes");
    assert_eq!(kubectl.ok("auth can-i get /healthz"), "yes");
    let all = kubectl.ok("auth can-i --list");
    assert!(all.contains("*.*") && all.contains("[*]"), "{all}");
    let who = kubectl.ok("auth whoami");
    assert!(who.contains("system:anonymous") && who.contains("system:unauthenticated"), "{who}");
    Ok(())
}

/// Statement 25, and what else `kubectl create` can make.
#[test]
fn every_generator_makes_its_object_or_says_why_there_is_none() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    for (line, made) in [
        ("namespace team", "namespace/team"),
        ("configmap settings --from-literal=a=1", "configmap/settings"),
        ("secret generic db --from-literal=password=hunter2", "secret/db"),
        ("service clusterip shop --tcp=80:8080", "service/shop"),
        ("service nodeport node --tcp=80", "service/node"),
        ("service loadbalancer balanced --tcp=80", "service/balanced"),
        ("deployment web --image=web:1 --replicas=0", "deployment.apps/web"),
        ("job once --image=web:1 -- true", "job.batch/once"),
        ("cronjob nightly --image=web:1 --schedule=0_3_*_*_*", "cronjob.batch/nightly"),
    ] {
        let words: Vec<String> = line.split_whitespace().map(|word| word.replace('_', " ")).collect();
        let words: Vec<&str> = ["create"].into_iter().chain(words.iter().map(String::as_str)).collect();
        let printed = kubectl.run_with(&words, "")?;
        assert_eq!((printed.code, printed.out), (0, format!("{made} created")), "{line}: {}", printed.err);
    }
    for (line, says) in [
        ("role reader --verb=get --resource=pods", "mkube has no roles"),
        ("clusterrole reader --verb=get --resource=pods", "mkube has no clusterroles"),
        ("rolebinding b --clusterrole=reader --user=bob", "mkube has no rolebindings"),
        ("clusterrolebinding b --clusterrole=reader --user=bob", "mkube has no clusterrolebindings"),
        ("serviceaccount bot", "mkube has no serviceaccounts"),
        ("token bot", "mkube has no serviceaccounts"),
        ("quota q --hard=pods=2", "mkube has no resourcequotas"),
        ("ingress i --rule=a.b/=shop:80", "mkube has no ingresses"),
        ("pdb p --selector=app=web --min-available=1", "mkube has no poddisruptionbudgets"),
        ("priorityclass high --value=1000", "mkube has no priorityclasses"),
    ] {
        let refused = kubectl.fails(&format!("create {line}"), "");
        assert!(refused.contains(says), "{line}: {refused}");
    }
    Ok(())
}

/// Statements 4 and 30.
#[test]
fn leases_machines_and_events_are_listed_described_and_patched() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    let resources = kubectl.ok("api-resources --no-headers");
    for line in [
        "baremetalhosts bmh vkube.io/v1alpha1 true BareMetalHost",
        "leases coordination.k8s.io/v1 true Lease",
        "events ev events.k8s.io/v1 true Event",
        "selfsubjectaccessreviews authorization.k8s.io/v1 false SelfSubjectAccessReview",
    ] {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(resources.lines().any(|one| words(one) == line), "{line} is not in\n{resources}");
    }
    let host = "apiVersion: vkube.io/v1alpha1\nkind: BareMetalHost\nmetadata:\n  name: node7\nspec:\n  bootMACAddress: 02:00:00:00:00:07\n";
    assert_eq!(kubectl.ok_with("apply -f -", host), "baremetalhost.vkube.io/node7 created");
    assert_eq!(kubectl.ok_with("apply -f -", host), "baremetalhost.vkube.io/node7 unchanged");
    let image = host.to_owned() + "  image: fedora\n";
    assert_eq!(kubectl.ok_with("apply -f -", &image), "baremetalhost.vkube.io/node7 configured");
    let refused = kubectl.fails("patch bmh node7 -p {\"spec\":{\"online\":true}}", "");
    assert!(refused.contains("application/strategic-merge-patch+json is not supported by"), "{refused}");
    kubectl.ok("patch bmh node7 --type=merge -p {\"spec\":{\"online\":true}}");
    let table = kubectl.ok("get bmh");
    let rows: Vec<String> = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows[0], "NAME STATUS POWER IMAGE IP MAC AGE");
    assert!(rows[1].starts_with("node7 Registering off fedora 02:00:00:00:00:07"), "{table}");
    assert!(kubectl.ok("describe bmh node7").contains("Boot MAC Address:"));
    let lease =
        "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata:\n  name: leader\nspec:\n  holderIdentity: me\n";
    assert_eq!(kubectl.ok_with("create -f -", lease), "lease.coordination.k8s.io/leader created");
    assert!(kubectl.ok("get leases").contains("me"));
    kubectl.ok("run web --image=web:1");
    kubectl.ok("wait --for=condition=Ready pod/web --timeout=50s");
    kubectl.follow("get events.events.k8s.io -w")?.until(&["Started", "pod/web"])?;
    let core = kubectl.ok("get events --field-selector involvedObject.name=web -o name");
    let own = kubectl.ok("get events.events.k8s.io --field-selector regarding.name=web -o name");
    // One more may have come between the two lists.
    let missing = core.lines().find(|name| !own.contains(&name.replace("event/", "event.events.k8s.io/")));
    assert!(missing.is_none() && core.starts_with("event/web."), "{core}\n{own}");
    assert!(kubectl.ok("get events.v1.events.k8s.io").contains("pod/web"));
    Ok(())
}

/// Statement 42.
#[test]
fn a_namespace_is_deleted_with_what_is_in_it_and_those_that_are_needed_stay() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(IMAGES)? else { return Ok(()) };
    kubectl.ok("create namespace team");
    kubectl.ok("create configmap settings -n team --from-literal=a=1");
    kubectl.ok("create deployment web -n team --image=web:1");
    kubectl.ok("rollout status deploy/web -n team --timeout=50s");
    let held =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/x"]}});
    kubectl.ok_with("create -n team -f -", &held.to_string());
    kubectl.ok("delete ns team --wait=false");
    let row = kubectl.ok("get ns team --no-headers");
    assert!(row.contains("Terminating"), "{row}");
    let refused = kubectl.fails("create configmap late -n team", "");
    assert!(refused.contains("because it is being terminated"), "{refused}");
    kubectl.ok("patch configmap held -n team --type=merge -p {\"metadata\":{\"finalizers\":null}}");
    kubectl.ok("wait --for=delete ns/team --timeout=50s");
    assert_eq!(kubectl.ok("get deploy,pods,cm -n team -o name"), "");
    let refused = kubectl.fails("create configmap late -n team", "");
    assert!(refused.contains("namespaces \"team\" not found"), "{refused}");
    for name in ["default", "infra", "kube-system", "kube-node-lease"] {
        let refused = kubectl.fails(&format!("delete ns {name}"), "");
        assert!(refused.contains("this namespace may not be deleted"), "{refused}");
    }
    Ok(())
}
