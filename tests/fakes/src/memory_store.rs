//! A durable store that is neither on disk nor durable, and fails on cue.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mkube_model::neighbours::desired_store::{
    Conflict, DesiredStore, Expected, ForeignChange, Outcome, PROVISIONAL, Revision, StoreChange, StoreContents,
    StoreFault, StoreKey, StoreNews, StoredValue,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::relay::Crossings;

/// What becomes of a commit.
#[derive(Debug, Clone)]
pub enum StoreCue {
    /// Refused with this fault, nothing applied.
    Fail(StoreFault),
    /// Applied, but the writer hears that the store is away.
    LoseReply,
    /// Applied so much later.
    Late(Duration),
}

/// What becomes of a reading.
#[derive(Debug, Clone)]
pub enum LoadCue {
    /// Refused with this fault.
    Fail(StoreFault),
    /// As if nothing had ever been stored.
    Empty,
    /// Every second value is missing.
    Partial,
    /// One value is cut in the middle.
    Torn,
}

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It says what is stored.
    True,
    /// It says less than is stored.
    Less,
    /// It failed.
    Failed,
    /// It says what was last known, and that it does.
    Stale,
}

/// What becomes of changes while the store is away and known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Meanwhile {
    /// What may wait is kept safe, all else is refused.
    #[default]
    KeepsSome,
    /// Everything is kept safe.
    KeepsAll,
    /// Everything is refused: what is there is older than what was acknowledged.
    Refuses,
}

#[derive(Default)]
struct Inner {
    values: BTreeMap<StoreKey, (Revision, Bytes)>,
    revision: Revision,
    commits: VecDeque<StoreCue>,
    load_fault: Option<StoreFault>,
    readings: VecDeque<LoadCue>,
    away_until: Option<Instant>,
    /// When each batch was committed, and what was in it.
    batches: Vec<(Instant, Vec<StoreChange>)>,
    loads: usize,
    /// What became of each reading, oldest first.
    outcomes: Vec<Reading>,
    crossings: Option<Crossings>,
    /// Who uses it, by number.
    users: Vec<User>,
    /// It is away and known to be: what was last known is served, and what may wait is kept safe.
    stale: Option<String>,
    /// What was last known of it when it went out of sight.
    last_known: Option<BTreeMap<StoreKey, (Revision, Bytes)>>,
    /// What is written then.
    meanwhile: Meanwhile,
    /// Changes that wait, oldest first.
    waiting: Vec<StoreChange>,
    provisional: Revision,
}

/// Keeps values in memory. A commit takes 1 ms.
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    /// Which of its users this is.
    number: usize,
}

/// One that uses it.
#[derive(Default)]
struct User {
    /// It is told what others do.
    follows: bool,
    news: StoreNews,
    has_news: bool,
    bell: Arc<Notify>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let inner = Inner { users: vec![User::default()], revision: 1, ..Inner::default() };
        Self { inner: Arc::new(Mutex::new(inner)), number: 0 }
    }
}

impl MemoryStore {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on what others do is told as it happens.
    pub fn tell_what_others_do(&self) {
        self.inner().users[self.number].follows = true;
    }

    /// Another user of the same store; both are told what the other one does from now on.
    #[must_use]
    pub fn sharing(&self) -> Self {
        self.tell_what_others_do();
        let mut inner = self.inner();
        inner.users.push(User { follows: true, ..User::default() });
        Self { inner: self.inner.clone(), number: inner.users.len() - 1 }
    }

    /// It is away from now on, and knows it; or with `None` back again. What was kept safe meanwhile is told to it then, where it
    /// still fits.
    pub fn set_stale(&self, why: Option<&str>) {
        let mut inner = self.inner();
        inner.stale = why.map(str::to_owned);
        if why.is_none() {
            inner.last_known = None;
            let waiting = std::mem::take(&mut inner.waiting);
            let fits = inner.check(&waiting);
            let (fitting, lost): (Vec<_>, Vec<_>) = waiting.into_iter().zip(fits).partition(|(_, fits)| fits.is_ok());
            let news = &mut inner.users[self.number].news;
            // Whoever read meanwhile may have read less than there is.
            news.reload = true;
            news.changes.clear();
            news.lost.extend(lost.into_iter().map(|(change, _)| change.at));
            let fitting: Vec<StoreChange> = fitting.into_iter().map(|(change, _)| change).collect();
            inner.apply(&fitting, Some(self.number));
        }
        inner.users[self.number].ring();
    }

    /// It is away from now on, and knows it: what others do from now on is not seen before it is back ([`Self::set_stale`] with
    /// `None`).
    pub fn lose_sight(&self, why: &str, meanwhile: Meanwhile) {
        {
            let mut inner = self.inner();
            if inner.last_known.is_none() {
                inner.last_known = Some(inner.values.clone());
            }
            inner.meanwhile = meanwhile;
        }
        self.set_stale(Some(why));
    }

    /// It is back, says no more than that, and asks nobody to read anything again.
    pub fn say_back(&self) {
        let mut inner = self.inner();
        inner.stale = None;
        inner.users[self.number].ring();
    }

    /// It is away from now on, and nobody has heard of it yet.
    pub fn set_stale_unheard(&self, why: &str) {
        self.inner().stale = Some(why.to_owned());
    }

    /// Returns when so many batches were committed.
    pub async fn until_batches(&self, count: usize) {
        while self.inner().batches.len() < count {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }

    /// Every call passes these crossings too.
    pub fn set_crossings(&self, crossings: Crossings) {
        self.inner().crossings = Some(crossings);
    }

    /// The next commits without a cue get these, one each.
    pub fn cue(&self, cue: StoreCue) {
        self.inner().commits.push_back(cue);
    }

    /// The next readings get these, one each.
    pub fn cue_load(&self, cue: LoadCue) {
        self.inner().readings.push_back(cue);
    }

    /// Nothing goes wrong from now on.
    pub fn clear_cues(&self) {
        let mut inner = self.inner();
        inner.commits.clear();
        inner.readings.clear();
        inner.load_fault = None;
        inner.away_until = None;
    }

    /// Nobody answers for so long.
    pub fn go_away_for(&self, time: Duration) {
        self.inner().away_until = Some(Instant::now() + time);
    }

    /// Everything that is stored, as text.
    pub fn contents(&self) -> BTreeMap<StoreKey, String> {
        let inner = self.inner();
        let values = inner.values.iter();
        values.map(|(at, (_, value))| (at.clone(), String::from_utf8_lossy(value).into_owned())).collect()
    }

    /// The same, with what waits for the store to be back and would fit now.
    pub fn contents_and_waiting(&self) -> BTreeMap<StoreKey, String> {
        let mut contents = self.contents();
        let inner = self.inner();
        let fits = inner.check(&inner.waiting);
        for (change, _) in inner.waiting.iter().zip(fits).filter(|(_, fits)| fits.is_ok()) {
            match &change.value {
                Some(value) => drop(contents.insert(change.at.clone(), String::from_utf8_lossy(value).into_owned())),
                None => drop(contents.remove(&change.at)),
            }
        }
        contents
    }

    /// Readings fail with this until `None` is set.
    pub fn set_load_fault(&self, fault: Option<StoreFault>) {
        self.inner().load_fault = fault;
    }

    /// Every value for which `lost` holds is gone, and the store's revision is this one.
    pub fn forget(&self, lost: impl Fn(&StoreKey) -> bool, revision: Revision) {
        let mut inner = self.inner();
        inner.values.retain(|at, _| !lost(at));
        inner.revision = revision;
    }

    /// Somebody else writes, or with `None` deletes, a value; at this revision.
    pub fn put_behind(&self, bucket: &str, key: &str, value: Option<&str>) -> Revision {
        let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
        let change = StoreChange {
            at,
            value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            expected: Expected::Any,
            behind: false,
        };
        self.inner().apply(&[change], None).pop().unwrap_or_default()
    }

    /// A stored value as text.
    pub fn text(&self, bucket: &str, key: &str) -> Option<String> {
        let at = StoreKey { bucket: bucket.to_owned(), key: key.to_owned() };
        let inner = self.inner();
        let (_, value) = inner.values.get(&at)?;
        String::from_utf8(value.to_vec()).ok()
    }

    /// Every batch so far, with the moment it was committed.
    pub fn batches(&self) -> Vec<(Instant, Vec<StoreChange>)> {
        self.inner().batches.clone()
    }

    /// What became of each reading so far, oldest first.
    pub fn readings(&self) -> Vec<Reading> {
        self.inner().outcomes.clone()
    }

    /// How often everything was read.
    pub fn loads(&self) -> usize {
        self.inner().loads
    }

    async fn pass(&self, what: &str) {
        let crossings = self.inner().crossings.clone();
        if let Some(crossings) = crossings {
            crossings.pass(what).await;
        }
    }
}

impl User {
    fn ring(&mut self) {
        self.has_news = true;
        self.bell.notify_one();
    }
}

impl Inner {
    fn check_away(&self) -> Result<(), StoreFault> {
        match self.away_until {
            Some(until) if Instant::now() < until => Err(StoreFault::Away("nobody answers".to_owned())),
            _ => Ok(()),
        }
    }

    fn read(&self, cue: Option<LoadCue>) -> Result<StoreContents, StoreFault> {
        let values = self
            .last_known
            .as_ref()
            .unwrap_or(&self.values)
            .iter()
            .map(|(at, (revision, value))| StoredValue { at: at.clone(), revision: *revision, value: value.clone() });
        let mut values: Vec<StoredValue> = values.collect();
        let shared = self.users.iter().any(|user| user.follows);
        match cue {
            None => {}
            Some(LoadCue::Fail(fault)) => return Err(fault),
            Some(LoadCue::Empty) if self.stale.is_none() => {
                return Ok(StoreContents { shared, ..StoreContents::default() });
            }
            Some(LoadCue::Empty) => values.clear(),
            Some(LoadCue::Partial) => values = values.into_iter().step_by(2).collect(),
            Some(LoadCue::Torn) => {
                if let Some(last) = values.last_mut() {
                    last.value = last.value.slice(..last.value.len() / 2);
                }
            }
        }
        let mut contents = StoreContents {
            values,
            revision: self.revision,
            stale: self.stale.clone(),
            shared,
            ..StoreContents::default()
        };
        for (number, change) in self.waiting.iter().enumerate() {
            contents.values.retain(|value| value.at != change.at);
            contents.revision = PROVISIONAL + number as Revision + 1;
            contents.values.extend(change.value.clone().map(|value| StoredValue {
                at: change.at.clone(),
                revision: contents.revision,
                value,
            }));
        }
        contents.values.sort_by(|one, other| one.at.cmp(&other.at));
        Ok(contents)
    }

    /// Which changes fit.
    fn check(&self, changes: &[StoreChange]) -> Vec<Result<(), Conflict>> {
        let fits = |change: &StoreChange| {
            let found = self.values.get(&change.at).map(|(revision, _)| *revision);
            let holds = match change.expected {
                Expected::Any => true,
                Expected::Absent => found.is_none(),
                Expected::At(revision) => found == Some(revision),
            };
            if holds { Ok(()) } else { Err(Conflict { at: change.at.clone(), expected: change.expected, found }) }
        };
        changes.iter().map(fits).collect()
    }

    /// Keeps changes safe until the store is back.
    fn keep(&mut self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
        let why = self.stale.clone().unwrap_or_default();
        let refused = match self.meanwhile {
            Meanwhile::KeepsSome => changes.iter().any(|change| !change.behind),
            Meanwhile::KeepsAll => false,
            Meanwhile::Refuses => true,
        };
        if refused {
            return Err(StoreFault::Absent(why));
        }
        let mut outcomes = Vec::with_capacity(changes.len());
        for mut change in changes {
            // What the first of several knew of the store is what has to be true when it is back.
            if let Some(earlier) = self.waiting.iter().find(|waiting| waiting.at == change.at) {
                change.expected = earlier.expected;
            }
            self.waiting.retain(|waiting| waiting.at != change.at);
            self.waiting.push(change);
            self.provisional = self.provisional.max(PROVISIONAL) + 1;
            outcomes.push(Ok(self.provisional));
        }
        Ok(outcomes)
    }

    /// Writes, and tells everybody but the writer.
    fn apply(&mut self, changes: &[StoreChange], by: Option<usize>) -> Vec<Revision> {
        if changes.is_empty() {
            return Vec::new();
        }
        self.batches.push((Instant::now(), changes.to_vec()));
        let mut revisions = Vec::with_capacity(changes.len());
        for change in changes {
            self.revision += 1;
            revisions.push(self.revision);
            match &change.value {
                Some(value) => drop(self.values.insert(change.at.clone(), (self.revision, value.clone()))),
                None => drop(self.values.remove(&change.at)),
            }
            let told = ForeignChange { at: change.at.clone(), value: change.value.clone(), revision: self.revision };
            let users = self.users.iter_mut().enumerate().filter(|(number, user)| user.follows && Some(*number) != by);
            for (_, user) in users {
                user.news.changes.push(told.clone());
                user.ring();
            }
        }
        revisions
    }
}

#[async_trait]
impl DesiredStore for MemoryStore {
    async fn load(&self) -> Result<StoreContents, StoreFault> {
        self.pass("before load").await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let contents = {
            let mut inner = self.inner();
            inner.loads += 1;
            if let Some(fault) = inner.load_fault.clone() {
                return Err(fault);
            }
            // Who promises to tell everything later knows everything.
            let knows = inner.last_known.is_some() && inner.meanwhile == Meanwhile::KeepsAll;
            let cue = inner.readings.pop_front().filter(|_| !knows);
            let outcome = match &cue {
                _ if inner.check_away().is_err() => Reading::Failed,
                None | Some(LoadCue::Empty | LoadCue::Partial) if inner.last_known.is_some() => Reading::Stale,
                None => Reading::True,
                Some(LoadCue::Empty | LoadCue::Partial) => Reading::Less,
                Some(LoadCue::Fail(_) | LoadCue::Torn) => Reading::Failed,
            };
            inner.outcomes.push(outcome);
            inner.check_away()?;
            inner.read(cue)?
        };
        self.pass("after load").await;
        Ok(contents)
    }

    async fn commit(&self, changes: Vec<StoreChange>) -> Result<Vec<Outcome>, StoreFault> {
        self.pass("before commit").await;
        let cue = self.inner().commits.pop_front();
        let delay = if let Some(StoreCue::Late(delay)) = &cue { *delay } else { Duration::from_millis(1) };
        tokio::time::sleep(delay).await;
        if let Some(StoreCue::Fail(fault)) = cue {
            return Err(fault);
        }
        self.inner().check_away()?;
        let outcomes = {
            let mut inner = self.inner();
            if inner.stale.is_some() {
                return inner.keep(changes);
            }
            let checked = inner.check(&changes);
            let fitting: Vec<StoreChange> =
                changes.into_iter().zip(&checked).filter(|(_, fits)| fits.is_ok()).map(|(change, _)| change).collect();
            let mut revisions = inner.apply(&fitting, Some(self.number)).into_iter();
            checked.into_iter().map(|fits| fits.map(|()| revisions.next().unwrap_or_default())).collect()
        };
        self.pass("after commit").await;
        if let Some(StoreCue::LoseReply) = cue {
            return Err(StoreFault::Away("the reply was lost".to_owned()));
        }
        Ok(outcomes)
    }

    async fn compact(&self) -> Result<(), StoreFault> {
        Ok(())
    }

    async fn changed(&self) {
        let bell = self.inner().users[self.number].bell.clone();
        while !self.inner().users[self.number].has_news {
            bell.notified().await;
        }
    }

    fn take_news(&self) -> StoreNews {
        let mut inner = self.inner();
        let stale = inner.stale.clone();
        let out_of_sight = inner.last_known.is_some();
        let user = &mut inner.users[self.number];
        user.has_news = false;
        if out_of_sight {
            // What others do is read when it is back.
            user.news.changes.clear();
        }
        StoreNews { stale, ..std::mem::take(&mut user.news) }
    }
}
