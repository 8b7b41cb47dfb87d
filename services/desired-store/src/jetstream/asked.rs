//! What became of that for which the store was asked by somebody who did not live to note its word.
//!
//! A change goes to the store and into the file at the same time. Whoever is killed in between leaves in the file what may have been made,
//! and may have been acknowledged. So it is not forgotten; and what others did since stays.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreKey};

use super::Inner;
use super::snapshot::{Batch, Entry, Known, Values, Waiting};

/// What the store says by what it holds.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// It was made, and is the last word on its key, with this revision.
    Made(Revision),
    /// The key is as it was: it did not arrive, or was lost with the end of the stream. It waits to be told.
    Open,
    /// The same, where the stream went on: what stands in its place may be what a server brought back.
    WentBack,
    /// Somebody changed the key since, or deleted it.
    Overtaken,
}

/// Whether the last change of a key says what was asked for.
fn is_so(asked: Waiting, value: &Bytes, now: Option<&(Known, Bytes)>) -> bool {
    match now {
        Some((known, stored)) => known.live == asked.live && (!known.live || stored == value),
        None => !asked.live,
    }
}

/// `moved`: the bucket had other changes since it was asked. Pure.
fn became(asked: Waiting, value: &Bytes, now: Option<&(Known, Bytes)>, moved: bool) -> Became {
    let revision = now.map_or(0, |(known, _)| known.revision);
    match (is_so(asked, value, now), revision == asked.based, moved) {
        (true, ..) => Became::Made(revision),
        (false, false, _) => Became::Overtaken,
        (false, true, false) => Became::Open,
        // One that was made, deleted by others and cleaned up leaves nothing either. Their word is the later one.
        (false, true, true) if revision == 0 => Became::Overtaken,
        (false, true, true) => Became::WentBack,
    }
}

/// Buckets that had changes of others since they were asked. `before`: how far each was known then; `now`: how far it is known. Pure.
fn moved<'v>(
    values: &'v Values,
    before: &BTreeMap<String, Revision>,
    now: impl Fn(&str) -> Revision,
) -> BTreeSet<&'v str> {
    let mut by_us: BTreeMap<&str, Revision> = BTreeMap::new();
    for (at, (asked, value)) in &values.asked {
        let found = values.known.get(at);
        let before = before.get(&at.bucket).copied().unwrap_or(0);
        let is_ours = is_so(*asked, value, found) && found.is_some_and(|(known, _)| known.revision > before);
        *by_us.entry(&at.bucket).or_default() += Revision::from(is_ours);
    }
    let went_on = |bucket: &&str| now(bucket) > before.get(*bucket).copied().unwrap_or(0) + by_us[bucket];
    by_us.keys().copied().filter(went_on).collect()
}

/// Finds out what became of everything that was asked for; the turn is the caller's, and what the store holds is known. `before`: how
/// far buckets were known when they were asked. Whether something is to be taken away before it can be told.
pub(crate) async fn resolve(inner: &Inner, before: &BTreeMap<String, Revision>) -> Result<bool, String> {
    if inner.peek(|state| state.asked.is_empty()) {
        return Ok(false);
    }
    let values = inner.values().await.map_err(|fault| fault.to_string())?;
    let mut batch = Batch::default();
    let moved = moved(&values, before, |bucket| inner.peek(|state| state.highest(bucket)));
    for (at, (asked, value)) in &values.asked {
        let (asked, at) = (*asked, at.clone());
        let became = became(asked, value, values.known.get(&at), moved.contains(at.bucket.as_str()));
        tracing::info!(bucket = %at.bucket, key = %at.key, ?became, "it is known what became of a change that was under way");
        let waiting = values.waiting.get(&at);
        match (became, waiting) {
            // What was kept since was based on it.
            (Became::Made(based), Some((waiting, later))) if waiting.based == asked.based => {
                let is = Waiting { based, ..*waiting };
                batch.waiting.push(Entry { at: at.clone(), is, value: later.clone() });
            }
            (Became::Open, None) => batch.waiting.push(Entry { at: at.clone(), is: asked, value: value.clone() }),
            (Became::WentBack, None) => {
                let is = Waiting { went_back: true, ..asked };
                batch.waiting.push(Entry { at: at.clone(), is, value: value.clone() });
            }
            (Became::WentBack, Some((waiting, later))) if waiting.based == asked.based => {
                let is = Waiting { went_back: true, ..*waiting };
                batch.waiting.push(Entry { at: at.clone(), is, value: later.clone() });
            }
            _ => {}
        }
        batch.answered.push(at);
    }
    // What went back goes out of the way, and is not missed then.
    batch.forgotten = batch.waiting.iter().filter(|entry| entry.is.went_back).map(|entry| entry.at.clone()).collect();
    let forgotten = batch.forgotten.clone();
    let waiting: Vec<(StoreKey, Waiting)> = batch.waiting.iter().map(|entry| (entry.at.clone(), entry.is)).collect();
    inner.write(batch).await.map_err(|fault| fault.to_string())?;
    let anew = !forgotten.is_empty();
    inner.with(|state| {
        state.asked.clear();
        forgotten.iter().for_each(|at| state.forget(at));
        waiting.into_iter().for_each(|(at, is)| state.wait(at, is));
        // Provisional revisions are no more.
        state.reload();
    });
    Ok(anew)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_change_is_told_by_what_is_there() {
        let asked = |based, live| Waiting { provisional: 1, based, live, went_back: false };
        let there = |revision, text: &'static str| Some((Known { revision, live: true }, Bytes::from(text)));
        let gone = |revision| Some((Known { revision, live: false }, Bytes::new()));
        let what = |asked, now: Option<(Known, Bytes)>, moved| became(asked, &Bytes::from("v"), now.as_ref(), moved);
        for moved in [false, true] {
            assert_eq!(what(asked(4, true), there(7, "v"), moved), Became::Made(7));
            assert_eq!(what(asked(4, false), gone(7), moved), Became::Made(7));
            assert_eq!(what(asked(4, false), None, moved), Became::Made(0), "and cleaned up");
            assert_eq!(what(asked(4, true), there(8, "theirs"), moved), Became::Overtaken);
            assert_eq!(what(asked(4, true), gone(8), moved), Became::Overtaken);
            assert_eq!(what(asked(4, true), None, moved), Became::Overtaken);
        }
        assert_eq!(what(asked(4, true), there(4, "before"), false), Became::Open);
        assert_eq!(what(asked(4, false), there(4, "before"), false), Became::Open);
        assert_eq!(what(asked(0, true), None, false), Became::Open);
        assert_eq!(what(asked(4, true), there(4, "before"), true), Became::WentBack);
        assert_eq!(what(asked(0, true), None, true), Became::Overtaken, "others may have deleted it");
    }

    #[test]
    fn what_we_changed_ourselves_does_not_count_as_changes_of_others() {
        let at = |key: &str| StoreKey { bucket: "PODS".into(), key: key.into() };
        let asked = Waiting { provisional: 1, based: 0, live: true, went_back: false };
        let mut values = Values::default();
        for key in ["a", "b", "c"] {
            values.asked.insert(at(key), (asked, Bytes::from("v")));
        }
        // Of three that were asked for together the last was lost.
        for (key, revision) in [("a", 8), ("b", 9), ("older", 3)] {
            values.known.insert(at(key), (Known { revision, live: true }, Bytes::from("v")));
        }
        let before = BTreeMap::from([("PODS".to_owned(), 7)]);
        assert!(moved(&values, &before, |_| 9).is_empty());
        assert_eq!(moved(&values, &before, |_| 10), BTreeSet::from(["PODS"]));
    }
}
