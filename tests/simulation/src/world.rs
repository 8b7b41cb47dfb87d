//! What outlives the controller, and the controller.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use mkube::compose::{Controller, ControllerSettings, DeliveryWay, HttpLimits, Neighbours, TICK, start};
use mkube_fakes::{
    Answer, FakeClock, FakeDisk, FakeProber, FakeResolver, FakeRouter, FakeStreams, FakeTarballs, MemoryStore,
    NoNodeApis, Reading, Verb,
};
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::pod_logs::{ContainerRef, LogOptions, PodLogs};
use mkube_model::network::Network;
use mkube_model::settings::DnsSettings;
use mkube_model::status::Status;
use mkube_pods::{PlanSettings, RestartRules};
use mkube_rollouts::Rules;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::dice::SeededRandomness;
use crate::ledger::Ledger;
use crate::names::{ENDPOINT, NameServer, ZONE};
use crate::steps::{ALIVE, Image, NAME_SERVERS, NAMES, READY};

/// How long an ordered stop may take.
const STOPPING: Duration = Duration::from_secs(20);
/// How long it takes until whoever looks after the process starts it again.
const STARTING_AGAIN: Duration = Duration::from_secs(1);
/// An address in the pods' network that somebody else has.
const FOREIGN_ADDRESS: &str = "10.90.0.3/24";

/// The node.
pub const NODE: &str = "rose1";

/// A running controller. Whoever drops it kills it: its actors are gone from one moment to the next.
struct Process {
    actors: LocalSet,
    controller: Controller,
    /// Readings of the store before it was started.
    readings: usize,
}

/// Everything of one run.
pub struct World {
    /// The device.
    pub device: FakeRouter,
    /// The store.
    pub store: Arc<MemoryStore>,
    /// The registry and the cache.
    pub images: Arc<FakeTarballs>,
    /// Files of volumes.
    pub disk: Arc<FakeDisk>,
    /// Time of day.
    pub clock: Arc<FakeClock>,
    /// How containers answer their probes.
    pub prober: Arc<FakeProber>,
    /// The name server.
    pub names: NameServer,
    /// What users asked for, and what they were told.
    pub ledger: Arc<Mutex<Ledger>>,
    randomness: Arc<SeededRandomness>,
    process: Option<Process>,
    /// Others write the store too; and whether it keeps what is written while it is away.
    shared: Option<bool>,
    /// When somebody else wrote it last.
    pub(crate) elsewhere_at: Option<Instant>,
    /// When the store is back in sight, if it is not.
    store_back: Option<Instant>,
    born: Instant,
    told: String,
}

/// Nobody asks for output in a run.
struct NoLogs;

#[async_trait]
impl PodLogs for NoLogs {
    async fn open(
        &self,
        container: &ContainerRef,
        _options: LogOptions,
    ) -> Result<(mpsc::Receiver<Bytes>, Option<String>), Status> {
        Err(Status::new(404, "NotFound", format!("there is no output of {container} here")))
    }
}

fn network() -> Network {
    let last = "10.90.0.120".parse().expect("a literal");
    let dns = NAME_SERVERS.map(|address| address.parse().expect("a literal")).to_vec();
    let plain = Network::plain("gt", "10.90.0.0/24".parse().expect("a literal"), "bridge-gt");
    let names = DnsSettings { zone: ZONE.into(), endpoint: ENDPOINT.into(), ..DnsSettings::default() };
    Network { managed: true, last, dns, names, ..plain }
}

/// What is on the device and not ours: like what we make, as far as the device lets it be.
fn plant_foreign(device: &FakeRouter) {
    let put = |menu: &str, body: Value| drop(device.operate(Verb::Put, menu, body));
    put("interface/bridge", json!({"name": "bridge-theirs"}));
    put("interface/veth", json!({"name": "veth-theirs", "address": FOREIGN_ADDRESS, "comment": "theirs"}));
    put("interface/bridge/port", json!({"bridge": "bridge-theirs", "interface": "veth-theirs"}));
    put("container/envs", json!({"list": "theirs", "key": "A", "value": "1"}));
    put("container/mounts", json!({"list": "theirs", "src": "/theirs", "dst": "/data"}));
    put(
        "container",
        json!({"name": "theirs", "file": FakeTarballs::path("theirs:1"), "interface": "veth-theirs", "root-dir": "/theirs",
            "envlists": "theirs", "mountlists": "theirs", "start-on-boot": "true", "comment": "not of mkube"}),
    );
}

impl World {
    /// A device with something foreign on it, an empty store, and no controller yet.
    pub async fn new(seed: u64) -> Self {
        let device = FakeRouter::new("7.23.2");
        let images = Arc::new(FakeTarballs::beside(&device));
        for image in
            [Image::Good(1), Image::Good(2), Image::Good(3), Image::Deaf, Image::Crashing, Image::Hanging, Image::Torn]
        {
            images.add(&image.name());
        }
        images.add("theirs:1");
        let file = |image: Image| FakeTarballs::path(&image.name());
        device.deafen_processes_of(&file(Image::Deaf));
        device.end_processes_of(&file(Image::Crashing), Duration::from_secs(2), 1);
        device.hang_starts_of(&file(Image::Hanging));
        device.spoil_archive(&file(Image::Torn), "unexpected end of file");
        plant_foreign(&device);
        tokio::time::sleep(Duration::from_secs(1)).await;
        device.operate(Verb::Post, "container/start", json!({"number": "theirs"}));
        tokio::time::sleep(Duration::from_secs(1)).await;
        device.forget_calls();
        let prober = Arc::new(FakeProber::default());
        [ALIVE, READY, NAMES].into_iter().for_each(|port| prober.set(port, Answer::Good));
        let clock = Arc::new(FakeClock::default());
        Self {
            images,
            disk: Arc::new(FakeDisk::shared_with(&device)),
            store: Arc::new(MemoryStore::default()),
            names: NameServer::new(seed, clock.clone()),
            clock,
            prober,
            ledger: Arc::default(),
            randomness: Arc::new(SeededRandomness::new(seed)),
            process: None,
            shared: None,
            elsewhere_at: None,
            store_back: None,
            born: Instant::now(),
            told: String::new(),
            device,
        }
    }

    /// What users know.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The controller, if it runs.
    pub fn controller(&self) -> Option<&Controller> {
        self.process.as_ref().map(|process| &process.controller)
    }

    /// Time since the run began.
    pub fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// An instant as time since the run began.
    pub fn time_of(&self, at: Instant) -> Duration {
        at.duration_since(self.born)
    }

    /// Writes a line of the trace.
    pub fn tell(&mut self, line: impl std::fmt::Display) {
        let now = self.now();
        // Writing to a text cannot fail.
        let _ = writeln!(self.told, "{:>10.3} {line}", now.as_secs_f64());
    }

    /// What was told, every call of the device and of the name server, and every commit.
    pub fn trace(&self) -> String {
        let mut text = self.told.clone();
        for call in self.device.calls() {
            let at = call.at.duration_since(self.born).as_secs_f64();
            let _ = writeln!(text, "{at:>10.3} {} {}", call.operation, call.body);
        }
        for (at, call) in self.names.servers.journal(ENDPOINT) {
            let _ = writeln!(text, "{:>10.3} names: {call}", self.time_of(at).as_secs_f64());
        }
        for (at, changes) in self.store.batches() {
            let at = at.duration_since(self.born).as_secs_f64();
            for change in changes {
                let value = change.value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let value = value.unwrap_or_else(|| "deleted".into());
                let _ = writeln!(text, "{at:>10.3} commit {}/{} {value}", change.at.bucket, change.at.key);
            }
        }
        text
    }

    /// Starts the controller.
    pub fn start(&mut self) {
        let neighbours = Neighbours {
            router: self.device.router(),
            store: self.store.clone(),
            disk: self.disk.clone(),
            tarballs: self.images.clone(),
            disk_map: DiskMap::default(),
            logs: Arc::new(|_| Arc::new(NoLogs)),
            exec: Arc::new(|_| Arc::new(FakeStreams)),
            ports: Arc::new(FakeStreams),
            spdy: Arc::new(FakeStreams),
            nodes: Arc::new(NoNodeApis),
            prober: self.prober.clone(),
            resolver: Arc::new(FakeResolver::default()),
            names: self.names.servers.clone(),
            bus: None,
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
        };
        let settings = ControllerSettings {
            shared_store: self.is_shared(),
            delivery: DeliveryWay::Shared,
            kinds: KindTable::builtin(),
            networks: vec![network()],
            config_file: "config.yaml".into(),
            namespace_mode: None,
            plan: PlanSettings {
                images_base: "/images".into(),
                volumes_base: "/volumes".into(),
                host_ip: "10.90.0.1".into(),
                node_name: NODE.into(),
            },
            boot_manifest: vec![],
            manifests: vec![],
            listener: None,
            allowed_hosts: None,
            allow_chaos: true,
            tick: TICK,
            gc_interval: Duration::from_secs(1800),
            rollouts: Rules::default(),
            order: mkube_order::Rules::default(),
            restarts: RestartRules::default(),
            watchdog_interval: Duration::from_secs(5),
            consistency: mkube_consistency::Rules { automatic: true, ..mkube_consistency::Rules::default() },
            notify_secret: None,
            event_ring: 256,
            http_limits: HttpLimits::of_this_process(),
        };
        let actors = LocalSet::new();
        let controller = {
            let _inside = actors.enter();
            start(neighbours, settings)
        };
        self.process = Some(Process { actors, controller, readings: self.store.readings().len() });
    }

    /// Others write the store too.
    pub fn share_store(&mut self, keeps: bool) {
        self.store.tell_what_others_do();
        self.shared = Some(keeps);
    }

    /// Whether others write the store too.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether it keeps all that is written while it is away.
    pub fn keeps(&self) -> bool {
        self.shared == Some(true)
    }

    /// The store is out of sight for so long, or for as long as it already was to be.
    pub fn lost_until(&mut self, time: Duration) {
        self.store_back = self.store_back.max(Some(Instant::now() + time));
    }

    /// Whether the store is out of sight.
    pub fn is_store_lost(&self) -> bool {
        self.store_back.is_some()
    }

    /// The store is back in sight.
    pub fn find_store(&mut self) {
        if self.store_back.take().is_some() {
            self.store.set_stale(None);
            self.tell("the store is back in sight");
        }
    }

    /// The controller is gone, at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The controller is asked to stop, and is gone.
    pub async fn stop(&mut self) {
        if let Some(Process { actors, controller, .. }) = self.process.take() {
            actors.run_until(controller.tree.stop(STOPPING)).await;
        }
    }

    /// Whether the first thing the controller heard of the store was less than the truth: it cannot know, and somebody has
    /// to start it again.
    pub fn was_misled(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let readings = self.store.readings().into_iter().skip(process.readings);
        readings.into_iter().find(|reading| *reading != Reading::Failed) == Some(Reading::Less)
    }

    /// Does something beside the running controller.
    pub async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.process {
            Some(process) => process.actors.run_until(work).await,
            None => work.await,
        }
    }

    /// Time passes. A controller that gave up is started again, as its service manager would.
    pub async fn pass(&mut self, time: Duration) {
        self.beside(tokio::time::sleep(time)).await;
        if self.store_back.is_some_and(|at| at <= Instant::now()) {
            self.find_store();
        }
        let gave_up = self.controller().and_then(|controller| controller.tree.gave_up().now_or_never());
        if let Some(cause) = gave_up {
            self.tell(format!("the controller gave up: {cause}"));
            self.stop().await;
            tokio::time::sleep(STARTING_AGAIN).await;
            self.start();
        }
    }
}
