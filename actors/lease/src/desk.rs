//! The place where what is known of the lease lies, and where it is acted upon. Outlives the actor and every tree.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mkube_messages::lease::{LeasePublisher, LeaseReader, LeaseView, lease_view};
use mkube_messages::router::DeviceReader;
use mkube_model::lease_record::LeaseNote;
use mkube_model::marks::{owner_in_mark, owner_in_veth_comment};
use mkube_model::neighbours::lease_book::{LeaseBook, LeaseFault, LeaseNotes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::memory::Memory;
use crate::next::Action;
use crate::times::Moment;

/// How long the book may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long giving back may take, when the process ends.
const FAREWELL: Duration = Duration::from_secs(3);
/// Pause when the own disk refuses a note.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// What the desk is set up with.
pub struct DeskParts {
    /// The device's node.
    pub node: String,
    /// Who I am; the same over restarts, and nobody else.
    pub identity: String,
    /// This run of the process; never the same twice.
    pub incarnation: String,
    /// What was noted in an earlier life.
    pub note: LeaseNote,
    /// The book.
    pub book: Arc<dyn LeaseBook>,
    /// Where notes are kept.
    pub notes: Arc<dyn LeaseNotes>,
}

/// See the file's text.
pub struct LeaseDesk {
    memory: Mutex<Memory>,
    began: Instant,
    book: Arc<dyn LeaseBook>,
    notes: Arc<dyn LeaseNotes>,
    /// Somebody wants something of the lease.
    wanted: Notify,
    /// Something is known that was not.
    news: Notify,
    publish: LeasePublisher,
}

impl LeaseDesk {
    /// Sets it up. Nothing happens until an actor works at it.
    pub fn new(parts: DeskParts) -> Arc<Self> {
        let DeskParts { node, identity, incarnation, note, book, notes } = parts;
        let memory = Memory::new(identity.clone(), incarnation, note);
        let (publish, _) = lease_view(node, identity);
        let standing = memory.standing(Moment::ZERO);
        publish.send_modify(|view| *view = Arc::new(LeaseView { standing, ..(**view).clone() }));
        Arc::new(Self {
            memory: Mutex::new(memory),
            began: Instant::now(),
            book,
            notes,
            wanted: Notify::new(),
            news: Notify::new(),
            publish,
        })
    }

    /// Who drives.
    pub fn reader(&self) -> LeaseReader {
        self.publish.subscribe()
    }

    /// Gives back what is held, so that whoever stands by need not wait. To be called when nobody works here any more and nothing
    /// is sent to the device.
    pub async fn leave(&self) {
        self.with(|memory, _| memory.leave());
        if timeout(FAREWELL, self.work(None)).await.is_err() {
            tracing::warn!("the lease could not be given back; whoever stands by takes over when it has run out");
        }
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Memory, Moment) -> T) -> T {
        // The time is read under the lock: it is never older than what the memory knows.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut memory, self.began.elapsed())
    }

    pub(crate) fn at(&self, moment: Moment) -> Instant {
        self.began + moment
    }

    pub(crate) fn wake(&self) {
        self.wanted.notify_one();
    }

    /// Ends at the next news.
    pub(crate) async fn moved(&self) {
        self.news.notified().await;
    }

    pub(crate) fn view(&self) -> Arc<LeaseView> {
        self.publish.borrow().clone()
    }

    fn tell(&self) {
        let (standing, token, announced) =
            self.with(|memory, now| (memory.standing(now), memory.token(), memory.announced()));
        let mut changed = false;
        self.publish.send_if_modified(|view| {
            changed = view.standing != standing;
            let differs = changed || view.token != token || view.announced != announced;
            if differs {
                *view = Arc::new(LeaseView { standing, token, announced, ..(**view).clone() });
            }
            differs
        });
        if changed {
            let view = self.view();
            match view.trouble() {
                Some(trouble) => tracing::warn!(node = %view.node, "this controller: {trouble}"),
                None => tracing::info!(node = %view.node, "this controller: {}", view.sentence()),
            }
        }
        self.news.notify_waiters();
    }

    /// Does what is to be done about the lease, one thing at a time; ends when everything was given back.
    pub(crate) async fn work(&self, device: Option<&DeviceReader>) {
        self.with(|memory, _| memory.interrupted());
        loop {
            let new_device = device.is_some_and(was_never_driven);
            let action = self.with(|memory, now| {
                if new_device {
                    memory.device_is_new(now);
                }
                memory.next(now)
            });
            self.tell();
            match action {
                Action::Read => {
                    let read = timeout(PATIENCE, self.book.read()).await.unwrap_or_else(|_| Err(no_answer()));
                    self.with(|memory, now| memory.was_read(read, now));
                }
                Action::Write { record, expected } => {
                    let writing = timeout(PATIENCE, self.book.write(&record, expected));
                    let written = writing.await.unwrap_or_else(|_| Err(no_answer()));
                    self.with(|memory, now| memory.was_written(written, now));
                }
                Action::Remember(note) => match self.notes.keep(&note).await {
                    Ok(()) => self.with(|memory, _| memory.was_kept(note)),
                    Err(why) => {
                        tracing::error!(%why, "the note of the lease cannot be kept");
                        sleep(DISK_RETRY).await;
                    }
                },
                Action::Wait(until) => tokio::select! {
                    biased;
                    () = self.wanted.notified() => {}
                    () = self.book.changed() => self.with(|memory, _| memory.look()),
                    () = sleep_until(self.at(until)) => {}
                },
                Action::Done => return,
            }
        }
    }
}

fn no_answer() -> LeaseFault {
    LeaseFault::Unknown(format!("no answer within {} s", PATIENCE.as_secs()))
}

/// Whether nothing on the device is marked as some mkube's.
fn was_never_driven(device: &DeviceReader) -> bool {
    let device = device.borrow();
    let marked = device.containers.values().any(|row| owner_in_mark(&row.comment).is_some())
        || device.veths.values().any(|row| owner_in_veth_comment(&row.comment).is_some());
    device.reachable && device.complete && !marked
}
