//! Job: pods that run to their end, so many of them, tried again so many times.
//!
//! What Kubernetes has beyond that (indexes, policies that look at exit codes) is refused: a Job that ends otherwise than it says
//! would be worse than none.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::deployment::{count, selector_text};
use super::{
    AGE, Home, Kind, NAME, at, by_itself, column, human_duration, pod_template, schema_of, template_wire, typed,
};
use crate::metadata;
use crate::problem::Problem;
use crate::selectors::LabelSelector;

const TEMPLATE: &str = "/spec/template";
/// Label of a Job's pods: its uid. Its selector by default.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// Label of a Job's pods: its name.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Both as they were called before, which people still select by.
const LEGACY: [(&str, &str); 2] = [("controller-uid", CONTROLLER_UID), ("job-name", JOB_NAME)];
/// What of a Job's spec has no effect here, and would change how it ends.
const REFUSED: [&str; 5] =
    ["podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy"];

pub(super) const JOB: Kind = Kind {
    group: "batch",
    version: "v1",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    short_names: &[],
    categories: &["all"],
    namespaced: true,
    bucket: "JOBS",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Status", "string", 0, |object, _| status_word(object).into()),
        column("Completions", "string", 0, |object, _| completions(object).into()),
        column("Duration", "string", 0, |object, now| duration(object, now).into()),
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
    typed: typed_with_counts,
    schema: schema_of::<Job>,
    warnings: |object| pod_template::warnings(object, TEMPLATE),
    protobuf: template_wire::JOB,
};

/// `status.countedPods` is mkube's own: uids of pods that are in the counts already.
fn typed_with_counts(object: &Value) -> Result<Value, String> {
    let counted = object.pointer("/status/countedPods").cloned();
    let mut object = object.clone();
    pod_template::as_pods_write_it(&mut object, TEMPLATE);
    let mut known = typed::<Job>(&object)?;
    if let (Some(counted), true) = (counted, known["status"].is_object()) {
        known["status"]["countedPods"] = counted;
    }
    Ok(known)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|one| one["type"] == kind && one["status"] == "True")
}

fn status_word(object: &Value) -> &'static str {
    let holds = |kind: &str| condition(object, kind).is_some();
    match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if metadata::is_deleting(object) => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(object: &Value) -> String {
    let succeeded = count(object, "/status/succeeded");
    match (object.pointer("/spec/completions").and_then(Value::as_u64), count(object, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let Ok(start) = at(object, "/status/startTime").parse::<Timestamp>() else { return String::new() };
    let failed_at = condition(object, "Failed").map(|failed| at(failed, "/lastTransitionTime"));
    let end = [Some(at(object, "/status/completionTime")), failed_at];
    let end = end.into_iter().flatten().find_map(|time| time.parse().ok()).unwrap_or(now);
    human_duration(end.as_second() - start.as_second())
}

/// `value` for `field`, where nothing is said.
pub(super) fn set(target: &mut Value, field: &str, value: Value) {
    if target.get(field).is_none_or(Value::is_null) {
        target[field] = value;
    }
}

fn default(object: &mut Value) {
    if !object["spec"].is_object() {
        return;
    }
    pod_template::default(object, TEMPLATE);
    let (name, uid) = (metadata::name(object).to_owned(), metadata::uid(object).to_owned());
    let spec = &mut object["spec"];
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = json!(1);
    }
    set(spec, "parallelism", json!(1));
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    set(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    if spec["manualSelector"] == false && !uid.is_empty() && spec["template"].is_object() {
        let labels = &mut spec["template"]["metadata"]["labels"];
        if !labels.is_object() {
            *labels = json!({});
        }
        for (legacy, label) in LEGACY {
            let value = if label == JOB_NAME { &name } else { &uid };
            set(labels, label, json!(value));
            set(labels, legacy, json!(value));
        }
        if !spec["selector"].is_object() {
            spec["selector"] = json!({});
        }
        if !spec["selector"]["matchLabels"].is_object() {
            spec["selector"]["matchLabels"] = json!({});
        }
        set(&mut spec["selector"]["matchLabels"], CONTROLLER_UID, json!(uid));
    }
    if metadata::labels(object).is_none_or(serde_json::Map::is_empty)
        && let Some(labels) = object.pointer("/spec/template/metadata/labels").cloned()
    {
        metadata::of_mut(object).insert("labels".into(), labels);
    }
}

/// What is wrong with the spec of a Job at `pointer`, be it a Job's own or the one in a CronJob.
pub(super) fn spec_problems(object: &Value, pointer: &str) -> Vec<Problem> {
    let field = pointer.trim_start_matches('/').replace('/', ".");
    let mut problems = pod_template::problems(object, &format!("{pointer}/template"));
    let Some(spec) = object.pointer(pointer) else { return problems };
    let numbers = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"];
    for name in numbers {
        if let Some(number) = spec[name].as_i64().filter(|number| *number < 0) {
            let why = "must be greater than or equal to 0";
            problems.push(Problem::invalid(format!("{field}.{name}"), number, why));
        }
    }
    for name in REFUSED.into_iter().filter(|name| !spec[*name].is_null()) {
        problems.push(Problem::forbidden(format!("{field}.{name}"), "this server does not have it"));
    }
    let mut one_of = |name: &str, supported: &[&str]| {
        let value = at(&spec[name], "");
        if !spec[name].is_null() && !supported.contains(&value) {
            problems.push(Problem::not_supported(format!("{field}.{name}"), value, supported));
        }
    };
    one_of("completionMode", &["NonIndexed"]);
    one_of("podReplacementPolicy", &["Failed", "TerminatingOrFailed"]);
    let policy = at(spec, "/template/spec/restartPolicy");
    if spec["template"]["spec"].is_object() && !["OnFailure", "Never"].contains(&policy) && !policy.is_empty() {
        let field = format!("{field}.template.spec.restartPolicy");
        problems.push(Problem::not_supported(field, policy, &["OnFailure", "Never"]));
    }
    problems
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<Problem> {
    let mut problems = spec_problems(new, "/spec");
    let (spec, uid) = (&new["spec"], metadata::uid(new));
    check_selector(spec, uid, &mut problems);
    // What a later version fills in is no change of whoever patches something else.
    let old = old.map(|old| {
        let mut old = old.clone();
        default(&mut old);
        old
    });
    for field in ["completions", "selector", "template", "completionMode", "manualSelector"] {
        if old.as_ref().is_some_and(|old| old["spec"][field] != spec[field]) {
            // The whole template would bury the sentence that matters.
            let value = if field == "template" { json!("…") } else { spec[field].clone() };
            problems.push(Problem::invalid(format!("spec.{field}"), value, "field is immutable"));
        }
    }
    // Its name is the value of a label of its pods.
    let name = metadata::name(new);
    if name.len() > 63 {
        problems.push(Problem::invalid("metadata.name", name, "must be no more than 63 characters"));
    }
    problems
}

fn check_selector(spec: &Value, uid: &str, problems: &mut Vec<Problem>) {
    let selector = &spec["selector"];
    let labels = &spec["template"]["metadata"]["labels"];
    if spec["manualSelector"] == true {
        match LabelSelector::of_object(selector) {
            _ if selector.is_null() => problems.push(Problem::required("spec.selector")),
            Err(why) => problems.push(Problem::invalid("spec.selector", selector.clone(), why)),
            Ok(tests) if tests.is_empty() || !tests.matches(&spec["template"]) => {
                let why = "`selector` does not match template `labels`";
                problems.push(Problem::invalid("spec.template.metadata.labels", labels.clone(), why));
            }
            Ok(_) => {}
        }
        return;
    }
    if uid.is_empty() {
        return;
    }
    if *selector != json!({"matchLabels": {CONTROLLER_UID: uid}}) {
        let why = "`selector` not auto-generated";
        problems.push(Problem::invalid("spec.selector", selector.clone(), why));
    }
    for (legacy, label) in LEGACY.into_iter().filter(|(_, label)| *label == CONTROLLER_UID) {
        for label in [legacy, label].into_iter().filter(|label| labels[*label] != uid) {
            let field = format!("spec.template.metadata.labels[{label}]");
            problems.push(Problem::invalid(field, labels[label].clone(), format!("must be {uid:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]}})
    }

    fn job(spec: Value) -> Value {
        let mut object = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count", "uid": "u-1"}, "spec": spec});
        default(&mut object);
        object
    }

    fn fields(object: &Value, old: Option<&Value>) -> Vec<String> {
        validate(object, old).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_job_gets_the_defaults_of_kubernetes_and_a_selector_of_its_own() {
        let object = job(json!({"template": template()}));
        assert_eq!(fields(&object, None), [""; 0]);
        let spec = &object["spec"];
        assert_eq!(
            (&spec["parallelism"], &spec["completions"], &spec["backoffLimit"]),
            (&json!(1), &json!(1), &json!(6))
        );
        assert_eq!((&spec["completionMode"], &spec["suspend"]), (&json!("NonIndexed"), &json!(false)));
        assert_eq!(spec["selector"], json!({"matchLabels": {CONTROLLER_UID: "u-1"}}));
        let labels = json!({CONTROLLER_UID: "u-1", "controller-uid": "u-1", JOB_NAME: "count", "job-name": "count"});
        assert_eq!((&spec["template"]["metadata"]["labels"], &object["metadata"]["labels"]), (&labels, &labels));
        let mut again = object.clone();
        default(&mut again);
        assert_eq!(again, object);
        let queue = job(json!({"parallelism": 3, "template": template()}));
        assert!(queue["spec"]["completions"].is_null());
    }

    #[test]
    fn each_problem_names_its_field() {
        assert_eq!(
            fields(&job(json!({})), None),
            [
                "spec.template.spec.containers",
                "spec.selector",
                "spec.template.metadata.labels[controller-uid]",
                "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]"
            ]
        );
        let mut always = template();
        always["spec"]["restartPolicy"] = json!("Always");
        assert_eq!(fields(&job(json!({"template": always})), None), ["spec.template.spec.restartPolicy"]);
        let mut silent = template();
        silent["spec"]["restartPolicy"].take();
        assert_eq!(fields(&job(json!({"template": silent})), None), ["spec.template.spec.restartPolicy"]);
        let bad = json!({"parallelism": -1, "backoffLimit": -2, "completionMode": "Indexed", "podReplacementPolicy": "Never",
            "podFailurePolicy": {"rules": []}, "template": template()});
        assert_eq!(
            fields(&job(bad), None),
            [
                "spec.parallelism",
                "spec.backoffLimit",
                "spec.podFailurePolicy",
                "spec.completionMode",
                "spec.podReplacementPolicy"
            ]
        );
        let foreign = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template()});
        assert_eq!(fields(&job(foreign), None), ["spec.selector"]);
        let manual = json!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": template()});
        assert_eq!(fields(&job(manual), None), ["spec.template.metadata.labels"]);
    }

    #[test]
    fn template_and_completions_stay_and_the_rest_may_change() {
        let old = job(json!({"template": template()}));
        let mut new = old.clone();
        new["spec"]["parallelism"] = json!(4);
        new["spec"]["suspend"] = json!(true);
        assert_eq!(fields(&new, Some(&old)), [""; 0]);
        new["spec"]["completions"] = json!(2);
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x:2");
        assert_eq!(fields(&new, Some(&old)), ["spec.completions", "spec.template"]);
    }

    #[test]
    fn a_table_says_how_far_it_is() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a literal");
        let mut object = job(json!({"completions": 3, "template": template()}));
        let row = |object: &Value| (status_word(object), completions(object), duration(object, now));
        assert_eq!(row(&object), ("Running", "0/3".into(), String::new()));
        object["status"] = json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": 1});
        assert_eq!(row(&object), ("Running", "1/3".into(), "10m".into()));
        object["status"]["conditions"] =
            json!([{"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:01:00Z"}]);
        assert_eq!(row(&object), ("Failed", "1/3".into(), "60s".into()));
        object["status"] = json!({"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:09Z",
            "succeeded": 3, "conditions": [{"type": "Complete", "status": "True"}]});
        assert_eq!(row(&object), ("Complete", "3/3".into(), "9s".into()));
    }

    #[test]
    fn the_pods_that_were_counted_are_known_and_nothing_else() {
        let mut object = job(json!({"template": template()}));
        object["status"] = json!({"countedPods": ["a"], "nonsense": 1});
        let known = typed_with_counts(&object).expect("a job");
        assert_eq!(crate::kinds::unknown_fields(&object, &known), ["status.nonsense"]);
    }
}
