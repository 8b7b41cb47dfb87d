//! What the actor tells: events on what cannot be done as it is written, and the published view.

use std::sync::Arc;

use imbl::OrdMap;
use mkube_messages::dns::{NamesView, RecordSight, ZoneSight};
use mkube_messages::objects::RecordEvent;

use crate::actor::DnsActor;
use crate::desired::{Remark, SetKey, ZoneWish};
use crate::server::{Reach, Server};
use crate::zone_state::ZoneState;

impl DnsActor {
    /// Tells what a person should know, once.
    pub(crate) fn tell_remarks(&mut self) {
        let remarks = &self.wishes.desired().remarks;
        for remark in remarks.difference(&self.told) {
            tracing::info!(kind = remark.kind, key = %remark.key, message = remark.message, "names");
            self.event(remark);
        }
        self.told = remarks.clone();
    }

    fn event(&self, remark: &Remark) {
        let event = RecordEvent {
            involved_kind: remark.kind,
            involved_api_version: "v1",
            key: remark.key.clone(),
            uid: remark.uid.clone(),
            warning: true,
            reason: remark.reason,
            message: remark.message.clone(),
        };
        if let Err(why) = self.parts.event.tell(event) {
            tracing::debug!(%why, key = %remark.key, "an event was not recorded");
        }
    }

    /// Publishes what is wanted and what is there, when that changed.
    pub(crate) fn publish(&self) {
        let published = self.parts.publish.borrow().clone();
        let mut zones: OrdMap<String, Arc<ZoneSight>> = OrdMap::new();
        let mut changed = !published.loaded;
        let mut add = |name: &str, mut sight: ZoneSight| {
            if let Some(first) = zones.get(name) {
                let mut first = (**first).clone();
                let more = format!("zone {name} is kept at {} too, for network {}", sight.endpoint, sight.network);
                first.fault.get_or_insert(more);
                sight = first;
            }
            zones.insert(name.to_owned(), Arc::new(sight));
        };
        for server in self.servers.values() {
            for (zone, state) in server.zones.iter().filter(|(_, state)| is_told(state)) {
                add(zone, sight_of(server, state));
            }
        }
        for ((_, zone), wish) in
            self.wishes.desired().zones.iter().filter(|((at, _), wish)| at.is_empty() && !wish.reverse)
        {
            add(zone, sight_of_unserved(wish));
        }
        changed |= zones.iter().any(|(name, now)| published.zones.get(name).is_none_or(|before| !is_same(before, now)));
        if changed || published.zones.len() != zones.len() {
            self.parts.publish.send_replace(Arc::new(NamesView { loaded: true, zones }));
        }
    }
}

/// Zones that nobody wants are not told of, nor those that servers keep by themselves.
fn is_told(state: &ZoneState) -> bool {
    !state.leaving && (!state.wish.reverse || state.listed)
}

fn sight_of(server: &Server, state: &ZoneState) -> ZoneSight {
    let away = match &server.reach {
        Reach::Up => None,
        Reach::Unknown => Some("the name server was not asked yet".to_owned()),
        Reach::Away(why) => Some(why.clone()),
    };
    ZoneSight {
        endpoint: server.endpoint.clone(),
        id: state.id.clone(),
        fault: away.or_else(|| state.trouble()),
        compared: server.reach == Reach::Up && state.listed,
        records: state.sights().clone(),
        foreign: state.foreign(),
        duplicates: state.duplicates(),
        ..sight_of_wish(&state.wish)
    }
}

fn sight_of_wish(wish: &ZoneWish) -> ZoneSight {
    ZoneSight {
        network: wish.network.clone(),
        server: wish.server,
        external: wish.external,
        parent: wish.parent.clone(),
        namespace: wish.namespace.clone(),
        ..ZoneSight::default()
    }
}

fn sight_of_unserved(wish: &ZoneWish) -> ZoneSight {
    let record = |(key, set): (&SetKey, &crate::desired::WantedSet)| {
        let sight = RecordSight { wanted: set.data.clone(), purpose: set.purpose.clone(), ..RecordSight::default() };
        (key.clone(), sight)
    };
    ZoneSight {
        fault: Some("no name server is managed for it: the network says no dns.endpoint".to_owned()),
        records: wish.sets.iter().map(record).collect(),
        ..sight_of_wish(wish)
    }
}

/// What records share is not compared.
fn is_same(before: &ZoneSight, now: &ZoneSight) -> bool {
    let bare = |sight: &ZoneSight| ZoneSight { records: OrdMap::new(), ..sight.clone() };
    before.records.diff(&now.records).next().is_none() && bare(before) == bare(now)
}
