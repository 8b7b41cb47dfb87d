//! What is published of a zone: each set of records, as wanted and as found, and what is in the way.

use std::collections::BTreeSet;

use imbl::OrdMap;
use mkube_messages::dns::{Purpose, RecordSight};

use crate::desired::SetKey;
use crate::plan::there;
use crate::zone_state::{Eyes, ZoneState};

impl ZoneState {
    /// Brings up to date what is published of a set. Before the records were read nothing is found.
    pub(crate) fn tell(&mut self, key: &SetKey, eyes: Option<Eyes<'_>>) {
        let wanted = self.wish.sets.get(key);
        let rows = self.rows.get(key).map(Vec::as_slice).unwrap_or_default();
        let before = self.sights.get(key);
        let (found, twice) = match eyes {
            Some(eyes) => there(wanted, rows, |row| self.is_ours(key, row, eyes)),
            None => (before.map(|sight| sight.found.clone()).unwrap_or_default(), self.duplicates.contains(key)),
        };
        let empty = wanted.is_none() && found.is_empty();
        let (purpose, data) =
            wanted.map_or((Purpose::Leftover, BTreeSet::new()), |set| (set.purpose.clone(), set.data.clone()));
        let sight = RecordSight { wanted: data, found, purpose };
        if twice {
            self.duplicates.insert(key.clone());
        } else {
            self.duplicates.remove(key);
        }
        if empty {
            self.sights.remove(key);
        } else if before != Some(&sight) {
            self.sights.insert(key.clone(), sight);
        }
    }

    /// What is wanted and what is there.
    pub fn sights(&self) -> &OrdMap<SetKey, RecordSight> {
        &self.sights
    }

    /// Names of ours with the same data more than once.
    pub fn duplicates(&self) -> BTreeSet<String> {
        self.duplicates.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Records that are not ours, at the last reading.
    pub fn foreign(&self) -> usize {
        self.foreign
    }

    /// Why not all is as wanted.
    pub fn trouble(&self) -> Option<String> {
        let refused = || {
            let ((name, kind), refusal) = self.refused.iter().next()?;
            Some(format!("{name} {}: {}", kind.word(), refusal.why))
        };
        self.fault.clone().or_else(refused)
    }
}
