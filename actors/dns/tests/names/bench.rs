//! The actor over fake name servers and stored objects that stay when it is replaced.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mkube_dns::{DnsActor, DnsParts, answers};
use mkube_fakes::{FakeClock, FakeNameServers, Recorder, Release};
use mkube_messages::dns::{NamesReader, WithdrawNames, ZoneSight, names_view};
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::ipam::{NetworksPublisher, networks_view};
use mkube_messages::objects::{
    KindView, ObjectKey, ObjectsPublisher, ObjectsView, RecordEvent, StoredObject, Verb, WriteObject, Written,
    objects_view,
};
use mkube_messages::request::RequestContext;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::metadata;
use mkube_model::network::Network;
use mkube_model::patch::merge_patch;
use mkube_model::settings::DnsSettings;
use mkube_model::status::Status;
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub const GT: &str = "http://10.0.1.252:8080";
pub const G10: &str = "http://10.0.2.252:8080";

pub fn kind(name: &str) -> KindId {
    KindTable::builtin().named(name).expect("a kind").id()
}

type Objects = BTreeMap<(KindId, ObjectKey), (Value, u64)>;

/// Objects as they are stored.
pub struct Stored {
    pub objects: Objects,
    revision: u64,
    publisher: ObjectsPublisher,
    pub loaded: bool,
    /// Writes so far.
    pub writes: usize,
    /// So many writes are refused, as while the store is away.
    pub refused: usize,
}

impl Stored {
    fn put(&mut self, kind: KindId, key: ObjectKey, mut object: Value) {
        self.revision += 1;
        metadata::of_mut(&mut object).insert("resourceVersion".into(), json!(self.revision.to_string()));
        self.objects.insert((kind, key), (object, self.revision));
        self.publish();
    }

    pub fn publish(&self) {
        let mut kinds: BTreeMap<KindId, KindView> = BTreeMap::new();
        for ((kind, key), (object, revision)) in &self.objects {
            let stored = Arc::new(StoredObject::new(*kind, key.clone(), object, *revision));
            kinds.entry(*kind).or_default().objects.insert(key.clone(), stored);
        }
        self.publisher.publish(ObjectsView {
            loaded: self.loaded,
            kinds: kinds.into_iter().map(|(kind, view)| (kind, Arc::new(view))).collect(),
            ..ObjectsView::default()
        });
    }

    fn write(&mut self, order: &WriteObject) -> Result<Written, Status> {
        self.writes += 1;
        if self.refused > 0 {
            self.refused -= 1;
            return Err(Status::new(503, "ServiceUnavailable", "the store is away"));
        }
        let at = (order.kind, order.key.clone());
        let kinds = KindTable::builtin();
        let of = kinds.get(&order.kind).expect("a kind");
        let found = self.objects.get(&at).cloned();
        let object = match (&order.verb, found) {
            (Verb::Create { body }, None) => body.clone(),
            (Verb::Create { .. }, Some(_)) => return Err(Status::new(409, "AlreadyExists", "it exists")),
            (Verb::Patch { body, .. }, Some((object, _))) => merge_patch(&object, body)?,
            (Verb::Delete { .. }, Some((object, revision))) => {
                self.objects.remove(&at);
                self.revision += 1;
                self.publish();
                let object = Arc::new(StoredObject::new(order.kind, order.key.clone(), &object, revision));
                return Ok(Written { object, changed: true, created: false, gone: true, warnings: vec![] });
            }
            _ => return Err(Status::not_found(of, &order.key.name)),
        };
        assert!((of.typed)(&object).is_ok(), "{object}");
        self.put(order.kind, order.key.clone(), object);
        let (object, revision) = &self.objects[&at];
        let object = Arc::new(StoredObject::new(order.kind, order.key.clone(), object, *revision));
        Ok(Written { object, changed: true, created: false, gone: false, warnings: vec![] })
    }
}

pub fn network(name: &str, third: u8, endpoint: &str) -> Network {
    let names = DnsSettings {
        zone: format!("{name}.lo"),
        server: Some(format!("10.0.{third}.252").parse().expect("an address")),
        endpoint: endpoint.to_owned(),
        ..DnsSettings::default()
    };
    Network { names, ..Network::plain(name, format!("10.0.{third}.0/24").parse().expect("a network"), "bridge") }
}

thread_local! {
    /// The first of a test stops the time.
    static STANDS_STILL: Cell<bool> = const { Cell::new(false) };
}

/// The actor and everybody around it.
pub struct Bench {
    pub servers: Arc<FakeNameServers>,
    pub stored: Arc<Mutex<Stored>>,
    pub networks: NetworksPublisher,
    pub names: NamesReader,
    pub events: Recorder<RecordEvent>,
    parts: DnsParts,
    tree: Option<Tree>,
    way: Doorway,
    _written: Recorder<WriteObject>,
}

impl Bench {
    /// Network `gt` with a server of this release.
    pub fn new(release: Release) -> Self {
        let bench = Self::with(vec![network("gt", 1, GT)]);
        bench.servers.add(GT, release);
        bench
    }

    /// Without an actor, and without servers.
    pub fn with(networks: Vec<Network>) -> Self {
        if !STANDS_STILL.replace(true) {
            tokio::time::pause();
        }
        let (publisher, objects) = objects_view(KindTable::builtin());
        let stored = Stored { objects: BTreeMap::new(), revision: 1, publisher, loaded: true, writes: 0, refused: 0 };
        stored.publish();
        let stored = Arc::new(Mutex::new(stored));
        let writer = stored.clone();
        let written = Recorder::answering(move |order: &WriteObject| {
            writer.lock().unwrap_or_else(PoisonError::into_inner).write(order)
        });
        let events = Recorder::answering(|_: &RecordEvent| ());
        let servers = Arc::new(FakeNameServers::default());
        let (publish_networks, networks) = networks_view(&networks);
        publish_networks.send_modify(|view| Arc::make_mut(view).loaded = true);
        let (publish, names) = names_view();
        let parts = DnsParts {
            pods: kind("Pod"),
            namespaces: kind("Namespace"),
            entries: kind("DnsEntry"),
            objects,
            networks,
            servers: servers.clone(),
            write: written.door(),
            event: events.door(),
            publish,
            clock: Arc::new(FakeClock::default()),
            origin: "mkube/test".into(),
            mode: None,
        };
        Self {
            servers,
            stored,
            networks: publish_networks,
            names,
            events,
            parts,
            tree: None,
            way: Doorway::new("dns", 64),
            _written: written,
        }
    }

    /// The actor starts; one that was there is gone first.
    pub async fn start(&mut self) {
        self.stop().await;
        let parts = self.parts.clone();
        let spec =
            ChildSpec::actor("dns", RestartRule::Permanent, self.way.clone(), move |_| DnsActor::new(parts.clone()));
        let root = SupervisorSpec {
            name: "mkube".into(),
            strategy: Strategy::OneForOne,
            intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
            on_limit: OnLimit::Escalate,
            pace: RestartPace::default(),
            children: vec![Child::Actor(answers(spec).done())],
        };
        self.tree = Some(mkube_supervision::start(root, Arc::new(FakeClock::default())));
        sleep(Duration::from_millis(1)).await;
    }

    /// The actor is gone, whatever it was at.
    pub async fn stop(&mut self) {
        if let Some(tree) = self.tree.take() {
            tree.stop(Duration::from_secs(1)).await;
        }
    }

    pub fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod as it is stored.
    pub fn put_pod(&self, name: &str, address: &str, ready: bool) {
        self.put_pod_with(name, address, ready, json!({}));
    }

    pub fn put_pod_with(&self, name: &str, address: &str, ready: bool, annotations: Value) {
        let pod = json!({
            "metadata": {"namespace": "default", "name": name, "uid": format!("uid-{name}"), "generation": 1,
                "annotations": annotations, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app"}]},
            "status": {
                "observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                    "lastTransitionTime": "2026-03-01T10:00:00Z"}],
                "containerStatuses": [{"name": "app"}],
                "podIPs": [{"ip": address}],
            },
        });
        self.stored().put(kind("Pod"), ObjectKey::new("default", name), pod);
    }

    fn change_pod(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut stored = self.stored();
        let key = ObjectKey::new("default", name);
        let (mut pod, _) = stored.objects[&(kind("Pod"), key.clone())].clone();
        change(&mut pod);
        stored.put(kind("Pod"), key, pod);
    }

    /// A user deletes a pod; it is there until it has stopped.
    pub fn delete_pod(&self, name: &str) {
        self.change_pod(name, |pod| {
            metadata::of_mut(pod).insert("deletionTimestamp".into(), json!("2026-03-01T11:00:00Z"));
        });
    }

    /// Its spec is another one, of which its status does not speak yet, or does.
    pub fn set_observed(&self, name: &str, observed: bool) {
        self.change_pod(name, |pod| pod["status"]["observedGeneration"] = json!(u64::from(observed)));
    }

    pub fn remove_pod(&self, name: &str) {
        let mut stored = self.stored();
        stored.objects.remove(&(kind("Pod"), ObjectKey::new("default", name)));
        stored.revision += 1;
        stored.publish();
    }

    /// Entries of what was put into servers: what they are of.
    pub fn entries(&self) -> Vec<String> {
        let stored = self.stored();
        let entries = stored.objects.iter().filter(|((of, _), _)| *of == kind("DnsEntry"));
        let text = |entry: &Value| {
            let part = |field: &str| entry["spec"][field].as_str().unwrap_or_default().to_owned();
            let gone = if part("goneAt").is_empty() { "" } else { " gone" };
            format!("{} {} {} {}{gone}", part("what"), part("zone"), part("name"), part("data"))
        };
        entries.map(|(_, (entry, _))| text(entry).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    pub async fn withdraw(
        &self,
        pod: &str,
        patience: Duration,
    ) -> Result<(), CallError<mkube_messages::dns::NamesFault>> {
        let door: Door<WithdrawNames> = self.way.door();
        let context = RequestContext::new("test", patience);
        door.ask(WithdrawNames { context, pod: ObjectKey::new("default", pod), uid: format!("uid-{pod}") }).await
    }

    /// Data of a name in `gt.lo`.
    pub fn data(&self, name: &str) -> Vec<String> {
        self.servers.data(GT, "gt.lo", name)
    }

    pub fn zone(&self, zone: &str) -> Arc<ZoneSight> {
        self.names.borrow().zones.get(zone).cloned().unwrap_or_default()
    }

    /// All that is wanted is there, and nothing of ours beside it.
    pub fn is_settled(&self, zone: &str) -> bool {
        let sight = self.zone(zone);
        sight.compared && sight.fault.is_none() && sight.records.values().all(|record| record.wanted == record.found)
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(3600);
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "not so: {what}; {:#?}\n{:#?}",
                self.names.borrow().zones,
                self.servers.calls(GT).iter().rev().take(20).collect::<Vec<_>>()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Until the zone is as wanted and nothing more is under way.
    pub async fn settle(&self) {
        self.until("gt.lo is as wanted", |bench| bench.is_settled("gt.lo")).await;
        sleep(Duration::from_millis(50)).await;
    }

    /// The same, while something of ours stands there of which nobody knows what it was for.
    pub async fn settle_but_for_leftovers(&self) {
        let there = |bench: &Self| {
            let sight = bench.zone("gt.lo");
            sight.compared && sight.records.values().all(|record| record.wanted.is_subset(&record.found))
        };
        self.until("what is wanted is there", there).await;
    }
}
