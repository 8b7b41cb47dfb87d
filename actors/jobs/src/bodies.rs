//! Objects that are made from templates: pods of Jobs, Jobs of CronJobs.

use jiff::Timestamp;
use mkube_model::kinds::SCHEDULED_AT;
use mkube_model::metadata;
use serde_json::{Value, json};

use crate::sight::stamp;

fn owned(template: &Value, kind: &str, owner: &Value, name: &str) -> Value {
    let mut meta = json!({
        "name": name,
        "namespace": metadata::namespace(owner),
        "ownerReferences": [{
            "apiVersion": "batch/v1",
            "kind": kind,
            "name": metadata::name(owner),
            "uid": metadata::uid(owner),
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{field}")) {
            meta[field] = value.clone();
        }
    }
    json!({"metadata": meta, "spec": template["spec"]})
}

/// A pod of this name for a Job.
pub fn pod(job: &Value, name: &str) -> Value {
    owned(&job["spec"]["template"], "Job", job, name)
}

/// The Job of a CronJob for a time of its schedule.
pub fn job(cron: &Value, name: &str, due: Timestamp) -> Value {
    let mut job = owned(&cron["spec"]["jobTemplate"], "CronJob", cron, name);
    if !job["metadata"]["annotations"].is_object() {
        job["metadata"]["annotations"] = json!({});
    }
    job["metadata"]["annotations"][SCHEDULED_AT] = json!(stamp(due));
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_carries_its_template_and_its_owner() {
        let job_object = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {"template": {
            "metadata": {"labels": {"x": "y"}}, "spec": {"containers": []}}}});
        let made = pod(&job_object, "a-bcdfg");
        assert_eq!(made["spec"], json!({"containers": []}));
        assert_eq!((&made["metadata"]["labels"], &made["metadata"]["namespace"]), (&json!({"x": "y"}), &json!("n")));
        assert_eq!(mkube_model::workloads::controller_of(&made), Some(("Job", "a", "u")));
        let cron =
            json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": {"jobTemplate": {"spec": {}}}});
        let made = job(&cron, "c-1", Timestamp::UNIX_EPOCH);
        assert_eq!(made["metadata"]["annotations"], json!({SCHEDULED_AT: "1970-01-01T00:00:00Z"}));
    }
}
