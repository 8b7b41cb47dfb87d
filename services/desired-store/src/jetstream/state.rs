//! What is known, in memory: which key was last changed when, what others did since that was asked last, and how the store is.
//! Values are in the file; those heard of since the file was written last are kept here until then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{
    Conflict, Expected, ForeignChange, PROVISIONAL, Revision, StoreChange, StoreContents, StoreKey, StoreNews,
    StoredValue,
};
use mkube_model::neighbours::older_store::{AcceptFault, OlderStore};

use super::accepting::Order;
use super::compare::Found;
use super::publish::Publication;
use super::session::Session;
use super::snapshot::{Batch, Entry, Index, Known, Mark, Values, Waiting};

/// Changes by others that are kept until somebody asks; when there are more, everything is to be loaded anew.
const NEWS: usize = 4096;
/// Values that are kept in memory before they have to go into the file.
pub(crate) const FRESH: usize = 1024;

/// See the module.
pub(crate) struct State {
    marks: BTreeMap<String, Mark>,
    known: BTreeMap<StoreKey, Known>,
    /// What waits to be told.
    pub(crate) waiting: BTreeMap<StoreKey, Waiting>,
    /// What the store was asked for in an earlier life, which did not live to note its word.
    pub(crate) asked: BTreeMap<StoreKey, Waiting>,
    /// What the file says is asked for, and was answered since.
    pub(crate) answered: BTreeSet<StoreKey>,
    /// The last provisional revision that was handed out, ever.
    provisional: Revision,
    /// Buckets to their highest revision.
    highest: BTreeMap<String, Revision>,
    /// Not in the file yet.
    fresh: BTreeMap<StoreKey, (Known, Bytes)>,
    forgotten: BTreeSet<StoreKey>,
    /// Deletions that were known when it was cleaned up last.
    deletions: BTreeMap<StoreKey, Revision>,
    marked: BTreeSet<String>,
    /// Buckets that were taken as they are and not read since. Their last revision is the one of what went by it, of which nobody is to
    /// hear before all of it is known.
    taken: BTreeSet<String>,
    /// Keys that the store holds and says it does not, when it is told of a change of them.
    doubted: BTreeSet<StoreKey>,
    news: StoreNews,
    has_news: bool,
    /// A commit is under way; what is heard meanwhile may be our own.
    pub(crate) committing: bool,
    stale: Option<String>,
    /// The store came back older than what was acknowledged: nothing is written to it or kept for it by clients.
    older: Option<Arc<OlderStore>>,
    /// Somebody accepts that.
    order: Option<Order>,
    /// Where changes are told, while the store is there and its contents are known.
    pub(crate) session: Option<Arc<Session>>,
    /// It was tried to get there since it was there last, in vain.
    pub(crate) tried: bool,
}

impl State {
    pub(crate) fn new(index: Index, stale: &str) -> Self {
        let mut state = Self {
            marks: index.marks,
            known: BTreeMap::new(),
            waiting: index.waiting,
            asked: index.asked,
            answered: BTreeSet::new(),
            provisional: index.provisional.max(PROVISIONAL),
            highest: BTreeMap::new(),
            fresh: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            deletions: BTreeMap::new(),
            marked: BTreeSet::new(),
            taken: BTreeSet::new(),
            doubted: BTreeSet::new(),
            news: StoreNews::default(),
            has_news: false,
            committing: false,
            stale: Some(stale.to_owned()),
            older: None,
            order: None,
            session: None,
            tried: false,
        };
        for (at, known) in index.known {
            state.raise(&at.bucket, known.revision);
            state.known.insert(at, known);
        }
        let marks: Vec<(String, Revision)> = state.marks.iter().map(|(name, mark)| (name.clone(), mark.last)).collect();
        for (bucket, last) in marks {
            state.raise(&bucket, last);
        }
        state
    }

    fn raise(&mut self, bucket: &str, revision: Revision) {
        match self.highest.get_mut(bucket) {
            Some(highest) => *highest = revision.max(*highest),
            None => drop(self.highest.insert(bucket.to_owned(), revision)),
        }
    }

    // What is known.

    pub(crate) fn mark(&self, bucket: &str) -> Option<Mark> {
        self.marks.get(bucket).copied()
    }

    pub(crate) fn highest(&self, bucket: &str) -> Revision {
        self.highest.get(bucket).copied().unwrap_or(0)
    }

    pub(crate) fn known(&self, at: &StoreKey) -> Option<Known> {
        self.known.get(at).copied()
    }

    /// The revision of a key's value in the store; none when there is no value.
    pub(crate) fn live(&self, at: &StoreKey) -> Option<Revision> {
        self.known.get(at).filter(|known| known.live).map(|known| known.revision)
    }

    /// Deletions that were known when this was asked last, and are still the last word on their keys.
    pub(crate) fn old_deletions(&mut self) -> Vec<(StoreKey, Revision)> {
        let marks = self.known.iter().filter(|(_, known)| !known.live);
        let now: BTreeMap<StoreKey, Revision> = marks.map(|(at, known)| (at.clone(), known.revision)).collect();
        let before = std::mem::replace(&mut self.deletions, now);
        let is_old = |(at, revision): &(StoreKey, Revision)| self.deletions.get(at) == Some(revision);
        before.into_iter().filter(is_old).collect()
    }

    /// Everything known of a bucket, in key order.
    pub(crate) fn keys_of(&self, bucket: &str) -> impl Iterator<Item = (&StoreKey, Known)> {
        let from = StoreKey { bucket: bucket.to_owned(), key: String::new() };
        self.known.range(from..).take_while(move |(at, _)| at.bucket == bucket).map(|(at, known)| (at, *known))
    }

    // What is learnt.

    /// A bucket is this stream, and known so far.
    pub(crate) fn set_mark(&mut self, bucket: &str, mark: Mark) {
        self.raise(bucket, mark.last);
        self.marks.insert(bucket.to_owned(), mark);
        self.marked.insert(bucket.to_owned());
    }

    /// The store said that a key changed.
    pub(crate) fn heard(&mut self, at: StoreKey, known: Known, value: Bytes) {
        if let Some(mark) = self.marks.get_mut(&at.bucket) {
            mark.last = mark.last.max(known.revision);
            self.marked.insert(at.bucket.clone());
        }
        self.raise(&at.bucket, known.revision);
        if self.known.get(&at).is_some_and(|before| before.revision >= known.revision) {
            return;
        }
        self.learn(at.clone(), known, value.clone());
        self.tell(ForeignChange { at, value: known.live.then_some(value), revision: known.revision });
    }

    /// What marked the deletion of a key was cleaned up.
    pub(crate) fn cleaned_up(&mut self, at: &StoreKey) {
        self.forget(at);
        self.forgotten.insert(at.clone());
    }

    /// The store does not have a change it had; whatever it has instead is heard next.
    pub(crate) fn forget(&mut self, at: &StoreKey) {
        self.known.remove(at);
        self.fresh.remove(at);
    }

    /// A change of ours got its revision.
    pub(crate) fn made(&mut self, at: StoreKey, known: Known, value: Bytes) {
        self.raise(&at.bucket, known.revision);
        // Where it follows what was heard last there is nothing in between, and nothing to wait for.
        if let Some(mark) = self.marks.get_mut(&at.bucket).filter(|mark| mark.last + 1 == known.revision) {
            mark.last = known.revision;
            self.marked.insert(at.bucket.clone());
        }
        self.news.changes.retain(|news| news.at != at || news.revision != known.revision);
        if self.known.get(&at).is_none_or(|before| before.revision < known.revision) {
            self.learn(at, known, value);
        }
    }

    fn learn(&mut self, at: StoreKey, known: Known, value: Bytes) {
        self.forgotten.remove(&at);
        self.known.insert(at.clone(), known);
        self.fresh.insert(at, (known, value));
    }

    /// Something is waiting from now on; or a newer change of the same key takes its place.
    pub(crate) fn wait(&mut self, at: StoreKey, waiting: Waiting) {
        self.waiting.insert(at, waiting);
    }

    /// The store says that it has nothing of a key of which it said before that it has this.
    pub(crate) fn doubt(&mut self, at: StoreKey) {
        self.doubted.insert(at);
    }

    /// The doubts so far.
    pub(crate) fn take_doubted(&mut self) -> BTreeSet<StoreKey> {
        std::mem::take(&mut self.doubted)
    }

    // What is told.

    fn tell(&mut self, change: ForeignChange) {
        if self.news.reload {
            return;
        }
        if self.news.changes.len() >= NEWS {
            return self.reload();
        }
        self.news.changes.push(change);
        self.has_news = true;
    }

    /// More happened than can be told.
    pub(crate) fn reload(&mut self) {
        self.news.changes = Vec::new();
        self.news.reload = true;
        self.has_news = true;
    }

    /// What waited was not told, because somebody else changed the key meanwhile.
    pub(crate) fn lost(&mut self, at: StoreKey) {
        self.news.lost.push(at);
        self.has_news = true;
    }

    /// How the store is; none: it is there, and all of it is known.
    pub(crate) fn set_stale(&mut self, why: Option<String>) {
        if self.stale != why {
            self.stale = why;
            self.has_news = true;
        }
    }

    pub(crate) fn stale(&self) -> Option<String> {
        self.stale.clone()
    }

    // Whether the store is older than what it acknowledged, and whether that is accepted.

    pub(crate) fn older(&self) -> Option<Arc<OlderStore>> {
        self.older.clone()
    }

    pub(crate) fn set_older(&mut self, older: Option<Arc<OlderStore>>) {
        if self.older != older {
            self.older = older;
            self.has_news = true;
        }
    }

    /// Somebody accepts it: to be looked at with the next reading.
    pub(crate) fn order(&mut self, order: Order) -> Result<(), AcceptFault> {
        match (&self.older, &self.stale) {
            (None, None) => {
                let why = "the store is there, and has everything it acknowledged";
                return Err(AcceptFault::Nothing(why.to_owned()));
            }
            (None, Some(why)) => return Err(AcceptFault::Away(why.clone())),
            (Some(older), _) if older.digest != order.digest => return Err(AcceptFault::MovedOn),
            (Some(_), _) => self.order = Some(order),
        }
        Ok(())
    }

    /// The order to accept what has this digest, if whoever gave it still waits for what comes of it.
    pub(crate) fn take_order(&mut self, digest: &str) -> Option<Order> {
        self.order.take_if(|order| order.digest == digest).filter(|order| !order.answer.is_closed())
    }

    /// An order is not carried out, unless it is of this digest.
    pub(crate) fn refuse_order(&mut self, but: Option<&str>, fault: AcceptFault) {
        if let Some(order) = self.order.take_if(|order| but != Some(&order.digest)) {
            // Who asked may have left.
            let _ = order.answer.send(Err(fault));
        }
    }

    /// Of a bucket this is known from now on and nothing else, as it is in the file already.
    pub(crate) fn replace(&mut self, bucket: &str, mark: Mark, found: &Found) {
        let before: Vec<StoreKey> = self.keys_of(bucket).map(|(at, _)| at.clone()).collect();
        before.iter().for_each(|at| self.forget(at));
        self.known.extend(found.iter().map(|(at, (known, _))| (at.clone(), *known)));
        self.raise(bucket, mark.last);
        self.marks.insert(bucket.to_owned(), mark);
        self.taken.insert(bucket.to_owned());
    }

    /// The store is there, and all of it is known.
    pub(crate) fn begin(&mut self, session: Arc<Session>) {
        self.session = Some(session);
        self.tried = false;
        // What was not told meanwhile is told now.
        self.has_news |= !self.taken.is_empty();
        self.taken.clear();
        self.set_older(None);
        self.set_stale(None);
    }

    pub(crate) fn has_news(&self) -> bool {
        self.has_news && !self.committing
    }

    pub(crate) fn take_news(&mut self) -> StoreNews {
        let stale = self.stale.clone();
        if self.committing {
            return StoreNews { stale, ..StoreNews::default() };
        }
        self.has_news = false;
        if !self.taken.is_empty() {
            return StoreNews { stale, ..StoreNews::default() };
        }
        StoreNews { stale, ..std::mem::take(&mut self.news) }
    }

    // What goes into the file, and comes from it.

    pub(crate) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    /// Everything that is not in the file yet.
    pub(crate) fn take_batch(&mut self) -> Batch {
        let known = std::mem::take(&mut self.fresh);
        let marks = std::mem::take(&mut self.marked);
        Batch {
            known: known.into_iter().map(|(at, (is, value))| Entry { at, is, value }).collect(),
            marks: marks
                .into_iter()
                .filter_map(|name| Some((self.marks.get(&name).copied()?, name)))
                .map(swap)
                .collect(),
            forgotten: std::mem::take(&mut self.forgotten).into_iter().collect(),
            answered: std::mem::take(&mut self.answered).into_iter().collect(),
            ..Batch::default()
        }
    }

    /// A batch did not get into the file.
    pub(crate) fn return_batch(&mut self, batch: Batch) {
        for entry in batch.known {
            self.fresh.entry(entry.at).or_insert((entry.is, entry.value));
        }
        self.marked.extend(batch.marks.into_iter().map(|(bucket, _)| bucket));
        self.forgotten.extend(batch.forgotten.into_iter().filter(|at| !self.known.contains_key(at)));
        self.answered.extend(batch.answered);
    }

    /// What a reading answers, without the values; nothing that happened before it is news any more.
    pub(crate) fn begin_contents(&mut self) -> StoreContents {
        self.news.changes = Vec::new();
        self.news.reload = false;
        self.has_news = !self.news.lost.is_empty();
        let mut buckets = self.highest.clone();
        for bucket in &self.taken {
            buckets.entry(bucket.clone()).and_modify(|highest| *highest -= 1);
        }
        for (at, waiting) in self.waiting.iter().chain(&self.asked) {
            let highest = buckets.entry(at.bucket.clone()).or_default();
            *highest = waiting.provisional.max(*highest);
        }
        StoreContents { buckets, stale: self.stale.clone(), shared: true, ..StoreContents::default() }
    }

    // What is kept while the store is away.

    /// Which of the changes fit to what is known, with the provisional revision of each.
    pub(crate) fn keep(&mut self, changes: Vec<StoreChange>) -> Vec<Result<Entry<Waiting>, Conflict>> {
        let keep = |change: StoreChange| {
            let before = self.waiting.get(&change.at).copied();
            let found = match before.or_else(|| self.asked.get(&change.at).copied()) {
                Some(before) => before.live.then_some(before.provisional),
                None => self.live(&change.at),
            };
            check(&change, found)?;
            self.provisional += 1;
            let based = before.map(|before| before.based);
            let based = based.unwrap_or_else(|| self.known(&change.at).map_or(0, |known| known.revision));
            let went_back = before.is_some_and(|before| before.went_back);
            let is = Waiting { provisional: self.provisional, based, live: change.value.is_some(), went_back };
            self.wait(change.at.clone(), is);
            Ok(Entry { at: change.at, is, value: change.value.unwrap_or_default() })
        };
        changes.into_iter().map(keep).collect()
    }

    /// What is written while the store is asked: what it is asked for, and everything that is not in the file yet.
    pub(crate) fn ask(&mut self, publications: &[Publication]) -> Batch {
        let asked = publications.iter().map(|one| {
            self.provisional += 1;
            let known = self.known(&one.at).map_or(0, |known| known.revision);
            let based = one.expected.unwrap_or(known);
            let is = Waiting { provisional: self.provisional, based, live: one.value.is_some(), went_back: false };
            Entry { at: one.at.clone(), is, value: one.value.clone().unwrap_or_default() }
        });
        let asked = asked.collect();
        Batch { asked, provisional: Some(self.provisional), ..self.take_batch() }
    }

    /// One more provisional revision.
    pub(crate) fn next_provisional(&mut self) -> Revision {
        self.provisional += 1;
        self.provisional
    }

    /// The last provisional revision.
    pub(crate) fn provisional(&self) -> Revision {
        self.provisional
    }
}

fn swap((mark, name): (Mark, String)) -> (String, Mark) {
    (name, mark)
}

/// Whether a change fits to the revision that is found.
pub(crate) fn check(change: &StoreChange, found: Option<Revision>) -> Result<(), Conflict> {
    let fits = match change.expected {
        Expected::Any => true,
        Expected::Absent => found.is_none(),
        Expected::At(revision) => found == Some(revision),
    };
    if fits { Ok(()) } else { Err(Conflict { at: change.at.clone(), expected: change.expected, found }) }
}

/// Puts the values into what a reading answers.
pub(crate) fn with_values(mut contents: StoreContents, values: Values) -> StoreContents {
    let Values { known, mut waiting, asked } = values;
    for (at, entry) in asked {
        waiting.entry(at).or_insert(entry);
    }
    for (at, (known, value)) in known {
        let (live, revision, value) = match waiting.remove(&at) {
            Some((waiting, value)) => (waiting.live, waiting.provisional, value),
            None => (known.live, known.revision, value),
        };
        if live {
            contents.values.push(StoredValue { at, revision, value });
        }
    }
    let new = waiting.into_iter().filter(|(_, (waiting, _))| waiting.live);
    contents.values.extend(new.map(|(at, (waiting, value))| StoredValue { at, revision: waiting.provisional, value }));
    contents.values.sort_by(|one, other| one.at.cmp(&other.at));
    contents
}
