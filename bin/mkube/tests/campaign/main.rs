//! The crash campaign: people write, and `kill -9` strikes the controller, the host and the registry at any moment, sometimes two at once,
//! sometimes before they are up again. Nothing acknowledged is lost, no container is restarted without cause, and in the end the
//! device has exactly what is wanted.
//!
//! `MKUBE_CRASH_ROUNDS` says how many rounds, `MKUBE_CRASH_SEED` rolls the same dice again.

mod crowd;
#[path = "../dev/mod.rs"]
mod dev;
mod device;
mod dice;
mod kinds;
mod log;
mod pusher;
mod site;
mod truth;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crowd::{Crowd, take_down};
use dev::{Identity, SOON, container_status, eventually, names_in, pause};
use device::{Foreign, Seen};
use dice::Dice;
use kinds::{KINDS, rich};
use pusher::{Pusher, Tags};
use serde_json::{Value, json};
use site::{Part, Site, Store};
use tokio::time::Instant;
use truth::items;

/// Longest wait for the device to be as wanted, after everything.
const QUIET: Duration = Duration::from_secs(120);
/// Pods nobody touches.
const STILL: [&str; 3] = ["still-a", "still-b", "still-registry"];

fn rounds() -> usize {
    std::env::var("MKUBE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// The parties, and what they know.
struct Campaign {
    crowd: Crowd,
    site: Site,
    foreign: Foreign,
    seen: Seen,
    tags: Arc<Mutex<Tags>>,
}

impl Campaign {
    fn new(story: &str, engine: &'static str, store: Store, dice: &mut Dice) -> Self {
        let site = Site::new(story, engine, store);
        let foreign = Foreign::plant(&site);
        let api = site.machine.api();
        for name in STILL {
            let mut still = rich(name);
            if name == "still-registry" {
                still["spec"]["containers"][0]["image"] = site.image().into();
                still["spec"]["containers"][0]["imagePullPolicy"] = "Always".into();
                still["metadata"]["annotations"] = json!({"vkube.io/image-policy": "auto"});
            }
            api.create(&still);
        }
        for name in STILL {
            api.wait_running(name);
        }
        let mut campaign = Self { crowd: Crowd::new(), site, foreign, seen: Seen::default(), tags: Arc::default() };
        campaign.look();
        campaign.crowd.write(&[(campaign.site.machine.listen.clone(), api)], dice);
        let (known, shared) = (campaign.tags.clone(), campaign.crowd.shared.clone());
        let pusher = Pusher { registry: campaign.site.registry(), dice: dice.split(), known, shared };
        campaign.crowd.join(move || pusher.push());
        campaign
    }

    fn pods(&self) -> Vec<Value> {
        items(&self.site.machine.api().get(KINDS[2].path))
    }

    /// Containers as the API tells of them.
    #[track_caller]
    fn look(&mut self) {
        let pods = self.pods();
        for name in STILL {
            assert!(pods.iter().any(|pod| pod["metadata"]["name"] == name), "{name} is gone");
        }
        self.seen.look(&self.site, &pods);
    }

    /// All of them; `look` at the end of each.
    fn rounds(&mut self, rounds: usize, dice: &mut Dice, look: impl Fn(&Self)) {
        let began = Instant::now();
        for round in 1..=rounds {
            self.round(dice);
            look(self);
            if round % 100 == 0 || round == rounds {
                self.tell(began);
            }
        }
    }

    /// One or two deaths at some moment, and a life after it.
    fn round(&mut self, dice: &mut Dice) {
        let mut parts = self.site.parts();
        parts.extend([Part::Controller; 2]);
        let mut struck = vec![*dice.pick(&parts)];
        struck.extend(Some(*dice.pick(&parts)).filter(|other| !struck.contains(other) && dice.roll(4) == 0));
        self.wait_for_a_moment(dice);
        for part in &struck {
            self.crowd.shared.log.note(&format!("--- kill -9 {part:?}"));
            self.site.strike(*part);
        }
        // The others may go on without it for a while.
        if dice.roll(2) == 0 {
            pause(Duration::from_millis(dice.roll(250)));
        }
        for part in &struck {
            self.site.bring_back(*part);
        }
        // Sometimes the next blow falls before it is up.
        if dice.roll(5) == 0 {
            self.crowd.shared.log.note("--- not waited for");
            return;
        }
        self.check();
    }

    /// Any moment, or one right after a request was sent.
    fn wait_for_a_moment(&self, dice: &mut Dice) {
        if dice.roll(3) == 0 {
            return pause(Duration::from_millis(dice.roll(500)));
        }
        let sent = self.crowd.shared.sent.load(Ordering::Relaxed);
        let began = Instant::now();
        while self.crowd.shared.sent.load(Ordering::Relaxed) == sent && began.elapsed() < Duration::from_secs(1) {
            std::thread::yield_now();
        }
        pause(Duration::from_micros(dice.roll(4000)));
    }

    /// Everything acknowledged is there.
    #[track_caller]
    fn check(&mut self) {
        self.crowd.fail_with_one();
        for part in self.site.parts() {
            self.site.wait_up(part);
        }
        let shared = self.crowd.shared.clone();
        let _quiet = shared.quiet.write().unwrap_or_else(PoisonError::into_inner);
        truth::check(&self.site.machine.api(), &self.crowd.known, &self.crowd.shared);
        pusher::check(&self.site.registry(), &self.tags);
        self.look();
        shared.log.note("--- checked");
    }

    /// Ends the writing; in the end the device has what is wanted and nothing else.
    #[track_caller]
    fn come_to_rest(&mut self) {
        self.check();
        self.crowd.go_home();
        self.crowd.shared.log.note("--- all is quiet");
        let rest = || self.foreign.at_rest(&self.site);
        eventually("the device has what is wanted and nothing else", QUIET, rest);
        self.check();
    }

    /// Takes everything down, with a last blow on the way; nothing stays.
    #[track_caller]
    fn take_down(&mut self) {
        let api = self.site.machine.api();
        take_down(&api);
        for part in [Part::Host, Part::Controller] {
            self.site.strike(part);
            self.site.bring_back(part);
        }
        self.site.wait_up(Part::Host);
        self.site.wait_up(Part::Controller);
        eventually("nothing is left of the pods", QUIET, || {
            let pods = self.pods();
            if pods.is_empty() { self.foreign.and_only(&self.site, &[]) } else { Err(format!("{pods:?}")) }
        });
        // Archives stay for the next time; what is half of one does not.
        let half: Vec<String> = ["", "blobs"]
            .iter()
            .flat_map(|below| names_in(&self.site.machine.dir.join("host/disk1/cache").join(below)))
            .filter(|name| ![".tar", ".tar.sum", ".digest", "blobs"].iter().any(|end| name.ends_with(end)))
            .collect();
        assert!(half.is_empty(), "left in the cache: {half:?}");
    }

    /// What the run was worth.
    fn tell(&self, began: Instant) {
        let kills: BTreeMap<String, usize> =
            self.site.kills.iter().map(|(part, count)| (format!("{part:?}"), *count)).collect();
        let total: usize = kills.values().sum();
        eprintln!(
            "{total} kills {kills:?}, {} acknowledged writes of {} sent, {:.1} s",
            self.crowd.shared.acknowledged.load(Ordering::Relaxed),
            self.crowd.shared.sent.load(Ordering::Relaxed),
            began.elapsed().as_secs_f64(),
        );
    }
}

/// From the first write to the last row, with objects in this store.
fn play(story: &str, store: Store) {
    let began = Instant::now();
    let mut dice = Dice::from_environment();
    let mut campaign = Campaign::new(story, "simulated", store, &mut dice);
    campaign.rounds(rounds(), &mut dice, |_| ());
    campaign.come_to_rest();
    campaign.take_down();
    campaign.tell(began);
}

#[test]
fn kill_9_of_controller_host_and_registry_loses_nothing_acknowledged_and_leaves_nothing_behind() {
    play("campaign", Store::Embedded);
}

#[test]
fn kill_9_of_nats_and_everybody_else_loses_nothing_acknowledged_and_leaves_nothing_behind() {
    play("campaign-nats", Store::JetStream);
}

/// Rows of the pods nobody touches.
fn still_rows(campaign: &Campaign) -> Vec<String> {
    let pods = campaign.pods();
    let still = STILL.iter().map(|name| pods.iter().find(|pod| pod["metadata"]["name"] == *name).expect("it is there"));
    let id = |pod: &Value| {
        container_status(pod, "main")["containerID"].as_str()?.strip_prefix("routeros://").map(str::to_owned)
    };
    still.map(|pod| id(pod).expect("it runs")).collect()
}

#[test]
fn real_containers_outlive_every_kill_9_and_nothing_of_those_that_are_deleted_stays() {
    if !dev::real_containers("the crash campaign with real containers") {
        return;
    }
    let began = Instant::now();
    let mut dice = Dice::from_environment();
    let mut campaign = Campaign::new("campaign-real", "linux", Store::Embedded, &mut dice);
    let rows = still_rows(&campaign);
    let processes = |campaign: &Campaign| -> Vec<Identity> {
        rows.iter().map(|row| campaign.site.machine.process_of_row(row)).collect()
    };
    let before = processes(&campaign);
    // Nobody starts a process in their place either.
    campaign.rounds(rounds().div_ceil(5), &mut dice, |campaign| {
        assert_eq!(processes(campaign), before, "nobody touched them")
    });
    campaign.come_to_rest();
    assert_eq!(processes(&campaign), before);
    campaign.take_down();
    campaign.foreign.remove(&campaign.site);
    eventually("nothing is left, neither in the kernel nor on the disk", SOON, || {
        let left = campaign.site.machine.leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    campaign.tell(began);
}
