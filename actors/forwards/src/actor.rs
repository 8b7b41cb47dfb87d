//! The actor: asks every question of a round, publishes what came, and waits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, SpawnHandle, WrapFuture};
use futures_util::StreamExt;
use mkube_messages::dns::NamesReader;
use mkube_messages::forwards::{ForwardSight, ForwardsPublisher, ForwardsView};
use mkube_model::neighbours::resolver::Resolver;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::follow;

use crate::plan::{Question, questions};

/// Pause after a round in which all was well.
const PAUSE: Duration = Duration::from_secs(60);
/// Pause after a round in which something was not: somebody may be repairing it.
const SHORT_PAUSE: Duration = Duration::from_secs(10);
/// Questions under way at the same time.
const TOGETHER: usize = 8;
/// How long one try may take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Tries of one question: datagrams get lost.
const TRIES: usize = 2;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct ForwardsParts {
    /// Zones.
    pub names: NamesReader,
    /// Who asks.
    pub resolver: Arc<dyn Resolver>,
    /// Where the answers go; outlives the actor.
    pub publish: ForwardsPublisher,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
}

/// See the room's card.
pub struct ForwardsActor {
    parts: ForwardsParts,
    /// The questions of the last round, or of the one under way.
    asked: Vec<Question>,
    busy: bool,
    timer: Option<SpawnHandle>,
}

impl ForwardsActor {
    /// A new incarnation.
    pub fn new(parts: ForwardsParts) -> Self {
        Self { parts, asked: Vec::new(), busy: false, timer: None }
    }

    /// Begins a round when the questions are others than before.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.names.borrow().clone();
        if view.loaded && !self.busy && questions(&view) != self.asked {
            self.ask(ctx);
        }
    }

    fn ask(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let round = questions(&self.parts.names.borrow().clone());
        self.asked.clone_from(&round);
        self.busy = true;
        let (resolver, clock) = (self.parts.resolver.clone(), self.parts.clock.clone());
        let asking = futures_util::stream::iter(round).map(move |question| {
            let (resolver, clock) = (resolver.clone(), clock.clone());
            async move {
                let answer = answer(&*resolver, &question).await;
                ((question.from, question.to), ForwardSight { answer, asked_at: clock.now() })
            }
        });
        let asking = asking.buffered(TOGETHER).collect::<Vec<_>>();
        ctx.spawn(asking.into_actor(self).map(|found, actor, ctx| {
            let all_well = found.iter().all(|(_, sight)| sight.answer.is_ok());
            for ((from, to), sight) in &found {
                if let Err(why) = &sight.answer {
                    tracing::debug!(%from, %to, %why, "a name of another network was not resolved");
                }
            }
            actor.parts.publish.send_replace(Arc::new(ForwardsView { by_pair: found.into_iter().collect() }));
            actor.busy = false;
            let pause = if all_well { PAUSE } else { SHORT_PAUSE };
            actor.timer = Some(ctx.run_later(pause, |actor, ctx| {
                actor.timer = None;
                if !actor.busy {
                    actor.ask(ctx);
                }
            }));
            actor.look(ctx);
        }));
    }
}

async fn answer(resolver: &dyn Resolver, question: &Question) -> Result<BTreeSet<IpAddr>, String> {
    let mut last = Err(String::new());
    for _ in 0..TRIES {
        last = resolver.addresses(question.server, &question.name, PATIENCE).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

impl Actor for ForwardsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.names.clone(), self, ctx, Self::look);
    }
}
