//! Controllers at their desks over one book in memory, with a device behind the permit, in paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use mkube_messages::lease::Standing;
use mkube_model::lease_record::{LeaseNote, LeaseRecord};
use mkube_model::neighbours::lease_book::{LeaseBook, LeaseEntry, LeaseFault, LeaseNotes};
use mkube_model::neighbours::router::{Outcome, RouterFault};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::commands::Length;
use crate::desk::{DeskParts, LeaseDesk};
use crate::permit::Permit;

#[derive(Default)]
struct Book {
    entry: Mutex<LeaseEntry>,
    away: Mutex<bool>,
    changed: Notify,
}

#[async_trait]
impl LeaseBook for Book {
    async fn read(&self) -> Result<LeaseEntry, LeaseFault> {
        if *self.away.lock().expect("whole") {
            return Err(LeaseFault::Away("cut".into()));
        }
        Ok(self.entry.lock().expect("whole").clone())
    }

    async fn write(&self, record: &LeaseRecord, expected: u64) -> Result<u64, LeaseFault> {
        if *self.away.lock().expect("whole") {
            return Err(LeaseFault::Away("cut".into()));
        }
        let mut entry = self.entry.lock().expect("whole");
        if entry.revision != expected {
            return Err(LeaseFault::Conflict);
        }
        *entry = LeaseEntry { record: Some(record.clone()), revision: expected + 1 };
        self.changed.notify_waiters();
        Ok(entry.revision)
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

struct Nowhere;

#[async_trait]
impl LeaseNotes for Nowhere {
    async fn keep(&self, _note: &LeaseNote) -> Result<(), String> {
        Ok(())
    }
}

struct Seat {
    desk: Arc<LeaseDesk>,
    permit: Permit,
    work: JoinHandle<()>,
}

impl Seat {
    fn take(book: &Arc<Book>, name: &str) -> Self {
        let desk = LeaseDesk::new(DeskParts {
            node: "rose1".into(),
            identity: name.into(),
            incarnation: format!("{name}/1"),
            note: LeaseNote::default(),
            book: book.clone(),
            notes: Arc::new(Nowhere),
        });
        let at = desk.clone();
        let work = tokio::spawn(async move { at.work(None).await });
        Self { permit: Permit::new(desk.clone()), desk, work }
    }

    async fn until(&self, standing: Standing) {
        let mut reader = self.desk.reader();
        let waiting = async {
            while reader.borrow_and_update().standing != standing {
                reader.changed().await.expect("the desk is there");
            }
        };
        let came = timeout(Duration::from_secs(60), waiting).await;
        assert!(came.is_ok(), "{standing:?}, not {:?}", self.desk.view().standing);
    }

    async fn send(&self) -> Result<(), RouterFault> {
        self.permit.send("POST /x", Length::Short(Duration::from_secs(20)), async { Ok(()) }).await
    }
}

/// The first drives, the second stands by.
async fn pair(book: &Arc<Book>) -> (Seat, Seat) {
    let a = Seat::take(book, "a");
    a.until(Standing::Drives).await;
    let b = Seat::take(book, "b");
    b.until(Standing::StandsBy { holder: "a".into(), acknowledged: true }).await;
    (a, b)
}

#[tokio::test(start_paused = true)]
async fn who_does_not_drive_sends_nothing_and_says_who_does() {
    let book = Arc::<Book>::default();
    let (a, b) = pair(&book).await;
    a.send().await.expect("it drives");
    let fault = b.send().await.expect_err("it stands by");
    assert_eq!(fault.outcome(), Outcome::NotDone);
    assert!(fault.to_string().contains("standing by for rose1: a drives"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn a_short_command_is_given_up_after_five_seconds_while_somebody_stands_by() {
    let book = Arc::<Book>::default();
    let (a, _b) = pair(&book).await;
    let began = Instant::now();
    let slow = async {
        sleep(Duration::from_secs(60)).await;
        Ok(())
    };
    let fault = a.permit.send("POST /x", Length::Short(Duration::from_secs(20)), slow).await.expect_err("given up");
    assert_eq!(fault.outcome(), Outcome::Unknown);
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_long_command_is_announced_before_it_is_sent() {
    let book = Arc::<Book>::default();
    let (a, _b) = pair(&book).await;
    let looked = book.clone();
    let command = async move {
        let entry = looked.entry.lock().expect("whole").clone();
        Ok(entry.record.map_or(0, |record| record.long_seconds))
    };
    let said = a.permit.send("POST /x", Length::Long(Duration::from_secs(75)), command).await.expect("it drives");
    assert!(said >= 75, "{said} s");
}

#[tokio::test(start_paused = true)]
async fn a_long_command_that_cannot_be_announced_is_not_sent() {
    let book = Arc::<Book>::default();
    let (a, _b) = pair(&book).await;
    *book.away.lock().expect("whole") = true;
    let command = async { panic!("it is sent") };
    let sent: Result<(), _> = a.permit.send("POST /x", Length::Long(Duration::from_secs(75)), command).await;
    assert_eq!(sent.expect_err("not announced").outcome(), Outcome::NotDone);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_slept_through_its_time_is_not_gone_on_with() {
    let book = Arc::<Book>::default();
    let (a, _b) = pair(&book).await;
    // The process is stopped where the command waits for its connection; when it goes on, both are due at once.
    let (connected, connection) = tokio::sync::oneshot::channel();
    let command = async {
        let _ = connection.await;
        panic!("it is sent")
    };
    let sending = a.permit.send("POST /x", Length::Short(Duration::from_secs(20)), command);
    let waking = async {
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(30)).await;
        let _ = connected.send(());
    };
    let (sent, ()): (Result<(), _>, ()) = tokio::join!(sending, waking);
    assert_eq!(sent.expect_err("it is too late").outcome(), Outcome::Unknown);
}

#[tokio::test(start_paused = true)]
async fn work_that_was_interrupted_goes_on_and_what_is_given_back_is_taken() {
    let book = Arc::<Book>::default();
    let (mut a, b) = pair(&book).await;
    a.work.abort();
    let at = a.desk.clone();
    a.work = tokio::spawn(async move { at.work(None).await });
    sleep(Duration::from_secs(30)).await;
    a.send().await.expect("it drives on");
    a.work.abort();
    let left = Instant::now();
    a.desk.leave().await;
    b.until(Standing::Drives).await;
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    assert!(a.send().await.is_err());
}
