//! Who is there only while this controller drives its device: all who decide, all they rest on, and whoever tells of it. They come
//! and go; the gates, the objects and the API stay, and with them every connection of a client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mkube_boot::Document;
use mkube_dns::Mode;
use mkube_model::disk_map::DiskMap;
use mkube_model::neighbours::bus::Bus;
use mkube_model::neighbours::container_exec::ContainerExec;
use mkube_model::neighbours::name_servers::NameServers;
use mkube_model::neighbours::prober::Prober;
use mkube_model::neighbours::resolver::Resolver;
use mkube_model::neighbours::router::Router;
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_model::neighbours::tarballs::TarballSource;
use mkube_model::network::Network;
use mkube_model::secret::Secret;
use mkube_pods::RestartRules;
use mkube_rollouts::Rules;
use mkube_supervision::{Child, ChildSpec, Intensity, OnLimit, SupervisorSpec, Tree};

use super::wires::Wires;
use super::{DeliveryWay, deciders, edges, keepers, supervisor, under};

/// What they are made from, any number of times one after the other.
pub struct Driving {
    pub wires: Wires,
    pub router: Arc<dyn Router>,
    pub disk: Arc<dyn SharedDisk>,
    pub tarballs: Arc<dyn TarballSource>,
    pub disk_map: DiskMap,
    pub exec: Arc<dyn ContainerExec>,
    pub prober: Arc<dyn Prober>,
    pub resolver: Arc<dyn Resolver>,
    pub names: Arc<dyn NameServers>,
    pub bus: Option<Arc<dyn Bus>>,
    pub shared_store: bool,
    pub delivery: DeliveryWay,
    pub networks: Vec<Network>,
    pub config_file: String,
    pub namespace_mode: Option<Mode>,
    pub boot_manifest: Vec<Document>,
    pub manifests: Vec<Document>,
    pub api: Option<SocketAddr>,
    pub tick: Duration,
    pub gc_interval: Duration,
    pub rollouts: Rules,
    pub order: mkube_order::Rules,
    pub restarts: RestartRules,
    pub watchdog_interval: Duration,
    pub notify_secret: Option<Secret>,
    pub consistency: mkube_consistency::Rules,
}

impl Driving {
    /// The device's own actor.
    pub fn router(&self) -> ChildSpec {
        keepers::router(&self.wires, self.router.clone(), self.tick)
    }

    /// Floors 2 to 4, in order of starting.
    pub fn branches(&self) -> [SupervisorSpec; 3] {
        let wires = &self.wires;
        let keepers = under(
            "keepers",
            vec![
                keepers::ipam(wires, self.networks.clone(), self.config_file.clone()),
                keepers::images(
                    wires,
                    self.tarballs.clone(),
                    self.disk_map.clone(),
                    self.delivery.clone(),
                    self.gc_interval,
                ),
                keepers::dns(wires, self.names.clone(), self.namespace_mode),
            ],
        );
        let pods = SupervisorSpec {
            intensity: Intensity { restarts: 5, within: Duration::from_secs(300) },
            on_limit: OnLimit::HoldChild,
            ..supervisor("pods", vec![])
        };
        let deciders = under(
            "deciders",
            vec![
                deciders::roster(wires, self.disk.clone(), self.restarts),
                deciders::node(wires, self.api),
                deciders::order(wires, self.order),
                deciders::volumes(wires, self.disk.clone()),
                deciders::boot(wires, self.boot_manifest.clone(), self.manifests.clone()),
                deciders::rollouts(wires, self.rollouts),
                deciders::deployments(wires),
                deciders::jobs(wires),
                deciders::generated(wires, self.shared_store),
                deciders::forwards(wires, self.resolver.clone()),
                deciders::watchdog(wires, self.prober.clone(), self.exec.clone(), self.watchdog_interval),
                deciders::consistency(wires, self.consistency),
            ],
        );
        [keepers, pods, deciders]
    }

    /// Who stands by tells nothing: whoever drives does.
    pub fn bus(&self) -> Option<ChildSpec> {
        let bus = self.bus.clone()?;
        Some(edges::bus(&self.wires, bus, self.notify_secret.clone(), self.shared_store))
    }

    /// Starts them.
    pub async fn begin(&self, tree: &Tree, budget: Duration) {
        // Somebody else changed the device meanwhile. What was read of it may be old by now, and what it was told is not known.
        self.begin_router_anew(tree, budget).await;
        let branches = self.branches().map(|branch| ("mkube", Child::Supervisor(branch), Some("edges")));
        let bus = self.bus().map(|bus| ("mkube/edges", Child::Actor(bus), None));
        for (parent, child, before) in branches.into_iter().chain(bus) {
            if let Err(fault) = tree.start_branch(parent, child, before) {
                tracing::error!(%fault, "nothing is started any more");
            }
        }
    }

    /// Stops them, and what they had begun to do on the device.
    pub async fn end(&self, tree: &Tree, budget: Duration) {
        for path in ["mkube/edges/bus", "mkube/deciders", "mkube/pods", "mkube/keepers"] {
            tree.stop_branch(path, budget).await;
        }
        self.begin_router_anew(tree, budget).await;
        self.wires.forget_who_drove(&self.networks);
    }

    async fn begin_router_anew(&self, tree: &Tree, budget: Duration) {
        tree.stop_branch("mkube/gates/router", budget).await;
        mkube_router::outdate(&self.wires.views.device.0);
        if let Err(fault) = tree.start_branch("mkube/gates", Child::Actor(self.router()), Some("lease")) {
            tracing::error!(%fault, "nothing is started any more");
        }
    }
}
