//! What Jobs, their pods and CronJobs look like to the planners: read from the stored objects, nothing remembered.

use jiff::{SignedDuration, Timestamp};
use mkube_messages::objects::{ObjectKey, StoredObject};
use mkube_model::kinds::{SCHEDULED_AT, schedule_of};
use mkube_model::metadata;
use mkube_model::neighbours::desired_store::Revision;
use mkube_model::schedule::Schedule;
use mkube_model::workloads::controller_of;
use serde_json::{Value, json};

/// Annotation of a Job that somebody made from a CronJob by hand.
const BY_HAND: &str = "cronjob.kubernetes.io/instantiate";

/// RFC 3339, whole seconds, as Kubernetes writes times.
pub fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time in an object.
pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    object.pointer(pointer)?.as_str()?.parse().ok()
}

/// `status`, which is an object also where nothing is said.
fn status_of(object: &Value) -> Value {
    object.get("status").filter(|status| status.is_object()).cloned().unwrap_or_else(|| json!({}))
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer)?.as_u64()
}

fn seconds(object: &Value, pointer: &str) -> Option<SignedDuration> {
    object.pointer(pointer)?.as_i64().map(SignedDuration::from_secs)
}

fn owner_of(object: &Value, kind: &str) -> Option<String> {
    controller_of(object).filter(|(owner, ..)| *owner == kind).map(|(_, _, uid)| uid.to_owned())
}

/// How a Job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// It is complete; else it failed.
    pub complete: bool,
    /// When.
    pub at: Timestamp,
}

/// One Job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed; every write of its status is made against it.
    pub revision: Revision,
    /// It is being deleted.
    pub deleting: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Pods at the same time.
    pub parallelism: u64,
    /// Pods that must succeed; nothing when one is enough and they share the work out among themselves.
    pub completions: Option<u64>,
    /// Failures that are forgiven.
    pub backoff_limit: u64,
    /// Time it may take.
    pub deadline: Option<SignedDuration>,
    /// Time it stays after its end.
    pub keep: Option<SignedDuration>,
    /// No pods now.
    pub suspend: bool,
    /// Containers that fail are started again in their pod.
    pub restarts: bool,
    /// A pod that is being deleted still counts until it is gone.
    pub waits_for_gone: bool,
    /// `status`.
    pub status: Value,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// Uid of the CronJob it belongs to.
    pub cron_job: Option<String>,
    /// The time of the schedule it was made for.
    pub scheduled: Option<Timestamp>,
}

impl JobSight {
    /// Reads a Job.
    pub fn of(object: &StoredObject) -> Self {
        let job = object.value();
        let by_hand = metadata::annotation(&job, BY_HAND).is_some();
        let scheduled = metadata::annotation(&job, SCHEDULED_AT).and_then(|text| text.parse().ok());
        let flag = |pointer: &str| job.pointer(pointer) == Some(&Value::Bool(true));
        let text = |pointer: &str| job.pointer(pointer).and_then(Value::as_str);
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            revision: object.revision,
            deleting: object.is_deleting(),
            created: time(&job, "/metadata/creationTimestamp").unwrap_or(Timestamp::UNIX_EPOCH),
            parallelism: number(&job, "/spec/parallelism").unwrap_or(1),
            completions: number(&job, "/spec/completions"),
            backoff_limit: number(&job, "/spec/backoffLimit").unwrap_or(6),
            deadline: seconds(&job, "/spec/activeDeadlineSeconds"),
            keep: seconds(&job, "/spec/ttlSecondsAfterFinished"),
            suspend: flag("/spec/suspend"),
            restarts: text("/spec/template/spec/restartPolicy") == Some("OnFailure"),
            waits_for_gone: text("/spec/podReplacementPolicy") == Some("Failed"),
            ended: ended(&job["status"]),
            status: status_of(&job),
            cron_job: owner_of(&job, "CronJob"),
            scheduled: scheduled.filter(|_| !by_hand),
        }
    }
}

/// A condition that holds.
pub fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = status.get("conditions")?.as_array()?;
    conditions.iter().find(|one| one["type"] == kind && one["status"] == "True")
}

fn ended(status: &Value) -> Option<Ended> {
    let complete = condition(status, "Complete");
    let found = complete.or_else(|| condition(status, "Failed"))?;
    let at = time(found, "/lastTransitionTime").unwrap_or(Timestamp::UNIX_EPOCH);
    Some(Ended { complete: complete.is_some(), at })
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It runs, or will.
    Active,
    /// All its containers ended well.
    Succeeded,
    /// It ended, and not well.
    Failed,
}

/// A pod of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed.
    pub revision: Revision,
    /// Uid of its Job.
    pub job: String,
    /// How far it is.
    pub phase: Phase,
    /// It runs and is ready.
    pub ready: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// It had ended before anybody asked for its deletion.
    pub ended_by_itself: bool,
    /// When its last container ended.
    pub finished: Option<Timestamp>,
    /// Restarts of its containers.
    pub restarts: u64,
}

/// Whether a pod may belong to a Job: a look at its text, since most do not.
pub fn may_belong_to_a_job(object: &StoredObject) -> bool {
    object.text().contains("\"kind\":\"Job\"")
}

impl PodSight {
    /// Reads a pod; nothing when it belongs to no Job.
    pub fn of(object: &StoredObject) -> Option<Self> {
        let pod = object.value();
        let job = owner_of(&pod, "Job")?;
        let phase = match pod.pointer("/status/phase").and_then(Value::as_str) {
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            _ => Phase::Active,
        };
        let containers = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
        let containers = containers.map(Vec::as_slice).unwrap_or_default();
        let finished = containers.iter().filter_map(|one| time(one, "/state/terminated/finishedAt")).max();
        let grace = seconds(&pod, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
        let asked = time(&pod, "/metadata/deletionTimestamp").and_then(|until| until.checked_sub(grace).ok());
        Some(Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            revision: object.revision,
            job,
            phase,
            ready: phase == Phase::Active && mkube_model::workloads::ready_since(&pod).is_some(),
            deleting: object.is_deleting(),
            ended_by_itself: finished.zip(asked).is_some_and(|(finished, asked)| finished < asked),
            finished,
            restarts: containers.iter().filter_map(|one| one["restartCount"].as_u64()).sum(),
        })
    }

    /// It is there to work.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active && !self.deleting
    }

    /// It ended of its own: what came of it counts.
    pub fn counts(&self) -> bool {
        self.phase != Phase::Active && (!self.deleting || self.ended_by_itself)
    }
}

/// What becomes of a Job that still runs when the next one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// Both run.
    Allow,
    /// The next one waits.
    Forbid,
    /// The running one is deleted.
    Replace,
}

/// One CronJob.
#[derive(Debug, Clone)]
pub struct CronSight {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// When it last changed; every write of its status is made against it.
    pub revision: Revision,
    /// It is being deleted.
    pub deleting: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its schedule; nothing when it cannot be read.
    pub schedule: Option<Schedule>,
    /// How late a Job may begin.
    pub starting_deadline: Option<SignedDuration>,
    /// What becomes of a Job that still runs.
    pub concurrency: Concurrency,
    /// No Jobs now.
    pub suspend: bool,
    /// Complete Jobs that are kept.
    pub keep_complete: usize,
    /// Failed Jobs that are kept.
    pub keep_failed: usize,
    /// `status`.
    pub status: Value,
}

impl CronSight {
    /// Reads a CronJob.
    pub fn of(object: &StoredObject) -> Self {
        let cron = object.value();
        let limit = |field: &str, otherwise: usize| {
            let limit = number(&cron, &format!("/spec/{field}")).and_then(|limit| usize::try_from(limit).ok());
            limit.unwrap_or(otherwise)
        };
        Self {
            key: object.key.clone(),
            uid: object.uid().to_owned(),
            revision: object.revision,
            deleting: object.is_deleting(),
            created: time(&cron, "/metadata/creationTimestamp").unwrap_or(Timestamp::UNIX_EPOCH),
            schedule: schedule_of(&cron).ok(),
            starting_deadline: seconds(&cron, "/spec/startingDeadlineSeconds"),
            concurrency: match cron.pointer("/spec/concurrencyPolicy").and_then(Value::as_str) {
                Some("Forbid") => Concurrency::Forbid,
                Some("Replace") => Concurrency::Replace,
                _ => Concurrency::Allow,
            },
            suspend: cron.pointer("/spec/suspend") == Some(&Value::Bool(true)),
            keep_complete: limit("successfulJobsHistoryLimit", 3),
            keep_failed: limit("failedJobsHistoryLimit", 1),
            status: status_of(&cron),
        }
    }
}
