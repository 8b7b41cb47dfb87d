//! Deployment: so many pods of one template, kept alive and replaced one after the other.
//!
//! The lightweight form of the Go controller (no selector, no strategy) and the one of Kubernetes are the same objects: what
//! the first leaves out is filled in.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use super::{
    AGE, Home, Kind, NAME, at, by_itself, column, placing_wire, pod_template, schema_of, template_wire, typed,
};
use crate::metadata;
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};
use crate::selectors::LabelSelector;

const TEMPLATE: &str = "/spec/template";

pub(super) const DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    bucket: "DEPLOYMENTS",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &["scale"],
    columns: &[
        NAME,
        column("Ready", "string", 0, |object, _| {
            format!("{}/{}", count(object, "/status/readyReplicas"), count(object, "/spec/replicas")).into()
        }),
        column("Up-to-date", "integer", 0, |object, _| count(object, "/status/updatedReplicas").into()),
        column("Available", "integer", 0, |object, _| count(object, "/status/availableReplicas").into()),
        AGE,
        column("Containers", "string", 1, |object, _| pod_template::containers(object).into()),
        column("Images", "string", 1, |object, _| pod_template::images(object).into()),
        column("Selector", "string", 1, |object, _| selector_text(object).into()),
    ],
    selectable: &[],
    dotted_names: true,
    default,
    home: Home::Annotation,
    validate,
    among: by_itself,
    typed: typed_with_template,
    schema: schema_of::<Deployment>,
    warnings: |object| pod_template::warnings(object, TEMPLATE),
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(2, "spec", Wire::Message(SPEC)),
        Field::new(3, "status", Wire::Skipped),
    ],
};

const SPEC: &[Field] = &[
    Field::new(1, "replicas", Wire::OptionalNumber),
    Field::new(2, "selector", Wire::Message(placing_wire::LABEL_SELECTOR)),
    Field::new(3, "template", Wire::Message(template_wire::TEMPLATE)),
    Field::new(
        4,
        "strategy",
        Wire::Message(&[
            Field::new(1, "type", Wire::Text),
            Field::new(
                2,
                "rollingUpdate",
                Wire::Message(&[
                    Field::new(1, "maxUnavailable", Wire::NumberOrText),
                    Field::new(2, "maxSurge", Wire::NumberOrText),
                ]),
            ),
        ]),
    ),
    Field::new(5, "minReadySeconds", Wire::Number),
    Field::new(6, "revisionHistoryLimit", Wire::OptionalNumber),
    Field::new(7, "paused", Wire::Flag),
    Field::new(9, "progressDeadlineSeconds", Wire::OptionalNumber),
];

/// `status.updatedAt` is the lightweight form's own.
fn typed_with_template(object: &Value) -> Result<Value, String> {
    let updated_at = object.pointer("/status/updatedAt").cloned();
    if updated_at.as_ref().is_some_and(|at| !(at.is_string() || at.is_null())) {
        return Err("status.updatedAt: invalid type, expected a string".to_owned());
    }
    let mut object = object.clone();
    pod_template::as_pods_write_it(&mut object, TEMPLATE);
    let mut known = typed::<Deployment>(&object)?;
    if let (Some(at), true) = (updated_at, known["status"].is_object()) {
        known["status"]["updatedAt"] = at;
    }
    Ok(known)
}

pub(super) fn count(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn selector_text(object: &Value) -> String {
    LabelSelector::of_object(&object["spec"]["selector"]).map(|selector| selector.to_string()).unwrap_or_default()
}

fn default(object: &mut Value) {
    if !object["spec"].is_object() {
        return;
    }
    pod_template::default(object, TEMPLATE);
    let name = metadata::name(object).to_owned();
    let set = |target: &mut Value, field: &str, value: Value| {
        if target.get(field).is_none_or(Value::is_null) {
            target[field] = value;
        }
    };
    let spec = &mut object["spec"];
    set(spec, "replicas", json!(1));
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    if spec["template"].is_object() && spec["selector"].is_null() {
        let labels = spec.pointer("/template/metadata/labels").cloned().unwrap_or_else(|| json!({"app": name}));
        spec["template"]["metadata"]["labels"] = labels.clone();
        spec["selector"] = json!({"matchLabels": labels});
    }
    if !spec["strategy"].is_object() {
        spec["strategy"] = json!({});
    }
    set(&mut spec["strategy"], "type", json!("RollingUpdate"));
    if spec["strategy"]["type"] == "RollingUpdate" {
        if !spec["strategy"]["rollingUpdate"].is_object() {
            spec["strategy"]["rollingUpdate"] = json!({});
        }
        set(&mut spec["strategy"]["rollingUpdate"], "maxSurge", json!("25%"));
        set(&mut spec["strategy"]["rollingUpdate"], "maxUnavailable", json!("25%"));
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let mut problems = pod_template::problems(new, TEMPLATE);
    let spec = &new["spec"];
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        if let Some(number) = spec[field].as_i64().filter(|number| *number < 0) {
            let why = "must be greater than or equal to 0";
            problems.push(Problem::invalid(format!("spec.{field}"), number, why));
        }
    }
    let selector = &spec["selector"];
    let is_empty = ["matchLabels", "matchExpressions"].iter().all(|part| {
        selector[part].as_object().is_none_or(serde_json::Map::is_empty)
            && selector[part].as_array().is_none_or(Vec::is_empty)
    });
    match LabelSelector::of_object(selector) {
        Err(why) => problems.push(Problem::invalid("spec.selector", selector.clone(), why)),
        Ok(_) if is_empty => {
            let why = "empty selector is invalid for deployment";
            problems.push(Problem::invalid("spec.selector", selector.clone(), why));
        }
        Ok(selector) if !selector.matches(&spec["template"]) => {
            let labels = spec.pointer("/template/metadata/labels").cloned().unwrap_or(json!({}));
            let why = "`selector` does not match template `labels`";
            problems.push(Problem::invalid("spec.template.metadata.labels", labels, why));
        }
        Ok(_) => {}
    }
    if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
        problems.push(Problem::invalid("spec.selector", selector.clone(), "field is immutable"));
    }
    let policy = at(spec, "/template/spec/restartPolicy");
    if !policy.is_empty() && policy != "Always" {
        problems.push(Problem::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    let (min_ready, deadline) = (spec["minReadySeconds"].as_i64(), spec["progressDeadlineSeconds"].as_i64());
    if let (Some(min_ready), Some(deadline)) = (min_ready, deadline)
        && deadline <= min_ready
    {
        let why = "must be greater than minReadySeconds";
        problems.push(Problem::invalid("spec.progressDeadlineSeconds", deadline, why));
    }
    check_strategy(&spec["strategy"], &mut problems);
    // Pods are named after it and a number, and their names become labels of names in DNS.
    let name = metadata::name(new);
    if name.len() > 57 {
        let why = "must be no more than 57 characters: pods are named after it";
        problems.push(Problem::invalid("metadata.name", name, why));
    }
    problems
}

fn check_strategy(strategy: &Value, problems: &mut Vec<Problem>) {
    let kind = at(strategy, "/type");
    if !["RollingUpdate", "Recreate"].contains(&kind) {
        let supported = &["Recreate", "RollingUpdate"];
        problems.push(Problem::not_supported("spec.strategy.type", kind, supported));
    }
    let rolling = &strategy["rollingUpdate"];
    if kind == "Recreate" && rolling.is_object() {
        let why = "may not be specified when strategy `type` is 'Recreate'";
        problems.push(Problem::forbidden("spec.strategy.rollingUpdate", why));
        return;
    }
    let mut zeros = 0;
    for field in ["maxSurge", "maxUnavailable"] {
        let Some(value) = rolling.get(field) else { continue };
        match share_of(value, 100) {
            None => {
                let why = "must be a number that is not negative, or a percentage such as '25%'";
                problems.push(Problem::invalid(format!("spec.strategy.rollingUpdate.{field}"), value.clone(), why));
            }
            Some((0, _)) => zeros += 1,
            Some(_) => {}
        }
    }
    if zeros == 2 {
        let why = "may not be 0 when `maxSurge` is 0";
        problems.push(Problem::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            rolling["maxUnavailable"].clone(),
            why,
        ));
    }
}

/// A number or a percentage of `whole`, rounded down and up; nothing when it is neither.
pub fn share_of(value: &Value, whole: u64) -> Option<(u64, u64)> {
    if let Some(number) = value.as_u64() {
        return Some((number, number));
    }
    let percent: u64 = value.as_str()?.strip_suffix('%')?.parse().ok()?;
    let share = percent.checked_mul(whole)?;
    Some((share / 100, share.div_ceil(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec: Value) -> Value {
        let mut object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec});
        default(&mut object);
        object
    }

    fn template() -> Value {
        json!({"metadata": {"creationTimestamp": null}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}})
    }

    #[test]
    fn the_lightweight_form_becomes_a_whole_deployment() {
        let object = deployment(json!({"template": template()}));
        assert_eq!(validate(&object, None), []);
        let spec = &object["spec"];
        assert_eq!(spec["selector"], json!({"matchLabels": {"app": "web"}}));
        assert_eq!(spec["template"]["metadata"], json!({"labels": {"app": "web"}}));
        assert_eq!((&spec["replicas"], &spec["strategy"]["rollingUpdate"]["maxSurge"]), (&json!(1), &json!("25%")));
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
        assert!(spec["template"].get("status").is_none());
    }

    #[test]
    fn each_problem_names_its_field() {
        let fields = |spec: Value| -> Vec<String> {
            validate(&deployment(spec), None).into_iter().map(|problem| problem.field).collect()
        };
        assert_eq!(fields(json!({})), ["spec.template.spec.containers", "spec.selector"]);
        let mut bad = template();
        bad["spec"]["containers"][0]["image"] = json!("");
        bad["spec"]["restartPolicy"] = json!("Never");
        assert_eq!(
            fields(json!({"replicas": -1, "template": bad, "selector": {"matchLabels": {"app": "other"}},
                "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "0%"}}})),
            [
                "spec.template.spec.containers[0].image",
                "spec.replicas",
                "spec.template.metadata.labels",
                "spec.template.spec.restartPolicy",
                "spec.strategy.rollingUpdate.maxUnavailable",
            ]
        );
        assert_eq!(
            fields(json!({"template": template(), "strategy": {"type": "Recreate", "rollingUpdate": {}}})),
            ["spec.strategy.rollingUpdate"]
        );
    }

    #[test]
    fn the_selector_stays() {
        let old = deployment(json!({"template": template()}));
        let mut new = old.clone();
        new["spec"]["selector"] = json!({"matchLabels": {"app": "web", "b": "c"}});
        new["spec"]["template"]["metadata"]["labels"] = json!({"app": "web", "b": "c"});
        let fields: Vec<String> = validate(&new, Some(&old)).into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["spec.selector"]);
    }

    #[test]
    fn shares_are_numbers_or_percentages() {
        assert_eq!(share_of(&json!("25%"), 3), Some((0, 1)));
        assert_eq!(share_of(&json!(2), 3), Some((2, 2)));
        for bad in [json!(-1), json!("x"), json!("-5%"), json!(1.5)] {
            assert_eq!(share_of(&bad, 3), None);
        }
    }
}
