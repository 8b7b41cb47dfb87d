//! What can happen in a run. Every step stands for itself: a history from which any of them are taken out can still be played.

use std::fmt;
use std::time::Duration;

use mkube_fakes::{Cue, LoadCue, StoreCue};
use mkube_supervision::CrashHow;

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
    /// A user deletes a pod.
    Delete(&'static str, Option<u8>),
    /// A user creates a ConfigMap or changes it.
    WriteMap(&'static str),
    /// A user deletes a ConfigMap.
    DeleteMap(&'static str),
    /// A user writes a note on a namespace.
    AnnotateNamespace,
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
    /// An actor dies.
    Crash(&'static str, CrashHow),
    /// The actor of a pod dies.
    CrashPod(&'static str, CrashHow),
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
                match shape.ends {
                    Some((policy, after, code)) => write!(out, ", ends after {after} s with {code}, restarts {policy}"),
                    None => Ok(()),
                }
            }
            Self::SetImage(pod, image) => write!(out, "user: set image of pod {pod} to {}", image.name()),
            Self::SetEnv(pod) => write!(out, "user: change the environment of pod {pod}"),
            Self::Annotate(pod) => write!(out, "user: annotate pod {pod}"),
            Self::Delete(pod, None) => write!(out, "user: delete pod {pod}"),
            Self::Delete(pod, Some(grace)) => write!(out, "user: delete pod {pod} within {grace} s"),
            Self::WriteMap(map) => write!(out, "user: write ConfigMap {map}"),
            Self::DeleteMap(map) => write!(out, "user: delete ConfigMap {map}"),
            Self::AnnotateNamespace => write!(out, "user: annotate namespace default"),
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
            Self::Crash(actor, how) => write!(out, "crash: {actor}: {how:?}"),
            Self::CrashPod(pod, how) => write!(out, "crash: the actor of pod {pod}: {how:?}"),
            Self::Kill => write!(out, "crash: the process is killed and starts again"),
            Self::Restart => write!(out, "the process stops and starts again"),
            Self::SetClock(seconds) => write!(out, "somebody sets the clock by {seconds} s"),
        }
    }
}
