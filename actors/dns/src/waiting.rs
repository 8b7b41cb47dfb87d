//! Pods whose names were taken back before their containers stop, and whoever waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mkube_messages::objects::ObjectKey;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::desired::SetKey;
use crate::server::{Reach, Server};
use crate::sources::Sources;

/// A pod that is still ready after so long was not stopped after all.
const LAPSE: Duration = Duration::from_secs(60);
/// For so long a pod that was not ready when it was withdrawn is not believed to be: what its actor reported may be under way. What is
/// about containers of its spec before is not believed at all: it is one of them that is about to stop.
const LATE_NEWS: Duration = Duration::from_secs(2);

/// One pod.
#[derive(Debug, Clone)]
struct Withdrawal {
    pod: ObjectKey,
    /// When it is stopped, at the latest.
    since: Instant,
    was_ready: bool,
}

/// Pods whose names are out, by uid.
#[derive(Debug, Default)]
pub struct Withdrawn(BTreeMap<String, Withdrawal>);

impl Withdrawn {
    /// Takes the names of a pod back, for whoever waits for that until then; whether that is news.
    pub fn add(&mut self, pod: &ObjectKey, uid: &str, sources: &Sources, until: Instant) -> bool {
        let ready = sources.pod(pod).is_some_and(|seen| seen.uid == uid && seen.ready);
        let before = self.0.get(uid).is_some_and(|before| before.was_ready);
        let withdrawal = Withdrawal { pod: pod.clone(), since: until, was_ready: ready || before };
        self.0.insert(uid.to_owned(), withdrawal).is_none()
    }

    /// Whoever took the names of a pod back waits no longer, and is about to stop it.
    pub fn stops_now(&mut self, uid: &str, now: Instant) {
        if let Some(withdrawal) = self.0.get_mut(uid) {
            withdrawal.since = now;
        }
    }

    /// Those that are over are forgotten; the pods of which they were.
    pub fn review(&mut self, sources: &Sources, now: Instant) -> Vec<ObjectKey> {
        let mut over = Vec::new();
        self.0.retain(|uid, one| {
            let stays = sources.pod(&one.pod).filter(|pod| pod.uid == *uid).is_some_and(|pod| {
                let went = one.was_ready && !pod.ready;
                let late = !one.was_ready && now >= one.since + LATE_NEWS && (pod.observed || !pod.ready);
                !(went || late || now >= one.since + LAPSE)
            });
            if !stays {
                over.push(one.pod.clone());
            }
            stays
        });
        over
    }

    /// When to review them again.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let due = |one: &Withdrawal| {
            let late = Some(one.since + LATE_NEWS).filter(|at| !one.was_ready && *at > now);
            late.unwrap_or(one.since + LAPSE)
        };
        self.0.values().map(due).min()
    }

    /// Whether a pod of this uid is one of them.
    pub fn has(&self, uid: &str) -> bool {
        self.0.contains_key(uid)
    }
}

/// Somebody who waits until names are gone.
pub struct Waiter {
    pending: BTreeSet<(String, String, SetKey)>,
    reply: oneshot::Sender<()>,
}

impl Waiter {
    /// For everything that is to be taken away now. The name of an address sends nobody there.
    pub fn new(servers: &BTreeMap<String, Server>, reply: oneshot::Sender<()>) -> Self {
        let mut pending = BTreeSet::new();
        for (endpoint, server) in servers {
            for (zone, state) in server.zones.iter().filter(|(_, state)| !state.wish.reverse) {
                pending.extend(state.withdrawals().map(|key| (endpoint.clone(), zone.clone(), key.clone())));
            }
        }
        Self { pending, reply }
    }

    /// Whether there is still something to wait for. A server that is away is not waited for.
    fn waits(&mut self, servers: &BTreeMap<String, Server>) -> bool {
        self.pending.retain(|(endpoint, zone, key)| {
            let Some(server) = servers.get(endpoint).filter(|server| !matches!(server.reach, Reach::Away(_))) else {
                return false;
            };
            let there = |state: &crate::zone_state::ZoneState| state.id.is_some() || server.listed.is_none();
            server.zones.get(zone).is_some_and(|state| there(state) && state.is_withdrawing(key))
        });
        !self.pending.is_empty() && !self.reply.is_closed()
    }
}

/// Answers those for whom there is nothing left to wait for.
pub fn answer(waiters: &mut Vec<Waiter>, servers: &BTreeMap<String, Server>) {
    for mut waiter in std::mem::take(waiters) {
        if waiter.waits(servers) {
            waiters.push(waiter);
        } else {
            // Whoever asked may have left.
            let _ = waiter.reply.send(());
        }
    }
}
