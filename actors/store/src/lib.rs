//! StoreActor: sole owner of the durable store.
//!
//! Owns     the store.                          Asks   nobody.
//! Answers  LoadContents, CommitChanges, LoadNews, AcceptStore.   Tells  nobody; rings a bell when others wrote, and publishes what
//!          an older store lacks.
//! Ticks    every hour: gives unused space back.  Rebuilds  nothing: the store is the state.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use mkube_messages::store::{AcceptStore, CommitChanges, Committed, LoadContents, LoadNews, NewsBell, OlderPublisher};
use mkube_model::neighbours::desired_store::{DesiredStore, StoreContents, StoreFault, StoreNews};
use mkube_model::neighbours::older_store::{AcceptFault, Accepted};
use mkube_supervision::ChildSpecBuilder;
use tokio::sync::Semaphore;

/// Pause between two ringings of the bell: news that come together are taken together.
const BREATH: Duration = Duration::from_millis(5);
/// Pause between two compactions.
const COMPACT: Duration = Duration::from_secs(3600);

/// See the room's card.
pub struct StoreActor {
    store: Arc<dyn DesiredStore>,
    bell: NewsBell,
    older: OlderPublisher,
    /// Orders follow one another: whoever reads sees what was asked to be written before, also when who asked is gone.
    turn: Arc<Semaphore>,
}

/// Registers everything the actor answers.
pub fn answers(spec: ChildSpecBuilder<StoreActor>) -> ChildSpecBuilder<StoreActor> {
    spec.answers::<LoadContents>().answers::<CommitChanges>().answers::<LoadNews>().answers::<AcceptStore>()
}

impl StoreActor {
    /// A new incarnation.
    pub fn new(store: Arc<dyn DesiredStore>, bell: NewsBell, older: OlderPublisher) -> Self {
        Self { store, bell, older, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Publishes what the store lacks. News tell when that changes, and whoever takes them first is not to be the only one who knows.
    fn publish(&self) {
        let older = self.store.older();
        self.older.send_if_modified(|published| {
            let changed = *published != older;
            *published = older;
            changed
        });
    }

    /// Rings whenever there is news.
    fn listen(&self, ctx: &mut Context<Self>) {
        let store = self.store.clone();
        let hearing = async move { store.changed().await }.into_actor(self).map(|(), actor, ctx| {
            actor.publish();
            actor.bell.send_modify(|rung| *rung += 1);
            // Until it was taken there is news all the time.
            ctx.run_later(BREATH, |actor, ctx| actor.listen(ctx));
        });
        ctx.spawn(hearing);
    }

    fn compact_later(&self, ctx: &mut Context<Self>) {
        ctx.run_later(COMPACT, |actor, ctx| {
            let store = actor.store.clone();
            let compacting = async move { store.compact().await }.into_actor(actor).map(|result, actor, ctx| {
                if let Err(fault) = result {
                    tracing::warn!(%fault, "the store could not be compacted");
                }
                actor.compact_later(ctx);
            });
            ctx.spawn(compacting);
        });
    }
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.compact_later(ctx);
        self.listen(ctx);
    }
}

impl Handler<LoadContents> for StoreActor {
    type Result = ResponseActFuture<Self, Result<StoreContents, StoreFault>>;
    fn handle(&mut self, question: LoadContents, _ctx: &mut Self::Context) -> Self::Result {
        let (store, turn) = (self.store.clone(), self.turn.clone());
        let loading = async move {
            let _turn = turn.acquire().await;
            store.load().await
        };
        Box::pin(question.context.answered_by("store", loading).into_actor(self))
    }
}

impl Handler<CommitChanges> for StoreActor {
    type Result = ResponseActFuture<Self, Result<Committed, StoreFault>>;
    fn handle(&mut self, order: CommitChanges, _ctx: &mut Self::Context) -> Self::Result {
        let (store, turn) = (self.store.clone(), self.turn.clone());
        let context = order.context.clone();
        let committing = async move {
            let _turn = turn.acquire().await;
            let outcomes = store.commit(order.changes).await?;
            Ok(Committed { outcomes, news: store.take_news() })
        };
        let committing = context.answered_by("store", committing).into_actor(self);
        Box::pin(committing.map(|committed, actor, _| {
            actor.publish();
            committed
        }))
    }
}

impl Handler<LoadNews> for StoreActor {
    type Result = Result<StoreNews, StoreFault>;
    fn handle(&mut self, _question: LoadNews, _ctx: &mut Self::Context) -> Self::Result {
        self.publish();
        Ok(self.store.take_news())
    }
}

impl Handler<AcceptStore> for StoreActor {
    type Result = ResponseActFuture<Self, Result<Accepted, AcceptFault>>;
    fn handle(&mut self, order: AcceptStore, _ctx: &mut Self::Context) -> Self::Result {
        // Without the turn: readings of what was last known go on meanwhile.
        let store = self.store.clone();
        let context = order.context.clone();
        let accepting = async move { store.accept(&order.digest).await };
        Box::pin(context.answered_by("store", accepting).into_actor(self).map(|accepted, actor, _| {
            actor.publish();
            accepted
        }))
    }
}
