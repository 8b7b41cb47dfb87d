//! What is next for a Job. Pure: the Job, its pods and the time of day in, one step out.
//!
//! What came of a pod is counted once: its uid stands in the status beside the counts, in the same write, for as long as the pod is
//! there. Times are compared with times that are stored, so that whoever comes after a crash waits for the same moment; a time
//! that lies in the future, since the clock stepped back, holds nobody up.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use mkube_messages::objects::ObjectKey;
use mkube_model::{metadata, names};
use serde_json::{Value, json};

use crate::sight::{JobSight, Phase, PodSight, condition, stamp, time};
use crate::told::Told;

/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// The longest pause after a failure.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(6);

/// The next step for a Job.
#[derive(Debug, Clone, PartialEq)]
pub enum JobStep {
    /// Store this status, then tell this. What comes next rests on it.
    Record(Value, Vec<Told>),
    /// Store this status when there is time: nothing rests on it.
    Refresh(Value),
    /// Make a pod of this name.
    Create(String),
    /// Delete this pod.
    Delete(ObjectKey, String),
    /// Delete the Job itself: its time after the end is over.
    Remove,
    /// Nothing, before this moment or before something changes.
    Wait(Option<Timestamp>),
}

/// Why a Job is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Success,
    Failure { reason: String, message: String },
}

/// What is next. `taken` says which names of pods are in use, by whomever.
pub fn next_step(job: &JobSight, pods: &[&PodSight], taken: impl Fn(&str) -> bool, now: Timestamp) -> JobStep {
    if job.deleting {
        return JobStep::Wait(None);
    }
    if let Some(ended) = job.ended {
        let Some(until) = job.keep.and_then(|keep| ended.at.checked_add(keep).ok()) else { return JobStep::Wait(None) };
        return if until <= now { JobStep::Remove } else { JobStep::Wait(Some(until)) };
    }
    let mut told = Vec::new();
    let counts = Counts::of(job, pods);
    let tally = Tally::of(pods);
    let mut status = job.status.clone();
    counts.write(&mut status);
    start_or_suspend(job, &mut status, now, &mut told);
    let verdict = verdict(job, &counts, &tally, &status, now);
    if let Some(verdict) = &verdict {
        begin_or_end(verdict, &tally, &mut status, now, &mut told);
    }
    if status != job.status {
        tally.write(&mut status);
        return JobStep::Record(status, told);
    }
    let wanted = match &verdict {
        Some(_) => 0,
        None if job.suspend => 0,
        None => wanted(job, &counts, tally.active.len() as u64),
    };
    if let Some(victim) = tally.surplus(wanted) {
        return JobStep::Delete(victim.key.clone(), victim.uid.clone());
    }
    let mut wake = Wake::default();
    if verdict.is_none() && !job.suspend {
        wake.at(deadline(job, &status));
    }
    let there = tally.active.len() + if job.waits_for_gone { tally.terminating } else { 0 };
    if (there as u64) < wanted {
        match pause_ends(pods, now) {
            Some(until) => wake.at(Some(until)),
            None => return JobStep::Create(free_name(job, &counts, taken)),
        }
    }
    tally.write(&mut status);
    if status == job.status { JobStep::Wait(wake.0) } else { JobStep::Refresh(status) }
}

/// The earliest of some moments.
#[derive(Default)]
struct Wake(Option<Timestamp>);

impl Wake {
    fn at(&mut self, moment: Option<Timestamp>) {
        self.0 = [self.0, moment].into_iter().flatten().min();
    }
}

/// What came of pods, those that are gone included.
struct Counts {
    succeeded: u64,
    failed: u64,
    counted: BTreeSet<String>,
}

impl Counts {
    fn of(job: &JobSight, pods: &[&PodSight]) -> Self {
        let number = |field: &str| job.status.get(field).and_then(Value::as_u64).unwrap_or(0);
        let before = job.status.get("countedPods").and_then(Value::as_array);
        let before: BTreeSet<&str> = before.into_iter().flatten().filter_map(Value::as_str).collect();
        let mut counts = Self { succeeded: number("succeeded"), failed: number("failed"), counted: BTreeSet::new() };
        for pod in pods {
            if before.contains(pod.uid.as_str()) {
                counts.counted.insert(pod.uid.clone());
            } else if pod.counts() {
                counts.counted.insert(pod.uid.clone());
                match pod.phase {
                    Phase::Succeeded => counts.succeeded += 1,
                    _ => counts.failed += 1,
                }
            }
        }
        counts
    }

    fn write(&self, status: &mut Value) {
        put(status, "succeeded", self.succeeded);
        put(status, "failed", self.failed);
        // Uids of pods that are gone go with the next change: nobody can take them for new ones.
        let before = status.get("countedPods").and_then(Value::as_array).map_or(0, Vec::len);
        let known = status.get("countedPods").and_then(Value::as_array).into_iter().flatten();
        let known: BTreeSet<&str> = known.filter_map(Value::as_str).collect();
        if self.counted.iter().any(|uid| !known.contains(uid.as_str())) || self.counted.len() * 2 < before {
            status["countedPods"] = json!(self.counted);
        }
    }
}

/// A count; nothing where there is nothing to count, as Kubernetes writes it.
fn put(status: &mut Value, field: &str, count: u64) {
    if count > 0 {
        status[field] = json!(count);
    } else if let Some(fields) = status.as_object_mut() {
        fields.remove(field);
    }
}

/// How the pods are doing now.
struct Tally<'a> {
    active: Vec<&'a PodSight>,
    ready: usize,
    terminating: usize,
    /// Restarts of the containers of active pods.
    restarts: u64,
}

impl<'a> Tally<'a> {
    fn of(pods: &[&'a PodSight]) -> Self {
        let active: Vec<&PodSight> = pods.iter().copied().filter(|pod| pod.is_active()).collect();
        Self {
            ready: active.iter().filter(|pod| pod.ready).count(),
            restarts: active.iter().map(|pod| pod.restarts).sum(),
            terminating: pods.iter().filter(|pod| pod.deleting && pod.phase == Phase::Active).count(),
            active,
        }
    }

    fn write(&self, status: &mut Value) {
        put(status, "active", self.active.len() as u64);
        status["ready"] = json!(self.ready);
        status["terminating"] = json!(self.terminating);
    }

    /// A pod too many: one that is not ready rather than one that is.
    fn surplus(&self, wanted: u64) -> Option<&'a PodSight> {
        let too_many = self.active.len() as u64 > wanted;
        let victim = self.active.iter().min_by_key(|pod| (pod.ready, std::cmp::Reverse(pod.revision), &pod.key));
        victim.copied().filter(|_| too_many)
    }

    fn is_over(&self) -> bool {
        self.active.is_empty() && self.terminating == 0
    }
}

/// The status of a condition, written when it says something else than before.
fn set_condition(status: &mut Value, kind: &str, holds: bool, reason: &str, message: &str, now: Timestamp) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let word = if holds { "True" } else { "False" };
    let now = stamp(now);
    let new = json!({"type": kind, "status": word, "reason": reason, "message": message, "lastProbeTime": now,
        "lastTransitionTime": now});
    match conditions.iter_mut().find(|one| one["type"] == kind) {
        Some(one) if one["status"] == word => {}
        Some(one) => *one = new,
        None => conditions.push(new),
    }
}

/// A Job that is suspended has no time that passes; it begins anew when it goes on.
fn start_or_suspend(job: &JobSight, status: &mut Value, now: Timestamp, told: &mut Vec<Told>) {
    let is_suspended = condition(status, "Suspended").is_some();
    if job.suspend {
        if !is_suspended {
            set_condition(status, "Suspended", true, "JobSuspended", "Job suspended", now);
            told.push(Told::normal("Suspended", "Job suspended"));
        }
        if let Some(fields) = status.as_object_mut() {
            fields.remove("startTime");
        }
        return;
    }
    if is_suspended {
        set_condition(status, "Suspended", false, "JobResumed", "Job resumed", now);
        told.push(Told::normal("Resumed", "Job resumed"));
    }
    if status.get("startTime").is_none_or(Value::is_null) {
        status["startTime"] = json!(stamp(now));
    }
}

fn deadline(job: &JobSight, status: &Value) -> Option<Timestamp> {
    time(status, "/startTime")?.checked_add(job.deadline?).ok()
}

/// Whether the Job is to end, and how. What was decided before stays decided.
fn verdict(job: &JobSight, counts: &Counts, tally: &Tally<'_>, status: &Value, now: Timestamp) -> Option<Verdict> {
    if let Some(before) = condition(status, "FailureTarget") {
        let text = |field: &str| before[field].as_str().unwrap_or_default().to_owned();
        return Some(Verdict::Failure { reason: text("reason"), message: text("message") });
    }
    let enough = match job.completions {
        Some(wanted) => counts.succeeded >= wanted,
        None => counts.succeeded > 0 && tally.is_over(),
    };
    if enough || condition(status, "SuccessCriteriaMet").is_some() {
        return Some(Verdict::Success);
    }
    let failure = |reason: &str, message: &str| Verdict::Failure { reason: reason.into(), message: message.into() };
    // Restarts count where pods live on after a failure; a limit of zero forgives none.
    let restarts = job.restarts && tally.restarts > 0 && tally.restarts >= job.backoff_limit;
    if counts.failed > job.backoff_limit || restarts {
        return Some(failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if !job.suspend && deadline(job, status).is_some_and(|until| until <= now) {
        return Some(failure("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    None
}

/// First it is said how the Job is to end; it ends when no pod of it works any more.
fn begin_or_end(verdict: &Verdict, tally: &Tally<'_>, status: &mut Value, now: Timestamp, told: &mut Vec<Told>) {
    match verdict {
        Verdict::Success => {
            let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
            set_condition(status, "SuccessCriteriaMet", true, reason, message, now);
            if tally.is_over() {
                set_condition(status, "Complete", true, reason, message, now);
                status["completionTime"] = json!(stamp(now));
                told.push(Told::normal("Completed", "Job completed"));
            }
        }
        Verdict::Failure { reason, message } => {
            if condition(status, "FailureTarget").is_none() {
                set_condition(status, "FailureTarget", true, reason, message, now);
                let event = if reason == "DeadlineExceeded" { "DeadlineExceeded" } else { "BackoffLimitExceeded" };
                told.push(Told::warning(event, message.clone()));
            }
            if tally.is_over() {
                set_condition(status, "Failed", true, reason, message, now);
            }
        }
    }
}

/// Pods that should be at work.
fn wanted(job: &JobSight, counts: &Counts, active: u64) -> u64 {
    match job.completions {
        Some(completions) => completions.saturating_sub(counts.succeeded).min(job.parallelism),
        // One that succeeded says that the work is done: the others end in their own time.
        None if counts.succeeded > 0 => active.min(job.parallelism),
        None => job.parallelism,
    }
}

/// When the next pod may begin, if not now: pauses grow with each failure since the last success.
fn pause_ends(pods: &[&PodSight], now: Timestamp) -> Option<Timestamp> {
    let ends = |phase: Phase| {
        let of = move |pod: &&&PodSight| pod.phase == phase && pod.counts();
        pods.iter().filter(of).filter_map(|pod| pod.finished)
    };
    let last_success = ends(Phase::Succeeded).max();
    let failures: Vec<Timestamp> =
        ends(Phase::Failed).filter(|at| last_success.is_none_or(|last| *at > last)).collect();
    let last = failures.iter().max().filter(|last| **last <= now)?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let pause = FIRST_PAUSE.checked_mul(1 << doublings).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE);
    last.checked_add(pause).ok().filter(|until| *until > now)
}

/// The name of the next pod. It follows from the Job and from how many there were: whoever asks again after a lost answer asks for
/// the same one.
fn free_name(job: &JobSight, counts: &Counts, taken: impl Fn(&str) -> bool) -> String {
    let first = counts.succeeded + counts.failed;
    let name = |number: u64| {
        let random = u64::from(names::fnv1a(&format!("{}/{number}", job.uid)));
        metadata::generated_name(&format!("{}-", job.key.name), random)
    };
    (first..).map(name).find(|name| !taken(name)).unwrap_or_default()
}
