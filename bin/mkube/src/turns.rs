//! Driving and standing by, when another controller may drive the same device.

use std::sync::Arc;
use std::time::Duration;

use mkube_lease::LeaseDesk;
use mkube_messages::lease::LeaseReader;

use crate::compose::{Controller, Seat};
use crate::failure::Failure;
use crate::run::{Signals, until_stopped};
use crate::serve::Prepared;

/// Time all those who decide may take to stop, together.
const CHANGE: Duration = Duration::from_secs(5);

/// Runs the whole tree while this controller drives, and without those who decide while it stands by, until a signal.
pub async fn take_turns(prepared: &Prepared, desk: Arc<LeaseDesk>, signals: &mut Signals) -> Result<(), Failure> {
    let mut lease = desk.reader();
    let drives = lease.borrow_and_update().drives();
    let controller = prepared.start(Some(Seat { desk: desk.clone(), drives }))?;
    let ended = tokio::select! {
        biased;
        ended = until_stopped(&controller.tree, signals) => ended,
        never = follow(&controller, lease, drives) => match never {},
    };
    // Nothing is sent to the device any more.
    desk.leave().await;
    ended
}

/// Changes whenever this controller's turn begins or ends.
async fn follow(controller: &Controller, mut lease: LeaseReader, mut drives: bool) -> std::convert::Infallible {
    loop {
        // The desk is held by whoever called, so there is a publisher.
        if lease.wait_for(|lease| lease.drives() != drives).await.is_err() {
            return std::future::pending().await;
        }
        drives = !drives;
        if drives {
            controller.drive(CHANGE).await;
        } else {
            controller.stand_by(CHANGE).await;
        }
    }
}
