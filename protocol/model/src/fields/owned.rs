//! The fields that stand in an object.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::{self, field};
use super::set::FieldSet;
use crate::list_types::Types;

/// The fields that stand in an object: values, items, and maps and lists that are one value. What is null does not stand there.
pub fn fields_of(object: &Value, types: Types) -> FieldSet {
    let mut set = fields_at("", object, types);
    set.member = false;
    set
}

/// The same of a field of this name.
pub fn fields_at(name: &str, value: &Value, types: Types) -> FieldSet {
    match value {
        Value::Null => FieldSet::default(),
        Value::Object(fields) if !fields.is_empty() && !types.is_whole(name) => {
            let mut set = FieldSet::default();
            for (name, value) in fields {
                set.hang(&field(name), fields_at(name, value, types.below(name)));
            }
            set
        }
        Value::Array(list) if !list.is_empty() => match element::items(name, list, types) {
            Some(items) => {
                let mut set = FieldSet::default();
                for (element, item) in items.all {
                    let mut below = if items.whole { FieldSet::default() } else { fields_at("", item, types) };
                    below.member = true;
                    set.hang(&element, below);
                }
                set
            }
            None => FieldSet::leaf(),
        },
        _ => FieldSet::leaf(),
    }
}

/// Takes out of `set` what does not stand in the value.
pub fn retain_standing(set: &mut FieldSet, name: &str, value: Option<&Value>, types: Types) {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        *set = FieldSet::default();
        return;
    };
    match value {
        Value::Object(fields) if !types.is_whole(name) => set.below.retain(|element, below| {
            let name = element.strip_prefix("f:").unwrap_or_default();
            retain_standing(below, name, fields.get(name), types.below(name));
            !below.is_empty()
        }),
        Value::Array(list) => {
            let items = element::items(name, list, types);
            let items: BTreeMap<Box<str>, &Value> = items.into_iter().flat_map(|items| items.all).collect();
            set.below.retain(|element, below| {
                retain_standing(below, "", items.get(element).copied(), types);
                !below.is_empty()
            });
        }
        _ => set.below.clear(),
    }
}
