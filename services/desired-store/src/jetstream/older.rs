//! What a store that came back older lacks of what it acknowledged. Pure.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use mkube_model::neighbours::desired_store::StoreKey;
use mkube_model::neighbours::older_store::{Loss, LossKind, OlderStore};

use super::compare::{Found, Stream};
use super::snapshot::Known;

/// A bucket that is older, as it is and as it was known.
pub(crate) struct OlderBucket<'a> {
    pub(crate) name: &'a str,
    /// Its stream, if it is there.
    pub(crate) stream: Option<Stream>,
    /// That is the stream that was known: its revisions are those that were acknowledged.
    pub(crate) is_known: bool,
    /// What was known of it.
    pub(crate) known: Vec<(StoreKey, Known)>,
    /// What it holds.
    pub(crate) found: &'a Found,
}

impl OlderBucket<'_> {
    fn losses(&self, values: &BTreeMap<StoreKey, (Known, Bytes)>) -> Vec<Loss> {
        let differs = |(at, known): &(StoreKey, Known)| {
            let there = self.found.get(at);
            let found = there.filter(|(found, _)| found.live);
            let has_moved_on = self.is_known && there.is_some_and(|(found, _)| found.revision >= known.revision);
            let is_so = || found.map(|(_, value)| value) == values.get(at).map(|(_, value)| value);
            let kind = match (known.live, found) {
                _ if has_moved_on => return None,
                (true, None) => LossKind::Missing,
                (true, Some(_)) if !self.is_known && is_so() => return None,
                (true, Some(_)) => LossKind::Older,
                (false, Some(_)) => LossKind::Returned,
                (false, None) => return None,
            };
            let found = found.map(|(found, _)| found.revision);
            Some(Loss { at: at.clone(), kind, known: known.revision, found })
        };
        self.known.iter().filter_map(differs).collect()
    }
}

/// What these buckets lack. `values`: everything that was known.
pub(crate) fn older_store(
    why: String,
    buckets: &[OlderBucket<'_>],
    values: &BTreeMap<StoreKey, (Known, Bytes)>,
) -> OlderStore {
    let mut losses: Vec<Loss> = buckets.iter().flat_map(|bucket| bucket.losses(values)).collect();
    losses.sort_by(|one, other| one.at.cmp(&other.at));
    let mut hasher = DefaultHasher::new();
    for bucket in buckets {
        // What others write there meanwhile is not lost, and changes nothing.
        (bucket.name, bucket.stream.map(|stream| stream.created)).hash(&mut hasher);
    }
    losses.hash(&mut hasher);
    OlderStore {
        why,
        digest: format!("{:016x}", hasher.finish()),
        buckets: buckets.iter().map(|bucket| bucket.name.to_owned()).collect(),
        losses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str) -> StoreKey {
        StoreKey { bucket: "PODS".into(), key: key.into() }
    }

    fn value(revision: u64, text: &'static str) -> (Known, Bytes) {
        (Known { revision, live: !text.is_empty() }, Bytes::from(text))
    }

    /// Keys with their revision and value; an empty one is a deletion.
    type Keys = [(&'static str, u64, &'static str)];

    fn all(keys: &Keys) -> BTreeMap<StoreKey, (Known, Bytes)> {
        keys.iter().map(|(key, revision, text)| (at(key), value(*revision, text))).collect()
    }

    fn report(known: &Keys, found: &Keys, created: Option<i64>) -> OlderStore {
        let (values, found) = (all(known), all(found));
        let bucket = OlderBucket {
            name: "PODS",
            stream: created.map(|created| Stream { created, last: 99 }),
            is_known: created == Some(1),
            known: values.iter().map(|(at, (known, _))| (at.clone(), *known)).collect(),
            found: &found,
        };
        older_store("why".into(), &[bucket], &values)
    }

    fn told(report: &OlderStore) -> Vec<(&str, &str, u64, Option<u64>)> {
        let one = |loss: &Loss| (loss.kind.as_str(), loss.known, loss.found);
        report
            .losses
            .iter()
            .map(|loss| (loss.at.key.as_str(), one(loss)))
            .map(|(key, (kind, known, found))| (key, kind, known, found))
            .collect()
    }

    const KNOWN: &Keys = &[("a", 3, "1"), ("b", 4, "2"), ("c", 5, ""), ("d", 6, "4"), ("e", 7, "")];

    #[test]
    fn in_a_stream_that_is_known_revisions_say_what_went_back() {
        // Others changed d and made f.
        let found: &Keys = &[("b", 2, "2"), ("c", 1, "back"), ("d", 8, ""), ("f", 9, "6")];
        let report = report(KNOWN, found, Some(1));
        let expected = [("a", "missing", 3, None), ("b", "older", 4, Some(2)), ("c", "returned", 5, Some(1))];
        assert_eq!(told(&report), expected);
        let counts = [LossKind::Missing, LossKind::Older, LossKind::Returned].map(|kind| report.count(kind));
        assert_eq!(counts, [1, 1, 1]);
    }

    #[test]
    fn in_another_stream_values_do_and_where_there_is_none_all_is_missing() {
        let found: &Keys = &[("a", 90, "1"), ("b", 91, "other"), ("c", 92, "back")];
        let expected = [("b", "older", 4, Some(91)), ("c", "returned", 5, Some(92)), ("d", "missing", 6, None)];
        assert_eq!(told(&report(KNOWN, found, Some(2))), expected);
        let expected = [("a", "missing", 3, None), ("b", "missing", 4, None), ("d", "missing", 6, None)];
        assert_eq!(told(&report(KNOWN, &[], None)), expected);
    }

    #[test]
    fn the_digest_stands_for_what_is_lost_and_for_nothing_that_others_add() {
        let digest = |found: &Keys, created| report(KNOWN, found, created).digest;
        let base = digest(&[("b", 90, "2")], Some(2));
        assert_eq!(digest(&[("b", 90, "2")], Some(2)), base, "it is the same each time");
        assert_eq!(digest(&[("b", 90, "2"), ("new", 95, "x")], Some(2)), base);
        assert_ne!(digest(&[("b", 91, "other")], Some(2)), base);
        assert_ne!(digest(&[], Some(2)), base);
        assert_ne!(digest(&[("b", 90, "2")], Some(3)), base, "it was made anew once more");
    }
}
