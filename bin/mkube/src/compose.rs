//! The whole controller on one page: who is started, in which order, under whom, and who talks to whom.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mkube_boot::{BootActor, BootParts, Document};
use mkube_consistency::{ConsistencyActor, ConsistencyDoors, ConsistencyParts};
use mkube_deployments::{DeploymentsActor, DeploymentsParts};
use mkube_edges::{Figures, HttpConsistency, HttpEdge, HttpImages, HttpParts};
use mkube_images::{Delivery, FetchParts, ImageActor, ImageParts};
use mkube_ipam::{IpamActor, IpamParts};
use mkube_jobs::{JobsActor, JobsParts};
use mkube_messages::consistency::consistency_view;
use mkube_messages::door::{Door, Doorway};
use mkube_messages::gates::{boot_plan, gates_view};
use mkube_messages::health::{HealthReader, health_view};
use mkube_messages::images::{ImagesReader, images_view};
use mkube_messages::ipam::leases_view;
use mkube_messages::objects::{ObjectsReader, objects_view};
use mkube_messages::offers::Offers;
use mkube_messages::request::{Event, Floor, Request};
use mkube_messages::rollouts::{RolloutsReader, rollouts_view};
use mkube_messages::router::DeviceReader;
use mkube_messages::volumes::volumes_view;
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::{Kind, KindId, KindTable};
use mkube_model::neighbours::desired_store::DesiredStore;
use mkube_model::neighbours::pod_logs::{ContainerRef, PodLogs};
use mkube_model::neighbours::prober::Prober;
use mkube_model::neighbours::router::{ContainerRow, ContainerState, Router};
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::tarballs::TarballSource;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::network::Network;
use mkube_model::secret::Secret;
use mkube_objects::{ObjectsActor, ObjectsParts};
use mkube_order::{OrderActor, OrderParts};
use mkube_pods::{
    NodeActor, NodeParts, PlacedFiles, PlanSettings, PodDoors, PodParts, PodsActor, PodsParts, RestartRules, Turns,
    VolumesActor, VolumesParts,
};
use mkube_rollouts::{RolloutActor, RolloutParts, Rules};
use mkube_router::{RouterActor, RouterParts};
use mkube_shared_disk::{FindRow, RowState};
use mkube_store::StoreActor;
use mkube_supervision::{
    Child, ChildSpec, Intensity, OnLimit, RestartPace, RestartRule, Strategy, SupervisorSpec, Tree,
};
use mkube_watchdog::{WatchdogActor, WatchdogParts};
use tokio::sync::watch;

use crate::readiness;

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
    // Pods to be evicted; clients repeat what is refused.
    pub const DEPLOYMENTS: usize = 64;
    // Repairs are asked for by people, and one is carried out at a time.
    pub const CONSISTENCY: usize = 8;
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
    /// Who asks containers how they are.
    pub prober: Arc<dyn Prober>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
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
    /// The API's socket.
    pub listener: TcpListener,
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
    /// What is told of images.
    pub images: ImagesReader,
    /// What is told of rollouts.
    pub rollouts: RolloutsReader,
    /// What probes say.
    pub health: HealthReader,
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
    let Neighbours { router, store, disk, tarballs, disk_map, logs, prober, clock } = neighbours;
    let kinds = settings.kinds;
    let (pods_kind, maps_kind, nodes_kind) = (kind(&kinds, "Pod"), kind(&kinds, "ConfigMap"), kind(&kinds, "Node"));
    let (publisher, objects) = objects_view(kinds.clone());
    let (picture, device) = mkube_router::device_picture();
    let (images_publisher, images) = images_view();
    let (rollouts_publisher, rollouts) = rollouts_view();
    let (gates_publisher, gates) = gates_view();
    let (plan_publisher, boot_plan) = boot_plan();
    let (health_publisher, probed) = health_view();
    let (leases_publisher, leases) = leases_view();
    let (consistency_publisher, consistency) = consistency_view();
    let (tree_known, tree) = watch::channel(None);
    let plan = Arc::new(settings.plan);

    let store_way = Doorway::new("store", bounds::STORE);
    let router_way = Doorway::new("router", bounds::ROUTER);
    let objects_way = Doorway::new("objects", bounds::OBJECTS);
    let ipam_way = Doorway::new("ipam", bounds::IPAM);
    let images_way = Doorway::new("images", bounds::IMAGES);
    let rollouts_way = Doorway::new("rollouts", bounds::ROLLOUTS);
    let deployments_way = Doorway::new("deployments", bounds::DEPLOYMENTS);
    let consistency_way = Doorway::new("consistency", bounds::CONSISTENCY);

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
            publisher: leases_publisher,
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
            on_boot: door(Floor::Pod, &router_way),
            log: door(Floor::Pod, &router_way),
            report: door(Floor::Pod, &objects_way),
            finish: door(Floor::Pod, &objects_way),
            write: door(Floor::Pod, &objects_way),
            event: bell(&objects_way),
        },
        objects: objects.clone(),
        device: device.clone(),
        gates: gates.clone(),
        disk,
        clock: clock.clone(),
        turns: Turns::default(),
        health: probed.clone(),
        restarts: settings.restarts,
        settings: plan.clone(),
        kind: pods_kind,
        nodes: nodes_kind,
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
            gates,
            event: bell(&objects_way),
            clock: clock.clone(),
            settings: plan.clone(),
            version: VERSION,
        };
        let way = Doorway::new("node", bounds::NOBODY_ASKS);
        ChildSpec::actor("node", RestartRule::Permanent, way, move |_| NodeActor::new(parts.clone())).done()
    };
    let order_actor = {
        let parts = OrderParts {
            pods: pods_kind,
            nodes: nodes_kind,
            deployments: kind(&kinds, "Deployment"),
            objects: objects.clone(),
            device: device.clone(),
            event: bell(&objects_way),
            gates: gates_publisher,
            plan: plan_publisher,
            node_name: plan.node_name.clone(),
            rules: settings.order,
        };
        let way = Doorway::new("order", bounds::NOBODY_ASKS);
        ChildSpec::actor("order", RestartRule::Permanent, way, move |_| OrderActor::new(parts.clone())).done()
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
            deployments: kind(&kinds, "Deployment"),
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
    let consistency_actor = {
        let parts = ConsistencyParts {
            objects: objects.clone(),
            device: device.clone(),
            leases,
            images: images.clone(),
            rollouts: rollouts.clone(),
            volumes: volumes.clone(),
            doors: ConsistencyDoors {
                stop: door(Floor::Decider, &router_way),
                remove: door(Floor::Decider, &router_way),
                remove_veth: door(Floor::Decider, &router_way),
                mounts: door(Floor::Decider, &router_way),
                envs: door(Floor::Decider, &router_way),
                release: door(Floor::Decider, &ipam_way),
                write: door(Floor::Decider, &objects_way),
                event: bell(&objects_way),
            },
            publisher: consistency_publisher,
            clock: clock.clone(),
            volumes_base: plan.volumes_base.clone(),
            node_name: plan.node_name.clone(),
            rules: settings.consistency,
        };
        let spec = ChildSpec::actor("consistency", RestartRule::Permanent, consistency_way.clone(), move |_| {
            ConsistencyActor::new(parts.clone())
        });
        mkube_consistency::answers(spec).done()
    };

    let deployments_actor = {
        let parts = DeploymentsParts {
            kinds: kinds.clone(),
            objects: objects.clone(),
            device: device.clone(),
            write: door(Floor::Decider, &objects_way),
            report: door(Floor::Decider, &objects_way),
            event: bell(&objects_way),
            clock: clock.clone(),
        };
        let spec = ChildSpec::actor("deployments", RestartRule::Permanent, deployments_way.clone(), move |_| {
            DeploymentsActor::new(parts.clone())
        });
        mkube_deployments::answers(spec).done()
    };
    let jobs_actor = {
        let parts = JobsParts {
            jobs: kind(&kinds, "Job"),
            cron_jobs: kind(&kinds, "CronJob"),
            pods: pods_kind,
            objects: objects.clone(),
            write: door(Floor::Decider, &objects_way),
            event: bell(&objects_way),
            clock: clock.clone(),
        };
        let way = Doorway::new("jobs", bounds::NOBODY_ASKS);
        ChildSpec::actor("jobs", RestartRule::Permanent, way, move |_| JobsActor::new(parts.clone())).done()
    };
    let watchdog_actor = {
        let parts = WatchdogParts {
            pods: pods_kind,
            objects: objects.clone(),
            device: device.clone(),
            prober,
            publish: health_publisher,
            event: bell(&objects_way),
            interval: settings.watchdog_interval,
        };
        let way = Doorway::new("watchdog", bounds::NOBODY_ASKS);
        ChildSpec::actor("watchdog", RestartRule::Permanent, way, move |_| WatchdogActor::new(parts.clone())).done()
    };

    // Floor 5: edges.
    let http_actor = {
        let parts = HttpParts {
            listener: Arc::new(settings.listener),
            objects: objects.clone(),
            write: door(Floor::Edge, &objects_way),
            evict: door(Floor::Edge, &deployments_way),
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
            boot_plan,
            consistency: HttpConsistency { report: consistency, repair: door(Floor::Edge, &consistency_way) },
            offers: offers.clone(),
            health: readiness::checks(objects.clone(), device.clone()),
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
    };

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
                    Child::Actor(order_actor),
                    Child::Actor(volumes_actor),
                    Child::Actor(boot_actor),
                    Child::Actor(rollout_actor),
                    Child::Actor(deployments_actor),
                    Child::Actor(jobs_actor),
                    Child::Actor(watchdog_actor),
                    Child::Actor(consistency_actor),
                ],
            )),
            Child::Supervisor(supervisor("edges", one, 5, vec![Child::Actor(http_actor)])),
        ],
    );
    let tree = mkube_supervision::start(root, clock);
    tree_known.send_replace(Some(tree.clone()));
    Controller { tree, objects, device, images, rollouts, health: probed, offers }
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
