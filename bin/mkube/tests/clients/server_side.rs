//! Server-side apply with kubectl, unmodified: from the first apply to the move away from client-side apply.

use serde_json::{Value, json};

use crate::kubectl_tool::Kubectl;

fn map(data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n{data}")
}

/// Names of who manages the object, each with how.
fn managers(object: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let list = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    list.map(|entry| (text(entry, "manager"), text(entry, "operation"))).collect()
}

fn pair(manager: &str, operation: &str) -> (String, String) {
    (manager.to_owned(), operation.to_owned())
}

/// Statement 28 of the Kubernetes reference, and 29 for the server's side.
#[test]
fn kubectl_applies_on_the_server_conflicts_forces_and_compares() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(&[])? else { return Ok(()) };
    let (first, second) = (map("  a: \"1\"\n  b: \"2\"\n"), map("  a: \"2\"\n"));
    let done = "configmap/settings serverside-applied";
    assert_eq!(kubectl.ok_with("apply --server-side -f -", &first), done);
    let made = kubectl.json("get configmap settings --show-managed-fields");
    assert_eq!(managers(&made), [pair("kubectl", "Apply")]);
    assert_eq!(kubectl.ok_with("apply --server-side -f -", &first), done);
    let again = kubectl.json("get configmap settings --show-managed-fields");
    assert_eq!(again, made, "the same once more changes nothing");
    assert!(!kubectl.ok("get configmap settings -o yaml").contains("managedFields"), "kubectl hides them");

    let refused = kubectl.fails("apply --server-side --field-manager=other -f -", &second);
    assert!(refused.contains("conflict with \"kubectl\"") && refused.contains(".data.a"), "{refused}");
    assert_eq!(kubectl.run_with(&["diff", "--server-side", "-f", "-"], &first)?.code, 0);
    let compared = ["diff", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-"];
    let difference = kubectl.run_with(&compared, &second)?;
    assert_eq!((difference.code, difference.out.contains("+  a: \"2\"")), (1, true), "{}", difference.out);
    assert_eq!(kubectl.json("get configmap settings --show-managed-fields"), made, "diff changes nothing");
    kubectl.ok_with("apply --server-side --field-manager=other --force-conflicts -f -", &second);
    let forced = kubectl.json("get configmap settings --show-managed-fields");
    assert_eq!(forced["data"], json!({"a": "2", "b": "2"}));
    assert_eq!(managers(&forced).len(), 2, "{forced}");
    let dry = kubectl.ok_with("apply --server-side --dry-run=server -f -", &map("  b: \"2\"\n  c: \"3\"\n"));
    assert_eq!(dry, "configmap/settings serverside-applied (server dry run)");
    assert_eq!(kubectl.json("get configmap settings --show-managed-fields"), forced);
    kubectl.ok_with("apply --server-side -f -", &map("  c: \"3\"\n"));
    assert_eq!(kubectl.json("get configmap settings")["data"], json!({"a": "2", "c": "3"}), "a is the other's");
    Ok(())
}

#[test]
fn what_was_applied_on_the_clients_side_moves_to_the_servers() -> anyhow::Result<()> {
    let Some(kubectl) = Kubectl::start(&[])? else { return Ok(()) };
    kubectl.ok_with("apply -f -", &map("  a: \"1\"\n  b: \"2\"\n"));
    assert!(kubectl.ok("apply view-last-applied configmap settings").contains("b: \"2\""));
    kubectl.ok("patch configmap settings -p {\"data\":{\"mine\":\"3\"}}");
    // Without a conflict, though client-side apply has another name.
    kubectl.ok_with("apply --server-side -f -", &map("  a: \"9\"\n"));
    let moved = kubectl.json("get configmap settings --show-managed-fields");
    assert_eq!(moved["data"], json!({"a": "9", "mine": "3"}), "what is not applied any more went with the move");
    let named = managers(&moved);
    assert!(named.contains(&pair("kubectl", "Apply")) && named.contains(&pair("kubectl-patch", "Update")), "{named:?}");
    assert!(!named.iter().any(|(name, _)| name == "kubectl-client-side-apply"), "{named:?}");
    // And back, for the annotation was kept up to date.
    assert!(kubectl.ok("apply view-last-applied configmap settings").contains("a: \"9\""));
    assert_eq!(kubectl.ok_with("apply -f -", &map("  a: \"9\"\n")), "configmap/settings unchanged");
    Ok(())
}
