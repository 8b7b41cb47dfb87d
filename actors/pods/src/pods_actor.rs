//! Knows which pods there are, names their things on the device, keeps one actor for each, and tells it when to look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use mkube_messages::door::{Door, Doorway};
use mkube_messages::gates::GatesView;
use mkube_messages::health::HealthView;
use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, RecordEvent, StoredObject};
use mkube_messages::pods::{DesiredChanged, DeviceChanged};
use mkube_messages::router::DeviceSnapshot;
use mkube_messages::watch;
use mkube_model::kinds::KindId;
use mkube_model::metadata;
use mkube_model::names::NameBook;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::neighbours::router::ContainerRow;
use mkube_supervision::{ChildSpec, RestartRule, Tree, follow};
use serde_json::Value;

use crate::held::{actor_name, pods_in};
use crate::mentions::Mentions;
use crate::naming::{age, rows_of};
use crate::parts::{Desired, PodParts};
use crate::pod_actor::{PodActor, TICK};

/// Messages a pod actor may have waiting; they carry nothing, so a few are as good as many.
const POD_BOUND: usize = 8;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct PodsParts {
    /// What each pod actor gets.
    pub pod: Arc<PodParts>,
    /// To start and stop pod actors.
    pub tree: watch::Receiver<Option<Tree>>,
    /// Path of the supervisor of pod actors.
    pub supervisor: String,
}

/// A pod that has an actor.
pub(crate) struct Entry {
    pub(crate) desired: watch::Sender<Desired>,
    pub(crate) uid: String,
    pub(crate) revision: Revision,
    pub(crate) look: Door<DesiredChanged>,
    pub(crate) device: Door<DeviceChanged>,
    /// Names of its rows and interfaces, to find what concerns it.
    pub(crate) rows: Vec<String>,
}

/// See the room's card.
pub struct PodsActor {
    pub(crate) parts: PodsParts,
    pub(crate) pods: BTreeMap<ObjectKey, Entry>,
    /// Which pod a row or an interface belongs to.
    pub(crate) owners: BTreeMap<String, ObjectKey>,
    pub(crate) row_names: NameBook,
    pub(crate) veth_names: NameBook,
    /// The picture the pods were last told about.
    pub(crate) device: Arc<DeviceSnapshot>,
    /// The names were compared with what the device has; until then they are only what they would be on an empty one.
    pub(crate) settled: bool,
    /// ConfigMaps and Secrets as the pods were last told about them.
    pub(crate) sources: BTreeMap<KindId, OrdMap<ObjectKey, Arc<StoredObject>>>,
    /// Which pods they may concern.
    pub(crate) mentions: Mentions,
    /// The pods as they were looked through last.
    looked_through: OrdMap<ObjectKey, Arc<StoredObject>>,
    /// Pods whose actor is held, as far as they were told about.
    pub(crate) held: BTreeSet<ObjectKey>,
    /// What probes said when the pods were last told about it.
    pub(crate) health: Arc<HealthView>,
    /// Actors of pods that went while nobody looked were stopped.
    pub(crate) tidied: bool,
    /// The gates as the pods were last told about them.
    pub(crate) gates: Arc<GatesView>,
    /// The node was cordoned when the pods were last told.
    pub(crate) cordoned: bool,
    /// The store was away when the pods were last told.
    away: bool,
}

impl PodsActor {
    /// A new incarnation.
    pub fn new(parts: PodsParts) -> Self {
        Self {
            parts,
            pods: BTreeMap::new(),
            owners: BTreeMap::new(),
            row_names: NameBook::default(),
            veth_names: NameBook::default(),
            device: Arc::default(),
            settled: false,
            sources: BTreeMap::new(),
            mentions: Mentions::default(),
            looked_through: OrdMap::new(),
            held: BTreeSet::new(),
            health: Arc::default(),
            tidied: false,
            gates: Arc::default(),
            cordoned: false,
            away: false,
        }
    }

    /// Compares the published objects with the actors there are.
    fn objects_changed(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.pod.objects.view();
        // Absence means nothing before everything was read.
        if !view.loaded {
            return;
        }
        let tree = self.parts.tree.borrow().clone();
        let Some(tree) = tree else { return };
        let stored = view.kind(&self.parts.pod.kind);
        if view.is_complete() && !std::mem::replace(&mut self.tidied, true) {
            // An earlier incarnation started them.
            let (actors, _) = pods_in(&tree, &self.parts.supervisor);
            for key in actors.iter().filter(|key| !stored.objects.contains_key(*key)) {
                self.stop_actor(key, &tree);
            }
        }
        self.pods_changed(&stored, &tree, ctx);
        self.sources_changed();
        self.cordon_changed(&view);
        self.store_changed(&view);
    }

    /// Follows what became of pods since they were looked through last.
    fn pods_changed(&mut self, stored: &KindView, tree: &Tree, ctx: &mut Context<Self>) {
        let before = std::mem::replace(&mut self.looked_through, stored.objects.clone());
        let mut there: Vec<(&ObjectKey, &Arc<StoredObject>)> = Vec::new();
        for change in before.diff(&stored.objects) {
            match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => there.push((key, object)),
                // First of all: others may take its names.
                DiffItem::Remove(key, _) => self.forget(key, tree),
            }
        }
        let mut new: Vec<&Arc<StoredObject>> = Vec::new();
        for (key, object) in there {
            match self.pods.get(key) {
                Some(entry) if entry.uid != object.uid() => {
                    self.forget(key, tree);
                    new.push(object);
                }
                Some(entry) if entry.revision == object.revision => {}
                Some(_) => {
                    if self.update(key, object) {
                        self.release(key, tree, ctx);
                    }
                }
                None => new.push(object),
            }
        }
        // The older of two pods whose names collide has the plain name, also after a restart.
        new.sort_by_cached_key(|object| age(object));
        for object in new {
            self.welcome(object, tree);
        }
    }

    /// Tells all pods when the store is back: some waited for it.
    fn store_changed(&mut self, view: &ObjectsView) {
        let away = view.stale.is_some();
        if std::mem::replace(&mut self.away, away) && !away {
            self.pods.values().for_each(|entry| tell(&entry.look, DesiredChanged));
        }
    }

    fn welcome(&mut self, object: &Arc<StoredObject>, tree: &Tree) {
        let names = self.names_of(object);
        let rows = rows_of(&names);
        let (desired, reader) = watch::channel(Desired { pod: object.clone(), names, settled: self.settled });
        let name = actor_name(&object.key);
        let doorway = Doorway::new(name.clone(), POD_BOUND);
        let (look, device) = (doorway.door(), doorway.door());
        let parts = self.parts.pod.clone();
        let spec = ChildSpec::actor(name, RestartRule::Transient, doorway, move |_| {
            PodActor::new(parts.clone(), reader.clone())
        })
        .answers::<DesiredChanged>()
        .answers::<DeviceChanged>()
        .done();
        if let Err(fault) = tree.start_child(&self.parts.supervisor, spec) {
            tracing::error!(%fault, pod = %object.key, "the pod's actor could not be started");
        }
        let uid = object.uid().to_owned();
        let entry = Entry { desired, uid, revision: object.revision, look, device, rows };
        self.pods.insert(object.key.clone(), entry);
        self.mentions.read(&object.key, &object.value());
    }

    /// Hands a changed pod to its actor; whether more than its status changed.
    fn update(&mut self, key: &ObjectKey, object: &Arc<StoredObject>) -> bool {
        let names = self.names_of(object);
        let Some(entry) = self.pods.get_mut(key) else { return false };
        let before = entry.desired.borrow().pod.clone();
        entry.revision = object.revision;
        entry.rows = rows_of(&names);
        entry.desired.send_replace(Desired { pod: object.clone(), names, settled: self.settled });
        // A status the pod wrote itself is no news to it.
        let mut without_status = [before.value(), object.value()];
        self.mentions.read(key, &without_status[1]);
        for value in &mut without_status {
            value["status"] = Value::Null;
            metadata::of_mut(value).remove("resourceVersion");
        }
        let is_news = without_status[0] != without_status[1];
        if is_news {
            tell(&entry.look, DesiredChanged);
        }
        is_news
    }

    /// A new spec may cure what killed the pod's actor: if it is held, it gets another chance.
    fn release(&self, key: &ObjectKey, tree: &Tree, ctx: &mut Context<Self>) {
        let (tree, path, pod) = (tree.clone(), self.path_of(key), key.clone());
        ctx.spawn(async move { tree.release(&path).await }.into_actor(self).map(
            move |released, _, _| match released {
                Ok(()) => tracing::info!(%pod, "the pod changed: its held actor is started again"),
                // The tree knows best: as a rule it is not held, and looks by itself.
                Err(fault) => tracing::trace!(%pod, %fault, "the pod's actor was not released"),
            },
        ));
    }

    /// Says which pods nobody acts for any more.
    fn look_for_held(&mut self) {
        let Some(tree) = self.parts.tree.borrow().clone() else { return };
        let (_, held) = pods_in(&tree, &self.parts.supervisor);
        for one in held.iter().filter(|one| !self.held.contains(&one.pod)) {
            let Some(entry) = self.pods.get(&one.pod) else { continue };
            let path = self.path_of(&one.pod);
            let told = self.parts.pod.doors.event.tell(RecordEvent {
                involved_kind: "Pod",
                involved_api_version: "v1",
                key: one.pod.clone(),
                uid: entry.uid.clone(),
                warning: true,
                reason: "Held",
                message: format!(
                    "nobody acts for this pod: its actor ended too often ({}); change the pod or release {path}",
                    one.cause
                ),
            });
            if let Err(why) = told {
                tracing::debug!(%why, pod = %one.pod, "the event of a held pod was not recorded");
            }
        }
        self.held = held.into_iter().map(|one| one.pod).collect();
    }

    fn look_for_held_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(TICK, |actor, ctx| {
            actor.look_for_held();
            actor.look_for_held_later(ctx);
        });
    }

    fn path_of(&self, key: &ObjectKey) -> String {
        format!("{}/{}", self.parts.supervisor, actor_name(key))
    }

    fn stop_actor(&self, key: &ObjectKey, tree: &Tree) {
        if let Err(fault) = tree.stop_child(&self.path_of(key)) {
            tracing::error!(%fault, pod = %key, "the pod's actor could not be stopped");
        }
    }

    fn forget(&mut self, key: &ObjectKey, tree: &Tree) {
        let Some(entry) = self.pods.remove(key) else { return };
        self.mentions.forget(key);
        for row in &entry.rows {
            self.owners.remove(row);
        }
        let prefix = format!("{key}/");
        self.row_names.release(&prefix);
        self.veth_names.release(&prefix);
        self.stop_actor(key, tree);
    }

    /// Tells the pods that may name a ConfigMap or Secret that changed. Costs as much as there are changes.
    fn sources_changed(&mut self) {
        let view = self.parts.pod.objects.view();
        for kind in [self.parts.pod.config_maps, self.parts.pod.secrets] {
            let now = view.kind(&kind).objects.clone();
            let before = self.sources.insert(kind, now.clone()).unwrap_or_default();
            for change in before.diff(&now) {
                let (old, new) = ends(&change);
                if old.map(|source| source.revision) == new.map(|source| source.revision) {
                    continue;
                }
                for pod in old.or(new).into_iter().flat_map(|source| self.mentions.of(&source.key)) {
                    if let Some(entry) = self.pods.get(pod) {
                        tell(&entry.look, DesiredChanged);
                    }
                }
            }
        }
    }

    /// Tells the pods whose rows look different from the last picture.
    fn device_changed(&mut self) {
        let now = self.parts.pod.device.borrow().clone();
        let before = std::mem::replace(&mut self.device, now.clone());
        if now.complete && !self.settled {
            self.settle();
        }
        // After a reboot of the device whatever ran is another run, also where the rows look alike.
        if now.complete != before.complete || now.booted_at != before.booted_at {
            for entry in self.pods.values() {
                tell(&entry.device, DeviceChanged);
            }
            return;
        }
        let mut concerned: BTreeSet<ObjectKey> = BTreeSet::new();
        let mut concern = |name: &str| concerned.extend(self.owners.get(name).cloned());
        for change in before.containers.diff(&now.containers) {
            let (old, new) = ends(&change);
            if old.zip(new).is_some_and(|(old, new)| alike(old, new)) {
                continue;
            }
            for row in old.into_iter().chain(new) {
                concern(&row.name);
                // A container that left the spec still belongs to the pod its interface belongs to.
                row.interfaces.iter().for_each(|veth| concern(veth));
            }
        }
        for change in before.veths.diff(&now.veths) {
            let (old, new) = ends(&change);
            if old.map(|row| &row.addresses) != new.map(|row| &row.addresses) {
                old.into_iter().chain(new).for_each(|row| concern(&row.name));
            }
        }
        for change in before.ports.diff(&now.ports) {
            let (old, new) = ends(&change);
            if old.map(|row| &row.bridge) != new.map(|row| &row.bridge) {
                old.into_iter().chain(new).for_each(|row| concern(&row.interface));
            }
        }
        for key in concerned {
            if let Some(entry) = self.pods.get(&key) {
                tell(&entry.device, DeviceChanged);
            }
        }
    }

    /// Tells the pods of which probes say something else than before.
    fn health_changed(&mut self) {
        let now = self.parts.pod.health.borrow().clone();
        let before = std::mem::replace(&mut self.health, now.clone());
        for change in before.pods.diff(&now.pods) {
            let (DiffItem::Add(key, _) | DiffItem::Update { new: (key, _), .. } | DiffItem::Remove(key, _)) = change;
            if let Some(entry) = self.pods.get(key) {
                tell(&entry.device, DeviceChanged);
            }
        }
    }

    fn follow_tree(&mut self, ctx: &mut Context<Self>) {
        let mut tree = self.parts.tree.clone();
        let waiting = async move { tree.wait_for(Option::is_some).await.is_ok() };
        ctx.spawn(waiting.into_actor(self).map(|alive, actor, ctx| {
            if alive {
                let parts = actor.parts.pod.clone();
                follow(parts.objects.notices(), actor, ctx, Self::objects_changed);
                follow(parts.device.clone(), actor, ctx, |actor, _| actor.device_changed());
                follow(parts.gates.clone(), actor, ctx, |actor, _| actor.gates_changed());
                follow(parts.health.clone(), actor, ctx, |actor, _| actor.health_changed());
            }
        }));
    }
}

/// Equal in everything a pod acts upon; figures and free text aside.
fn alike(one: &ContainerRow, other: &ContainerRow) -> bool {
    one.id == other.id
        && one.state == other.state
        && one.comment == other.comment
        && one.about == other.about
        && one.interfaces == other.interfaces
}

/// The row before and after a change.
fn ends<'a, Key, Row>(change: &DiffItem<'a, 'a, Key, Arc<Row>>) -> (Option<&'a Row>, Option<&'a Row>) {
    match change {
        DiffItem::Add(_, new) => (None, Some(new)),
        DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
        DiffItem::Remove(_, old) => (Some(old), None),
    }
}

pub(crate) fn tell<M: mkube_messages::request::Event>(door: &Door<M>, event: M)
where
    M::Result: Send,
{
    // Full means that it looks soon anyway; away means that it looks when it is back.
    if let Err(why) = door.tell(event) {
        tracing::trace!(actor = door.name(), %why, "not told");
    }
}

impl Actor for PodsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.follow_tree(ctx);
        self.look_for_held_later(ctx);
    }
}
