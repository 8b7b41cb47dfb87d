//! What was read of the published objects: each object is read once for each of its versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use mkube_messages::objects::{KindView, ObjectKey, ObjectsView, StoredObject};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::desired_store::Revision;

use crate::sight::{CronSight, JobSight, PodSight, may_belong_to_a_job};

/// Sights of one kind; those that are none are remembered as such.
struct Sights<T> {
    kind: KindId,
    read: fn(&StoredObject) -> Option<T>,
    from: Option<Arc<KindView>>,
    all: BTreeMap<ObjectKey, (Revision, String, Option<Arc<T>>)>,
}

impl<T> Sights<T> {
    fn new(kind: KindId, read: fn(&StoredObject) -> Option<T>) -> Self {
        Self { kind, read, from: None, all: BTreeMap::new() }
    }

    fn look(&mut self, view: &ObjectsView) {
        let kind = view.kind(&self.kind);
        if self.from.as_ref().is_some_and(|before| Arc::ptr_eq(before, &kind)) {
            return;
        }
        let mut all = BTreeMap::new();
        for (key, object) in &kind.objects {
            let known = self.all.remove(key);
            let known = known.filter(|(revision, uid, _)| *revision == object.revision && uid == object.uid());
            let fresh = || (object.revision, object.uid().to_owned(), (self.read)(object).map(Arc::new));
            all.insert(key.clone(), known.unwrap_or_else(fresh));
        }
        self.all = all;
        self.from = Some(kind);
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.all.values().filter_map(|(.., sight)| sight.as_ref())
    }
}

/// All that the planners look at.
pub struct Eyes {
    jobs: Sights<JobSight>,
    crons: Sights<CronSight>,
    pods: Sights<PodSight>,
}

impl Eyes {
    /// Nothing was seen yet.
    pub fn new(jobs: KindId, crons: KindId, pods: KindId) -> Self {
        let pod = |object: &StoredObject| may_belong_to_a_job(object).then(|| PodSight::of(object)).flatten();
        Self {
            jobs: Sights::new(jobs, |object| Some(JobSight::of(object))),
            crons: Sights::new(crons, |object| Some(CronSight::of(object))),
            pods: Sights::new(pods, pod),
        }
    }

    /// Reads what changed.
    pub fn look(&mut self, view: &ObjectsView) {
        self.jobs.look(view);
        self.crons.look(view);
        // Where there are no Jobs nobody asks for their pods.
        if !self.jobs.all.is_empty() {
            self.pods.look(view);
        }
    }

    /// Every Job, in order of the keys.
    pub fn jobs(&self) -> Vec<Arc<JobSight>> {
        self.jobs.iter().cloned().collect()
    }

    /// Every CronJob, in order of the keys.
    pub fn crons(&self) -> Vec<Arc<CronSight>> {
        self.crons.iter().cloned().collect()
    }

    /// Pods by the uid of their Job.
    pub fn pods(&self) -> BTreeMap<String, Vec<Arc<PodSight>>> {
        let mut pods: BTreeMap<String, Vec<Arc<PodSight>>> = BTreeMap::new();
        for pod in self.pods.iter() {
            pods.entry(pod.job.clone()).or_default().push(pod.clone());
        }
        pods
    }
}
