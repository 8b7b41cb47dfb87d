//! A NATS that came back from a backup: mkube says what it lacks and does not obey it, until a person accepts exactly that. What was
//! known is copied first; whatever dies meanwhile, everything is as it was or as it was accepted.

mod dev;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, SOON, binary, eventually, names_in, pause, pod};
use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// Processes stand before the machine, so that they end first.
struct Site {
    serve: Option<Running>,
    _host: Running,
    nats: NatsServer,
    machine: Machine,
}

impl Site {
    /// There is a backup of an earlier time, and much has happened since. Then NATS is lost, and comes back from the backup.
    fn with_an_older_store(name: &str) -> Self {
        let machine = Machine::new(name);
        machine.image("hello:latest");
        let host = machine.host("simulated", &[]);
        let mut site = Self { serve: None, _host: host, nats: NatsServer::start(), machine };
        site.start();
        site.wait_state("ok");
        let api = site.machine.api();
        api.create(&cached("early"));
        api.wait_running("early");
        for name in ["page", "deleted"] {
            api.post(MAPS, &json!({"metadata": {"name": name}, "data": {"text": "of the backup"}}));
        }
        site.kill();
        let mut backup = NatsServer::start();
        let from = format!("snapshot:{}", site.machine.dir.join("state.redb").display());
        let moved = Command::new(binary()).args(["migrate", "--from", &from, "--to", &backup.url()]).output();
        assert!(moved.as_ref().is_ok_and(|output| output.status.success()), "{moved:?}");
        site.start();
        site.wait_state("ok");
        api.create(&cached("late"));
        api.wait_running("late");
        api.patch(&format!("{MAPS}/page"), &json!({"data": {"text": "newer"}}));
        api.good("DELETE", &format!("{MAPS}/deleted"), None);
        api.post(SECRETS, &json!({"metadata": {"name": "key"}, "stringData": {"password": "sesame"}}));
        site.nats.stop();
        backup.stop();
        let copy = tempfile::tempdir().expect("a directory");
        backup.copy_data_to(copy.path());
        site.nats.replace_data(Some(copy.path()));
        site.nats.start_again();
        site.wait_state("older");
        site
    }

    fn start(&mut self) {
        let url = self.nats.url();
        self.serve = Some(self.machine.serve_unready(|config| {
            config["nats"] = json!({"url": url});
            config["store"]["kind"] = json!("nats");
        }));
    }

    /// `kill -9` of the controller.
    fn kill(&mut self) {
        self.serve.take().expect("it runs").kill();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(words).env("MKUBE_SERVER", format!("http://{}", self.machine.listen));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the binary runs")
    }

    /// How the store is, as the program says it.
    fn state(&self) -> Result<Value, String> {
        let output = self.run(&["store", "status", "-o", "json"]);
        serde_json::from_slice(&output.stdout).map_err(|_| format!("{output:?}"))
    }

    #[track_caller]
    fn wait_state(&self, state: &str) -> Value {
        eventually(&format!("a store that is {state}"), LATER, || {
            let now = self.state()?;
            if now["state"] == state { Ok(now) } else { Err(now.to_string()) }
        })
    }

    /// Names and data of all that is of interest here.
    fn contents(&self) -> Contents {
        let api = self.machine.api();
        let names = |path: &str| -> BTreeSet<String> {
            let list = api.get(path);
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items.iter().map(|one| one["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let generated = |name: &String| name != "dns-config";
        let maps: BTreeSet<String> = names(MAPS).into_iter().filter(generated).collect();
        let page = api.get(&format!("{MAPS}/page"))["data"]["text"].as_str().unwrap_or_default().to_owned();
        Contents { pods: names("/api/v1/namespaces/default/pods"), maps, secrets: names(SECRETS), page }
    }

    /// The row of a pod's container on the device.
    fn row(&self, name: &str) -> Value {
        let rows = self.machine.host_api().get("/container");
        let name = format!("default_{name}_main");
        rows.as_array().and_then(|all| all.iter().find(|row| row["name"] == name)).cloned().unwrap_or_default()
    }

    /// Copies there are, the oldest first.
    fn copies(&self) -> Vec<PathBuf> {
        let names = names_in(&self.machine.dir);
        let mut copies: Vec<PathBuf> = names
            .iter()
            .filter(|name| name.starts_with("state.redb.before-") && name.ends_with(".yaml"))
            .map(|name| self.machine.dir.join(name))
            .collect();
        copies.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        copies
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    pods: BTreeSet<String>,
    maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
    page: String,
}

impl Contents {
    fn of([pods, maps, secrets]: [&[&str]; 3], page: &str) -> Self {
        let [pods, maps, secrets] =
            [pods, maps, secrets].map(|names| names.iter().map(|one| (*one).to_owned()).collect());
        Self { pods, maps, secrets, page: page.to_owned() }
    }

    /// What everybody was told.
    fn known() -> Self {
        Self::of([&["early", "late"], &["page"], &["key"]], "newer")
    }

    fn of_the_backup() -> Self {
        Self::of([&["early"], &["deleted", "page"], &[]], "of the backup")
    }
}

/// The image is in the cache, and comes from nowhere else.
fn cached(name: &str) -> Value {
    pod(name, json!({"imagePullPolicy": "Never"}), json!({}))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_store_from_a_backup_is_accepted_by_whoever_names_what_is_lost_and_the_copy_brings_it_back() {
    let site = Site::with_an_older_store("older");
    let api = site.machine.api();
    let shown = site.run(&["store", "status"]);
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");
    let state = site.state().expect("an answer");
    let losses = state["older"]["objects"].as_array().expect("a list");
    let named = |kind: &str, name: &str| {
        let is = |one: &&Value| one["kind"] == kind && one["name"] == name;
        losses.iter().find(is).map(|one| one["state"].as_str().unwrap_or_default().to_owned())
    };
    for (kind, name, expected) in [
        ("Pod", "late", Some("missing")),
        ("Secret", "key", Some("missing")),
        ("ConfigMap", "page", Some("older")),
        ("ConfigMap", "deleted", Some("returned")),
        ("Namespace", "default", None),
    ] {
        assert_eq!(named(kind, name).as_deref(), expected, "{kind} {name}: {state:#}");
    }
    assert!(!text(&shown).contains("sesame"), "{shown:?}");
    assert_eq!(site.contents(), Contents::known());
    let refused = site.run(&["store", "accept", "0123456789abcdef"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused).contains("look at its state again; nothing was changed (409"), "{refused:?}");
    assert_eq!((site.contents(), site.copies()), (Contents::known(), vec![]));

    let version = api.get("/api/v1/pods")["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let mut watch = api.stream(&format!("/api/v1/pods?watch=true&resourceVersion={version}"));
    let rows = ["early", "late"].map(|name| site.row(name)[".id"].clone());
    assert!(rows.iter().all(Value::is_string), "{rows:?}");
    let digest = state["older"]["digest"].as_str().expect("a digest");
    let accepted = site.run(&["store", "accept", digest]);
    assert!(accepted.status.success(), "{accepted:?}");
    let copies = site.copies();
    assert_eq!(copies.len(), 1);
    assert!(text(&accepted).contains(&copies[0].display().to_string()), "{accepted:?}");
    site.wait_state("ok");
    eventually("what it holds is what is wanted", SOON, || {
        let now = site.contents();
        if now == Contents::of_the_backup() { Ok(()) } else { Err(format!("{now:?}")) }
    });
    // Whoever saw a version that the store never had, such as that of a status that waits for it, lists anew.
    watch.until_any(&["\"type\":\"DELETED\"", "\"type\":\"ERROR\""], SOON);
    let told =
        |line: &str| line.contains("DELETED") && line.contains("late") || line.contains("too large resource version");
    assert!(watch.read.lines().any(told), "{}", watch.read);
    let again = site.run(&["store", "accept", digest]);
    assert!(text(&again).contains("there is nothing to accept") && again.status.code() == Some(1), "{again:?}");
    assert_eq!(rows, ["early", "late"].map(|name| site.row(name)[".id"].clone()), "no container goes at once");

    let imported = site.run(&["import", &copies[0].display().to_string()]);
    assert!(imported.status.success(), "{imported:?}");
    api.wait_running("late");
    let mut expected = Contents::known();
    // An import deletes nothing.
    expected.maps.insert("deleted".to_owned());
    assert_eq!(site.contents(), expected);
    let secret = api.get(&format!("{SECRETS}/key"));
    assert_eq!(secret["data"]["password"], "c2VzYW1l");
    assert_eq!(rows, ["early", "late"].map(|name| site.row(name)[".id"].clone()), "the pod has its container again");
    let starts = site.machine.calls("POST /container/start");
    assert_eq!(starts, 2, "and it was started once");
}

/// What is left after a death in the middle is all of one thing.
fn is_whole(site: &Site) -> bool {
    let state = eventually("the store is read", LATER, || {
        let now = site.state()?;
        if ["ok", "older"].iter().any(|state| now["state"] == *state) { Ok(now) } else { Err(now.to_string()) }
    });
    let taken = state["state"] == "ok";
    let expected = if taken { Contents::of_the_backup() } else { Contents::known() };
    eventually("all is as it was, or as it was accepted", SOON, || {
        let now = site.contents();
        if now == expected { Ok(()) } else { Err(format!("{taken}: {now:?}")) }
    });
    taken
}

#[test]
fn kill_9_while_an_older_store_is_accepted_leaves_all_of_the_one_or_all_of_the_other() {
    let mut site = Site::with_an_older_store("older-killed");
    let mut rounds = 0_u64;
    loop {
        let digest = site.wait_state("older")["older"]["digest"].as_str().expect("a digest").to_owned();
        let before = site.copies().len();
        let mut accepting = site.command(&["store", "accept", &digest]).spawn().expect("the binary runs");
        // The first time in the moment in which the copy is there, then later and later after that.
        eventually("a copy", SOON, || if site.copies().len() > before { Ok(()) } else { Err(String::new()) });
        pause(Duration::from_millis(rounds * 3));
        site.kill();
        accepting.wait().expect("it ends");
        site.start();
        rounds += 1;
        if is_whole(&site) {
            break;
        }
        assert!(rounds < 100, "it is never accepted");
    }
    let copies = site.copies();
    assert_eq!(u64::try_from(copies.len()).expect("few"), rounds, "each has a name of its own");
    for copy in copies {
        let text = std::fs::read_to_string(&copy).expect("there");
        let documents = mkube_manifests::parse_documents(&text).expect("YAML");
        for name in ["early", "late", "page", "key"] {
            assert!(documents.iter().any(|one| one["metadata"]["name"] == name), "{name} in {}", copy.display());
        }
    }
    let left: Vec<String> = names_in(&site.machine.dir).into_iter().filter(|name| name.ends_with(".part")).collect();
    assert_eq!(left, Vec::<String>::new());
}
