//! What survives: `kill -9` at any instant, files that are not ours.

mod disk;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use mkube_desired_store::{EmbeddedStore, journal_of};
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreFault, StoreKey};
use redb::ReadableDatabase;

const CHILD: &str = "MKUBE_TEST_STORE_WRITER";
/// Rounds of writing and killing; `make crash` raises it.
const ROUNDS: &str = "MKUBE_CRASH_ROUNDS";

/// Not a test by itself: the process that is killed. Writes numbered keys and says each only after it was acknowledged.
#[tokio::test]
async fn writer() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let store = EmbeddedStore::open(path).await.expect("readable after every kill");
    let from = store.load().await.expect("readable").revision;
    for number in from.. {
        let at = StoreKey { bucket: "PODS".into(), key: format!("k{number}") };
        let value = Some(Bytes::from(vec![b'x'; 900]));
        store.commit(vec![StoreChange { at, value, expected: Expected::Absent, behind: false }]).await.expect("room");
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged k{number}").and_then(|()| out.flush()).expect("a reader");
    }
}

#[tokio::test]
async fn every_acknowledged_write_survives_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let rounds: usize = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "writer", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            // The harness writes its own words in front of the first line.
            if let Some((_, key)) = line.split_once("acknowledged ") {
                acknowledged.push(key.to_owned());
                seen += 1;
                if seen == 20 + 13 * (round % 20) {
                    child.kill().expect("ours");
                }
            }
        }
        child.wait().expect("ours");
        assert!(seen > 0, "the writer wrote nothing in round {round}");
    }
    let store = EmbeddedStore::open(&path).await.expect("readable after every kill");
    let kept: BTreeSet<String> =
        store.load().await.expect("readable").values.into_iter().map(|one| one.at.key).collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|key| !kept.contains(key.as_str())).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {} acknowledged", acknowledged.len());
}

#[tokio::test]
async fn nobody_else_reads_the_file_also_one_of_an_earlier_release() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let mode = || std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
    let store = EmbeddedStore::open(&path).await.expect("made");
    put(&store, "a").await;
    let journal = std::fs::metadata(journal_of(&path)).expect("there").permissions().mode() & 0o777;
    drop(store);
    assert_eq!((mode(), journal), (0o600, 0o600));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    drop(EmbeddedStore::open(&path).await.expect("opened"));
    assert_eq!(mode(), 0o600);
}

async fn put(store: &EmbeddedStore, key: &str) {
    let at = StoreKey { bucket: "PODS".into(), key: key.into() };
    let change = StoreChange { at, value: Some(Bytes::from_static(b"{}")), expected: Expected::Any, behind: false };
    store.commit(vec![change]).await.expect("room");
}

async fn keys(path: &Path) -> Vec<String> {
    let store = EmbeddedStore::open(path).await.expect("a store");
    store.load().await.expect("readable").values.into_iter().map(|one| one.at.key).collect()
}

/// As `kill -9` leaves it.
fn left(from: &Path, to: &Path) {
    for (from, to) in [(from.to_owned(), to.to_owned()), (journal_of(from), journal_of(to))] {
        std::fs::copy(from, to).expect("copied");
    }
}

/// What the file says that it is.
fn format(path: &Path) -> u64 {
    let database = redb::Database::open(path).expect("readable");
    let read = database.begin_read().expect("readable");
    let meta = read.open_table(redb::TableDefinition::<&str, u64>::new("meta")).expect("there");
    meta.get("format").expect("readable").expect("there").value()
}

#[tokio::test]
async fn a_store_that_is_closed_is_one_file_and_in_use_it_is_none_for_a_program_without_a_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, killed) = (directory.path().join("state.redb"), directory.path().join("killed.redb"));
    let store = EmbeddedStore::open(&path).await.expect("new");
    assert!(!journal_of(&path).exists(), "nothing was written yet");
    for key in ["a", "b", "c"] {
        put(&store, key).await;
    }
    left(&path, &killed);
    drop(store);
    assert_eq!((format(&path), journal_of(&path).exists()), (1, false));
    assert_eq!((format(&killed), journal_of(&killed).exists()), (3, true));
    assert_eq!(keys(&path).await, ["a", "b", "c"]);
    assert_eq!(keys(&killed).await, ["a", "b", "c"]);
    assert!(!journal_of(&killed).exists(), "it was closed in order");
}

#[tokio::test]
async fn a_file_without_its_journal_or_with_another_one_is_refused_with_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str| directory.path().join(name);
    let refused = async |path: &Path| match EmbeddedStore::open(path).await {
        Err(StoreFault::Unreadable(why)) => why,
        other => panic!("{:?}", other.map(drop)),
    };
    let first = EmbeddedStore::open(file("first")).await.expect("new");
    put(&first, "a").await;
    // All of it is in the file, and then something more in the journal.
    left(&file("first"), &file("early"));
    put(&first, "b").await;
    left(&file("first"), &file("late"));
    let second = EmbeddedStore::open(file("second")).await.expect("new");
    put(&second, "a").await;
    put(&second, "b").await;

    std::fs::remove_file(journal_of(&file("late"))).expect("there");
    let why = refused(&file("late")).await;
    assert!(why.contains("late.journal: it is missing"), "{why}");
    std::fs::copy(journal_of(&file("second")), journal_of(&file("late"))).expect("copied");
    let why = refused(&file("late")).await;
    assert!(why.contains("late.journal: it belongs to another store"), "{why}");
    // A copy from before, beside a journal that went on.
    first.compact().await.expect("room");
    std::fs::copy(file("first"), file("old")).expect("copied");
    put(&first, "c").await;
    put(&first, "d").await;
    std::fs::copy(journal_of(&file("first")), journal_of(&file("old"))).expect("copied");
    let why = refused(&file("old")).await;
    assert!(why.contains("old.journal: it goes on at"), "{why}");
    // A copy by itself is what it was.
    std::fs::remove_file(journal_of(&file("old"))).expect("there");
    assert_eq!(keys(&file("old")).await, ["a", "b"]);
    assert_eq!(keys(&file("early")).await, ["a"]);
}

#[tokio::test]
async fn a_file_that_is_not_a_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, contents) in [("empty", &b""[..]), ("text", b"not a store"), ("zeros", &[0u8; 8192])] {
        let path = directory.path().join(name);
        std::fs::write(&path, contents).expect("written");
        let refused = EmbeddedStore::open(&path).await;
        assert!(matches!(&refused, Err(StoreFault::Unreadable(text)) if text.contains(name)), "{name}");
        assert_eq!(std::fs::read(&path).expect("still there"), contents, "{name}");
    }
}

#[tokio::test]
async fn a_store_whose_making_was_cut_short_is_made_anew() {
    let made = disk::Disk::default();
    drop(made.store().await.expect("new"));
    let diary = made.diary();
    for orders in 0..diary.len() {
        let mut half = disk::Image::default();
        diary[..orders].iter().for_each(|order| disk::apply(&mut half, order));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.redb");
        std::fs::write(directory.path().join("state.redb.new"), &half[0]).expect("written");
        let store = EmbeddedStore::open(&path).await.unwrap_or_else(|fault| panic!("after {orders}: {fault}"));
        let made = store.load().await.expect("readable");
        assert_eq!((made.values.len(), made.revision), (0, 1));
        let names: Vec<_> =
            std::fs::read_dir(directory.path()).expect("there").flatten().map(|at| at.file_name()).collect();
        assert_eq!(names, ["state.redb"], "after {orders}");
    }
}

#[tokio::test]
async fn what_somebody_else_is_making_is_not_made_twice() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let theirs = std::fs::File::create(directory.path().join("state.redb.new")).expect("made");
    theirs.lock().expect("ours");
    assert!(matches!(EmbeddedStore::open(&path).await, Err(StoreFault::Unwritable(_))));
    drop(theirs);
    EmbeddedStore::open(&path).await.expect("nobody makes it");
}

#[tokio::test]
async fn a_damaged_store_is_refused_rather_than_started_empty() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    {
        let store = EmbeddedStore::open(&path).await.expect("new");
        let at = StoreKey { bucket: "PODS".into(), key: "a".into() };
        let change =
            StoreChange { at, value: Some(Bytes::from(vec![1; 20_000])), expected: Expected::Any, behind: false };
        store.commit(vec![change]).await.expect("room");
    }
    let whole = std::fs::read(&path).expect("there");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    let outcome = match EmbeddedStore::open(&path).await {
        Err(fault) => Err(fault),
        Ok(store) => store.load().await.map(|contents| contents.values.len()),
    };
    assert!(matches!(outcome, Err(StoreFault::Unreadable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_second_process_cannot_open_the_same_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.redb");
    let _first = EmbeddedStore::open(&path).await.expect("new");
    assert!(matches!(EmbeddedStore::open(&path).await, Err(StoreFault::Unreadable(_))));
}
