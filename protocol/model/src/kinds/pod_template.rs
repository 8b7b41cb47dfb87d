//! Pod templates: what a Deployment or a Job makes pods from. Defaults and problems are those of pods.

use serde_json::{Value, json};

use super::{at, pod};
use crate::metadata;
use crate::problem::Problem;

/// The template at `pointer` with the defaults of a pod, and nothing a pod template does not have.
pub(super) fn default(object: &mut Value, pointer: &str) {
    let Some(template) = object.pointer_mut(pointer).filter(|template| template.is_object()) else { return };
    if !template["metadata"].is_object() {
        template["metadata"] = json!({});
    }
    (pod::POD.default)(template);
    if let Some(fields) = template.as_object_mut() {
        fields.remove("status");
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    let meta = metadata::of_mut(template);
    // Written by clients that serialise whole types, and never meant.
    meta.retain(|_, value| !value.is_null());
    for list in ["labels", "annotations"] {
        if meta.get(list).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            meta.remove(list);
        }
    }
}

/// The template with numbers and quantities as the types of Kubernetes spell them.
pub(super) fn as_pods_write_it(object: &mut Value, pointer: &str) {
    if let Some(template) = object.pointer_mut(pointer) {
        pod::spelled_as_types(template);
    }
}

/// What is wrong with the template at `pointer`, such as `/spec/template`.
pub(super) fn problems(object: &Value, pointer: &str) -> Vec<Problem> {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    let Some(template) = object.pointer(pointer).filter(|template| template["spec"].is_object()) else {
        return vec![Problem::required(format!("{field}.spec.containers"))];
    };
    let mut problems: Vec<Problem> = (pod::POD.validate)(template, None);
    for (key, value) in metadata::labels(template).into_iter().flatten() {
        let why = metadata::key_problem(key).or_else(|| value.as_str().and_then(metadata::label_value_problem));
        problems.extend(why.map(|why| Problem::invalid("metadata.labels", key.as_str(), why)));
    }
    for problem in &mut problems {
        problem.field = format!("{field}.{}", problem.field);
    }
    problems
}

/// What is accepted and has no effect, with the path of the template before it.
pub(super) fn warnings(object: &Value, pointer: &str) -> Vec<String> {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    let template = object.pointer(pointer).map(pod::POD.warnings).unwrap_or_default();
    template.into_iter().map(|warning| format!("{field}.{warning}")).collect()
}

/// Names of the containers, for tables.
pub(super) fn containers(object: &Value) -> String {
    each_container(object, "/spec/template", "/name")
}

/// Images of the containers, for tables.
pub(super) fn images(object: &Value) -> String {
    each_container(object, "/spec/template", "/image")
}

/// What each container of the template at `template` says at `pointer`, with commas.
pub(super) fn each_container(object: &Value, template: &str, pointer: &str) -> String {
    let containers = object.pointer(template).and_then(|template| template.pointer("/spec/containers"));
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers.map(|container| at(container, pointer)).collect::<Vec<_>>().join(",")
}
