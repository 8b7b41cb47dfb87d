//! Whether what the store holds can be what it held before, or is older. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use mkube_model::neighbours::desired_store::{Revision, StoreKey};

use super::snapshot::{Known, Mark};

/// Revisions that may be missing at the end of a stream and are made good. JetStream syncs at least every two minutes.
const TAIL: Revision = 100_000;

/// What a bucket's stream says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    /// When it was made, in nanoseconds since 1970.
    pub(crate) created: i64,
    /// Its last sequence.
    pub(crate) last: Revision,
}

/// All keys of a bucket as its stream has them.
pub(crate) type Found = BTreeMap<StoreKey, (Known, Bytes)>;

/// What a comparison found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing that was known is missing.
    Same,
    /// Changes of these keys are missing, in this order: with the end of the stream, as after a power loss, or because the server
    /// took away the newer of two changes when it started.
    Lost { missing: Revision, keys: Vec<StoreKey> },
    /// It is older, and not in a way that explains: why.
    Older(String),
}

/// Buckets whose streams are not those that were known, and what to say of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Strange<'f> {
    pub(crate) gone: Vec<&'f str>,
    pub(crate) made_anew: Vec<&'f str>,
}

impl Strange<'_> {
    pub(crate) fn has(&self, bucket: &str) -> bool {
        self.gone.contains(&bucket) || self.made_anew.contains(&bucket)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.made_anew.is_empty()
    }

    pub(crate) fn sentences(&self) -> Vec<String> {
        let of =
            |buckets: &[&str], what: &str| (!buckets.is_empty()).then(|| format!("{what}: {}", buckets.join(", ")));
        let made_anew = "these buckets are not those that were known, somebody made them anew";
        of(&self.gone, "these buckets are gone").into_iter().chain(of(&self.made_anew, made_anew)).collect()
    }
}

/// Compares which streams there are with those that were known.
pub(crate) fn compare_streams<'f>(
    known: &BTreeMap<String, Mark>,
    found: &'f BTreeMap<String, Option<Stream>>,
) -> Strange<'f> {
    let mut strange = Strange::default();
    for (bucket, stream) in found {
        match (known.get(bucket), stream) {
            (Some(_), None) => strange.gone.push(bucket),
            (Some(mark), Some(stream)) if mark.created != stream.created => strange.made_anew.push(bucket),
            _ => {}
        }
    }
    strange
}

/// Compares the keys of one bucket, whose stream is the one that was known, with those that were known.
pub(crate) fn compare_keys<'a>(
    highest: Revision,
    known: impl Iterator<Item = (&'a StoreKey, Known)>,
    stream: Stream,
    found: &Found,
) -> Verdict {
    let missing = highest.saturating_sub(stream.last);
    let is_behind = |(at, known): &(&StoreKey, Known)| match found.get(*at) {
        Some((found, _)) => found.revision < known.revision,
        // What marked a deletion may be cleaned up; then nothing is there, which is what it said.
        None => known.live || known.revision > stream.last,
    };
    let mut behind: Vec<(&StoreKey, Known)> = known.filter(is_behind).collect();
    if missing == 0 {
        if behind.is_empty() {
            return Verdict::Same;
        }
        // What vanished may have been taken away on purpose. Nobody can bring back on purpose what was before.
        if let Some((at, known)) = behind.iter().find(|(at, _)| !found.contains_key(*at)) {
            let others = behind.iter().filter(|(at, _)| !found.contains_key(*at)).count() - 1;
            return Verdict::Older(format!(
                "{}/{} was at revision {} and is not there; so it is with {others} others",
                at.bucket, at.key, known.revision
            ));
        }
    }
    if missing > TAIL {
        let bucket = behind.first().map_or("a bucket", |(at, _)| at.bucket.as_str());
        return Verdict::Older(format!("{bucket} was at revision {highest} and is at {}", stream.last));
    }
    behind.sort_by_key(|(_, known)| known.revision);
    Verdict::Lost { missing, keys: behind.into_iter().map(|(at, _)| at.clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str) -> StoreKey {
        StoreKey { bucket: "PODS".into(), key: key.into() }
    }

    fn live(revision: Revision) -> Known {
        Known { revision, live: true }
    }

    fn gone(revision: Revision) -> Known {
        Known { revision, live: false }
    }

    fn verdict(known: &[(&str, Known)], found: &[(&str, Known)], last: Revision) -> Verdict {
        let known: Vec<(StoreKey, Known)> = known.iter().map(|(key, known)| (at(key), *known)).collect();
        let highest = known.iter().map(|(_, known)| known.revision).max().unwrap_or(0);
        let found = found.iter().map(|(key, known)| (at(key), (*known, Bytes::new()))).collect();
        compare_keys(highest, known.iter().map(|(at, known)| (at, *known)), Stream { created: 1, last }, &found)
    }

    #[test]
    fn what_is_newer_or_the_same_is_fine() {
        let known = [("a", live(3)), ("b", gone(4)), ("c", live(5))];
        assert_eq!(verdict(&known, &known, 5), Verdict::Same);
        assert_eq!(
            verdict(&known, &[("a", gone(6)), ("b", live(7)), ("c", live(5)), ("d", live(8))], 8),
            Verdict::Same
        );
        assert_eq!(verdict(&known, &[("a", live(3)), ("c", live(5))], 5), Verdict::Same, "the marker was cleaned up");
        assert_eq!(verdict(&[], &[("a", live(3))], 3), Verdict::Same);
    }

    #[test]
    fn a_missing_end_of_the_stream_is_named_in_the_order_it_was_written_deletions_too() {
        let known = [("a", live(9)), ("b", gone(8)), ("c", live(2)), ("d", live(7))];
        let found = [("a", live(1)), ("b", live(4)), ("c", live(2))];
        let lost = Verdict::Lost { missing: 3, keys: vec![at("d"), at("b"), at("a")] };
        assert_eq!(verdict(&known, &found, 6), lost);
        assert_eq!(verdict(&[("a", gone(9))], &[], 6), Verdict::Lost { missing: 3, keys: vec![at("a")] });
    }

    #[test]
    fn keys_that_went_back_while_the_stream_did_not_are_lost_changes_deletions_too() {
        let known = [("a", live(8)), ("b", live(4)), ("c", gone(7))];
        let found = [("a", live(1)), ("b", live(4)), ("c", live(2))];
        assert_eq!(verdict(&known, &found, 9), Verdict::Lost { missing: 0, keys: vec![at("c"), at("a")] });
    }

    #[test]
    fn keys_that_vanished_while_the_stream_did_not_go_back_are_older() {
        let known = [("a", live(3)), ("b", live(4)), ("c", live(5))];
        let verdict_of = |found: &[(&str, Known)]| verdict(&known, found, 9);
        for found in [&[("b", live(4)), ("c", live(5))][..], &[("b", live(4)), ("c", live(2))][..]] {
            let Verdict::Older(why) = verdict_of(found) else { panic!("{found:?}") };
            assert!(why.contains("PODS/a was at revision 3 and is not there; so it is with 0 others"), "{why}");
        }
        assert!(matches!(verdict(&[("a", live(TAIL + 2))], &[], 1), Verdict::Older(_)));
    }

    #[test]
    fn a_stream_that_is_gone_or_another_one_is_older_and_a_new_bucket_is_none_that_is_missing() {
        let known = BTreeMap::from([("PODS".to_owned(), Mark { created: 1, last: 5 })]);
        let found = |created: Option<i64>| {
            let pods = created.map(|created| Stream { created, last: 5 });
            BTreeMap::from([("PODS".to_owned(), pods), ("JOBS".to_owned(), None)])
        };
        let strange = |created| compare_streams(&known, &found(created)).sentences();
        assert_eq!(strange(Some(1)), Vec::<String>::new());
        assert!(
            compare_streams(&known, &found(None)).has("PODS") && !compare_streams(&known, &found(None)).has("JOBS")
        );
        assert_eq!(strange(None), ["these buckets are gone: PODS"]);
        assert!(strange(Some(2)).concat().ends_with("made them anew: PODS"));
    }
}
