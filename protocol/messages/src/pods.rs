//! What PodActor is told. Nobody asks it anything: what there is to know stands in the pod's status.

use std::sync::Arc;

use actix::Message;

use crate::objects::StoredObject;
use crate::request::Event;

/// The pod (or a ConfigMap it uses) changed. Sent by PodsActor; the newest wins, losing one loses nothing since each carries
/// the whole object.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DesiredChanged {
    /// The pod as stored.
    pub pod: Arc<StoredObject>,
}

impl Event for DesiredChanged {}

/// Rows of the pod on the device changed, or the device came back. Sent by PodsActor.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct DeviceChanged;

impl Event for DeviceChanged {}
