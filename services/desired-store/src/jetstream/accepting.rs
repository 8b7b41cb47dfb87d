//! An older store is taken as it is, since a person said so. What was known is copied first, and then replaced at once: whoever dies
//! in between leaves either all of the one or all of the other.
//!
//! Only buckets that are older are taken so. In all others goes on what always does: what was lost with the power is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mkube_model::neighbours::desired_store::{Revision, StoreContents, StoreKey};
use mkube_model::neighbours::older_store::{AcceptFault, Accepted, OlderStore};
use tokio::sync::oneshot;

use super::Inner;
use super::attach::{Failure, TOGETHER, use_up};
use super::compare::{Found, Stream};
use super::publish::{Publication, Word, publish};
use super::session::{self, Session};
use super::snapshot::{Batch, Entry, Mark};
use super::state::with_values;
use crate::copy;
use crate::file::blocking;

/// Somebody accepts what this digest stands for.
pub(crate) struct Order {
    pub(crate) digest: String,
    pub(crate) answer: oneshot::Sender<Result<Accepted, AcceptFault>>,
}

/// What was read of a store.
pub(crate) struct Reading {
    pub(crate) streams: BTreeMap<String, Option<Stream>>,
    pub(crate) found: BTreeMap<String, Found>,
}

/// Takes an older store as it is if somebody accepts exactly that; otherwise it is none to be obeyed. The turn is the caller's.
pub(crate) async fn decide(
    inner: &Arc<Inner>,
    session: &Session,
    reading: Reading,
    older: OlderStore,
) -> Result<(), Failure> {
    let Some(order) = inner.with(|state| state.take_order(&older.digest)) else { return Err(Failure::Older(older)) };
    let copy = match keep_copy(inner, &older).await {
        Ok(copy) => copy,
        Err(fault) => {
            let _ = order.answer.send(Err(fault));
            return Err(Failure::Older(older));
        }
    };
    match take(inner, session, reading, &older).await {
        Ok(()) => {
            tracing::warn!(copy = %copy.display(), values = older.losses.len(), "what NATS holds was accepted as it is");
            // Who asked may have left: what was decided stands.
            let _ = order.answer.send(Ok(Accepted { copy, older }));
            Ok(())
        }
        Err(why) => {
            let _ = order.answer.send(Err(AcceptFault::Away(why.clone())));
            Err(Failure::Away(why))
        }
    }
}

/// Writes everything that is known beside the file.
async fn keep_copy(inner: &Arc<Inner>, older: &OlderStore) -> Result<std::path::PathBuf, AcceptFault> {
    let not_copied = |error: &dyn std::fmt::Display| AcceptFault::NotCopied(error.to_string());
    let values = inner.values().await.map_err(|fault| not_copied(&fault))?;
    let (options, why) = (inner.options.clone(), older.why.clone());
    let kept = blocking(move || {
        let contents = with_values(StoreContents::default(), values);
        Ok(copy::beside(&options.path, |out| (options.copy)(&why, &contents.values, out)))
    });
    kept.await.map_err(|fault| not_copied(&fault))?.map_err(|error| not_copied(&error))
}

async fn take(inner: &Arc<Inner>, session: &Session, reading: Reading, older: &OlderStore) -> Result<(), String> {
    let Reading { mut streams, mut found } = reading;
    let known: BTreeMap<String, Option<Mark>> =
        inner.peek(|state| older.buckets.iter().map(|bucket| (bucket.clone(), state.mark(bucket))).collect());
    session::make(session, &inner.options, &mut streams).await?;
    let mut taken: Vec<(String, Mark, bool)> = Vec::new();
    for (bucket, mark) in known {
        let Some(stream) = streams.get(&bucket).copied().flatten() else { continue };
        let is_known = mark.is_some_and(|mark| mark.created == stream.created);
        let keys = found.entry(bucket.clone()).or_default();
        let last = begin_after(inner, session, &bucket, stream.last, is_known, keys).await?;
        taken.push((bucket, Mark { created: stream.created, last }, is_known));
    }
    let batch = inner.peek(|state| {
        let mut batch = Batch::default();
        for (bucket, mark, is_known) in &taken {
            let keys = &found[bucket];
            batch.marks.push((bucket.clone(), *mark));
            let gone = state.keys_of(bucket).map(|(at, _)| at).filter(|at| !keys.contains_key(*at));
            batch.forgotten.extend(gone.cloned());
            let there = keys.iter().map(|(at, (is, value))| Entry { at: at.clone(), is: *is, value: value.clone() });
            batch.known.extend(there);
            if *is_known {
                continue;
            }
            // Revisions say nothing any more of what was to be changed. What was to be made is made all the same, if it is not there.
            let changes = |(at, based): &(&StoreKey, Revision)| *based != 0 && at.bucket == *bucket;
            let waiting = state.waiting.iter().map(|(at, waiting)| (at, waiting.based));
            batch.told.extend(waiting.filter(changes).map(|(at, _)| at.clone()));
            let asked = state.asked.iter().map(|(at, asked)| (at, asked.based));
            batch.answered.extend(asked.filter(changes).map(|(at, _)| at.clone()));
        }
        batch
    });
    let set = |all: &[StoreKey]| all.iter().cloned().collect::<BTreeSet<_>>();
    let (told, answered) = (set(&batch.told), set(&batch.answered));
    inner.write(batch).await.map_err(|fault| fault.to_string())?;
    inner.with(|state| {
        for (bucket, mark, _) in taken {
            state.replace(&bucket, mark, &found[&bucket]);
        }
        state.waiting.retain(|at, _| !told.contains(at));
        state.asked.retain(|at, _| !answered.contains(at));
        state.set_older(None);
        state.set_stale(Some("connected to NATS, what it holds was accepted and is being read".to_owned()));
        state.reload();
    });
    Ok(())
}

/// No revision is given twice: the bucket goes on after the last one that was known, and what it holds of before is written once more
/// as it is. So whoever follows it sees what went back as a change, and then, with the last revision, what is missing go. Answers that.
async fn begin_after(
    inner: &Inner,
    session: &Session,
    bucket: &str,
    mut last: Revision,
    is_known: bool,
    keys: &mut Found,
) -> Result<Revision, String> {
    let highest = inner.peek(|state| state.highest(bucket));
    use_up(session, bucket, highest.saturating_sub(last)).await?;
    last = last.max(highest);
    let is_same = |at, found| is_known && inner.peek(|state| state.known(at)) == Some(found);
    let again: Vec<_> = keys
        .iter()
        .filter(|(at, (found, _))| found.live && found.revision <= highest && !is_same(at, *found))
        .map(|(at, (found, value))| Publication {
            at: at.clone(),
            value: Some(value.clone()),
            expected: Some(found.revision),
        })
        .collect();
    for some in again.chunks(TOGETHER) {
        let words = publish(&session.connection.client, some.to_vec()).await;
        for (one, word) in some.iter().zip(words) {
            match (word, keys.get_mut(&one.at)) {
                (Word::Made(revision), Some((found, _))) => {
                    found.revision = revision;
                    last = last.max(revision);
                }
                (Word::Refused(why) | Word::Unknown(why), _) => return Err(why),
                _ => return Err(format!("somebody else changed {bucket} meanwhile")),
            }
        }
    }
    use_up(session, bucket, 1).await?;
    Ok(last + 1)
}
