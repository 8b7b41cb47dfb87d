//! `mkube top`: what pods and the node use of processors and memory.

use serde_json::Value;

use super::api::{Api, block_on, encoded};
use super::columns::Columns;
use super::get::JSON;
use super::look::Look;
use crate::cli::{TopArgs, TopKind};
use crate::failure::Failure;
use crate::say::print;

/// `mkube top`.
pub fn top(args: &TopArgs, look: Look) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref());
        let base = "/apis/metrics.k8s.io/v1beta1";
        let path = match args.kind {
            TopKind::Nodes => format!("{base}/nodes"),
            TopKind::Pods if args.all_namespaces => format!("{base}/pods"),
            TopKind::Pods => format!("{base}/namespaces/{}/pods", encoded(namespace)),
        };
        let selector = args.selector.as_ref().map(|text| format!("?labelSelector={}", encoded(text)));
        let list = api.get_json(&(path + &selector.unwrap_or_default()), JSON).await?;
        let mut items = list["items"].as_array().cloned().unwrap_or_default();
        if items.is_empty() {
            eprintln!("No figures: nothing runs, or the device tells none.");
            return Ok(());
        }
        items.sort_by_key(|one| std::cmp::Reverse(used(one)));
        let place = args.all_namespaces && args.kind == TopKind::Pods;
        let mut headings = vec!["NAME", "CPU(cores)", "MEMORY(bytes)"];
        if place {
            headings.insert(0, "NAMESPACE");
        }
        let rows: Vec<Vec<String>> = items.iter().map(|one| row(one, place)).collect();
        print(&(Columns::new(headings, look.out).whole(&rows) + "\n"))
    })
}

/// Billionths of a core and bytes.
fn used(item: &Value) -> (u64, u64) {
    let of = |usage: &Value| (quantity(&usage["cpu"], 1_000_000_000), quantity(&usage["memory"], 1));
    match item["containers"].as_array() {
        None => of(&item["usage"]),
        Some(all) => {
            all.iter().map(|one| of(&one["usage"])).fold((0, 0), |(cpu, memory), one| (cpu + one.0, memory + one.1))
        }
    }
}

fn row(item: &Value, place: bool) -> Vec<String> {
    let text = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (cpu, memory) = used(item);
    let mut row = vec![text("name"), format!("{}m", cpu.div_ceil(1_000_000)), format!("{}Mi", memory >> 20)];
    if place {
        row.insert(0, text("namespace"));
    }
    row
}

/// A quantity in units of which `one` make 1.
fn quantity(value: &Value, one: u64) -> u64 {
    let text = value.as_str().unwrap_or_default();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().unwrap_or(0);
    let (times, by) = match &text[digits..] {
        "n" => (one, 1_000_000_000),
        "u" => (one, 1_000_000),
        "m" => (one, 1_000),
        "Ki" => (one << 10, 1),
        "Mi" => (one << 20, 1),
        "Gi" => (one << 30, 1),
        "k" => (one * 1_000, 1),
        "M" => (one * 1_000_000, 1),
        "G" => (one * 1_000_000_000, 1),
        _ => (one, 1),
    };
    u64::try_from(u128::from(number) * u128::from(times) / by).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_containers_of_a_pod_use_is_added_up() {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "containers": [
            {"usage": {"cpu": "176000000n", "memory": "1024Ki"}}, {"usage": {"cpu": "5m", "memory": "3Mi"}}]});
        assert_eq!(row(&pod, true), ["shop", "web", "181m", "4Mi"]);
        let node = json!({"metadata": {"name": "n"}, "usage": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(row(&node, false), ["n", "1000m", "1024Mi"]);
        assert_eq!(quantity(&json!(""), 1), 0);
    }
}
