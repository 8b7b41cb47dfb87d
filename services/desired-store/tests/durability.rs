//! What survives: `kill -9` at any instant, files that are not ours.

mod disk;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use bytes::Bytes;
use mkube_desired_store::EmbeddedStore;
use mkube_model::neighbours::desired_store::{DesiredStore, Expected, StoreChange, StoreFault, StoreKey};

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
    drop(EmbeddedStore::open(&path).await.expect("made"));
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    drop(EmbeddedStore::open(&path).await.expect("opened"));
    assert_eq!(mode(), 0o600);
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
        let mut half = Vec::new();
        diary[..orders].iter().for_each(|order| disk::apply(&mut half, order));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.redb");
        std::fs::write(directory.path().join("state.redb.new"), half).expect("written");
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
