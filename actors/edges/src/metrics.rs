//! `/metrics`, in OpenMetrics text.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use actix_web::HttpResponse;
use mkube_messages::bus::BusView;
use mkube_model::neighbours::desired_store::PROVISIONAL;
use mkube_supervision::{State, StatusNode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::parts::HttpParts;

type Labels = Vec<(String, String)>;

pub fn answer(parts: &HttpParts) -> HttpResponse {
    let mut registry = Registry::with_prefix("mkube");
    let figures = &parts.figures;
    registry.register("http_requests", "HTTP requests", ConstCounter::new(figures.requests.load(Ordering::Relaxed)));
    registry.register(
        "http_refusals",
        "HTTP requests refused",
        ConstCounter::new(figures.errors.load(Ordering::Relaxed)),
    );
    let watches = i64::try_from(figures.watches.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    registry.register("http_watches", "Open watches", ConstGauge::new(watches));
    let streams = i64::try_from(figures.streams.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
    registry.register(
        "http_streams",
        "Open connections of exec and port-forward, and what is passed on",
        ConstGauge::new(streams),
    );
    let objects = Family::<Labels, Gauge<i64, AtomicI64>>::default();
    let view = parts.objects.view();
    let revisions = Family::<Labels, Gauge<i64, AtomicI64>>::default();
    for (id, kind) in &view.kinds {
        let labels = vec![("kind".to_owned(), id.plural.to_owned())];
        objects.get_or_create(&labels).set(kind.objects.len() as i64);
        revisions.get_or_create(&labels).set(i64::try_from(kind.revision).unwrap_or(i64::MAX));
    }
    registry.register("objects", "Objects stored, by kind", objects);
    registry.register("revision", "Revision of the last published change, by kind", revisions);
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let stale = i64::from(view.stale.is_some());
    registry.register(
        "store_stale",
        "Whether the store is away and what was last known is served",
        ConstGauge::new(stale),
    );
    let kept = view.kinds.values().flat_map(|kind| kind.objects.values());
    let kept = kept.filter(|object| object.revision >= PROVISIONAL).count();
    registry.register(
        "store_pending_writes",
        "Objects whose last change waits for the store",
        ConstGauge::new(count(kept)),
    );
    let bad = count(view.unreadable.len());
    registry.register("store_unreadable_values", "Values in the store that are no objects", ConstGauge::new(bad));
    bus(&mut registry, &parts.bus.borrow().clone());
    if let Some(tree) = parts.tree.borrow().clone() {
        actors(&mut registry, &tree.status());
    }
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(text)
        }
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// Nothing where there is to be no bus.
fn bus(registry: &mut Registry, bus: &BusView) {
    if !bus.wanted {
        return;
    }
    let waiting = i64::try_from(bus.waiting).unwrap_or(i64::MAX);
    registry.register("bus_attached", "Whether the bus is attached to", ConstGauge::new(i64::from(bus.attached)));
    registry.register("bus_waiting", "Changes that wait to be told on the bus", ConstGauge::new(waiting));
    registry.register("bus_told", "Messages the bus has taken", ConstCounter::new(bus.told));
    registry.register("bus_dropped", "Changes that were never told on the bus", ConstCounter::new(bus.dropped));
    let [taken, refused, floods] = [(); 3].map(|()| Family::<Labels, Gauge<u64, AtomicU64>>::default());
    for (about, heard) in &bus.heard {
        let labels = vec![("about".to_owned(), (*about).to_owned())];
        taken.get_or_create(&labels).set(heard.taken);
        refused.get_or_create(&labels).set(heard.refused);
        floods.get_or_create(&labels).set(heard.floods);
    }
    registry.register("bus_heard", "Messages on the bus that were understood, by what they are about", taken);
    registry.register("bus_refused", "Messages on the bus that were passed over, by what they are about", refused);
    registry.register("bus_floods", "Times at which too much was told on the bus, by what it is about", floods);
}

fn actors(registry: &mut Registry, root: &StatusNode) {
    let handled = Family::<Labels, Gauge<u64, AtomicU64>>::default();
    let refused = Family::<Labels, Gauge<u64, AtomicU64>>::default();
    let restarts = Family::<Labels, Gauge<u64, AtomicU64>>::default();
    let mut down = 0;
    each(root, &mut |node| {
        // One series for each pod would grow with the fleet: pods are counted together.
        let name = if node.name.starts_with("pod/") { "pod" } else { node.name.as_str() };
        let labels = vec![("actor".to_owned(), name.to_owned())];
        let add = |family: &Family<Labels, Gauge<u64, AtomicU64>>, value: u64| {
            family.get_or_create(&labels).inc_by(value);
        };
        add(&restarts, node.restarts);
        if let Some(mailbox) = node.mailbox {
            add(&handled, mailbox.handled);
            add(&refused, mailbox.refused);
        }
        if matches!(node.state, State::BackingOff | State::Held) {
            down += 1;
        }
    });
    registry.register("actor_messages_handled", "Messages whose work ended, by actor", handled);
    registry.register("actor_messages_refused", "Messages refused for lack of room, by actor", refused);
    registry.register("actor_restarts", "Restarts, by actor", restarts);
    registry.register("actors_down", "Actors that wait for a restart or are held", ConstGauge::new(down));
}

fn each(node: &StatusNode, look: &mut impl FnMut(&StatusNode)) {
    look(node);
    node.children.iter().for_each(|child| each(child, look));
}
