//! `kubectl logs`: what the container wrote, and nothing else.

mod dev;

use dev::http::Http;
use dev::{Machine, SOON, container_status, eventually, real_containers, shell};
use serde_json::json;

fn log(api: &Http, pod: &str, query: &str) -> Result<String, String> {
    api.page(&format!("/api/v1/namespaces/default/pods/{pod}/log?{query}"))
}

fn wait_log(api: &Http, pod: &str, query: &str, wanted: &str) {
    eventually(&format!("log of {pod} with {query:?}"), SOON, || match log(api, pod, query) {
        Ok(text) if text == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn output_is_served_as_written_whole_or_in_part() {
    if !real_containers("logs") {
        return;
    }
    let machine = Machine::new("logs");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    // Standard output and error are two pipes: only time puts them in order.
    let line = "echo one; sleep 0.3; echo two >&2; sleep 0.3; printf 'no end'; echo; echo 'mkube: looks like ours'; sleep 3; echo late; sleep 100000";
    api.create(&shell("writer", line, json!({})));
    api.wait_running("writer");
    let early = "one\ntwo\nno end\nmkube: looks like ours\n";
    let all = format!("{early}late\n");
    wait_log(&api, "writer", "", &all);
    assert_eq!(log(&api, "writer", "container=main").as_deref(), Ok(all.as_str()));
    assert_eq!(log(&api, "writer", "tailLines=2").as_deref(), Ok("mkube: looks like ours\nlate\n"));
    assert_eq!(log(&api, "writer", "tailLines=0").as_deref(), Ok(""));
    assert_eq!(log(&api, "writer", "limitBytes=5").as_deref(), Ok("one\nt"));
    assert_eq!(log(&api, "writer", "sinceSeconds=3600").as_deref(), Ok(all.as_str()));
    let stamped = log(&api, "writer", "timestamps=true").expect("a log");
    let times: Vec<jiff::Timestamp> = stamped
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().parse().unwrap_or_else(|why| panic!("{line:?}: {why}")))
        .collect();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(stamped.lines().next().and_then(|line| line.split_once(' ')).map(|(_, text)| text), Some("one"));
    // Only the last line is younger than the moment between the fourth and it.
    let between = times[3] + jiff::SignedDuration::from_millis(1500);
    assert_eq!(log(&api, "writer", &format!("sinceTime={between}")).as_deref(), Ok("late\n"));
    let wrong = log(&api, "writer", "container=nobody").expect_err("refused");
    assert!(wrong.starts_with("400") && wrong.contains("nobody"), "{wrong}");
    let wrong = log(&api, "writer", "previous=true").expect_err("refused");
    assert!(wrong.starts_with("400") && wrong.contains("previous"), "{wrong}");
    let wrong = log(&api, "writer", "tailLines=many").expect_err("refused");
    assert!(wrong.starts_with("422"), "{wrong}");
    let wrong = log(&api, "nobody", "").expect_err("refused");
    assert!(wrong.starts_with("404"), "{wrong}");
}

#[test]
fn a_follower_sees_lines_as_they_come_and_ends_with_the_container() {
    if !real_containers("logs -f") {
        return;
    }
    let machine = Machine::new("logs-follow");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let line = "echo first; while [ ! -e /word/now ]; do sleep 0.1; done; echo last; exit 0";
    let mut pod = shell("writer", line, json!({"restartPolicy": "Never"}));
    let directory = machine.dir.join("word");
    std::fs::create_dir_all(&directory).expect("a directory");
    pod["spec"]["volumes"] = json!([{"name": "word", "hostPath": {"path": directory}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "word", "mountPath": "/word"}]);
    api.create(&pod);
    api.wait_running("writer");
    let mut follower = api.stream("/api/v1/namespaces/default/pods/writer/log?follow=true");
    let mut late = api.stream("/api/v1/namespaces/default/pods/writer/log?follow=true&tailLines=0");
    follower.until("first\n", SOON);
    std::fs::write(directory.join("now"), "").expect("written");
    assert_eq!(follower.rest(SOON), "first\nlast\n");
    assert_eq!(late.rest(SOON), "last\n");
    // What was written stays readable after the end.
    api.wait_pod("writer", "Succeeded", SOON, |pod| pod["status"]["phase"] == "Succeeded");
    wait_log(&api, "writer", "", "first\nlast\n");
    wait_log(&api, "writer", "follow=true", "first\nlast\n");
}

#[test]
fn the_output_of_the_run_before_is_kept_after_a_crash() {
    if !real_containers("logs --previous") {
        return;
    }
    let machine = Machine::new("logs-previous");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let line = "if [ -e /was/here ]; then echo second run; sleep 100000; fi; echo first run; echo > /was/here; exit 3";
    let mut pod = shell("crasher", line, json!({}));
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "undeclared", "mountPath": "/was"}]);
    api.create(&pod);
    let restarted = api.wait_pod("crasher", "restarted", SOON, |pod| {
        dev::http::is_running(pod) && container_status(pod, "main")["restartCount"] == 1
    });
    assert_eq!(container_status(&restarted, "main")["lastState"]["terminated"]["exitCode"], 3);
    wait_log(&api, "crasher", "previous=true", "first run\n");
    wait_log(&api, "crasher", "", "second run\n");
}

#[test]
fn each_container_of_a_pod_has_its_own_log() {
    if !real_containers("logs -c") {
        return;
    }
    let machine = Machine::new("logs-two");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let mut pod = shell("pair", "echo left; sleep 100000", json!({}));
    let mut other = pod["spec"]["containers"][0].clone();
    other["name"] = json!("side");
    other["command"][2] = json!("echo right; sleep 100000");
    pod["spec"]["containers"].as_array_mut().expect("containers").push(other);
    api.create(&pod);
    api.wait_running("pair");
    wait_log(&api, "pair", "container=main", "left\n");
    wait_log(&api, "pair", "container=side", "right\n");
    let which = log(&api, "pair", "").expect_err("one must be chosen");
    assert!(which.starts_with("400") && which.contains("main") && which.contains("side"), "{which}");
}
