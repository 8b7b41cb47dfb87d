//! What a pod sees of itself: on the device, in its stored status, and of containers that left its spec.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use mkube_messages::ipam::{LeasesView, NetworksView};
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_messages::router::DeviceSnapshot;
use mkube_model::kinds::KindId;
use mkube_model::marks::BOOT_RECORD;
use mkube_model::metadata;
use mkube_model::names;
use mkube_model::neighbours::router::{BridgePortRow, ContainerRow};
use mkube_model::neighbours::tarballs::PullPolicy;
use serde_json::Value;

use crate::mentions::names_in;
use crate::next_step::Seen;
use crate::parts::PodParts;
use crate::plan::{ContainerPlan, PodPlan, hash_in_mark, is_ours, veth_comment};
use crate::sources::{ByName, Sources};

/// Shortest pause of a container whose neighbour had no room; the longest is four times as long.
const TURN: Duration = Duration::from_millis(50);

/// ConfigMaps and Secrets of a pod's namespace that its spec may name. What else lies there costs nothing.
pub fn sources_of(parts: &PodParts, namespace: &str, pod: &Value) -> Sources {
    let view = parts.objects.view();
    let names = names_in(pod);
    let named = |kind: &KindId| -> ByName {
        let all = view.kind(kind);
        let found = names.iter().filter_map(|name| {
            let object = all.objects.get(&ObjectKey::new(namespace, name.as_str()))?;
            Some((name.clone(), object.value()))
        });
        found.collect()
    };
    Sources { maps: named(&parts.config_maps), secrets: named(&parts.secrets) }
}

/// Whether a pod came with the boot manifest while the store was away, and may be another one there. Who changes it meanwhile knows
/// what he does.
pub fn is_unconfirmed(pod: &Value, view: &ObjectsView) -> bool {
    view.stale.is_some() && metadata::annotation(pod, BOOT_RECORD).is_some() && metadata::generation(pod) <= 1
}

/// A container that is there under the pod's mark is taken for what is wanted, whatever it was made from.
pub fn take_as_it_is(container: &mut ContainerPlan, device: &DeviceSnapshot) {
    let row = device.containers.get(&container.row).filter(|row| is_ours(row, container));
    if let Some(hash) = row.and_then(|row| hash_in_mark(&row.comment)) {
        container.hash = hash.to_owned();
    }
}

/// A container that left the spec: enough of a plan to take it down.
pub fn leaver(row: &ContainerRow, owner: &str) -> ContainerPlan {
    ContainerPlan {
        name: row.name.clone(),
        index: usize::MAX,
        owner: owner.to_owned(),
        network: None,
        wanted: None,
        row: row.name.clone(),
        veth: row.interfaces.first().cloned().unwrap_or_default(),
        image: String::new(),
        file: None,
        pin: None,
        policy: PullPolicy::IfNotPresent,
        cmd: String::new(),
        entrypoint: String::new(),
        workdir: String::new(),
        user: String::new(),
        memory: None,
        grace: Duration::ZERO,
        envs: vec![],
        mounts: vec![],
        volumes: vec![],
        sources: vec![],
        mounts_declared: row.mount_lists.contains(&row.name),
        envs_declared: row.env_lists.contains(&row.name),
        renewed: String::new(),
        hash: String::new(),
        blocked: None,
        startup: false,
        readiness: false,
    }
}

/// A leaver whose interface goes on with a container of the present spec leaves that alone.
pub fn without_shared(leaver: &ContainerPlan, plan: &PodPlan) -> ContainerPlan {
    let mut leaver = leaver.clone();
    if plan.containers.iter().any(|container| container.veth == leaver.veth) {
        leaver.veth.clear();
    }
    leaver
}

/// Rows whose name begins like this, without looking at the others.
fn beginning_with<Row>(rows: &OrdMap<String, Arc<Row>>, prefix: String) -> impl Iterator<Item = &Row> {
    rows.range(prefix.clone()..).take_while(move |(name, _)| name.starts_with(&prefix)).map(|(_, row)| row.as_ref())
}

/// Rows whose names begin as those of a pod do; others' may begin alike.
pub fn rows_of_pod<'a>(
    device: &'a DeviceSnapshot,
    namespace: &str,
    pod: &str,
) -> impl Iterator<Item = &'a ContainerRow> {
    beginning_with(&device.containers, names::container_name_stem(namespace, pod))
}

/// What the device shows of a container.
pub fn seen<'a>(device: &'a DeviceSnapshot, container: &ContainerPlan) -> Seen<'a> {
    let veth = device.veths.get(&container.veth).map(Arc::as_ref);
    // The port of an interface that was lost is found by its comment alone.
    let orphan = |port: &BridgePortRow| !port.dynamic && port.comment == veth_comment(&container.owner);
    let mut orphans = beginning_with(&device.ports, "*".to_owned());
    let port = device.ports.contains_key(&container.veth) || (veth.is_none() && orphans.any(orphan));
    Seen { row: device.containers.get(&container.row).map(Arc::as_ref), veth, port }
}

/// Whether somebody changed the container's interface: it has not the address that was leased to it, or what we made is a port
/// of another bridge, or has another gateway, than its network has.
pub fn was_changed(
    device: &DeviceSnapshot,
    container: &ContainerPlan,
    leases: &LeasesView,
    networks: &NetworksView,
) -> bool {
    let Some(veth) = device.veths.get(&container.veth) else { return false };
    let Some(held) = leases.by_veth.get(&container.veth).filter(|_| leases.loaded) else { return false };
    if !veth.addresses.iter().any(|one| one.addr() == IpAddr::V4(held.address)) {
        return true;
    }
    let network = networks.by_name.values().find(|network| network.cidr.contains(&held.address));
    let Some(network) = network.filter(|_| veth.comment == veth_comment(&container.owner)) else { return false };
    let elsewhere = |port: &Arc<BridgePortRow>| !port.dynamic && port.bridge != network.bridge;
    device.ports.get(&container.veth).is_some_and(elsewhere) || veth.gateway != Some(IpAddr::V4(network.gateway))
}

/// The pause of a container whose neighbour had no room: different for each, so that a thousand do not ask at once.
pub fn short_pause(row: &str) -> Duration {
    TURN + TURN.mul_f64(f64::from(names::fnv1a(row) % 300) / 100.0)
}

/// The address an interface has on the device.
pub fn address_of(device: &DeviceSnapshot, veth: &str) -> Option<String> {
    device.veths.get(veth)?.addresses.first().map(|address| address.addr().to_string())
}

/// The address a container had by a stored status.
pub fn previous_address(status: &Value, index: usize) -> Option<Ipv4Addr> {
    status.get("podIPs")?.get(index)?.get("ip")?.as_str()?.parse().ok()
}

/// Event reasons are fixed words.
pub fn event_reason(reason: &str) -> &'static str {
    match reason {
        "FailedMount" | "FailedUnmount" => "FailedMount",
        "FailedCreatePodSandBox" => "FailedCreatePodSandBox",
        "DeviceError" => "DeviceError",
        _ => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use mkube_model::neighbours::router::ContainerState;
    use serde_json::json;

    use super::*;
    use crate::next_step::tests::{a_plan, a_row};
    use crate::plan::mark;

    #[test]
    fn what_came_without_the_store_takes_what_is_there_as_it_is() {
        let pod = |annotations: Value, generation: u64| json!({"metadata": {"annotations": annotations, "generation": generation}});
        let (came, away) =
            (json!({BOOT_RECORD: "r"}), ObjectsView { stale: Some("away".into()), ..ObjectsView::default() });
        assert!(is_unconfirmed(&pod(came.clone(), 1), &away));
        assert!(!is_unconfirmed(&pod(came.clone(), 1), &ObjectsView::default()), "the store is there");
        assert!(!is_unconfirmed(&pod(json!({}), 1), &away), "it was known before");
        assert!(!is_unconfirmed(&pod(came, 2), &away), "somebody changed it meanwhile");

        let mut device = DeviceSnapshot::default();
        let other = mark("default", "web", "ffffffffffffffff");
        let row = ContainerRow { comment: other, ..a_row(ContainerState::Running) };
        device.containers.insert(row.name.clone(), Arc::new(row));
        let mut plan = a_plan();
        take_as_it_is(&mut plan, &device);
        assert_eq!(plan.hash, "ffffffffffffffff");
        let foreign =
            ContainerRow { comment: mark("default", "else", "ffffffffffffffff"), ..a_row(ContainerState::Running) };
        device.containers.insert(foreign.name.clone(), Arc::new(foreign));
        let mut plan = a_plan();
        take_as_it_is(&mut plan, &device);
        assert_eq!(plan.hash, a_plan().hash, "it is not the pod's");
    }
}
