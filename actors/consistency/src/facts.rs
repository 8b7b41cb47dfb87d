//! Everything a run looks at, at one moment. No clock, no I/O: what is not in here is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use mkube_messages::dns::NamesView;
use mkube_messages::images::ImagesView;
use mkube_messages::ipam::LeasesView;
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_messages::rollouts::RolloutsView;
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::volumes::VolumesView;
use mkube_model::kinds::KindTable;
use mkube_model::marks::{owner_in_mark, owner_in_veth_comment};
use mkube_model::neighbours::router::{ContainerRow, ContainerState, VethRow};
use tokio::time::Instant;

use crate::pod_sight::{ContainerSight, PodSight};
use crate::sights::{self, Sights};

/// How long after a change what is missing counts as being on its way.
pub const RECOVERY: Duration = Duration::from_secs(300);

/// See the module's text.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub now: Instant,
    /// Time of day, to tell the age of objects.
    pub time: Timestamp,
    pub view: &'a ObjectsView,
    pub kinds: &'a KindTable,
    pub sights: &'a Sights,
    pub device: &'a DeviceSnapshot,
    pub leases: &'a LeasesView,
    pub names: &'a NamesView,
    pub images: &'a ImagesView,
    pub volumes: &'a VolumesView,
    pub rollouts: &'a RolloutsView,
    /// Directory of plain volumes on the device.
    pub volumes_base: &'a str,
    /// Objects whose spec changed in the last minutes, seen by ourselves.
    pub changed: &'a BTreeSet<ObjectKey>,
    /// Whose lists are, as rows that refer to them proved in this session.
    pub witnessed: &'a BTreeMap<String, ObjectKey>,
    /// Lists that were emptied by ourselves, and when.
    pub emptied: &'a BTreeMap<String, Instant>,
}

/// The pod an owner in a comment means.
pub fn owner_key(owner: &str) -> Option<ObjectKey> {
    let (namespace, name) = owner.split_once('/')?;
    Some(ObjectKey::new(namespace, name))
}

/// The pod whose mark a row carries.
pub fn marked(row: &ContainerRow) -> Option<ObjectKey> {
    owner_in_mark(&row.comment).and_then(owner_key)
}

/// The pod whose comment an interface or port carries.
pub fn commented(comment: &str) -> Option<ObjectKey> {
    owner_in_veth_comment(comment).and_then(owner_key)
}

/// As people read it.
pub fn state_word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Extracting => "extracting",
        ContainerState::Failed => "failed to unpack",
        ContainerState::Stopped => "stopped",
        ContainerState::Starting => "starting",
        ContainerState::Running => "running",
        ContainerState::Stopping => "stopping",
        ContainerState::Deleting => "being removed",
        ContainerState::Unknown => "in a state nobody knows",
    }
}

/// Whether a row is on its way from one state to another.
pub fn is_moving(row: &ContainerRow) -> bool {
    use ContainerState::{Deleting, Extracting, Starting, Stopping};
    matches!(row.state, Extracting | Starting | Stopping | Deleting)
}

impl<'a> Facts<'a> {
    /// Everything that is wanted and everything that is there was read: absence means something.
    pub fn is_complete(&self) -> bool {
        self.view.is_complete()
            && self.view.not_loaded_because.is_none()
            && self.device.complete
            && self.device.reachable
    }

    pub fn pods(&self) -> impl Iterator<Item = &'a PodSight> {
        self.sights.pods.values().map(AsRef::as_ref)
    }

    pub fn has_pod(&self, key: &ObjectKey) -> bool {
        // A pod that cannot be read is there for all we know.
        let unread = || sights::id(self.kinds, "Pod").is_some_and(|pods| self.view.is_unreadable(&pods, key));
        self.sights.pods.contains_key(key) || unread()
    }

    /// Whether a list was emptied after the lists were read: what is known of it is old.
    pub fn was_emptied(&self, list: &str) -> bool {
        let read_at = self.device.lists.as_ref().map(|lists| lists.read_at);
        self.emptied.get(list).is_some_and(|at| read_at.is_none_or(|read_at| read_at <= *at))
    }

    /// Whether something of this age is too young to be judged.
    pub fn is_young(&self, created: Option<Timestamp>) -> bool {
        let age = created.map(|created| self.time.as_second() - created.as_second());
        // What is from the future is a clock that stepped, not youth.
        age.is_some_and(|age| (0..RECOVERY.as_secs() as i64).contains(&age))
    }

    /// Whether a pod is being made, changed or taken down.
    pub fn in_flight(&self, pod: &PodSight) -> bool {
        pod.deleting || !pod.observed || self.is_young(pod.created) || self.changed.contains(&pod.key)
    }

    /// The row of a container: the one with its pod's mark, else one without a mark that uses its interface.
    pub fn row_of(&self, pod: &PodSight, container: &ContainerSight) -> Option<&'a ContainerRow> {
        let rows = || container.rows.iter().filter_map(|name| self.device.containers.get(name));
        let adopted = |row: &ContainerRow| {
            owner_in_mark(&row.comment).is_none() && row.interfaces.iter().any(|veth| container.veths.contains(veth))
        };
        let ours = rows().find(|row| marked(row).as_ref() == Some(&pod.key));
        ours.or_else(|| rows().find(|row| adopted(row))).map(AsRef::as_ref)
    }

    /// The interface of a container: the one with its pod's comment, else one without a comment.
    pub fn veth_of(&self, pod: &PodSight, container: &ContainerSight) -> Option<&'a VethRow> {
        let veths = || container.veths.iter().filter_map(|name| self.device.veths.get(name));
        let ours = veths().find(|veth| commented(&veth.comment).as_ref() == Some(&pod.key));
        ours.or_else(|| veths().find(|veth| veth.comment.is_empty())).map(AsRef::as_ref)
    }

    /// The name its interface has, or would have.
    pub fn veth_name<'b>(&self, pod: &PodSight, container: &'b ContainerSight) -> &'b str {
        let there = self.veth_of(pod, container).map(|veth| veth.name.as_str());
        let leased =
            |name: &&String| self.leases.by_veth.get(*name).is_some_and(|held| held.pod.as_ref() == Some(&pod.key));
        let named = container.veths.iter().find(|name| there == Some(name.as_str()));
        named.or_else(|| container.veths.iter().find(leased)).unwrap_or(&container.veths[0])
    }

    /// Addresses of an interface, without their prefix.
    pub fn addresses(veth: &VethRow) -> Vec<IpAddr> {
        veth.addresses.iter().map(mkube_model::IpNet::addr).collect()
    }

    /// Names that containers of pods have or may have: their rows', and their interfaces'.
    pub fn names_of_pods(&self) -> (BTreeSet<&'a str>, BTreeSet<&'a str>) {
        let (mut rows, mut veths) = (BTreeSet::new(), BTreeSet::new());
        for container in self.pods().flat_map(|pod| &pod.containers) {
            rows.extend(container.rows.iter().map(String::as_str));
            veths.extend(container.veths.iter().map(String::as_str));
        }
        (rows, veths)
    }
}
