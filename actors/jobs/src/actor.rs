//! The actor: looks at what is published, asks the pure parts what is next, and does one thing for each object at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context};
use jiff::{SignedDuration, Timestamp};
use mkube_messages::door::Door;
use mkube_messages::objects::{ObjectKey, ObjectsReader, RecordEvent, WriteObject};
use mkube_model::kinds::KindId;
use mkube_model::neighbours::wall_clock::WallClock;
use mkube_supervision::{Alarm, follow};
use tokio::time::Instant;

use crate::carry_out::Deed;
use crate::cron_plan::{self, CronStep};
use crate::eyes::Eyes;
use crate::job_plan::{self, JobStep};
use crate::sight::{CronSight, JobSight, PodSight};
use crate::told::Told;

/// Longest pause between two looks while something may fall due: the time of day may step meanwhile.
const TICK: Duration = Duration::from_secs(10);
/// Longest pause between two looks when nothing may; only so that nothing rests on one wake-up that got lost.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A status that tells of no beginning and no end is written this often at most.
const STATUS_PACE: Duration = Duration::from_secs(1);
/// Writes under way at the same time.
const TOGETHER: usize = 8;

/// What the actor needs from outside. Cloned for each incarnation.
#[derive(Clone)]
pub struct JobsParts {
    /// The kind of Jobs.
    pub jobs: KindId,
    /// The kind of CronJobs.
    pub cron_jobs: KindId,
    /// The kind of pods.
    pub pods: KindId,
    /// Objects.
    pub objects: ObjectsReader,
    /// The one way in.
    pub write: Door<WriteObject>,
    /// Events.
    pub event: Door<RecordEvent>,
    /// Time of day.
    pub clock: Arc<dyn WallClock>,
}

/// An object that something is done for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A Job.
    Job(ObjectKey),
    /// A CronJob.
    Cron(ObjectKey),
}

/// See the room's card.
pub struct JobsActor {
    pub(crate) parts: JobsParts,
    eyes: Eyes,
    /// Objects for which a write is under way.
    pub(crate) busy: BTreeSet<Subject>,
    /// Objects for which nothing is done before then, since the last time did not work.
    pub(crate) not_before: BTreeMap<Subject, Instant>,
    /// When each Job's status was written last.
    pub(crate) written: BTreeMap<ObjectKey, Instant>,
    /// What was said of each CronJob last: once for a time of the schedule is enough.
    remarks: BTreeMap<String, (Timestamp, &'static str)>,
    /// The timer of the next look.
    timer: Alarm,
}

impl JobsActor {
    /// A new incarnation.
    pub fn new(parts: JobsParts) -> Self {
        let eyes = Eyes::new(parts.jobs, parts.cron_jobs, parts.pods);
        Self {
            parts,
            eyes,
            busy: BTreeSet::new(),
            not_before: BTreeMap::new(),
            written: BTreeMap::new(),
            remarks: BTreeMap::new(),
            timer: Alarm::default(),
        }
    }

    /// Looks at everything and does what is due. Called whenever something may have changed.
    pub(crate) fn look(&mut self, ctx: &mut Context<Self>) {
        let view = self.parts.objects.view();
        // All there is to do here is to write; and a pod that was not heard of while the store is away is not lost.
        if !view.is_complete() {
            return;
        }
        self.eyes.look(&view);
        let (now, today) = (Instant::now(), self.parts.clock.now());
        self.not_before.retain(|_, at| *at > now);
        self.written.retain(|_, at| *at + STATUS_PACE > now);
        let mut wake = now + LONGEST_PAUSE;
        wake = wake.min(self.look_at_crons(today, now, ctx));
        wake = wake.min(self.look_at_jobs(today, now, ctx));
        if let Some(at) = self.not_before.values().min() {
            wake = wake.min(*at);
        }
        self.arm(wake, ctx);
    }

    /// Whether something may be done for an object now.
    fn is_free(&self, subject: &Subject) -> bool {
        self.busy.len() < TOGETHER && !self.busy.contains(subject) && !self.not_before.contains_key(subject)
    }

    fn look_at_jobs(&mut self, today: Timestamp, now: Instant, ctx: &mut Context<Self>) -> Instant {
        let mut wake = now + LONGEST_PAUSE;
        let (jobs, pods) = (self.eyes.jobs(), self.eyes.pods());
        let view = self.parts.objects.view();
        let all = view.kind(&self.parts.pods);
        for job in jobs {
            let subject = Subject::Job(job.key.clone());
            if !self.is_free(&subject) {
                continue;
            }
            let own: Vec<&PodSight> = pods.get(&job.uid).into_iter().flatten().map(AsRef::as_ref).collect();
            let taken = |name: &str| all.objects.contains_key(&ObjectKey::new(job.key.namespace.clone(), name));
            let deed = match job_plan::next_step(&job, &own, taken, today) {
                // What ended within a second is counted together; an end of the whole is told at once.
                JobStep::Record(status, told) if !told.is_empty() => Deed::Record(status, told),
                JobStep::Record(status, _) | JobStep::Refresh(status) => match self.written.get(&job.key) {
                    Some(last) => {
                        wake = wake.min(*last + STATUS_PACE);
                        continue;
                    }
                    None => Deed::Record(status, Vec::new()),
                },
                JobStep::Create(name) => Deed::CreatePod(name),
                JobStep::Delete(key, uid) => Deed::DeletePod(key, uid),
                JobStep::Remove => Deed::DeleteJob(job.key.clone(), job.uid.clone()),
                JobStep::Wait(until) => {
                    wake = wake.min(due(until, today, now));
                    continue;
                }
            };
            self.do_for_job(&job, deed, ctx);
        }
        wake
    }

    fn look_at_crons(&mut self, today: Timestamp, now: Instant, ctx: &mut Context<Self>) -> Instant {
        let mut wake = now + LONGEST_PAUSE;
        let (crons, jobs) = (self.eyes.crons(), self.eyes.jobs());
        let mut owned: BTreeMap<&str, Vec<&JobSight>> = BTreeMap::new();
        for job in &jobs {
            if let Some(cron) = &job.cron_job {
                owned.entry(cron).or_default().push(job);
            }
        }
        self.remarks.retain(|uid, _| crons.iter().any(|cron| cron.uid == *uid));
        for cron in &crons {
            let subject = Subject::Cron(cron.key.clone());
            if !self.is_free(&subject) {
                continue;
            }
            let own = owned.get(cron.uid.as_str()).map(Vec::as_slice).unwrap_or_default();
            let plan = cron_plan::next_step(cron, own, today);
            if let Some((about, told)) = plan.remark {
                self.remark(cron, about, told);
            }
            let deed = match plan.step {
                CronStep::Record(status, told) => Deed::Record(status, told),
                CronStep::Start(name, at) => Deed::CreateJob(name, at),
                CronStep::Delete(key, uid) => Deed::DeleteJob(key, uid),
                CronStep::Wait(until) => {
                    wake = wake.min(due(until, today, now));
                    continue;
                }
            };
            self.do_for_cron(cron, deed, ctx);
        }
        wake
    }

    fn remark(&mut self, cron: &CronSight, about: Timestamp, told: Told) {
        let mark = (about, told.reason);
        if self.remarks.insert(cron.uid.clone(), mark) != Some(mark) {
            self.tell("CronJob", &cron.key, &cron.uid, told);
        }
    }

    fn arm(&mut self, at: Instant, ctx: &mut Context<Self>) {
        self.timer.set(at, ctx, |actor| &mut actor.timer, Self::look);
    }
}

/// When to look again for the sake of a moment of the day: soon enough to notice that the clock stepped.
fn due(until: Option<Timestamp>, today: Timestamp, now: Instant) -> Instant {
    let Some(until) = until else { return now + LONGEST_PAUSE };
    let left = today.duration_until(until).max(SignedDuration::ZERO);
    // A little later rather than a little too soon.
    now + Duration::try_from(left).map_or(TICK, |left| (left + Duration::from_millis(1)).min(TICK))
}

impl Actor for JobsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        follow(self.parts.objects.notices(), self, ctx, Self::look);
    }
}
