//! `mkube serve`: the controller for a device.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use mkube_boot::Document;
use mkube_dns::Mode;
use mkube_image_pull::{ImageSource, KnowArchitecture, PullOptions, PullParts};
use mkube_lease::LeaseDesk;
use mkube_microdns_client::MicrodnsClient;
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::bus::Bus;
use mkube_model::neighbours::container_exec::ContainerExec;
use mkube_model::neighbours::pod_logs::PodLogs;
use mkube_model::neighbours::randomness::SystemRandomness;
use mkube_model::neighbours::router::Router;
use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::settings::{
    Architecture, Backend, ConsistencySettings, Delivery, LifecycleSettings, NatsSettings, NetworkSettings, Overrides,
    RepairMode, RolloutSettings, Settings, StoreKind,
};
use mkube_nats_bus::NatsBus;
use mkube_node_apis::{HttpNodeApis, Patience};
use mkube_pod_ports::{CommandStreams, NetworkPorts};
use mkube_pods::{PlanSettings, RestartRules};
use mkube_probing::{NetworkProber, NetworkResolver};
use mkube_rollouts::Rules;
use mkube_routeros::{DeviceExec, FindContainer, Password, RestOptions, RestRouter, RunningRow};
use mkube_shared_disk::{ContainerLogs, VolumeFiles};

use crate::cli::ServeArgs;
use crate::compose::{
    Controller, ControllerSettings, DeliveryWay, HttpLimits, Neighbours, Seat, TICK, row_finder, start_among,
};
use crate::failure::{CONFIGURATION, FAILED, Failure, INTERNAL, UNAVAILABLE};
use crate::run::{Signals, system, until_stopped};
use crate::turns::take_turns;
use crate::{manifests, settings_file, stores};

/// What a controller is started with beside its settings.
pub struct Extras {
    /// Documents brought in at every start.
    pub manifests: Vec<Document>,
    /// Host names requests may be addressed to; `None` allows all.
    pub allowed_hosts: Option<Vec<String>>,
    /// Whether actors may be crashed on request.
    pub allow_chaos: bool,
    /// Directory of the containers' own log files, where mkube can reach them.
    pub log_directory: Option<PathBuf>,
    /// Images that are made on this machine and come from no registry.
    pub made_here: Vec<String>,
    /// Where the settings stand, for people.
    pub config_file: String,
}

/// Runs the controller until a signal.
pub fn main(args: ServeArgs) -> Result<(), Failure> {
    let by_default = args.config == Path::new("/etc/mkube/config.yaml");
    let settings = settings_file::load(&args.config, by_default, flags(&args))?;
    system(async {
        let mut signals = Signals::new().map_err(|error| Failure::new(INTERNAL, error))?;
        let extras = Extras {
            manifests: vec![],
            allowed_hosts: None,
            allow_chaos: args.allow_chaos,
            log_directory: None,
            made_here: vec![],
            config_file: args.config.display().to_string(),
        };
        let (api, device) = (settings.api.listen, settings.routeros.rest_url.clone());
        let prepared = Prepared::of(settings, extras).await?;
        tracing::info!(%api, %device, "mkube serves");
        match prepared.desk.clone() {
            None => until_stopped(&prepared.start(None)?.tree, &mut signals).await,
            Some(desk) => take_turns(&prepared, desk, &mut signals).await,
        }
    })
}

fn flags(args: &ServeArgs) -> Overrides {
    Overrides::none()
        .set("nodeName", "--node-name", args.node_name.clone())
        .set("standalone", "--standalone", args.standalone)
        .set("kubeconfig", "--kubeconfig", args.kubeconfig.clone())
        .set("backend", "--backend", args.backend.clone())
        .set("routeros.address", "--routeros-address", args.routeros_address.clone())
        .set("routeros.restUrl", "--routeros-rest-url", args.routeros_rest_url.clone())
        .set("routeros.user", "--routeros-user", args.routeros_user.clone())
        .set("routeros.password", "--routeros-password", args.routeros_password.clone())
        .set("networks[0].cidr", "--pod-cidr", args.pod_cidr.clone())
        .set("networks[0].bridge", "--bridge-name", args.bridge_name.clone())
        .set("storage.basePath", "--storage-path", args.storage_path.clone())
        .set("storage.tarballCache", "--tarball-cache", args.tarball_cache.clone())
        .set("storage.gcIntervalMinutes", "--gc-interval-minutes", args.gc_interval_minutes)
}

/// Opens the neighbours and starts the tree on this thread's actix system. It is the only controller of its device.
pub async fn start_controller(settings: &Settings, extras: Extras) -> Result<Controller, Failure> {
    Prepared::of(settings.clone(), extras).await?.start(None)
}

/// Everything a tree is started from, any number of times one after the other.
pub struct Prepared {
    settings: Settings,
    extras: Extras,
    boot_manifest: Vec<Document>,
    listener: TcpListener,
    neighbours: Neighbours,
    /// Who drives is found out here, where several controllers share a store.
    pub desk: Option<Arc<LeaseDesk>>,
}

impl Prepared {
    /// Reads the boot manifest, takes the API's socket and opens the neighbours.
    pub async fn of(settings: Settings, extras: Extras) -> Result<Self, Failure> {
        if settings.backend == Backend::Stormbase {
            return Err(Failure::text(UNAVAILABLE, "backend stormbase is not there yet").hint("use backend: routeros"));
        }
        let kinds = KindTable::builtin();
        let boot_manifest = boot_manifest(&kinds, settings.boot_order_path())?;
        let listen = settings.api.listen;
        let listener = TcpListener::bind(listen).map_err(|error| {
            Failure::text(FAILED, format!("the API cannot listen on {listen}: {error}"))
                .hint("is another mkube running?")
        })?;
        let (store, desk) = stores::open(&settings, &kinds).await?;
        let router =
            Arc::new(RestRouter::new(rest_options(&settings)?).map_err(|why| Failure::text(CONFIGURATION, why))?);
        let tarballs = image_source(&settings, router.clone(), extras.made_here.clone());
        let map = disk_map(&settings);
        let (log_router, log_directory): (Arc<RestRouter>, _) = (router.clone(), extras.log_directory.clone());
        let logs = move |device: mkube_messages::router::DeviceReader| {
            let find = row_finder(device);
            Arc::new(ContainerLogs::new(log_directory.clone(), log_router.clone(), find)) as Arc<dyn PodLogs>
        };
        let exec = DeviceExec::new(rest_options(&settings)?).map_err(|why| Failure::text(CONFIGURATION, why))?;
        let exec = move |device: mkube_messages::router::DeviceReader| {
            Arc::new(exec.finding(running_row(device))) as Arc<dyn ContainerExec>
        };
        let neighbours = Neighbours {
            router,
            store,
            disk: Arc::new(VolumeFiles::new(config_files(&settings), map.clone())),
            tarballs: Arc::new(tarballs),
            disk_map: map,
            logs: Arc::new(logs),
            exec: Arc::new(exec),
            ports: Arc::new(NetworkPorts),
            spdy: Arc::new(CommandStreams),
            nodes: Arc::new(HttpNodeApis::new(Patience::default()).map_err(|why| Failure::text(INTERNAL, why))?),
            prober: Arc::new(NetworkProber::new().map_err(|why| Failure::text(INTERNAL, why))?),
            resolver: Arc::new(NetworkResolver::default()),
            names: Arc::new(MicrodnsClient::new().map_err(|why| Failure::text(INTERNAL, why))?),
            bus: bus(&settings.nats, &format!("mkube {}", settings.node_name))?,
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
        };
        Ok(Self { settings, extras, boot_manifest, listener, neighbours, desk })
    }

    /// Starts a tree on this thread's actix system, perhaps as one of several controllers.
    pub fn start(&self, seat: Option<Seat>) -> Result<Controller, Failure> {
        let (settings, extras) = (&self.settings, &self.extras);
        let listener = self.listener.try_clone().map_err(|error| Failure::new(INTERNAL, error))?;
        let controller_settings = ControllerSettings {
            shared_store: settings.store.kind == StoreKind::Nats,
            event_ring: usize::try_from(settings.events.ring).unwrap_or(usize::MAX),
            http_limits: HttpLimits::of_this_process(),
            delivery: delivery_way(settings, &self.neighbours.disk_map),
            kinds: KindTable::builtin(),
            networks: settings.networks.iter().map(NetworkSettings::to_network).collect(),
            config_file: extras.config_file.clone(),
            namespace_mode: namespace_mode(settings),
            plan: plan_settings(settings),
            boot_manifest: self.boot_manifest.clone(),
            manifests: extras.manifests.clone(),
            listener: Some(listener),
            allowed_hosts: extras.allowed_hosts.clone(),
            allow_chaos: extras.allow_chaos,
            tick: TICK,
            gc_interval: settings.storage.gc_interval,
            rollouts: rollout_rules(&settings.rollouts),
            order: order_rules(&settings.lifecycle),
            restarts: RestartRules {
                most: settings.lifecycle.max_restarts,
                first_pause: settings.lifecycle.restart_cooldown,
            },
            watchdog_interval: settings.lifecycle.watchdog_interval,
            consistency: consistency_rules(&settings.consistency),
            notify_secret: Some(settings.rollouts.notify_secret.clone()).filter(|secret| !secret.is_empty()),
        };
        Ok(start_among(self.neighbours.clone(), controller_settings, seat))
    }
}

/// The bus, where there is an address for it. `name` is what the server lists us as.
pub fn bus(settings: &NatsSettings, name: &str) -> Result<Option<Arc<dyn Bus>>, Failure> {
    if settings.url.is_empty() {
        return Ok(None);
    }
    let bus = NatsBus::new(settings.clone(), name).map_err(|why| Failure::text(INTERNAL, why))?;
    Ok(Some(Arc::new(bus)))
}

/// Images from registries, for the device behind `router` unless the settings name another architecture.
fn image_source(settings: &Settings, router: Arc<dyn Router>, made_here: Vec<String>) -> ImageSource {
    let known: Arc<OnceLock<Architecture>> = Arc::default();
    if let Some(architecture) = settings.images.architecture {
        let _ = known.set(architecture);
    }
    let architecture: KnowArchitecture = Arc::new(move || {
        let (known, router) = (known.clone(), router.clone());
        Box::pin(async move {
            if let Some(architecture) = known.get() {
                return Some(*architecture);
            }
            // A device does not change what it is: it is asked once.
            let resource = router.resource().await.ok()?;
            // One with a name of its own for it is taken to be what this program was built for, as the Go controller did.
            let own = || Architecture::named(std::env::consts::ARCH);
            let architecture = Architecture::named(&resource.architecture).or_else(own)?;
            Some(*known.get_or_init(|| architecture))
        })
    });
    let options = PullOptions { made_here, ..PullOptions::of(settings) };
    ImageSource::start(PullParts { options, architecture, clock: Arc::new(SystemClock) })
}

/// The row of a container, for commands in it.
fn running_row(device: mkube_messages::router::DeviceReader) -> FindContainer {
    let find = row_finder(device);
    Arc::new(move |container| find(container).map(|row| RunningRow { id: row.id, running: row.running }))
}

fn rollout_rules(settings: &RolloutSettings) -> Rules {
    Rules { interval: settings.check_interval, settle: settings.settle, timeout: settings.timeout, ..Rules::default() }
}

fn order_rules(settings: &LifecycleSettings) -> mkube_order::Rules {
    let parallel = usize::try_from(settings.parallel_starts).unwrap_or(usize::MAX);
    mkube_order::Rules { parallel, deadline: settings.start_deadline }
}

fn consistency_rules(settings: &ConsistencySettings) -> mkube_consistency::Rules {
    mkube_consistency::Rules {
        interval: settings.interval,
        automatic: settings.repair == RepairMode::Auto,
        orphan_age: settings.orphan_age,
        max_share: settings.max_share,
        pause: settings.repair_pause,
        ..mkube_consistency::Rules::default()
    }
}

/// A device without a boot manifest is fine; one with a broken manifest is not.
fn boot_manifest(kinds: &KindTable, path: &Path) -> Result<Vec<Document>, Failure> {
    if path.exists() { manifests::read(kinds, path) } else { Ok(Vec::new()) }
}

fn rest_options(settings: &Settings) -> Result<RestOptions, Failure> {
    let device = &settings.routeros;
    let ca_pem = match &device.ca_cert {
        None => None,
        Some(path) => {
            let read = std::fs::read(path);
            Some(read.map_err(|error| {
                Failure::text(CONFIGURATION, format!("routeros.caCert {}: {error}", path.display()))
            })?)
        }
    };
    Ok(RestOptions {
        base_url: device.rest_url.clone(),
        user: device.user.clone(),
        password: Password::new(device.password.expose()),
        insecure: device.insecure_verify && ca_pem.is_none(),
        ca_pem,
        ..RestOptions::default()
    })
}

fn disk_map(settings: &Settings) -> DiskMap {
    let mounts = &settings.storage.persistent_mounts;
    let pairs = mounts.iter().map(|mount| (mount.container_path.clone().into(), mount.host_path.clone())).collect();
    let own = &settings.storage.self_root_dir;
    DiskMap::new(pairs, (!own.is_empty()).then(|| own.clone()))
}

/// How archives come to the device: by a disk that both see, if there is one and nothing else is asked for.
fn delivery_way(settings: &Settings, map: &DiskMap) -> DeliveryWay {
    let shared = match settings.images.delivery {
        Delivery::Shared => true,
        Delivery::Fetch => false,
        Delivery::Auto => map.covers(&settings.storage.tarball_cache),
    };
    if shared {
        return DeliveryWay::Shared;
    }
    let base = device_base(settings);
    let files = (!map.covers(&config_files(settings))).then(|| base.clone());
    DeliveryWay::Fetch { directory: format!("{base}/cache"), base_url: fetch_base_url(settings), files }
}

/// Directory of the device that holds `images`, `volumes` and `cache`.
fn device_base(settings: &Settings) -> String {
    let images_base = settings.storage.base_path.display().to_string();
    let trimmed = images_base.trim_end_matches('/');
    trimmed.strip_suffix("/images").unwrap_or(trimmed).to_owned()
}

/// The address under which the device reaches the API: the one it is told, the one we listen on, or the one our own container has
/// had since the first installers, the next after the gateway's.
fn fetch_base_url(settings: &Settings) -> String {
    let (told, listen) = (&settings.images.fetch_base_url, settings.api.listen);
    if !told.is_empty() {
        return told.clone();
    }
    if !listen.ip().is_unspecified() {
        return format!("http://{listen}");
    }
    let gateway = settings.default_network().gateway.to_string();
    let next =
        gateway.parse::<Ipv4Addr>().map(|address| Ipv4Addr::from(u32::from(address).wrapping_add(1)).to_string());
    format!("http://{}:{}", next.unwrap_or(gateway), listen.port())
}

/// Where files of ConfigMaps go: where the Go controller had them, if that directory is on the device's disk, else beside the
/// store.
fn config_files(settings: &Settings) -> PathBuf {
    let is_data = |path: &str| path.trim_end_matches('/') == "/data";
    if settings.storage.persistent_mounts.iter().any(|mount| is_data(&mount.container_path)) {
        return "/data/configmaps".into();
    }
    settings.store.path.parent().unwrap_or(Path::new("/")).join("configmaps")
}

/// Namespaces that say nothing have zones only where zones are made on demand.
fn namespace_mode(settings: &Settings) -> Option<Mode> {
    let (own, usual) = (&settings.namespace.default_mode, &settings.dzo.default_mode);
    let mode = Mode::named(own).or_else(|| Mode::named(usual)).unwrap_or(Mode::Nested);
    settings.dzo.enabled.then_some(mode)
}

fn plan_settings(settings: &Settings) -> PlanSettings {
    PlanSettings {
        volumes_base: format!("{}/volumes", device_base(settings)),
        host_ip: settings.default_network().gateway.to_string(),
        node_name: settings.node_name.clone(),
        images_base: settings.storage.base_path.display().to_string(),
    }
}
