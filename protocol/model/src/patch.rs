//! Patches: JSON patch, merge patch, and Kubernetes' strategic merge patch.

use serde_json::{Map, Value};

use crate::list_types::{is_set, merge_key};
use crate::status::Status;

/// Operations of one JSON patch.
const OPERATIONS: usize = 10_000;
/// Bytes that all copies of one JSON patch may make together: each can double the object.
const COPIED: usize = 3 << 20;
/// Items of a list that is merged by key: each is looked for among all.
const ITEMS: usize = 10_000;

/// Applies an RFC 6902 patch.
pub fn json_patch(current: &Value, patch: &Value) -> Result<Value, Status> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| Status::bad_request(format!("the patch is not a JSON patch: {error}")))?;
    if operations.0.len() > OPERATIONS {
        return Err(Status::too_large(OPERATIONS));
    }
    let mut patched = current.clone();
    let mut copied = 0;
    for operation in operations.0 {
        if let json_patch::PatchOperation::Copy(copy) = &operation {
            copied += patched.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > COPIED {
                return Err(Status::too_large(COPIED));
            }
        }
        json_patch::patch(&mut patched, &[operation]).map_err(|error| {
            let text = format!("the server rejected our request due to an error in our request: {error}");
            Status::new(422, "Invalid", text)
        })?;
    }
    Ok(patched)
}

/// Applies an RFC 7386 patch.
pub fn merge_patch(current: &Value, patch: &Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("a merge patch must be a JSON object"));
    }
    let mut patched = current.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

/// Applies a strategic merge patch: lists with a merge key are merged by it, all others replaced.
pub fn strategic_merge_patch(current: &Value, patch: &Value) -> Result<Value, Status> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(Status::bad_request("a strategic merge patch must be a JSON object"));
    };
    merge_objects(current, patch, "").map(Value::Object)
}

fn merge_objects(
    current: &Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, Status> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            let mut replaced = patch.clone();
            replaced.remove("$patch");
            return Ok(replaced);
        }
        Some("delete") => return Ok(Map::new()),
        Some("merge") | None => {}
        Some(other) => return Err(Status::bad_request(format!("{path}: unknown $patch directive {other:?}"))),
    }
    let mut result = current.clone();
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        result.retain(|name, _| keep.iter().any(|one| one.as_str() == Some(name)));
    }
    for (name, wanted) in patch {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            delete_from_set(&mut result, list, wanted);
            continue;
        }
        if name.starts_with('$') {
            continue;
        }
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (result.get(name), wanted) {
            (_, Value::Null) => {
                result.remove(name);
            }
            (Some(Value::Object(old)), Value::Object(new)) => {
                let merged = merge_objects(old, new, &at)?;
                result.insert(name.clone(), Value::Object(merged));
            }
            (old, Value::Array(new)) => {
                let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let order = patch.get(&format!("$setElementOrder/{name}")).and_then(Value::as_array);
                let merged = merge_lists(name, old, new, order, &at)?;
                result.insert(name.clone(), Value::Array(merged));
            }
            (_, Value::Object(new)) => {
                let merged = merge_objects(&Map::new(), new, &at)?;
                result.insert(name.clone(), Value::Object(merged));
            }
            (_, new) => {
                result.insert(name.clone(), new.clone());
            }
        }
    }
    // An order alone (no list beside it) still sorts.
    for (name, order) in patch {
        if let Some(list) = name.strip_prefix("$setElementOrder/")
            && !patch.contains_key(list)
            && let (Some(Value::Array(items)), Some(order)) = (result.get_mut(list), order.as_array())
        {
            let key = merge_key(list, items.iter());
            let before = items.clone();
            *items = in_order(std::mem::take(items), order, &before, key);
        }
    }
    Ok(result)
}

fn delete_from_set(result: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Some(gone)) = (result.get_mut(list), gone.as_array()) {
        items.retain(|item| !gone.contains(item));
    }
}

fn merge_lists(
    name: &str,
    old: &[Value],
    new: &[Value],
    order: Option<&Vec<Value>>,
    path: &str,
) -> Result<Vec<Value>, Status> {
    if new.iter().any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace")) {
        return Ok(new.iter().filter(|item| item.get("$patch").is_none()).cloned().collect());
    }
    let key = merge_key(name, old.iter().chain(new));
    if (is_set(name) || key.is_some()) && old.len() + new.len() > ITEMS {
        return Err(Status::bad_request(format!("{path}: a list of more than {ITEMS} items cannot be merged")));
    }
    if is_set(name) {
        let mut merged = old.to_vec();
        merged.extend(new.iter().filter(|item| !old.contains(item)).cloned());
        return Ok(match order {
            Some(order) => in_order(merged, order, old, None),
            None => merged,
        });
    }
    let Some(key) = key else { return Ok(new.to_vec()) };
    let mut merged: Vec<Value> = old.to_vec();
    for item in new {
        // A key that tells nothing apart is none: its item would be added once more each time.
        let id = item.get(key).filter(|id| !(id.is_null() || id.is_object() || id.is_array()));
        let (Value::Object(fields), Some(id)) = (item, id) else {
            return Err(Status::bad_request(format!("{path}: an item has no merge key {key:?}")));
        };
        let place = merged.iter().position(|one| one.get(key) == Some(id) && same_protocol(name, one, item));
        if fields.get("$patch").and_then(Value::as_str) == Some("delete") {
            if let Some(place) = place {
                merged.remove(place);
            }
            continue;
        }
        let empty = Map::new();
        let before = place.and_then(|place| merged[place].as_object()).unwrap_or(&empty);
        let after = Value::Object(merge_objects(before, fields, path)?);
        match place {
            Some(place) => merged[place] = after,
            None => merged.push(after),
        }
    }
    // Without an order the patch itself is one.
    Ok(in_order(merged, order.map_or(new, Vec::as_slice), old, Some(key)))
}

/// Two ports of one number differ when their protocols do.
fn same_protocol(list: &str, one: &Value, other: &Value) -> bool {
    let protocol = |port: &Value| port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned();
    list != "ports" || protocol(one) == protocol(other)
}

/// Items that `order` names, in that order; the others keep their place before those they stood before, else they follow.
fn in_order(items: Vec<Value>, order: &[Value], before: &[Value], key: Option<&str>) -> Vec<Value> {
    let same = |one: &Value, other: &Value| match key {
        Some(key) => one.get(key).is_some() && one.get(key) == other.get(key),
        None => one == other,
    };
    let place = |list: &[Value], item: &Value| list.iter().position(|one| same(one, item));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    let mut others = others.into_iter().peekable();
    let mut result = Vec::with_capacity(named.len() + others.len());
    for item in named {
        let at = place(before, &item);
        while let Some(other) = others.next_if(|other| at.is_some() && place(before, other) < at) {
            result.push(other);
        }
        result.push(item);
    }
    result.extend(others);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn strategic(current: Value, patch: Value) -> Value {
        strategic_merge_patch(&current, &patch).expect("a patch")
    }

    #[test]
    fn lists_with_a_merge_key_merge_and_others_are_replaced() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "image": "1", "args": ["x"], "env": [{"name": "A", "value": "1"}]}, {"name": "b", "image": "2"}]}});
        let patch = json!({"spec": {"containers": [
            {"name": "a", "args": ["y", "z"], "env": [{"name": "B", "value": "2"}]}, {"name": "b", "$patch": "delete"}, {"name": "c", "image": "3"}]}});
        assert_eq!(
            strategic(pod, patch),
            json!({"spec": {"containers": [
                {"name": "a", "image": "1", "args": ["y", "z"], "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]},
                {"name": "c", "image": "3"}]}})
        );
    }

    #[test]
    fn directives_are_obeyed_and_never_stored() {
        let current = json!({"a": {"x": 1, "y": 2}, "finalizers": ["one", "two"], "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w"}]});
        let patch = json!({
            "a": {"$patch": "replace", "z": 3},
            "$deleteFromPrimitiveList/finalizers": ["one"],
            "volumes": [{"name": "v", "hostPath": {"path": "/x"}, "$retainKeys": ["name", "hostPath"]}],
            "$setElementOrder/volumes": [{"name": "w"}, {"name": "v"}],
        });
        assert_eq!(
            strategic(current, patch),
            json!({"a": {"z": 3}, "finalizers": ["two"], "volumes": [{"name": "w"}, {"name": "v", "hostPath": {"path": "/x"}}]})
        );
    }

    #[test]
    fn new_items_come_first_and_items_the_patch_does_not_name_keep_their_place() {
        let list = |names: &str| json!(names.chars().map(|c| json!({"name": c.to_string()})).collect::<Vec<_>>());
        let merge = |old: &str, patch: &str, order: Option<&str>| {
            let mut patch = json!({"env": list(patch)});
            if let Some(order) = order {
                patch["$setElementOrder/env"] = list(order);
            }
            strategic(json!({"env": list(old)}), patch)["env"].clone()
        };
        assert_eq!(merge("abc", "x", None), list("xabc"));
        assert_eq!(merge("abc", "bx", None), list("abxc"));
        assert_eq!(merge("abc", "x", Some("axbc")), list("axbc"));
        assert_eq!(merge("abc", "a", Some("cba")), list("cba"));
        assert_eq!(merge("abz", "x", Some("axb")), list("axbz"));
        assert_eq!(
            strategic(json!({"env": list("ab")}), json!({"$setElementOrder/env": list("ba")}))["env"],
            list("ba")
        );
    }

    #[test]
    fn taints_have_no_merge_key_and_are_replaced() {
        let taints = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}});
        assert_eq!(strategic(taints("a"), taints("b")), taints("b"));
    }

    #[test]
    fn a_json_patch_cannot_grow_an_object_without_end() {
        let doubling = |n: usize| json!([{"op": "copy", "from": "/a", "path": format!("/a/{n}")}])[0].clone();
        let bomb: Vec<Value> = (0..60).map(doubling).collect();
        let refused = json_patch(&json!({"a": {"x": "some text"}}), &json!(bomb)).expect_err("a bomb");
        assert_eq!(refused.code, 413);
        let many: Vec<Value> = (0..=OPERATIONS).map(|_| json!({"op": "test", "path": "", "value": {}})).collect();
        assert_eq!(json_patch(&json!({}), &json!(many)).map_err(|s| s.code), Err(413));
    }

    #[test]
    fn lists_that_would_take_forever_to_merge_are_refused() {
        let many: Vec<Value> = (0..=ITEMS).map(|n| json!({"name": n.to_string()})).collect();
        let refused = strategic_merge_patch(&json!({}), &json!({"env": many})).expect_err("too many");
        assert_eq!((refused.code, refused.message.starts_with("env:")), (400, true));
        let plain = strategic(json!({}), json!({"args": vec!["x"; ITEMS + 1]}));
        assert_eq!(plain["args"].as_array().map(Vec::len), Some(ITEMS + 1), "lists without a key are replaced");
    }

    #[test]
    fn null_removes_and_a_missing_merge_key_is_refused() {
        assert_eq!(strategic(json!({"a": 1, "b": 2}), json!({"a": null})), json!({"b": 2}));
        let error =
            strategic_merge_patch(&json!({}), &json!({"spec": {"containers": [{"image": "x"}]}})).expect_err("no name");
        assert_eq!(error.code, 400);
    }

    #[test]
    fn json_patches_tell_why_they_fail() {
        let patched = json_patch(&json!({"a": 1}), &json!([{"op": "replace", "path": "/a", "value": 2}]));
        assert_eq!(patched, Ok(json!({"a": 2})));
        assert_eq!(json_patch(&json!({}), &json!({"op": "x"})).map_err(|s| s.code), Err(400));
        assert_eq!(json_patch(&json!({}), &json!([{"op": "remove", "path": "/a"}])).map_err(|s| s.code), Err(422));
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0i64..5).prop_map(Value::from),
            "[a-c]{1,2}".prop_map(Value::from)
        ];
        let tree = leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-c]", tree, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn applying_a_patch_twice_is_applying_it_once(current in object(), patch in object()) {
            let once = merge_patch(&current, &patch).expect("objects");
            prop_assert_eq!(merge_patch(&once, &patch).expect("objects"), once);
            let once = strategic_merge_patch(&current, &patch).expect("objects");
            prop_assert_eq!(strategic_merge_patch(&once, &patch).expect("objects"), once);
        }
    }
}
