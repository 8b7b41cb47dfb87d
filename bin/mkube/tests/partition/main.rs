//! The partition campaign: people write, while what lies between the controller, NATS and the device is cut, deaf, mute, refused, slow,
//! frozen or torn for a while. Each party is in a network namespace of its own. After each span everything acknowledged is in NATS, in the
//! API and on the device, no container was restarted, and nothing is there twice.
//!
//! `MKUBE_CRASH_ROUNDS` says how much, `MKUBE_CRASH_SEED` rolls the same dice again.

mod agreement;
mod bucket;
#[path = "../campaign/crowd.rs"]
mod crowd;
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
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crowd::{Crowd, take_down};
use dev::{SOON, eventually, pause};
use device::{Foreign, Seen};
use dice::Dice;
use kinds::{KINDS, rich};
use line::{Passed, Quality};
use net::{Fault, Link, Trouble, Who};
use site::Site;
use span::{Deck, Span};
use tokio::time::Instant;
use truth::items;

/// Writes before each span.
const WRITES: u64 = 100;
/// Longest wait for everything to be as wanted once nothing is wrong any more.
const QUIET: Duration = Duration::from_secs(120);
/// Pods nobody touches.
const STILL: [&str; 2] = ["still-a", "still-b"];
/// What may go wrong on the way of packets.
const PACKETS: [Fault; 5] = [Fault::Unplugged, Fault::Cut, Fault::Deaf, Fault::Mute, Fault::Refused];
/// What may go wrong with a connection whose packets arrive.
const LINES: [Fault; 4] = [
    Fault::Line(Quality::Slow(Duration::from_secs(2))),
    Fault::Line(Quality::AsksFrozen),
    Fault::Line(Quality::AnswersFrozen),
    Fault::Line(Quality::Torn),
];

/// How many spans, of what length; so few where nobody says otherwise. A span takes as long as so many kills.
fn measure(few: usize, kills: usize, short: RangeInclusive<u64>, longest: u64) -> (usize, RangeInclusive<Duration>) {
    let rounds: Option<usize> = std::env::var("MKUBE_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let spans = rounds.map_or(few, |rounds| rounds.div_ceil(kills));
    let longest = if rounds.is_some() { longest } else { *short.end() };
    (spans, Duration::from_millis(*short.start())..=Duration::from_millis(longest))
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
    crowd: Crowd,
    site: Site,
    foreign: Foreign,
    seen: Seen,
    began: Instant,
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
        let mut campaign = Self { crowd: Crowd::new(), site, foreign, seen: Seen::default(), began };
        let apis = campaign.site.controllers.iter().map(|one| (one.listen.clone(), one.api()));
        campaign.crowd.write(&apis.collect::<Vec<_>>(), dice);
        campaign.check();
        campaign
    }

    /// This goes wrong from now on.
    fn begin(&self, links: &[(Link, Fault)], dice: &mut Dice) -> Vec<Trouble> {
        self.crowd.shared.log.note(&format!("--- {links:?}"));
        eprintln!("{:7.1} s {links:?}", self.began.elapsed().as_secs_f64());
        links.iter().map(|(link, fault)| self.site.net.trouble(*link, *fault, dice.split())).collect()
    }

    /// It is over; a look at what is there.
    #[track_caller]
    fn mend(&mut self, troubles: Vec<Trouble>, late: Option<Duration>) {
        for trouble in troubles {
            self.site.net.mend(trouble, late);
        }
        self.crowd.shared.log.note("--- mended");
        self.check();
    }

    /// Waits until this controller drives the device, or knows that it does not.
    #[track_caller]
    fn until_drives(&self, who: Who, wanted: bool) {
        let controller = self.site.controllers.iter().find(|one| one.who == who).expect("it is one of two");
        eventually(&format!("{who:?} drives: {wanted}"), QUIET, || {
            let lease = controller.lease()?;
            if lease["drives"] == wanted { Ok(()) } else { Err(lease.to_string()) }
        });
    }

    /// One span of trouble, and a look at what is there afterwards.
    #[track_caller]
    fn suffer(&mut self, span: &Span, dice: &mut Dice) {
        let before = self.crowd.shared.sent.load(Ordering::Relaxed);
        eventually("people write", SOON, || {
            let since = self.crowd.shared.sent.load(Ordering::Relaxed) - before;
            if since >= WRITES { Ok(()) } else { Err(since.to_string()) }
        });
        let troubles = self.begin(&span.links, dice);
        eprintln!("          for {:?}, late {:?}", span.length, span.late);
        pause(span.length);
        self.mend(troubles, span.late);
    }

    /// Everybody agrees, and everything acknowledged is there. Nobody writes meanwhile.
    #[track_caller]
    fn check(&mut self) {
        self.crowd.fail_with_one();
        let shared = self.crowd.shared.clone();
        let _quiet = shared.quiet.write().unwrap_or_else(PoisonError::into_inner);
        shared.log.note("--- all is quiet");
        self.site.wait_well();
        if self.site.controllers.len() > 1 {
            self.site.roles();
        }
        eventually("everything is as wanted, and all agree", QUIET, || {
            self.foreign.at_rest(&self.site)?;
            agreement::check(&self.site)
        });
        for controller in &self.site.controllers {
            truth::check(&controller.api(), &self.crowd.known, &self.crowd.shared);
        }
        let pods = items(&self.site.machine.api().get(KINDS[2].path));
        for name in STILL {
            assert!(pods.iter().any(|pod| pod["metadata"]["name"] == name), "{name} is gone");
        }
        self.seen.look(&self.site, &pods);
        shared.log.note("--- checked");
    }

    /// Ends the writing, and takes everything down; nothing stays.
    #[track_caller]
    fn end(&mut self) {
        self.check();
        self.crowd.go_home();
        self.check();
        let api = self.site.machine.api();
        take_down(&api);
        eventually("nothing is left of the pods", QUIET, || {
            let pods = items(&api.get(KINDS[2].path));
            if pods.is_empty() { self.foreign.and_only(&self.site, &[]) } else { Err(format!("{pods:?}")) }
        });
        eprintln!(
            "{} acknowledged writes of {} sent, {:.1} s",
            self.crowd.shared.acknowledged.load(Ordering::Relaxed),
            self.crowd.shared.sent.load(Ordering::Relaxed),
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
    let (spans, length) = measure(5, 20, 100..=4000, 60_000);
    let mut faults = Deck::new(&[&PACKETS[..], &LINES].concat());
    let mut groups = Deck::new(&[&[NATS][..], &[DEVICE], &[NATS, DEVICE]]);
    for _ in 0..spans {
        let links = groups.draw(&mut dice);
        let span = Span::roll(&mut dice, links, &mut faults, &length);
        campaign.suffer(&span, &mut dice);
    }
    campaign.end();
}

/// Each time the device was asked by another one than before.
fn turns(site: &Site) -> Vec<String> {
    let noted = site.noted();
    let turns = noted.array_windows().filter(|[before, now]| before.from.ip() != now.from.ip());
    let told = |[before, now]: &[Passed; 2]| {
        let later = now.at - before.at;
        format!("{}: {}; {later:?} later {}: {}", before.from, before.what, now.from, now.what)
    };
    turns.map(told).collect()
}

/// The fencing token.
#[track_caller]
fn token(site: &Site) -> u64 {
    let (driver, _) = site.roles();
    driver.lease().expect("it answers")["token"].as_u64().expect("who drives has a token")
}

#[test]
fn whoever_of_two_controllers_is_cut_off_from_whom_one_drives_and_nothing_is_lost() {
    if !namespaces("the partition campaign of two controllers") {
        return;
    }
    let mut dice = Dice::from_environment();
    let mut campaign = Campaign::new("partition-two", &[Who::First, Who::Second], &mut dice);
    let before = token(&campaign.site);
    assert_eq!(turns(&campaign.site).len(), 0, "nobody who stands by asked for anything");
    // The holder is cut off until it was followed, and goes on to see the device. It has no long command at work, for which a successor
    // would wait a minute and more: nobody writes until it knows that it must not drive.
    let shared = campaign.crowd.shared.clone();
    let quiet = shared.quiet.write().unwrap_or_else(PoisonError::into_inner);
    eventually("everything is as wanted", QUIET, || campaign.foreign.at_rest(&campaign.site));
    let holder = campaign.site.roles().0.who;
    let fault = *dice.pick(&[Fault::Cut, Fault::Deaf, Fault::Refused]);
    let troubles = campaign.begin(&[((holder, Who::Nats), fault)], &mut dice);
    campaign.until_drives(holder, false);
    drop(quiet);
    campaign.until_drives(holder.other(), true);
    campaign.mend(troubles, None);

    let (spans, length) = measure(1, 60, 2000..=8000, 60_000);
    let mut far = Deck::new(&[&PACKETS[..], &LINES].concat());
    // A command that is late for longer than the kernel keeps it would be nobody's any more: no lines on the way to the device.
    let mut near = Deck::new(&PACKETS);
    let mut groups = Deck::new(&["holder", "standby", "both", "device", "holder and standby's device"]);
    for _ in 0..spans {
        let (holder, standby) = campaign.site.roles();
        let (holder, standby) = (holder.who, standby.who);
        let (nats, device): (&[Link], &[Link]) = match groups.draw(&mut dice) {
            "holder" => (&[(holder, Who::Nats)], &[]),
            "standby" => (&[(standby, Who::Nats)], &[]),
            "both" => (&[(holder, Who::Nats), (standby, Who::Nats)], &[]),
            "device" => (&[], &[(holder, Who::Notebook)]),
            _ => (&[(holder, Who::Nats)], &[(standby, Who::Notebook)]),
        };
        let mut span = Span::roll(&mut dice, nats, &mut far, &length);
        span.links.extend(Span::roll(&mut dice, device, &mut near, &length).links);
        campaign.suffer(&span, &mut dice);
    }
    campaign.end();
    // Whoever drives after another one has a token of its own. Two at once would take turns more often than that.
    let (tokens, turns) = (token(&campaign.site) - before, turns(&campaign.site));
    eprintln!("{} turns, {tokens} tokens", turns.len());
    assert!(!turns.is_empty() && turns.len() as u64 <= tokens, "with {tokens} tokens: {turns:#?}");
}
