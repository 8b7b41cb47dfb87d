//! The actor: looks at networks and objects, asks the pure parts, and does one write at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use imbl::ordmap::DiffItem;
use mkube_messages::door::{CallError, Door};
use mkube_messages::ipam::{NetworksReader, NetworksView};
use mkube_messages::objects::{KindView, ObjectKey, ObjectsReader, PatchType, Verb, WriteObject};
use mkube_model::kinds::KindId;
use mkube_model::status::Status;
use mkube_supervision::{Alarm, follow};
use serde_json::json;
use tokio::time::Instant;

use crate::decide::{Action, Found, Home, Wanted, decide, wanted};

/// Longest pause between two looks; only so that nothing rests on one wake-up that got lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause before the same object is written again: somebody else may insist on what he wrote.
const PAUSE: Duration = Duration::from_secs(5);
/// Pause after a write was refused: what stands in the way does not go by itself.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct GeneratedParts {
    /// The kind of ConfigMaps.
    pub config_maps: KindId,
    /// The kind of namespaces.
    pub namespaces: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// Networks.
    pub networks: NetworksReader,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// Name of the node.
    pub node_name: String,
    /// Controllers of other nodes may use the same store.
    pub shared: bool,
}

/// See the room's card.
pub struct GeneratedActor {
    parts: GeneratedParts,
    /// What follows from the networks, and the networks it was made from.
    wanted: BTreeMap<ObjectKey, Wanted>,
    wanted_from: Option<Arc<NetworksView>>,
    /// ConfigMaps of names that mkube writes, and the view they were read from.
    found: BTreeMap<ObjectKey, Found>,
    found_from: Arc<KindView>,
    /// A write is under way.
    busy: bool,
    /// Objects that are not written before then.
    not_before: BTreeMap<ObjectKey, Instant>,
    /// The timer of the next look.
    timer: Alarm,
}

impl GeneratedActor {
    /// A new incarnation.
    pub fn new(parts: GeneratedParts) -> Self {
        Self {
            parts,
            wanted: BTreeMap::new(),
            wanted_from: None,
            found: BTreeMap::new(),
            found_from: Arc::default(),
            busy: false,
            not_before: BTreeMap::new(),
            timer: Alarm::default(),
        }
    }

    /// Looks at everything and does what is due. Called whenever something may have changed.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let (view, networks) = (self.parts.objects.view(), self.parts.networks.borrow().clone());
        // Before everything was read a network may only seem to be gone, or its peers.
        if !view.loaded || !networks.loaded || self.busy {
            return;
        }
        if self.wanted_from.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &networks)) {
            self.wanted = wanted(&networks, &self.parts.node_name);
            self.wanted_from = Some(networks);
        }
        self.read_found(view.kind(&self.parts.config_maps));
        let namespaces = view.kind(&self.parts.namespaces);
        let home = |name: &str| {
            let found = namespaces.objects.get(&ObjectKey::new("", name))?;
            Some(if found.is_deleting() { Home::Leaving } else { Home::There })
        };
        let now = Instant::now();
        self.not_before.retain(|_, at| *at > now);
        let mut wake = now + LONGEST_PAUSE;
        let complete = view.is_complete();
        // While the store is away only what is missing is made: name servers that are to start first need it.
        let may_be = |action: &Action| complete || matches!(action, Action::CreateNamespace(_) | Action::Create(..));
        let shared = self.parts.shared.then_some(self.parts.node_name.as_str());
        for action in decide(&self.wanted, &self.found, shared, home).into_iter().filter(may_be) {
            match self.not_before.get(&action.subject()) {
                Some(at) => wake = wake.min(*at),
                None => {
                    self.carry_out(action, ctx);
                    break;
                }
            }
        }
        self.arm(wake, ctx);
    }

    /// Reads the ConfigMaps that changed.
    fn read_found(&mut self, now: Arc<KindView>) {
        let before = std::mem::replace(&mut self.found_from, now.clone());
        for change in before.objects.diff(&now.objects) {
            let (key, found) = match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => (key, Found::of(object)),
                DiffItem::Remove(key, _) => (key, None),
            };
            match found {
                Some(found) => drop(self.found.insert(key.clone(), found)),
                None => drop(self.found.remove(key)),
            }
        }
    }

    fn carry_out(&mut self, action: Action, ctx: &mut Context<Self>) {
        let subject = action.subject();
        let (kind, verb, what) = match action {
            Action::CreateNamespace(name) => {
                (self.parts.namespaces, Verb::Create { body: json!({"metadata": {"name": name}}) }, "namespace made")
            }
            Action::Create(key, mut body) => {
                body["metadata"]["name"] = json!(key.name);
                (self.parts.config_maps, Verb::Create { body }, "made")
            }
            Action::Patch(_, body) => {
                (self.parts.config_maps, Verb::Patch { patch: PatchType::Merge, body }, "written")
            }
            Action::Delete(_, uid, revision) => {
                let preconditions = json!({"uid": uid, "resourceVersion": revision.to_string()});
                let options = json!({"preconditions": preconditions});
                (self.parts.config_maps, Verb::Delete { options }, "removed")
            }
        };
        let order = WriteObject { behind: true, ..WriteObject::own("generated", kind, subject.clone(), verb) };
        self.busy = true;
        let door = self.parts.write.clone();
        ctx.spawn(async move { door.ask(order).await.map(drop) }.into_actor(self).map(move |result, actor, ctx| {
            actor.busy = false;
            actor.done(subject, what, result);
            actor.look(ctx);
        }));
    }

    fn done(&mut self, subject: ObjectKey, what: &str, result: Result<(), CallError<Status>>) {
        let mut pause = PAUSE;
        match result {
            Ok(()) => tracing::info!(object = %subject, what, "generated configuration"),
            // Somebody was quicker: the next look sees what there is.
            Err(CallError::Fault(status)) if [404, 409].contains(&status.code) => {}
            Err(CallError::Fault(status)) if status.code < 500 => {
                pause = LONG_PAUSE;
                tracing::warn!(object = %subject, %status, "generated configuration was refused");
            }
            Err(error) => {
                tracing::warn!(object = %subject, %error, "generated configuration was not written, it is tried again")
            }
        }
        self.not_before.insert(subject, Instant::now() + pause);
    }

    fn arm(&mut self, at: Instant, ctx: &mut Context<Self>) {
        self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
    }
}

impl Actor for GeneratedActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.networks.clone(), self, ctx, Self::look);
        follow(self.parts.objects.notices(), self, ctx, Self::look);
    }
}
