//! Pod templates: what a Deployment or a Job makes pods from. Defaults and problems are those of pods.

use serde_json::{Value, json};

use super::{at, pod};
use crate::metadata;
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

/// The template in protobuf: what clients that make one from their arguments fill in. More is refused, not lost.
pub(super) const FIELDS: &[Field] =
    &[Field::new(1, "metadata", Wire::Message(METADATA)), Field::new(2, "spec", Wire::Message(POD_SPEC))];

const POD_SPEC: &[Field] = &[
    Field::new(2, "containers", Wire::Messages(CONTAINER)),
    Field::new(3, "restartPolicy", Wire::Text),
    Field::new(4, "terminationGracePeriodSeconds", Wire::OptionalNumber),
    Field::new(5, "activeDeadlineSeconds", Wire::OptionalNumber),
    Field::new(6, "dnsPolicy", Wire::Text),
    Field::new(7, "nodeSelector", Wire::TextMap),
    Field::new(8, "serviceAccountName", Wire::Text),
    Field::new(9, "serviceAccount", Wire::Text),
    Field::new(10, "nodeName", Wire::Text),
    Field::new(11, "hostNetwork", Wire::Flag),
    Field::new(12, "hostPID", Wire::Flag),
    Field::new(13, "hostIPC", Wire::Flag),
    Field::new(15, "imagePullSecrets", Wire::Messages(&[Field::new(1, "name", Wire::Text)])),
    Field::new(16, "hostname", Wire::Text),
    Field::new(17, "subdomain", Wire::Text),
    Field::new(19, "schedulerName", Wire::Text),
    Field::new(20, "initContainers", Wire::Messages(CONTAINER)),
    Field::new(21, "automountServiceAccountToken", Wire::Boolean),
    Field::new(24, "priorityClassName", Wire::Text),
];

const CONTAINER: &[Field] = &[
    Field::new(1, "name", Wire::Text),
    Field::new(2, "image", Wire::Text),
    Field::new(3, "command", Wire::Texts),
    Field::new(4, "args", Wire::Texts),
    Field::new(5, "workingDir", Wire::Text),
    Field::new(6, "ports", Wire::Messages(PORT)),
    Field::new(7, "env", Wire::Messages(&[Field::new(1, "name", Wire::Text), Field::new(2, "value", Wire::Text)])),
    Field::new(13, "terminationMessagePath", Wire::Text),
    Field::new(14, "imagePullPolicy", Wire::Text),
    Field::new(16, "stdin", Wire::Flag),
    Field::new(17, "stdinOnce", Wire::Flag),
    Field::new(18, "tty", Wire::Flag),
    Field::new(20, "terminationMessagePolicy", Wire::Text),
];

const PORT: &[Field] = &[
    Field::new(1, "name", Wire::Text),
    Field::new(2, "hostPort", Wire::Number),
    Field::new(3, "containerPort", Wire::Number),
    Field::new(4, "protocol", Wire::Text),
    Field::new(5, "hostIP", Wire::Text),
];

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
