//! What `/readyz` asks of the published views.

use std::sync::Arc;

use mkube_edges::{Check, Health, HealthChecks};
use mkube_messages::lease::LeaseReader;
use mkube_messages::objects::{ObjectsReader, ObjectsView};
use mkube_messages::router::DeviceReader;

/// Values of others that are named one by one.
const NAMED: usize = 3;

/// What `/readyz` looks at.
pub fn checks(objects: ObjectsReader, device: DeviceReader, lease: Option<LeaseReader>) -> HealthChecks {
    let store = move || store(&objects.view());
    let reach = move || {
        let picture = device.borrow();
        if picture.reachable && picture.complete {
            return Health::Well("");
        }
        Health::Failed(picture.fault.clone().unwrap_or_else(|| "the device is being read".into()))
    };
    let mut checks =
        vec![Check { name: "store", look: Arc::new(store) }, Check { name: "device", look: Arc::new(reach) }];
    if let Some(lease) = lease {
        let drives = move || {
            // Whoever stands by serves reads and takes writes.
            let lease = lease.borrow();
            if lease.drives() { Health::Well("") } else { Health::Degraded(lease.sentence()) }
        };
        checks.push(Check { name: "lease", look: Arc::new(drives) });
    }
    HealthChecks(checks)
}

/// Connected, loaded and complete are three things: what was last known is served without the first and the last.
fn store(view: &ObjectsView) -> Health {
    if !view.loaded || view.not_loaded_because.is_some() {
        let why = view.not_loaded_because.as_deref().unwrap_or("the store is being read");
        return Health::Failed(format!("not loaded: {why}"));
    }
    if let Some(why) = &view.stale {
        return Health::Degraded(format!(
            "not connected ({why}); loaded; not complete: what was last known is served, writes are refused or kept"
        ));
    }
    if !view.unreadable.is_empty() {
        let named = view.unreadable.iter().take(NAMED);
        let named: Vec<String> = named.map(|((kind, key), why)| format!("{} {key} ({why})", kind.plural)).collect();
        let count = view.unreadable.len();
        return Health::Degraded(format!(
            "connected; loaded; not complete: {count} of its values are no objects: {}",
            named.join(", ")
        ));
    }
    Health::Well("connected, loaded, complete")
}

#[cfg(test)]
mod tests {
    use mkube_messages::objects::ObjectKey;
    use mkube_model::kinds::KindId;

    use super::*;

    #[test]
    fn a_store_is_said_to_be_connected_loaded_and_complete_one_by_one() {
        let mut view = ObjectsView::default();
        assert_eq!(store(&view), Health::Failed("not loaded: the store is being read".into()));
        view.loaded = true;
        assert_eq!(store(&view), Health::Well("connected, loaded, complete"));
        view.unreadable.insert((KindId { group: "", plural: "pods" }, ObjectKey::new("d", "x")), "no JSON".into());
        assert!(matches!(store(&view), Health::Degraded(why) if why.contains("pods d/x (no JSON)")));
        view.stale = Some("nobody answers".into());
        assert!(
            matches!(store(&view), Health::Degraded(why) if why.starts_with("not connected (nobody answers); loaded; not"))
        );
        view.not_loaded_because = Some("checksum".into());
        assert_eq!(store(&view), Health::Failed("not loaded: checksum".into()));
    }
}
