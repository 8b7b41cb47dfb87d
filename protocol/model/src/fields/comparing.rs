//! What is different between two states of an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::element::{self, field};
use super::owned::fields_at;
use super::set::FieldSet;
use crate::list_types::Types;

/// Differences between two states.
#[derive(Debug, Default, PartialEq)]
pub struct Differences {
    /// Fields with another value, or that were not there.
    pub changed: FieldSet,
    /// Fields that went, with all below them.
    pub removed: FieldSet,
}

/// What is different in `new`. The order of items that have keys is no difference.
pub fn compare(old: &Value, new: &Value, types: Types) -> Differences {
    let mut found = Differences::default();
    look(Some(old), Some(new), Place { name: "", types, path: &mut Vec::new() }, &mut found);
    found
}

struct Place<'p> {
    name: &'p str,
    types: Types,
    path: &'p mut Vec<Box<str>>,
}

impl Place<'_> {
    fn below(&mut self, element: Box<str>, name: &str, types: Types, look: impl FnOnce(Place<'_>)) {
        self.path.push(element);
        look(Place { name, types, path: self.path });
        self.path.pop();
    }
}

fn look(old: Option<&Value>, new: Option<&Value>, mut place: Place<'_>, found: &mut Differences) {
    let there = |value: &&Value| !value.is_null();
    let (old, new) = match (old.filter(there), new.filter(there)) {
        (None, None) => return,
        (None, Some(new)) => return found.changed.hang_at(place.path, &fields_at(place.name, new, place.types)),
        (Some(_), None) => return found.removed.hang_at(place.path, &FieldSet::leaf()),
        (Some(old), Some(new)) if old == new => return,
        (Some(old), Some(new)) => (old, new),
    };
    let types = place.types;
    match (old, new) {
        (Value::Object(old), Value::Object(new)) if !types.is_whole(place.name) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                place.below(field(name), name, types.below(name), |place| {
                    look(old.get(name), new.get(name), place, found);
                });
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            let items = |list| element::items(place.name, list, types);
            let (Some(before), Some(after)) = (items(before), items(after)) else {
                return another(old, new, &place, found);
            };
            let whole = before.whole || after.whole;
            let mut all: BTreeMap<Box<str>, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
            before.all.into_iter().for_each(|(element, item)| all.entry(element).or_default().0.push(item));
            after.all.into_iter().for_each(|(element, item)| all.entry(element).or_default().1.push(item));
            for (element, (old, new)) in all {
                let differs = old != new;
                place.below(element, "", types, |place| match (old.as_slice(), new.as_slice()) {
                    ([old], [new]) if !whole => look(Some(old), Some(new), place, found),
                    (_, []) => found.removed.hang_at(place.path, &FieldSet::leaf()),
                    (_, [new, ..]) if differs => {
                        let mut set = if whole { FieldSet::default() } else { fields_at("", new, types) };
                        set.member = true;
                        found.changed.hang_at(place.path, &set);
                    }
                    _ => {}
                });
            }
        }
        _ => another(old, new, &place, found),
    }
}

/// One value instead of another.
fn another(old: &Value, new: &Value, place: &Place<'_>, found: &mut Differences) {
    let (old, new) = (fields_at(place.name, old, place.types), fields_at(place.name, new, place.types));
    if !old.below.is_empty() {
        found.removed.hang_at(place.path, &FieldSet::leaf());
    }
    found.changed.hang_at(place.path, &new);
}
