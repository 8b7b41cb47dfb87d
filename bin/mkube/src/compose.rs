//! The whole controller on one page: who is started, in which order, under whom, and who talks to whom.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mkube_boot::{BootActor, BootParts, Document};
use mkube_edges::{Check, Figures, HealthChecks, HttpEdge, HttpImages, HttpParts};
use mkube_images::{Delivery, FetchParts, ImageActor, ImageParts};
use mkube_ipam::{IpamActor, IpamParts};
use mkube_messages::door::{Door, Doorway};
use mkube_messages::images::{ImagesReader, images_view};
use mkube_messages::objects::{ObjectsReader, WriteObject, objects_view};
use mkube_messages::offers::Offers;
use mkube_messages::request::{Event, Floor, Request};
use mkube_messages::rollouts::{RolloutsReader, rollouts_view};
use mkube_messages::router::DeviceReader;
use mkube_messages::volumes::volumes_view;
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::{Kind, KindId, KindTable};
use mkube_model::neighbours::desired_store::DesiredStore;
use mkube_model::neighbours::pod_logs::{ContainerRef, PodLogs};
use mkube_model::neighbours::randomness::Randomness;
use mkube_model::neighbours::router::{ContainerRow, ContainerState, Router};
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::tarballs::TarballSource;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::network::Network;
use mkube_model::secret::Secret;
use mkube_objects::{ObjectsActor, ObjectsParts};
use mkube_pods::{
    NodeActor, NodeParts, PlacedFiles, PlanSettings, PodDoors, PodParts, PodsActor, PodsParts, Turns, VolumesActor,
    VolumesParts,
};
use mkube_rollouts::{RolloutActor, RolloutParts, Rules};
use mkube_router::{RouterActor, RouterParts};
use mkube_shared_disk::{FindRow, RowState};
use mkube_store::StoreActor;
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use tokio::sync::watch;

/// Version of mkube.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Pause between two readings of a device on which nothing moves.
pub const TICK: Duration = Duration::from_secs(10);
/// Messages an actor may have waiting; each bound is what its work can stand, not more.
mod bounds {
    pub const STORE: usize = 4;
    pub const ROUTER: usize = 32;
    pub const OBJECTS: usize = 1024;
    pub const IPAM: usize = 32;
    // Each pod waits for at most one archive, and a slow one must not keep the others from asking.
    pub const IMAGES: usize = 1024;
    // Notices of registries; one that is refused is told again.
    pub const ROLLOUTS: usize = 64;
    pub const NOBODY_ASKS: usize = 1;
}

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
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
    /// Where uids and made-up names come from.
    pub randomness: Arc<dyn Randomness>,
}

/// How archives come to the device.
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
    /// How archives come to the device.
    pub delivery: DeliveryWay,
    /// The kinds there are.
    pub kinds: KindTable,
    /// Networks; the first is the default.
    pub networks: Vec<Network>,
    /// What shapes every pod.
    pub plan: PlanSettings,
    /// Documents brought in once in the life of the store.
    pub boot_manifest: Vec<Document>,
    /// Documents brought in at every start.
    pub manifests: Vec<Document>,
    /// The API's socket; none: nobody asks over HTTP.
    pub listener: Option<TcpListener>,
    /// See [`HttpParts::allowed_hosts`].
    pub allowed_hosts: Option<Vec<String>>,
    /// Whether actors may be crashed on request.
    pub allow_chaos: bool,
    /// Pause between two readings of the device.
    pub tick: Duration,
    /// Pause between two collections of archives; zero: none.
    pub gc_interval: Duration,
    /// How rollouts go about it.
    pub rollouts: Rules,
    /// What notices of registries must be signed with, if anything.
    pub notify_secret: Option<Secret>,
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
    /// The one way in, past HTTP.
    pub write: Door<WriteObject>,
    /// What is told of images.
    pub images: ImagesReader,
    /// What is told of rollouts.
    pub rollouts: RolloutsReader,
    /// Files offered to the device.
    pub offers: Offers,
}

/// A door for somebody on `floor`.
///
/// # Panics
/// When it leads up or sideways: a wiring mistake, found by whoever starts the tree first.
fn door<M: Request>(floor: Floor, doorway: &Doorway) -> Door<M> {
    assert!(M::FLOOR < floor, "{floor:?} may not ask {} on {:?}", doorway.name(), M::FLOOR);
    doorway.door()
}

/// A door for telling; events travel in any direction.
fn bell<M: Event>(doorway: &Doorway) -> Door<M> {
    doorway.door()
}

fn kind(kinds: &KindTable, name: &str) -> KindId {
    kinds.named(name).map(Kind::id).unwrap_or_else(|| panic!("{name} is one of the builtin kinds"))
}

fn supervisor(name: &str, strategy: Strategy, restarts: usize, children: Vec<Child>) -> SupervisorSpec {
    SupervisorSpec {
        name: name.to_owned(),
        strategy,
        intensity: Intensity { restarts, within: Duration::from_secs(60) },
        on_limit: OnLimit::Escalate,
        pace: RestartPace::default(),
        children,
    }
}

/// Starts the controller on this thread's actix system.
pub fn start(neighbours: Neighbours, settings: ControllerSettings) -> Controller {
    let Neighbours { router, store, disk, tarballs, disk_map, logs, clock, randomness } = neighbours;
    let kinds = settings.kinds;
    let (pods_kind, maps_kind, nodes_kind) = (kind(&kinds, "Pod"), kind(&kinds, "ConfigMap"), kind(&kinds, "Node"));
    let (publisher, objects) = objects_view(kinds.clone());
    let (picture, device) = mkube_router::device_picture();
    let (images_publisher, images) = images_view();
    let (rollouts_publisher, rollouts) = rollouts_view();
    let (tree_known, tree) = watch::channel(None);
    let plan = Arc::new(settings.plan);

    let store_way = Doorway::new("store", bounds::STORE);
    let router_way = Doorway::new("router", bounds::ROUTER);
    let objects_way = Doorway::new("objects", bounds::OBJECTS);
    let ipam_way = Doorway::new("ipam", bounds::IPAM);
    let images_way = Doorway::new("images", bounds::IMAGES);
    let rollouts_way = Doorway::new("rollouts", bounds::ROLLOUTS);

    // A device that shares no disk gets files one by one.
    let disk: Arc<dyn SharedDisk> = match &settings.delivery {
        DeliveryWay::Fetch { files: Some(base), .. } => Arc::new(PlacedFiles {
            base: base.clone(),
            place: door(Floor::Pod, &router_way),
            remove: door(Floor::Pod, &router_way),
        }),
        _ => disk,
    };
    let volumes_disk = disk.clone();

    // Floor 0: gates.
    let store_actor = {
        let store = store.clone();
        let spec = ChildSpec::actor("store", RestartRule::Permanent, store_way.clone(), move |_| {
            StoreActor::new(store.clone())
        });
        mkube_store::answers(spec).done()
    };
    let router_actor = {
        let parts = RouterParts { router, picture: Arc::clone(&picture), tick: settings.tick };
        let spec = ChildSpec::actor("router", RestartRule::Permanent, router_way.clone(), move |_| {
            RouterActor::new(parts.clone())
        });
        mkube_router::answers(spec).done()
    };

    // Floor 1: the one way in.
    let objects_actor = {
        let parts = ObjectsParts {
            kinds: kinds.clone(),
            publisher,
            load: door(Floor::Objects, &store_way),
            commit: door(Floor::Objects, &store_way),
            clock: clock.clone(),
            randomness,
            node_name: plan.node_name.clone(),
        };
        let spec = ChildSpec::actor("objects", RestartRule::Permanent, objects_way.clone(), move |_| {
            ObjectsActor::new(parts.clone())
        });
        mkube_objects::answers(spec).done()
    };

    // Floor 2: keepers.
    let ipam_actor = {
        let parts = IpamParts {
            networks: settings.networks,
            pods: pods_kind,
            objects: objects.clone(),
            device: device.clone(),
            ensure_bridge: door(Floor::Keeper, &router_way),
            describe_networks: door(Floor::Keeper, &router_way),
        };
        let spec =
            ChildSpec::actor("ipam", RestartRule::Permanent, ipam_way.clone(), move |_| IpamActor::new(parts.clone()));
        mkube_ipam::answers(spec).done()
    };
    let offers = Offers::default();
    let image_actor = {
        let delivery = match settings.delivery {
            DeliveryWay::Shared => Delivery::Shared(disk_map.clone()),
            DeliveryWay::Fetch { directory, base_url, .. } => Delivery::fetch(FetchParts {
                directory,
                base_url,
                offers: offers.clone(),
                describe: door(Floor::Keeper, &router_way),
                room: door(Floor::Keeper, &router_way),
                fetch: door(Floor::Keeper, &router_way),
                rename: door(Floor::Keeper, &router_way),
                remove: door(Floor::Keeper, &router_way),
            }),
        };
        let parts = ImageParts {
            source: tarballs,
            map: disk_map,
            delivery,
            publisher: images_publisher,
            objects: objects.clone(),
            device: device.clone(),
            pods: pods_kind,
            gc_interval: settings.gc_interval,
        };
        let spec = ChildSpec::actor("images", RestartRule::Permanent, images_way.clone(), move |_| {
            ImageActor::new(parts.clone())
        });
        mkube_images::answers(spec).done()
    };

    // Floor 3: pods.
    let pod = PodParts {
        doors: PodDoors {
            lease: door(Floor::Pod, &ipam_way),
            release: door(Floor::Pod, &ipam_way),
            tarball: door(Floor::Pod, &images_way),
            ensure_veth: door(Floor::Pod, &router_way),
            remove_veth: door(Floor::Pod, &router_way),
            mounts: door(Floor::Pod, &router_way),
            envs: door(Floor::Pod, &router_way),
            container: door(Floor::Pod, &router_way),
            start: door(Floor::Pod, &router_way),
            stop: door(Floor::Pod, &router_way),
            remove: door(Floor::Pod, &router_way),
            mark: door(Floor::Pod, &router_way),
            log: door(Floor::Pod, &router_way),
            report: door(Floor::Pod, &objects_way),
            finish: door(Floor::Pod, &objects_way),
            write: door(Floor::Pod, &objects_way),
            event: bell(&objects_way),
        },
        objects: objects.clone(),
        device: device.clone(),
        disk,
        clock: clock.clone(),
        turns: Turns::default(),
        settings: plan.clone(),
        kind: pods_kind,
        config_maps: maps_kind,
        secrets: kind(&kinds, "Secret"),
    };
    let pods_actor = {
        let parts = PodsParts { pod: Arc::new(pod), tree: tree.clone(), supervisor: "mkube/pods".to_owned() };
        let way = Doorway::new("roster", bounds::NOBODY_ASKS);
        ChildSpec::actor("roster", RestartRule::Permanent, way, move |_| PodsActor::new(parts.clone())).done()
    };

    // Floor 4: deciders.
    let node_actor = {
        let parts = NodeParts {
            kind: nodes_kind,
            objects: objects.clone(),
            device: device.clone(),
            write: door(Floor::Decider, &objects_way),
            report: door(Floor::Decider, &objects_way),
            clock: clock.clone(),
            settings: plan.clone(),
            version: VERSION,
        };
        let way = Doorway::new("node", bounds::NOBODY_ASKS);
        ChildSpec::actor("node", RestartRule::Permanent, way, move |_| NodeActor::new(parts.clone())).done()
    };
    let (volumes_publisher, volumes) = volumes_view();
    let volumes_actor = {
        let parts = VolumesParts {
            objects: objects.clone(),
            device: device.clone(),
            disk: volumes_disk,
            publisher: volumes_publisher,
            settings: plan.clone(),
            kind: pods_kind,
        };
        let way = Doorway::new("volumes", bounds::NOBODY_ASKS);
        ChildSpec::actor("volumes", RestartRule::Permanent, way, move |_| VolumesActor::new(parts.clone())).done()
    };
    let boot_actor = {
        let parts = BootParts {
            once: settings.boot_manifest,
            always: settings.manifests,
            objects: objects.clone(),
            write: door(Floor::Decider, &objects_way),
        };
        let way = Doorway::new("boot", bounds::NOBODY_ASKS);
        ChildSpec::actor("boot", RestartRule::Permanent, way, move |_| BootActor::new(parts.clone())).done()
    };
    let rollout_actor = {
        let parts = RolloutParts {
            pods: pods_kind,
            secrets: kind(&kinds, "Secret"),
            objects: objects.clone(),
            device: device.clone(),
            resolve: door(Floor::Decider, &images_way),
            fetch: door(Floor::Decider, &images_way),
            write: door(Floor::Decider, &objects_way),
            event: bell(&objects_way),
            publish: rollouts_publisher,
            clock: clock.clone(),
            rules: settings.rollouts,
        };
        let spec = ChildSpec::actor("rollouts", RestartRule::Permanent, rollouts_way.clone(), move |_| {
            RolloutActor::new(parts.clone())
        });
        mkube_rollouts::answers(spec).done()
    };

    // Floor 5: edges.
    let write = door(Floor::Edge, &objects_way);
    let http_actor = settings.listener.map(|listener| {
        let parts = HttpParts {
            listener: Arc::new(listener),
            objects: objects.clone(),
            write: write.clone(),
            tree,
            logs: logs(device.clone()),
            images: HttpImages {
                cache: images.clone(),
                rollouts: rollouts.clone(),
                pushed: bell(&rollouts_way),
                redeploy: door(Floor::Edge, &rollouts_way),
                notify_secret: settings.notify_secret,
            },
            volumes,
            offers: offers.clone(),
            health: health(objects.clone(), device.clone()),
            clock: clock.clone(),
            allow_chaos: settings.allow_chaos,
            allowed_hosts: settings.allowed_hosts,
            version: VERSION,
            figures: Arc::new(Figures::default()),
        };
        let way = Doorway::new("http", bounds::NOBODY_ASKS);
        ChildSpec::actor("http", RestartRule::Permanent, way, move |incarnation| {
            HttpEdge::new(parts.clone(), incarnation)
        })
        .done()
    });

    let one = Strategy::OneForOne;
    let root = supervisor(
        "mkube",
        one,
        3,
        vec![
            Child::Supervisor(supervisor("gates", one, 5, vec![Child::Actor(store_actor), Child::Actor(router_actor)])),
            Child::Supervisor(supervisor("object-layer", one, 5, vec![Child::Actor(objects_actor)])),
            Child::Supervisor(supervisor("keepers", one, 5, vec![Child::Actor(ipam_actor), Child::Actor(image_actor)])),
            Child::Supervisor(SupervisorSpec {
                intensity: Intensity { restarts: 5, within: Duration::from_secs(300) },
                on_limit: OnLimit::HoldChild,
                ..supervisor("pods", one, 5, vec![])
            }),
            Child::Supervisor(supervisor(
                "deciders",
                one,
                5,
                vec![
                    Child::Actor(pods_actor),
                    Child::Actor(node_actor),
                    Child::Actor(volumes_actor),
                    Child::Actor(boot_actor),
                    Child::Actor(rollout_actor),
                ],
            )),
            Child::Supervisor(supervisor("edges", one, 5, http_actor.map(Child::Actor).into_iter().collect())),
        ],
    );
    let tree = mkube_supervision::start(root, clock);
    tree_known.send_replace(Some(tree.clone()));
    Controller { tree, objects, device, write, images, rollouts, offers }
}

/// Finds the row of a container whose output is asked for.
pub fn row_finder(device: DeviceReader) -> FindRow {
    Arc::new(move |container: &ContainerRef| {
        let device = device.borrow();
        let owner = container.owner();
        // A row of that name may be another pod's, whose mark says so.
        let ours = |row: &&Arc<ContainerRow>| mkube_pods::owner_in_mark(&row.comment).is_none_or(|of| of == owner);
        let row = container.row_names().iter().find_map(|name| device.containers.get(name).filter(ours))?;
        Some(RowState {
            name: row.name.clone(),
            id: row.id.0.clone(),
            running: matches!(row.state, ContainerState::Running | ContainerState::Stopping),
        })
    })
}

/// What `/readyz` looks at.
fn health(objects: ObjectsReader, device: DeviceReader) -> HealthChecks {
    let store = move || {
        let view = objects.view();
        if view.loaded && view.not_loaded_because.is_none() {
            return Ok(());
        }
        Err(view.not_loaded_because.clone().unwrap_or_else(|| "the store is being read".into()))
    };
    let reach = move || {
        let picture = device.borrow();
        if picture.reachable && picture.complete {
            return Ok(());
        }
        Err(picture.fault.clone().unwrap_or_else(|| "the device is being read".into()))
    };
    HealthChecks(vec![Check { name: "store", look: Arc::new(store) }, Check { name: "device", look: Arc::new(reach) }])
}
