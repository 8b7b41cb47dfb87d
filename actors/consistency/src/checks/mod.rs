//! What is compared with what: one file for each pair of sides. Pure: facts in, findings out.

mod addresses;
mod containers;
mod images;
mod lists;
mod names;
mod strays;
mod workloads;

use crate::decide::Decision;
use crate::facts::Facts;
use crate::finding::Finding;

/// Every finding.
pub fn all(facts: &Facts<'_>, decision: &Decision) -> Vec<Finding> {
    let mut found = Vec::new();
    containers::check(facts, &mut found);
    addresses::check(facts, &mut found);
    lists::check(facts, &mut found);
    images::check(facts, &mut found);
    names::check(facts, &mut found);
    workloads::check(facts, &mut found);
    strays::check(facts, decision, &mut found);
    found
}

#[cfg(test)]
mod tests;
