//! VolumesActor
//! Owns     what is told of volumes.                      Asks   nobody.
//! Answers  nothing.                                      Tells  nobody: everybody holds a `VolumesReader` on what it publishes.
//! Ticks    every 2 s: what changed in the store; the directories every 5 min, and 10 s after a change.
//! Rebuilds from the published objects and the disk. It deletes nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::objects::{ObjectsReader, ObjectsView};
use mkube_messages::router::{DeviceReader, DeviceSnapshot};
use mkube_messages::volumes::{VolumesPublisher, VolumesView};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::shared_disk::{FoundVolume, SharedDisk};
use tokio::time::Instant;

use crate::plan::PlanSettings;
use crate::volume_list;

/// Pause between two looks.
const TICK: Duration = Duration::from_secs(2);
/// The same before there is anything to tell, and before the first walk.
const FIRST: Duration = Duration::from_millis(200);
/// Pause between two walks through the directories.
const WALK: Duration = Duration::from_secs(300);
/// The same after something changed.
const WALK_SOON: Duration = Duration::from_secs(10);

/// Pods read in one go.
const AT_ONCE: usize = 50;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct VolumesParts {
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// Where directories are seen.
    pub disk: Arc<dyn SharedDisk>,
    /// Where the view is published; outlives the actor.
    pub publisher: VolumesPublisher,
    /// Where volumes lie.
    pub settings: Arc<PlanSettings>,
    /// The kind of pods.
    pub kind: KindId,
}

/// See the module's card.
pub struct VolumesActor {
    parts: VolumesParts,
    /// What was last found on the disk.
    found: Arc<Vec<FoundVolume>>,
    /// Revision of the store that was last told of.
    told: Option<u64>,
    /// When the disk was last looked through.
    walked: Option<Instant>,
    /// The view does not show the last change, or the last walk.
    changed: bool,
}

impl VolumesActor {
    /// A new incarnation.
    pub fn new(parts: VolumesParts) -> Self {
        Self { parts, found: Arc::default(), told: None, walked: None, changed: true }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        if !view.loaded {
            // A store that was not read says nothing about what is wanted.
            return self.look_later(ctx);
        }
        let changed = self.told != Some(view.number);
        self.changed |= changed;
        // What pods mount is told at once; a walk takes its time.
        if self.told.is_none() {
            return self.tell(view, ctx);
        }
        let pause = if self.changed { WALK_SOON } else { WALK };
        if self.walked.is_none_or(|walked| walked.elapsed() >= pause) {
            return self.walk(ctx);
        }
        if changed {
            return self.tell(view, ctx);
        }
        self.look_later(ctx);
    }

    /// Looks through the disk; what could not be read is told as it was.
    fn walk(&mut self, ctx: &mut Context<Self>) {
        let (disk, base) = (self.parts.disk.clone(), self.parts.settings.volumes_base.clone());
        let walking = async move { disk.found_volumes(&base).await };
        ctx.spawn(walking.into_actor(self).map(|found, actor, ctx| {
            actor.walked = Some(Instant::now());
            actor.changed = false;
            match found {
                Ok(found) => actor.found = Arc::new(found.unwrap_or_default()),
                Err(fault) => tracing::warn!(%fault, "the directories of volumes cannot be listed"),
            }
            let view = actor.parts.objects.view();
            actor.tell(view, ctx);
        }));
    }

    fn tell(&mut self, view: Arc<ObjectsView>, ctx: &mut Context<Self>) {
        self.told = Some(view.number);
        let (parts, found) = (self.parts.clone(), self.found.clone());
        let device = self.parts.device.borrow().clone();
        let reading = async move { rows_of(&parts, &view, &device, &found).await };
        ctx.spawn(reading.into_actor(self).map(|told, actor, ctx| {
            actor.parts.publisher.send_replace(Arc::new(told));
            actor.look_later(ctx);
        }));
    }

    fn look_later(&self, ctx: &mut Context<Self>) {
        let pause = if self.walked.is_some() { TICK } else { FIRST };
        ctx.run_later(pause, |actor, ctx| actor.look(ctx));
    }
}

async fn rows_of(
    parts: &VolumesParts,
    view: &ObjectsView,
    device: &DeviceSnapshot,
    found: &[FoundVolume],
) -> VolumesView {
    let stored = view.kind(&parts.kind);
    let mut pods = Vec::new();
    // A look at the text first: most pods mount nothing, and reading a pod costs more than everything else here.
    for pod in stored.objects.values().filter(|pod| pod.text().contains("\"volumeMounts\"")) {
        // Reading a thousand pods takes longer than an actor may: others have their turn in between.
        if pods.len() % AT_ONCE == AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
        pods.push(pod.value());
    }
    let made = |container: &str, volume: &str, secret: bool| parts.disk.made_path(container, volume, secret);
    let rows = volume_list::rows(pods.iter(), device, found, &parts.settings, &made);
    VolumesView { loaded: view.loaded, rows }
}

impl Actor for VolumesActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
