//! What `/readyz` asks of the published views.

use std::sync::Arc;

use mkube_edges::{Check, HealthChecks};
use mkube_messages::objects::ObjectsReader;
use mkube_messages::router::DeviceReader;

/// What `/readyz` looks at.
pub fn checks(objects: ObjectsReader, device: DeviceReader) -> HealthChecks {
    let store = move || {
        let view = objects.view();
        if view.loaded && view.not_loaded_because.is_none() {
            return Ok(());
        }
        Err(view.not_loaded_because.clone().unwrap_or_else(|| "the store is being read".into()))
    };
    let reach = move || {
        let picture = device.borrow();
        if picture.reachable && picture.complete {
            return Ok(());
        }
        Err(picture.fault.clone().unwrap_or_else(|| "the device is being read".into()))
    };
    HealthChecks(vec![Check { name: "store", look: Arc::new(store) }, Check { name: "device", look: Arc::new(reach) }])
}
