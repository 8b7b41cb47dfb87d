//! What a pod says of its images: when they are pulled, with whose credentials, and where they are pinned.

use serde_json::Value;

use super::at;
use crate::image_pins::{self, PIN};
use crate::metadata;
use crate::problem::Problem;

const POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// The default of Kubernetes: what has no version of its own may change behind its name.
pub(super) fn default_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.split_once(':').is_none_or(|(_, tag)| tag == "latest") { "Always" } else { "IfNotPresent" }
}

/// What is wrong with it.
pub(super) fn check(pod: &Value, problems: &mut Vec<Problem>) {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    for (index, container) in containers.enumerate() {
        let policy = at(container, "/imagePullPolicy");
        if !POLICIES.contains(&policy) {
            let field = format!("spec.containers[{index}].imagePullPolicy");
            problems.push(Problem::not_supported(field, policy, &POLICIES));
        }
    }
    let secrets = pod.pointer("/spec/imagePullSecrets").and_then(Value::as_array).into_iter().flatten();
    for (index, secret) in secrets.enumerate() {
        let name = at(secret, "/name");
        let field = format!("spec.imagePullSecrets[{index}].name");
        if name.is_empty() {
            problems.push(Problem::required(field));
        } else if let Some(why) = metadata::subdomain_problem(name) {
            problems.push(Problem::invalid(field, name, why));
        }
    }
    if let Some(text) = metadata::annotation(pod, PIN)
        && let Err(why) = image_pins::pins(text)
    {
        problems.push(Problem::invalid(format!("metadata.annotations[{PIN}]"), text, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tag_that_may_move_is_always_pulled() {
        for (image, policy) in [
            ("web", "Always"),
            ("r:5000/web", "Always"),
            ("r:5000/web:latest", "Always"),
            ("r:5000/web:edge", "IfNotPresent"),
            ("web@sha256:abc", "IfNotPresent"),
            ("web:latest@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(default_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn each_problem_names_its_field() {
        let pod = json!({
            "metadata": {"annotations": {PIN: "c=x"}},
            "spec": {"imagePullSecrets": [{"name": "ok"}, {}, {"name": "A b"}], "containers": [
                {"name": "c", "image": "x", "imagePullPolicy": "Always"},
                {"name": "d", "image": "x", "imagePullPolicy": "always"},
            ]},
        });
        let mut problems = Vec::new();
        check(&pod, &mut problems);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.containers[1].imagePullPolicy",
                "spec.imagePullSecrets[1].name",
                "spec.imagePullSecrets[2].name",
                "metadata.annotations[vkube.io/image-pin]",
            ]
        );
    }
}
