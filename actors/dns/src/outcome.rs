//! What came of a call to a name server: what is known then, and what is not known any more. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use mkube_model::neighbours::name_servers::{
    CreatedRecord, ForwarderRow, NameFault, Origin, RecordRow, ServerHealth, ZoneRow,
};
use tokio::time::Instant;

use crate::names::{folded, with_port};
use crate::server::{COMPARE_PAUSE, HEALTH_PAUSE, Reach, Server, Work};
use crate::zone_state::{Eyes, ZoneState};

/// First and longest pause after a call whose outcome is not known.
const DOUBT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// First pause after a server could not be reached; the longest is that between two questions.
const AWAY: Duration = Duration::from_secs(1);
/// A server that was up for less than it should be by more than this was started anew: seconds are whole, and answers take their time.
const UPTIME_SLACK: Duration = Duration::from_secs(3);

/// What came of a call that went well.
#[derive(Debug, Clone)]
pub enum Learnt {
    Health(ServerHealth),
    Zones(Vec<ZoneRow>),
    Zone(ZoneRow),
    Records(Vec<RecordRow>),
    Created(CreatedRecord),
    Row(RecordRow),
    Forwarders(Vec<ForwarderRow>),
    Forwarder(ForwarderRow),
    /// Done, and nothing more is to be said.
    Done,
}

impl Server {
    /// What came of a call.
    pub fn done(&mut self, work: &Work, result: Result<Learnt, NameFault>, eyes: Eyes<'_>) {
        if *work == Work::Health {
            self.asking = false;
            return self.heard(result, eyes.now);
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        match work {
            Work::ListZones | Work::CreateZone(_) => self.at_work = false,
            Work::ListForwarders | Work::PutForwarder(_) | Work::DeleteForwarder(_) => self.at_work = false,
            Work::Ledger(_, None) => self.at_work = false,
            Work::ListRecords(zone, _) => {
                if let Some(state) = self.zones.get_mut(zone) {
                    state.listing = false;
                }
            }
            Work::Create(zone, _, key, _)
            | Work::Update(zone, key, _)
            | Work::Delete(zone, key, ..)
            | Work::Ledger(_, Some((zone, key))) => {
                if let Some(state) = self.zones.get_mut(zone) {
                    state.busy.remove(key);
                }
            }
            Work::Health => {}
        }
        match result {
            Ok(learnt) => self.learn(work, learnt, eyes),
            Err(fault) => self.failed(work, fault, eyes),
        }
    }

    fn heard(&mut self, result: Result<Learnt, NameFault>, now: Instant) {
        match result {
            Ok(Learnt::Health(health)) => {
                let before = std::mem::replace(&mut self.health, health);
                let since = self.health_at.replace(now).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
                // One that is younger than the pause between two questions may have as much uptime as it had the last time.
                let restarted = match (before.uptime, self.health.uptime) {
                    (Some(before), Some(now)) => {
                        now < before
                            || Duration::from_secs(now) + UPTIME_SLACK
                                < Duration::from_secs(before).saturating_add(since)
                    }
                    _ => false,
                } || before.version != self.health.version;
                if self.reach != Reach::Up || restarted {
                    self.start_over(now);
                } else if before.zones != self.health.zones {
                    self.listed = None;
                }
                self.reach = Reach::Up;
                (self.failures, self.away_since) = (0, None);
                self.health_due = now + HEALTH_PAUSE;
            }
            Ok(_) => self.lost("it answers nonsense".to_owned(), now),
            Err(fault) => self.lost(fault.to_string(), now),
        }
    }

    /// It was away, or is another one: nothing that was known is relied on.
    fn start_over(&mut self, now: Instant) {
        (self.listed, self.forwarders, self.no_forwarders) = (None, None, false);
        (self.marks, self.reverses) = (None, None);
        (self.list_due, self.forwarders_due, self.list_failures) = (now, now, 0);
        self.compare_due = now + COMPARE_PAUSE;
        for state in self.zones.values_mut() {
            (state.listed, state.list_due, state.list_failures) = (false, now, 0);
        }
    }

    fn lost(&mut self, why: String, now: Instant) {
        if !matches!(self.reach, Reach::Away(_)) {
            tracing::info!(server = %self.endpoint, %why, "a name server is away");
        }
        self.reach = Reach::Away(why);
        self.away_since.get_or_insert(now);
        let pause = AWAY.saturating_mul(1 << self.failures.min(8)).min(HEALTH_PAUSE);
        self.failures += 1;
        self.health_due = now + pause;
    }

    fn learn(&mut self, work: &Work, learnt: Learnt, eyes: Eyes<'_>) {
        match (work, learnt) {
            (Work::ListZones, Learnt::Zones(zones)) => self.see_zones(zones),
            (Work::CreateZone(_), Learnt::Zone(row)) => {
                let zone = folded(&row.name);
                if let Some(state) = self.zones.get_mut(&zone) {
                    (state.id, state.serial, state.listed) = (Some(row.id.clone()), row.serial, false);
                    state.fault = None;
                }
                if let Some(listed) = &mut self.listed {
                    listed.insert(zone, vec![row]);
                }
                // The next look at its health is no news.
                self.health.zones = self.health.zones.map(|zones| zones + 1);
                self.list_failures = 0;
            }
            (Work::ListRecords(zone, id), Learnt::Records(rows)) => {
                rows.iter().for_each(|row| self.learn_release(row));
                if let Some(state) = self.zones.get_mut(zone).filter(|state| state.id.as_ref() == Some(id)) {
                    state.found(rows, eyes);
                }
            }
            (Work::Create(zone, _, key, _), Learnt::Created(created)) => {
                self.learn_release(&created.row);
                if let Some(state) = self.zones.get_mut(zone) {
                    if !created.new {
                        // Unless it came of an earlier try, somebody else made it, and may have made more.
                        state.disown_unless_doubted(key, &created.row);
                        state.doubt(eyes.now);
                    }
                    state.put(key, created.row, eyes);
                }
            }
            (Work::Update(zone, key, _), Learnt::Row(row)) => {
                if let Some(state) = self.zones.get_mut(zone) {
                    state.put(key, row, eyes);
                }
            }
            (Work::Delete(zone, key, _, id), _) => {
                if let Some(state) = self.zones.get_mut(zone) {
                    state.removed(key, id, eyes);
                }
            }
            (Work::ListForwarders, Learnt::Forwarders(rows)) => {
                let servers = |row: &ForwarderRow| row.servers.iter().map(|server| with_port(server)).collect();
                self.forwarders = Some(rows.iter().map(|row| (folded(&row.zone), servers(row))).collect());
            }
            (Work::PutForwarder(_), Learnt::Forwarder(row)) => {
                let servers = row.servers.iter().map(|server| with_port(server)).collect();
                if let Some(there) = &mut self.forwarders {
                    there.insert(folded(&row.zone), servers);
                }
            }
            (Work::DeleteForwarder(zone), _) => {
                if let Some(there) = &mut self.forwarders {
                    there.remove(zone);
                }
            }
            _ => {}
        }
    }

    fn learn_release(&mut self, row: &RecordRow) {
        self.marks = Some(row.origin != Origin::NotKept);
        self.reverses = Some(row.source.is_some());
    }

    fn see_zones(&mut self, rows: Vec<ZoneRow>) {
        let mut listed: BTreeMap<String, Vec<ZoneRow>> = BTreeMap::new();
        for row in rows {
            listed.entry(folded(&row.name)).or_default().push(row);
        }
        for (zone, state) in &mut self.zones {
            let rows = listed.get(zone).map(Vec::as_slice).unwrap_or_default();
            // Of several that mean the same, the one that answers: names are asked for in lower case.
            let row = rows.iter().min_by_key(|row| (row.name != *zone, &row.id));
            state.fault = match (row, rows.len()) {
                (None, _) if state.wish.external => {
                    Some(format!("the name server of somebody else has no zone {zone}: it is to be made there"))
                }
                (_, 2..) => Some(format!(
                    "the name server has zone {zone} {} times: one is kept, remove the others",
                    rows.len()
                )),
                _ => None,
            };
            let id = row.map(|row| row.id.clone());
            let serial = row.map_or(0, |row| row.serial);
            if state.id != id || state.serial != serial || state.wrote {
                state.listed = false;
            }
            (state.id, state.serial, state.wrote) = (id, serial, false);
        }
        self.listed = Some(listed);
        self.list_failures = 0;
    }

    fn failed(&mut self, work: &Work, fault: NameFault, eyes: Eyes<'_>) {
        tracing::debug!(server = %self.endpoint, ?work, %fault, "a call of a name server failed");
        let now = eyes.now;
        let pause = |failures: u32| DOUBT.0.saturating_mul(1 << failures.min(10)).min(DOUBT.1);
        if let (Work::Delete(zone, key, _, id), NameFault::NotFound(_)) = (work, &fault) {
            // As wanted. That it was not there before is news.
            if let Some(state) = self.zones.get_mut(zone) {
                state.removed(key, id, eyes);
                state.doubt(now);
            }
            self.listed = None;
            return;
        }
        if let NameFault::Away(why) = &fault {
            if let Some(state) = self.zone_of(work) {
                state.doubt(now);
            }
            return self.lost(why.clone(), now);
        }
        match work {
            Work::Health => {}
            Work::ListZones | Work::CreateZone(_) => {
                self.listed = None;
                self.list_due = now
                    + pause(self.list_failures).max(match fault {
                        NameFault::Exists(_) => Duration::ZERO,
                        NameFault::Refused(_) => DOUBT.1,
                        _ => DOUBT.0,
                    });
                self.list_failures += 1;
                if let Some(state) = self.zone_of(work) {
                    state.fault = Some(fault.to_string());
                }
            }
            Work::ListForwarders | Work::PutForwarder(_) | Work::DeleteForwarder(_) => {
                let old = matches!(fault, NameFault::Unsupported(_));
                let gone = matches!((work, &fault), (Work::DeleteForwarder(_), NameFault::NotFound(_)));
                (self.no_forwarders, self.forwarders) = (old, None);
                self.forwarders_due = if gone { now } else { now + DOUBT.1 };
            }
            Work::Ledger(..) => {
                // The store is away for a moment; nothing is made without an entry.
                self.list_due = self.list_due.max(now + AWAY);
                self.forwarders_due = self.forwarders_due.max(now + AWAY);
                self.upkeep_due = now + AWAY;
                if let Some(state) = self.zone_of(work) {
                    state.doubt(now + AWAY);
                }
            }
            Work::ListRecords(..) | Work::Create(..) | Work::Update(..) | Work::Delete(..) => {
                let set = match work {
                    Work::Create(_, _, key, _) | Work::Update(_, key, _) | Work::Delete(_, key, ..) => {
                        Some(key.clone())
                    }
                    _ => None,
                };
                let Some(state) = self.zone_of(work) else { return };
                match (fault, set) {
                    (NameFault::Refused(why) | NameFault::Exists(why), Some(key)) => state.was_refused(&key, why, now),
                    (fault, set) => {
                        state.wrote |= set.is_some();
                        state.doubted.extend(set);
                        state.doubt(now + pause(state.list_failures));
                        state.list_failures += 1;
                        // A zone or record that is not there: perhaps the server lost more.
                        if matches!(fault, NameFault::NotFound(_)) {
                            self.listed = None;
                        } else {
                            self.health_due = self.health_due.min(now);
                        }
                    }
                }
            }
        }
    }

    fn zone_of(&mut self, work: &Work) -> Option<&mut ZoneState> {
        let zone = match work {
            Work::CreateZone(zone) | Work::ListRecords(zone, _) => zone,
            Work::Create(zone, ..) | Work::Update(zone, ..) | Work::Delete(zone, ..) => zone,
            Work::Ledger(_, Some((zone, _))) => zone,
            _ => return None,
        };
        self.zones.get_mut(zone)
    }
}
