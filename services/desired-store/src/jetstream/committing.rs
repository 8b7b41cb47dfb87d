//! What becomes of a batch: told to the store, or kept while it is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use mkube_model::neighbours::desired_store::{Conflict, Expected, Outcome, Revision, StoreChange, StoreFault};

use super::Inner;
use super::publish::{Publication, Word, is_key, is_too_long, publish};
use super::session::Session;
use super::snapshot::{Batch, Known};
use super::state::check;

/// How long what others did before may take to be heard of.
const HEARD: Duration = Duration::from_secs(2);

/// Changes of at most so many bytes are written here while the store is asked. They are written twice: what it is asked for, and what
/// it has.
const AT_ONCE: usize = 64 << 10;

/// While it lives, what is heard is not told yet: it may be our own.
struct Committing<'i>(&'i Inner);

impl<'i> Committing<'i> {
    fn begin(inner: &'i Inner) -> Self {
        inner.with(|state| state.committing = true);
        Self(inner)
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.committing = false);
    }
}

/// Applies a batch. The turn is ours.
pub(crate) async fn commit(inner: &Arc<Inner>, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
    for change in &changes {
        if !is_key(&change.at.key) {
            let at = format!("{}/{}", change.at.bucket, change.at.key);
            let why = "a name in NATS has letters, digits, '-', '_', '=', '/', and single '.' in between";
            return Err(StoreFault::Unwritable(format!("{at}: {why}")));
        }
    }
    let session = inner.peek(|state| state.session.clone()).filter(|session| !session.is_over());
    match session {
        Some(session) => {
            let _committing = Committing::begin(inner);
            tell(inner, &session, changes).await
        }
        None => keep(inner, changes).await,
    }
}

/// Changes that are known not to fit, and those to ask the store about.
enum Next {
    Ask(Publication),
    Conflict(Conflict),
}

fn next(inner: &Inner, change: &StoreChange) -> Next {
    let known = inner.peek(|state| state.known(&change.at));
    let found = known.filter(|known| known.live).map(|known| known.revision);
    let expected = match (change.expected, known) {
        (Expected::Any, _) => None,
        (Expected::Absent, None) => Some(0),
        (Expected::Absent, Some(marker)) if !marker.live => Some(marker.revision),
        // Something newer than what is known here may be there; the store decides.
        (Expected::At(revision), Some(known)) if known.live && known.revision <= revision => Some(revision),
        (Expected::At(_) | Expected::Absent, _) => {
            return Next::Conflict(Conflict { at: change.at.clone(), expected: change.expected, found });
        }
    };
    Next::Ask(Publication { at: change.at.clone(), value: change.value.clone(), expected })
}

async fn tell(inner: &Arc<Inner>, session: &Session, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
    let client = &session.connection.client;
    for change in &changes {
        if change.value.as_ref().is_some_and(|value| is_too_long(client, value)) {
            let at = format!("{}/{}", change.at.bucket, change.at.key);
            let limit = client.server_info().max_payload;
            return Err(StoreFault::Unwritable(format!(
                "{at} is longer than the NATS server takes (max_payload {limit})"
            )));
        }
    }
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    // Conflicts whose key is to be looked at once everything up to them was heard.
    let mut mismatches: BTreeMap<usize, Option<Revision>> = BTreeMap::new();
    let mut heard: BTreeMap<&str, Revision> = BTreeMap::new();
    let mut rest: Vec<usize> = (0..changes.len()).collect();
    let length: usize = changes.iter().filter_map(|change| change.value.as_ref()).map(bytes::Bytes::len).sum();
    // Everything that has to be in the file is in it.
    let mut is_written = true;
    while !rest.is_empty() {
        // Two changes of one key follow one another.
        let mut taken = BTreeSet::new();
        let (now, later): (Vec<usize>, Vec<usize>) = rest.iter().partition(|nth| taken.insert(&changes[**nth].at));
        rest = later;
        let mut asked = Vec::new();
        let mut publications = Vec::new();
        for nth in now {
            match next(inner, &changes[nth]) {
                Next::Ask(publication) => {
                    asked.push(nth);
                    publications.push(publication);
                }
                Next::Conflict(conflict) => drop(outcomes.insert(nth, Err(conflict))),
            }
        }
        let (words, written) = ask(inner, client, publications, length <= AT_ONCE).await;
        is_written &= written && words.iter().all(|word| matches!(word, Word::Made(_)));
        if let Some(fault) = fault(&words, outcomes.values().any(Result::is_ok)) {
            if !matches!(fault, StoreFault::Unwritable(_)) {
                session.fail(&fault.to_string());
            }
            // What is said to be refused must not be told at the next start.
            return match inner.flush().await {
                Ok(()) => Err(fault),
                Err(unwritten) => Err(StoreFault::Away(format!("{fault}, and {unwritten}"))),
            };
        }
        for (nth, word) in asked.into_iter().zip(words) {
            let change = &changes[nth];
            let until = heard.entry(&change.at.bucket).or_default();
            match word {
                Word::Made(revision) => {
                    let known = Known { revision, live: change.value.is_some() };
                    let value = change.value.clone().unwrap_or_default();
                    inner.with(|state| state.made(change.at.clone(), known, value));
                    *until = revision.max(*until);
                    outcomes.insert(nth, Ok(revision));
                }
                Word::Mismatch(last) => {
                    *until = last.unwrap_or(0).max(*until);
                    mismatches.insert(nth, last);
                }
                Word::Refused(_) | Word::NobodyListens | Word::Unknown(_) => {}
            }
        }
    }
    let flushed = async { if is_written { Ok(()) } else { inner.flush().await } };
    let (heard, written) = tokio::join!(inner.heard_up_to(&heard, HEARD), flushed);
    if let Err(fault) = written {
        return Err(StoreFault::Away(format!("NATS has the change, but {fault}")));
    }
    if !heard {
        // What is missing is found out by reading everything again.
        session.fail("JetStream does not say any more what changes");
        inner.with(|state| state.reload());
    }
    for (nth, last) in mismatches {
        let change = &changes[nth];
        let (known, found) = inner.peek(|state| (state.known(&change.at), state.live(&change.at)));
        if last.is_some_and(|last| last != known.map_or(0, |known| known.revision)) && check(change, found).is_ok() {
            if last == Some(0) {
                inner.with(|state| state.doubt(change.at.clone()));
            }
            session.fail("a bucket was changed in a way that is not told");
            inner.with(|state| state.reload());
        }
        outcomes.insert(nth, Err(Conflict { at: change.at.clone(), expected: change.expected, found }));
    }
    Ok(outcomes.into_values().collect())
}

/// Asks for changes, and writes meanwhile what is asked for: whether that is in the file.
async fn ask(inner: &Inner, client: &Client, publications: Vec<Publication>, at_once: bool) -> (Vec<Word>, bool) {
    if publications.is_empty() {
        return (Vec::new(), true);
    }
    if !at_once {
        return (publish(client, publications).await, false);
    }
    let batch = inner.with(|state| state.ask(&publications));
    let asked: Vec<_> = publications.iter().map(|one| one.at.clone()).collect();
    let (words, written) = tokio::join!(publish(client, publications), inner.write_or_return(batch));
    // Noted with whatever is written next: until then the file has the change as one that may have been made.
    inner.with(|state| state.answered.extend(asked));
    (words, written.is_ok())
}

/// Why there is nothing to say of the single changes; `made`: others of the batch were made before.
fn fault(words: &[Word], made: bool) -> Option<StoreFault> {
    let made = made || words.iter().any(|word| matches!(word, Word::Made(_)));
    let first = |pick: fn(&Word) -> Option<&str>| words.iter().find_map(pick).map(str::to_owned);
    if let Some(why) = first(|word| if let Word::Unknown(why) = word { Some(why) } else { None }) {
        return Some(StoreFault::Away(why));
    }
    if let Some(why) = first(|word| if let Word::Refused(why) = word { Some(why) } else { None }) {
        return Some(if made { StoreFault::Away(why) } else { StoreFault::Unwritable(why) });
    }
    let nobody = words.contains(&Word::NobodyListens);
    let why = || "no stream takes the change".to_owned();
    nobody.then(|| if made { StoreFault::Away(why()) } else { StoreFault::Absent(why()) })
}

/// Keeps a batch in the file until the store is back, where that is allowed.
async fn keep(inner: &Arc<Inner>, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
    let (why, older) = inner.peek(|state| (state.stale(), state.older().is_some()));
    let may_wait = inner.options.write_behind && !older || changes.iter().all(|change| change.behind);
    if !may_wait {
        return Err(StoreFault::Absent(why.unwrap_or_else(|| "the connection to NATS was lost".to_owned())));
    }
    let (before, kept, provisional) = inner.with(|state| {
        let before = state.waiting.clone();
        (before, state.keep(changes), state.provisional())
    });
    let mut batch = Batch { provisional: Some(provisional), ..Batch::default() };
    let mut outcomes = Vec::with_capacity(kept.len());
    for one in kept {
        match one {
            Ok(entry) => {
                outcomes.push(Ok(entry.is.provisional));
                // Of two changes of one key the newer one.
                batch.waiting.push(entry);
            }
            Err(conflict) => outcomes.push(Err(conflict)),
        }
    }
    if let Err(fault) = inner.write(batch).await {
        inner.with(|state| state.waiting = before);
        return Err(fault);
    }
    Ok(outcomes)
}
