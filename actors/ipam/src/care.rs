//! What networks need beside leases: their objects, their bridges, their end. One thing at a time; every one can be repeated.

use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::door::Door;
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::{CONFIGURATION, FinishDeletion, ObjectKey, ObjectsView, ReportStatus, Verb, WriteObject};
use mkube_messages::patience;
use mkube_messages::request::{Request, RequestContext};
use mkube_messages::router::ReleaseBridge;
use mkube_model::kinds::{NETWORKS, network_holders};
use mkube_model::metadata;
use mkube_model::network::Network;
use serde_json::Value;
use tokio::time::Instant;

use crate::ipam_actor::{IpamActor, gateway_of};
use crate::known_networks::{Leaving, known, status_of, to_be_shown};

/// Pause after something that did not work, and between two looks at networks whose bridge was not found.
pub(crate) const PAUSE: Duration = Duration::from_secs(30);
/// Pause between two looks at a network that is being deleted and still has pods.
const LEAVING: Duration = Duration::from_secs(1);

/// One thing to do.
enum Care {
    /// A configured network's object is to look like this.
    Show(Value, Verb),
    /// The object of a network that stands in no file any more goes.
    Drop(String),
    /// What was made for a network is taken away, then its object.
    Part(Leaving, bool),
    /// Its bridge is looked for, or made.
    Prepare(Arc<Network>),
    /// The object says whether it can be used.
    Report(String, String, Value),
}

async fn asked<M: Request>(door: Door<M>, order: M) -> Result<(), String>
where
    M::Fault: std::fmt::Display,
{
    door.ask(order).await.map(drop).map_err(|error| error.to_string())
}

impl IpamActor {
    /// Objects of networks changed, or the first look: takes up which there are.
    pub(crate) fn look_networks(&mut self) {
        let view = self.parts.objects.view();
        if !view.loaded {
            return;
        }
        let networks = view.kind(&NETWORKS);
        if self.networks_seen.as_ref().is_some_and(|seen| seen.ptr_eq(&networks.objects)) {
            return;
        }
        let found = known(&self.parts.networks, networks.objects.values().map(Arc::as_ref));
        if found.usable != self.known.usable {
            self.table.set_networks(found.usable.clone());
        }
        self.known = found;
        self.networks_seen = Some(networks.objects.clone());
        self.care_after = None;
        self.content = false;
        let told = NetworksView {
            loaded: true,
            default: self.parts.networks.first().map(|network| network.name.clone()).unwrap_or_default(),
            by_name: self.known.usable.iter().map(|one| (one.name.clone(), one.clone())).collect(),
        };
        if **self.parts.networks_publisher.borrow() != told {
            self.parts.networks_publisher.send_replace(Arc::new(told));
        }
    }

    /// Does the next thing networks need, unless one is being done.
    pub(crate) fn care(&mut self, ctx: &mut Context<Self>) {
        self.look_networks();
        let now = Instant::now();
        let complete = self.parts.objects.view().is_complete();
        if std::mem::replace(&mut self.complete, complete) != complete && complete {
            // What was not known while the store was away has its addresses too, and what waited for it may be done.
            self.claimed = false;
            self.content = false;
            self.care_after = None;
        }
        if self.caring || self.content || self.care_after.is_some_and(|after| now < after) {
            return;
        }
        let view = self.parts.objects.view();
        // Before the store was read nobody knows which objects are missing.
        if !view.loaded {
            return;
        }
        let Some(care) = self.next_care(&view, now) else {
            // Until something changes there is nothing to look for.
            self.content = true;
            if !self.known.leaving.is_empty() {
                self.care_in(LEAVING, ctx);
            }
            return;
        };
        self.caring = true;
        let context = RequestContext::new("network", patience::LEASE);
        let write = |name: &str, verb| WriteObject {
            subresource: CONFIGURATION,
            ..WriteObject::own("network object", NETWORKS, ObjectKey::new("", name), verb)
        };
        match care {
            Care::Show(object, verb) => {
                self.written.insert(metadata::name(&object).to_owned());
                self.await_care(asked(self.parts.write.clone(), write(metadata::name(&object), verb)), ctx);
            }
            Care::Drop(name) => {
                self.written.insert(name.clone());
                let order = write(&name, Verb::Delete { options: Value::Null });
                self.await_care(asked(self.parts.write.clone(), order), ctx);
            }
            Care::Part(leaving, shared) => {
                let (release, finish) = (self.parts.release_bridge.clone(), self.parts.finish.clone());
                let parting = async move {
                    if let Some(network) = leaving.network.filter(|network| network.managed) {
                        let (bridge, address) = (network.bridge.clone(), gateway_of(&network)?);
                        let order = ReleaseBridge { context, bridge, address, shared };
                        release.ask(order).await.map_err(|error| error.to_string())?;
                    }
                    let context = RequestContext::new("network", patience::WRITE);
                    let key = ObjectKey::new("", leaving.name);
                    let order = FinishDeletion { context, kind: NETWORKS, key, uid: leaving.uid };
                    finish.ask(order).await.map_err(|error| error.to_string())
                };
                self.await_care(parting, ctx);
            }
            Care::Prepare(network) => {
                let mut outcome = self.prepare(network, ctx);
                // What came of it stands in the readiness.
                let waiting = async move { outcome.wait_for(Option::is_some).await.map(drop).or(Ok(())) };
                self.await_care(waiting, ctx);
            }
            Care::Report(name, uid, status) => {
                self.reported.insert(name.clone(), (uid.clone(), status.clone()));
                let key = ObjectKey::new("", name);
                let order = ReportStatus { context, kind: NETWORKS, key, uid, status };
                self.await_care(asked(self.parts.report.clone(), order), ctx);
            }
        }
    }

    fn await_care(&mut self, work: impl Future<Output = Result<(), String>> + 'static, ctx: &mut Context<Self>) {
        let done = work.into_actor(self).map(|result, actor, ctx| {
            actor.caring = false;
            match result {
                Ok(()) => actor.care(ctx),
                Err(why) => {
                    tracing::warn!(%why, "a network is not as it should be yet");
                    actor.care_in(if actor.known.leaving.is_empty() { PAUSE } else { LEAVING }, ctx);
                }
            }
        });
        ctx.spawn(done);
    }

    fn care_in(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        self.care_after = Some(Instant::now() + pause);
        ctx.run_later(pause, |actor, ctx| actor.care_again(ctx));
    }

    /// Something changed that is not seen from the objects, or time has passed.
    pub(crate) fn care_again(&mut self, ctx: &mut Context<Self>) {
        self.content = false;
        self.care(ctx);
    }

    fn next_care(&self, view: &ObjectsView, now: Instant) -> Option<Care> {
        // Looks at the device only once it was read: who is away is asked for nothing more.
        let unready = |network: &&Arc<Network>| self.readiness_of(network).is_none_or(|(_, again)| now >= again);
        if self.parts.device.borrow().complete
            && let Some(network) = self.known.usable.iter().find(unready)
        {
            return Some(Care::Prepare(network.clone()));
        }
        if !view.is_complete() {
            // Pods and objects that are missing may be there, and none can be written.
            return self.next_report(view);
        }
        if let Some(care) = self.known.leaving.iter().find_map(|leaving| self.part(view, leaving)) {
            return Some(care);
        }
        let networks = view.kind(&NETWORKS);
        let object = |name: &str| networks.objects.get(&ObjectKey::new("", name));
        // Once for each until the next sweep: what cannot be written so is not tried without end.
        for network in self.parts.networks.iter().filter(|network| !self.written.contains(&network.name)) {
            let there = object(&network.name).map(|object| object.value());
            if let Some(body) = to_be_shown(network, &self.parts.config_file, there.as_ref()) {
                let verb = match there {
                    None => Verb::Create { body: body.clone() },
                    Some(_) => Verb::Update { body: body.clone() },
                };
                return Some(Care::Show(body, verb));
            }
        }
        if let Some(name) = self.known.dropped.iter().find(|name| !self.written.contains(*name)) {
            return Some(Care::Drop(name.clone()));
        }
        self.next_report(view)
    }

    fn next_report(&self, view: &ObjectsView) -> Option<Care> {
        let networks = view.kind(&NETWORKS);
        let object = |name: &str| networks.objects.get(&ObjectKey::new("", name));
        let told = |name: &str, status: Value| {
            let object = object(name).filter(|object| !object.is_deleting())?;
            let same = object.value()["status"] == status;
            // What was told is written in its own time, and told again at the next sweep if it was lost.
            let told = self.reported.get(name) == Some(&(object.uid().to_owned(), status.clone()));
            (!same && !told).then(|| Care::Report(name.to_owned(), object.uid().to_owned(), status))
        };
        let usable = self.known.usable.iter().find_map(|network| {
            let (outcome, _) = self.readiness_of(network)?;
            let reason = if outcome.is_ok() { "Found" } else { "NotFound" };
            told(&network.name, status_of(&outcome, reason))
        });
        let mut refused = self.known.refused.iter();
        usable.or_else(|| refused.find_map(|(name, why)| told(name, status_of(&Err(why.clone()), "Refused"))))
    }

    /// A network goes when nobody is in it any more.
    fn part(&self, view: &ObjectsView, leaving: &Leaving) -> Option<Care> {
        if !view.is_whole(|kind| *kind == self.parts.pods) {
            return None;
        }
        let pods = view.kind(&self.parts.pods);
        let texts = pods.objects.values().map(|pod| pod.text());
        if !network_holders(&leaving.name, texts, std::iter::empty()).is_empty() {
            return None;
        }
        let bridge = leaving.network.as_ref().map(|network| network.bridge.as_str());
        let shared = self.known.usable.iter().any(|one| Some(one.bridge.as_str()) == bridge);
        Some(Care::Part(leaving.clone(), shared))
    }
}
