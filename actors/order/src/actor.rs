//! The actor: looks at what is published, asks the pure parts, and publishes what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, SpawnHandle};
use imbl::ordmap::DiffItem;
use mkube_messages::door::Door;
use mkube_messages::gates::{BootPlan, BootPlanPublisher, Drain, Gate, GatesPublisher, GatesView, Standing};
use mkube_messages::objects::{KindView, ObjectKey, ObjectsReader, ObjectsView, RecordEvent, StoredObject};
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_model::kinds::{KindId, share_of};
use mkube_model::workloads::{DRAIN, says_true};
use mkube_supervision::follow;
use serde_json::Value;
use tokio::time::Instant;

use crate::drain::{Candidate, to_stop};
use crate::plan::{Plan, plan};
use crate::rules::Rules;
use crate::sight::{PodSight, Rows, may_be_ordered, rows_of};
use crate::start::{Memory, Seen, Telling, decide};

/// Longest pause between two looks; only so that nothing rests on one wake-up that got lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Shortest pause between two looks: of what happens meanwhile, one look sees all.
const PACE: Duration = Duration::from_millis(20);

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct OrderParts {
    /// The kind of pods.
    pub pods: KindId,
    /// The kind of nodes.
    pub nodes: KindId,
    /// The kind of Deployments.
    pub deployments: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// Events.
    pub event: Door<RecordEvent>,
    /// Where gates are published; outlives the actor.
    pub gates: GatesPublisher,
    /// Where the order is published for people; outlives the actor.
    pub plan: BootPlanPublisher,
    /// Name of the node.
    pub node_name: String,
    /// How the order is kept.
    pub rules: Rules,
}

/// See the room's card.
pub struct OrderActor {
    parts: OrderParts,
    /// Pods that may say something of the order.
    ordered: BTreeSet<ObjectKey>,
    /// The view they were read from.
    read_from: Arc<KindView>,
    /// Every pod, while somebody has a place in the order or the node is emptied; most controllers have no need for it.
    pods: BTreeMap<ObjectKey, PodSight>,
    plan: Plan,
    memory: Memory,
    /// The boot of the device that the memory is of.
    boots: Option<u64>,
    timer: Option<SpawnHandle>,
    /// When it last looked.
    looked: Option<Instant>,
}

impl OrderActor {
    /// A new incarnation.
    pub fn new(parts: OrderParts) -> Self {
        Self {
            parts,
            ordered: BTreeSet::new(),
            read_from: Arc::default(),
            pods: BTreeMap::new(),
            plan: Plan::default(),
            memory: Memory::default(),
            boots: None,
            timer: None,
            looked: None,
        }
    }

    /// Something happened.
    fn wake(&mut self, ctx: &mut Context<Self>) {
        let since = self.looked.map_or(PACE, |looked| looked.elapsed());
        if since >= PACE { self.look(ctx) } else { self.look_later(ctx, PACE - since) }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        let device = self.parts.device.borrow().clone();
        if !view.loaded || !device.complete {
            return;
        }
        if self.boots.replace(device.boots) != Some(device.boots) {
            self.memory = Memory::default();
        }
        let node = view.get(&self.parts.nodes, &ObjectKey::new("", self.parts.node_name.as_str()));
        // A look at the text first: this is asked often, and true seldom.
        let drains = node.is_some_and(|node| node.text().contains(DRAIN) && says_true(&node.value(), DRAIN));
        self.read_pods(&view, drains);
        let now = Instant::now();
        self.looked = Some(now);
        let wake = if drains { self.empty_node(&view, &device) } else { self.let_start(&view, &device, now) };
        let pause = wake.map_or(LONGEST_PAUSE, |wake| wake.saturating_duration_since(now).min(LONGEST_PAUSE));
        self.look_later(ctx, pause.max(Duration::from_millis(1)));
    }

    /// Reads the pods that changed.
    fn read_pods(&mut self, view: &ObjectsView, drains: bool) {
        let kind = view.kind(&self.parts.pods);
        let before = std::mem::replace(&mut self.read_from, kind.clone());
        let had_all = !self.pods.is_empty();
        let mut changed: Vec<(&ObjectKey, Option<&Arc<StoredObject>>)> = Vec::new();
        for change in before.objects.diff(&kind.objects) {
            match change {
                DiffItem::Add(key, object) | DiffItem::Update { new: (key, object), .. } => {
                    changed.push((key, Some(object)))
                }
                DiffItem::Remove(key, _) => changed.push((key, None)),
            }
        }
        for (key, object) in &changed {
            if object.is_some_and(|object| may_be_ordered(object)) {
                self.ordered.insert((*key).clone());
            } else {
                self.ordered.remove(*key);
            }
        }
        if self.ordered.is_empty() && !drains {
            self.pods.clear();
            self.plan = Plan::default();
            return;
        }
        if !had_all {
            changed = kind.objects.iter().map(|(key, object)| (key, Some(object))).collect();
        }
        let mut other_members = !had_all;
        for (key, object) in changed {
            let sight = object.map(|object| PodSight::of(object));
            other_members |= sight.as_ref().map(|sight| &sight.member) != self.pods.get(key).map(|sight| &sight.member);
            match sight {
                Some(sight) => drop(self.pods.insert(key.clone(), sight)),
                None => drop(self.pods.remove(key)),
            }
        }
        if other_members {
            let members: Vec<_> = self.pods.values().map(|sight| sight.member.clone()).collect();
            self.plan = plan(&members);
        }
    }

    /// Opens gates in the order of the plan.
    fn let_start(&mut self, view: &ObjectsView, device: &DeviceSnapshot, now: Instant) -> Option<Instant> {
        let rows = if self.plan.pods.is_empty() { BTreeMap::new() } else { rows_of(device, &self.pods) };
        let seen = |key: &ObjectKey| {
            let rows = rows.get(key).copied().unwrap_or_default();
            self.pods.get(key).map(|sight| sight.seen(rows)).unwrap_or_default()
        };
        let seen: Vec<Seen> = self.plan.pods.iter().map(|pod| seen(&pod.key)).collect();
        let replicas = |key: &ObjectKey| {
            let deployment = view.get(&self.parts.deployments, key)?.value();
            usize::try_from(deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1)).ok()
        };
        let decision = decide(&self.plan, &seen, &replicas, &mut self.memory, now, self.parts.rules);
        let view = GatesView { decided: true, boots: device.boots, drain: None, gates: decision.gates };
        self.publish(view, BootPlan { decided: true, drain: None, pods: decision.rows });
        for telling in decision.tellings {
            self.tell(telling);
        }
        decision.wake
    }

    /// Closes gates against the order of the plan, level by level. What was remembered of starting is void: whoever is started again
    /// is started in order.
    fn empty_node(&mut self, view: &ObjectsView, device: &DeviceSnapshot) -> Option<Instant> {
        self.memory = Memory::default();
        let rows = rows_of(device, &self.pods);
        let runs = |key: &ObjectKey| rows.get(key).copied().is_some_and(Rows::has_process);
        let levels: BTreeMap<&ObjectKey, usize> = self.plan.pods.iter().map(|pod| (&pod.key, pod.level)).collect();
        let candidate = |(key, sight): (&ObjectKey, &PodSight)| Candidate {
            key: key.clone(),
            level: levels.get(key).copied().unwrap_or(usize::MAX),
            deployment: sight.member.deployment.as_ref().and_then(|name| {
                let key = ObjectKey::new(key.namespace.as_str(), name.as_str());
                let deployment = view.get(&self.parts.deployments, &key)?.value();
                Some((key, may_be_missing(&deployment)))
            }),
            // A paused pod is not stopped: whoever would be stopped after it does not wait for it.
            runs: runs(key) && !sight.stays,
        };
        let candidates: Vec<Candidate> = self.pods.iter().map(candidate).collect();
        let is_stop = |(key, gate): (&ObjectKey, &Gate)| matches!(gate, Gate::Stop { .. }).then(|| key.clone());
        let stopping = self.parts.gates.borrow().gates.iter().filter_map(is_stop).collect();
        let stop = to_stop(&candidates, &stopping);
        let drain = Drain { left: self.pods.keys().filter(|key| runs(key)).count(), pods: candidates.len() };
        // Whoever is to run a little longer may come back from a crash meanwhile.
        let gate = |key: &ObjectKey| if stop.contains(key) { Gate::drained() } else { Gate::Open };
        let gates = self.pods.keys().map(|key| (key.clone(), gate(key))).collect();
        let nobody = decide(
            &self.plan,
            &vec![Seen::default(); self.plan.pods.len()],
            &|_| None,
            &mut Memory::default(),
            Instant::now(),
            self.parts.rules,
        );
        let mut planned = nobody.rows;
        for row in &mut planned {
            (row.waits_for, row.message) = (Vec::new(), String::new());
            row.standing = if runs(&row.pod) { Standing::Ready } else { Standing::Stopped };
        }
        self.publish(
            GatesView { decided: true, boots: device.boots, drain: Some(drain), gates },
            BootPlan { decided: true, drain: Some(drain), pods: planned },
        );
        None
    }

    /// Publishes what changed.
    fn publish(&self, gates: GatesView, plan: BootPlan) {
        self.parts.gates.send_if_modified(|published| replace(published, gates));
        self.parts.plan.send_if_modified(|published| replace(published, plan));
    }

    fn tell(&self, telling: Telling) {
        let Some(pod) = self.plan.pods.get(telling.pod) else { return };
        tracing::info!(pod = %pod.key, reason = telling.reason, message = telling.message, "boot order");
        let told = self.parts.event.tell(RecordEvent {
            involved_kind: "Pod",
            involved_api_version: "v1",
            key: pod.key.clone(),
            uid: self.pods.get(&pod.key).map(|sight| sight.uid.clone()).unwrap_or_default(),
            warning: true,
            reason: telling.reason,
            message: telling.message,
        });
        if let Err(why) = told {
            tracing::debug!(%why, reason = telling.reason, "an event was not recorded");
        }
    }

    fn look_later(&mut self, ctx: &mut Context<Self>, pause: Duration) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(pause, |actor, ctx| {
            actor.timer = None;
            actor.look(ctx);
        }));
    }
}

/// How many pods of a Deployment may be missing at a time, while it is updated or taken away.
fn may_be_missing(deployment: &Value) -> usize {
    let replicas = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    let given = deployment.pointer("/spec/strategy/rollingUpdate/maxUnavailable");
    let all = deployment.pointer("/spec/strategy/type").is_some_and(|kind| kind == "Recreate");
    let missing = match given.and_then(|given| share_of(given, replicas)) {
        _ if all => replicas,
        Some((missing, _)) => missing,
        None => replicas / 4,
    };
    usize::try_from(missing).unwrap_or(usize::MAX).max(1)
}

fn replace<T: PartialEq>(published: &mut Arc<T>, new: T) -> bool {
    let is_news = **published != new;
    if is_news {
        *published = Arc::new(new);
    }
    is_news
}

impl Actor for OrderActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.objects.notices(), self, ctx, Self::wake);
        follow(self.parts.device.clone(), self, ctx, Self::wake);
    }
}
