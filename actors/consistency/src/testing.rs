//! Facts for tests: a device and a store in which everything fits, to be spoilt by the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mkube_messages::consistency::{CheckStatus, RepairAction};
use mkube_messages::dns::NamesView;
use mkube_messages::images::ImagesView;
use mkube_messages::ipam::{HeldAddress, LeasesView};
use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, StoredObject};
use mkube_messages::rollouts::RolloutsView;
use mkube_messages::router::{DeviceLists, DeviceSnapshot};
use mkube_messages::volumes::VolumesView;
use mkube_model::kinds::KindTable;
use mkube_model::marks::{mark, veth_comment};
use mkube_model::names;
use mkube_model::neighbours::router::{BridgePortRow, ContainerRow, ContainerState, MountRow, RowId, VethRow};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::checks;
use crate::decide::{Decision, Rules, decide};
use crate::facts::Facts;
use crate::finding::Finding;
use crate::memory::Memory;
use crate::orphans;
use crate::sights::Sights;

pub const HASH: &str = "0123456789abcdef";

/// Both sides, and what is remembered of them.
pub struct Scene {
    pub objects: BTreeMap<(&'static str, ObjectKey), Value>,
    pub loaded: bool,
    pub stale: Option<String>,
    pub unreadable: Vec<(&'static str, ObjectKey)>,
    pub device: DeviceSnapshot,
    pub leases: LeasesView,
    pub names: NamesView,
    pub images: ImagesView,
    pub volumes: VolumesView,
    pub rollouts: RolloutsView,
    pub memory: Memory,
    pub rules: Rules,
    pub now: Instant,
    sights: Sights,
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

/// A pod of one container `c`, made yesterday and settled.
pub fn pod(name: &str) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "image": "web:1"}]},
        "status": {"phase": "Running", "observedGeneration": 1},
    })
}

/// A Deployment with so many replicas, made yesterday and settled.
pub fn deployment(name: &str, replicas: u64) -> Value {
    json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("uid-of-{name}"), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"replicas": replicas}, "status": {"observedGeneration": 1},
    })
}

impl Scene {
    pub fn new() -> Self {
        let now = Instant::now() + Duration::from_secs(100_000);
        Self {
            objects: BTreeMap::new(),
            loaded: true,
            stale: None,
            unreadable: Vec::new(),
            device: DeviceSnapshot { reachable: true, complete: true, read_at: Some(now), ..DeviceSnapshot::default() },
            names: NamesView::default(),
            leases: LeasesView { loaded: true, ..LeasesView::default() },
            images: ImagesView::default(),
            volumes: VolumesView::default(),
            rollouts: RolloutsView::default(),
            memory: Memory::default(),
            rules: Rules::default(),
            now,
            sights: Sights::default(),
        }
    }

    /// So many pods `p0`, `p1` … with everything they have on the device.
    pub fn with_pods(count: usize) -> Self {
        let mut scene = Self::new();
        for number in 0..count {
            let name = format!("p{number}");
            scene.put("Pod", pod(&name));
            scene.rows_of(&name);
        }
        scene
    }

    pub fn put(&mut self, kind: &'static str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        self.objects.insert((kind, ObjectKey::new(text("namespace"), text("name"))), object);
    }

    /// The pod leaves the store and nobody notices.
    pub fn lose(&mut self, name: &str) {
        self.objects.remove(&("Pod", key(name)));
    }

    /// Container, interface, port and lease of a pod of namespace `default`, marked as its own.
    pub fn rows_of(&mut self, name: &str) {
        let at = self.leases.by_veth.len() as u32;
        let address = std::net::Ipv4Addr::from(0x0a5a_0002 + at);
        let (row, veth) = (names::container_name("default", name, "c"), names::veth_name("default", name, 0));
        let owner = format!("default/{name}");
        self.device.containers.insert(
            row.clone(),
            Arc::new(ContainerRow {
                id: RowId(format!("*c{at}")),
                name: row,
                state: ContainerState::Running,
                interfaces: vec![veth.clone()],
                comment: mark("default", name, HASH),
                ..ContainerRow::default()
            }),
        );
        self.veth(&veth, &format!("{address}/16"), &veth_comment(&owner));
        let port = BridgePortRow {
            id: RowId(format!("*p{at}")),
            bridge: "bridge-gt".into(),
            interface: veth.clone(),
            dynamic: false,
            comment: veth_comment(&owner),
        };
        self.device.ports.insert(veth.clone(), Arc::new(port));
        self.leases.by_veth.insert(veth, HeldAddress { address, pod: Some(key(name)) });
    }

    pub fn veth(&mut self, name: &str, address: &str, comment: &str) {
        let row = VethRow {
            id: RowId(format!("*v{}", self.device.veths.len())),
            name: name.into(),
            addresses: vec![address.parse().expect("an address")],
            gateway: None,
            comment: comment.into(),
            running: false,
        };
        self.device.veths.insert(name.into(), Arc::new(row));
    }

    pub fn container(&mut self, name: &str, change: impl FnOnce(&mut ContainerRow)) {
        let mut row = self.device.containers.get(name).map(|row| (**row).clone()).unwrap_or_default();
        row.name = name.into();
        change(&mut row);
        self.device.containers.insert(name.into(), Arc::new(row));
    }

    /// The lists as they are read now.
    pub fn lists(&mut self, mounts: &[(&str, &str)], envs: &[(&str, &str)]) {
        let mut lists = DeviceLists { read_at: self.now, mounts: BTreeMap::new(), envs: BTreeMap::new() };
        for (list, dst) in mounts {
            let row = MountRow {
                id: RowId("*m".into()),
                list: (*list).into(),
                src: format!("/volumes/{list}/x"),
                dst: (*dst).into(),
                read_only: false,
            };
            lists.mounts.entry((*list).into()).or_default().push(row);
        }
        for (list, key) in envs {
            lists.envs.entry((*list).into()).or_default().push((*key).into());
        }
        self.device.lists = Some(Arc::new(lists));
    }

    /// Time passes and the device is read again.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.device.read_at = Some(self.now);
    }

    /// A run.
    pub fn run(&mut self) -> (Decision, Vec<Finding>) {
        let kinds = KindTable::builtin();
        let mut view = ObjectsView { loaded: self.loaded, stale: self.stale.clone(), ..ObjectsView::default() };
        for (kind, key) in &self.unreadable {
            let id = kinds.named(kind).expect("a kind").id();
            view.unreadable.insert((id, key.clone()), "no JSON".into());
        }
        for (at, ((kind, key), object)) in self.objects.iter().enumerate() {
            let id = kinds.named(kind).expect("a kind").id();
            let stored = Arc::new(StoredObject::new(id, key.clone(), object, at as u64 + 1));
            let mut of_kind: KindView = (*view.kind(&id)).clone();
            of_kind.objects.insert(key.clone(), stored);
            view.kinds.insert(id, Arc::new(of_kind));
        }
        // Revisions are given anew each time.
        self.sights = Sights::default();
        self.sights.read(&kinds, &view);
        let changed: BTreeSet<ObjectKey> = self.memory.changed(&self.sights, self.now);
        self.memory.witness(&self.device);
        let (witnessed, emptied) = (self.memory.witnessed.clone(), self.memory.emptied.clone());
        let facts = Facts {
            now: self.now,
            time: "2026-01-02T00:00:00Z".parse::<Timestamp>().expect("a literal"),
            view: &view,
            kinds: &kinds,
            sights: &self.sights,
            device: &self.device,
            leases: &self.leases,
            names: &self.names,
            images: &self.images,
            volumes: &self.volumes,
            rollouts: &self.rollouts,
            volumes_base: "/volumes",
            changed: &changed,
            witnessed: &witnessed,
            emptied: &emptied,
        };
        let found = orphans::find(&facts);
        self.memory.sight(&found, self.now);
        let decision = decide(&facts, found, &orphans::totals(&facts), &self.memory, &self.rules);
        let findings = checks::all(&facts, &decision);
        (decision, findings)
    }

    /// Runs until everything that may be removed is.
    pub fn ripen(&mut self) -> Decision {
        self.run();
        self.pass(Duration::from_secs(601));
        self.run().0
    }
}

/// How a check ended; panics when it is not there, or there twice.
pub fn ended(findings: &[Finding], name: &str) -> (CheckStatus, String) {
    let found: Vec<&Finding> = findings.iter().filter(|finding| finding.name == name).collect();
    match found.as_slice() {
        [one] => (one.status, one.message.clone()),
        other => panic!("{name} is there {} times: {findings:#?}", other.len()),
    }
}

/// Names of the checks that do not pass.
pub fn not_passed(findings: &[Finding]) -> Vec<&str> {
    // These two are always said in a world without a name server and a boot manifest.
    let usual = ["dns-client", "boot-manifest", "manifest-load", "image-cache", "lists"];
    let found = findings.iter().filter(|one| one.status != CheckStatus::Pass && !usual.contains(&one.name.as_str()));
    found.map(|one| one.name.as_str()).collect()
}

/// What is due, by action and object.
pub fn due(decision: &Decision) -> Vec<(RepairAction, &str)> {
    let due = decision.verdicts.iter().filter(|(_, verdict)| *verdict == crate::decide::Verdict::Due);
    due.map(|(orphan, _)| (orphan.action, orphan.object.as_str())).collect()
}
