//! Floors 0 to 2: gates, the one way in, keepers.

use std::sync::Arc;
use std::time::Duration;

use mkube_dns::{DnsActor, DnsParts, Mode};
use mkube_images::{Delivery, FetchParts, ImageActor, ImageParts};
use mkube_ipam::{IpamActor, IpamParts};
use mkube_lease::{LeaseActor, LeaseDesk, LeaseParts};
use mkube_messages::door::Doorway;
use mkube_messages::request::Floor;
use mkube_model::disk_map::DiskMap;
use mkube_model::neighbours::desired_store::DesiredStore;
use mkube_model::neighbours::name_servers::NameServers;
use mkube_model::neighbours::randomness::Randomness;
use mkube_model::neighbours::router::Router;
use mkube_model::neighbours::tarballs::TarballSource;
use mkube_model::network::Network;
use mkube_objects::{Deletions, ObjectsActor, ObjectsParts};
use mkube_router::{RouterActor, RouterParts};
use mkube_store::StoreActor;
use mkube_supervision::{ChildSpec, RestartRule};

use super::DeliveryWay;
use super::wires::{Wires, bell, bounds, door};

pub fn store(wires: &Wires, store: Arc<dyn DesiredStore>) -> ChildSpec {
    let (bell, older) = (wires.views.news.0.clone(), wires.views.older.0.clone());
    let spec = ChildSpec::actor("store", RestartRule::Permanent, wires.ways.store.clone(), move |_| {
        StoreActor::new(store.clone(), bell.clone(), older.clone())
    });
    mkube_store::answers(spec).done()
}

pub fn router(wires: &Wires, router: Arc<dyn Router>, tick: Duration) -> ChildSpec {
    let parts = RouterParts { router, picture: wires.views.device.0.clone(), clock: wires.clock.clone(), tick };
    let spec = ChildSpec::actor("router", RestartRule::Permanent, wires.ways.router.clone(), move |_| {
        RouterActor::new(parts.clone())
    });
    mkube_router::answers(spec).done()
}

pub fn lease(wires: &Wires, desk: Arc<LeaseDesk>) -> ChildSpec {
    let parts = LeaseParts { desk, device: wires.device() };
    let way = Doorway::new("lease", bounds::NOBODY_ASKS);
    ChildSpec::actor("lease", RestartRule::Permanent, way, move |_| LeaseActor::new(parts.clone())).done()
}

pub fn objects(wires: &Wires, randomness: Arc<dyn Randomness>, shared: bool, event_ring: usize) -> ChildSpec {
    let parts = ObjectsParts {
        kinds: wires.kinds.clone(),
        publisher: wires.views.objects.0.clone(),
        load: door(Floor::Objects, &wires.ways.store),
        commit: door(Floor::Objects, &wires.ways.store),
        news: door(Floor::Objects, &wires.ways.store),
        notices: wires.views.news.1.clone(),
        clock: wires.clock.clone(),
        randomness,
        node_name: wires.plan.node_name.clone(),
        shared,
        event_ring,
        deletions: Deletions::default(),
    };
    let spec = ChildSpec::actor("objects", RestartRule::Permanent, wires.ways.objects.clone(), move |_| {
        ObjectsActor::new(parts.clone())
    });
    mkube_objects::answers(spec).done()
}

pub fn ipam(wires: &Wires, networks: Vec<Network>, config_file: String) -> ChildSpec {
    let parts = IpamParts {
        networks: networks.into_iter().map(Arc::new).collect(),
        config_file,
        pods: wires.kind("Pod"),
        objects: wires.objects(),
        device: wires.device(),
        ensure_bridge: door(Floor::Keeper, &wires.ways.router),
        describe_networks: door(Floor::Keeper, &wires.ways.router),
        release_bridge: door(Floor::Keeper, &wires.ways.router),
        describe_neighbours: door(Floor::Keeper, &wires.ways.router),
        write: door(Floor::Keeper, &wires.ways.objects),
        report: door(Floor::Keeper, &wires.ways.objects),
        finish: door(Floor::Keeper, &wires.ways.objects),
        publisher: wires.views.leases.0.clone(),
        networks_publisher: wires.views.networks.0.clone(),
    };
    let spec = ChildSpec::actor("ipam", RestartRule::Permanent, wires.ways.ipam.clone(), move |_| {
        IpamActor::new(parts.clone())
    });
    mkube_ipam::answers(spec).done()
}

pub fn dns(wires: &Wires, servers: Arc<dyn NameServers>, mode: Option<Mode>) -> ChildSpec {
    let parts = DnsParts {
        pods: wires.kind("Pod"),
        namespaces: wires.kind("Namespace"),
        entries: wires.kind("DnsEntry"),
        objects: wires.objects(),
        networks: wires.views.networks.1.clone(),
        servers,
        write: door(Floor::Keeper, &wires.ways.objects),
        event: bell(&wires.ways.objects),
        publish: wires.views.names.0.clone(),
        clock: wires.clock.clone(),
        origin: format!("mkube/{}", wires.plan.node_name),
        mode,
    };
    let spec =
        ChildSpec::actor("dns", RestartRule::Permanent, wires.ways.dns.clone(), move |_| DnsActor::new(parts.clone()));
    mkube_dns::answers(spec).done()
}

pub fn images(
    wires: &Wires,
    source: Arc<dyn TarballSource>,
    map: DiskMap,
    way: DeliveryWay,
    gc_interval: Duration,
) -> ChildSpec {
    let delivery = match way {
        DeliveryWay::Shared => Delivery::Shared(map.clone()),
        DeliveryWay::Fetch { directory, base_url, .. } => Delivery::fetch(FetchParts {
            directory,
            base_url,
            offers: wires.offers.clone(),
            describe: door(Floor::Keeper, &wires.ways.router),
            room: door(Floor::Keeper, &wires.ways.router),
            fetch: door(Floor::Keeper, &wires.ways.router),
            rename: door(Floor::Keeper, &wires.ways.router),
            remove: door(Floor::Keeper, &wires.ways.router),
        }),
    };
    let parts = ImageParts {
        source,
        map,
        delivery,
        publisher: wires.views.images.0.clone(),
        objects: wires.objects(),
        device: wires.device(),
        pods: wires.kind("Pod"),
        gc_interval,
    };
    let spec = ChildSpec::actor("images", RestartRule::Permanent, wires.ways.images.clone(), move |_| {
        ImageActor::new(parts.clone())
    });
    mkube_images::answers(spec).done()
}
