//! Whether a command may be sent to the device now, and which may still be at work there. Pure.

use std::time::Duration;

use mkube_messages::lease::Standing;

use crate::memory::{Hold, Memory};
use crate::times::{ANNOUNCE, DEAF, Moment, SHORT};

/// How long a command may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// At most [`SHORT`] while somebody may take over; otherwise as long as is said.
    Short(Duration),
    /// As long as is said, and others are told before.
    Long(Duration),
}

/// What became of the wish to send a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// It may be sent, and is given up at `ends`.
    Go {
        /// For [`Memory::ended`].
        command: u64,
        /// When.
        ends: Moment,
    },
    /// It is being announced; ask again soon.
    Announce,
    /// No: somebody else may be driving.
    Refused,
}

impl Memory {
    /// Whether a command may be begun.
    pub fn begin(&mut self, length: Length, now: Moment) -> Begin {
        self.commands.retain(|_, end| *end > now);
        if !self.drives(now) {
            return Begin::Refused;
        }
        let (Length::Short(span) | Length::Long(span)) = length;
        let ends = match (self.hold, length) {
            (Hold::Bound { .. }, Length::Short(_)) => now + span.min(SHORT),
            (Hold::Bound { .. }, Length::Long(_)) if self.coverage() < now + span => {
                if self.wanted.is_none_or(|wanted| wanted < now + span) {
                    self.wanted = Some(now + span + ANNOUNCE);
                }
                return Begin::Announce;
            }
            _ => now + span,
        };
        if matches!(length, Length::Long(_)) {
            self.wanted = None;
        }
        let command = self.next_command;
        self.next_command += 1;
        self.commands.insert(command, ends);
        Begin::Go { command, ends }
    }

    /// The device answered. Of a command whose reply is lost nothing is told: it counts until it must have ended.
    pub fn ended(&mut self, command: u64) {
        self.commands.remove(&command);
    }

    /// Nobody waits to send a long command any more.
    pub fn give_up_announcing(&mut self) {
        self.wanted = None;
    }

    /// Whether the device may be changed by me now.
    pub fn drives(&self, now: Moment) -> bool {
        let holds = match self.hold {
            Hold::No => false,
            Hold::Sole => true,
            Hold::Bound { until } => now < until,
        };
        holds && self.quiet_until <= now && !self.twin && !self.leaving
    }

    /// What the holder announces, by the record.
    pub fn announced(&self) -> u64 {
        self.record().map_or(0, |record| record.long_seconds)
    }

    /// The highest token that was seen.
    pub fn token(&self) -> u64 {
        self.highest.max(self.token)
    }

    /// How things stand.
    pub fn standing(&self, now: Moment) -> Standing {
        if self.twin {
            return Standing::Twin;
        }
        match self.hold {
            Hold::Bound { until } if until <= now => return Standing::Expired,
            Hold::No => {}
            Hold::Sole | Hold::Bound { .. } if self.quiet_until > now => return Standing::ReadsOnly,
            Hold::Sole | Hold::Bound { .. } => return Standing::Drives,
        }
        if self.entry.is_none() {
            return Standing::Asking { why: self.away.as_ref().map(|(_, why)| why.clone()) };
        }
        let Some(record) = self.record().filter(|record| !record.holder.is_empty() && record.holder != self.me) else {
            return Standing::WaitsToTake;
        };
        let holder = record.holder.clone();
        let is_me = |who: &Option<String>| who.as_deref() == Some(&self.me);
        let acknowledged = is_me(&record.standby) && is_me(&record.acknowledged);
        if is_me(&record.standby) && !acknowledged && self.standby_since + DEAF <= now {
            return Standing::Unheard { holder };
        }
        Standing::StandsBy { holder, acknowledged }
    }
}
