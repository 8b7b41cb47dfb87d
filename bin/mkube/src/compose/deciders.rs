//! Floors 3 and 4: the roster of pods, and who decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mkube_boot::{BootActor, BootParts, Document};
use mkube_consistency::{ConsistencyActor, ConsistencyDoors, ConsistencyParts};
use mkube_deployments::{DeploymentsActor, DeploymentsParts};
use mkube_forwards::{ForwardsActor, ForwardsParts};
use mkube_generated::{GeneratedActor, GeneratedParts};
use mkube_jobs::{JobsActor, JobsParts};
use mkube_messages::door::Doorway;
use mkube_messages::request::Floor;
use mkube_model::neighbours::container_exec::ContainerExec;
use mkube_model::neighbours::prober::Prober;
use mkube_model::neighbours::resolver::Resolver;
use mkube_model::neighbours::shared_disk::SharedDisk;
use mkube_order::{OrderActor, OrderParts};
use mkube_pods::{
    NodeActor, NodeParts, PodDoors, PodParts, PodsActor, PodsParts, RestartRules, Turns, VolumesActor, VolumesParts,
};
use mkube_rollouts::{RolloutActor, RolloutParts};
use mkube_supervision::{ChildSpec, RestartRule};
use mkube_watchdog::{DnsRules, WatchdogActor, WatchdogParts};

use super::VERSION;
use super::wires::{Wires, bell, bounds, door};

pub fn roster(wires: &Wires, disk: Arc<dyn SharedDisk>, restarts: RestartRules) -> ChildSpec {
    let pod = PodParts {
        doors: PodDoors {
            lease: door(Floor::Pod, &wires.ways.ipam),
            release: door(Floor::Pod, &wires.ways.ipam),
            withdraw: door(Floor::Pod, &wires.ways.dns),
            tarball: door(Floor::Pod, &wires.ways.images),
            ensure_veth: door(Floor::Pod, &wires.ways.router),
            remove_veth: door(Floor::Pod, &wires.ways.router),
            mounts: door(Floor::Pod, &wires.ways.router),
            envs: door(Floor::Pod, &wires.ways.router),
            container: door(Floor::Pod, &wires.ways.router),
            start: door(Floor::Pod, &wires.ways.router),
            stop: door(Floor::Pod, &wires.ways.router),
            remove: door(Floor::Pod, &wires.ways.router),
            mark: door(Floor::Pod, &wires.ways.router),
            on_boot: door(Floor::Pod, &wires.ways.router),
            log: door(Floor::Pod, &wires.ways.router),
            report: door(Floor::Pod, &wires.ways.objects),
            finish: door(Floor::Pod, &wires.ways.objects),
            write: door(Floor::Pod, &wires.ways.objects),
            event: bell(&wires.ways.objects),
        },
        objects: wires.objects(),
        device: wires.device(),
        leases: wires.views.leases.1.clone(),
        networks: wires.views.networks.1.clone(),
        gates: wires.views.gates.1.clone(),
        disk,
        clock: wires.clock.clone(),
        turns: Turns::default(),
        health: wires.views.health.1.clone(),
        restarts,
        settings: wires.plan.clone(),
        kind: wires.kind("Pod"),
        nodes: wires.kind("Node"),
        config_maps: wires.kind("ConfigMap"),
        secrets: wires.kind("Secret"),
    };
    let parts = PodsParts { pod: Arc::new(pod), tree: wires.tree.1.clone(), supervisor: "mkube/pods".to_owned() };
    let way = Doorway::new("roster", bounds::NOBODY_ASKS);
    ChildSpec::actor("roster", RestartRule::Permanent, way, move |_| PodsActor::new(parts.clone())).done()
}

pub fn node(wires: &Wires, api: Option<SocketAddr>) -> ChildSpec {
    let parts = NodeParts {
        kind: wires.kind("Node"),
        objects: wires.objects(),
        device: wires.device(),
        write: door(Floor::Decider, &wires.ways.objects),
        report: door(Floor::Decider, &wires.ways.objects),
        gates: wires.views.gates.1.clone(),
        event: bell(&wires.ways.objects),
        clock: wires.clock.clone(),
        settings: wires.plan.clone(),
        api,
        version: VERSION,
    };
    let way = Doorway::new("node", bounds::NOBODY_ASKS);
    ChildSpec::actor("node", RestartRule::Permanent, way, move |_| NodeActor::new(parts.clone())).done()
}

pub fn order(wires: &Wires, rules: mkube_order::Rules) -> ChildSpec {
    let parts = OrderParts {
        pods: wires.kind("Pod"),
        nodes: wires.kind("Node"),
        deployments: wires.kind("Deployment"),
        objects: wires.objects(),
        device: wires.device(),
        event: bell(&wires.ways.objects),
        gates: wires.views.gates.0.clone(),
        plan: wires.views.boot_plan.0.clone(),
        node_name: wires.plan.node_name.clone(),
        rules,
    };
    let way = Doorway::new("order", bounds::NOBODY_ASKS);
    ChildSpec::actor("order", RestartRule::Permanent, way, move |_| OrderActor::new(parts.clone())).done()
}

pub fn volumes(wires: &Wires, disk: Arc<dyn SharedDisk>) -> ChildSpec {
    let parts = VolumesParts {
        objects: wires.objects(),
        device: wires.device(),
        disk,
        publisher: wires.views.volumes.0.clone(),
        settings: wires.plan.clone(),
        kind: wires.kind("Pod"),
    };
    let way = Doorway::new("volumes", bounds::NOBODY_ASKS);
    ChildSpec::actor("volumes", RestartRule::Permanent, way, move |_| VolumesActor::new(parts.clone())).done()
}

pub fn boot(wires: &Wires, once: Vec<Document>, always: Vec<Document>) -> ChildSpec {
    let parts = BootParts { once, always, objects: wires.objects(), write: door(Floor::Decider, &wires.ways.objects) };
    let way = Doorway::new("boot", bounds::NOBODY_ASKS);
    ChildSpec::actor("boot", RestartRule::Permanent, way, move |_| BootActor::new(parts.clone())).done()
}

pub fn rollouts(wires: &Wires, rules: mkube_rollouts::Rules) -> ChildSpec {
    let parts = RolloutParts {
        pods: wires.kind("Pod"),
        secrets: wires.kind("Secret"),
        deployments: wires.kind("Deployment"),
        objects: wires.objects(),
        device: wires.device(),
        resolve: door(Floor::Decider, &wires.ways.images),
        fetch: door(Floor::Decider, &wires.ways.images),
        write: door(Floor::Decider, &wires.ways.objects),
        event: bell(&wires.ways.objects),
        publish: wires.views.rollouts.0.clone(),
        clock: wires.clock.clone(),
        rules,
    };
    let spec = ChildSpec::actor("rollouts", RestartRule::Permanent, wires.ways.rollouts.clone(), move |_| {
        RolloutActor::new(parts.clone())
    });
    mkube_rollouts::answers(spec).done()
}

pub fn deployments(wires: &Wires) -> ChildSpec {
    let parts = DeploymentsParts {
        kinds: wires.kinds.clone(),
        objects: wires.objects(),
        device: wires.device(),
        write: door(Floor::Decider, &wires.ways.objects),
        report: door(Floor::Decider, &wires.ways.objects),
        event: bell(&wires.ways.objects),
        clock: wires.clock.clone(),
    };
    let spec = ChildSpec::actor("deployments", RestartRule::Permanent, wires.ways.deployments.clone(), move |_| {
        DeploymentsActor::new(parts.clone())
    });
    mkube_deployments::answers(spec).done()
}

pub fn jobs(wires: &Wires) -> ChildSpec {
    let parts = JobsParts {
        jobs: wires.kind("Job"),
        cron_jobs: wires.kind("CronJob"),
        pods: wires.kind("Pod"),
        objects: wires.objects(),
        write: door(Floor::Decider, &wires.ways.objects),
        event: bell(&wires.ways.objects),
        clock: wires.clock.clone(),
    };
    let way = Doorway::new("jobs", bounds::NOBODY_ASKS);
    ChildSpec::actor("jobs", RestartRule::Permanent, way, move |_| JobsActor::new(parts.clone())).done()
}

pub fn generated(wires: &Wires, shared: bool) -> ChildSpec {
    let parts = GeneratedParts {
        config_maps: wires.kind("ConfigMap"),
        namespaces: wires.kind("Namespace"),
        objects: wires.objects(),
        networks: wires.views.networks.1.clone(),
        write: door(Floor::Decider, &wires.ways.objects),
        node_name: wires.plan.node_name.clone(),
        shared,
    };
    let way = Doorway::new("generated", bounds::NOBODY_ASKS);
    ChildSpec::actor("generated", RestartRule::Permanent, way, move |_| GeneratedActor::new(parts.clone())).done()
}

pub fn forwards(wires: &Wires, resolver: Arc<dyn Resolver>) -> ChildSpec {
    let parts = ForwardsParts {
        names: wires.views.names.1.clone(),
        resolver,
        publish: wires.views.forwards.0.clone(),
        clock: wires.clock.clone(),
    };
    let way = Doorway::new("forwards", bounds::NOBODY_ASKS);
    ChildSpec::actor("forwards", RestartRule::Permanent, way, move |_| ForwardsActor::new(parts.clone())).done()
}

pub fn watchdog(wires: &Wires, prober: Arc<dyn Prober>, exec: Arc<dyn ContainerExec>, interval: Duration) -> ChildSpec {
    let parts = WatchdogParts {
        pods: wires.kind("Pod"),
        objects: wires.objects(),
        device: wires.device(),
        networks: wires.views.networks.1.clone(),
        prober,
        exec,
        publish: wires.views.health.0.clone(),
        event: bell(&wires.ways.objects),
        interval,
        dns: DnsRules::default(),
    };
    let way = Doorway::new("watchdog", bounds::NOBODY_ASKS);
    ChildSpec::actor("watchdog", RestartRule::Permanent, way, move |_| WatchdogActor::new(parts.clone())).done()
}

pub fn consistency(wires: &Wires, rules: mkube_consistency::Rules) -> ChildSpec {
    let parts = ConsistencyParts {
        objects: wires.objects(),
        device: wires.device(),
        leases: wires.views.leases.1.clone(),
        names: wires.views.names.1.clone(),
        images: wires.views.images.1.clone(),
        rollouts: wires.views.rollouts.1.clone(),
        volumes: wires.views.volumes.1.clone(),
        doors: ConsistencyDoors {
            stop: door(Floor::Decider, &wires.ways.router),
            remove: door(Floor::Decider, &wires.ways.router),
            remove_veth: door(Floor::Decider, &wires.ways.router),
            mounts: door(Floor::Decider, &wires.ways.router),
            envs: door(Floor::Decider, &wires.ways.router),
            release: door(Floor::Decider, &wires.ways.ipam),
            write: door(Floor::Decider, &wires.ways.objects),
            event: bell(&wires.ways.objects),
        },
        publisher: wires.views.consistency.0.clone(),
        clock: wires.clock.clone(),
        volumes_base: wires.plan.volumes_base.clone(),
        node_name: wires.plan.node_name.clone(),
        rules,
    };
    let spec = ChildSpec::actor("consistency", RestartRule::Permanent, wires.ways.consistency.clone(), move |_| {
        ConsistencyActor::new(parts.clone())
    });
    mkube_consistency::answers(spec).done()
}
