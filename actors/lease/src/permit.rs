//! What everybody asks who is about to change the device.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mkube_model::neighbours::router::{Outcome, RouterFault};
use tokio::time::{Instant, sleep, sleep_until};

use crate::commands::{Begin, Length};
use crate::desk::LeaseDesk;
use crate::times::ANNOUNCE;

/// Pause before a command that is being announced is asked for again, should nobody tell that it was.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The right to change the device, as far as one has it.
#[derive(Clone)]
pub struct Permit {
    desk: Arc<LeaseDesk>,
}

impl Permit {
    /// What the desk allows.
    pub fn new(desk: Arc<LeaseDesk>) -> Self {
        Self { desk }
    }

    /// Sends a command if that is allowed now, and gives it up when others may count on its end.
    pub async fn send<T>(
        &self,
        operation: &str,
        length: Length,
        call: impl Future<Output = Result<T, RouterFault>>,
    ) -> Result<T, RouterFault> {
        let (command, ends) = self.begin(operation, length).await?;
        let (mut call, mut end) = (pin!(call), pin!(sleep_until(ends)));
        let answer = poll_fn(|context| {
            // A process that was stopped for a while must not go on with what it had begun.
            if Instant::now() >= ends {
                return Poll::Ready(None);
            }
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            end.as_mut().poll(context).map(|()| None)
        });
        let Some(answer) = answer.await else {
            let cause = "it took longer than whoever stands by is told that it may".to_owned();
            return Err(RouterFault::ReplyLost { operation: operation.to_owned(), cause });
        };
        // Without a reply it may be at work until its time is over.
        if !answer.as_ref().is_err_and(|fault| fault.outcome() == Outcome::Unknown) {
            self.desk.with(|memory, _| memory.ended(command));
            if matches!(length, Length::Long(_)) {
                self.desk.wake();
            }
        }
        answer
    }

    async fn begin(&self, operation: &str, length: Length) -> Result<(u64, Instant), RouterFault> {
        let deadline = Instant::now() + ANNOUNCE;
        let mut told = false;
        loop {
            match self.desk.with(|memory, now| memory.begin(length, now)) {
                Begin::Go { command, ends } => return Ok((command, self.desk.at(ends))),
                Begin::Announce if Instant::now() < deadline => {
                    // Once: whoever works at the desk tells of each of its steps.
                    if !std::mem::replace(&mut told, true) {
                        self.desk.wake();
                    }
                    tokio::select! {
                        biased;
                        () = self.desk.moved() => {}
                        () = sleep(ASK_AGAIN) => {}
                    }
                }
                Begin::Announce => {
                    self.desk.with(|memory, _| memory.give_up_announcing());
                    let why = "could not announce a long command to whoever stands by: the store does not answer";
                    return Err(RouterFault::NotDriving { operation: operation.to_owned(), why: why.to_owned() });
                }
                Begin::Refused => {
                    let standing = self.desk.with(|memory, now| memory.standing(now));
                    let view = mkube_messages::lease::LeaseView { standing, ..(*self.desk.view()).clone() };
                    return Err(RouterFault::NotDriving { operation: operation.to_owned(), why: view.sentence() });
                }
            }
        }
    }
}
