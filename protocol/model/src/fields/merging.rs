//! An object with what somebody applies in it, and without what he applied before and does not any more.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::{self, field};
use super::set::FieldSet;
use crate::list_types::Types;

/// The object with everything in it that `config` says.
pub fn merge(live: &Value, config: &Value, types: Types) -> Value {
    merged("", live, config, types)
}

fn merged(name: &str, live: &Value, config: &Value, types: Types) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !types.is_whole(name) => {
            let mut all = live.clone();
            for (name, wanted) in config {
                let value = match live.get(name) {
                    Some(live) => merged(name, live, wanted, types.below(name)),
                    None => wanted.clone(),
                };
                all.insert(name.clone(), value);
            }
            Value::Object(all)
        }
        (Value::Array(live), Value::Array(wanted)) => {
            let items = |list| element::items(name, list, types);
            match (items(live), items(wanted)) {
                (Some(live), Some(wanted)) => Value::Array(merged_items(live, wanted, types)),
                _ => config.clone(),
            }
        }
        _ => config.clone(),
    }
}

/// Items that are applied, in that order; the others keep their place before those they stood before, else they follow.
fn merged_items(live: element::Items<'_>, wanted: element::Items<'_>, types: Types) -> Vec<Value> {
    let whole = live.whole || wanted.whole;
    let mut places: BTreeMap<&str, (usize, &Value)> = BTreeMap::new();
    for (place, (element, item)) in live.all.iter().enumerate() {
        places.entry(element).or_insert((place, *item));
    }
    let named: BTreeMap<&str, ()> = wanted.all.iter().map(|(element, _)| (&**element, ())).collect();
    let others = live.all.iter().enumerate().filter(|(_, (element, _))| !named.contains_key(&**element));
    let mut others = others.map(|(place, (_, item))| (place, *item)).peekable();
    let mut all = Vec::with_capacity(live.all.len() + wanted.all.len());
    for (element, wanted) in &wanted.all {
        let found = places.get(&**element);
        while let Some((_, other)) = others.next_if(|(place, _)| found.is_some_and(|(at, _)| place < at)) {
            all.push(other.clone());
        }
        all.push(match found {
            Some((_, live)) if !whole => merged("", live, wanted, types),
            _ => (*wanted).clone(),
        });
    }
    all.extend(others.map(|(_, item)| item.clone()));
    all
}

/// Takes out of the object what `last` names and `kept`, the fields of everybody as of now, does not. A struct that nobody has
/// anything in any more goes as a whole: what the server filled in there stood for nothing else.
pub fn prune(object: &mut Value, last: &FieldSet, kept: &FieldSet, types: Types) {
    prune_at("", object, last, Some(kept), types, false);
}

fn prune_at(name: &str, value: &mut Value, last: &FieldSet, kept: Option<&FieldSet>, types: Types, metadata: bool) {
    match value {
        Value::Object(fields) if !types.is_whole(name) => {
            for (element, last) in &last.below {
                let Some(name) = element.strip_prefix("f:").filter(|name| fields.contains_key(*name)) else { continue };
                let kept = kept.and_then(|kept| kept.under(element));
                // In metadata are things of people and controllers alike, some of which nobody is known to own.
                let metadata = metadata || name == "metadata";
                if kept.is_none() && (last.member || !metadata) {
                    fields.remove(name);
                } else if let Some(value) = fields.get_mut(name) {
                    prune_at(name, value, last, kept, types.below(name), metadata);
                    if kept.is_none() && is_bare(value) {
                        fields.remove(name);
                    }
                }
            }
        }
        Value::Array(list) => prune_items(name, list, last, kept, types, metadata),
        _ => {}
    }
}

fn prune_items(
    name: &str,
    list: &mut Vec<Value>,
    last: &FieldSet,
    kept: Option<&FieldSet>,
    types: Types,
    metadata: bool,
) {
    let Some(items) = element::items(name, list, types) else { return };
    let elements: Vec<Box<str>> = items.all.into_iter().map(|(element, _)| element).collect();
    let mut all = std::mem::take(list);
    for (element, mut item) in elements.into_iter().zip(all.drain(..)) {
        let kept = kept.and_then(|kept| kept.under(&element));
        match last.under(&element) {
            Some(last) if kept.is_none() && last.member => continue,
            Some(last) => {
                let before = item.clone();
                prune_at("", &mut item, last, kept, types, metadata);
                keep_key(&element, &before, &mut item);
            }
            None => {}
        }
        list.push(item);
    }
}

/// An item that stays is still the same one.
fn keep_key(element: &str, before: &Value, item: &mut Value) {
    let key = element.strip_prefix("k:").and_then(|key| serde_json::from_str::<Map<String, Value>>(key).ok());
    if let (Some(key), Some(item)) = (key, item.as_object_mut()) {
        for field in key.keys() {
            item.extend(before.get(field).map(|value| (field.clone(), value.clone())));
        }
    }
}

fn is_bare(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The value without what is null in it.
pub fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Why the lists of what is applied cannot be merged, if they cannot: an item has no key, or that of another.
pub fn list_problem(config: &Value, types: Types) -> Option<String> {
    problem_at("", config, types, "")
}

fn problem_at(name: &str, value: &Value, types: Types, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) if !types.is_whole(name) => fields.iter().find_map(|(name, value)| {
            let mut path = path.to_owned();
            element::print(&field(name), &mut path);
            problem_at(name, value, types.below(name), &path)
        }),
        Value::Array(list) => {
            let keyed = types.keyed(name, list.iter())?;
            let mut seen = BTreeMap::new();
            list.iter().enumerate().find_map(|(index, item)| {
                let element = match element::key_of(keyed, item) {
                    Ok(element) => element,
                    Err(field) => {
                        let why = "associative list with keys has an element that omits key field";
                        return Some(format!("{path}: element {index}: {why} {field:?}"));
                    }
                };
                let mut at = path.to_owned();
                element::print(&element, &mut at);
                if seen.insert(element, ()).is_some() {
                    return Some(format!("{at}: duplicate entries for key"));
                }
                problem_at("", item, types, &at)
            })
        }
        _ => None,
    }
}
