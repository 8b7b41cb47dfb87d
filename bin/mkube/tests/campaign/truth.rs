//! What is there, against what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use mkube_model::neighbours::desired_store::PROVISIONAL;
use serde_json::Value;

use crate::dev::http::Http;
use crate::dev::{SOON, eventually};
use crate::kinds::KINDS;
use crate::writer::{Knowledge, Shared, lock};

/// The revision of an object or a list, unless it stands for what is kept until NATS is back and gives it another.
pub fn lasting(of: &Value) -> Option<u64> {
    let revision: u64 = of["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    (revision < PROVISIONAL).then_some(revision)
}

/// The objects of a list.
pub fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The objects that are served now; an error where nothing is, as while a controller begins to drive.
pub fn served(api: &Http, path: &str) -> Result<Vec<Value>, String> {
    let list = serde_json::from_str(&api.page(path)?).map_err(|error| error.to_string())?;
    Ok(items(&list))
}

/// Compares everything; what was in doubt is certain afterwards. Nobody may write meanwhile.
#[track_caller]
pub fn check(api: &Http, known: &[Arc<Mutex<Knowledge>>], shared: &Shared) {
    for (place, kind) in KINDS.iter().enumerate() {
        // For a moment nothing is served when what a store that is back lacks is read once more.
        let list = eventually("objects are served", SOON, || {
            serde_json::from_str::<Value>(&api.page(kind.path)?).map_err(|error| error.to_string())
        });
        let mut found: BTreeMap<String, Option<u64>> = BTreeMap::new();
        for object in items(&list) {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            let by_writers = name.starts_with(&format!("{}-", kind.name));
            if by_writers && object["metadata"]["ownerReferences"].is_null() {
                found.insert(name, kind.number(&object));
            }
        }
        for known in known {
            for ((_, name), possible) in lock(known).iter_mut().filter(|((at, _), _)| *at == place) {
                let now = found.remove(name).flatten();
                assert!(possible.contains(&now), "{name} is {now:x?}, may be one of {possible:x?}");
                *possible = vec![now];
            }
        }
        found.retain(|_, number| number.is_some());
        assert!(found.is_empty(), "nobody wrote {found:x?}");
        let (Some(revision), before) = (lasting(&list), shared.newest[place].load(Ordering::Relaxed)) else { continue };
        assert!(revision >= before, "{}: revisions went back from {before} to {revision}", kind.name);
        shared.newest[place].fetch_max(revision, Ordering::Relaxed);
    }
}
