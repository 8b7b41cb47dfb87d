//! The real actors from store to pods under a real supervisor, over fakes, under paused time.

#![allow(dead_code, reason = "each test file uses its part")]

mod wiring;

use std::sync::Arc;
use std::time::Duration;

use mkube_consistency::{ConsistencyActor, ConsistencyDoors, ConsistencyParts};
use mkube_deployments::{DeploymentsActor, DeploymentsParts};
use mkube_dns::{DnsActor, DnsParts};
use mkube_fakes::{
    Crossings, FakeClock, FakeCommands, FakeDisk, FakeNameServers, FakeProber, FakeRouter, FakeTarballs, MemoryStore,
    Release, relay,
};
use mkube_generated::{GeneratedActor, GeneratedParts};
use mkube_images::{Delivery, ImageActor, ImageParts};
use mkube_ipam::{IpamActor, IpamParts};
use mkube_jobs::{JobsActor, JobsParts};
use mkube_messages::consistency::{
    ConsistencyReader, ConsistencyReport, RepairFault, RepairNow, Repaired, consistency_view,
};
use mkube_messages::deployments::EvictPod;
use mkube_messages::dns::{NamesReader, names_view};
use mkube_messages::door::{CallError, Door, Doorway};
use mkube_messages::gates::{boot_plan, gates_view};
use mkube_messages::health::health_view;
use mkube_messages::images::{ImagesReader, ImagesView, images_view};
use mkube_messages::ipam::{NetworksPublisher, NetworksReader, leases_view, networks_view};
use mkube_messages::objects::{
    FieldValidation, ObjectKey, ObjectsReader, PatchType, Verb, WriteObject, Writer, Written, objects_view,
};
use mkube_messages::request::{Request, RequestContext};
use mkube_messages::rollouts::{
    ImagePushed, ImageRollout, RedeployFault, RedeployImage, Redeploying, RolloutsReader, rollouts_view,
};
use mkube_messages::store::{news_bell, older_view};
use mkube_messages::volumes::volumes_view;
use mkube_messages::watch;
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::randomness::SystemRandomness;
use mkube_model::network::Network;
use mkube_model::settings::DnsSettings;
use mkube_model::status::Status;
use mkube_objects::{Deletions, ObjectsActor, ObjectsParts};
use mkube_order::{OrderActor, OrderParts};
use mkube_pods::{PlanSettings, PodDoors, PodParts, PodsActor, PodsParts, RestartRules, Turns};
use mkube_rollouts::{RolloutActor, RolloutParts, Rules};
use mkube_router::{RouterActor, RouterParts, device_picture};
use mkube_store::StoreActor;
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use mkube_watchdog::{DnsRules, WatchdogActor, WatchdogParts};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(600);

/// The name server of network `gt`.
pub const NAME_SERVER: &str = "http://10.90.0.252:8080";

/// What outlives mkube: device, store, cache, disk.
#[derive(Clone)]
pub struct Surroundings {
    pub device: FakeRouter,
    pub store: Arc<MemoryStore>,
    pub images: Arc<FakeTarballs>,
    pub disk: Arc<FakeDisk>,
    pub clock: Arc<FakeClock>,
    pub crossings: Crossings,
    /// There is a network for thousands of pods too, `wide`.
    pub wide: bool,
    pub prober: Arc<FakeProber>,
    pub commands: FakeCommands,
    /// Which networks there are, as whoever keeps them tells.
    pub networks: (NetworksPublisher, NetworksReader),
    /// Name servers: that of network `gt` is `NAME_SERVER`, if there is one.
    pub servers: Arc<FakeNameServers>,
    /// How repairs go about it.
    pub repairs: mkube_consistency::Rules,
}

impl Surroundings {
    /// The first of a test: time stands still from now on.
    pub fn new() -> Self {
        tokio::time::pause();
        Self::another()
    }

    /// Network `gt` has names from now on.
    pub fn with_name_server(self, release: Release) -> Self {
        self.servers.add(NAME_SERVER, release);
        self
    }

    /// A further one.
    pub fn another() -> Self {
        let device = FakeRouter::new("7.23.2");
        let images = Arc::new(FakeTarballs::beside(&device));
        for image in ["web:1", "web:2", "side:1"] {
            images.add(image);
        }
        Self {
            images,
            disk: Arc::new(FakeDisk::shared_with(&device)),
            store: Arc::new(MemoryStore::default()),
            clock: Arc::new(FakeClock::default()),
            crossings: Crossings::default(),
            wide: false,
            prober: Arc::default(),
            commands: FakeCommands::default(),
            networks: networks_view(&[network(), other_network()]),
            servers: Arc::default(),
            repairs: mkube_consistency::Rules::default(),
            device,
        }
    }
}

/// A running mkube.
pub struct World {
    pub around: Surroundings,
    pub device: FakeRouter,
    pub tree: Tree,
    images: ImagesReader,
    rollouts: RolloutsReader,
    redeploy: Door<RedeployImage>,
    pushed: Door<ImagePushed>,
    evict: Door<EvictPod>,
    names: NamesReader,
    consistency: ConsistencyReader,
    repair: Door<RepairNow>,
    reader: ObjectsReader,
    write: Door<WriteObject>,
}

fn network() -> Network {
    plain_network("gt", "10.90.0.0/24", "bridge-gt")
}

fn other_network() -> Network {
    plain_network("g10", "10.91.0.0/24", "bridge-g10")
}

fn wide_network() -> Network {
    plain_network("wide", "10.92.0.0/16", "bridge-wide")
}

fn plain_network(name: &str, cidr: &str, bridge: &str) -> Network {
    Network { managed: true, ..Network::plain(name, cidr.parse().expect("a literal"), bridge) }
}

impl World {
    /// A fresh device and store.
    pub async fn new() -> Self {
        Self::over(Surroundings::new()).await
    }

    /// mkube starts in these surroundings.
    pub async fn over(around: Surroundings) -> Self {
        let world = Self::unread(around).await;
        world.until("the store is read", |world| world.reader.view().loaded).await;
        sleep(Duration::from_millis(20)).await;
        world
    }

    /// What is stored.
    pub fn reader(&self) -> &ObjectsReader {
        &self.reader
    }

    /// What is told of names.
    pub fn names(&self) -> &NamesReader {
        &self.names
    }

    /// mkube ends; device and store stay.
    pub async fn stop(self) -> Surroundings {
        self.tree.stop(Duration::from_secs(5)).await;
        self.around
    }

    /// Waits for a condition; panics with what there is when it takes too long.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if Instant::now() > deadline {
                let pods = self.reader.view().kind(&self.reader.kinds().named("Pod").expect("a kind").id());
                let pods: Vec<Value> = pods.objects.values().map(|pod| pod.value()["status"].clone()).collect();
                panic!("not so: {what}\ndevice: {:#}\npods: {pods:#?}", self.device.state());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask<M: Request>(door: &Door<M>, message: M) -> Result<M::Reply, CallError<M::Fault>> {
        door.ask(message).await
    }

    pub async fn write(&self, kind: &str, name: &str, verb: Verb) -> Result<Written, Status> {
        let kind = self.reader.kinds().named(kind).expect("a kind");
        let order = WriteObject {
            context: RequestContext::new("test", Duration::from_secs(20)),
            kind: kind.id(),
            key: ObjectKey::new(if kind.namespaced { "default" } else { "" }, name),
            verb,
            subresource: "",
            dry_run: false,
            field_validation: FieldValidation::Strict,
            writer: Writer::own(),
            behind: false,
        };
        Self::ask(&self.write, order).await.map_err(|error| match error {
            CallError::Fault(status) => status,
            CallError::NotAnswered(why) => Status::timeout(why.to_string()),
        })
    }

    /// As a client does: an unknown outcome is followed by another try.
    pub async fn insist(&self, kind: &str, name: &str, verb: Verb) {
        for _ in 0..60 {
            match self.write(kind, name, verb.clone()).await {
                Ok(_) => return,
                Err(status) if status.reason == "AlreadyExists" || status.reason == "NotFound" => return,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
        panic!("{name} could not be written");
    }

    pub async fn create(&self, kind: &str, body: Value) {
        self.insist(kind, "", Verb::Create { body }).await;
    }

    pub async fn patch(&self, kind: &str, name: &str, body: Value) {
        self.insist(kind, name, Verb::Patch { patch: PatchType::Merge, body }).await;
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        self.insist(kind, name, Verb::Delete { options: Value::Null }).await;
    }

    /// Every state of a pod that was stored, oldest first.
    pub fn stored_states(&self, pod: &str) -> Vec<Value> {
        let kind = self.reader.kinds().named("Pod").expect("a kind").id();
        let view = self.reader.view().kind(&kind);
        let of_pod = view.history.iter().filter(|change| change.object.key.name == pod);
        of_pod.map(|change| change.object.value()).collect()
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let kind = self.reader.kinds().named(kind).expect("a kind");
        let namespace = if kind.namespaced { "default" } else { "" };
        self.reader.view().get(&kind.id(), &ObjectKey::new(namespace, name)).map(|object| object.value())
    }

    /// All objects of a kind, in order of their keys.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let kind = self.reader.kinds().named(kind).expect("a kind").id();
        self.reader.view().kind(&kind).objects.values().map(|object| object.value()).collect()
    }

    pub fn status(&self, pod: &str) -> Value {
        self.get("Pod", pod).map(|pod| pod["status"].clone()).unwrap_or_default()
    }

    /// The first container's `state.waiting.reason`.
    pub fn waits_for(&self, pod: &str, reason: &str) -> bool {
        self.status(pod).pointer("/containerStatuses/0/state/waiting/reason") == Some(&json!(reason))
    }

    pub fn phase(&self, pod: &str) -> String {
        self.status(pod)["phase"].as_str().unwrap_or_default().to_owned()
    }

    pub fn is_ready(&self, pod: &str) -> bool {
        let status = self.status(pod);
        let conditions = status["conditions"].as_array();
        conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    }

    pub async fn until_ready(&self, pod: &str) {
        self.until("the pod is ready", |world| world.is_ready(pod)).await;
    }

    pub async fn until_gone(&self, pod: &str) {
        self.until("the pod is gone", |world| world.get("Pod", pod).is_none()).await;
    }

    /// Messages of all events of a reason.
    pub fn events(&self, reason: &str) -> Vec<String> {
        let kind = self.reader.kinds().named("Event").expect("a kind").id();
        let events = self.reader.view().kind(&kind);
        let texts = events.objects.values().filter(|event| event.value()["reason"] == reason);
        texts.map(|event| event.value()["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// All events, as one text.
    pub fn all_events(&self) -> String {
        let kind = self.reader.kinds().named("Event").expect("a kind").id();
        self.reader.view().kind(&kind).objects.values().map(|event| event.text().to_owned()).collect()
    }

    /// What ImageActor tells.
    pub fn images(&self) -> Arc<ImagesView> {
        self.images.borrow().clone()
    }

    /// What RolloutActor tells of an image.
    pub fn rollout(&self, image: &str) -> Option<ImageRollout> {
        self.rollouts.borrow().images.iter().find(|one| one.image == image).cloned()
    }

    /// A registry tells that an image was pushed.
    pub fn notify(&self, repository: &str, tag: &str) {
        let push = ImagePushed { repository: repository.into(), tag: tag.into(), digest: None, registry: None };
        self.pushed.tell(push).expect("somebody hears it");
    }

    /// Somebody asks for what the registry has.
    pub async fn redeploy(&self, image: &str) -> Result<Redeploying, CallError<RedeployFault>> {
        let context = RequestContext::new("test", Duration::from_secs(60));
        Self::ask(&self.redeploy, RedeployImage { context, image: image.into() }).await
    }

    /// Somebody asks for a pod to go.
    pub async fn evict(&self, pod: &str) -> Result<Written, CallError<Status>> {
        let context = RequestContext::new("test", Duration::from_secs(20));
        let order = EvictPod { context, pod: ObjectKey::new("default", pod), options: Value::Null, dry_run: false };
        Self::ask(&self.evict, order).await
    }

    /// What ConsistencyActor found last.
    pub fn report(&self) -> Option<Arc<ConsistencyReport>> {
        self.consistency.borrow().clone()
    }

    /// Somebody asks for a repair.
    pub async fn repair(&self, dry_run: bool) -> Result<Repaired, CallError<RepairFault>> {
        let context = RequestContext::new("test", Duration::from_secs(120));
        Self::ask(&self.repair, RepairNow { context, dry_run }).await
    }

    /// Nothing of any pod is on the device, on the disk or in the store.
    pub fn nothing_is_left(&self) {
        let state = self.device.state();
        for part in ["containers", "veths", "ports", "mounts", "envs"] {
            assert_eq!(state[part], json!([]), "{part}");
        }
        assert_eq!(self.around.disk.containers(), Vec::<String>::new());
    }
}

/// A pod of one container.
pub fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}})
}

/// A pod of one container with a command line.
pub fn job(name: &str, restart: &str, command: &[&str]) -> Value {
    let mut body = pod(name);
    body["spec"]["restartPolicy"] = json!(restart);
    body["spec"]["containers"][0]["command"] = json!(command[..1]);
    body["spec"]["containers"][0]["args"] = json!(command[1..]);
    body
}

/// A pod that uses everything a pod can use.
pub fn full_pod(name: &str, image: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "volumes": [{"name": "config", "configMap": {"name": "settings"}}],
        "containers": [
            {"name": "c", "image": image, "env": [{"name": "A", "value": "1"},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
             "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}, {"name": "data", "mountPath": "/data"}]},
            {"name": "side", "image": "side:1"}]}})
}

/// The ConfigMap of [`full_pod`].
pub fn settings(text: &str) -> Value {
    json!({"metadata": {"name": "settings"}, "data": {"web.conf": text}})
}
