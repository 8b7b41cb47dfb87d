//! What `apply` means: a document is compared with the one that was applied before, so that what its owner took out of it goes,
//! and what others wrote stays. Pure.

use serde_json::{Map, Value, json};

use crate::metadata;

/// Where the document that was applied last is kept, by kubectl too.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The object to be written where `current` is, when `document` is applied. Maps are merged, lists are those of the document.
pub fn applied(mut document: Value, current: &Value) -> Value {
    let mut next = current.clone();
    let before = metadata::annotation(current, LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut before = before.filter(|before| before["metadata"].is_object()).unwrap_or_else(|| json!({"metadata": {}}));
    let text = own_text(&mut document);
    for field in ["apiVersion", "kind", "status"] {
        remove(&mut document, field);
        remove(&mut before, field);
    }
    // An object does not lose its identity because a document does not spell it out; and labels and annotations are of many.
    for field in ["name", "namespace"] {
        remove(&mut before["metadata"], field);
    }
    for field in ["labels", "annotations"] {
        if before["metadata"].get(field).is_some_and(Value::is_object) {
            metadata::of_mut(&mut document).entry(field).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    merge(&mut next, &document, Some(&before));
    annotate(&mut next, text);
    next
}

/// The object to be written when `document` is applied where nothing is.
pub fn first_applied(mut document: Value) -> Value {
    let text = own_text(&mut document);
    annotate(&mut document, text);
    document
}

/// The document as the next one will be compared with; it does not contain its own predecessor.
fn own_text(document: &mut Value) -> String {
    if let Some(annotations) = document.pointer_mut("/metadata/annotations") {
        remove(annotations, LAST_APPLIED);
    }
    format!("{document}\n")
}

fn annotate(object: &mut Value, text: String) {
    let annotations = metadata::of_mut(object).entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    }
}

fn remove(map: &mut Value, key: &str) {
    if let Some(map) = map.as_object_mut() {
        map.remove(key);
    }
}

fn merge(into: &mut Value, wanted: &Value, before: Option<&Value>) {
    let (Value::Object(fields), Value::Object(wanted)) = (&mut *into, wanted) else {
        *into = wanted.clone();
        return;
    };
    let before = before.and_then(Value::as_object);
    for name in before.into_iter().flatten().map(|(name, _)| name).filter(|name| !wanted.contains_key(*name)) {
        fields.remove(name);
    }
    for (name, value) in wanted {
        let before = before.and_then(|before| before.get(name));
        match fields.get_mut(name) {
            _ if value.is_null() => drop(fields.remove(name)),
            Some(found) => merge(found, value, before),
            None => drop(fields.insert(name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
    }

    #[test]
    fn what_its_owner_took_out_goes_and_what_others_wrote_stays() {
        let mut object = first_applied(map(json!({"mine": "1", "gone": "1"})));
        object["data"]["theirs"] = json!("1");
        object["metadata"]["annotations"]["theirs"] = json!("1");
        let next = applied(map(json!({"mine": "2"})), &object);
        assert_eq!(next["data"], json!({"mine": "2", "theirs": "1"}));
        assert_eq!(next["metadata"]["annotations"]["theirs"], "1");
        assert_eq!(applied(map(json!({"mine": "2"})), &next), next, "the same once more changes nothing");
    }

    #[test]
    fn what_a_document_no_longer_says_of_labels_takes_only_its_own_away() {
        let mut document = map(json!({"name": "1", "kind": "1"}));
        document["metadata"]["labels"] = json!({"mine": "x"});
        let mut object = first_applied(document);
        object["metadata"]["labels"]["theirs"] = json!("x");
        let next = applied(map(json!({})), &object);
        assert_eq!((&next["data"], &next["metadata"]["labels"]), (&json!({}), &json!({"theirs": "x"})));
        assert_eq!((&next["kind"], &next["metadata"]["name"]), (&json!("ConfigMap"), &json!("m")));
    }

    #[test]
    fn lists_are_those_of_the_document_and_null_takes_away() {
        let object = json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"args": ["a", "b"], "x": 1, "y": 2}});
        let next = applied(json!({"metadata": {"name": "p"}, "spec": {"args": ["c"], "x": null}}), &object);
        assert_eq!(next["spec"], json!({"args": ["c"], "y": 2}));
        assert_eq!(next["metadata"]["uid"], "u");
    }

    #[test]
    fn a_predecessor_that_cannot_be_read_takes_nothing_away_and_is_not_handed_on() {
        let mut object = map(json!({"a": "1"}));
        object["metadata"]["annotations"] = json!({LAST_APPLIED: "{not json"});
        let mut document = map(json!({"b": "1"}));
        document["metadata"]["annotations"] = json!({LAST_APPLIED: "{\"data\": {\"a\": \"1\"}}"});
        let next = applied(document, &object);
        assert_eq!(next["data"], json!({"a": "1", "b": "1"}));
        let kept = next["metadata"]["annotations"][LAST_APPLIED].as_str().expect("kept");
        assert!(!kept.contains("last-applied"), "{kept}");
    }
}
