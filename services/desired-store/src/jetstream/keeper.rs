//! Keeps the store there: looks for NATS as long as it takes, hears what happens, begins anew when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use mkube_model::neighbours::older_store::{AcceptFault, OlderStore};
use tokio::time::{Instant, MissedTickBehavior};

use super::Inner;
use super::attach::{Failure, attach};
use super::session::{Incoming, Session};
use super::state::FRESH;

/// Pause before NATS is looked for again: the first one; doubles up to the longest.
const FIRST: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// A bucket nobody hears of for so long has no consumer any more; signs of life come every two seconds.
const SILENCE: Duration = Duration::from_secs(8);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What others did is written into the file so long after it happened.
const WRITE: Duration = Duration::from_secs(1);

/// Never returns.
pub(crate) async fn keep_there(inner: Arc<Inner>) {
    let mut pause = FIRST;
    loop {
        match attach(&inner).await {
            Ok((session, incoming)) => {
                let has_all = AcceptFault::Nothing("the store has everything it acknowledged".to_owned());
                inner.with(|state| state.refuse_order(None, has_all));
                tracing::info!("NATS is there, and everything it holds is known");
                let since = Instant::now();
                let why = follow(&inner, &session, incoming).await;
                tracing::warn!(%why, "NATS is away");
                inner.with(|state| {
                    state.session = None;
                    state.set_stale(Some(why));
                });
                if since.elapsed() >= GOOD {
                    pause = FIRST;
                }
            }
            Err(failure) => {
                let (why, older) = match failure {
                    Failure::Away(why) => (why, None),
                    Failure::Older(older) => (sentence(&older), Some(Arc::new(older))),
                };
                if inner.peek(|state| state.stale().as_ref() != Some(&why)) {
                    tracing::warn!(%why, "NATS is not there");
                }
                inner.with(|state| {
                    match older {
                        // One that came while this was found out is of the next reading.
                        Some(older) => {
                            state.refuse_order(Some(&older.digest), AcceptFault::MovedOn);
                            state.set_older(Some(older));
                        }
                        // It is not forgotten while nobody is there to say otherwise.
                        None => state.refuse_order(None, AcceptFault::Away(why.clone())),
                    }
                    state.tried = true;
                    state.set_stale(Some(why));
                });
            }
        }
        // Whoever decides is not kept waiting.
        let _ = tokio::time::timeout(pause, inner.ordered.notified()).await;
        pause = (pause * 2).min(LONGEST);
    }
}

fn sentence(older: &OlderStore) -> String {
    format!(
        "what NATS holds is older than what was acknowledged: {}. Nothing is written until it has that again; `mkube store status` \
         says what is lost, and `mkube store accept` takes it as it is",
        older.why
    )
}

/// Hears what happens until that ends: why.
async fn follow(inner: &Inner, session: &Session, mut incoming: Incoming) -> String {
    incoming.deliveries.forgive();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = session.over();
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            why = &mut over => return why,
            next = incoming.next(session) => match next {
                Ok(Some(delivered)) => {
                    let fresh = inner.with(|state| {
                        state.heard(delivered.at, delivered.known, delivered.value);
                        state.fresh()
                    });
                    if fresh >= FRESH {
                        inner.full.notify_one();
                    }
                }
                Ok(None) => {}
                Err(why) => {
                    session.fail(&why);
                    return why;
                }
            },
            _ = look.tick() => {
                if let Some(bucket) = Instant::now().checked_sub(SILENCE).and_then(|since| incoming.deliveries.silent_since(since)) {
                    let why = format!("connected to NATS, but nothing is heard of bucket {bucket}");
                    session.fail(&why);
                    return why;
                }
            }
        }
    }
}

/// Writes what others did into the file, some of it together. Never returns.
pub(crate) async fn keep_written(inner: Arc<Inner>) {
    loop {
        // Too much at once, or some of it after a while.
        let _ = tokio::time::timeout(WRITE, inner.full.notified()).await;
        if inner.peek(|state| state.fresh() == 0) {
            continue;
        }
        let _turn = inner.turn.clone().lock_owned().await;
        if let Err(fault) = inner.flush().await {
            tracing::warn!(%fault, "what others wrote cannot be kept here");
        }
    }
}
