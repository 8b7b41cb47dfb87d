//! What a controller knows of the lease, and how it learns: what the book said, which of its own writes are in doubt, and whether
//! it holds. Pure: time is told.

use std::collections::BTreeMap;

use mkube_model::lease_record::{LeaseNote, LeaseRecord};
use mkube_model::neighbours::lease_book::{LeaseEntry, LeaseFault};

use crate::times::{DURATION, ENDED, LONGEST, Moment, padded};

/// Pause after a question the book did not answer.
const RETRY: Moment = Moment::from_millis(500);
/// A book that is older than it was may have been asked in the wrong place. After so long it is believed.
const FORGETFUL: Moment = Moment::from_secs(60);
/// Writes in doubt that are remembered. Those of a holder say ever the same of who may take over, so the last ones are enough.
const DOUBTS: usize = 32;

/// Whether I hold the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Not that I know.
    No,
    /// Yes, and nobody may take it from me.
    Sole,
    /// Yes, and somebody may take it when I am silent, or may believe so. Nothing may be begun from `until` on.
    Bound {
        /// Counted from before the last word that is known to be written was sent.
        until: Moment,
    },
}

/// A write, as it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub record: LeaseRecord,
    pub expected: u64,
    pub at: Moment,
}

impl Sent {
    /// Until when others who see this word leave the device alone.
    fn covers(&self) -> Moment {
        self.at + ENDED.max(Moment::from_secs(self.record.long_seconds))
    }
}

/// See the file's text.
#[derive(Debug)]
pub struct Memory {
    pub(crate) me: String,
    pub(crate) incarnation: String,
    pub(crate) hold: Hold,
    /// The token I hold or held.
    pub(crate) token: u64,
    /// What the book said last.
    pub(crate) entry: Option<LeaseEntry>,
    /// Since when it says so of the holder.
    pub(crate) word_since: Moment,
    /// Since when it says so of whoever stands by.
    pub(crate) standby_since: Moment,
    /// When every command of others will have ended.
    pub(crate) others_until: Moment,
    /// Holding, I only read until then.
    pub(crate) quiet_until: Moment,
    /// The highest token seen.
    pub(crate) highest: u64,
    /// The write that is under way.
    pub(crate) in_flight: Option<Sent>,
    /// Writes of which nobody knows whether they were, or will be, applied.
    doubts: Vec<Sent>,
    /// Until when my commands are covered by the last word that is known to be written.
    covered: Moment,
    /// This process was seen as the holder.
    adopted: bool,
    /// Another process has my name.
    pub(crate) twin: bool,
    /// What is on my own disk.
    pub(crate) note: LeaseNote,
    /// The book is to be read.
    pub(crate) look: bool,
    pub(crate) asked_at: Moment,
    pub(crate) retry_at: Moment,
    /// Since when the book does not answer, and what it said.
    pub(crate) away: Option<(Moment, String)>,
    /// Since when it says something older than before.
    forgot_since: Option<Moment>,
    pub(crate) leaving: bool,
    pub(crate) last_renewal: u64,
    pub(crate) last_word: u64,
    /// When my last word as the holder was sent, of those that are known to be written.
    pub(crate) said_at: Moment,
    /// Commands that may be at work on the device, and when each must have ended.
    pub(crate) commands: BTreeMap<u64, Moment>,
    pub(crate) next_command: u64,
    /// A long command waits to be announced until then.
    pub(crate) wanted: Option<Moment>,
}

impl Memory {
    /// At the start of a process, of which the book may know an earlier life.
    pub fn new(me: String, incarnation: String, note: LeaseNote) -> Self {
        let mut memory = Self {
            me,
            incarnation,
            hold: if note.sole { Hold::Sole } else { Hold::No },
            token: note.token,
            entry: None,
            word_since: Moment::ZERO,
            standby_since: Moment::ZERO,
            others_until: Moment::ZERO,
            quiet_until: Moment::ZERO,
            highest: note.token.max(note.highest),
            in_flight: None,
            doubts: Vec::new(),
            covered: Moment::ZERO,
            adopted: false,
            twin: false,
            note,
            look: true,
            asked_at: Moment::ZERO,
            retry_at: Moment::ZERO,
            away: None,
            forgot_since: None,
            leaving: false,
            last_renewal: 0,
            last_word: 0,
            said_at: Moment::ZERO,
            commands: BTreeMap::new(),
            next_command: 0,
            wanted: None,
        };
        if memory.note.sole {
            memory.remember_earlier_life(Moment::ZERO);
        }
        memory
    }

    /// My earlier life did not say goodbye: a command of it may be at work.
    pub(crate) fn remember_earlier_life(&mut self, now: Moment) {
        self.commands.insert(self.next_command, now + LONGEST);
        self.next_command += 1;
    }

    /// The book may have changed.
    pub fn look(&mut self) {
        self.look = true;
    }

    /// Nothing more is done but to give back what I hold.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whoever carried out what is decided here was interrupted.
    pub fn interrupted(&mut self) {
        self.doubts.extend(self.in_flight.take());
        self.look = true;
    }

    /// The book was read.
    pub fn was_read(&mut self, result: Result<LeaseEntry, LeaseFault>, now: Moment) {
        match result {
            Ok(entry) if self.is_doubtful(&entry, now) => {
                self.look = true;
                let fault = LeaseFault::Unreadable("it is older than what was read before".to_owned());
                self.not_answered(&fault, now);
            }
            Ok(entry) => {
                self.look = false;
                self.answered();
                self.learn(entry, now);
            }
            Err(fault) => self.not_answered(&fault, now),
        }
    }

    /// The write that was under way has ended.
    pub fn was_written(&mut self, result: Result<u64, LeaseFault>, now: Moment) {
        let Some(sent) = self.in_flight.take() else { return };
        match result {
            Ok(revision) => {
                self.answered();
                let entry = LeaseEntry { record: Some(sent.record.clone()), revision };
                self.doubts.push(sent);
                self.learn(entry, now);
            }
            Err(LeaseFault::Conflict) => {
                self.answered();
                self.look = true;
            }
            Err(fault) => {
                if !matches!(fault, LeaseFault::Away(_)) {
                    self.doubts.push(sent);
                }
                if self.doubts.len() > DOUBTS {
                    self.doubts.remove(0);
                }
                self.look = true;
                self.not_answered(&fault, now);
            }
        }
        // What was surely not written binds nobody.
        if self.mine().is_some() {
            self.judge(None);
        }
    }

    /// The note is on the disk.
    pub fn was_kept(&mut self, note: LeaseNote) {
        self.note = note;
    }

    /// Whether the book may have been asked in the wrong place. While nobody may follow me nothing newer can be hidden: what the book has
    /// lost is put back at once, before somebody else takes it for free; and if somebody did, that is seen at once.
    fn is_doubtful(&mut self, entry: &LeaseEntry, now: Moment) -> bool {
        self.is_older(entry) && self.hold != Hold::Sole && *self.forgot_since.get_or_insert(now) + FORGETFUL > now
    }

    fn is_older(&self, entry: &LeaseEntry) -> bool {
        self.entry.as_ref().is_some_and(|known| entry.revision < known.revision)
    }

    fn answered(&mut self) {
        self.away = None;
        self.forgot_since = None;
        self.retry_at = Moment::ZERO;
    }

    fn not_answered(&mut self, fault: &LeaseFault, now: Moment) {
        let before = self.away.as_ref().map_or(now, |(since, _)| *since);
        // A book that can be read only in part is not away.
        let since = if matches!(fault, LeaseFault::Unreadable(_)) { now } else { before };
        self.away = Some((since, fault.to_string()));
        self.retry_at = now + RETRY;
    }

    fn is_mine(&self, record: &LeaseRecord) -> bool {
        record.holder == self.me && record.incarnation == self.incarnation
    }

    /// The record, if it says that this process holds.
    pub(crate) fn mine(&self) -> Option<&LeaseRecord> {
        self.record().filter(|record| self.is_mine(record) && !self.is_outdated(record))
    }

    pub(crate) fn record(&self) -> Option<&LeaseRecord> {
        self.entry.as_ref()?.record.as_ref()
    }

    /// Whether a record is from before the last turn that was seen: the book went back, and the last record is lost.
    pub(crate) fn is_outdated(&self, record: &LeaseRecord) -> bool {
        record.token < self.highest
    }

    fn learn(&mut self, entry: LeaseEntry, now: Moment) {
        let forgot = self.is_older(&entry);
        let before = self.entry.take();
        let (old, new) = (before.as_ref().and_then(|before| before.record.as_ref()), entry.record.as_ref());
        if before.is_none() || old.map(word) != new.map(word) {
            self.word_since = now;
            self.others_until = self.end_of_others(new, now);
            if forgot || new.is_some_and(|new| new.token < self.highest) {
                // What whoever drove had announced is lost.
                self.others_until = self.others_until.max(now + padded(LONGEST));
            }
        }
        if old.map(standby_word) != new.map(standby_word) {
            self.standby_since = now;
        }
        let applied = new.and_then(|new| self.doubts.iter().find(|sent| word(&sent.record) == word(new)).cloned());
        // A write is applied to the revision it expects, or never; and never to a book that began anew.
        self.doubts.retain(|sent| !forgot && sent.expected >= entry.revision);
        self.highest = self.highest.max(new.map_or(0, |new| new.token));
        self.entry = Some(entry);
        if forgot && self.hold != Hold::Sole && self.record().is_none() {
            // Somebody may have followed, and that is lost as well.
            self.hold = Hold::No;
        }
        self.judge(applied);
    }

    /// Whether I hold, now that the entry is known.
    fn judge(&mut self, applied: Option<Sent>) {
        // By a record that is lost nobody loses the lease; it is to be put back.
        let Some(record) = self.record().cloned() else { return };
        if self.is_outdated(&record) {
            // As good as lost; but to one who may be followed it says nothing of whether somebody did.
            if self.hold != Hold::Sole {
                self.hold = Hold::No;
            }
            return;
        }
        if self.is_mine(&record) {
            self.adopted = true;
            self.token = record.token;
            let mut until = match self.hold {
                Hold::Bound { until } => until,
                Hold::Sole | Hold::No => Moment::ZERO,
            };
            if let Some(sent) = applied {
                until = until.max(sent.at + DURATION);
                self.covered = sent.covers();
                self.said_at = self.said_at.max(sent.at);
            }
            let takes = |sent: &Sent| self.is_mine(&sent.record) && sent.record.acknowledged.is_some();
            let may_be_taken = record.acknowledged.is_some() || self.doubts.iter().any(takes);
            self.hold = if may_be_taken { Hold::Bound { until } } else { Hold::Sole };
            return;
        }
        let namesake = record.holder == self.me;
        // Another process that has my name. The files that name me are locked, so it runs on copies of them.
        self.twin |= namesake && self.adopted && record.incarnation != self.incarnation;
        let as_noted = namesake && record.token == self.note.token && record.acknowledged.is_none();
        if !(self.hold == Hold::Sole && !self.adopted && as_noted) {
            self.hold = Hold::No;
        }
    }

    /// When every command of others will have ended, given a word of the holder that is new.
    fn end_of_others(&self, record: Option<&LeaseRecord>, now: Moment) -> Moment {
        let Some(record) = record else {
            return self.others_until.max(now + padded(ENDED));
        };
        let (long, quiet) = (Moment::from_secs(record.long_seconds), Moment::from_secs(record.quiet_seconds));
        let span = match record.holder.as_str() {
            "" => long.max(quiet),
            // Of my own earlier life I know what it may have been doing; not of those before it.
            me if me == self.me => quiet,
            _ => ENDED.max(long).max(quiet),
        };
        let end = if span.is_zero() { now } else { now + padded(span) };
        // The last word counts, unless the book forgot the one that was.
        if record.token >= self.highest { end } else { end.max(self.others_until) }
    }

    /// Until when others surely leave the device alone, whichever of my words they see.
    pub(crate) fn coverage(&self) -> Moment {
        let open = self.doubts.iter().chain(&self.in_flight).filter(|sent| self.is_mine(&sent.record));
        open.map(Sent::covers).fold(self.covered, Moment::min)
    }
}

/// What of a record is the holder's word.
fn word(record: &LeaseRecord) -> (&str, &str, u64, u64) {
    (&record.holder, &record.incarnation, record.token, record.renewals)
}

/// What of a record is the word of whoever stands by.
fn standby_word(record: &LeaseRecord) -> (&Option<String>, u64) {
    (&record.standby, record.standby_word)
}
