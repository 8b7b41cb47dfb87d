//! Whether a digest that is being tried on a pod works. Pure: from what the pod's status and the device say, and what was seen
//! of it before.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::annotations::Mark;
use crate::pod_sight::{ContainerSight, Doing, PodSight};

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a pod must have been ready without a restart.
    pub settle: Duration,
    /// How long it may take to get there, the device's absence not counted.
    pub timeout: Duration,
}

/// What was seen of a trial so far. Begins anew when its observer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Until when the pod must be there.
    deadline: Instant,
    /// Since when every container tried is ready.
    live_since: Option<Instant>,
    /// Restarts of each container when it was first seen with the new digest.
    restarts: BTreeMap<String, u64>,
}

impl Observed {
    /// Nothing yet.
    pub fn new(now: Instant, limits: Limits) -> Self {
        Self { deadline: now + limits.timeout, live_since: None, restarts: BTreeMap::new() }
    }
}

/// What the device says at this time.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    /// It was read completely and answers.
    pub answers: bool,
    /// When the reading we see was begun.
    pub read_at: Option<Instant>,
    /// Whether the row of this id runs.
    pub runs: &'a dyn Fn(&str) -> bool,
}

/// How a trial stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet; worth another look at that time, if nothing happens before.
    Open(Instant),
    /// It works.
    Proven,
    /// It does not.
    Failed(String),
    /// Somebody changed the pod: there is nothing to prove any more.
    Void,
}

/// Judges a trial.
pub fn judge(
    pod: &PodSight,
    mark: &Mark,
    device: &Device<'_>,
    seen: &mut Observed,
    now: Instant,
    limits: Limits,
) -> Verdict {
    let tried: Vec<&ContainerSight> =
        pod.of_image(&mark.image).filter(|container| mark.from.contains_key(&container.name)).collect();
    let is_pinned =
        |container: &&ContainerSight| pod.pins.get(&container.name).is_some_and(|pin| pin.digest == mark.to);
    if tried.is_empty() || pod.deleting || !tried.iter().all(is_pinned) {
        return Verdict::Void;
    }
    if !device.answers {
        // What is not seen is neither good nor bad: the time begins again when the device is back.
        *seen = Observed { restarts: std::mem::take(&mut seen.restarts), ..Observed::new(now, limits) };
        return Verdict::Open(seen.deadline);
    }
    if let Some(why) = tried.iter().find_map(|container| failure(pod, container, mark, seen)) {
        return Verdict::Failed(why);
    }
    if !tried.iter().all(|container| is_live(pod, container, mark, device)) {
        seen.live_since = None;
        if now >= seen.deadline {
            return Verdict::Failed(overdue(&tried, mark, limits));
        }
        return Verdict::Open(seen.deadline);
    }
    let since = *seen.live_since.get_or_insert(now);
    let settled = since + limits.settle;
    // The device must have been read since: a container may end between two readings.
    if now >= settled && device.read_at.is_some_and(|read| read >= settled) {
        return Verdict::Proven;
    }
    Verdict::Open(if now < settled { settled } else { now + limits.settle.max(Duration::from_secs(1)) })
}

fn has_digest(container: &ContainerSight, mark: &Mark) -> bool {
    container.running.as_deref() == Some(mark.to.as_str())
}

/// Whether a container with the new digest is in use. This is where probes join: they are part of `ready`.
fn is_live(pod: &PodSight, container: &ContainerSight, mark: &Mark, device: &Device<'_>) -> bool {
    if !has_digest(container, mark) {
        return false;
    }
    match &container.doing {
        Doing::Running { ready } => *ready && container.row.as_deref().is_some_and(device.runs),
        // One that is not started again has done its work.
        Doing::Ended { code, .. } => *code == 0 && !pod.restarts_always,
        _ => false,
    }
}

/// Why a container of the new digest fails, if it does.
fn failure(pod: &PodSight, container: &ContainerSight, mark: &Mark, seen: &mut Observed) -> Option<String> {
    let name = &container.name;
    if !has_digest(container, mark) {
        return None;
    }
    // Without a row it is being made, and what is said of an end is about the one before.
    let last = container.row.as_ref().map(|_| container.last_exit.clone().unwrap_or_else(|| "it ended".to_owned()));
    match (&container.doing, last) {
        (Doing::Waiting { reason, message }, _) if reason == "ErrImageUnpack" => {
            return Some(format!("container {name}: {message}"));
        }
        (Doing::Waiting { reason, .. }, Some(last)) if reason == "CrashLoopBackOff" => {
            return Some(format!("container {name} does not stay up: {last}"));
        }
        (Doing::Ended { code, .. }, Some(last)) if *code != 0 || pod.restarts_always => {
            return Some(format!("container {name} does not stay up: {last}"));
        }
        _ => {}
    }
    if matches!(container.doing, Doing::Running { .. }) {
        let before = *seen.restarts.entry(name.clone()).or_insert(container.restarts);
        if container.restarts > before {
            let last = container.last_exit.as_deref().unwrap_or("it ended");
            return Some(format!("container {name} was restarted: {last}"));
        }
    }
    None
}

fn overdue(tried: &[&ContainerSight], mark: &Mark, limits: Limits) -> String {
    let what = |container: &&ContainerSight| {
        let name = &container.name;
        match &container.doing {
            Doing::Waiting { reason, message } if message.is_empty() => format!("container {name} waits ({reason})"),
            Doing::Waiting { reason, message } => format!("container {name} waits ({reason}): {message}"),
            _ if !has_digest(container, mark) => format!("container {name} does not run it yet"),
            _ => format!("container {name} is not ready"),
        }
    };
    let list: Vec<String> = tried.iter().map(what).collect();
    format!("not ready within {} s: {}", limits.timeout.as_secs(), list.join("; "))
}
