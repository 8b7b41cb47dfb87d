//! Pods: one actor each, and one that knows which there are.
//!
//! PodsActor
//! Owns     which pods exist, their device names.      Asks   nobody (tells the supervisor to start and stop pod actors).
//! Answers  nothing.                                    Tells  DesiredChanged, DeviceChanged.
//! Ticks    none: it wakes when objects, gates, the device's picture or what probes say change.  Rebuilds  from the published objects.
//!
//! PodActor
//! Owns     the walk of one pod from stored to running to gone.
//! Asks     RouterActor, IpamActor, ImageActor, DnsActor, ObjectsActor.   Answers  DesiredChanged, DeviceChanged.
//! Tells    RecordEvent.   Ticks  when a retry or a restart is due, and every 10 s.
//! Rebuilds from the device's picture and the pod's own status.
//!
//! `next_step` is the whole policy: desired and observed in, one step out. Creating, repairing, changing and
//! deleting are the same walk.

mod after_exit;
mod backoff;
mod carry_out;
mod deployed;
mod env_vars;
mod gate_news;
mod gating;
mod health;
mod held;
mod ladder;
mod leavers;
mod memory;
mod mentions;
mod naming;
mod next_step;
mod node_actor;
mod parts;
mod placed;
mod plan;
mod pod_actor;
mod pods_actor;
mod pull;
mod sight;
mod sources;
mod status;
mod telling;
mod volume_list;
mod volumes;
mod volumes_actor;

pub use ladder::RestartRules;
pub use node_actor::{NodeActor, NodeParts};
pub use parts::{Desired, PodDoors, PodParts, Turns};
pub use placed::PlacedFiles;
pub use plan::{ContainerNames, PlanSettings, PodPlan, owner_in_mark};
pub use pod_actor::PodActor;
pub use pods_actor::{PodsActor, PodsParts};
pub use volumes_actor::{VolumesActor, VolumesParts};
