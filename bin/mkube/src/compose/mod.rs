//! The whole controller on one page: who is started, in which order, under whom, and who talks to whom.

mod deciders;
mod driving;
mod edges;
mod keepers;
mod wires;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mkube_boot::Document;
use mkube_dns::Mode;
pub use mkube_edges::HttpLimits;
use mkube_edges::{ContainerUsage, FindUsage, HttpPassingOn, HttpStreams};
use mkube_lease::{GuardedRouter, LeaseDesk, Permit};
use mkube_messages::dns::NamesReader;
use mkube_messages::door::Door;
use mkube_messages::health::HealthReader;
use mkube_messages::images::ImagesReader;
use mkube_messages::ipam::NetworksReader;
use mkube_messages::objects::{ObjectsReader, WriteObject};
use mkube_messages::offers::Offers;
use mkube_messages::request::Floor;
use mkube_messages::rollouts::RolloutsReader;
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::bus::Bus;
use mkube_model::neighbours::container_exec::ContainerExec;
use mkube_model::neighbours::desired_store::DesiredStore;
use mkube_model::neighbours::name_servers::NameServers;
use mkube_model::neighbours::node_apis::NodeApis;
use mkube_model::neighbours::pod_logs::{ContainerRef, PodLogs};
use mkube_model::neighbours::pod_ports::PodPorts;
use mkube_model::neighbours::prober::Prober;
use mkube_model::neighbours::randomness::Randomness;
use mkube_model::neighbours::resolver::Resolver;
use mkube_model::neighbours::router::{ContainerRow, ContainerState, Router};
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::spdy_streams::SpdyStreams;
use mkube_model::neighbours::tarballs::TarballSource;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::network::Network;
use mkube_model::secret::Secret;
use mkube_pods::{PlacedFiles, PlanSettings, RestartRules};
use mkube_rollouts::Rules;
use mkube_shared_disk::{FindRow, RowState};
use mkube_supervision::{Child, ChildSpec, Intensity, OnLimit, RestartPace, Strategy, SupervisorSpec, Tree};

use driving::Driving;
use edges::HttpSettings;
use wires::{Wires, door};

/// Version of mkube.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Pause between two readings of a device on which nothing moves.
pub const TICK: Duration = Duration::from_secs(10);

/// Everything outside the controller.
#[derive(Clone)]
pub struct Neighbours {
    /// The device.
    pub router: Arc<dyn Router>,
    /// Where objects are durable.
    pub store: Arc<dyn DesiredStore>,
    /// Files the device sees.
    pub disk: Arc<dyn SharedDisk>,
    /// Image archives.
    pub tarballs: Arc<dyn TarballSource>,
    /// How the device spells paths of mkube.
    pub disk_map: DiskMap,
    /// Containers' output, given a look at the device.
    pub logs: Arc<dyn Fn(DeviceReader) -> Arc<dyn PodLogs> + Send + Sync>,
    /// Commands in containers, given a look at the device.
    pub exec: Arc<dyn Fn(DeviceReader) -> Arc<dyn ContainerExec> + Send + Sync>,
    /// Ports of pods.
    pub ports: Arc<dyn PodPorts>,
    /// Standard streams of clients that speak SPDY.
    pub spdy: Arc<dyn SpdyStreams>,
    /// The APIs of other nodes.
    pub nodes: Arc<dyn NodeApis>,
    /// Who asks containers how they are.
    pub prober: Arc<dyn Prober>,
    /// Who asks name servers for names.
    pub resolver: Arc<dyn Resolver>,
    /// Name servers.
    pub names: Arc<dyn NameServers>,
    /// The message bus, if there is one.
    pub bus: Option<Arc<dyn Bus>>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Where uids and made-up names come from.
    pub randomness: Arc<dyn Randomness>,
}

/// How archives come to the device.
#[derive(Clone)]
pub enum DeliveryWay {
    /// It sees the directory they lie in.
    Shared,
    /// It fetches them from the API.
    Fetch {
        /// Directory on the device, for archives alone.
        directory: String,
        /// Address under which the device reaches the API.
        base_url: String,
        /// Directory on the device for files of ConfigMaps and Secrets, where no disk is shared for them.
        files: Option<String>,
    },
}

/// What shapes the controller.
pub struct ControllerSettings {
    /// Whether controllers of other nodes use the same store.
    pub shared_store: bool,
    /// How archives come to the device.
    pub delivery: DeliveryWay,
    /// The kinds there are.
    pub kinds: KindTable,
    /// Networks; the first is the default.
    pub networks: Vec<Network>,
    /// Where these stand, for people.
    pub config_file: String,
    /// The mode of namespaces that say none; none: they have no zone of their own.
    pub namespace_mode: Option<Mode>,
    /// What shapes every pod.
    pub plan: PlanSettings,
    /// Documents brought in once in the life of the store.
    pub boot_manifest: Vec<Document>,
    /// Documents brought in at every start.
    pub manifests: Vec<Document>,
    /// The API's socket; none: nobody asks over HTTP.
    pub listener: Option<TcpListener>,
    /// See [`mkube_edges::HttpParts::allowed_hosts`].
    pub allowed_hosts: Option<Vec<String>>,
    /// Whether actors may be crashed on request.
    pub allow_chaos: bool,
    /// Pause between two readings of the device.
    pub tick: Duration,
    /// Pause between two collections of archives; zero: none.
    pub gc_interval: Duration,
    /// How rollouts go about it.
    pub rollouts: Rules,
    /// How the boot order is kept.
    pub order: mkube_order::Rules,
    /// How restarts of containers are paced and bounded.
    pub restarts: RestartRules,
    /// Longest pause between two looks of the watchdog.
    pub watchdog_interval: Duration,
    /// What notices of registries must be signed with, if anything.
    pub notify_secret: Option<Secret>,
    /// How repairs go about it.
    pub consistency: mkube_consistency::Rules,
    /// Events kept.
    pub event_ring: usize,
    /// How many clients of the API there is room for.
    pub http_limits: HttpLimits,
}

/// A controller that runs.
#[derive(Clone)]
pub struct Controller {
    /// The supervisor tree.
    pub tree: Tree,
    /// What is stored.
    pub objects: ObjectsReader,
    /// What the device looks like.
    pub device: DeviceReader,
    /// Which networks there are.
    pub networks: NetworksReader,
    /// The one way in, past HTTP.
    pub write: Door<WriteObject>,
    /// What is told of images.
    pub images: ImagesReader,
    /// What is told of rollouts.
    pub rollouts: RolloutsReader,
    /// What probes say.
    pub health: HealthReader,
    /// What is told of names.
    pub names: NamesReader,
    /// Files offered to the device.
    pub offers: Offers,
    driving: Arc<Driving>,
}

/// The place of a controller among those that share a device.
#[derive(Clone)]
pub struct Seat {
    /// Who drives is found out here.
    pub desk: Arc<LeaseDesk>,
    /// It drives. If not, it stands by: it serves reads and takes writes, and nothing in it decides anything.
    pub drives: bool,
}

/// Starts the controller on this thread's actix system. No other drives its device.
pub fn start(neighbours: Neighbours, settings: ControllerSettings) -> Controller {
    start_among(neighbours, settings, None)
}

/// Starts the controller on this thread's actix system, perhaps as one of several.
pub fn start_among(mut neighbours: Neighbours, mut settings: ControllerSettings, seat: Option<Seat>) -> Controller {
    let clock = neighbours.clock.clone();
    let passing_on = HttpPassingOn { node: settings.plan.node_name.clone(), apis: neighbours.nodes.clone() };
    let wires = Wires::new(settings.kinds.clone(), &settings.networks, settings.plan.clone(), clock.clone());
    // A device that shares no disk gets files one by one.
    if let DeliveryWay::Fetch { files: Some(base), .. } = &settings.delivery {
        neighbours.disk = Arc::new(PlacedFiles {
            base: base.clone(),
            place: door(Floor::Pod, &wires.ways.router),
            remove: door(Floor::Pod, &wires.ways.router),
        });
    }
    if let Some(seat) = &seat {
        neighbours.router = Arc::new(GuardedRouter::new(neighbours.router, Permit::new(seat.desk.clone())));
    }
    let api = settings.listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let http = settings.listener.take().map(|listener| HttpSettings {
        listener,
        logs: (neighbours.logs)(wires.device()),
        streams: HttpStreams {
            exec: (neighbours.exec)(wires.device()),
            ports: neighbours.ports.clone(),
            spdy: neighbours.spdy.clone(),
        },
        passing_on,
        notify_secret: settings.notify_secret.clone(),
        allow_chaos: settings.allow_chaos,
        allowed_hosts: settings.allowed_hosts.take(),
        lease: seat.as_ref().map(|seat| seat.desk.reader()),
        limits: settings.http_limits,
    });
    let driving = Driving { wires, neighbours, settings, api };
    let Driving { wires, neighbours, settings, .. } = &driving;
    let drives = seat.as_ref().is_none_or(|seat| seat.drives);
    let mut gates = vec![keepers::store(wires, neighbours.store.clone()), driving.router()];
    gates.extend(seat.map(|seat| keepers::lease(wires, seat.desk)));
    let randomness = neighbours.randomness.clone();
    let objects = keepers::objects(wires, randomness, settings.shared_store, settings.event_ring);
    let mut branches = vec![under("gates", gates), under("object-layer", vec![objects])];
    if drives {
        branches.extend(driving.branches());
    }
    let bus = driving.bus().filter(|_| drives);
    branches.push(under("edges", http.map(|http| edges::http(wires, http)).into_iter().chain(bus).collect()));
    let root = SupervisorSpec {
        intensity: Intensity { restarts: 3, within: Duration::from_secs(60) },
        ..supervisor("mkube", branches.into_iter().map(Child::Supervisor).collect())
    };
    let tree = mkube_supervision::start(root, clock);
    wires.tree.0.send_replace(Some(tree.clone()));
    Controller {
        tree,
        objects: wires.objects(),
        device: wires.device(),
        networks: wires.views.networks.1.clone(),
        write: door(Floor::Edge, &wires.ways.objects),
        images: wires.views.images.1.clone(),
        rollouts: wires.views.rollouts.1.clone(),
        health: wires.views.health.1.clone(),
        names: wires.views.names.1.clone(),
        offers: wires.offers.clone(),
        driving: Arc::new(driving),
    }
}

impl Controller {
    /// It drives from now on: whoever decides is started. Connections of clients stay.
    pub async fn drive(&self, budget: Duration) {
        self.driving.begin(&self.tree, budget).await;
    }

    /// It stands by from now on: whoever decides is stopped. Connections of clients stay.
    pub async fn stand_by(&self, budget: Duration) {
        self.driving.end(&self.tree, budget).await;
    }
}

fn supervisor(name: &str, children: Vec<Child>) -> SupervisorSpec {
    SupervisorSpec {
        name: name.to_owned(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 5, within: Duration::from_secs(60) },
        on_limit: OnLimit::Escalate,
        pace: RestartPace::default(),
        children,
    }
}

/// A supervisor of actors.
fn under(name: &str, actors: Vec<ChildSpec>) -> SupervisorSpec {
    supervisor(name, actors.into_iter().map(Child::Actor).collect())
}

/// What containers use, as the device tells.
fn usage_finder(device: DeviceReader) -> FindUsage {
    Arc::new(move |container: &ContainerRef| {
        let device = device.borrow();
        let row = row_of(&device, container).filter(|row| row.state == ContainerState::Running)?;
        Some(ContainerUsage { memory: row.memory_current?, cpu_percent: row.cpu_percent.unwrap_or(0.0) })
    })
}

/// The row of a container.
fn row_of(device: &DeviceSnapshot, container: &ContainerRef) -> Option<Arc<ContainerRow>> {
    let owner = container.owner();
    // A row of that name may be another pod's, whose mark says so.
    let ours = |row: &&Arc<ContainerRow>| mkube_pods::owner_in_mark(&row.comment).is_none_or(|of| of == owner);
    container.row_names().iter().find_map(|name| device.containers.get(name).filter(ours)).cloned()
}

/// Finds the row of a container whose output is asked for.
pub fn row_finder(device: DeviceReader) -> FindRow {
    Arc::new(move |container: &ContainerRef| {
        let row = row_of(&device.borrow(), container)?;
        Some(RowState {
            name: row.name.clone(),
            id: row.id.0.clone(),
            running: matches!(row.state, ContainerState::Running | ContainerState::Stopping),
        })
    })
}
