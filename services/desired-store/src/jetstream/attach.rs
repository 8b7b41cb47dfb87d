//! Becoming one with the store: what it holds is compared with what was known, taken over, and told what waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::jetstream;
use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreKey};
use mkube_model::neighbours::older_store::OlderStore;

use super::Inner;
use super::accepting::{Reading, decide};
use super::asked::resolve;
use super::compare::{Found, Strange, Stream, Verdict, compare_keys, compare_streams};
use super::older::{OlderBucket, older_store};
use super::publish::{Publication, Word, publish};
use super::session::{self, Incoming, Session};
use super::snapshot::{Batch, Entry, Known, Mark, Waiting};
use super::state::State;

/// Changes that are told before the word on them is awaited.
pub(crate) const TOGETHER: usize = 256;
/// How often it begins anew because a server has to be rid of something first.
const BEGINNINGS: usize = 3;
/// A key nobody uses: deletions of it use up revisions.
const USED_UP: &str = "mkube-revisions-used-up";

/// Why it did not come to that.
pub(crate) enum Failure {
    /// The store is not there, or does not say everything.
    Away(String),
    /// The store is there and is older than what it acknowledged.
    Older(OlderStore),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Away(why)
    }
}

/// Connects, reads, compares, takes over and tells what waits. Afterwards `incoming` has everything that happened since.
pub(crate) async fn attach(inner: &Arc<Inner>) -> Result<(Arc<Session>, Incoming), Failure> {
    for _ in 0..BEGINNINGS {
        if let Some(attached) = begin(inner).await? {
            return Ok(attached);
        }
    }
    Err(Failure::Away("connected to NATS, which forgets again what was put back".to_owned()))
}

/// Attaches; none: something is to be taken away first, and a server that takes away passes over what consumers did not get yet.
async fn begin(inner: &Arc<Inner>) -> Result<Option<(Arc<Session>, Incoming)>, Failure> {
    let buckets = &inner.options.buckets;
    let session = Arc::new(session::open(&inner.options).await?);
    inner.say("connected to NATS, what it holds is being read");
    let mut streams = session::look(&session, buckets).await?;
    let marks = inner.with(|state| {
        // One in which nothing was ever put can have lost nothing. Two who make it at the same time may hear of two times at which it
        // was made.
        let held = buckets.iter().filter(|bucket| state.keys_of(bucket).any(|(at, _)| at.key != USED_UP));
        held.filter_map(|bucket| Some((bucket.clone(), state.mark(bucket)?))).collect::<BTreeMap<_, _>>()
    });
    let is_strange = !compare_streams(&marks, &streams).is_empty();
    // Nothing is made or mended in a store that is not obeyed.
    if !is_strange {
        session::make(&session, &inner.options, &mut streams).await?;
        clear_the_way(inner, &session).await?;
    }
    let there: Vec<String> = buckets.iter().filter(|bucket| streams[*bucket].is_some()).cloned().collect();
    let (incoming, found) = session::read_all(&session, &there).await?;

    let _turn = inner.turn.clone().lock_owned().await;
    // What is behind is compared by its values as well, so all of them have to be in the file.
    inner.flush().await.map_err(|fault| fault.to_string())?;
    let strange = compare_streams(&marks, &streams);
    let verdicts = verdicts(inner, &streams, &found);
    if let Some(older) = older(inner, (&streams, &strange), &verdicts, &found).await? {
        decide(inner, &session, Reading { streams, found }, older).await?;
        return Ok(None);
    }
    let streams = streams.into_iter().filter_map(|(bucket, stream)| Some((bucket, stream?))).collect();
    let before = inner.peek(|state| buckets.iter().map(|bucket| (bucket.clone(), state.highest(bucket))).collect());
    if take_over(inner, &session, &streams, (verdicts, found)).await? == Next::Anew {
        return Ok(None);
    }
    if resolve(inner, &before).await? {
        return Ok(None);
    }
    if replay(inner, &session).await? == Next::Anew {
        return Ok(None);
    }
    if session.is_over() {
        return Err(Failure::Away("the connection to NATS was lost".to_owned()));
    }
    inner.with(|state| state.begin(session.clone()));
    Ok(Some((session, incoming)))
}

/// What comes after a step.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The next one.
    On,
    /// Everything anew.
    Anew,
}

/// Takes away what stands where something newer was lost. nats-server 2.9 reads the blocks of a stream in the order of their names
/// when it starts: where the two newest changes of a key lie in block 9 and in block 10 it takes away the newer one, does not find
/// the older one any more when it is asked for the last, and takes away at once what is written next. 2.10 does not.
async fn clear_the_way(inner: &Inner, session: &Session) -> Result<(), Failure> {
    let behind = inner.with(|state| {
        let behind = state.waiting.iter().filter(|(_, waiting)| waiting.went_back);
        behind.map(|(at, waiting)| (at.clone(), waiting.based)).collect::<Vec<_>>()
    });
    let context = jetstream::new(session.connection.client.clone());
    for (at, based) in behind {
        let stream = context.get_stream_no_info(format!("KV_{}", at.bucket)).await;
        let stream = stream.map_err(|error| format!("bucket {} cannot be mended: {error}", at.bucket))?;
        // Up to what is known to be there and no further: somebody may have written the key again.
        let purging = stream.purge().filter(format!("$KV.{}.{}", at.bucket, at.key)).sequence(based + 1);
        purging.await.map_err(|error| format!("{}/{} cannot be put back: {error}", at.bucket, at.key))?;
    }
    Ok(())
}

/// What is known of a bucket, as far as it would be missed.
fn missed<'s>(state: &'s State, bucket: &str, keys: &'s Found) -> impl Iterator<Item = (&'s StoreKey, Known)> {
    // One that may have been deleted is not missed.
    let deletes = |at| state.asked.get(at).is_some_and(|asked| !asked.live);
    state.keys_of(bucket).filter(move |(at, _)| keys.contains_key(*at) || !deletes(*at))
}

/// What comes of comparing each bucket that is there with what was known of it.
fn verdicts(
    inner: &Inner,
    streams: &BTreeMap<String, Option<Stream>>,
    found: &BTreeMap<String, Found>,
) -> BTreeMap<String, Verdict> {
    let verdict = |(bucket, stream): (&String, &Option<Stream>)| {
        let (stream, keys) = ((*stream)?, found.get(bucket)?);
        let verdict = inner.peek(|state| match state.mark(bucket) {
            Some(_) => compare_keys(state.highest(bucket), missed(state, bucket, keys), stream, keys),
            None => Verdict::Same,
        });
        Some((bucket.clone(), verdict))
    };
    streams.iter().filter_map(verdict).collect()
}

/// Whether the store is older than what it acknowledged, in a way that is not made good, and what it lacks then.
async fn older(
    inner: &Inner,
    (streams, strange): (&BTreeMap<String, Option<Stream>>, &Strange<'_>),
    verdicts: &BTreeMap<String, Verdict>,
    found: &BTreeMap<String, Found>,
) -> Result<Option<OlderStore>, Failure> {
    let why_of = |bucket: &String| match verdicts.get(bucket) {
        Some(Verdict::Older(why)) => Some(why.clone()),
        _ => None,
    };
    let is_older = |bucket: &String| strange.has(bucket) || why_of(bucket).is_some();
    if !streams.keys().any(is_older) {
        return Ok(None);
    }
    let values = inner.values().await.map_err(|fault| fault.to_string())?;
    let nothing = Found::new();
    let mut why = strange.sentences();
    why.extend(streams.keys().filter(|bucket| !strange.has(bucket)).filter_map(why_of));
    let buckets: Vec<OlderBucket<'_>> = streams
        .iter()
        .filter(|(name, _)| is_older(name))
        .map(|(name, stream)| {
            let keys = found.get(name).unwrap_or(&nothing);
            let known = inner.peek(|state| missed(state, name, keys).map(|(at, known)| (at.clone(), known)).collect());
            OlderBucket { name, stream: *stream, is_known: !strange.has(name), known, found: keys }
        })
        .collect();
    Ok(Some(older_store(why.join("; "), &buckets, &values.known)))
}

/// What the store holds is what is known from now on. What it has lost waits to be told again.
async fn take_over(
    inner: &Arc<Inner>,
    session: &Session,
    streams: &BTreeMap<String, Stream>,
    (mut verdicts, found): (BTreeMap<String, Verdict>, BTreeMap<String, Found>),
) -> Result<Next, Failure> {
    // With them whether something older is there in their place.
    let mut lost: Vec<(StoreKey, bool)> = Vec::new();
    let mut to_use_up: Vec<(String, Revision)> = Vec::new();
    for (bucket, stream) in streams {
        match verdicts.remove(bucket).unwrap_or(Verdict::Same) {
            // Whoever lists what is empty continues from a revision that nothing had: none would mean any.
            Verdict::Same if stream.last == 0 => to_use_up.push((bucket.clone(), 1)),
            Verdict::Same => {}
            // It was decided before whether that is accepted.
            Verdict::Older(why) => return Err(Failure::Away(why)),
            Verdict::Lost { missing, keys } => {
                tracing::warn!(%bucket, missing, keys = keys.len(), "NATS lost changes it had acknowledged; they are put back");
                if missing > 0 {
                    to_use_up.push((bucket.clone(), missing));
                }
                let went_back = |at: &StoreKey| {
                    let was = inner.peek(|state| state.known(at)).map_or(0, |known| known.revision);
                    was <= stream.last && found.get(bucket).is_some_and(|keys| keys.contains_key(at))
                };
                lost.extend(keys.into_iter().map(|at| (at.clone(), went_back(&at))));
            }
        }
    }
    for at in inner.with(State::take_doubted) {
        let known = inner.peek(|state| state.known(&at));
        let has = found.get(&at.bucket).and_then(|keys| keys.get(&at));
        if known.is_some() && has.map(|(has, _)| *has) == known {
            tracing::warn!(bucket = %at.bucket, key = %at.key, "NATS holds a key and does not find it; it is put back");
            lost.push((at, true));
        }
    }
    let anew = lost.iter().any(|(_, went_back)| *went_back);
    if !to_use_up.is_empty() || !lost.is_empty() {
        wait_again(inner, lost, &found).await?;
        // A revision is given to one change only: those that were lost are used up before the next one is asked for.
        for (bucket, missing) in to_use_up {
            use_up(session, &bucket, missing).await?;
        }
    }
    if anew {
        return Ok(Next::Anew);
    }
    inner.with(|state| {
        for (bucket, stream) in streams {
            let vanished: Vec<StoreKey> = state
                .keys_of(bucket)
                .filter(|(at, _)| !found.get(bucket).is_some_and(|keys| keys.contains_key(*at)))
                .map(|(at, _)| at.clone())
                .collect();
            vanished.iter().for_each(|at| state.cleaned_up(at));
            let last = stream.last.max(state.highest(bucket)).max(1);
            state.set_mark(bucket, Mark { created: stream.created, last });
        }
        let mut changes: Vec<(StoreKey, (Known, Bytes))> = found.into_values().flatten().collect();
        changes.sort_by_key(|(_, (known, _))| known.revision);
        for (at, (known, value)) in changes {
            state.heard(at, known, value);
        }
    });
    inner.flush().await.map_err(|fault| fault.to_string())?;
    Ok(Next::On)
}

/// Puts what the store has lost to what waits, and forgets that the store ever had it.
async fn wait_again(
    inner: &Arc<Inner>,
    lost: Vec<(StoreKey, bool)>,
    found: &BTreeMap<String, Found>,
) -> Result<(), Failure> {
    let values = inner.values().await.map_err(|fault| fault.to_string())?;
    let mut batch = Batch::default();
    inner.with(|state| {
        for (at, went_back) in lost {
            let has = found.get(&at.bucket).and_then(|keys| keys.get(&at));
            let based = has.map_or(0, |(known, _)| known.revision);
            // What it was asked for last is later than what it had.
            if state.asked.remove(&at).is_some() {
                batch.answered.push(at.clone());
            }
            let later = values.waiting.get(&at).or_else(|| values.asked.get(&at));
            let (is, value) = match (later, values.known.get(&at)) {
                (Some((waiting, value)), _) => (Waiting { based, went_back, ..*waiting }, value.clone()),
                (None, Some((known, value))) => {
                    let provisional = state.next_provisional();
                    (Waiting { provisional, based, live: known.live, went_back }, value.clone())
                }
                (None, None) => continue,
            };
            batch.forgotten.push(at.clone());
            batch.waiting.push(Entry { at, is, value });
        }
        batch.provisional = Some(state.provisional());
    });
    let waiting: Vec<(StoreKey, Waiting)> = batch.waiting.iter().map(|entry| (entry.at.clone(), entry.is)).collect();
    inner.write(batch).await.map_err(|fault| fault.to_string())?;
    inner.with(|state| {
        for (at, is) in waiting {
            state.forget(&at);
            state.wait(at, is);
        }
        state.reload();
    });
    Ok(())
}

pub(crate) async fn use_up(session: &Session, bucket: &str, mut missing: Revision) -> Result<(), String> {
    let at = StoreKey { bucket: bucket.to_owned(), key: USED_UP.to_owned() };
    while missing > 0 {
        let together = missing.min(TOGETHER as Revision);
        let one = Publication { at: at.clone(), value: None, expected: None };
        let many = (0..together).map(|_| one.clone()).collect();
        for word in publish(&session.connection.client, many).await {
            if let Word::Unknown(why) | Word::Refused(why) = word {
                return Err(why);
            }
        }
        missing -= together;
    }
    Ok(())
}

/// Tells the store what waits, where nobody else changed the key since.
async fn replay(inner: &Arc<Inner>, session: &Session) -> Result<Next, Failure> {
    if inner.with(|state| state.waiting.is_empty()) {
        return Ok(Next::On);
    }
    let mut next = Next::On;
    let values = inner.values().await.map_err(|fault| fault.to_string())?;
    let mut waiting: Vec<(StoreKey, (Waiting, Bytes))> = values.waiting.into_iter().collect();
    waiting.sort_by_key(|(_, (waiting, _))| waiting.provisional);
    tracing::info!(changes = waiting.len(), "NATS is told what was kept for it");
    for some in waiting.chunks(TOGETHER) {
        let mut done: Vec<StoreKey> = Vec::new();
        let mut lost: Vec<StoreKey> = Vec::new();
        let mut to_tell = Vec::new();
        for (at, (waiting, value)) in some {
            let now = values.known.get(at);
            let is_so = match now {
                Some((known, stored)) => known.live == waiting.live && (!known.live || stored == value),
                None => !waiting.live,
            };
            let revision = now.map_or(0, |(known, _)| known.revision);
            let is_based_on_it = revision == waiting.based || waiting.went_back && revision == 0;
            if is_so {
                done.push(at.clone());
            } else if is_based_on_it {
                to_tell.push((at, waiting, value, revision));
            } else {
                lost.push(at.clone());
            }
        }
        let publications = to_tell.iter().map(|(at, waiting, value, revision)| Publication {
            at: (*at).clone(),
            value: waiting.live.then(|| (*value).clone()),
            expected: Some(*revision),
        });
        let words = publish(&session.connection.client, publications.collect()).await;
        let mut failure = None;
        let mut not_found = Batch::default();
        for ((at, waiting, value, revision), word) in to_tell.iter().zip(words) {
            match word {
                Word::Made(revision) => {
                    let known = Known { revision, live: waiting.live };
                    inner.with(|state| state.made((*at).clone(), known, (*value).clone()));
                    done.push((*at).clone());
                }
                // It holds something there, and does not find it.
                Word::Mismatch(Some(0)) if *revision > 0 => {
                    let is = Waiting { based: *revision, went_back: true, ..**waiting };
                    not_found.forgotten.push((*at).clone());
                    not_found.waiting.push(Entry { at: (*at).clone(), is, value: (*value).clone() });
                }
                Word::Mismatch(_) => lost.push((*at).clone()),
                Word::Refused(why) => {
                    tracing::warn!(bucket = %at.bucket, key = %at.key, %why, "NATS does not take a change that was kept for it");
                    lost.push((*at).clone());
                }
                Word::NobodyListens => failure = Some("JetStream is not there".to_owned()),
                Word::Unknown(why) => failure = Some(why),
            }
        }
        settle(inner, done, lost).await?;
        if !not_found.is_empty() {
            let waiting: Vec<_> = not_found.waiting.iter().map(|entry| (entry.at.clone(), entry.is)).collect();
            inner.write(not_found).await.map_err(|fault| fault.to_string())?;
            inner.with(|state| {
                for (at, is) in waiting {
                    state.forget(&at);
                    state.wait(at, is);
                }
            });
            next = Next::Anew;
        }
        if let Some(why) = failure {
            return Err(Failure::Away(why));
        }
    }
    Ok(next)
}

/// These wait no longer.
async fn settle(inner: &Arc<Inner>, done: Vec<StoreKey>, lost: Vec<StoreKey>) -> Result<(), Failure> {
    let batch = inner.with(|state| {
        for at in done.iter().chain(&lost) {
            state.waiting.remove(at);
        }
        for at in &lost {
            tracing::warn!(bucket = %at.bucket, key = %at.key, "somebody else changed it while NATS was away; what was kept for it is dropped");
            state.lost(at.clone());
        }
        // Provisional revisions are no more.
        state.reload();
        Batch { told: done.into_iter().chain(lost).collect(), ..state.take_batch() }
    });
    inner.write(batch).await.map_err(|fault| Failure::Away(fault.to_string()))
}
