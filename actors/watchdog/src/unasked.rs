//! Probes that could not be asked: now, or by this device never.

use std::time::Duration;

use mkube_messages::health::Run;
use mkube_messages::objects::ObjectKey;
use mkube_model::probes::Probe;
use tokio::time::Instant;

use crate::actor::{Pod, WatchdogActor};
use crate::course::{Course, Which};

impl WatchdogActor {
    /// It is not known whether there would have been an answer: that is held against nobody, and asked again in its time.
    pub(crate) fn not_known(&mut self, key: &ObjectKey, name: &str, run: &Run, which: Which, why: Option<String>) {
        let sees = self.sees();
        let Some(pod) = self.pods.get_mut(key) else { return };
        let Some(course) = pod.courses.get_mut(name).filter(|course| course.run == *run) else { return };
        course.give_up(which);
        let is_news = sees && why.is_some() && pod.noted.insert((name.to_owned(), which, "not known".to_owned()));
        if let Some(why) = why.filter(|_| is_news) {
            let uid = pod.sight.uid.clone();
            let message = format!("{} probe of {name} could not be asked, and is asked again: {why}", which.word());
            self.event(key, &uid, "ProbeWarning", message);
        }
        self.enqueue(key);
    }

    /// The device asks no such thing: the probe counts as absent, and everybody can see that.
    pub(crate) fn never_asked(&mut self, key: &ObjectKey, name: &str, run: &Run, which: Which, why: String) {
        let Some(pod) = self.pods.get_mut(key) else { return };
        let Some(course) = pod.courses.get_mut(name).filter(|course| course.run == *run) else { return };
        course.leave_out(which);
        pod.unasked.insert((name.to_owned(), which), why.clone());
        if pod.noted.insert((name.to_owned(), which, "never asked".to_owned())) {
            let uid = pod.sight.uid.clone();
            let message = format!("{} probe of {name} counts as absent: {why}", which.word());
            self.event(key, &uid, "ProbeUnsupported", message);
        }
        self.enqueue(key);
        self.publish([key.clone()]);
    }
}

impl Pod {
    /// Probes that the device never asked are tried again.
    pub(crate) fn ask_again(&mut self, spread: impl Fn(&str, &Probe) -> Duration, now: Instant) {
        for (name, _) in std::mem::take(&mut self.unasked).into_keys() {
            let probes = self.sight.containers.iter().find(|one| one.name == name).map(|one| &one.probes);
            if let (Some(probes), Some(course)) = (probes, self.courses.get_mut(&name)) {
                *course = Course::new(course.run.clone(), probes, course.so_far(), |probe| spread(&name, probe), now);
            }
        }
    }
}
