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
    if !device.answers || pod.is_at_rest() {
        // What is not seen is neither good nor bad: the time begins again when the device is back, or the pod.
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
    // While it is being made nobody says what it runs. What is said then may be about the one before, if that failed too.
    if let Doing::Waiting { reason, message } = &container.doing
        && reason == "ErrImageUnpack"
        && (has_digest(container, mark) || container.running.is_none() && mark.was_live)
    {
        return Some(format!("container {name}: {message}"));
    }
    if !has_digest(container, mark) {
        return None;
    }
    let last = || container.last_exit.as_deref().unwrap_or("it ended");
    match &container.doing {
        Doing::Waiting { reason, .. } if reason == "CrashLoopBackOff" => {
            return Some(format!("container {name} does not stay up: {}", last()));
        }
        Doing::Ended { code, .. } if *code != 0 || pod.restarts_always => {
            return Some(format!("container {name} does not stay up: {}", last()));
        }
        _ => {}
    }
    if matches!(container.doing, Doing::Running { .. }) {
        let before = *seen.restarts.entry(name.clone()).or_insert(container.restarts);
        if container.restarts > before {
            return Some(format!("container {name} was restarted: {}", last()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::ObjectKey;
    use serde_json::{Value, json};

    const LIMITS: Limits = Limits { settle: Duration::from_secs(3), timeout: Duration::from_secs(600) };

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn mark() -> Mark {
        let from = BTreeMap::from([("c".to_owned(), digest('a'))]);
        Mark { image: "web:1".into(), to: digest('b'), from, was_live: true }
    }

    /// A pod on which `b` is tried and whose container is in this state.
    fn pod(running: char, state: Value, restarts: u64) -> PodSight {
        let pin = format!("c=web:1@{}", digest('b'));
        let value = json!({
            "metadata": {"annotations": {"vkube.io/image-pin": pin}},
            "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            "status": {"containerStatuses": [{
                "name": "c", "imageID": digest(running), "containerID": "routeros://1", "restartCount": restarts,
                "ready": state.get("running").is_some(), "state": state,
                "lastState": {"terminated": {"exitCode": 7, "reason": "Error"}},
            }]},
        });
        let kind = mkube_model::kinds::KindTable::builtin().named("Pod").expect("a kind").id();
        let key = ObjectKey::new("default", "web");
        PodSight::of(&mkube_messages::objects::StoredObject::new(kind, key, &value, 1))
    }

    fn running(digest: char) -> PodSight {
        pod(digest, json!({"running": {}}), 0)
    }

    /// Looks at a trial at these seconds; the device was read at that very time, unless it is away.
    struct Trial {
        start: Instant,
        seen: Observed,
    }

    impl Trial {
        fn new() -> Self {
            let start = Instant::now();
            Self { start, seen: Observed::new(start, LIMITS) }
        }

        fn at(&mut self, second: u64, pod: &PodSight, read_at: Option<u64>) -> Verdict {
            let at = |second| self.start + Duration::from_secs(second);
            let device = Device { answers: read_at.is_some(), read_at: read_at.map(at), runs: &|row| row == "1" };
            judge(pod, &mark(), &device, &mut self.seen, at(second), LIMITS)
        }
    }

    fn failed(verdict: &Verdict, words: &str) -> bool {
        matches!(verdict, Verdict::Failed(why) if why.contains(words))
    }

    #[tokio::test]
    async fn a_digest_is_proven_when_it_ran_for_the_time_to_settle_and_the_device_was_read_after_that() {
        let mut trial = Trial::new();
        assert!(matches!(trial.at(1, &running('a'), Some(1)), Verdict::Open(_)), "the old one runs");
        assert!(matches!(trial.at(10, &running('b'), Some(10)), Verdict::Open(_)));
        assert!(matches!(trial.at(12, &running('b'), Some(12)), Verdict::Open(_)), "not long enough");
        assert!(matches!(trial.at(14, &running('b'), Some(11)), Verdict::Open(_)), "it may have ended since");
        assert_eq!(trial.at(20, &running('b'), Some(13)), Verdict::Proven);
    }

    #[tokio::test]
    async fn a_row_that_the_device_does_not_show_running_proves_nothing() {
        let mut trial = Trial::new();
        let mut elsewhere = running('b');
        elsewhere.containers[0].row = Some("2".into());
        for second in [1, 20, 100] {
            assert!(matches!(trial.at(second, &elsewhere, Some(second)), Verdict::Open(_)));
        }
    }

    #[tokio::test]
    async fn a_container_that_ends_crashes_or_is_restarted_has_failed() {
        let crashing = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}});
        assert!(failed(&Trial::new().at(1, &pod('b', crashing.clone(), 1), Some(1)), "exit code 7"));
        let ended = json!({"terminated": {"exitCode": 3, "reason": "Error"}});
        assert!(failed(&Trial::new().at(1, &pod('b', ended, 0), Some(1)), "exit code 3"));
        let unpacked = json!({"waiting": {"reason": "ErrImageUnpack", "message": "no manifest.json in archive"}});
        assert!(failed(&Trial::new().at(1, &pod('b', unpacked.clone(), 0), Some(1)), "manifest.json"));
        let mut trial = Trial::new();
        assert!(matches!(trial.at(1, &pod('b', json!({"running": {}}), 4), Some(1)), Verdict::Open(_)));
        assert!(failed(&trial.at(2, &pod('b', json!({"running": {}}), 5), Some(2)), "was restarted"));
        // What the one before did is not held against this one.
        for old in [crashing, unpacked] {
            assert!(matches!(Trial::new().at(1, &pod('a', old, 9), Some(1)), Verdict::Open(_)));
        }
    }

    #[tokio::test]
    async fn a_job_that_ends_well_has_proven_its_image() {
        let mut job = pod('b', json!({"terminated": {"exitCode": 0, "reason": "Completed"}}), 0);
        assert!(matches!(Trial::new().at(1, &job, Some(1)), Verdict::Failed(_)), "a service must not end");
        job.restarts_always = false;
        let mut trial = Trial::new();
        assert!(matches!(trial.at(1, &job, Some(1)), Verdict::Open(_)));
        assert_eq!(trial.at(5, &job, Some(5)), Verdict::Proven);
    }

    #[tokio::test]
    async fn what_is_not_there_in_time_has_failed_and_says_why() {
        let mut trial = Trial::new();
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "the registry is away"}});
        assert!(matches!(trial.at(599, &pod('b', waiting.clone(), 0), Some(599)), Verdict::Open(_)));
        assert!(failed(&trial.at(600, &pod('b', waiting, 0), Some(600)), "the registry is away"));
    }

    #[tokio::test]
    async fn the_time_a_device_is_away_is_not_held_against_the_pod() {
        let mut trial = Trial::new();
        assert!(matches!(trial.at(1, &running('b'), Some(1)), Verdict::Open(_)));
        let crashing = pod('b', json!({"waiting": {"reason": "CrashLoopBackOff"}}), 1);
        assert!(matches!(trial.at(700, &crashing, None), Verdict::Open(_)), "an old status proves nothing");
        assert!(matches!(trial.at(701, &running('a'), Some(701)), Verdict::Open(_)));
        assert!(matches!(trial.at(702, &running('b'), Some(702)), Verdict::Open(_)), "the time to settle begins anew");
        assert_eq!(trial.at(705, &running('b'), Some(705)), Verdict::Proven);
    }

    #[tokio::test]
    async fn a_pod_that_somebody_changed_is_no_trial_any_more() {
        let mut other_image = running('b');
        other_image.containers[0].image = "web:2".into();
        let mut other_pin = running('b');
        other_pin.pins.clear();
        let mut deleted = running('b');
        deleted.deleting = true;
        for pod in [other_image, other_pin, deleted] {
            assert_eq!(Trial::new().at(1, &pod, Some(1)), Verdict::Void);
        }
    }
}
