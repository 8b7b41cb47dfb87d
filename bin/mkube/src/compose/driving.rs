//! Who is there only while this controller drives its device: all who decide, all they rest on, and whoever tells of it. They come
//! and go; the gates, the objects and the API stay, and with them every connection of a client.

use std::net::SocketAddr;
use std::time::Duration;

use mkube_supervision::{Child, ChildSpec, Intensity, OnLimit, SupervisorSpec, Tree};

use super::wires::Wires;
use super::{ControllerSettings, Neighbours, deciders, edges, keepers, supervisor, under};

/// The device's own actor, among the gates.
const ROUTER: &str = "mkube/gates/router";

/// What they are made from, any number of times one after the other.
pub struct Driving {
    pub wires: Wires,
    /// The device as this controller may use it, and the disk as the device has it.
    pub neighbours: Neighbours,
    pub settings: ControllerSettings,
    /// Where the API listens, if it does.
    pub api: Option<SocketAddr>,
}

impl Driving {
    /// The device's own actor.
    pub fn router(&self) -> ChildSpec {
        keepers::router(&self.wires, self.neighbours.router.clone(), self.settings.tick)
    }

    /// Floors 2 to 4, in order of starting.
    pub fn branches(&self) -> [SupervisorSpec; 3] {
        let Self { wires, neighbours, settings, api } = self;
        let exec = (neighbours.exec)(wires.device());
        let keepers = under(
            "keepers",
            vec![
                keepers::ipam(wires, settings.networks.clone(), settings.config_file.clone()),
                keepers::images(
                    wires,
                    neighbours.tarballs.clone(),
                    neighbours.disk_map.clone(),
                    settings.delivery.clone(),
                    settings.gc_interval,
                ),
                keepers::dns(wires, neighbours.names.clone(), settings.namespace_mode),
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
                deciders::roster(wires, neighbours.disk.clone(), settings.restarts),
                deciders::node(wires, *api),
                deciders::order(wires, settings.order),
                deciders::volumes(wires, neighbours.disk.clone()),
                deciders::boot(wires, settings.boot_manifest.clone(), settings.manifests.clone()),
                deciders::rollouts(wires, settings.rollouts),
                deciders::deployments(wires),
                deciders::jobs(wires),
                deciders::generated(wires, settings.shared_store),
                deciders::forwards(wires, neighbours.resolver.clone()),
                deciders::watchdog(wires, neighbours.prober.clone(), exec, settings.watchdog_interval),
                deciders::consistency(wires, settings.consistency),
            ],
        );
        [keepers, pods, deciders]
    }

    /// Who stands by tells nothing: whoever drives does.
    pub fn bus(&self) -> Option<ChildSpec> {
        let (bus, settings) = (self.neighbours.bus.clone()?, &self.settings);
        Some(edges::bus(&self.wires, bus, settings.notify_secret.clone(), settings.shared_store))
    }

    /// Starts them.
    pub async fn begin(&self, tree: &Tree, budget: Duration) {
        // Somebody else changed the device meanwhile. What was read of it may be old by now, and what it was told is not known.
        tree.stop_branch(ROUTER, budget).await;
        self.begin_router_anew(tree);
        let branches = self.branches().map(|branch| ("mkube", Child::Supervisor(branch), Some("edges")));
        let bus = self.bus().map(|bus| ("mkube/edges", Child::Actor(bus), None));
        for (parent, child, before) in branches.into_iter().chain(bus) {
            start(tree, parent, child, before);
        }
    }

    /// Stops them, and what they had begun to do on the device: whoever commands before whoever carries it out, all within `budget`.
    pub async fn end(&self, tree: &Tree, budget: Duration) {
        let all = ["mkube/edges/bus", "mkube/deciders", "mkube/pods", "mkube/keepers", ROUTER];
        tree.stop_branches(&all, budget).await;
        self.begin_router_anew(tree);
        self.wires.forget_who_drove(&self.settings.networks);
    }

    fn begin_router_anew(&self, tree: &Tree) {
        mkube_router::outdate(&self.wires.views.device.0);
        start(tree, "mkube/gates", Child::Actor(self.router()), Some("lease"));
    }
}

fn start(tree: &Tree, parent: &str, child: Child, before: Option<&str>) {
    if let Err(fault) = tree.start_branch(parent, child, before) {
        tracing::error!(%fault, "nothing is started any more");
    }
}
