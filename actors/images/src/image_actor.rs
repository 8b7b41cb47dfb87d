//! The actor: takes requests, lets them go on or wait, tells how far they have come, collects what nobody needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::images::{EnsureTarball, ImagesPublisher, ImagesView, ResolveImage};
use mkube_messages::objects::ObjectsReader;
use mkube_messages::router::DeviceReader;
use mkube_model::disk_map::DiskMap;
use mkube_model::kinds::KindId;
use mkube_model::neighbours::tarballs::{
    CachedImage, ImageRequest, ProgressSink, PullPhase, PullProgress, Tarball, TarballFault, TarballSource,
};
use mkube_supervision::ChildSpecBuilder;
use tokio::sync::mpsc;

use crate::delivery::Delivery;
use crate::in_use::in_use;
use crate::lanes::Lanes;
use crate::progress::{PullId, Pulls};

/// What is told of pulls is brought up to date this often at most.
const PROGRESS_PACE: Duration = Duration::from_millis(250);
/// News of pulls that may wait to be read; more is dropped, since the next says the same and more.
const NEWS: usize = 256;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct ImageParts {
    /// Where archives come from.
    pub source: Arc<dyn TarballSource>,
    /// How the device spells paths of mkube.
    pub map: DiskMap,
    /// How archives come to the device.
    pub delivery: Delivery,
    /// Where the view is published; outlives the actor.
    pub publisher: ImagesPublisher,
    /// Objects.
    pub objects: ObjectsReader,
    /// The device.
    pub device: DeviceReader,
    /// The kind of pods.
    pub pods: KindId,
    /// Pause between two collections; none are made when it is zero.
    pub gc_interval: Duration,
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<ImageActor>) -> ChildSpecBuilder<ImageActor> {
    spec.answers::<EnsureTarball>().answers::<ResolveImage>()
}

type News = (PullId, PullProgress);

/// See the room's card.
pub struct ImageActor {
    parts: ImageParts,
    lanes: Arc<Lanes>,
    pulls: Pulls,
    /// What is being worked on.
    asked: BTreeMap<PullId, ImageRequest>,
    /// Where pulls tell how far they have come.
    news: mpsc::Sender<News>,
    /// The other end, until the actor is started.
    inbox: Option<mpsc::Receiver<News>>,
    /// A timer for publishing is armed.
    publishing: bool,
    /// The cache is being listed, and is to be listed again after that.
    listing: Option<bool>,
}

impl ImageActor {
    /// A new incarnation.
    pub fn new(parts: ImageParts) -> Self {
        let (news, inbox) = mpsc::channel(NEWS);
        Self {
            parts,
            lanes: Arc::default(),
            pulls: Pulls::default(),
            asked: BTreeMap::new(),
            news,
            inbox: Some(inbox),
            publishing: false,
            listing: None,
        }
    }

    fn publish(&self, change: impl FnOnce(&mut ImagesView)) {
        self.parts.publisher.send_modify(|view| change(Arc::make_mut(view)));
    }

    fn publish_pulls_later(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.publishing, true) {
            return;
        }
        ctx.run_later(PROGRESS_PACE, |actor, _| {
            actor.publishing = false;
            let pulling = actor.pulls.lines();
            actor.publish(|view| view.pulling = pulling);
        });
    }

    fn follow_news(&mut self, mut inbox: mpsc::Receiver<News>, ctx: &mut Context<Self>) {
        let reading = async move {
            let mut heard = Vec::new();
            inbox.recv_many(&mut heard, NEWS).await;
            (inbox, heard)
        };
        ctx.spawn(reading.into_actor(self).map(|(inbox, heard), actor, ctx| {
            for (id, progress) in heard {
                actor.pulls.heard(id, progress);
            }
            actor.publish_pulls_later(ctx);
            // The actor holds a sender itself: it never ends.
            actor.follow_news(inbox, ctx);
        }));
    }

    /// Whoever pulls for `id` tells it here; `pulled` learns whether anything was downloaded.
    fn sink(&self, id: PullId, pulled: Arc<AtomicBool>) -> ProgressSink {
        let news = self.news.clone();
        Arc::new(move |progress: PullProgress| {
            if progress.phase != PullPhase::Resolving {
                pulled.store(true, Ordering::Relaxed);
            }
            // Full: what is dropped is told again, or over.
            let _ = news.try_send((id, progress));
        })
    }

    fn ended(&mut self, id: PullId, result: &Result<Tarball, TarballFault>, ctx: &mut Context<Self>) {
        let image = self.asked.remove(&id).map(|request| request.image).unwrap_or_default();
        if self.pulls.end(id) {
            let pulling = self.pulls.lines();
            self.publish(|view| view.pulling = pulling);
        }
        if let Ok(archive) = result {
            let knows = |one: &CachedImage| one.references.contains(&image) && one.digest == archive.digest;
            if archive.pulled || !self.parts.publisher.borrow().cached.iter().any(knows) {
                self.list(ctx);
            }
        }
    }

    /// Brings what is told of the cache up to date.
    fn list(&mut self, ctx: &mut Context<Self>) {
        if let Some(again) = &mut self.listing {
            *again = true;
            return;
        }
        self.listing = Some(false);
        let source = self.parts.source.clone();
        ctx.spawn(async move { source.cached().await }.into_actor(self).map(|cached, actor, ctx| {
            match cached {
                Ok(cached) => actor.publish(|view| view.cached = cached),
                Err(fault) => tracing::warn!(%fault, "the image cache cannot be listed"),
            }
            if actor.listing.take() == Some(true) {
                actor.list(ctx);
            }
        }));
    }

    // Ticks.

    fn collect_later(&self, ctx: &mut Context<Self>) {
        if !self.parts.gc_interval.is_zero() {
            ctx.run_later(self.parts.gc_interval, Self::collect);
        }
    }

    fn collect(&mut self, ctx: &mut Context<Self>) {
        let (view, device) = (self.parts.objects.view(), self.parts.device.borrow().clone());
        let asked = self.asked.values().cloned();
        let Some(needed) = in_use(&view, &device, &self.parts.pods, &self.parts.map, asked) else {
            tracing::info!("no archive is collected before store and device were read completely");
            return self.collect_later(ctx);
        };
        let (source, delivery) = (self.parts.source.clone(), self.parts.delivery.clone());
        let collecting = async move {
            match source.collect(&needed).await {
                Ok(gone) => {
                    gone.iter().for_each(told_of);
                    delivery.forget(&gone).await;
                }
                Err(fault) => tracing::warn!(%fault, "archives could not be collected"),
            }
        };
        ctx.spawn(collecting.into_actor(self).map(|(), actor, ctx| {
            actor.list(ctx);
            actor.collect_later(ctx);
        }));
    }
}

fn told_of(archive: &CachedImage) {
    tracing::info!(path = %archive.path.display(), bytes = archive.bytes, "nobody needs this archive any more");
}

impl Actor for ImageActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Pulls of an earlier incarnation ended with it.
        self.publish(|view| view.pulling.clear());
        if let Some(inbox) = self.inbox.take() {
            self.follow_news(inbox, ctx);
        }
        self.list(ctx);
        self.collect_later(ctx);
    }
}

impl Handler<EnsureTarball> for ImageActor {
    type Result = ResponseActFuture<Self, Result<Tarball, TarballFault>>;
    fn handle(&mut self, order: EnsureTarball, _ctx: &mut Self::Context) -> Self::Result {
        let EnsureTarball { context, request } = order;
        let id = self.pulls.begin();
        self.asked.insert(id, request.clone());
        let pulled = Arc::new(AtomicBool::new(false));
        let sink = self.sink(id, pulled.clone());
        let (source, lanes, delivery) = (self.parts.source.clone(), self.lanes.clone(), self.parts.delivery.clone());
        let known = self.parts.publisher.borrow().clone();
        let asked = context.clone();
        let work = async move {
            let archive = lanes.ensure(source.as_ref(), &known, &request, sink, asked.deadline).await?;
            Ok(Tarball {
                device_path: delivery.deliver(&request.image, &archive, &asked).await?,
                digest: archive.digest,
                stale: archive.stale,
                bytes: archive.bytes,
                pulled: pulled.load(Ordering::Relaxed),
            })
        };
        let work = context.answered_by("images", work).into_actor(self);
        Box::pin(work.map(move |result, actor, ctx| {
            actor.ended(id, &result, ctx);
            result
        }))
    }
}

impl Handler<ResolveImage> for ImageActor {
    type Result = ResponseActFuture<Self, Result<String, TarballFault>>;
    fn handle(&mut self, question: ResolveImage, _ctx: &mut Self::Context) -> Self::Result {
        let ResolveImage { context, request } = question;
        let (source, lanes) = (self.parts.source.clone(), self.lanes.clone());
        let deadline = context.deadline;
        let work = async move { lanes.resolve(source.as_ref(), &request, deadline).await };
        Box::pin(context.answered_by("images", work).into_actor(self))
    }
}
