//! What is next for a CronJob. Pure: the CronJob, its Jobs and the time of day in, one step out.
//!
//! A Job is called after the minute it was due in, and carries the time: the times for which there were Jobs stand in the status
//! and on the Jobs, so that neither a crash nor a clock that steps back makes one twice.

use jiff::Timestamp;
use mkube_messages::objects::ObjectKey;
use serde_json::{Value, json};

use crate::sight::{Concurrency, CronSight, JobSight, stamp, time};
use crate::told::Told;

/// Missed times of which more are told to a person: it looks as if the clock were wrong.
const MANY: usize = 100;

/// The next step for a CronJob.
#[derive(Debug, Clone, PartialEq)]
pub enum CronStep {
    /// Store this status, then tell this. What comes next rests on it.
    Record(Value, Vec<Told>),
    /// Make a Job of this name for this time.
    Start(String, Timestamp),
    /// Delete this Job.
    Delete(ObjectKey, String),
    /// Nothing, before this moment or before something changes.
    Wait(Option<Timestamp>),
}

/// A step, and what is to be told once about the time that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct CronPlan {
    /// The step.
    pub step: CronStep,
    /// Something to tell, with the time of the schedule it is about.
    pub remark: Option<(Timestamp, Told)>,
}

impl CronPlan {
    fn of(step: CronStep) -> Self {
        Self { step, remark: None }
    }
}

/// What is next.
pub fn next_step(cron: &CronSight, jobs: &[&JobSight], now: Timestamp) -> CronPlan {
    let scheduled: Vec<&JobSight> = jobs.iter().copied().filter(|job| job.scheduled.is_some()).collect();
    let running: Vec<&JobSight> = scheduled.iter().copied().filter(|job| job.ended.is_none()).collect();
    let last = scheduled.iter().filter_map(|job| job.scheduled).chain(time(&cron.status, "/lastScheduleTime")).max();
    if let Some((status, told)) = news(cron, jobs, &running, last) {
        return CronPlan::of(CronStep::Record(status, told));
    }
    if let Some(old) = surplus(cron, jobs) {
        return CronPlan::of(CronStep::Delete(old.key.clone(), old.uid.clone()));
    }
    let (Some(schedule), false, false) = (&cron.schedule, cron.deleting, cron.suspend) else {
        return CronPlan::of(CronStep::Wait(None));
    };
    let since = last.unwrap_or(cron.created);
    let too_late = cron.starting_deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    let from = too_late.map_or(since, |too_late| since.max(too_late));
    let (missed, latest) = schedule.missed(from, now, MANY + 1);
    let wait = CronStep::Wait(schedule.next_after(from.max(now)));
    let Some(due) = latest else {
        let lost = if from > since { schedule.missed(since, now, MANY).1 } else { None };
        let remark = lost.map(|lost| {
            let message = format!("Missed scheduled time to start a job: {}", stamp(lost));
            (lost, Told::warning("MissSchedule", message))
        });
        return CronPlan { step: wait, remark };
    };
    let many = || {
        let message = format!(
            "too many missed start times: more than {MANY}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        );
        (due, Told::warning("TooManyMissedTimes", message))
    };
    match (running.first(), cron.concurrency) {
        (Some(_), Concurrency::Forbid) => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid".to_owned();
            CronPlan { step: wait, remark: Some((due, Told::normal("JobAlreadyActive", message))) }
        }
        (Some(job), Concurrency::Replace) if job.deleting => CronPlan::of(wait),
        (Some(job), Concurrency::Replace) => CronPlan::of(CronStep::Delete(job.key.clone(), job.uid.clone())),
        _ => CronPlan { step: CronStep::Start(name_of(&cron.key.name, due), due), remark: (missed > MANY).then(many) },
    }
}

/// Name of the Job for a time: its minute since 1970.
pub fn name_of(cron: &str, due: Timestamp) -> String {
    format!("{cron}-{}", due.as_second().div_euclid(60))
}

/// The new status, when it says something else than the one before.
fn news(
    cron: &CronSight,
    jobs: &[&JobSight],
    running: &[&JobSight],
    last: Option<Timestamp>,
) -> Option<(Value, Vec<Told>)> {
    let mut status = cron.status.clone();
    let before = status.get("active").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut told = Vec::new();
    for entry in &before {
        let (uid, name) = (entry["uid"].as_str().unwrap_or_default(), entry["name"].as_str().unwrap_or_default());
        if let Some(ended) = jobs.iter().find(|job| job.uid == uid).and_then(|job| job.ended) {
            let word = if ended.complete { "Complete" } else { "Failed" };
            told.push(Told::normal("SawCompletedJob", format!("Saw completed job: {name}, condition: {word}")));
        }
    }
    let mut active: Vec<&JobSight> = running.to_vec();
    active.sort_by(|a, b| (a.scheduled, &a.key).cmp(&(b.scheduled, &b.key)));
    let active: Vec<Value> = active
        .into_iter()
        .map(|job| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": job.key.namespace, "name": job.key.name, "uid": job.uid})
        })
        .collect();
    if active.is_empty() {
        if let Some(fields) = status.as_object_mut() {
            fields.remove("active");
        }
    } else {
        status["active"] = json!(active);
    }
    let succeeded = jobs.iter().filter_map(|job| job.ended.filter(|ended| ended.complete).map(|ended| ended.at));
    let succeeded = succeeded.chain(time(&cron.status, "/lastSuccessfulTime")).max();
    for (field, at) in [("lastScheduleTime", last), ("lastSuccessfulTime", succeeded)] {
        if let Some(at) = at {
            status[field] = json!(stamp(at));
        }
    }
    (status != cron.status).then_some((status, told))
}

/// The oldest Job of those that ended and are more than are kept.
fn surplus<'a>(cron: &CronSight, jobs: &[&'a JobSight]) -> Option<&'a JobSight> {
    [(true, cron.keep_complete), (false, cron.keep_failed)].into_iter().find_map(|(complete, keep)| {
        let of = |job: &&&JobSight| job.ended.is_some_and(|ended| ended.complete == complete) && !job.deleting;
        let ended: Vec<&JobSight> = jobs.iter().filter(of).copied().collect();
        let oldest = ended.iter().min_by_key(|job| (time(&job.status, "/startTime").unwrap_or(job.created), &job.key));
        oldest.copied().filter(|_| ended.len() > keep)
    })
}
