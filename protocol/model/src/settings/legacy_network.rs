//! The older `network` block, and the network there is when the file names none.

use serde_json::{Map, Value, json};

use super::section::{Notes, kind, unknown};

/// Puts the older `network` block, or the default, where `networks` is read from.
pub(super) fn fold(root: &mut Map<String, Value>, notes: &Notes) {
    let legacy = root.remove("network").filter(|value| !value.is_null());
    match legacy {
        Some(Value::Object(old)) => {
            if root.get("networks").is_some_and(|list| !list.is_null()) {
                notes.warning("network", "is there, so networks is not used; the older block wins, as it always did");
            }
            root.insert("networks".to_owned(), json!([from_legacy(old, notes)]));
        }
        Some(_) => notes.problem("network", "is not a map of keys"),
        None => {}
    }
    if root.get("networks").is_none_or(Value::is_null) {
        let default = json!([{
            "name": "containers", "bridge": "containers", "cidr": "192.168.200.0/24",
            "dns": {"zone": "gt.lo", "server": "192.168.200.199"}
        }]);
        root.insert("networks".to_owned(), default);
    }
}

/// The one network of the older block; problems with it name the older key.
fn from_legacy(mut old: Map<String, Value>, notes: &Notes) -> Map<String, Value> {
    const KNOWN: [&str; 6] = ["podCIDR", "serviceCIDR", "gatewayIP", "bridgeName", "vlan", "dnsServers"];
    let mut new = Map::new();
    let came_from = |key: &str, older: &str| {
        notes.sources.borrow_mut().insert(format!("networks[0].{key}"), format!("network.{older}"));
    };
    for (older, key) in [("podCIDR", "cidr"), ("gatewayIP", "gateway"), ("bridgeName", "bridge")] {
        if let Some(value) = old.remove(older).filter(|value| !value.is_null()) {
            new.insert(key.to_owned(), value);
            came_from(key, older);
        }
    }
    match old.remove("dnsServers") {
        None | Some(Value::Null) => {}
        Some(Value::Array(mut servers)) if !servers.is_empty() => {
            let first = servers.remove(0);
            new.insert("dns".to_owned(), json!({"server": first, "moreServers": servers}));
            came_from("dns.server", "dnsServers");
            came_from("dns.moreServers", "dnsServers");
        }
        Some(Value::Array(_)) => {}
        Some(other) => notes.problem("network.dnsServers", format!("is {}, where a list is wanted", kind(&other))),
    }
    for key in ["serviceCIDR", "vlan"] {
        if old.remove(key).is_some_and(|value| !value.is_null()) {
            notes.warning(format!("network.{key}"), "has no effect in mkube; the line can go");
        }
    }
    for key in old.keys() {
        notes.problem(format!("network.{key}"), unknown(key, &KNOWN));
    }
    new.insert("name".to_owned(), json!("containers"));
    new.entry("bridge").or_insert(json!("containers"));
    new.entry("cidr").or_insert(json!("192.168.200.0/24"));
    new
}
