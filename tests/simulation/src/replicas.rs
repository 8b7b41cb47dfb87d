//! What is promised of replicas while they are replaced, and of the pods of a Job.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mkube_fakes::{Answer, FakeTarballs};
use mkube_model::kinds::share_of;
use mkube_model::workloads::{controller_of, is_observed, ready_since};
use mkube_model::{metadata, names};
use serde_json::Value;

use crate::invariants::Sight;
use crate::steps::{Image, Step};
use crate::workloads::{Change, Turn};
use crate::world::World;

/// Who was ready for so long counts for everybody.
const SURELY: Duration = Duration::from_secs(10);

/// A Deployment at the last look.
#[derive(Debug, Clone)]
struct Known {
    uid: String,
    /// When that was.
    at: Duration,
    /// How often it was changed.
    generation: u64,
    /// Replicas and how they are replaced.
    wanted: Value,
    least: usize,
    /// Names and uids of pods that are ready, and since when.
    ready: BTreeMap<String, (String, Duration)>,
    /// Since when as many ran as are wanted: after a while the controller has to keep so many running.
    full: Option<Duration>,
}

/// What is remembered of Deployments.
#[derive(Debug, Default)]
pub struct Replicas {
    known: BTreeMap<String, Known>,
    /// Pods that users deleted.
    deleted: BTreeSet<String>,
    /// Somebody set the clock.
    clock_set: bool,
    /// Somebody other than the controller ended processes or made them unready: what runs says nothing about it any more.
    struck: bool,
    /// Users asked for other numbers of pods: between two looks fewer may have been wanted than at both.
    scaled: bool,
}

/// Pods of an owner, by name.
pub fn pods_of<'a>(sight: &'a Sight, uid: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    sight.of_kind("Pod").filter(move |(_, pod)| controller_of(pod).is_some_and(|(_, _, owner)| owner == uid))
}

/// How many of a Deployment must be there at all times, as Kubernetes counts it.
fn least(spec: &Value) -> usize {
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    let strategy = &spec["strategy"];
    if strategy["type"] == "Recreate" {
        return 0;
    }
    let share = |field: &str| {
        let said = &strategy["rollingUpdate"][field];
        share_of(said, replicas).or_else(|| share_of(&"25%".into(), replicas)).unwrap_or_default()
    };
    let ((unavailable, _), (_, surge)) = (share("maxUnavailable"), share("maxSurge"));
    let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
    usize::try_from(replicas.saturating_sub(unavailable)).unwrap_or_default()
}

fn is_ready(pod: &Value) -> bool {
    !metadata::is_deleting(pod) && is_observed(pod) && ready_since(pod).is_some()
}

/// Whether a pod's container runs on the device, of an image that lasts.
fn runs(sight: &Sight, pod: &str) -> bool {
    let row = names::container_name("default", pod, "c");
    let lasts = |file: &Value| {
        let images = [Image::Good(1), Image::Good(2), Image::Good(3), Image::Deaf];
        images.into_iter().any(|image| *file == FakeTarballs::path(&image.name()).as_str())
    };
    sight.containers.iter().any(|one| one["name"] == row.as_str() && one["running"] == "true" && lasts(&one["file"]))
}

/// The same, of the image that the pod asks for now.
fn runs_its_own(sight: &Sight, pod: &str, value: &Value) -> bool {
    let row = names::container_name("default", pod, "c");
    let image = value["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let file = FakeTarballs::path(image);
    runs(sight, pod) && sight.containers.iter().any(|one| one["name"] == row.as_str() && one["file"] == file.as_str())
}

impl Replicas {
    /// What a step does to pods is no fault of the controller. Who was stopped with the node, or by somebody else, counts no more, and
    /// may be the first to be replaced: its time begins anew.
    pub fn step(&mut self, step: &Step) {
        let ready = self.known.values_mut().map(|known| &mut known.ready);
        match step {
            Step::Node(Turn::Drain) | Step::Reboot(_) => ready.for_each(BTreeMap::clear),
            // Whoever was not there when the clock was set takes it for a boot, and nobody for ready who was not asked since.
            Step::Kill | Step::Restart if self.clock_set => ready.for_each(BTreeMap::clear),
            Step::SetClock(_) => self.clock_set = true,
            // Nobody knows yet that it does not serve any more: in that moment another may be taken.
            Step::EndProcess(pod, _) | Step::RemoveBehind(pod) | Step::LoseVeth(pod) => {
                ready.filter(|ready| ready.contains_key(*pod)).for_each(BTreeMap::clear);
            }
            _ => {}
        }
        match step {
            Step::DeletePodOf(name, index) => {
                self.deleted.insert(format!("{name}-{index}"));
                self.struck = true;
            }
            Step::Reboot(_) | Step::EndProcess(..) | Step::RemoveBehind(_) | Step::LoseVeth(_) => self.struck = true,
            Step::Node(Turn::Drain) | Step::Answers(_, Answer::Bad | Answer::Hang) => self.struck = true,
            Step::Deployment(_, Change::Replicas(_) | Change::Scale(_)) => {
                self.scaled = true;
                self.known.values_mut().for_each(|known| known.full = None);
            }
            _ => {}
        }
    }

    /// Compares with the last look.
    pub fn look(&mut self, world: &World, sight: &Sight) -> Result<(), String> {
        let before = std::mem::take(&mut self.known);
        for (name, deployment) in sight.of_kind("Deployment").filter(|(_, one)| !metadata::is_deleting(one)) {
            let mut now = Known {
                uid: metadata::uid(deployment).to_owned(),
                at: world.now(),
                generation: metadata::generation(deployment),
                wanted: serde_json::json!([deployment["spec"]["replicas"], deployment["spec"]["strategy"]]),
                least: least(&deployment["spec"]),
                ready: BTreeMap::new(),
                full: None,
            };
            let before = before.get(name).filter(|before| before.uid == now.uid && before.wanted == now.wanted);
            let before = before.filter(|before| !self.scaled || now.generation <= before.generation + 1);
            // What stands in the status of a pod while its device has no power says nothing: afterwards everybody begins anew.
            let counts = |pod: &str, value: &Value| is_ready(value) && runs(sight, pod);
            for (pod, value) in pods_of(sight, &now.uid).filter(|(pod, value)| counts(pod, value)) {
                let uid = metadata::uid(value).to_owned();
                let since = before.and_then(|before| before.ready.get(pod)).filter(|(of, _)| *of == uid);
                let since = since.map_or(world.now(), |(_, since)| *since);
                now.ready.insert(pod.to_owned(), (uid, since));
            }
            if let Some(before) = before {
                self.nobody_is_taken(sight, name, before, &now)?;
            }
            let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
            let running = pods_of(sight, &now.uid).filter(|(pod, _)| runs(sight, pod)).count();
            let theirs = pods_of(sight, &now.uid).filter(|(pod, value)| runs_its_own(sight, pod, value)).count();
            let full = before.and_then(|before| before.full).filter(|_| !self.struck);
            if full.is_some_and(|since| world.now() >= since + SURELY) && running < now.least {
                return Err(format!("{running} of Deployment {name} run, and {} must", now.least));
            }
            // Who has been replaced, and runs on only because the device is away, is on its way out.
            let is_full = theirs >= wanted && !self.struck;
            let stays = full.filter(|since| is_full || world.now() >= *since + SURELY);
            now.full = stays.or(is_full.then(|| world.now()));
            self.known.insert(name.to_owned(), now);
        }
        let there = |name: &String| sight.stored.contains_key(&("Pod", name.clone()));
        self.deleted.retain(there);
        Ok(())
    }

    /// A pod that counts is not replaced while so few others do.
    fn nobody_is_taken(&self, sight: &Sight, name: &str, before: &Known, now: &Known) -> Result<(), String> {
        let uid_of = |pod: &str| sight.stored.get(&("Pod", pod.to_owned())).map(metadata::uid);
        let taken = |pod: &str, uid: &str| uid_of(pod).is_some_and(|now| now != uid);
        // Nobody knows when after that look it was taken.
        let sure = |since: Duration| before.at >= since + SURELY;
        let victim = before.ready.iter().find(|(pod, (uid, since))| {
            sure(*since) && taken(pod.as_str(), uid) && !self.deleted.contains(pod.as_str())
        });
        let Some((victim, _)) = victim else { return Ok(()) };
        let kept = before.ready.iter().filter(|(pod, (uid, _))| !taken(pod.as_str(), uid)).map(|(pod, _)| pod);
        let others: BTreeSet<&String> = kept.chain(now.ready.keys()).collect();
        if others.len() >= before.least {
            return Ok(());
        }
        Err(format!(
            "pod {victim} of Deployment {name} was replaced, {others:?} are left, and {} must be",
            before.least
        ))
    }
}

/// No Job has more pods at work than it may, or tries more often than it may.
pub fn of_jobs(world: &World, sight: &Sight) -> Result<(), String> {
    if world.was_misled() {
        return Ok(());
    }
    for (name, job) in sight.of_kind("Job") {
        let number = |field: &str| job["spec"][field].as_u64().unwrap_or_default() as usize;
        let phase = |pod: &Value| pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
        let pods = || pods_of(sight, metadata::uid(job)).filter(|(_, pod)| !metadata::is_deleting(pod));
        let active = pods().filter(|(_, pod)| !["Succeeded", "Failed"].contains(&phase(pod).as_str())).count();
        if active > number("parallelism") {
            return Err(format!("{active} pods of Job {name} are at work, and {} may", number("parallelism")));
        }
        let failed = pods().filter(|(_, pod)| phase(pod) == "Failed").count();
        if failed > number("backoffLimit") + number("parallelism") {
            return Err(format!("{failed} pods of Job {name} failed, and {} may", number("backoffLimit")));
        }
    }
    Ok(())
}
