//! From `skopeo copy` to new containers: real registry, real containers, pods that follow their image.

mod dev;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dev::http::Http;
use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, container_status, eventually, pod, real_containers};
use mkube_linux_containers::assemble::{self, ImageFile};
use serde_json::{Value, json};

/// A rollout over some pods, each proven for three seconds.
const ROLLOUT: Duration = Duration::from_secs(90);

/// Pushes an image whose `/bin/run` is this shell line.
fn push(machine: &Machine, image: &str, line: &str) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let busybox = busybox.into_iter().find(|path| path.is_file()).expect("busybox-static is installed");
    let mut spec = assemble::busybox("app:1", busybox, &["sh", "sleep", "false"]).expect("an image");
    let bytes = format!("#!/bin/sh\n{line}\n").into_bytes();
    spec.files.push(ImageFile { path: "bin/run".into(), mode: 0o755, bytes });
    let archive = machine.dir.join("pushed.tar");
    assemble::write(&spec, &archive).expect("written");
    let pushed = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
        .args([format!("docker-archive:{}", archive.display()), format!("docker://{image}")])
        .output()
        .expect("skopeo is installed");
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
}

fn registry_of(dev: &Running) -> String {
    let output = dev.output();
    let line = output.lines().find(|line| line.trim_start().starts_with("registry ")).expect("dev names its registry");
    line.split_whitespace().nth(1).and_then(|url| url.strip_prefix("http://")).expect("an address").to_owned()
}

fn digest(pod: &Value) -> String {
    let id = container_status(pod, "main")["imageID"].as_str().unwrap_or_default().to_owned();
    id.rsplit_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default()
}

fn follower(name: &str, image: &str, policy: &str) -> Value {
    let mut pod = pod(name, json!({"image": image, "command": ["/bin/run"]}), json!({}));
    pod["metadata"]["annotations"] = json!({"vkube.io/image-policy": policy});
    pod
}

fn has_event(api: &Http, pod: &str, reason: &str) -> bool {
    let events = api.get("/api/v1/namespaces/default/events");
    let about = |event: &Value| event["involvedObject"]["name"] == pod && event["reason"] == reason;
    events["items"].as_array().is_some_and(|all| all.iter().any(about))
}

#[test]
fn a_push_ends_in_new_containers_and_a_bad_one_leaves_all_but_the_first_alone_and_puts_that_back() {
    if !real_containers("pods that follow their image") {
        return;
    }
    let machine = Machine::new("follow");
    let dev = machine.dev(&[]);
    let api = machine.api();
    let image = format!("{}/app:edge", registry_of(&dev));
    push(&machine, &image, "exec sleep 100000");
    for name in ["a", "b"] {
        api.create(&follower(name, &image, "auto"));
    }
    api.create(&follower("still", &image, ""));
    let first = ["a", "b", "still"].map(|name| api.wait_running(name));
    let old = digest(&first[0]);
    assert!(old.starts_with("sha256:") && first.iter().all(|pod| digest(pod) == old), "{first:?}");
    let untouched = machine.process(&first[2], "main");

    push(&machine, &image, "exec sleep 200000");
    let second = ["a", "b"].map(|name| {
        api.wait_pod(name, "on the new image", ROLLOUT, |pod| {
            dev::http::is_running(pod) && digest(pod) != old && !digest(pod).is_empty()
        })
    });
    let new = digest(&second[0]);
    assert_eq!(digest(&second[1]), new);
    eventually("the rollout is told", LATER, || {
        if ["a", "b"].iter().all(|pod| has_event(&api, pod, "ImageUpdated")) { Ok(()) } else { Err("not yet".into()) }
    });
    assert_eq!(machine.process(&api.pod("still"), "main"), untouched, "a pod that does not follow goes on as it was");
    let other = machine.process(&api.pod("b"), "main");

    push(&machine, &image, "exec false");
    api.wait_pod("a", "put back", ROLLOUT, |pod| {
        let refused = pod["metadata"]["annotations"]["vkube.io/image-refused"].as_str().unwrap_or_default();
        dev::http::is_running(pod) && digest(pod) == new && refused.starts_with(&image)
    });
    eventually("the failure is told", LATER, || {
        if has_event(&api, "a", "RolloutFailed") { Ok(()) } else { Err("not yet".into()) }
    });
    assert_eq!(machine.process(&api.pod("b"), "main"), other, "the second pod never stopped");

    // Better luck next time: the next push is another digest.
    push(&machine, &image, "exec sleep 300000");
    for name in ["a", "b"] {
        api.wait_pod(name, "on the fourth image", ROLLOUT, |pod| {
            dev::http::is_running(pod) && ![&old, &new].contains(&&digest(pod)) && !digest(pod).is_empty()
        });
    }
    for name in ["a", "b", "still"] {
        api.delete(name);
        api.wait_gone(name);
    }
    eventually("nothing is left", LATER, || {
        let left = machine.leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}
