//! What kubectl sees of a takeover: commands that were begun before it go on, or end with a clear word.

mod dev;

use std::path::Path;
use std::process::Command;

use dev::http::Http;
use dev::pair::{Controller, LONG, Pair};
use dev::process::Running;
use dev::{SOON, eventually, real_containers, shell, text_of};
use serde_json::{Value, json};

/// Writes a line every so often, for ever.
const TALKS: &str = "n=0; while true; do echo line $n; n=$((n+1)); sleep 0.1; done";
/// Each object as it is seen: its name and version.
const SEEN: &str = "jsonpath={.metadata.name} {.metadata.resourceVersion}{\"\\n\"}";

fn kubectl(at: &Controller, home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["--server", &format!("http://{}", at.listen)]).args(words);
    command.env("HOME", home).env_remove("KUBECONFIG");
    command
}

/// Waits until a command has written this.
#[track_caller]
fn wrote(command: &Running, words: &str) {
    eventually(words, LONG, || {
        let output = command.output();
        if output.contains(words) { Ok(()) } else { Err(output) }
    });
}

/// How many lines a container's command has written so far; each in its turn, none twice and none left out.
#[track_caller]
fn lines(output: &str) -> usize {
    let numbers: Vec<usize> = output.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "{output}");
    }
    numbers.len()
}

/// Names and versions in the order in which they were seen.
fn seen(output: &str) -> Vec<(String, u64)> {
    let read =
        |line: &str| line.split_once(' ').and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)));
    output.lines().filter_map(read).collect()
}

/// What a watch over plain HTTP tells from this version on, up to the end of `last`.
fn told(at: &Http, from: u64, last: &(String, u64)) -> Vec<(String, u64)> {
    let mut stream = at.stream(&format!("/api/v1/namespaces/default/pods?watch=true&resourceVersion={from}"));
    stream.until(&format!("\"resourceVersion\":\"{}\"", last.1), SOON);
    let objects = stream.read.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let object = |event: Value| {
        let meta = &event["object"]["metadata"];
        let version = meta["resourceVersion"].as_str().and_then(|version| version.parse().ok());
        (meta["name"].as_str().unwrap_or_default().to_owned(), version.unwrap_or(0))
    };
    objects.map(object).take_while(|(_, version)| *version <= last.1).collect()
}

/// A pod that talks, and what was begun at both controllers before the first one is gone in one way or the other.
fn a_takeover_as_kubectl_sees_it(name: &str, end: impl FnOnce(&mut Controller)) {
    if !real_containers("kubectl across a takeover") {
        return;
    }
    assert!(
        text_of(Command::new("kubectl").args(["version", "--client"]).output()).contains("Version"),
        "kubectl is installed"
    );
    let mut pair = Pair::over(name, "linux");
    let home = pair.machine.dir.join("home");
    let mut pod = shell("talks", TALKS, json!({}));
    pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    pair.a.api().create(&pod);
    for one in [&pair.a, &pair.b] {
        one.api().wait_running("talks");
    }
    let run = |at: &Controller, words: &[&str]| Running::start(kubectl(at, &home, words));

    let watch = run(&pair.b, &["get", "pods", "-w", "-o", SEEN]);
    let follow = ["logs", "-f", "--tail=1", "talks"];
    let goes = run(&pair.a, &follow);
    let exec = run(&pair.a, &["exec", "talks", "--", "/bin/sh", "-c", TALKS]);
    wrote(&watch, "talks ");
    for one in [&goes, &exec] {
        wrote(one, "line ");
    }
    for words in [&["exec", "talks", "--", "true"][..], &["logs", "-f", "talks"]] {
        let refused = kubectl(&pair.b, &home, words).output().expect("it runs");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains("standing by for rose1"), "{refused:?}");
    }

    end(&mut pair.a);
    // Nobody is left waiting for one that is gone, and a command that was cut off does not look done.
    for (what, one) in [("logs -f", goes), ("exec", exec)] {
        let (status, output) = one.wait(SOON);
        lines(&output);
        let word = output.lines().last().unwrap_or_default();
        assert!(!status.success() && word.starts_with("error: "), "{what} ends, and says why: {status}, {word:?}");
    }
    pair.runs(&pair.b, "second");
    pair.b.says("drives rose1");
    let follows = run(&pair.b, &follow);
    eventually("its output is followed here now", SOON, || match lines(&follows.output()) {
        now if now > 20 => Ok(()),
        _ => Err(follows.output()),
    });
    let output = kubectl(&pair.b, &home, &["exec", "talks", "--", "echo", "there"]).output();
    assert_eq!(text_of(output), "there\n");

    // The watch saw all that happened, and nothing twice.
    let last = {
        let pod = pair.b.api().get("/api/v1/namespaces/default/pods/second");
        let version = pod["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok());
        ("second".to_owned(), version.expect("a version"))
    };
    wrote(&watch, &format!("second {}", last.1));
    let all = seen(&watch.output());
    // First comes what was there, each by its own version.
    let there = all.iter().position(|(name, _)| name == "second").expect("it was seen");
    let from = all[..there].iter().map(|(_, version)| *version).max().expect("there was something");
    let since: Vec<_> = all[there..].iter().filter(|(_, version)| *version <= last.1).cloned().collect();
    assert_eq!(since, told(&pair.b.api(), from, &last), "{all:?}");
}

#[test]
fn what_kubectl_began_at_who_stands_by_goes_on_when_the_driver_ends() {
    a_takeover_as_kubectl_sees_it("kubectl-end", |driver| {
        assert!(driver.process.take().expect("it runs").terminate().success());
    });
}

#[test]
fn what_kubectl_began_at_who_stands_by_goes_on_when_the_driver_is_killed() {
    a_takeover_as_kubectl_sees_it("kubectl-kill", Controller::kill);
}
