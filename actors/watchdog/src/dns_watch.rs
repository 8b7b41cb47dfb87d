//! Name servers: who they are now, what they are asked, and which of those that are dead is given up to be restarted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::health::Run;
use mkube_messages::ipam::NetworksView;
use mkube_messages::objects::ObjectKey;
use mkube_messages::router::DeviceSnapshot;
use mkube_model::names;
use mkube_model::neighbours::prober::{Prober, Question, Verdict};
use mkube_model::neighbours::router::ContainerState;
use tokio::time::Instant;

use crate::actor::{AT_ONCE, WatchdogActor};
use crate::dns_course::{DnsCourse, DnsRules, Heard, News};
use crate::dns_servers::{Behind, Listing, Witnesses, behind, listed, witnesses};
use crate::dns_turns::{Standing, Turn, turns};
use crate::sight::is_row;

/// Where name servers listen.
const PORT: u16 = 53;
/// How long each of the others on a network may take to be heard.
const WITNESS_PATIENCE: Duration = Duration::from_secs(1);
/// As the failure is told where probes' failures are.
const FAILED: &str = "failed DNS liveness probe";

/// An address that is, or was, a name server's.
#[derive(Debug, Default)]
struct Server {
    /// The run that has it.
    course: Option<DnsCourse>,
    /// Since when nothing runs there that is asked: it ended, is replaced, or its status does not speak of it yet.
    down_since: Option<Instant>,
    /// Restarts that still count, oldest first.
    restarts: VecDeque<Instant>,
    /// It was restarted and did not answer since; the others wait until then.
    back_by: Option<Instant>,
    /// What was told already.
    told: BTreeSet<&'static str>,
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub(crate) struct DnsWatch {
    networks: Arc<NetworksView>,
    device: Arc<DeviceSnapshot>,
    listed: BTreeMap<IpAddr, Listing>,
    behind: BTreeMap<IpAddr, Behind>,
    servers: BTreeMap<IpAddr, Server>,
}

/// One round is over.
struct Round {
    server: IpAddr,
    run: Run,
    heard: Heard,
    /// Why there was no answer, or why the answer is a doubtful one.
    note: String,
}

impl DnsWatch {
    /// Whether a container of this pod is a name server.
    pub(crate) fn is_server(&self, pod: &ObjectKey) -> bool {
        self.behind.values().any(|behind| behind.pod == *pod)
    }

    /// When the next round is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.servers.values().filter_map(|server| server.course.as_ref()?.next_due()).min()
    }

    fn pods(&self) -> BTreeSet<ObjectKey> {
        self.behind.values().map(|behind| behind.pod.clone()).collect()
    }

    /// How it stands with each, as `dns_turns` wants to know it.
    fn standings(&self, rules: &DnsRules, may_restart: impl Fn(&ObjectKey) -> bool) -> BTreeMap<IpAddr, Standing> {
        let now = Instant::now();
        let standing = |(address, server): (&IpAddr, &Server)| {
            let dead = server.course.as_ref().is_some_and(DnsCourse::is_dead);
            let starts = server.course.as_ref().is_some_and(|course| course.is_starting(rules, now));
            let is_down = server.down_since.is_some_and(|since| now < since + rules.starting);
            let standing = Standing {
                networks: self.listed.get(address).map(|listing| listing.networks.clone()).unwrap_or_default(),
                dead: dead && self.behind.get(address).is_some_and(|behind| may_restart(&behind.pod)),
                starting: starts || is_down,
                returning: server.back_by.is_some_and(|by| now < by),
                restarts: server.restarts.len(),
                last: server.restarts.back().copied(),
            };
            (*address, standing)
        };
        self.servers.iter().map(standing).collect()
    }
}

/// How much later than others a server is asked: always the same.
fn spread(server: IpAddr, rules: &DnsRules) -> Duration {
    rules.period.mul_f64(f64::from(names::fnv1a(&server.to_string()) % 1000) / 1000.0)
}

/// Asks a server, and others on its network where its silence would be enough.
async fn round(
    prober: Arc<dyn Prober>,
    question: Question,
    patience: Duration,
    witnesses: Option<Witnesses>,
) -> (Heard, String) {
    let why = match prober.ask(&question, patience).await {
        Verdict::Good => return (Heard::Server, String::new()),
        Verdict::Doubtful(note) => return (Heard::Server, note),
        Verdict::Bad(why) => why,
    };
    let Some(witnesses) = witnesses else { return (Heard::Nothing, why) };
    let reached = async |address: &IpAddr| {
        let question = Question::Reach { host: address.to_string() };
        prober.ask(&question, WITNESS_PATIENCE).await == Verdict::Good
    };
    if let Some(nobody) = &witnesses.nobody
        && reached(nobody).await
    {
        return (Heard::Nobody, format!("{why}; even {nobody} seems to answer, which nobody can have"));
    }
    for other in &witnesses.others {
        if reached(other).await {
            return (Heard::Others, format!("{why}; {other} is reached"));
        }
    }
    (Heard::Nobody, why)
}

/// The event that tells of a turn.
fn told_of(turn: Turn, whose: &str, restarts: usize, rules: &DnsRules) -> (&'static str, String) {
    let DnsRules { rounds, most, within, .. } = rules;
    match turn {
        Turn::Go => {
            let silence = format!("did not answer in {rounds} rounds over UDP and TCP, while others are reached");
            ("DNSServerDead", format!("{whose} {silence}: it is restarted ({restarts} of {most} in {within:?})"))
        }
        Turn::After(other) => {
            ("DNSServerWaits", format!("{whose} does not answer and is restarted when {other} is back"))
        }
        Turn::Limit => {
            let often = format!("was restarted {restarts} times in {within:?}");
            ("DNSRestartLimit", format!("{whose} does not answer, {often}, and is left as it is for now"))
        }
    }
}

impl WatchdogActor {
    /// Learns who the name servers are now; the pods of which that says something else than before.
    pub(crate) fn look_for_name_servers(&mut self) -> BTreeSet<ObjectKey> {
        let networks = self.parts.networks.borrow().clone();
        let same_networks = Arc::ptr_eq(&self.dns.networks, &networks);
        if !same_networks {
            self.dns.listed = listed(&networks);
            self.dns.networks = networks;
            let listed = &self.dns.listed;
            self.dns.servers.retain(|address, _| listed.contains_key(address));
        }
        // What was known stands while the device cannot be read.
        if !self.sees() || (same_networks && Arc::ptr_eq(&self.dns.device, &self.device)) {
            return BTreeSet::new();
        }
        self.dns.device = self.device.clone();
        let before = self.dns.pods();
        self.dns.behind = behind(&self.dns.listed, &self.device);
        let now = self.dns.pods();
        let others: BTreeSet<ObjectKey> = before.symmetric_difference(&now).cloned().collect();
        for key in &others {
            let object = self.read_from.as_ref().and_then(|view| view.objects.get(key)).cloned();
            self.look_at_pod(key, object.as_ref(), false);
        }
        others
    }

    /// Nobody could be asked for a while.
    pub(crate) fn forgive_name_servers(&mut self) {
        let (rules, now) = (self.parts.dns, Instant::now());
        for (address, server) in &mut self.dns.servers {
            if let Some(course) = &mut server.course {
                course.forgive(spread(*address, &rules), now);
            }
        }
    }

    /// Follows the runs of name servers, and gives one that is dead its turn; the pods of which something else is to be said.
    pub(crate) fn look_after_name_servers(&mut self) -> BTreeSet<ObjectKey> {
        if !self.sees() {
            return BTreeSet::new();
        }
        let (rules, now) = (self.parts.dns, Instant::now());
        let addresses: Vec<IpAddr> = self.dns.listed.keys().copied().collect();
        for address in addresses {
            let behind = self.dns.behind.get(&address);
            let run = behind.and_then(|behind| {
                let running = behind.row.state == ContainerState::Running;
                let mut courses = self.pods.get(&behind.pod).filter(|_| running)?.courses.values();
                courses
                    .find(|course| is_row(&behind.row, &course.run) && !course.is_failed())
                    .map(|one| one.run.clone())
            });
            if behind.is_none() && !self.dns.servers.contains_key(&address) {
                continue;
            }
            // Whoever paused it, or deletes it, has it down on purpose.
            let pod = behind.and_then(|behind| self.pods.get(&behind.pod));
            let runs = run.is_some() || pod.is_some_and(|pod| pod.sight.left_alone);
            let server = self.dns.servers.entry(address).or_default();
            server.down_since = if runs { None } else { server.down_since.or(Some(now)) };
            server.restarts.retain(|at| now < *at + rules.within);
            server.course = match (server.course.take(), run) {
                (Some(course), Some(run)) if course.run == run => Some(course),
                (_, Some(run)) => Some(DnsCourse::new(run, spread(address, &rules), now)),
                (_, None) => None,
            };
        }
        self.give_turn(now)
    }

    fn give_turn(&mut self, now: Instant) -> BTreeSet<ObjectKey> {
        let rules = self.parts.dns;
        let pods = &self.pods;
        let standings = self.dns.standings(&rules, |pod| pods.get(pod).is_some_and(|pod| pod.sight.restarts));
        let mut changed = BTreeSet::new();
        for (address, turn) in turns(&standings, rules.most) {
            let Some(server) = self.dns.servers.get_mut(&address) else { continue };
            let networks =
                standings.get(&address).map(|one| one.networks.iter().cloned().collect::<Vec<_>>().join(", "));
            if turn == Turn::Go {
                server.restarts.push_back(now);
                server.back_by = Some(now + rules.back);
            }
            let whose = format!("name server {address} of {}", networks.unwrap_or_default());
            let (reason, message) = told_of(turn, &whose, server.restarts.len(), &rules);
            let is_news = server.told.insert(reason);
            let Some(behind) = self.dns.behind.get(&address).cloned() else { continue };
            let Some(pod) = self.pods.get_mut(&behind.pod) else { continue };
            if turn == Turn::Go {
                for course in pod.courses.values_mut().filter(|course| is_row(&behind.row, &course.run)) {
                    course.fail(FAILED, now);
                }
                self.failed.insert(behind.pod.clone());
                changed.insert(behind.pod.clone());
            }
            let uid = pod.sight.uid.clone();
            if is_news || turn == Turn::Go {
                self.event(&behind.pod, &uid, reason, message);
            }
        }
        changed
    }

    /// Asks those that are due.
    pub(crate) fn ask_name_servers(&mut self, ctx: &mut Context<Self>) {
        if !self.sees() {
            return;
        }
        let (rules, now) = (self.parts.dns, Instant::now());
        let mut due = Vec::new();
        for (address, server) in &mut self.dns.servers {
            if self.asking + due.len() >= AT_ONCE {
                break;
            }
            let Some(course) = &mut server.course else { continue };
            let Some(and_others) = course.take_due(&rules, now) else { continue };
            due.push((*address, course.run.clone(), and_others));
        }
        for (server, run, and_others) in due {
            let zone = self.dns.listed.get(&server).map(|listing| listing.zone.clone()).unwrap_or_default();
            let question = Question::Dns { host: server.to_string(), port: PORT, zone };
            let others = and_others.then(|| witnesses(server, &self.device));
            let prober = self.parts.prober.clone();
            self.asking += 1;
            let asking = async move {
                let (heard, note) = round(prober, question, rules.patience, others).await;
                Round { server, run, heard, note }
            };
            ctx.spawn(asking.into_actor(self).map(|round, actor, ctx| {
                actor.asking -= 1;
                actor.heard(round);
                actor.look(ctx);
            }));
        }
    }

    fn heard(&mut self, round: Round) {
        let (sees, now) = (self.sees(), Instant::now());
        let Some(server) = self.dns.servers.get_mut(&round.server) else { return };
        let Some(course) = server.course.as_mut().filter(|course| course.run == round.run) else { return };
        if !sees {
            return course.give_up();
        }
        let news = course.judge(round.heard, now);
        let Round { server: address, heard, note, .. } = round;
        let telling = match (heard, news) {
            (Heard::Server, _) => {
                server.back_by = None;
                server.told.retain(|told| *told == "ProbeWarning" && !note.is_empty());
                let message = format!("DNS liveness probe warning: {note}");
                (!note.is_empty() && server.told.insert("ProbeWarning")).then_some(("ProbeWarning", message))
            }
            (_, News::Silent | News::Dead) => Some(("Unhealthy", format!("DNS liveness probe failed: {note}"))),
            (_, News::Unreached) => {
                let message =
                    format!("nobody is reached on the network of name server {address}: it is not judged; {note}");
                Some(("DNSServerUnreachable", message))
            }
            (_, News::None) => None,
        };
        let pod = self.dns.behind.get(&address).map(|behind| behind.pod.clone());
        if let (Some((reason, message)), Some(pod)) = (telling, pod) {
            let uid = self.pods.get(&pod).map(|pod| pod.sight.uid.clone()).unwrap_or_default();
            self.event(&pod, &uid, reason, message);
        }
    }
}
