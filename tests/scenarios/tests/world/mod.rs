//! The real actors from store to pods under a real supervisor, over fakes, under paused time.

#![allow(dead_code, reason = "each test file uses its part")]

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

fn supervisor(name: &str, on_limit: OnLimit, children: Vec<Child>) -> SupervisorSpec {
    SupervisorSpec {
        name: name.into(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 50, within: Duration::from_secs(60) },
        on_limit,
        pace: RestartPace { jitter: 0.0, ..RestartPace::default() },
        children,
    }
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

    /// mkube starts in these surroundings, of which the store may be out of reach.
    pub async fn unread(around: Surroundings) -> Self {
        let kinds = KindTable::builtin();
        let kind = |name: &str| kinds.named(name).expect("a kind").id();
        let (publisher, reader) = objects_view(kinds.clone());
        let (publish, picture) = device_picture();
        let [store, router, objects, ipam, images, dns, pods] =
            ["store", "router", "objects", "ipam", "images", "dns", "pods"].map(|name| Doorway::new(name, 256));
        let crossings = around.crossings.clone();
        let (bell, heard) = news_bell();
        let gate = RouterParts {
            router: around.device.router(),
            picture: publish,
            clock: around.clock.clone(),
            tick: Duration::from_secs(10),
        };
        let one_way = ObjectsParts {
            kinds: kinds.clone(),
            publisher,
            load: relay(store.door(), "LoadContents", &crossings),
            commit: relay(store.door(), "CommitChanges", &crossings),
            news: relay(store.door(), "LoadNews", &crossings),
            notices: heard,
            clock: around.clock.clone(),
            randomness: Arc::new(SystemRandomness),
            node_name: "rose1".into(),
            shared: false,
            event_ring: 256,
            deletions: Deletions::default(),
        };
        let (publish_leases, leases) = leases_view();
        let mut named = network();
        if around.servers.has(NAME_SERVER) {
            named.names = DnsSettings {
                zone: "gt.lo".into(),
                server: Some("10.90.0.252".parse().expect("a literal")),
                endpoint: NAME_SERVER.into(),
                ..DnsSettings::default()
            };
        }
        let networks: Vec<_> = [named, other_network()].into_iter().chain(around.wide.then(wide_network)).collect();
        let (publish_networks, networks_reader) = networks_view(&networks);
        let (publish_names, names) = names_view();
        let names_keeper = DnsParts {
            pods: kind("Pod"),
            namespaces: kind("Namespace"),
            entries: kind("DnsEntry"),
            objects: reader.clone(),
            networks: networks_reader.clone(),
            servers: around.servers.clone(),
            write: relay(objects.door(), "WriteObject of names", &crossings),
            event: objects.door(),
            publish: publish_names,
            clock: around.clock.clone(),
            origin: "mkube/rose1".into(),
            mode: None,
        };
        let addresses = IpamParts {
            publisher: publish_leases,
            networks_publisher: publish_networks,
            networks: networks.into_iter().map(Arc::new).collect(),
            config_file: "config.yaml".into(),
            release_bridge: relay(router.door(), "ReleaseBridge", &crossings),
            describe_neighbours: relay(router.door(), "DescribeNeighbours", &crossings),
            write: relay(objects.door(), "WriteObject", &crossings),
            report: relay(objects.door(), "ReportStatus", &crossings),
            finish: relay(objects.door(), "FinishDeletion", &crossings),
            pods: kind("Pod"),
            objects: reader.clone(),
            device: picture.clone(),
            ensure_bridge: relay(router.door(), "EnsureBridge", &crossings),
            describe_networks: relay(router.door(), "DescribeNetworks", &crossings),
        };
        let doors = PodDoors {
            withdraw: relay(dns.door(), "WithdrawNames", &crossings),
            lease: relay(ipam.door(), "LeaseAddress", &crossings),
            release: relay(ipam.door(), "ReleaseAddress", &crossings),
            tarball: relay(images.door(), "EnsureTarball", &crossings),
            ensure_veth: relay(router.door(), "EnsureVeth", &crossings),
            remove_veth: relay(router.door(), "RemoveVeth", &crossings),
            mounts: relay(router.door(), "EnsureMounts", &crossings),
            envs: relay(router.door(), "EnsureEnvs", &crossings),
            container: relay(router.door(), "EnsureContainer", &crossings),
            start: relay(router.door(), "StartContainer", &crossings),
            stop: relay(router.door(), "StopContainer", &crossings),
            remove: relay(router.door(), "RemoveContainer", &crossings),
            mark: relay(router.door(), "MarkContainer", &crossings),
            on_boot: relay(router.door(), "SetStartOnBoot", &crossings),
            log: relay(router.door(), "DescribeContainerLog", &crossings),
            report: relay(objects.door(), "ReportStatus", &crossings),
            finish: relay(objects.door(), "FinishDeletion", &crossings),
            write: relay(objects.door(), "WriteObject", &crossings),
            event: objects.door(),
        };
        let (tree_cell, tree_reader) = watch::channel(None);
        let (publish_gates, gates) = gates_view();
        let order = OrderParts {
            pods: kind("Pod"),
            nodes: kind("Node"),
            deployments: kind("Deployment"),
            objects: reader.clone(),
            device: picture.clone(),
            event: objects.door(),
            gates: publish_gates,
            plan: boot_plan().0,
            node_name: "rose1".into(),
            rules: mkube_order::Rules::default(),
        };
        let (publish_health, probed) = health_view();
        let settings = PlanSettings {
            images_base: "/images".into(),
            volumes_base: "/volumes".into(),
            host_ip: "10.90.0.1".into(),
            node_name: "rose1".into(),
        };
        let watcher = PodsParts {
            pod: Arc::new(PodParts {
                doors,
                objects: reader.clone(),
                device: picture.clone(),
                leases: leases.clone(),
                networks: networks_reader,
                gates,
                disk: around.disk.clone(),
                clock: around.clock.clone(),
                turns: Turns::default(),
                health: probed.clone(),
                restarts: RestartRules::default(),
                settings: Arc::new(settings),
                kind: kind("Pod"),
                nodes: kind("Node"),
                config_maps: kind("ConfigMap"),
                secrets: kind("Secret"),
            }),
            tree: tree_reader,
            supervisor: "mkube/pods".into(),
        };
        let (kept, tarballs) = (around.store.clone(), around.images.clone());
        let permanent = RestartRule::Permanent;
        let write = objects.door();
        let (publisher, images_reader) = images_view();
        let keeper = ImageParts {
            source: tarballs,
            map: Default::default(),
            delivery: Delivery::Shared(Default::default()),
            publisher,
            objects: reader.clone(),
            device: picture.clone(),
            pods: kind("Pod"),
            gc_interval: Duration::from_secs(1800),
        };
        let rollouts = Doorway::new("rollouts", 256);
        let (publish_rollouts, rollouts_reader) = rollouts_view();
        let decider = RolloutParts {
            pods: kind("Pod"),
            secrets: kind("Secret"),
            deployments: kind("Deployment"),
            objects: reader.clone(),
            device: picture.clone(),
            resolve: relay(images.door(), "ResolveImage", &crossings),
            fetch: relay(images.door(), "EnsureTarball of a rollout", &crossings),
            write: relay(objects.door(), "WriteObject of a rollout", &crossings),
            event: objects.door(),
            publish: publish_rollouts,
            clock: around.clock.clone(),
            rules: Rules::default(),
        };
        let worker = JobsParts {
            jobs: kind("Job"),
            cron_jobs: kind("CronJob"),
            pods: kind("Pod"),
            objects: reader.clone(),
            write: relay(objects.door(), "WriteObject of a job", &crossings),
            event: objects.door(),
            clock: around.clock.clone(),
        };
        let jobs_spec =
            ChildSpec::actor("jobs", permanent, Doorway::new("jobs", 1), move |_| JobsActor::new(worker.clone()));
        let writer = GeneratedParts {
            config_maps: kind("ConfigMap"),
            namespaces: kind("Namespace"),
            objects: reader.clone(),
            networks: around.networks.1.clone(),
            write: relay(objects.door(), "WriteObject of generated configuration", &crossings),
            node_name: "rose1".into(),
            shared: false,
        };
        let generated_spec = ChildSpec::actor("generated", permanent, Doorway::new("generated", 1), move |_| {
            GeneratedActor::new(writer.clone())
        });
        let judge = WatchdogParts {
            pods: kind("Pod"),
            objects: reader.clone(),
            device: picture.clone(),
            networks: around.networks.1.clone(),
            prober: around.prober.clone(),
            exec: Arc::new(around.commands.clone()),
            publish: publish_health,
            event: objects.door(),
            interval: Duration::from_secs(5),
            dns: DnsRules::default(),
        };
        let watchdog = Doorway::new("watchdog", 1);
        let (redeploy, pushed) = (rollouts.door(), rollouts.door());
        let deployments = Doorway::new("deployments", 256);
        let evict = deployments.door();
        let keeper_of_replicas = DeploymentsParts {
            kinds: kinds.clone(),
            objects: reader.clone(),
            device: picture.clone(),
            write: relay(objects.door(), "WriteObject of a deployment", &crossings),
            report: relay(objects.door(), "ReportStatus of a deployment", &crossings),
            event: objects.door(),
            clock: around.clock.clone(),
        };
        let deployments_spec = ChildSpec::actor("deployments", permanent, deployments, move |_| {
            DeploymentsActor::new(keeper_of_replicas.clone())
        });
        let consistency = Doorway::new("consistency", 8);
        let (publish_report, report_reader) = consistency_view();
        let comparer = ConsistencyParts {
            objects: reader.clone(),
            device: picture,
            leases,
            names: names_view().1,
            images: images_reader.clone(),
            rollouts: rollouts_reader.clone(),
            volumes: volumes_view().1,
            doors: ConsistencyDoors {
                stop: relay(router.door(), "StopContainer of a repair", &crossings),
                remove: relay(router.door(), "RemoveContainer of a repair", &crossings),
                remove_veth: relay(router.door(), "RemoveVeth of a repair", &crossings),
                mounts: relay(router.door(), "EnsureMounts of a repair", &crossings),
                envs: relay(router.door(), "EnsureEnvs of a repair", &crossings),
                release: relay(ipam.door(), "ReleaseAddress of a repair", &crossings),
                write: relay(objects.door(), "WriteObject of a repair", &crossings),
                event: objects.door(),
            },
            publisher: publish_report,
            clock: around.clock.clone(),
            volumes_base: "/volumes".into(),
            node_name: "rose1".into(),
            rules: around.repairs,
        };
        let repair = consistency.door();
        let consistency_spec =
            ChildSpec::actor("consistency", permanent, consistency, move |_| ConsistencyActor::new(comparer.clone()));
        let dns_spec = ChildSpec::actor("dns", permanent, dns, move |_| DnsActor::new(names_keeper.clone()));
        let images_spec = ChildSpec::actor("images", permanent, images, move |_| ImageActor::new(keeper.clone()));
        let rollouts_spec =
            ChildSpec::actor("rollouts", permanent, rollouts, move |_| RolloutActor::new(decider.clone()));
        let watchdog_spec =
            ChildSpec::actor("watchdog", permanent, watchdog, move |_| WatchdogActor::new(judge.clone())).done();
        let store_spec = ChildSpec::actor("store", permanent, store, move |_| {
            StoreActor::new(kept.clone(), bell.clone(), older_view().0)
        });
        let router_spec = ChildSpec::actor("router", permanent, router, move |_| RouterActor::new(gate.clone()));
        let objects_spec = ChildSpec::actor("objects", permanent, objects, move |_| ObjectsActor::new(one_way.clone()));
        let ipam_spec = ChildSpec::actor("ipam", permanent, ipam, move |_| IpamActor::new(addresses.clone()));
        let pods_spec = ChildSpec::actor("roster", permanent, pods, move |_| PodsActor::new(watcher.clone())).done();
        let order_way = Doorway::new("order", 1);
        let order_spec =
            ChildSpec::actor("order", permanent, order_way, move |_| OrderActor::new(order.clone())).done();
        let root = supervisor(
            "mkube",
            OnLimit::Escalate,
            vec![
                Child::Actor(mkube_store::answers(store_spec).done()),
                Child::Actor(mkube_router::answers(router_spec).done()),
                Child::Actor(mkube_objects::answers(objects_spec).done()),
                Child::Actor(mkube_ipam::answers(ipam_spec).done()),
                Child::Actor(mkube_images::answers(images_spec).done()),
                Child::Actor(mkube_dns::answers(dns_spec).done()),
                Child::Supervisor(SupervisorSpec {
                    intensity: Intensity { restarts: 5, within: Duration::from_secs(300) },
                    ..supervisor("pods", OnLimit::HoldChild, vec![])
                }),
                Child::Supervisor(supervisor(
                    "deciders",
                    OnLimit::Escalate,
                    vec![
                        Child::Actor(pods_spec),
                        Child::Actor(order_spec),
                        Child::Actor(mkube_rollouts::answers(rollouts_spec).done()),
                        Child::Actor(mkube_deployments::answers(deployments_spec).done()),
                        Child::Actor(jobs_spec.done()),
                        Child::Actor(generated_spec.done()),
                        Child::Actor(watchdog_spec),
                        Child::Actor(mkube_consistency::answers(consistency_spec).done()),
                    ],
                )),
            ],
        );
        let tree = mkube_supervision::start(root, around.clock.clone());
        tree_cell.send_replace(Some(tree.clone()));
        Self {
            device: around.device.clone(),
            around,
            tree,
            images: images_reader,
            rollouts: rollouts_reader,
            redeploy,
            pushed,
            evict,
            names,
            consistency: report_reader,
            repair,
            reader,
            write,
        }
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
