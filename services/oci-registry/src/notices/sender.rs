//! Hands what waits to one target, with patience.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::outbox::{Outbox, Waiting};
use super::{DeliveryFault, NoticePatience, NoticeTarget};

/// Longest pause a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// A notice that was refused.
struct Refusal {
    delivery: String,
    times: u32,
    since: Instant,
    again: Instant,
}

/// Tells one target for ever.
pub(super) async fn run(outbox: Arc<Outbox>, target: Arc<dyn NoticeTarget>, patience: NoticePatience) {
    let mut refusals: HashMap<String, Refusal> = HashMap::new();
    let mut failures = 0u32;
    loop {
        // Enabled before looking, so that nothing put in between is missed.
        let news = outbox.news.notified();
        refusals.retain(|key, refusal| outbox.holds(key, &refusal.delivery));
        let now = Instant::now();
        let due = outbox.oldest(|key, one| {
            refusals.get(key).is_none_or(|refusal| refusal.again <= now || refusal.delivery != one.delivery)
        });
        let Some((key, one)) = due else {
            match refusals.values().map(|refusal| refusal.again).min() {
                Some(again) => {
                    tokio::select! { () = news => {} () = tokio::time::sleep_until(again) => {} }
                }
                None => news.await,
            }
            continue;
        };
        match target.deliver(&one.notice, &one.delivery).await {
            Ok(()) => {
                failures = 0;
                forget(&outbox, &key, &one).await;
            }
            Err(DeliveryFault::Refused(cause)) => {
                failures = 0;
                let fresh = || Refusal { delivery: one.delivery.clone(), times: 0, since: now, again: now };
                let refusal = refusals.entry(key.clone()).or_insert_with(fresh);
                if refusal.delivery != one.delivery {
                    *refusal = fresh();
                }
                if refusal.since.elapsed() >= patience.refused_for {
                    tracing::error!(image = %one.notice.image, to = target.name(), %cause, "a notice was refused too often and is given up");
                    forget(&outbox, &key, &one).await;
                    continue;
                }
                if refusal.times == 0 {
                    tracing::warn!(image = %one.notice.image, to = target.name(), %cause, "a notice was refused; it is tried again for a while");
                }
                refusal.again = Instant::now() + pause(patience, refusal.times);
                refusal.times += 1;
            }
            Err(DeliveryFault::Away { cause, pause: asked }) => {
                if failures == 0 {
                    tracing::warn!(to = target.name(), %cause, waiting = outbox.len(), "a notice was not taken; it is tried again until it is");
                }
                let wait = pause(patience, failures).max(asked.unwrap_or_default().min(LONGEST_ASKED));
                failures = failures.saturating_add(1);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

async fn forget(outbox: &Arc<Outbox>, key: &str, one: &Waiting) {
    let (own, key, delivery) = (outbox.clone(), key.to_owned(), one.delivery.clone());
    let forgotten = tokio::task::spawn_blocking(move || own.forget(&key, &delivery)).await;
    if let Ok(Err(error)) = forgotten {
        tracing::error!(%error, "a notice that was taken cannot be removed; it will be told again");
        // Not at once: whoever tells without end is a nuisance.
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}

/// Doubling, and a little of chance so that many registries do not come at once.
fn pause(patience: NoticePatience, times: u32) -> Duration {
    let whole = patience.first.saturating_mul(1 << times.min(20)).min(patience.longest);
    let chance = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    whole * (192 + chance / 4) / 256
}
