//! Floor 5: who lets the world in.

use std::net::TcpListener;
use std::sync::Arc;

use mkube_bus::{BusParts, NatsEdge};
use mkube_edges::{
    Figures, HttpConsistency, HttpEdge, HttpImages, HttpLimits, HttpNames, HttpNetworks, HttpParts, HttpPassingOn,
    HttpStore, HttpStreams, HttpUsage, WrittenLists,
};
use mkube_messages::door::Doorway;
use mkube_messages::lease::LeaseReader;
use mkube_messages::request::Floor;
use mkube_model::neighbours::bus::Bus;
use mkube_model::neighbours::pod_logs::PodLogs;
use mkube_model::secret::Secret;
use mkube_openapi::OpenApi;
use mkube_supervision::{ChildSpec, RestartRule};

use super::VERSION;
use super::wires::{Wires, bell, bounds, door};
use crate::readiness;

/// What the HTTP edge is told of the outside.
pub struct HttpSettings {
    pub listener: TcpListener,
    pub logs: Arc<dyn PodLogs>,
    pub streams: HttpStreams,
    pub passing_on: HttpPassingOn,
    pub notify_secret: Option<Secret>,
    pub allow_chaos: bool,
    pub allowed_hosts: Option<Vec<String>>,
    pub lease: Option<LeaseReader>,
    pub limits: HttpLimits,
}

pub fn http(wires: &Wires, settings: HttpSettings) -> ChildSpec {
    let parts = HttpParts {
        listener: Arc::new(settings.listener),
        objects: wires.objects().everywhere(),
        write: door(Floor::Edge, &wires.ways.objects),
        evict: door(Floor::Edge, &wires.ways.deployments),
        tree: wires.tree.1.clone(),
        lease: settings.lease.clone(),
        logs: settings.logs,
        streams: settings.streams,
        passing_on: settings.passing_on,
        usage: HttpUsage { device: wires.device(), find: super::usage_finder(wires.device()) },
        images: HttpImages {
            cache: wires.views.images.1.clone(),
            rollouts: wires.views.rollouts.1.clone(),
            pushed: bell(&wires.ways.rollouts),
            redeploy: door(Floor::Edge, &wires.ways.rollouts),
            notify_secret: settings.notify_secret,
        },
        networks: HttpNetworks { networks: wires.views.networks.1.clone(), leases: wires.views.leases.1.clone() },
        volumes: wires.views.volumes.1.clone(),
        boot_plan: wires.views.boot_plan.1.clone(),
        consistency: HttpConsistency {
            report: wires.views.consistency.1.clone(),
            repair: door(Floor::Edge, &wires.ways.consistency),
        },
        store: HttpStore { older: wires.views.older.1.clone(), accept: door(Floor::Edge, &wires.ways.store) },
        bus: wires.views.bus.1.clone(),
        names: HttpNames { names: wires.views.names.1.clone(), forwards: wires.views.forwards.1.clone() },
        openapi: Arc::new(OpenApi::new(wires.objects().kinds().clone())),
        offers: wires.offers.clone(),
        health: readiness::checks(wires.objects(), wires.device(), settings.lease),
        clock: wires.clock.clone(),
        allow_chaos: settings.allow_chaos,
        allowed_hosts: settings.allowed_hosts,
        version: VERSION,
        limits: settings.limits,
        lists: WrittenLists::default(),
        figures: Arc::new(Figures::default()),
    };
    let way = Doorway::new("http", bounds::NOBODY_ASKS);
    ChildSpec::actor("http", RestartRule::Permanent, way, move |incarnation| HttpEdge::new(parts.clone(), incarnation))
        .done()
}

/// What goes out on the bus is what is at home on this node, or everybody's.
pub fn bus(wires: &Wires, bus: Arc<dyn Bus>, notify_secret: Option<Secret>, shared: bool) -> ChildSpec {
    let parts = BusParts {
        bus,
        objects: wires.objects(),
        pushed: bell(&wires.ways.rollouts),
        notify_secret,
        shared_by: shared.then(|| wires.plan.node_name.clone()),
        publish: wires.views.bus.0.clone(),
    };
    let way = Doorway::new("bus", bounds::NOBODY_ASKS);
    ChildSpec::actor("bus", RestartRule::Permanent, way, move |_| NatsEdge::new(parts.clone())).done()
}
