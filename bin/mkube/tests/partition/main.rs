//! The partition campaign: people write, while what lies between the controller, NATS and the device is cut, deaf, mute, refused, slow,
//! frozen or torn for a while. Each party is in a network namespace of its own. After each span everything acknowledged is in NATS, in the
//! API and on the device, no container was restarted, and nothing is there twice.
//!
//! `MKUBE_CRASH_ROUNDS` says how much, `MKUBE_CRASH_SEED` rolls the same dice again.

mod agreement;
mod bucket;
#[path = "../dev/mod.rs"]
mod dev;
#[path = "../campaign/device.rs"]
#[allow(dead_code, reason = "shared with the crash campaign")]
mod device;
#[path = "../campaign/dice.rs"]
mod dice;
#[path = "../campaign/kinds.rs"]
mod kinds;
mod line;
#[path = "../campaign/log.rs"]
mod log;
mod namespace;
mod net;
mod site;
mod span;
#[path = "../campaign/truth.rs"]
mod truth;
#[path = "../campaign/writer.rs"]
mod writer;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dev::{eventually, pause};
use device::{Foreign, Seen};
use dice::Dice;
use kinds::{KINDS, rich};
use line::Quality;
use net::{Fault, Link, Who};
use site::Site;
use span::{Deck, Span};
use tokio::time::Instant;
use truth::items;
use writer::{Knowledge, Shared, Writer};

const WRITERS: usize = 4;
/// Longest wait for everything to be as wanted once nothing is wrong any more.
const QUIET: Duration = Duration::from_secs(120);
/// Pods nobody touches.
const STILL: [&str; 2] = ["still-a", "still-b"];
/// What may go wrong.
const FAULTS: [Fault; 9] = [
    Fault::Unplugged,
    Fault::Cut,
    Fault::Deaf,
    Fault::Mute,
    Fault::Refused,
    Fault::Line(Quality::Slow(Duration::from_secs(2))),
    Fault::Line(Quality::AsksFrozen),
    Fault::Line(Quality::AnswersFrozen),
    Fault::Line(Quality::Torn),
];

/// How many spans, and the longest of them.
fn measure() -> (usize, Duration) {
    let rounds: Option<usize> = std::env::var("MKUBE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    // A span takes as long as many kills.
    rounds.map_or((5, Duration::from_secs(4)), |rounds| (rounds.div_ceil(20), Duration::from_secs(60)))
}

/// Whether namespaces can be made here; says loudly when not.
fn namespaces(story: &str) -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let missing = ["ip", "iptables", "unshare"].into_iter().find(|name| {
        !["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"].iter().any(|at| Path::new(at).join(name).exists())
    });
    let why = match (root, missing) {
        (false, _) => "it needs root".to_owned(),
        (true, Some(program)) => format!("{program} is not installed"),
        (true, None) => return true,
    };
    // Written past the test harness, which hides what a passing test prints.
    let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: {why}\n");
    false
}

/// The parties, and what they know.
struct Campaign {
    site: Site,
    foreign: Foreign,
    seen: Seen,
    shared: Arc<Shared>,
    known: Vec<Arc<Mutex<Knowledge>>>,
    busy: Vec<JoinHandle<()>>,
    began: Instant,
}

impl Drop for Campaign {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if std::thread::panicking() {
            self.shared.log.tell();
        }
        for busy in self.busy.drain(..) {
            let _ = busy.join();
        }
    }
}

impl Campaign {
    /// These controllers; writers write to all of them.
    fn new(story: &str, controllers: &[Who], dice: &mut Dice) -> Self {
        let began = Instant::now();
        let site = Site::new(story, controllers, dice);
        let foreign = Foreign::plant(&site);
        let api = site.machine.api();
        for name in STILL {
            api.create(&rich(name));
        }
        for name in STILL {
            api.wait_running(name);
        }
        let known: Vec<Arc<Mutex<Knowledge>>> = (0..WRITERS).map(|_| Arc::default()).collect();
        let shared = Arc::new(Shared::new());
        let mut campaign = Self { site, foreign, seen: Seen::default(), shared, known, busy: vec![], began };
        for number in 0..WRITERS {
            let (known, shared) = (campaign.known[number].clone(), campaign.shared.clone());
            let controller = &campaign.site.controllers[number % controllers.len()];
            let (listen, api) = (controller.listen.clone(), controller.api());
            let writer = Writer { number, listen, api, dice: dice.split(), known, shared };
            campaign.busy.push(std::thread::spawn(move || writer.write()));
        }
        campaign.check();
        campaign
    }

    /// One span of trouble, and a look at what is there afterwards.
    #[track_caller]
    fn suffer(&mut self, span: &Span, dice: &mut Dice) {
        pause(Duration::from_millis(dice.roll(300)));
        self.shared.log.note(&format!("--- {span:?}"));
        eprintln!("{:7.1} s {span:?}", self.began.elapsed().as_secs_f64());
        let troubles: Vec<_> =
            span.links.iter().map(|(link, fault)| self.site.net.trouble(*link, *fault, dice.split())).collect();
        pause(span.length);
        for trouble in troubles {
            self.site.net.mend(trouble, span.late);
        }
        self.shared.log.note("--- mended");
        self.check();
    }

    /// Everybody agrees, and everything acknowledged is there. Nobody writes meanwhile.
    #[track_caller]
    fn check(&mut self) {
        self.fail_with_a_writer();
        let shared = self.shared.clone();
        let _quiet = shared.quiet.write().unwrap_or_else(PoisonError::into_inner);
        shared.log.note("--- all is quiet");
        self.site.wait_well();
        eventually("everything is as wanted, and all agree", QUIET, || {
            self.foreign.at_rest(&self.site)?;
            agreement::check(&self.site)
        });
        for controller in &self.site.controllers {
            truth::check(&controller.api(), &self.known, &self.shared);
        }
        let pods = items(&self.site.machine.api().get(KINDS[2].path));
        for name in STILL {
            assert!(pods.iter().any(|pod| pod["metadata"]["name"] == name), "{name} is gone");
        }
        self.seen.look(&self.site, &pods);
        shared.log.note("--- checked");
    }

    /// A writer that stopped found something wrong.
    #[track_caller]
    fn fail_with_a_writer(&mut self) {
        if let Some(place) = self.busy.iter().position(JoinHandle::is_finished) {
            self.busy.swap_remove(place).join().expect("who writes finds nothing wrong");
        }
    }

    /// Ends the writing, and takes everything down; nothing stays.
    #[track_caller]
    fn end(&mut self) {
        self.check();
        self.shared.stop.store(true, Ordering::Relaxed);
        for busy in self.busy.drain(..) {
            busy.join().expect("who writes finds nothing wrong");
        }
        self.check();
        let api = self.site.machine.api();
        for place in [3, 2] {
            for object in items(&api.get(KINDS[place].path)) {
                let name = object["metadata"]["name"].as_str().expect("a name");
                let told = api.call("DELETE", &format!("{}/{name}", KINDS[place].path), None);
                assert!(matches!(told, Ok((200..300 | 404, _))), "{name}: {told:?}");
            }
        }
        eventually("nothing is left of the pods", QUIET, || {
            let pods = items(&api.get(KINDS[2].path));
            if pods.is_empty() { self.foreign.and_only(&self.site, &[]) } else { Err(format!("{pods:?}")) }
        });
        eprintln!(
            "{} acknowledged writes of {} sent, {:.1} s",
            self.shared.acknowledged.load(Ordering::Relaxed),
            self.shared.sent.load(Ordering::Relaxed),
            self.began.elapsed().as_secs_f64(),
        );
    }
}

#[test]
fn whatever_happens_between_controller_nats_and_device_they_agree_afterwards() {
    if !namespaces("the partition campaign") {
        return;
    }
    const NATS: Link = (Who::First, Who::Nats);
    const DEVICE: Link = (Who::First, Who::Device);
    let mut dice = Dice::from_environment();
    let mut campaign = Campaign::new("partition", &[Who::First], &mut dice);
    let (spans, longest) = measure();
    let mut faults = Deck::new(&FAULTS);
    let mut groups = Deck::new(&[&[NATS][..], &[DEVICE], &[NATS, DEVICE]]);
    for _ in 0..spans {
        let links = groups.draw(&mut dice);
        let span = Span::roll(&mut dice, links, &mut faults, longest);
        campaign.suffer(&span, &mut dice);
    }
    campaign.end();
}
