//! When an actor looks again though nobody tells it to: at one moment, the next one.

use std::time::Duration;

use actix::{Actor, AsyncContext, Context, SpawnHandle};
use tokio::time::Instant;

/// An actor's own clock. Rings once, at the moment it was last set to.
#[derive(Debug, Default)]
pub struct Alarm {
    set: Option<(SpawnHandle, Instant)>,
    /// Shortest time to a ring.
    shortest: Duration,
}

impl Alarm {
    /// One that never rings sooner than after this time: what it rings for may have to wait for something else.
    pub fn after(shortest: Duration) -> Self {
        Self { set: None, shortest }
    }

    /// What it is set to.
    pub fn at(&self) -> Option<Instant> {
        self.set.as_ref().map(|(_, at)| *at)
    }

    /// It rings no more, until it is set again.
    pub fn stop<A: Actor<Context = Context<A>>>(&mut self, ctx: &mut Context<A>) {
        if let Some((timer, _)) = self.set.take() {
            ctx.cancel_future(timer);
        }
    }

    /// Sets it to this moment, and to no other. `mine` finds it in the actor when it rings.
    pub fn set<A: Actor<Context = Context<A>>>(
        &mut self,
        at: Instant,
        ctx: &mut Context<A>,
        mine: fn(&mut A) -> &mut Self,
        ring: fn(&mut A, &mut Context<A>),
    ) {
        if self.at() == Some(at) {
            return;
        }
        self.stop(ctx);
        let pause = at.saturating_duration_since(Instant::now()).max(self.shortest);
        let timer = ctx.run_later(pause, move |actor, ctx| {
            mine(actor).set = None;
            ring(actor, ctx);
        });
        self.set = Some((timer, at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sleeper {
        alarm: Alarm,
        rung: Vec<Instant>,
    }

    impl Sleeper {
        fn set(&mut self, seconds: u64, ctx: &mut Context<Self>) {
            let at = Instant::now() + Duration::from_secs(seconds);
            self.alarm.set(at, ctx, |sleeper| &mut sleeper.alarm, |sleeper, _| sleeper.rung.push(Instant::now()));
        }
    }

    impl Actor for Sleeper {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Self::Context) {
            let began = Instant::now();
            self.set(1, ctx);
            self.set(3, ctx);
            self.set(3, ctx);
            ctx.run_later(Duration::from_secs(4), |sleeper, ctx| {
                sleeper.set(1, ctx);
                sleeper.alarm.stop(ctx);
                assert_eq!(sleeper.alarm.at(), None);
                sleeper.alarm.shortest = Duration::from_secs(2);
                sleeper.set(1, ctx);
            });
            ctx.run_later(Duration::from_secs(9), move |sleeper, _| {
                let rung: Vec<u64> = sleeper.rung.iter().map(|at| (*at - began).as_secs()).collect();
                assert_eq!((rung, sleeper.alarm.at()), (vec![3, 6], None));
                actix::System::current().stop_with_code(7);
            });
        }
    }

    #[test]
    fn it_rings_once_at_the_moment_it_was_last_set_to() {
        let system = actix::System::new();
        system.block_on(async {
            tokio::time::pause();
            Sleeper::default().start();
        });
        assert_eq!(system.run_with_code().expect("it runs"), 7);
    }
}
