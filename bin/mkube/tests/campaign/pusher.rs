//! Somebody who pushes to the registry all the time, and remembers which tags were acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::dev::http::Http;
use crate::dev::pause;
use crate::dice::Dice;
use crate::writer::{Shared, lock};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Tag to the numbers it may lead to now; none: it may not be there.
pub type Tags = BTreeMap<u64, Vec<Option<u64>>>;

/// One pusher.
pub struct Pusher {
    pub registry: Http,
    pub dice: Dice,
    pub known: Arc<Mutex<Tags>>,
    pub shared: Arc<Shared>,
}

fn path(tag: u64) -> String {
    format!("/v2/campaign/index/manifests/t{tag}")
}

/// A manifest without blobs: what is tried is the tag.
fn manifest(number: u64) -> String {
    json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"number": format!("{number:016x}")},
    })
    .to_string()
}

impl Pusher {
    /// Pushes until told to stop.
    pub fn push(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let shared = self.shared.clone();
            {
                let _writing = shared.quiet.read().unwrap_or_else(PoisonError::into_inner);
                let (tag, number) = (self.dice.roll(6), self.dice.roll(1 << 40));
                let mut maybe = lock(&self.known).get(&tag).cloned().unwrap_or_else(|| vec![None]);
                maybe.push(Some(number));
                lock(&self.known).insert(tag, maybe);
                shared.sent.fetch_add(1, Ordering::Relaxed);
                let told = self.registry.send("PUT", &path(tag), Some((INDEX, &manifest(number))));
                match told {
                    Ok((201, _)) => {
                        lock(&self.known).insert(tag, vec![Some(number)]);
                        shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok((status, text)) => panic!("push of t{tag}: {status} {text}"),
                    Err(_) => {}
                }
            }
            pause(Duration::from_millis(5 + self.dice.roll(40)));
        }
    }
}

/// Compares what is there with what is known, which is then certain.
#[track_caller]
pub fn check(registry: &Http, known: &Mutex<Tags>) {
    for (tag, possible) in lock(known).iter_mut() {
        let found = match registry.call("GET", &path(*tag), None) {
            Ok((200, text)) => {
                let number = possible.iter().flatten().find(|number| manifest(**number) == text);
                Some(*number.unwrap_or_else(|| panic!("t{tag} is {text}, may be one of {possible:x?}")))
            }
            Ok((404, _)) => None,
            other => panic!("t{tag}: {other:?}"),
        };
        assert!(possible.contains(&found), "t{tag} is {found:x?}, may be one of {possible:x?}");
        *possible = vec![found];
    }
}
