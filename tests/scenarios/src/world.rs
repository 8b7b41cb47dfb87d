//! Starting and stopping everything.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mkube::compose::{Controller, ControllerSettings, DeliveryWay, HttpLimits, Neighbours, start};
use mkube_desired_store::EmbeddedStore;
use mkube_fakes::FakeStreams;
use mkube_image_pull::convert::{BlobSource, BlobTrust, LayerBlob, Limits, Progress, SourceImage, convert};
use mkube_image_pull::{ImageSource, KnowArchitecture, PullOptions, PullParts};
use mkube_messages::objects::{ObjectKey, ObjectsView};
use mkube_messages::router::DeviceReader;
use mkube_microdns_client::MicrodnsClient;
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::KindTable;
use mkube_model::metadata;
use mkube_model::neighbours::bus::Bus;
use mkube_model::neighbours::desired_store::DesiredStore;
use mkube_model::neighbours::pod_logs::PodLogs;
use mkube_model::neighbours::randomness::SystemRandomness;
use mkube_model::neighbours::tarballs::TarballSource;
use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::network::Network;
use mkube_model::secret::Secret;
use mkube_model::settings::{self, Architecture, DnsSettings, ImageRegistry, Overrides};
use mkube_node_apis::{HttpNodeApis, Patience};
use mkube_pods::{PlanSettings, RestartRules};
use mkube_probing::{NetworkProber, NetworkResolver};
use mkube_rollouts::Rules;
use mkube_routeros::{Password, RestOptions, RestRouter};
use mkube_routeros_host::{EngineKind, HostOptions, RunningHost, Timings};
use mkube_shared_disk::{ContainerLogs, VolumeFiles};
use tempfile::TempDir;

use crate::api::Api;

/// Longest time a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Time the tree may take to stop.
const STOPPING: Duration = Duration::from_secs(10);
const PASSWORD: &str = "secret";

/// What differs between worlds.
#[derive(Clone)]
pub struct Setup {
    /// Kinds of the API.
    pub kinds: KindTable,
    /// Refuse foreign hosts and web pages, as `mkube dev` does.
    pub guarded: bool,
    /// Pause between two readings of the device.
    pub tick: Duration,
    /// How rollouts go about it.
    pub rollouts: Rules,
    /// How the boot order is kept.
    pub order: mkube_order::Rules,
    /// How restarts are paced and bounded.
    pub restarts: RestartRules,
    /// What push notices must be signed with.
    pub notify_secret: Option<Secret>,
    /// How repairs go about it.
    pub consistency: mkube_consistency::Rules,
    /// Where archives come from, if not from a cache that holds `images`.
    pub tarballs: Option<Arc<dyn TarballSource>>,
    /// Names of images whose archives are in the cache.
    pub images: Vec<&'static str>,
    /// Objects brought in at every start.
    pub manifests: Vec<serde_json::Value>,
    /// Objects brought in once in the life of the store.
    pub boot_manifest: Vec<serde_json::Value>,
    /// Where objects are kept, if not in a file.
    pub store: Option<Arc<dyn DesiredStore>>,
    /// Name of its node among those that share its store; none: it has its store for itself.
    pub node: Option<&'static str>,
    /// REST address of the server of the names of its network, zone `gt.lo`; none: it has no names.
    pub name_server: Option<String>,
    /// The message bus, if there is one.
    pub bus: Option<Arc<dyn Bus>>,
    /// Events kept.
    pub event_ring: usize,
    /// How many clients there is room for.
    pub limits: HttpLimits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            kinds: KindTable::builtin(),
            guarded: false,
            tick: mkube::compose::TICK,
            rollouts: Rules::default(),
            order: mkube_order::Rules::default(),
            restarts: RestartRules::default(),
            notify_secret: None,
            consistency: mkube_consistency::Rules::default(),
            tarballs: None,
            images: vec!["hello:latest", "other:1"],
            manifests: Vec::new(),
            boot_manifest: Vec::new(),
            store: None,
            node: None,
            name_server: None,
            bus: None,
            event_ring: 256,
            limits: HttpLimits::of_this_process(),
        }
    }
}

/// A running mkube with everything around it.
pub struct World {
    directory: TempDir,
    host: RunningHost,
    controller: Controller,
    api: Api,
}

impl World {
    /// The usual one; returns when pods can be created.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(Setup::default()).await
    }

    /// Another one.
    pub async fn with(setup: Setup) -> anyhow::Result<Self> {
        // A second call means that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir()?;
        let disk = directory.path().join("host/disk1");
        let cache = disk.join("cache");
        std::fs::create_dir_all(&cache)?;
        for image in &setup.images {
            archive(&cache.join(format!("{}.tar", mkube_model::names::archive_name(image))), image)?;
        }
        let host = mkube_routeros_host::start(HostOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_listen: None,
            data_dir: directory.path().join("host"),
            engine: EngineKind::Simulated,
            ros_version: "7.23.2".to_owned(),
            user: "mkube".to_owned(),
            password: PASSWORD.to_owned(),
            latency: Duration::ZERO,
            faults: Vec::new(),
            timings: Timings {
                extract: Duration::from_millis(20),
                start: Duration::from_millis(10),
                stop: Duration::from_millis(10),
                remove: Duration::from_millis(10),
                ..Timings::default()
            },
        })
        .await
        .context("the host does not start")?;
        let router = Arc::new(
            RestRouter::new(RestOptions {
                base_url: format!("http://{}/rest", host.address()),
                user: "mkube".to_owned(),
                password: Password::new(PASSWORD),
                ..RestOptions::default()
            })
            .map_err(anyhow::Error::msg)?,
        );
        let store = match setup.store {
            Some(store) => store,
            None => Arc::new(EmbeddedStore::open(directory.path().join("state.redb")).await?),
        };
        let map = DiskMap::new(vec![(disk, "disk1".to_owned())], None);
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let neighbours = Neighbours {
            router: router.clone(),
            store,
            disk: Arc::new(VolumeFiles::new(directory.path().join("configmaps"), map.clone())),
            tarballs: match setup.tarballs {
                Some(tarballs) => tarballs,
                None => Arc::new(image_source(cache, &setup.images)?),
            },
            disk_map: map,
            logs: Arc::new(move |device| container_logs(&router, device)),
            exec: Arc::new(|_| Arc::new(FakeStreams)),
            ports: Arc::new(FakeStreams),
            spdy: Arc::new(FakeStreams),
            nodes: Arc::new(HttpNodeApis::new(Patience::default()).map_err(anyhow::Error::msg)?),
            prober: Arc::new(NetworkProber::new().map_err(anyhow::Error::msg)?),
            resolver: Arc::new(NetworkResolver::default()),
            names: Arc::new(MicrodnsClient::new().map_err(anyhow::Error::msg)?),
            bus: setup.bus,
            clock: Arc::new(SystemClock),
            randomness: Arc::new(SystemRandomness),
        };
        let own = [address.to_string(), format!("localhost:{}", address.port())];
        let manifests = mkube_boot::read(&setup.kinds, setup.manifests)?;
        let boot_manifest = mkube_boot::read(&setup.kinds, setup.boot_manifest)?;
        let controller = start(
            neighbours,
            ControllerSettings {
                shared_store: setup.node.is_some(),
                delivery: DeliveryWay::Shared,
                kinds: setup.kinds,
                networks: vec![network(setup.name_server)?],
                config_file: "/etc/mkube/config.yaml".to_owned(),
                namespace_mode: None,
                plan: PlanSettings {
                    volumes_base: "/disk1/volumes".to_owned(),
                    host_ip: "10.90.0.1".to_owned(),
                    node_name: setup.node.unwrap_or("mkube").to_owned(),
                    images_base: "/disk1/images".to_owned(),
                },
                boot_manifest,
                manifests,
                listener: Some(listener),
                allowed_hosts: setup.guarded.then(|| own.to_vec()),
                allow_chaos: true,
                tick: setup.tick,
                gc_interval: Duration::from_secs(1800),
                rollouts: setup.rollouts,
                order: setup.order,
                restarts: setup.restarts,
                watchdog_interval: Duration::from_secs(5),
                notify_secret: setup.notify_secret,
                consistency: setup.consistency,
                event_ring: setup.event_ring,
                http_limits: setup.limits,
            },
        );
        let world = Self { directory, host, controller, api: Api::new(address)? };
        world.until("the permanent namespaces", |view| view.loaded && has_namespace(view, "default")).await?;
        let mut device = world.controller.device.clone();
        tokio::time::timeout(PATIENCE, device.wait_for(|picture| picture.complete))
            .await
            .context("the device was never read")??;
        let has_node =
            |view: &ObjectsView| view.kinds.iter().any(|(id, kind)| id.plural == "nodes" && !kind.objects.is_empty());
        world.until("the node", has_node).await?;
        Ok(world)
    }

    /// The client of its API.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The controller itself.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Where the host's REST interface is.
    pub fn host_address(&self) -> SocketAddr {
        self.host.address()
    }

    /// Directory of everything this world keeps.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// What is published now.
    pub fn view(&self) -> Arc<ObjectsView> {
        self.controller.objects.view()
    }

    /// Waits until `test` holds for what is published.
    pub async fn until(&self, what: &str, test: impl Fn(&ObjectsView) -> bool) -> anyhow::Result<()> {
        let mut notices = self.controller.objects.notices();
        let waiting = async {
            loop {
                notices.mark_unchanged();
                if test(&self.view()) {
                    return Ok(());
                }
                notices.changed().await?;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.with_context(|| format!("waited in vain for {what}"))?
    }

    /// Waits until a pod of namespace `default` is in this phase.
    pub async fn until_pod(&self, name: &str, phase: &str) -> anyhow::Result<()> {
        let id = self.controller.objects.kinds().named("Pod").context("there are pods")?.id();
        let key = ObjectKey::new("default", name);
        self.until(&format!("pod {name} in phase {phase}"), |view| {
            view.get(&id, &key).is_some_and(|pod| pod.value()["status"]["phase"] == phase)
        })
        .await
    }

    /// What users have stored: each object's key and revision. What changes by itself does not count: nodes, events, the status of
    /// networks, the configuration that is made of them.
    pub fn stored(&self) -> Vec<(String, u64)> {
        let view = self.view();
        let mut all: Vec<(String, u64)> = view
            .kinds
            .iter()
            .filter(|(id, _)| id.plural != "nodes" && id.plural != "events")
            .flat_map(|(id, kind)| {
                kind.objects.iter().map(|(key, object)| {
                    let generation = || metadata::generation(&object.value());
                    let number = if id.plural == "networks" { generation() } else { object.revision };
                    (format!("{}/{key}", id.plural), number)
                })
            })
            .filter(|(key, _)| key != "configmaps/infra/mkube-console-config")
            .collect();
        all.sort();
        all
    }

    /// Takes everything down: first the controller, then the host.
    pub async fn stop(self) {
        self.controller.tree.stop(STOPPING).await;
        self.host.stop().await;
    }
}

fn has_namespace(view: &ObjectsView, name: &str) -> bool {
    view.kinds
        .iter()
        .any(|(id, kind)| id.plural == "namespaces" && kind.objects.contains_key(&ObjectKey::new("", name)))
}

fn network(name_server: Option<String>) -> anyhow::Result<Network> {
    let names = name_server.map(|endpoint| DnsSettings {
        zone: "gt.lo".to_owned(),
        server: Some(IpAddr::from([10, 90, 0, 1])),
        endpoint,
        ..DnsSettings::default()
    });
    let plain = Network::plain("gt", "10.90.0.0/24".parse()?, "bridge-gt");
    Ok(Network { managed: true, names: names.unwrap_or_default(), ..plain })
}

fn container_logs(router: &Arc<RestRouter>, device: DeviceReader) -> Arc<dyn PodLogs> {
    Arc::new(ContainerLogs::new(None, router.clone(), mkube::compose::row_finder(device)))
}

/// An archive of nothing: the simulated engine looks at the size only.
fn archive(path: &Path, name: &str) -> anyhow::Result<()> {
    let (nothing, digest) = ([0; 1024], format!("sha256:{NOTHING}"));
    let layer = LayerBlob {
        digest: digest.clone(),
        source: BlobSource::Stream(Box::new(move || Ok(Box::new(std::io::Cursor::new(nothing))))),
        trust: BlobTrust::Verified,
    };
    let config = serde_json::json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}});
    let image = SourceImage { name: name.to_owned(), config: config.to_string().into_bytes(), layers: vec![layer] };
    convert(&image, path, &Limits::default(), &Progress::default())?;
    Ok(())
}

/// Digest of a tar without entries.
const NOTHING: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// Images of this world are in its cache; no registry can be reached from here.
fn image_source(cache: PathBuf, images: &[&str]) -> anyhow::Result<ImageSource> {
    let (settings, _) = settings::check(serde_json::Value::Null, &|_| None, Overrides::none())
        .map_err(|problems| anyhow::anyhow!("the defaults are not fine: {problems:?}"))?;
    let out_of_reach = ImageRegistry {
        host: "docker.io".to_owned(),
        plain_http: false,
        ca_file: Some(cache.join("no-authority.crt")),
        user: String::new(),
        password: Secret::default(),
        mirrors: Vec::new(),
    };
    let made_here = images.iter().map(|image| (*image).to_owned()).collect();
    let options = PullOptions { cache, registries: vec![out_of_reach], made_here, ..PullOptions::of(&settings) };
    let architecture: KnowArchitecture = Arc::new(|| Box::pin(async { Some(Architecture::Amd64) }));
    Ok(ImageSource::start(PullParts { options, architecture, clock: Arc::new(SystemClock) }))
}
