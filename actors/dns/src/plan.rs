//! What to do about one set of records: pure. Wanted and found in, the fewest calls out, in an order in which no name that is
//! wanted is ever without an answer it had.

use std::collections::{BTreeMap, BTreeSet};

use mkube_messages::dns::RecordType;
use mkube_model::neighbours::name_servers::RecordRow;

use crate::desired::WantedSet;
use crate::names::same_data;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A record is missing.
    Create {
        /// Its data.
        data: String,
        /// Seconds.
        ttl: u32,
    },
    /// One of ours is to say something else.
    Update {
        /// As it is to be.
        row: RecordRow,
    },
    /// One of ours goes.
    Delete {
        /// Its id.
        id: String,
        /// The zone it is in.
        zone_id: String,
    },
}

/// What may be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Ours.
    Ours,
    /// Ours, and not to be taken away now.
    OursToKeep,
    /// Somebody else's.
    Theirs,
}

/// What to do about the set, best first. `owner` says whose each record is.
pub fn plan(
    kind: RecordType,
    wanted: Option<&WantedSet>,
    found: &[RecordRow],
    owner: impl Fn(&RecordRow) -> Owner,
) -> Vec<Change> {
    let none = BTreeSet::new();
    let data_of = |row: &RecordRow| same_data(&row.kind, &row.data);
    // An address has one name. Where somebody else says one, we say none.
    let taken = kind == RecordType::Ptr && found.iter().any(|row| owner(row) == Owner::Theirs);
    let wanted_data = wanted.map_or(&none, |wanted| if taken { &none } else { &wanted.data });
    let ttl = wanted.map_or(0, |wanted| wanted.ttl);
    let mut satisfied: BTreeSet<String> = found
        .iter()
        .filter(|row| owner(row) == Owner::Theirs && row.enabled)
        .map(data_of)
        .filter(|data| wanted_data.contains(data))
        .collect();
    let mut ours: Vec<(String, &RecordRow)> =
        found.iter().filter(|row| owner(row) != Owner::Theirs).map(|row| (data_of(row), row)).collect();
    // The oldest of several equal ones stays.
    ours.sort_by(|(_, one), (_, other)| (&one.created_at, &one.id).cmp(&(&other.created_at, &other.id)));
    let (mut changes, mut surplus) = (Vec::new(), Vec::new());
    for (data, row) in ours {
        if wanted_data.contains(&data) && satisfied.insert(data) {
            let enabled = row.enabled || row.watched;
            if row.ttl != ttl || !enabled {
                changes.push(Change::Update { row: RecordRow { ttl, enabled: true, ..row.clone() } });
            }
        } else if owner(row) == Owner::Ours {
            surplus.push(row);
        }
    }
    let mut surplus = surplus.into_iter();
    for data in wanted_data.difference(&satisfied) {
        // One call instead of two, and the name never lacks an answer.
        match surplus.next() {
            Some(row) => {
                let row = RecordRow { data: data.clone(), ttl, enabled: true, ..row.clone() };
                changes.push(Change::Update { row });
            }
            None => changes.push(Change::Create { data: data.clone(), ttl }),
        }
    }
    changes.extend(surplus.map(|row| Change::Delete { id: row.id.clone(), zone_id: row.zone_id.clone() }));
    changes
}

/// What is there of a set, for whoever reads it: ours, and what others put there that is wanted; and whether something of ours is
/// there more than once.
pub fn there(
    wanted: Option<&WantedSet>,
    found: &[RecordRow],
    is_ours: impl Fn(&RecordRow) -> bool,
) -> (BTreeSet<String>, bool) {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    let mut data = BTreeSet::new();
    for row in found {
        let (value, ours) = (same_data(&row.kind, &row.data), is_ours(row));
        if ours {
            *count.entry(value.clone()).or_default() += 1;
        }
        if ours || row.enabled && wanted.is_some_and(|wanted| wanted.data.contains(&value)) {
            data.insert(value);
        }
    }
    (data, count.values().any(|times| *times > 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::dns::Purpose;
    use mkube_model::neighbours::name_servers::Origin;
    use proptest::prelude::*;

    fn wanted(data: &[&str]) -> WantedSet {
        WantedSet { ttl: 60, data: data.iter().map(|one| (*one).to_owned()).collect(), purpose: Purpose::default() }
    }

    fn row(id: &str, data: &str, ours: bool) -> RecordRow {
        let origin = if ours { Origin::Named("us".into()) } else { Origin::Unsaid };
        RecordRow {
            id: id.into(),
            zone_id: "z".into(),
            name: "web".into(),
            kind: "A".into(),
            data: data.into(),
            ttl: 60,
            enabled: true,
            origin,
            created_at: id.into(),
            ..RecordRow::default()
        }
    }

    fn owner(row: &RecordRow) -> Owner {
        if row.origin == Origin::Named("us".into()) { Owner::Ours } else { Owner::Theirs }
    }

    fn changes(want: &[&str], found: &[RecordRow]) -> Vec<Change> {
        plan(RecordType::A, (!want.is_empty()).then(|| wanted(want)).as_ref(), found, owner)
    }

    fn create(data: &str) -> Change {
        Change::Create { data: data.into(), ttl: 60 }
    }

    fn delete(id: &str) -> Change {
        Change::Delete { id: id.into(), zone_id: "z".into() }
    }

    #[test]
    fn what_is_there_needs_no_call() {
        assert_eq!(changes(&["10.0.0.1"], &[row("1", "10.0.0.1", true)]), []);
        assert_eq!(changes(&[], &[]), []);
    }

    #[test]
    fn a_changed_address_is_one_call() {
        let calls = changes(&["10.0.0.2"], &[row("1", "10.0.0.1", true)]);
        assert_eq!(calls, [Change::Update { row: row("1", "10.0.0.2", true) }]);
    }

    #[test]
    fn replicas_share_a_name_and_one_that_goes_takes_only_its_own_address() {
        let both = [row("1", "10.0.0.1", true), row("2", "10.0.0.2", true)];
        assert_eq!(changes(&["10.0.0.1", "10.0.0.2"], &both[..1]), [create("10.0.0.2")]);
        assert_eq!(changes(&["10.0.0.2"], &both), [delete("1")]);
        assert_eq!(changes(&[], &both), [delete("1"), delete("2")]);
    }

    #[test]
    fn what_somebody_else_put_there_stays_beside_ours() {
        let theirs = [row("1", "10.0.0.9", false)];
        assert_eq!(changes(&["10.0.0.1"], &theirs), [create("10.0.0.1")]);
        assert_eq!(changes(&[], &theirs), []);
    }

    #[test]
    fn what_somebody_else_put_there_and_is_wanted_is_not_put_there_again() {
        assert_eq!(changes(&["10.0.0.1"], &[row("1", "10.0.0.1", false)]), []);
        let disabled = RecordRow { enabled: false, ..row("1", "10.0.0.1", false) };
        assert_eq!(changes(&["10.0.0.1"], &[disabled]), [create("10.0.0.1")]);
    }

    #[test]
    fn of_equal_records_of_ours_the_oldest_stays() {
        let twice = [row("2", "10.0.0.1", true), row("1", "10.0.0.1", true), row("3", "10.0.0.1", false)];
        assert_eq!(changes(&["10.0.0.1"], &twice[..2]), [delete("2")]);
        assert_eq!(changes(&["10.0.0.1"], &twice), [delete("1"), delete("2")]);
    }

    #[test]
    fn a_record_of_ours_that_was_changed_by_hand_is_put_right_unless_it_is_watched() {
        let slow = RecordRow { ttl: 300, ..row("1", "10.0.0.1", true) };
        assert_eq!(changes(&["10.0.0.1"], &[slow]), [Change::Update { row: row("1", "10.0.0.1", true) }]);
        let off = RecordRow { enabled: false, ..row("1", "10.0.0.1", true) };
        assert_eq!(
            changes(&["10.0.0.1"], std::slice::from_ref(&off)),
            [Change::Update { row: row("1", "10.0.0.1", true) }]
        );
        assert_eq!(changes(&["10.0.0.1"], &[RecordRow { watched: true, ..off }]), []);
    }

    #[test]
    fn an_address_has_one_name_and_somebody_elses_stands() {
        let name = |id, ours| RecordRow { kind: "PTR".into(), data: "web.gt.lo.".into(), ..row(id, "", ours) };
        let want = wanted(&["db.gt.lo"]);
        let plan = |found: &[RecordRow]| plan(RecordType::Ptr, Some(&want), found, owner);
        assert_eq!(plan(&[]).len(), 1);
        assert_eq!(plan(&[name("1", false)]), []);
        assert_eq!(plan(&[name("1", false), name("2", true)]), [delete("2")]);
    }

    #[test]
    fn what_is_to_be_kept_for_now_is_neither_taken_away_nor_made_another() {
        let found = [row("1", "10.0.0.1", true)];
        let calls = plan(RecordType::A, Some(&wanted(&["10.0.0.2"])), &found, |_| Owner::OursToKeep);
        assert_eq!(calls, [create("10.0.0.2")]);
    }

    /// A server that does as it is told.
    fn carry_out(rows: &mut Vec<RecordRow>, change: &Change) {
        match change {
            Change::Create { data, .. } => {
                let id = format!("n{}", rows.len());
                rows.push(row(&id, data, true));
            }
            Change::Update { row } => {
                let at = rows.iter().position(|one| one.id == row.id).expect("it is there");
                rows[at] = row.clone();
            }
            Change::Delete { id, .. } => rows.retain(|row| row.id != *id),
        }
    }

    proptest! {
        #[test]
        fn the_wanted_comes_about_with_the_fewest_calls_and_nothing_of_others_changes(
            want in proptest::collection::btree_set(0u8..6, 0..5),
            have in proptest::collection::vec((0u8..6, any::<bool>(), any::<bool>()), 0..8),
        ) {
            let address = |number: u8| format!("10.0.0.{number}");
            let mut rows: Vec<RecordRow> = have.iter().enumerate().map(|(at, (data, ours, enabled))| {
                RecordRow { enabled: *enabled, ..row(&format!("r{at}"), &address(*data), *ours) }
            }).collect();
            let before = rows.clone();
            let want: BTreeSet<String> = want.into_iter().map(address).collect();
            let set = WantedSet { ttl: 60, data: want.clone(), purpose: Purpose::default() };
            let calls = plan(RecordType::A, Some(&set), &rows, owner);
            let answered = |rows: &[RecordRow]| -> BTreeSet<String> {
                rows.iter().filter(|row| row.enabled).map(|row| row.data.clone()).collect()
            };
            let had: BTreeSet<String> = answered(&rows).intersection(&want).cloned().collect();
            for call in &calls {
                carry_out(&mut rows, call);
                prop_assert!(had.is_subset(&answered(&rows)), "an answer that was right is missing after {call:?}");
            }
            let theirs = |rows: &[RecordRow]| -> Vec<RecordRow> {
                rows.iter().filter(|row| owner(row) == Owner::Theirs).cloned().collect()
            };
            prop_assert_eq!(theirs(&before), theirs(&rows));
            prop_assert!(want.is_subset(&answered(&rows)));
            for row in rows.iter().filter(|row| owner(row) == Owner::Ours) {
                prop_assert!(want.contains(&row.data));
            }
            // No fewer calls would do: every call makes one record right, and each of ours that is right needs none.
            let ours: Vec<&RecordRow> = before.iter().filter(|row| owner(row) == Owner::Ours).collect();
            let theirs: BTreeSet<String> = answered(&theirs(&before));
            let missing: Vec<&String> = want.difference(&theirs).collect();
            let kept: BTreeSet<&String> = ours.iter().map(|row| &row.data).filter(|data| missing.contains(data)).collect();
            let disabled = kept.iter().filter(|data| {
                ours.iter().filter(|row| row.data == ***data).min_by_key(|row| &row.created_at).is_some_and(|row| !row.enabled)
            }).count();
            let (lacking, surplus) = (missing.len() - kept.len(), ours.len() - kept.len());
            prop_assert_eq!(calls.len(), lacking.max(surplus) + disabled);
            prop_assert_eq!(plan(RecordType::A, Some(&set), &rows, owner), []);
        }
    }
}
