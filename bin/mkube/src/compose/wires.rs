//! What everybody is wired from: the ways in, and what is published.

use std::sync::Arc;

use mkube_messages::bus::{BusPublisher, BusReader, bus_view};
use mkube_messages::consistency::{ConsistencyPublisher, ConsistencyReader, consistency_view};
use mkube_messages::dns::{NamesPublisher, NamesReader, names_view};
use mkube_messages::door::{Door, Doorway};
use mkube_messages::forwards::{ForwardsPublisher, ForwardsReader, forwards_view};
use mkube_messages::gates::{BootPlanPublisher, BootPlanReader, GatesPublisher, GatesReader, boot_plan, gates_view};
use mkube_messages::health::{HealthPublisher, HealthReader, health_view};
use mkube_messages::images::{ImagesPublisher, ImagesReader, images_view};
use mkube_messages::ipam::{
    LeasesPublisher, LeasesReader, NetworksPublisher, NetworksReader, leases_view, networks_view,
};
use mkube_messages::objects::{ObjectsPublisher, ObjectsReader, objects_view};
use mkube_messages::offers::Offers;
use mkube_messages::request::{Event, Floor, Request};
use mkube_messages::rollouts::{RolloutsPublisher, RolloutsReader, rollouts_view};
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_messages::store::{NewsBell, NewsNotices, OlderPublisher, OlderReader, news_bell, older_view};
use mkube_messages::volumes::{VolumesPublisher, VolumesReader, volumes_view};
use mkube_messages::watch;
use mkube_model::kinds::{Kind, KindId, KindTable};
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_model::network::Network;
use mkube_pods::PlanSettings;
use mkube_supervision::Tree;

/// Messages an actor may have waiting; each bound is what its work can stand, not more.
pub mod bounds {
    pub const STORE: usize = 4;
    pub const ROUTER: usize = 32;
    pub const OBJECTS: usize = 1024;
    pub const IPAM: usize = 32;
    // Each pod waits for at most one archive, and a slow one must not keep the others from asking.
    pub const IMAGES: usize = 1024;
    // Each pod waits for at most one answer, and a slow name server must not keep the others from asking.
    pub const DNS: usize = 1024;
    // Notices of registries; one that is refused is told again.
    pub const ROLLOUTS: usize = 64;
    // Pods to be evicted; clients repeat what is refused.
    pub const DEPLOYMENTS: usize = 64;
    // Repairs are asked for by people, and one is carried out at a time.
    pub const CONSISTENCY: usize = 8;
    pub const NOBODY_ASKS: usize = 1;
}

/// The ways in, one for each actor that is asked or told.
pub struct Ways {
    pub store: Doorway,
    pub router: Doorway,
    pub objects: Doorway,
    pub ipam: Doorway,
    pub images: Doorway,
    pub dns: Doorway,
    pub rollouts: Doorway,
    pub deployments: Doorway,
    pub consistency: Doorway,
}

/// What is published: each the end that writes, which outlives its actor, and one that reads.
pub struct Views {
    pub news: (NewsBell, NewsNotices),
    pub older: (OlderPublisher, OlderReader),
    pub objects: (ObjectsPublisher, ObjectsReader),
    pub device: (Arc<watch::Sender<Arc<DeviceSnapshot>>>, DeviceReader),
    pub images: (ImagesPublisher, ImagesReader),
    pub rollouts: (RolloutsPublisher, RolloutsReader),
    pub gates: (GatesPublisher, GatesReader),
    pub boot_plan: (BootPlanPublisher, BootPlanReader),
    pub health: (HealthPublisher, HealthReader),
    pub leases: (LeasesPublisher, LeasesReader),
    pub networks: (NetworksPublisher, NetworksReader),
    pub names: (NamesPublisher, NamesReader),
    pub forwards: (ForwardsPublisher, ForwardsReader),
    pub volumes: (VolumesPublisher, VolumesReader),
    pub consistency: (ConsistencyPublisher, ConsistencyReader),
    pub bus: (BusPublisher, BusReader),
}

/// Everything actors are wired from.
pub struct Wires {
    pub kinds: KindTable,
    pub ways: Ways,
    pub views: Views,
    pub offers: Offers,
    pub plan: Arc<PlanSettings>,
    pub clock: Arc<dyn WallClock>,
    pub tree: (watch::Sender<Option<Tree>>, watch::Receiver<Option<Tree>>),
}

impl Wires {
    pub fn new(kinds: KindTable, networks: &[Network], plan: PlanSettings, clock: Arc<dyn WallClock>) -> Self {
        Self {
            ways: Ways {
                store: Doorway::new("store", bounds::STORE),
                router: Doorway::new("router", bounds::ROUTER),
                objects: Doorway::new("objects", bounds::OBJECTS),
                ipam: Doorway::new("ipam", bounds::IPAM),
                images: Doorway::new("images", bounds::IMAGES),
                dns: Doorway::new("dns", bounds::DNS),
                rollouts: Doorway::new("rollouts", bounds::ROLLOUTS),
                deployments: Doorway::new("deployments", bounds::DEPLOYMENTS),
                consistency: Doorway::new("consistency", bounds::CONSISTENCY),
            },
            views: Views {
                news: news_bell(),
                older: older_view(),
                objects: objects_view(kinds.clone()),
                device: mkube_router::device_picture(),
                images: images_view(),
                rollouts: rollouts_view(),
                gates: gates_view(),
                boot_plan: boot_plan(),
                health: health_view(),
                leases: leases_view(),
                networks: networks_view(networks),
                names: names_view(),
                forwards: forwards_view(),
                volumes: volumes_view(),
                consistency: consistency_view(),
                bus: bus_view(),
            },
            kinds,
            offers: Offers::default(),
            plan: Arc::new(plan),
            clock,
            tree: watch::channel(None),
        }
    }

    /// The key of a builtin kind.
    pub fn kind(&self, name: &str) -> KindId {
        self.kinds.named(name).map(Kind::id).unwrap_or_else(|| panic!("{name} is one of the builtin kinds"))
    }

    pub fn objects(&self) -> ObjectsReader {
        self.views.objects.1.clone()
    }

    pub fn device(&self) -> DeviceReader {
        self.views.device.1.clone()
    }

    /// What whoever drives publishes is as it was in the beginning: it is known where it is driven now.
    pub fn forget_who_drove(&self, networks: &[Network]) {
        fn reset<T: Clone>(of: &watch::Sender<T>, (first, _): (Arc<watch::Sender<T>>, watch::Receiver<T>)) {
            let first = first.borrow().clone();
            of.send_replace(first);
        }
        let views = &self.views;
        reset(&views.images.0, images_view());
        reset(&views.rollouts.0, rollouts_view());
        reset(&views.gates.0, gates_view());
        reset(&views.boot_plan.0, boot_plan());
        reset(&views.health.0, health_view());
        reset(&views.leases.0, leases_view());
        reset(&views.networks.0, networks_view(networks));
        reset(&views.names.0, names_view());
        reset(&views.forwards.0, forwards_view());
        reset(&views.volumes.0, volumes_view());
        reset(&views.consistency.0, consistency_view());
        reset(&views.bus.0, bus_view());
    }
}

/// A door for somebody on `floor`.
///
/// # Panics
/// When it leads up or sideways: a wiring mistake, found by whoever starts the tree first.
pub fn door<M: Request>(floor: Floor, doorway: &Doorway) -> Door<M> {
    assert!(M::FLOOR < floor, "{floor:?} may not ask {} on {:?}", doorway.name(), M::FLOOR);
    doorway.door()
}

/// A door for telling; events travel in any direction.
pub fn bell<M: Event>(doorway: &Doorway) -> Door<M> {
    doorway.door()
}
