//! What was brought in while the store was away, when the store is back. Pure.
//!
//! Whoever starts without a store and without a memory of it brings the whole boot manifest in, for the store itself may be in it.
//! A store that has lived before may know better: what it has under these names stays as it is there, and what it was given before
//! and has not any more was deleted by somebody, for good.

use std::collections::BTreeSet;

/// An object of the boot manifest that says which record it was noted in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// How the record names it.
    pub identity: String,
    /// Uid of the record it was noted in.
    pub noted_in: String,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays, and says no more that it was doubtful.
    Stays,
    /// It was deleted in an earlier life of the store, and goes.
    Goes,
}

/// What the store knows.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Uid of the record that is in the store.
    pub record: &'a str,
    /// What it says was brought in.
    pub documents: &'a BTreeSet<String>,
    /// Whether the store has pods that were not brought in just now. One that has none lost more than a person deletes, and is
    /// not believed.
    pub has_others: bool,
}

/// The fate of one.
pub fn fate(one: &Unconfirmed, known: Known<'_>) -> Fate {
    let lived_before = one.noted_in != known.record;
    if lived_before && known.has_others && known.documents.contains(&one.identity) { Fate::Goes } else { Fate::Stays }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_store_with_other_pods_was_given_before_and_lost_since_goes() {
        let documents = BTreeSet::from(["pods/infra/gone".to_owned()]);
        let known = Known { record: "theirs", documents: &documents, has_others: true };
        let one =
            |name: &str, record: &str| Unconfirmed { identity: format!("pods/infra/{name}"), noted_in: record.into() };
        assert_eq!(fate(&one("gone", "ours"), known), Fate::Goes);
        assert_eq!(fate(&one("new", "ours"), known), Fate::Stays, "the manifest has more than it had");
        assert_eq!(fate(&one("gone", "theirs"), known), Fate::Stays, "the store was new");
        assert_eq!(fate(&one("gone", "ours"), Known { has_others: false, ..known }), Fate::Stays);
    }
}
