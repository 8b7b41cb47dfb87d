//! One store into another, with the real program: what is refused, what survives being killed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use mkube_desired_store::{EmbeddedStore, journal_of, read_buckets, read_file};
use mkube_model::neighbours::desired_store::{
    DesiredStore, Expected, StoreChange, StoreContents, StoreKey, StoredValue,
};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_server_fixture::NatsServer;
use tempfile::TempDir;

struct Stores {
    directory: TempDir,
}

impl Stores {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Of everything that is there.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("there").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn named(&self, name: &str) -> String {
        format!("embedded:{}", self.path(name).display())
    }

    async fn fill(&self, name: &str, keys: impl Iterator<Item = usize>, value: &str) {
        let store = EmbeddedStore::open(self.path(name)).await.expect("a store");
        let put = |key: usize| StoreChange {
            at: StoreKey {
                bucket: if key.is_multiple_of(2) { "PODS" } else { "CONFIGMAPS" }.into(),
                key: format!("default.k{key}"),
            },
            value: Some(Bytes::from(format!("{{\"value\":\"{value}{key}\"}}"))),
            expected: Expected::Any,
            behind: false,
        };
        store.commit(keys.map(put).collect()).await.expect("room");
    }
}

fn migrate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mkube")).arg("migrate").args(arguments).output().expect("the binary runs")
}

fn ended(arguments: &[&str], code: i32) -> String {
    let output = migrate(arguments);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

async fn contents(path: &Path) -> StoreContents {
    read_file(path).await.expect("readable").contents
}

fn told(contents: &StoreContents) -> Vec<(&StoreKey, &Bytes)> {
    contents.values.iter().map(|StoredValue { at, value, .. }| (at, value)).collect()
}

/// Whatever the order and the revisions are.
fn same(one: &StoreContents, other: &StoreContents) -> bool {
    let sorted = |contents| BTreeMap::from_iter(told(contents));
    sorted(one) == sorted(other)
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

#[tokio::test]
async fn a_file_goes_into_another_one_is_compared_and_stays_as_it_is() {
    let stores = Stores::new();
    stores.fill("from", 0..300, "v").await;
    let (from, to) = (stores.named("from"), stores.named("to"));
    let before = bytes(&stores.path("from"));
    let dry = ended(&["--from", &from, "--to", &to, "--dry-run"], 0);
    assert!(dry.contains("300 would be written") && !stores.path("to").exists(), "{dry}");
    let done = ended(&["--from", &from, "--to", &to], 0);
    assert!(done.contains("CONFIGMAPS") && done.contains("300 written and compared"), "{done}");
    assert_eq!(told(&contents(&stores.path("to")).await), told(&contents(&stores.path("from")).await));
    assert!(bytes(&stores.path("from")) == before, "the source is as it was");
    assert!(!stores.path("to.part").exists());
    let again = ended(&["--from", &from, "--to", &to, "-o", "json"], 0);
    assert!(again.contains("\"written\": 0") && again.contains("\"unchanged\": 300"), "{again}");
}

#[tokio::test]
async fn what_holds_something_else_is_replaced_only_when_that_is_said() {
    let stores = Stores::new();
    stores.fill("from", 0..20, "v").await;
    stores.fill("to", 10..30, "other").await;
    let (from, to) = (stores.named("from"), stores.named("to"));
    let before = contents(&stores.path("to")).await;
    for more in [&[][..], &["--dry-run"]] {
        let refused = ended(&[&["--from", &from, "--to", &to], more].concat(), 1);
        assert!(refused.contains("not empty") && refused.contains("hint: --overwrite"), "{refused}");
    }
    assert_eq!(told(&before).len(), 20);
    assert_eq!(told(&contents(&stores.path("to")).await), told(&before));
    let dry = ended(&["--from", &from, "--to", &to, "--overwrite", "--dry-run"], 0);
    assert!(dry.contains("20 would be written"), "{dry}");
    assert_eq!(told(&contents(&stores.path("to")).await), told(&before));
    ended(&["--from", &from, "--to", &to, "--overwrite"], 0);
    assert_eq!(told(&contents(&stores.path("to")).await), told(&contents(&stores.path("from")).await));
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_with_its_code() {
    let stores = Stores::new();
    stores.fill("from", 0..3, "v").await;
    let (from, to) = (stores.named("from"), stores.named("to"));
    ended(&["--from", &from, "--to", &from], 2);
    assert!(ended(&["--from", "redis://me:hunter2@x", "--to", &to], 2).contains("hint: embedded:FILE"));
    assert!(!ended(&["--from", "redis://me:hunter2@x", "--to", &to], 2).contains("hunter2"));
    ended(&["--from", &from], 2);
    ended(&["--from", &stores.named("missing"), "--to", &to], 1);
    assert!(!stores.path("missing").exists(), "looking makes nothing");
    ended(&["--from", "config:/nowhere.yaml", "--to", &to], 64);
    let gone = ended(&["--from", &from, "--to", "nats://me:hunter2@127.0.0.1:1"], 69);
    assert!(!gone.contains("hunter2") && gone.contains("error: the target"), "{gone}");
    let open = EmbeddedStore::open(stores.path("from")).await.expect("a store");
    let used = ended(&["--from", &from, "--to", &to], 69);
    assert!(used.contains("another program has it open"), "{used}");
    drop(open);
    std::fs::write(stores.path("to"), "something else").expect("written");
    ended(&["--from", &from, "--to", &to, "--overwrite"], 1);
    assert_eq!(bytes(&stores.path("to")), b"something else", "what is no store is nobody's to replace");
}

#[tokio::test]
async fn killed_at_any_moment_it_leaves_no_half_store_and_the_next_run_finishes() {
    let stores = Stores::new();
    stores.fill("from", 0..20_000, "v").await;
    let (from, to) = (stores.named("from"), stores.named("to"));
    let (source, whole) = (bytes(&stores.path("from")), contents(&stores.path("from")).await);
    let (part, target) = (stores.path("to.part"), stores.path("to"));
    let mut halves = 0;
    for round in 0..6_u32 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mkube"))
            .args(["migrate", "--from", &from, "--to", &to])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the binary runs");
        // Later in each round: when the part has grown so far, or when it is over.
        let until = u64::from(round) * 400_000;
        while child.try_wait().expect("ours").is_none() && !part.metadata().is_ok_and(|meta| meta.len() > until) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert!(bytes(&stores.path("from")) == source, "the source is as it was");
        if target.exists() {
            assert_eq!(told(&contents(&target).await), told(&whole), "it has its name when it is whole");
            std::fs::remove_file(&target).expect("removed");
        } else {
            halves += usize::from(part.exists());
        }
    }
    assert!(halves > 0, "no run was killed in its middle");
    ended(&["--from", &from, "--to", &to], 0);
    assert_eq!(told(&contents(&target).await), told(&whole));
    assert!(!part.exists());
}

/// Starts a migration and kills it as soon as it is time, or it is over.
async fn killed_when(arguments: &[&str], mut is_time: impl AsyncFnMut() -> bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mkube"))
        .arg("migrate")
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    while child.try_wait().expect("ours").is_none() && !is_time().await {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    child.kill().expect("ours");
    child.wait().expect("ours");
}

#[tokio::test]
async fn killed_on_its_way_into_nats_or_out_of_it_nothing_is_lost_and_the_next_run_finishes() {
    let stores = Stores::new();
    let long = "v".repeat(600);
    stores.fill("from", 0..4000, &long).await;
    let server = NatsServer::start();
    let (from, nats, to) = (stores.named("from"), server.url(), stores.named("to"));
    let (source, whole) = (bytes(&stores.path("from")), contents(&stores.path("from")).await);
    let settings = NatsSettings { url: SecretUrl::new(nats.clone()), ..NatsSettings::default() };
    let buckets = ["CONFIGMAPS", "PODS"].map(str::to_owned);
    let there = async || read_buckets(&settings, &buckets, "test").await.expect("it is there").0;

    let mut halves = 0;
    for least in [0, 1, 1000, 3000] {
        killed_when(&["--from", &from, "--to", &nats], async || there().await.values.len() > least).await;
        let now = there().await;
        halves += usize::from(!now.values.is_empty() && now.values.len() < whole.values.len());
        let wanted: BTreeSet<_> = told(&whole).into_iter().collect();
        assert!(told(&now).iter().all(|one| wanted.contains(one)), "what is there is what was to be there");
        assert!(bytes(&stores.path("from")) == source, "the source is as it was");
    }
    assert!(halves > 0, "no run was killed in its middle");
    ended(&["--from", &from, "--to", &nats], 0);
    assert!(same(&there().await, &whole));

    let (part, target) = (stores.path("to.part"), stores.path("to"));
    halves = 0;
    for least in [0, 1_200_000, 2_000_000, 3_000_000] {
        let grown = async || part.metadata().is_ok_and(|meta| meta.len() > least);
        killed_when(&["--from", &nats, "--to", &to], grown).await;
        assert!(same(&there().await, &whole), "the source is as it was");
        if target.exists() {
            assert!(same(&contents(&target).await, &whole), "it has its name when it is whole");
            std::fs::remove_file(&target).expect("removed");
        } else {
            halves += usize::from(part.exists());
        }
    }
    assert!(halves > 0, "no run was killed in its middle");
    ended(&["--from", &nats, "--to", &to], 0);
    assert!(same(&contents(&target).await, &whole));
    assert_eq!(stores.names(), ["from", "to"], "no part and no journal stays");
}

#[tokio::test]
async fn a_part_of_another_source_is_not_continued() {
    let stores = Stores::new();
    stores.fill("from", 0..10, "v").await;
    stores.fill("to.part", 0..20, "other").await;
    ended(&["--from", &stores.named("from"), "--to", &stores.named("to")], 0);
    assert_eq!(told(&contents(&stores.path("to")).await), told(&contents(&stores.path("from")).await));
}

#[tokio::test]
async fn a_target_that_was_killed_is_replaced_with_its_journal() {
    let stores = Stores::new();
    stores.fill("from", 0..20, "v").await;
    let used = EmbeddedStore::open(stores.path("used")).await.expect("a store");
    let at = StoreKey { bucket: "PODS".into(), key: "default.old".into() };
    for value in ["1", "2"] {
        let value = Some(Bytes::from_static(value.as_bytes()));
        let change = StoreChange { at: at.clone(), value, expected: Expected::Any, behind: false };
        used.commit(vec![change]).await.expect("room");
    }
    // As `kill -9` leaves it.
    for (from, to) in [("used", "to"), ("used.journal", "to.journal")] {
        std::fs::copy(stores.path(from), stores.path(to)).expect("copied");
    }
    drop(used);
    assert_eq!(told(&contents(&stores.path("to")).await), [(&at, &Bytes::from_static(b"2"))]);
    let (from, to) = (stores.named("from"), stores.named("to"));
    ended(&["--from", &from, "--to", &to], 1);
    ended(&["--from", &from, "--to", &to, "--overwrite"], 0);
    assert!(!journal_of(&stores.path("to")).exists());
    assert_eq!(told(&contents(&stores.path("to")).await), told(&contents(&stores.path("from")).await));
    // What is left of a store that was taken away is said, and not written beside.
    std::fs::copy(stores.path("from"), stores.path("third.journal")).expect("copied");
    let refused = ended(&["--from", &from, "--to", &stores.named("third")], 1);
    assert!(refused.contains("third.journal") && !stores.path("third").exists(), "{refused}");
}

#[tokio::test]
async fn a_store_goes_to_nats_and_back() {
    let stores = Stores::new();
    stores.fill("from", 0..500, "v").await;
    let server = NatsServer::start();
    let (from, nats) = (stores.named("from"), server.url());
    assert!(ended(&["--from", &from, "--to", &nats, "--dry-run"], 0).contains("500 would be written"));
    assert!(ended(&["--from", &nats, "--to", &stores.named("none"), "--dry-run"], 0).contains("nothing in"));
    assert!(ended(&["--from", &from, "--to", &nats], 0).contains("500 written and compared"));
    assert!(ended(&["--from", &from, "--to", &nats, "-o", "yaml"], 0).contains("written: 0"));
    ended(&["--from", &nats, "--to", &stores.named("back")], 0);
    assert_eq!(told(&contents(&stores.path("back")).await), told(&contents(&stores.path("from")).await));
    stores.fill("other", 400..600, "w").await;
    assert!(ended(&["--from", &stores.named("other"), "--to", &nats], 1).contains("not empty"));
    ended(&["--from", &stores.named("other"), "--to", &nats, "--overwrite"], 0);
    ended(&["--from", &nats, "--to", &stores.named("third")], 0);
    assert_eq!(told(&contents(&stores.path("third")).await), told(&contents(&stores.path("other")).await));
    // A configuration names a store too.
    let config = stores.path("config.yaml");
    let text = format!("store: {{kind: embedded, path: {}}}\n", stores.path("fourth").display());
    std::fs::write(&config, text).expect("written");
    ended(&["--from", &nats, "--to", &format!("config:{}", config.display())], 0);
    assert_eq!(told(&contents(&stores.path("fourth")).await).len(), 200);
}
