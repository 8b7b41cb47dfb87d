//! What can happen in a run. Every step stands for itself: a history from which any of them are taken out can still be played.

use std::fmt;
use std::time::Duration;

use mkube_fakes::{Answer, Cue, LoadCue, StoreCue};
use mkube_supervision::CrashHow;

use crate::names::Trouble;
use crate::shared::Other;
use crate::workloads::{Change, Template, Turn, Work};

/// Pods of a run.
pub const PODS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];
/// ConfigMaps of a run.
pub const MAPS: [&str; 2] = ["settings", "extra"];

/// What an image's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Image {
    /// Runs until it is stopped.
    Good(u8),
    /// Runs until it is killed.
    Deaf,
    /// Ends after two seconds, with 1.
    Crashing,
    /// Never comes up.
    Hanging,
    /// Cannot be unpacked.
    Torn,
    /// Is in no cache and no registry.
    Missing,
}

impl Image {
    /// Its reference.
    pub fn name(self) -> String {
        match self {
            Self::Good(version) => format!("web:{version}"),
            Self::Deaf => "deaf:1".into(),
            Self::Crashing => "crashing:1".into(),
            Self::Hanging => "hanging:1".into(),
            Self::Torn => "torn:1".into(),
            Self::Missing => "missing:1".into(),
        }
    }

    /// Whether a container of it runs until somebody stops it.
    pub fn lasts(name: &str) -> bool {
        name.starts_with("web:") || name.starts_with("deaf:")
    }
}

/// A pod's place in the boot order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Lower first.
    Priority(u8),
    /// This one is ready before.
    After(&'static str),
}

/// The port at which liveness is asked for.
pub const ALIVE: u16 = 8080;
/// The port at which readiness is asked for.
pub const READY: u16 = 8081;
/// The port at which name servers are asked.
pub const NAMES: u16 = 53;
/// Addresses of the network's name servers: whoever comes first has them.
pub const NAME_SERVERS: [&str; 2] = ["10.90.0.2", "10.90.0.3"];

/// What a new pod is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Image of the first container.
    pub image: Image,
    /// Image of a second container.
    pub side: Option<Image>,
    /// A ConfigMap the first one mounts.
    pub map: Option<&'static str>,
    /// The first one ends by itself: restart policy, seconds, code.
    pub ends: Option<(&'static str, u8, u8)>,
    /// The first one is asked how it is, at these ports.
    pub probes: Vec<u16>,
    /// When it starts.
    pub place: Option<Place>,
    /// More names for it.
    pub aliases: Option<&'static str>,
}

/// One step of a history.
#[derive(Debug, Clone)]
pub enum Step {
    /// Time passes.
    Wait(Duration),
    /// A user creates a pod.
    Create(&'static str, Shape),
    /// A user changes the image of the first container.
    SetImage(&'static str, Image),
    /// A user changes the environment of the first container.
    SetEnv(&'static str),
    /// A user writes a note on a pod, which changes nothing of it.
    Annotate(&'static str),
    /// A user gives a pod other names beside its own.
    Alias(&'static str, &'static str),
    /// A user deletes a pod.
    Delete(&'static str, Option<u8>),
    /// A user creates a ConfigMap or changes it.
    WriteMap(&'static str),
    /// A user deletes a ConfigMap.
    DeleteMap(&'static str),
    /// A user writes a note on a namespace.
    AnnotateNamespace,
    /// A user pauses a pod, or lets it go on.
    PausePod(&'static str, bool),
    /// A user creates a Deployment.
    Deploy(&'static str, Template),
    /// A user changes a Deployment.
    Deployment(&'static str, Change),
    /// A user deletes one pod of a Deployment.
    DeletePodOf(&'static str, u8),
    /// A user creates a Job.
    RunJob(&'static str, Work),
    /// A user deletes a Job; what becomes of its pods.
    DeleteJob(&'static str, &'static str),
    /// A user closes, empties or opens the node.
    Node(Turn),
    /// Whoever listens on this port answers probes like this from now on.
    Answers(u16, Answer),
    /// A process ends by itself.
    EndProcess(&'static str, u8),
    /// Somebody else removes a container.
    RemoveBehind(&'static str),
    /// An interface vanishes.
    LoseVeth(&'static str),
    /// Somebody takes away what is not ours. Never drawn: it shows that the invariants see it.
    StealForeign,
    /// The device loses power for a while.
    Reboot(Duration),
    /// Nobody answers at the device's address for a while.
    DeviceAway(Duration),
    /// The nth call of an operation goes wrong.
    Device(&'static str, u8, Cue),
    /// The device takes so long for everything from now on.
    Latency(Duration),
    /// A commit goes wrong.
    Commit(StoreCue),
    /// A reading of the store goes wrong, should there be one.
    Load(LoadCue),
    /// The store does not answer for a while.
    StoreAway(Duration),
    /// Others write the store too, from the beginning, and know when it is away; perhaps it keeps all writes then.
    Shared {
        /// It keeps them.
        keeps: bool,
    },
    /// The store is out of sight for a while, and everybody knows it.
    StoreLost(Duration),
    /// The store has lost something: for a while nobody believes it.
    StoreOlder(Duration),
    /// Somebody else writes the store.
    Other(Other),
    /// An actor dies.
    Crash(&'static str, CrashHow),
    /// The actor of a pod dies.
    CrashPod(&'static str, CrashHow),
    /// Something goes wrong with the name server.
    Names(Trouble),
    /// The controller is killed and started again.
    Kill,
    /// The controller is stopped in order and started again.
    Restart,
    /// Somebody sets the clock.
    SetClock(i64),
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(time) => write!(out, "wait {time:?}"),
            Self::Create(pod, shape) => {
                write!(out, "user: create pod {pod} of {}", shape.image.name())?;
                if let Some(side) = shape.side {
                    write!(out, " and {}", side.name())?;
                }
                if let Some(map) = shape.map {
                    write!(out, " with ConfigMap {map}")?;
                }
                if !shape.probes.is_empty() {
                    write!(out, ", asked at {:?}", shape.probes)?;
                }
                match shape.place {
                    Some(Place::Priority(number)) => write!(out, ", priority {number}")?,
                    Some(Place::After(other)) => write!(out, ", after {other}")?,
                    None => {}
                }
                if let Some(aliases) = shape.aliases {
                    write!(out, ", also called {aliases}")?;
                }
                match shape.ends {
                    Some((policy, after, code)) => write!(out, ", ends after {after} s with {code}, restarts {policy}"),
                    None => Ok(()),
                }
            }
            Self::SetImage(pod, image) => write!(out, "user: set image of pod {pod} to {}", image.name()),
            Self::SetEnv(pod) => write!(out, "user: change the environment of pod {pod}"),
            Self::Annotate(pod) => write!(out, "user: annotate pod {pod}"),
            Self::Alias(pod, aliases) => write!(out, "user: call pod {pod} {aliases:?} too"),
            Self::Delete(pod, None) => write!(out, "user: delete pod {pod}"),
            Self::Delete(pod, Some(grace)) => write!(out, "user: delete pod {pod} within {grace} s"),
            Self::WriteMap(map) => write!(out, "user: write ConfigMap {map}"),
            Self::DeleteMap(map) => write!(out, "user: delete ConfigMap {map}"),
            Self::AnnotateNamespace => write!(out, "user: annotate namespace default"),
            Self::PausePod(pod, true) => write!(out, "user: pause pod {pod}"),
            Self::PausePod(pod, false) => write!(out, "user: let pod {pod} go on"),
            Self::Deploy(name, template) => write!(out, "user: create Deployment {name}, {template}"),
            Self::Deployment(name, change) => write!(out, "user: Deployment {name}: {change:?}"),
            Self::DeletePodOf(name, index) => write!(out, "user: delete pod {index} of Deployment {name}"),
            Self::RunJob(name, work) => write!(out, "user: create Job {name}, {work:?}"),
            Self::DeleteJob(name, how) => write!(out, "user: delete Job {name}, {how}"),
            Self::Node(turn) => write!(out, "user: {turn:?} the node"),
            Self::Answers(port, answer) => write!(out, "device: port {port} answers: {answer:?}"),
            Self::EndProcess(pod, code) => write!(out, "device: the process of pod {pod} ends with {code}"),
            Self::RemoveBehind(pod) => write!(out, "device: somebody removes the container of pod {pod}"),
            Self::LoseVeth(pod) => write!(out, "device: the interface of pod {pod} vanishes"),
            Self::StealForeign => write!(out, "device: somebody takes away what is not of mkube"),
            Self::Reboot(time) => write!(out, "device: loses power for {time:?}"),
            Self::DeviceAway(time) => write!(out, "device: cannot be reached for {time:?}"),
            Self::Device(operation, nth, cue) => write!(out, "device: call {nth} of {operation}: {cue:?}"),
            Self::Latency(time) => write!(out, "device: takes {time:?} for each call"),
            Self::Commit(cue) => write!(out, "store: a commit: {cue:?}"),
            Self::Load(cue) => write!(out, "store: a reading: {cue:?}"),
            Self::StoreAway(time) => write!(out, "store: away for {time:?}"),
            Self::Shared { keeps: false } => write!(out, "store: others write it too"),
            Self::Shared { keeps: true } => {
                write!(out, "store: others write it too, and what is written while it is away is kept")
            }
            Self::StoreLost(time) => write!(out, "store: out of sight for {time:?}"),
            Self::StoreOlder(time) => write!(out, "store: older than it was for {time:?}"),
            Self::Other(other) => write!(out, "somebody else {other}"),
            Self::Crash(actor, how) => write!(out, "crash: {actor}: {how:?}"),
            Self::CrashPod(pod, how) => write!(out, "crash: the actor of pod {pod}: {how:?}"),
            Self::Names(trouble) => write!(out, "name server: {trouble}"),
            Self::Kill => write!(out, "crash: the process is killed and starts again"),
            Self::Restart => write!(out, "the process stops and starts again"),
            Self::SetClock(seconds) => write!(out, "somebody sets the clock by {seconds} s"),
        }
    }
}
