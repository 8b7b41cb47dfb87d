//! What PodActor is told. Nobody asks it anything: what there is to know stands in the pod's status.
//!
//! The messages carry nothing. What is wanted and what the device looks like are published; a message only says that it is
//! worth looking, so a lost one costs time until the next tick and nothing else.

use actix::Message;

use crate::request::Event;

/// The pod, or something it refers to, changed. Sent by PodsActor.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct DesiredChanged;

impl Event for DesiredChanged {}

/// Rows of the pod on the device changed, or the device came back. Sent by PodsActor.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct DeviceChanged;

impl Event for DeviceChanged {}
