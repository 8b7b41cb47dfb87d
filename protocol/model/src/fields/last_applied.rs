//! The annotation of client-side apply: what kubectl wrote with it is no conflict for kubectl's server-side apply.

use serde_json::{Value, json};

use super::comparing::compare;
use super::managers::{Manager, Operation};
use super::owned::fields_of;
use super::set::FieldSet;
use crate::applied::LAST_APPLIED;
use crate::list_types::Types;
use crate::metadata;

/// Whether this is kubectl, which knows of the annotation. Whoever does not want that takes another name.
pub fn is_kubectl(by: &Manager) -> bool {
    by.operation == Operation::Apply && by.name == "kubectl"
}

/// The fields that client-side apply wrote last, where they still say the same.
pub fn still_applied(live: &Value, types: Types) -> FieldSet {
    let text = metadata::annotation(live, LAST_APPLIED).unwrap_or_default();
    let Ok(applied) = serde_json::from_str::<Value>(text) else { return FieldSet::default() };
    let mut fields = fields_of(&applied, types);
    let differences = compare(&applied, live, types);
    fields.subtract_trees(&differences.removed);
    fields.subtract(&differences.changed);
    fields
}

/// Keeps the annotation of an object up to date with what kubectl applied, where there is one: client-side apply may come again.
pub fn refresh_last_applied(by: &Manager, object: &mut Value, body: &Value) {
    if !is_kubectl(by) || metadata::annotation(object, LAST_APPLIED).is_none() {
        return;
    }
    let mut applied = body.clone();
    // As kubectl writes it, which also says that there are no annotations: else it would see a difference.
    let annotations = metadata::of_mut(&mut applied).entry("annotations").or_insert_with(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(annotation) = object.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(LAST_APPLIED)) {
        *annotation = json!(format!("{applied}\n"));
    }
}
