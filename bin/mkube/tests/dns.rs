//! `mkube dns`, the real process: crashes, a second one on the same file, and two of them in namespaces of their own.

mod dev;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use dev::http::Http;
use dev::process::Running;
use dev::{SOON, binary, eventually, text_of};
use serde_json::{Value, json};

/// Whether a program is there; says loudly when not.
fn has(program: &str, story: &str) -> bool {
    let there = Command::new(program).arg("-v").output().is_ok();
    if !there {
        let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: {program} is not installed\n");
    }
    there
}

/// A name server that runs, where its REST is and where it answers.
struct Names {
    running: Running,
    rest: Http,
    dns: String,
}

fn names(directory: &Path) -> Names {
    let mut command = Command::new(binary());
    command.args(["dns", "--listen-dns", "127.0.0.1:0", "--listen-api", "127.0.0.1:0", "--data-dir"]).arg(directory);
    let running = Running::start(command);
    running.wait_for("ready", SOON);
    let output = running.output();
    let after = |start: &str| {
        let line = output.lines().find_map(|line| line.trim_start().strip_prefix(start));
        line.unwrap_or_else(|| panic!("{start}: {output}")).trim().to_owned()
    };
    Names { rest: Http::new(&after("name server, REST on "), None), dns: after("dns "), running }
}

fn dig(at: &str, words: &[&str]) -> String {
    let (host, port) = at.rsplit_once(':').expect("a port");
    let output =
        Command::new("dig").arg(format!("@{host}")).args(["-p", port, "+short", "+time=3"]).args(words).output();
    text_of(output).trim().to_owned()
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

#[test]
fn what_was_acknowledged_is_answered_after_a_crash_and_a_second_process_is_refused() {
    if !has("dig", "a name server that crashes") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut zone = String::new();
    for round in 0..5 {
        let server = names(directory.path());
        if round == 0 {
            zone = id(&server.rest.post("/api/v1/zones", &json!({"name": "lab.test"}))).to_owned();
            let mut second = Command::new(binary());
            second.args(["dns", "--listen-dns", "127.0.0.1:0", "--listen-http", "127.0.0.1:0", "--data-dir"]);
            let (status, said) = Running::start({
                second.arg(directory.path());
                second
            })
            .wait(SOON);
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(said.contains("another process uses this file"), "{said}");
        }
        for earlier in 0..round {
            assert_eq!(
                dig(&server.dns, &[&format!("n{earlier}.lab.test")]),
                format!("10.0.0.{earlier}"),
                "round {round}"
            );
        }
        let record = json!({"name": format!("n{round}"), "data": {"type": "A", "data": format!("10.0.0.{round}")}});
        server.rest.post(&format!("/api/v1/zones/{zone}/records"), &record);
        server.running.kill();
    }
    let server = names(directory.path());
    assert_eq!(dig(&server.dns, &["n4.lab.test"]), "10.0.0.4");
    assert_eq!(dig(&server.dns, &["-x", "10.0.0.4"]), "n4.lab.test.");
    assert!(server.running.terminate().success());
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("microdns.toml");
    for (text, wanted) in [
        ("[instance\n", "microdns.toml"),
        ("[instance]\nid = \"a\"\n[dns.auth]\nlisten = \"here\"\n", "dns.auth.listen"),
        ("[instance]\nid = \"a\"\n", "nothing to serve"),
    ] {
        std::fs::write(&file, text).expect("written");
        let output = Command::new(binary()).args(["dns", "-c"]).arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{text}: {said}");
        assert!(said.contains(wanted), "{said}");
    }
}

/// Two namespaces with a wire between them; gone at the end.
struct Wire {
    spaces: [String; 2],
}

impl Wire {
    fn new() -> Self {
        let pid = std::process::id();
        let wire = Self { spaces: [format!("mkn{pid}a"), format!("mkn{pid}b")] };
        let [a, b] = &wire.spaces;
        for line in [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add mkw0 netns {a} type veth peer name mkw0 netns {b}"),
            format!("-n {a} addr add 10.77.0.1/24 dev mkw0"),
            format!("-n {b} addr add 10.77.0.2/24 dev mkw0"),
            format!("-n {a} link set mkw0 up"),
            format!("-n {b} link set mkw0 up"),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
        ] {
            let output = Command::new("ip").args(line.split_whitespace()).output().expect("ip runs");
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        wire
    }

    /// A program in one of them.
    fn inside(&self, space: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.spaces[space]]).arg(program);
        command
    }

    fn server(&self, space: usize, directory: &Path, config: &str) -> Running {
        let file = directory.join(format!("{space}.toml"));
        std::fs::write(&file, config).expect("written");
        let mut command = self.inside(space, binary());
        command.args(["dns", "--config"]).arg(&file);
        let running = Running::start(command);
        running.wait_for("ready", SOON);
        running
    }

    /// Posts JSON to the server in a namespace.
    fn post(&self, space: usize, path: &str, body: &Value) -> Value {
        let url = format!("http://127.0.0.1:8080/api/v1{path}");
        let mut curl = self.inside(space, "curl");
        curl.args(["-sS", "-H", "Content-Type: application/json", "-d", &body.to_string(), &url]);
        let said = text_of(curl.output());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{url}: {said}: {error}"))
    }

    fn dig(&self, space: usize, words: &[&str]) -> String {
        let mut dig = self.inside(space, "dig");
        text_of(dig.args(["@127.0.0.1", "+time=5", "+tries=1"]).args(words).output())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for space in &self.spaces {
            let _ = Command::new("ip").args(["netns", "del", space]).output();
        }
    }
}

#[test]
fn two_servers_in_namespaces_of_their_own_answer_for_one_another_until_one_is_gone() {
    let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !root || !has("dig", "two name servers") || !has("curl", "two name servers") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let wire = Wire::new();
    let config = |name: &str, peer_zone: &str, peer: &str| {
        let path = directory.path().join(format!("{name}.redb"));
        format!(
            "[instance]\nid = \"{name}\"\n[dns.auth]\nlisten = \"0.0.0.0:53\"\n[dns.recursor]\nlisten = \"0.0.0.0:53\"\n\
             [dns.recursor.forward_zones]\n\"{peer_zone}\" = [\"{peer}\"]\n[api.rest]\nlisten = \"127.0.0.1:8080\"\n\
             [database]\npath = \"{}\"\n",
            path.display()
        )
    };
    let a = wire.server(0, directory.path(), &config("a", "b.test", "10.77.0.2"));
    let b = wire.server(1, directory.path(), &config("b", "a.test", "10.77.0.1"));
    for (space, zone, address) in [(0, "a.test", "10.0.0.1"), (1, "b.test", "10.0.0.2")] {
        let made = wire.post(space, "/zones", &json!({"name": zone}));
        let record = json!({"name": "web", "ttl": 1, "data": {"type": "A", "data": address}});
        wire.post(space, &format!("/zones/{}/records", id(&made)), &record);
    }
    assert_eq!(wire.dig(0, &["+short", "web.b.test"]).trim(), "10.0.0.2");
    assert_eq!(wire.dig(1, &["+short", "web.a.test"]).trim(), "10.0.0.1");
    b.kill();
    assert!(wire.dig(0, &["new.b.test"]).contains("status: SERVFAIL"), "nobody knows, and it says so in time");
    assert_eq!(wire.dig(0, &["+short", "web.a.test"]).trim(), "10.0.0.1", "its own names are answered as before");
    let b = wire.server(1, directory.path(), &config("b", "a.test", "10.77.0.1"));
    eventually("the peer's names are back", SOON, || match wire.dig(0, &["+short", "web.b.test"]).trim() {
        "10.0.0.2" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert!(a.terminate().success() && b.terminate().success());
}
