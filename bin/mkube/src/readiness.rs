//! What `/readyz` asks of the published views.

use std::sync::Arc;

use mkube_edges::{Check, HealthChecks};
use mkube_messages::lease::LeaseReader;
use mkube_messages::objects::ObjectsReader;
use mkube_messages::router::DeviceReader;

/// What `/readyz` looks at.
pub fn checks(objects: ObjectsReader, device: DeviceReader, lease: Option<LeaseReader>) -> HealthChecks {
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
    let mut checks =
        vec![Check { name: "store", look: Arc::new(store) }, Check { name: "device", look: Arc::new(reach) }];
    if let Some(lease) = lease {
        let drives = move || lease.borrow().trouble().map_or(Ok(()), Err);
        checks.push(Check { name: "lease", look: Arc::new(drives) });
    }
    HealthChecks(checks)
}
