//! What is to be done about the lease now, given what is known. Pure.

use mkube_model::lease_record::{LeaseNote, LeaseRecord};

use crate::memory::{Hold, Memory, Sent};
use crate::times::{AWAY, BEAT, DURATION, ENDED, FORSAKEN, Moment, RENEW, SILENCE, padded, seconds};

/// Pause between two looks into the book, should nobody tell of changes: of a holder that nobody may take the lease from.
const LOOK_HOLDING: Moment = Moment::from_secs(5);
/// The same, of others.
const LOOK: Moment = Moment::from_secs(1);
/// Pause between an announcement and the word that there is nothing more to announce.
const TAKE_BACK: Moment = Moment::from_millis(300);
/// Longest pause.
const PAUSE: Moment = Moment::from_secs(60);

/// What to do next. Whoever does it tells the memory how it went before asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the book.
    Read,
    /// Write the record, if the entry's revision is still `expected`.
    Write {
        /// The new record.
        record: LeaseRecord,
        /// Revision it replaces.
        expected: u64,
    },
    /// Keep the note on the own disk.
    Remember(LeaseNote),
    /// Nothing before then, unless the book changes or somebody wants something.
    Wait(Moment),
    /// Everything was given back.
    Done,
}

enum Step {
    Write(LeaseRecord),
    Wait(Moment),
    Done,
}

impl Memory {
    /// Decides. A write that is answered counts as sent at `now`.
    pub fn next(&mut self, now: Moment) -> Action {
        // Nobody may start from a note that has become false.
        if self.note.sole && self.hold != Hold::Sole {
            return Action::Remember(self.noted(false));
        }
        if self.twin {
            return Action::Wait(now + PAUSE);
        }
        if self.retry_at > now {
            return self.rest(self.retry_at, now);
        }
        if self.read_is_due(now) {
            self.asked_at = now;
            return Action::Read;
        }
        match self.step(now) {
            Step::Write(record) => {
                let gives_up = record.holder != self.me || record.acknowledged.is_some();
                if self.note.sole && gives_up {
                    return Action::Remember(self.noted(false));
                }
                self.send(record, now)
            }
            Step::Wait(until) => self.rest(until, now),
            Step::Done => Action::Done,
        }
    }

    /// The device was never driven by anybody: who starts there first may do so without the book, or a book that is to run on the
    /// device itself could never start.
    pub fn device_is_new(&mut self, now: Moment) {
        let unknown = self.entry.is_none() && self.note == LeaseNote::default();
        let away = self.away.as_ref().is_some_and(|(since, _)| *since + AWAY <= now);
        if self.hold == Hold::No && unknown && away && !self.leaving {
            self.hold = Hold::Sole;
        }
    }

    fn noted(&self, sole: bool) -> LeaseNote {
        LeaseNote { token: self.token, sole, highest: self.highest }
    }

    fn read_is_due(&self, now: Moment) -> bool {
        match self.hold {
            _ if self.look || self.entry.is_none() => true,
            // Its own writes tell it.
            Hold::Bound { .. } => false,
            Hold::Sole => self.asked_at + LOOK_HOLDING <= now,
            Hold::No => self.asked_at + LOOK <= now,
        }
    }

    /// Waits, but not past anything that changes by itself. Before that there is time to note that nobody else may drive.
    fn rest(&self, until: Moment, now: Moment) -> Action {
        let note = self.noted(true);
        if self.hold == Hold::Sole && self.quiet_until <= now && !self.leaving && note != self.note {
            return Action::Remember(note);
        }
        if self.highest > self.note.highest {
            return Action::Remember(LeaseNote { highest: self.highest, ..self.note.clone() });
        }
        let mut until = until.min(now + PAUSE);
        let bound = match self.hold {
            Hold::Bound { until } => until,
            Hold::Sole => self.asked_at + LOOK_HOLDING,
            Hold::No => self.asked_at + LOOK,
        };
        for change in [bound, self.quiet_until] {
            if change > now {
                until = until.min(change);
            }
        }
        Action::Wait(until)
    }

    fn send(&mut self, mut record: LeaseRecord, now: Moment) -> Action {
        let mine = record.holder == self.me;
        if mine || self.mine().is_some() {
            // Each try has a word of its own, so that it can be told which of them was heard.
            self.last_renewal = self.last_renewal.max(record.renewals) + 1;
            record.renewals = self.last_renewal;
            record.incarnation.clone_from(&self.incarnation);
        }
        if mine && record.acknowledged.is_some() && self.hold == Hold::Sole {
            self.hold = Hold::Bound { until: now + DURATION };
        }
        let expected = self.entry.as_ref().map_or(0, |entry| entry.revision);
        self.in_flight = Some(Sent { record: record.clone(), expected, at: now });
        Action::Write { record, expected }
    }

    fn step(&mut self, now: Moment) -> Step {
        let record = self.record().cloned();
        if self.leaving {
            return self.step_of_leaving(record, now);
        }
        match record {
            None if self.hold != Hold::No => Step::Write(self.taken(&LeaseRecord::default(), now)),
            // It was never there, or it got lost together with whoever held it.
            None => self.take_at(self.word_since + padded(ENDED), &LeaseRecord::default(), now),
            Some(record) if self.mine().is_some() => self.keep(record, now),
            Some(record) if self.is_outdated(&record) && self.hold != Hold::No => {
                Step::Write(self.taken(&LeaseRecord::default(), now))
            }
            // Others drove since. Who they were is lost, and whoever drives puts it back.
            Some(record) if self.is_outdated(&record) && record.holder == self.me => {
                self.take_at(self.word_since + padded(ENDED), &LeaseRecord::default(), now)
            }
            Some(record) if record.holder == self.me => {
                self.remember_earlier_life(now);
                let standby = record.standby.clone();
                Step::Write(LeaseRecord { standby, ..self.taken(&record, now) })
            }
            Some(record) if record.holder.is_empty() => self.take_at(now, &record, now),
            Some(record) => self.seek(&record, now),
        }
    }

    /// What the holder says.
    fn keep(&mut self, record: LeaseRecord, now: Moment) -> Step {
        let silent = self.standby_since + SILENCE <= now;
        let due = self.said_at + RENEW;
        match (&record.acknowledged, &record.standby) {
            (None, None) => Step::Wait(now + PAUSE),
            (Some(seen), Some(standby)) if seen == standby && !silent => {
                let uncovered = self.wanted.is_some_and(|wanted| wanted > now && self.coverage() < wanted);
                // What has ended is taken back soon, or whoever takes over waits for nothing.
                let over = record.long_seconds > 0 && self.said(record.clone(), now).long_seconds == 0;
                let due = if over { self.said_at + TAKE_BACK } else { due };
                if due <= now || uncovered { Step::Write(self.said(record, now)) } else { Step::Wait(due) }
            }
            (None, Some(standby)) => {
                // It is listened to from now on: it may have asked long ago.
                self.standby_since = now;
                let acknowledged = Some(standby.clone());
                Step::Write(LeaseRecord { acknowledged, ..self.said(record, now) })
            }
            _ => Step::Write(LeaseRecord { acknowledged: None, standby: None, ..self.said(record, now) }),
        }
    }

    /// What somebody does who does not hold, while another does.
    fn seek(&mut self, record: &LeaseRecord, now: Moment) -> Step {
        let standing = record.standby.as_deref() == Some(&self.me);
        if standing && record.acknowledged.as_deref() == Some(&self.me) {
            // A record from before the last one that was seen says nothing of who holds.
            if !self.is_outdated(record) && self.word_since + padded(DURATION) <= now {
                return Step::Write(self.taken(record, now));
            }
            let beat = self.standby_since + BEAT;
            if beat <= now {
                return Step::Write(self.asked(record));
            }
            return Step::Wait(beat.min(self.word_since + padded(DURATION)).max(now + RENEW / 10));
        }
        let forsaken = record.acknowledged.is_none() && self.standby_since + FORSAKEN <= now;
        if record.standby.is_none() || (!standing && forsaken) {
            return Step::Write(self.asked(record));
        }
        Step::Wait(now + PAUSE)
    }

    fn step_of_leaving(&mut self, record: Option<LeaseRecord>, now: Moment) -> Step {
        match record {
            // Nobody waits for it, and the next start must not depend on the book: it may run on the device.
            Some(record) if self.hold == Hold::Sole && record.standby.is_none() => Step::Done,
            Some(record) if self.mine().is_some() => {
                let acknowledged = None;
                Step::Write(LeaseRecord { holder: String::new(), acknowledged, ..self.said(record, now) })
            }
            Some(record) if record.standby.as_deref() == Some(&self.me) => {
                Step::Write(LeaseRecord { standby: None, acknowledged: None, ..record })
            }
            _ => Step::Done,
        }
    }

    fn take_at(&mut self, due: Moment, record: &LeaseRecord, now: Moment) -> Step {
        if due <= now { Step::Write(self.taken(record, now)) } else { Step::Wait(due) }
    }

    /// The record with me as the holder.
    fn taken(&mut self, record: &LeaseRecord, now: Moment) -> LeaseRecord {
        if self.hold == Hold::No {
            self.quiet_until = self.others_until;
        }
        let standby = record.standby.clone().filter(|standby| *standby != self.me);
        let taken = LeaseRecord {
            holder: self.me.clone(),
            token: self.highest.max(record.token) + 1,
            renewals: record.renewals,
            standby,
            standby_word: record.standby_word,
            ..LeaseRecord::default()
        };
        self.said(taken, now)
    }

    /// The record with what the holder says of its commands.
    fn said(&self, record: LeaseRecord, now: Moment) -> LeaseRecord {
        let last = self.commands.values().copied().chain(self.wanted).max().unwrap_or_default();
        let left = last.saturating_sub(now);
        LeaseRecord {
            long_seconds: if left > ENDED { seconds(left) } else { 0 },
            quiet_seconds: seconds(self.quiet_until.saturating_sub(now)),
            ..record
        }
    }

    /// The record with me as the one who stands by.
    fn asked(&mut self, record: &LeaseRecord) -> LeaseRecord {
        self.last_word = self.last_word.max(record.standby_word) + 1;
        LeaseRecord { standby: Some(self.me.clone()), standby_word: self.last_word, ..record.clone() }
    }
}
