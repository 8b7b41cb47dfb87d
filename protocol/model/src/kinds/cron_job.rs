//! CronJob: a Job at every time of a schedule.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Value, json};

use super::job::{set, spec_problems};
use super::{AGE, Home, Kind, NAME, age, at, by_itself, column, pod_template, schema_of, template_wire, typed};
use crate::metadata;
use crate::problem::Problem;
use crate::schedule::{Schedule, time_zone};

const JOB_SPEC: &str = "/spec/jobTemplate/spec";
const TEMPLATE: &str = "/spec/jobTemplate/spec/template";
/// Annotation of a Job: the time of the schedule it was made for.
pub const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub(super) const CRON_JOB: Kind = Kind {
    group: "batch",
    version: "v1",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    namespaced: true,
    bucket: "CRONJOBS",
    graceful: false,
    read_only: false,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Schedule", "string", 0, |object, _| at(object, "/spec/schedule").into()),
        column("Timezone", "string", 0, |object, _| or_none(at(object, "/spec/timeZone").to_owned())),
        column("Suspend", "boolean", 0, |object, _| suspend_word(object).into()),
        column("Active", "integer", 0, |object, _| active(object).into()),
        column("Last Schedule", "string", 0, last_schedule),
        AGE,
        column("Containers", "string", 1, |object, _| pod_template::each_container(object, TEMPLATE, "/name").into()),
        column("Images", "string", 1, |object, _| pod_template::each_container(object, TEMPLATE, "/image").into()),
        column("Selector", "string", 1, |_, _| "<none>".into()),
    ],
    selectable: &[],
    dotted_names: true,
    default,
    home: Home::Annotation,
    validate,
    among: by_itself,
    typed: |object: &Value| {
        let mut object = object.clone();
        pod_template::as_pods_write_it(&mut object, TEMPLATE);
        typed::<CronJob>(&object)
    },
    schema: schema_of::<CronJob>,
    warnings: |object| pod_template::warnings(object, TEMPLATE),
    protobuf: template_wire::CRON_JOB,
};

fn or_none(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn suspend_word(object: &Value) -> &'static str {
    if object.pointer("/spec/suspend") == Some(&json!(true)) { "True" } else { "False" }
}

fn active(object: &Value) -> usize {
    object.pointer("/status/active").and_then(Value::as_array).map_or(0, Vec::len)
}

fn last_schedule(object: &Value, now: Timestamp) -> Value {
    match at(object, "/status/lastScheduleTime") {
        "" => "<none>".into(),
        time => age(time, now).into(),
    }
}

/// The schedule of a CronJob in its time zone; an error names the field.
pub fn schedule_of(object: &Value) -> Result<Schedule, Problem> {
    let zone = object.pointer("/spec/timeZone").filter(|zone| !zone.is_null());
    let name = zone.map(|zone| at(zone, ""));
    let zone = time_zone(name).map_err(|why| Problem::invalid("spec.timeZone", name, why))?;
    let text = at(object, "/spec/schedule");
    if text.is_empty() {
        return Err(Problem::required("spec.schedule"));
    }
    Schedule::parse(text, zone).map_err(|why| Problem::invalid("spec.schedule", text, why))
}

fn default(object: &mut Value) {
    if !object["spec"].is_object() {
        return;
    }
    pod_template::default(object, TEMPLATE);
    let spec = &mut object["spec"];
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
}

fn validate(new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    let mut problems: Vec<Problem> = schedule_of(new).err().into_iter().collect();
    let spec = &new["spec"];
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        if let Some(number) = spec[field].as_i64().filter(|number| *number < 0) {
            let why = "must be greater than or equal to 0";
            problems.push(Problem::invalid(format!("spec.{field}"), number, why));
        }
    }
    let policy = at(spec, "/concurrencyPolicy");
    if !spec["concurrencyPolicy"].is_null() && !["Allow", "Forbid", "Replace"].contains(&policy) {
        problems.push(Problem::not_supported("spec.concurrencyPolicy", policy, &["Allow", "Forbid", "Replace"]));
    }
    problems.extend(spec_problems(new, JOB_SPEC));
    let template = &spec["jobTemplate"]["spec"];
    for field in ["selector", "manualSelector"].into_iter().filter(|field| !template[*field].is_null()) {
        let why = "the selector of each Job is generated";
        problems.push(Problem::forbidden(format!("spec.jobTemplate.spec.{field}"), why));
    }
    for (key, value) in metadata::labels(&spec["jobTemplate"]).into_iter().flatten() {
        let why = metadata::key_problem(key).or_else(|| value.as_str().and_then(metadata::label_value_problem));
        problems.extend(why.map(|why| Problem::invalid("spec.jobTemplate.metadata.labels", key.as_str(), why)));
    }
    // Its Jobs are called after it and eight digits or more, and they want at most 63 characters.
    let name = metadata::name(new);
    if name.len() > 52 {
        problems.push(Problem::invalid("metadata.name", name, "must be no more than 52 characters"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron_job(change: impl FnOnce(&mut Value)) -> Value {
        let mut object = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {
            "schedule": "0 3 * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "OnFailure", "containers": [{"name": "c", "image": "x:1"}]}}}}}});
        change(&mut object["spec"]);
        default(&mut object);
        object
    }

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<Problem> {
        validate(&cron_job(change), None)
    }

    #[test]
    fn a_cron_job_gets_the_defaults_of_kubernetes() {
        let object = cron_job(|_| {});
        assert_eq!(validate(&object, None), []);
        let spec = &object["spec"];
        assert_eq!((&spec["concurrencyPolicy"], &spec["suspend"]), (&json!("Allow"), &json!(false)));
        assert_eq!((&spec["successfulJobsHistoryLimit"], &spec["failedJobsHistoryLimit"]), (&json!(3), &json!(1)));
    }

    #[test]
    fn each_problem_of_a_cron_job_names_its_field() {
        type Change = fn(&mut Value);
        let table: [(Change, &str, &str); 9] = [
            (|spec| spec["schedule"] = json!(""), "spec.schedule", "Required"),
            (|spec| spec["schedule"] = json!("61 * * * *"), "spec.schedule", "not within 0 and 59"),
            (|spec| spec["schedule"] = json!("TZ=UTC * * * * *"), "spec.schedule", "use timeZone field instead"),
            (|spec| spec["timeZone"] = json!("Mars"), "spec.timeZone", "unknown time zone Mars"),
            (|spec| spec["timeZone"] = json!(""), "spec.timeZone", "non-empty"),
            (
                |spec| spec["startingDeadlineSeconds"] = json!(-1),
                "spec.startingDeadlineSeconds",
                "greater than or equal to 0",
            ),
            (|spec| spec["concurrencyPolicy"] = json!("Maybe"), "spec.concurrencyPolicy", "\"Replace\""),
            (
                |spec| spec["jobTemplate"]["spec"]["manualSelector"] = json!(true),
                "spec.jobTemplate.spec.manualSelector",
                "generated",
            ),
            (
                |spec| spec["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] = json!("Always"),
                "spec.jobTemplate.spec.template.spec.restartPolicy",
                "OnFailure",
            ),
        ];
        for (change, field, word) in table {
            let found = problems(change);
            assert_eq!(found.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), [field]);
            assert!(found[0].message.contains(word), "{}", found[0]);
        }
    }

    #[test]
    fn a_table_shows_it_as_kubectl_does() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().expect("a literal");
        let mut object = cron_job(|spec| spec["timeZone"] = json!("Europe/Berlin"));
        let cells =
            |object: &Value| -> Vec<Value> { CRON_JOB.columns.iter().map(|one| (one.cell)(object, now)).collect() };
        let row =
            json!(["nightly", "0 3 * * *", "Europe/Berlin", "False", 0, "<none>", "<unknown>", "c", "x:1", "<none>"]);
        assert_eq!(json!(cells(&object)), row);
        object["status"] = json!({"active": [{"name": "a"}], "lastScheduleTime": "2026-01-01T00:07:00Z"});
        assert_eq!(cells(&object)[4..6], [json!(1), json!("3m")]);
    }
}
