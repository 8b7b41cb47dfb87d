//! Whether everybody says the same: NATS, and each controller.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::KINDS;
use crate::site::Site;
use crate::truth::served;

/// Buckets of the kinds that are written.
const BUCKETS: [&str; KINDS.len()] = ["CONFIGMAPS", "SECRETS", "PODS", "DEPLOYMENTS"];

/// Which version of which object somebody has, by its name.
type Versions = BTreeMap<String, (u64, Value)>;

fn in_nats(site: &Site, bucket: &str) -> Versions {
    let ours = site.bucket(bucket).into_iter().filter_map(|(key, (revision, value))| {
        let name = key.strip_prefix("default.")?.to_owned();
        Some((name, (revision, value["metadata"]["uid"].clone())))
    });
    ours.collect()
}

fn versions(objects: &[Value]) -> Versions {
    let version = |object: &Value| {
        let metadata = &object["metadata"];
        let revision = metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        (metadata["name"].as_str().unwrap_or_default().to_owned(), (revision, metadata["uid"].clone()))
    };
    objects.iter().map(version).collect()
}

/// Every object is in NATS as it is in the API of every controller, to the version.
pub fn check(site: &Site) -> Result<(), String> {
    for (kind, bucket) in KINDS.iter().zip(BUCKETS) {
        let theirs = in_nats(site, bucket);
        for controller in &site.controllers {
            let ours = versions(&served(&controller.api(), kind.path)?);
            if ours != theirs {
                return Err(format!("{bucket}: NATS has {theirs:?}, {:?} serves {ours:?}", controller.who));
            }
        }
    }
    Ok(())
}
