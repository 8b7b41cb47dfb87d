//! Which store there is, and, where several controllers may use it, the desk at which they find out who drives.

use std::path::Path;
use std::sync::Arc;

use mkube_desired_store::{EmbeddedStore, JetStreamOptions, JetStreamStore, LeaseOptions, NatsLeases, OwnNote};
use mkube_lease::{DeskParts, LeaseDesk};
use mkube_model::kinds::KindTable;
use mkube_model::neighbours::desired_store::{DesiredStore, StoreFault};
use mkube_model::neighbours::randomness::{Randomness, SystemRandomness};
use mkube_model::neighbours::wall_clock::SystemClock;
use mkube_model::settings::{Settings, StoreKind};

use crate::failure::{Failure, UNAVAILABLE};
use crate::kept_copy;

/// Opens what the settings name.
pub async fn open(
    settings: &Settings,
    kinds: &KindTable,
) -> Result<(Arc<dyn DesiredStore>, Option<Arc<LeaseDesk>>), Failure> {
    match settings.store.kind {
        StoreKind::Embedded => {
            let store = EmbeddedStore::open(&settings.store.path).await.map_err(store_failure)?;
            Ok((Arc::new(store), None))
        }
        StoreKind::Nats => {
            let mut buckets: Vec<String> = kinds.iter().map(|kind| kind.bucket.to_owned()).collect();
            buckets.sort();
            let options = JetStreamOptions {
                nats: settings.nats.clone(),
                buckets,
                path: settings.store.path.clone(),
                write_behind: settings.store.write_behind,
                name: format!("mkube {}", settings.node_name),
                copy: kept_copy::write,
            };
            // The file is opened first: it belongs to one process, and so does who that process is.
            let store = JetStreamStore::open(options).await.map_err(store_failure)?;
            Ok((Arc::new(store), Some(desk(settings)?)))
        }
    }
}

fn desk(settings: &Settings) -> Result<Arc<LeaseDesk>, Failure> {
    let directory = settings.store.path.parent().unwrap_or(Path::new("/"));
    let own = OwnNote::open(directory, fresh_identity).map_err(|why| {
        Failure::text(UNAVAILABLE, why)
            .hint("each controller needs a directory of its own (store.path), which is not to be copied")
    })?;
    let options = LeaseOptions {
        nats: settings.nats.clone(),
        node: settings.node_name.clone(),
        name: format!("mkube {} lease", settings.node_name),
    };
    Ok(LeaseDesk::new(DeskParts {
        node: settings.node_name.clone(),
        identity: own.identity().to_owned(),
        incarnation: SystemRandomness.uid(),
        note: own.note().clone(),
        book: Arc::new(NatsLeases::open(options, Arc::new(SystemClock))),
        notes: Arc::new(own),
    }))
}

/// The machine's name, for people, and something nobody else has.
fn fresh_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "mkube" } else { host };
    let uid = SystemRandomness.uid();
    format!("{host}-{}", uid.split('-').next().unwrap_or(&uid))
}

fn store_failure(fault: StoreFault) -> Failure {
    let hint = match &fault {
        StoreFault::Unreadable(_) => {
            "mkube never starts empty over a store it cannot read: stop the other mkube, or restore or move the file away"
        }
        _ => "check the directory's permissions and free space (store.path)",
    };
    Failure::new(UNAVAILABLE, fault).hint(hint)
}
