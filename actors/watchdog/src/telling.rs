//! What the watchdog tells: events on pods, and the published view.

use std::collections::BTreeMap;
use std::sync::Arc;

use mkube_messages::health::ContainerHealth;
use mkube_messages::objects::{ObjectKey, RecordEvent};

use crate::actor::WatchdogActor;
use crate::sight::row_of;

impl WatchdogActor {
    pub(crate) fn event(&self, pod: &ObjectKey, uid: &str, reason: &'static str, message: String) {
        tracing::info!(%pod, reason, message, "probes");
        let told = self.parts.event.tell(RecordEvent {
            involved_kind: "Pod",
            involved_api_version: "v1",
            key: pod.clone(),
            uid: uid.to_owned(),
            warning: true,
            reason,
            message,
        });
        if let Err(why) = told {
            tracing::debug!(%why, reason, "an event was not recorded");
        }
    }

    /// What is said of a pod's containers now.
    fn health_of(&self, key: &ObjectKey) -> BTreeMap<String, ContainerHealth> {
        let Some(pod) = self.pods.get(key) else { return BTreeMap::new() };
        let runs = |container: &str, course: &crate::course::Course| {
            use mkube_model::neighbours::router::ContainerState::Running;
            let row = row_of(&self.device, &key.namespace, &key.name, container, &course.run);
            row.is_some_and(|row| row.state == Running)
        };
        let health = |(name, course): (&String, &crate::course::Course)| {
            // That a process is dead is no news of a container that is being stopped already.
            let read_at = self.device.read_at.filter(|_| self.sees() && runs(name, course));
            let unasked = pod.unasked.iter().filter(|((of, _), _)| of == name);
            let unasked: Vec<String> =
                unasked.map(|((_, which), why)| format!("{} probe: {why}", which.word())).collect();
            let unasked = (!unasked.is_empty()).then(|| unasked.join("; "));
            (name.clone(), ContainerHealth { unasked, ..course.health(read_at) })
        };
        pod.courses.iter().map(health).collect()
    }

    /// Publishes what is said of these pods, where that is another than before.
    pub(crate) fn publish(&self, pods: impl IntoIterator<Item = ObjectKey>) {
        let now: Vec<_> = pods.into_iter().map(|key| (self.health_of(&key), key)).collect();
        self.parts.publish.send_if_modified(|published| {
            let mut view = (**published).clone();
            let mut is_news = false;
            for (health, key) in now {
                if health.is_empty() {
                    is_news |= view.pods.remove(&key).is_some();
                } else if view.pods.get(&key).is_none_or(|before| **before != health) {
                    view.pods.insert(key, Arc::new(health));
                    is_news = true;
                }
            }
            if is_news {
                *published = Arc::new(view);
            }
            is_news
        });
    }
}
