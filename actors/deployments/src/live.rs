//! Whether a pod counts: as available, as proven, as failing. Pure: from its status, the device, and what was seen of it before.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::pod_sight::PodSight;

/// How long a pod must be ready, without a restart, before the next one is replaced; longer when the Deployment says so.
pub const SETTLE: Duration = Duration::from_secs(3);
/// How long an image that cannot be had is waited for: registries are away now and then.
const PULLS: Duration = Duration::from_secs(30);
/// After so long what a pod did before is forgiven.
const STABLE: Duration = Duration::from_secs(600);
/// Reasons that will not go away by themselves.
const FATAL: [&str; 6] =
    ["CrashLoopBackOff", "Error", "StartError", "ErrImageUnpack", "InvalidImageName", "ErrImageNeverPull"];
/// Reasons that stand for an end that must not be.
const ENDED: [&str; 2] = ["Completed", "OOMKilled"];
/// Reasons that a registry may take away.
const PULLING: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// What was seen of a pod so far. Begins anew when its observer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    uid: String,
    live_since: Option<Instant>,
    proven: bool,
    /// Restarts when its status first spoke of its present spec, or that are forgiven.
    restarts: Option<u64>,
    /// Since when its image cannot be had.
    pulls_since: Option<Instant>,
    /// It was looked at before it was live.
    was_not_live: bool,
}

impl Seen {
    /// Nothing yet.
    pub fn new(pod: &PodSight) -> Self {
        Self {
            uid: pod.uid.clone(),
            live_since: None,
            proven: false,
            restarts: None,
            pulls_since: None,
            was_not_live: false,
        }
    }

    /// Whether this is about another pod of the name.
    pub fn is_of_another(&self, pod: &PodSight) -> bool {
        self.uid != pod.uid
    }
}

/// What the moment says.
pub struct Moment<'a> {
    /// Now.
    pub now: Instant,
    /// Time of day, for what stands in a status.
    pub wall: Timestamp,
    /// When the reading of the device we see was begun; none while the device does not answer.
    pub read_at: Option<Instant>,
    /// Whether the row of this id runs.
    pub runs: &'a dyn Fn(&str) -> bool,
}

/// How a pod counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Liveness {
    /// Ready for as long as the Deployment asks.
    pub available: bool,
    /// The device shows that it does not run, which its status does not tell yet.
    pub down: bool,
    /// Ready long enough that the next one may be replaced, and seen so on the device.
    pub proven: bool,
    /// Since when it is ready without a gap.
    pub since: Option<Instant>,
    /// Why it does not work, if it is known not to.
    pub failing: Option<String>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Instant>,
    /// Only the next reading of the device can tell.
    pub wants_device: bool,
}

/// Which restarts of a pod's containers speak against its template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarts {
    /// None: there is no version to go back to, so that the pods may as well be tried on. A crash loop still tells.
    Forgiven,
    /// Those since its spec became true.
    Counted,
    /// All it ever had: the template is known to have failed.
    Remembered,
}

/// Judges a pod.
pub fn judge(
    pod: &PodSight,
    seen: &mut Seen,
    min_ready: Duration,
    restarts: Restarts,
    moment: &Moment<'_>,
) -> Liveness {
    let now = moment.now;
    let since = live_since(pod, seen, moment);
    let restarted = restarted(pod, seen, restarts, since.is_some_and(|since| now >= since + STABLE));
    let mut found = Liveness { failing: failure(pod, seen, restarted, now), ..Liveness::default() };
    if let Some(since) = seen.pulls_since.filter(|_| found.failing.is_none()) {
        found.wake = Some(since + PULLS);
    }
    found.since = since;
    let Some(since) = since else { return found };
    let (counts, settled) = (since + min_ready, since + min_ready.max(SETTLE));
    found.available = now >= counts;
    if !found.available {
        found.wake = Some(counts);
        return found;
    }
    let runs = pod.rows.iter().all(|row| (moment.runs)(row));
    found.down = moment.read_at.is_some() && !runs;
    found.wants_device = found.down;
    if restarted {
        found.wake = Some(since + STABLE);
        return found;
    }
    if !seen.proven {
        if now < settled {
            found.wake = Some(settled);
        } else if moment.read_at.is_some_and(|read| read >= settled) && runs {
            seen.proven = true;
        } else {
            found.wants_device = true;
        }
    }
    found.proven = seen.proven;
    found
}

/// Since when the pod is ready without a gap, if it is.
fn live_since(pod: &PodSight, seen: &mut Seen, moment: &Moment<'_>) -> Option<Instant> {
    let Some(ready_since) = pod.ready_since.filter(|_| pod.observed && !pod.deleting && !pod.tried) else {
        seen.live_since = None;
        seen.proven = false;
        seen.was_not_live = true;
        return None;
    };
    let fresh = seen.was_not_live;
    let since = seen.live_since.get_or_insert_with(|| {
        // Ready before we came: the status says since when, as far as its clock is to be believed.
        let ago = if fresh { Duration::ZERO } else { elapsed(ready_since, moment.wall).min(STABLE) };
        moment.now.checked_sub(ago).unwrap_or(moment.now)
    });
    Some(*since)
}

fn elapsed(since: Timestamp, wall: Timestamp) -> Duration {
    wall.duration_since(since).try_into().unwrap_or_default()
}

/// Whether the pod had restarts that count, and that it has not made up for by being `stable` since.
fn restarted(pod: &PodSight, seen: &mut Seen, restarts: Restarts, stable: bool) -> bool {
    let before = match (seen.restarts, pod.observed) {
        (None, false) => return false,
        (None, true) => pod.restarts,
        (Some(before), _) => before,
    };
    seen.restarts = Some(if stable { pod.restarts } else { before });
    match restarts {
        Restarts::Forgiven => false,
        Restarts::Counted => !stable && pod.restarts > before,
        Restarts::Remembered => !stable && pod.restarts > 0,
    }
}

fn failure(pod: &PodSight, seen: &mut Seen, restarted: bool, now: Instant) -> Option<String> {
    let said = pod.trouble.as_ref().map(|(reason, _)| reason.as_str());
    if !said.is_some_and(|reason| PULLING.contains(&reason)) {
        seen.pulls_since = None;
    } else {
        let since = *seen.pulls_since.get_or_insert(now);
        return (now >= since + PULLS).then(|| message(pod));
    }
    let reason = said.unwrap_or_default();
    // What is told before the status speaks of this spec may be about the containers of the one before.
    let known = pod.observed || !["CrashLoopBackOff", "Error", "StartError"].contains(&reason);
    if known && (FATAL.contains(&reason) || pod.observed && ENDED.contains(&reason)) {
        return Some(message(pod));
    }
    (pod.observed && restarted).then(|| "a container was restarted".to_owned())
}

fn message(pod: &PodSight) -> String {
    pod.trouble.as_ref().map(|(_, message)| message.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_messages::objects::{ObjectKey, StoredObject};
    use mkube_model::kinds::KindTable;
    use serde_json::{Value, json};

    const READY_AT: &str = "2026-01-01T00:00:00Z";

    fn pod(state: Value, ready: bool, observed: u64, restarts: u64) -> PodSight {
        let value = json!({
            "metadata": {"name": "web-0", "uid": "u", "generation": 1},
            "spec": {"containers": [{"name": "c", "image": "web:1"}]},
            "status": {"observedGeneration": observed,
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" },
                    "lastTransitionTime": READY_AT}],
                "containerStatuses": [{"name": "c", "restartCount": restarts, "state": state,
                    "containerID": "routeros://7"}]},
        });
        let kind = KindTable::builtin().named("Pod").expect("a kind").id();
        PodSight::of(&StoredObject::new(kind, ObjectKey::new("default", "web-0"), &value, 1))
    }

    fn running(restarts: u64) -> PodSight {
        pod(json!({"running": {}}), true, 1, restarts)
    }

    fn waiting(reason: &str) -> PodSight {
        pod(json!({"waiting": {"reason": reason}}), false, 1, 0)
    }

    struct Watch {
        start: Instant,
        seen: Seen,
    }

    impl Watch {
        fn new() -> Self {
            Self { start: Instant::now(), seen: Seen::new(&running(0)) }
        }

        /// A look at this second, the device read at that one.
        fn at(&mut self, second: u64, pod: &PodSight, read: Option<u64>, runs: bool) -> Liveness {
            self.counting(Restarts::Counted, second, pod, read, runs)
        }

        fn counting(
            &mut self,
            restarts: Restarts,
            second: u64,
            pod: &PodSight,
            read: Option<u64>,
            runs: bool,
        ) -> Liveness {
            let at = |second| self.start + Duration::from_secs(second);
            let wall = READY_AT.parse::<Timestamp>().expect("a literal");
            let moment = Moment { now: at(second), wall, read_at: read.map(at), runs: &|row| runs && row == "7" };
            judge(pod, &mut self.seen, Duration::from_secs(5), restarts, &moment)
        }
    }

    #[tokio::test]
    async fn a_pod_counts_after_its_time_and_is_proven_by_a_later_look_at_the_device() {
        let mut watch = Watch::new();
        assert_eq!(watch.at(0, &waiting("ContainerCreating"), Some(0), true), Liveness::default());
        assert!(!watch.at(1, &running(0), Some(1), true).available);
        assert!(!watch.at(5, &running(0), Some(5), true).available, "four seconds are not five");
        let counted = watch.at(6, &running(0), Some(5), true);
        assert!(counted.available && !counted.proven && counted.wants_device);
        let stopped = watch.at(7, &running(0), Some(7), false);
        assert!(!stopped.proven && stopped.down && stopped.wants_device, "the device shows it stopped");
        let unseen = watch.at(8, &running(0), None, false);
        assert!(!unseen.proven && !unseen.down, "the device is away");
        assert!(watch.at(9, &running(0), Some(8), true).proven);
        assert!(watch.at(10, &running(0), None, true).proven, "what was proven stays so");
        assert!(watch.at(11, &running(0), Some(11), false).down, "its status is a moment late");
    }

    #[tokio::test]
    async fn a_pod_that_was_restarted_is_looked_at_again_when_that_is_forgiven() {
        let mut watch = Watch::new();
        watch.at(0, &running(0), None, true);
        watch.at(10, &waiting("ContainerCreating"), None, true);
        watch.at(20, &running(1), None, true);
        let later = watch.at(30, &running(1), Some(30), true);
        assert!(later.available && !later.proven);
        assert!(later.wake.is_some(), "nothing else may happen until then");
        let forgiven = watch.at(700, &running(1), Some(700), true);
        assert!(forgiven.proven && forgiven.failing.is_none());
        watch.at(710, &waiting("ContainerCreating"), None, true);
        assert!(watch.at(720, &running(2), None, true).failing.is_some(), "only what was before is forgiven");
    }

    #[tokio::test]
    async fn what_a_failed_template_did_is_remembered_until_it_ran_for_long() {
        let mut watch = Watch::new();
        watch.at(0, &waiting("ContainerCreating"), None, true);
        let later = watch.counting(Restarts::Remembered, 20, &running(1), Some(20), true);
        assert!(later.failing.is_some() && !later.proven);
        let forgiven = watch.counting(Restarts::Remembered, 700, &running(1), Some(700), true);
        assert!(forgiven.proven && forgiven.failing.is_none());
        assert_eq!(watch.at(701, &running(1), Some(701), true).failing, None, "it does not fail again by the same");
    }

    #[tokio::test]
    async fn with_nothing_to_go_back_to_a_restart_says_nothing_and_a_crash_loop_does() {
        let mut watch = Watch::new();
        watch.counting(Restarts::Forgiven, 0, &running(0), None, true);
        let crashing = waiting("CrashLoopBackOff");
        assert!(watch.counting(Restarts::Forgiven, 10, &crashing, None, true).failing.is_some());
        let later = watch.counting(Restarts::Forgiven, 20, &running(1), None, true);
        assert!(later.failing.is_none() && !later.available, "its time begins anew");
        assert!(watch.counting(Restarts::Forgiven, 30, &running(1), Some(30), true).proven);
    }

    #[tokio::test]
    async fn what_is_told_of_the_spec_before_counts_for_nothing() {
        let mut watch = Watch::new();
        let before = pod(json!({"running": {}}), true, 0, 0);
        assert_eq!(watch.at(100, &before, Some(100), true), Liveness::default());
        let crashing = pod(json!({"waiting": {"reason": "CrashLoopBackOff"}}), false, 0, 4);
        assert_eq!(watch.at(101, &crashing, Some(101), true), Liveness::default());
        assert!(!watch.at(102, &running(4), Some(102), true).available, "its time begins now");
        assert!(watch.at(108, &running(4), Some(108), true).proven, "restarts before are not its own");
    }

    #[tokio::test]
    async fn crashes_restarts_and_images_that_cannot_be_had_are_failures() {
        for reason in ["CrashLoopBackOff", "ErrImageUnpack", "InvalidImageName", "ErrImageNeverPull"] {
            let why = Watch::new().at(0, &waiting(reason), None, true).failing;
            assert!(why.is_some_and(|why| why.contains(reason)), "{reason}");
        }
        for open in ["ContainerCreating", "CreateContainerConfigError"] {
            assert_eq!(Watch::new().at(900, &waiting(open), None, true).failing, None, "{open}");
        }
        let mut watch = Watch::new();
        assert_eq!(watch.at(0, &waiting("ErrImagePull"), None, true).failing, None, "registries are away now and then");
        assert_eq!(watch.at(29, &waiting("ImagePullBackOff"), None, true).failing, None);
        assert!(watch.at(30, &waiting("ErrImagePull"), None, true).failing.is_some());
        let mut watch = Watch::new();
        assert_eq!(watch.at(0, &running(0), Some(0), true).failing, None);
        let again = watch.at(20, &running(1), Some(20), true);
        assert!(again.failing.is_some() && !again.proven);
        let ended = pod(json!({"terminated": {"reason": "Completed", "exitCode": 0}}), false, 1, 0);
        assert!(Watch::new().at(0, &ended, None, true).failing.is_some());
    }

    #[tokio::test]
    async fn a_pod_on_which_a_digest_is_tried_counts_for_nothing() {
        let mut tried = running(0);
        tried.tried = true;
        assert!(!Watch::new().at(100, &tried, Some(100), true).available);
    }
}
