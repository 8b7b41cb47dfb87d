//! Driving and standing by: which tree runs, when another controller may drive the same device.

use std::sync::Arc;
use std::time::Duration;

use mkube_lease::LeaseDesk;
use mkube_messages::lease::LeaseReader;

use crate::compose::Seat;
use crate::failure::Failure;
use crate::run::{Signals, until_stopped};
use crate::serve::Prepared;

/// Time a tree may take to make room for the other one.
const CHANGE: Duration = Duration::from_secs(5);

/// Runs the whole tree while this controller drives and the small one while it stands by, until a signal.
pub async fn take_turns(prepared: &Prepared, desk: Arc<LeaseDesk>, signals: &mut Signals) -> Result<(), Failure> {
    let mut lease = desk.reader();
    loop {
        let drives = lease.borrow_and_update().drives();
        let controller = prepared.start(Some(Seat { desk: desk.clone(), drives }))?;
        let ended = tokio::select! {
            biased;
            ended = until_stopped(&controller.tree, signals) => Some(ended),
            () = is_otherwise(&mut lease, drives) => None,
        };
        match ended {
            Some(ended) => {
                // Nothing is sent to the device any more.
                desk.leave().await;
                return ended;
            }
            None => controller.tree.stop(CHANGE).await,
        }
    }
}

/// Ends when the other tree has to run.
async fn is_otherwise(lease: &mut LeaseReader, drives: bool) {
    while lease.borrow_and_update().drives() == drives {
        if lease.changed().await.is_err() {
            // The desk is held here, so there is a publisher.
            return std::future::pending().await;
        }
    }
}
