//! What the actor tells: events on pods, and the published view.

use std::sync::Arc;

use mkube_messages::objects::RecordEvent;
use mkube_messages::rollouts::{ImageRollout, RolloutState, RolloutsView};
use tokio::time::Instant;

use crate::actor::RolloutActor;
use crate::decide::{Case, Next};
use crate::images::{Fetch, ImageMemory};
use crate::pod_sight::PodSight;

impl RolloutActor {
    pub(crate) fn event(&self, pod: &PodSight, warning: bool, reason: &'static str, message: String) {
        tracing::info!(pod = %pod.key, reason, message, "rollout");
        let told = self.parts.event.tell(RecordEvent {
            involved_kind: "Pod",
            involved_api_version: "v1",
            key: pod.key.clone(),
            uid: pod.uid.clone(),
            warning,
            reason,
            message,
        });
        if let Err(why) = told {
            tracing::debug!(%why, reason, "an event was not recorded");
        }
    }

    /// Publishes what is being done, when that changed.
    pub(crate) fn publish(&self) {
        let now = Instant::now();
        let of = |(image, memory): (&String, &ImageMemory)| self.consider(image, now, |case| rollout(case, memory));
        let view = RolloutsView { images: self.images.iter().map(of).collect() };
        self.parts.publish.send_if_modified(|published| {
            let is_news = **published != view;
            if is_news {
                *published = Arc::new(view);
            }
            is_news
        });
    }
}

fn rollout(case: &Case<'_>, memory: &ImageMemory) -> ImageRollout {
    let pods: Vec<&&PodSight> = case.pods.iter().filter(|pod| pod.images().any(|image| image == case.image)).collect();
    let current = |digest: &str| pods.iter().filter(|pod| pod.runs(case.image, digest)).count();
    ImageRollout {
        image: case.image.to_owned(),
        digest: memory.desired.clone(),
        state: state(case, memory),
        pods: pods.len(),
        current: memory.desired.as_deref().map_or(0, current),
        last_checked: memory.last_checked,
        error: memory.error.clone(),
    }
}

fn state(case: &Case<'_>, memory: &ImageMemory) -> RolloutState {
    let tried = case.pods.iter().find_map(|pod| {
        let mark = pod.mark.as_ref().filter(|mark| mark.image == case.image)?;
        Some(RolloutState::Rolling { digest: mark.to.clone(), pod: pod.key.clone() })
    });
    if let Some(rolling) = tried {
        return rolling;
    }
    let Some(desired) = memory.desired.as_deref() else {
        return if memory.check.is_in_flight() { RolloutState::Checking } else { RolloutState::Unchecked };
    };
    if case.is_refused(desired) {
        return RolloutState::Refused;
    }
    if matches!(memory.fetch, Fetch::Busy(_)) {
        return RolloutState::Fetching;
    }
    match case.next() {
        Next::Nothing => RolloutState::Current,
        Next::Await(_) | Next::Replace(_) | Next::Later => RolloutState::Waiting,
    }
}
