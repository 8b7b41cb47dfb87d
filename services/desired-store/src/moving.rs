//! Everything of one store into another: what is to be written, the writing, and whether both hold the same afterwards. Values are
//! copied byte for byte; revisions are the other store's own.
//!
//! What was written before is found again by comparing, so whoever was interrupted begins once more and goes on.

use std::collections::BTreeMap;

use mkube_model::neighbours::desired_store::{
    Conflict, DesiredStore, Expected, StoreChange, StoreContents, StoreFault, StoredValue,
};

/// Changes of one commit.
const TOGETHER: usize = 256;
/// Bytes of one commit, and one value more.
const BYTES: usize = 1 << 20;

/// What of a bucket is where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketCount {
    /// Values that are to be there in the end.
    pub values: usize,
    /// Of those, how many the target has already.
    pub there: usize,
    /// Of those, how many the target has otherwise.
    pub differing: usize,
    /// What only the target has.
    pub foreign: usize,
}

/// What makes a target hold what a source holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By bucket.
    pub buckets: BTreeMap<String, BucketCount>,
    /// What is to be written, in the order of the source.
    pub changes: Vec<StoreChange>,
}

impl Plan {
    /// Sum over all buckets.
    pub fn total(&self) -> BucketCount {
        let mut total = BucketCount::default();
        for bucket in self.buckets.values() {
            total.values += bucket.values;
            total.there += bucket.there;
            total.differing += bucket.differing;
            total.foreign += bucket.foreign;
        }
        total
    }

    /// Whether the target holds something that the source does not say: somebody else's, or newer than it.
    pub fn overwrites(&self) -> bool {
        let total = self.total();
        total.differing + total.foreign > 0
    }
}

/// Compares what two stores hold. Pure.
pub fn plan(source: &StoreContents, target: &StoreContents) -> Plan {
    let there: BTreeMap<_, &StoredValue> = target.values.iter().map(|one| (&one.at, one)).collect();
    let mut wanted = BTreeMap::new();
    let mut plan = Plan::default();
    for one in &source.values {
        wanted.insert(&one.at, ());
        let count = plan.buckets.entry(one.at.bucket.clone()).or_default();
        count.values += 1;
        let expected = match there.get(&one.at) {
            Some(found) if found.value == one.value => {
                count.there += 1;
                continue;
            }
            Some(found) => {
                count.differing += 1;
                Expected::At(found.revision)
            }
            None => Expected::Absent,
        };
        plan.changes.push(StoreChange { at: one.at.clone(), value: Some(one.value.clone()), expected, behind: false });
    }
    for one in target.values.iter().filter(|one| !wanted.contains_key(&one.at)) {
        plan.buckets.entry(one.at.bucket.clone()).or_default().foreign += 1;
        let expected = Expected::At(one.revision);
        plan.changes.push(StoreChange { at: one.at.clone(), value: None, expected, behind: false });
    }
    plan
}

/// Why not everything was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MoveFault {
    /// The target refused, or is not there.
    #[error("the target: {0}")]
    Target(#[from] StoreFault),
    /// Somebody else writes it.
    #[error("somebody else writes the target meanwhile: {0}")]
    Contested(#[from] Conflict),
}

/// Writes what a plan says. `progress` hears how many of its changes are safe.
pub async fn carry_out(
    plan: Plan,
    target: &dyn DesiredStore,
    mut progress: impl FnMut(usize),
) -> Result<(), MoveFault> {
    let mut done = 0;
    let mut changes = plan.changes.into_iter().peekable();
    while changes.peek().is_some() {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < TOGETHER
            && bytes < BYTES
            && let Some(change) = changes.next()
        {
            bytes += change.value.as_ref().map_or(0, |value| value.len());
            batch.push(change);
        }
        done += batch.len();
        for outcome in target.commit(batch).await? {
            outcome?;
        }
        progress(done);
    }
    Ok(())
}

/// Where two stores differ, at most so many of them, as sentences. Nothing: they hold the same, byte for byte.
pub fn differences(source: &StoreContents, target: &StoreContents, most: usize) -> Vec<String> {
    let plan = plan(source, target);
    let said = |change: &StoreChange| {
        let at = format!("{}/{}", change.at.bucket, change.at.key);
        match (&change.value, change.expected) {
            (None, _) => format!("{at} is only in the target"),
            (Some(_), Expected::Absent) => format!("{at} is missing in the target"),
            (Some(_), _) => format!("{at} has another value in the target"),
        }
    };
    plan.changes.iter().take(most).map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mkube_model::neighbours::desired_store::StoreKey;

    fn contents(values: &[(&str, &str)]) -> StoreContents {
        let one = |(index, (key, value)): (usize, &(&str, &str))| StoredValue {
            at: StoreKey { bucket: "PODS".into(), key: (*key).into() },
            revision: index as u64 + 1,
            value: Bytes::copy_from_slice(value.as_bytes()),
        };
        StoreContents { values: values.iter().enumerate().map(one).collect(), ..StoreContents::default() }
    }

    #[test]
    fn what_is_there_is_not_written_again_and_what_is_others_is_counted() {
        let source = contents(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let nothing = plan(&source, &contents(&[]));
        assert_eq!((nothing.changes.len(), nothing.overwrites()), (3, false));
        let half = plan(&source, &contents(&[("a", "1")]));
        assert_eq!((half.changes.len(), half.overwrites()), (2, false), "an interrupted one goes on");
        let all = plan(&source, &source);
        assert_eq!((all.changes.len(), all.overwrites()), (0, false));
        let other = plan(&source, &contents(&[("a", "9"), ("z", "1")]));
        assert_eq!(other.total(), BucketCount { values: 3, there: 0, differing: 1, foreign: 1 });
        assert!(other.overwrites());
        let expected: Vec<Expected> = other.changes.iter().map(|change| change.expected).collect();
        assert_eq!(expected, [Expected::At(1), Expected::Absent, Expected::Absent, Expected::At(2)]);
    }

    #[test]
    fn every_difference_is_told() {
        let told = differences(&contents(&[("a", "1"), ("b", "2")]), &contents(&[("a", "9"), ("c", "1")]), 10);
        assert_eq!(
            told,
            [
                "PODS/a has another value in the target",
                "PODS/b is missing in the target",
                "PODS/c is only in the target"
            ]
        );
        assert!(differences(&contents(&[("a", "1")]), &contents(&[("a", "1")]), 10).is_empty());
    }
}
