//! Archives that are no images.

mod dev;

use dev::site::LATER;
use dev::{Machine, container_status, eventually, pod, real_containers};
use serde_json::{Value, json};

fn waiting(pod: &Value) -> (String, String) {
    let waiting = container_status(pod, "main")["state"]["waiting"].clone();
    let text = |key: &str| waiting[key].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[test]
fn a_corrupt_archive_is_said_leaves_nothing_and_is_tried_again_when_replaced() {
    if !real_containers("corrupt archives") {
        return;
    }
    let machine = Machine::new("images");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    let cache = machine.data().join("host/disk1/cache");
    let good = std::fs::read(cache.join("hello-latest.tar")).expect("the hello archive");
    let broken: [(&str, Vec<u8>); 3] = [
        ("noise", b"this is no archive at all, only a few words. ".repeat(200)),
        ("short", good[..good.len() / 2].to_vec()),
        ("empty-tar", vec![0; 10240]),
    ];
    for (name, bytes) in &broken {
        std::fs::write(cache.join(format!("127-0-0-1-1-{name}-1.tar")), bytes).expect("written");
        // Nobody is there to give another one.
        api.create(&pod(name, json!({"image": format!("127.0.0.1:1/{name}:1")}), json!({})));
    }
    for (name, _) in &broken {
        let told = api.wait_pod(name, "told why", LATER, |pod| waiting(pod).1.contains("next try in"));
        assert_eq!(told["status"]["phase"], "Pending");
        assert!(waiting(&told).0.starts_with("ErrImage"), "{name}: {:?}", waiting(&told));
    }
    for (name, _) in &broken {
        std::fs::write(cache.join(format!("127-0-0-1-1-{name}-1.tar")), &good).expect("written");
    }
    for (name, _) in &broken {
        api.wait_pod(name, "running after all", std::time::Duration::from_secs(120), dev::http::is_running);
        api.delete(name);
        api.wait_gone(name);
    }
    eventually("nothing is left of any try", LATER, || {
        let left = machine.leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

#[test]
fn a_program_the_image_does_not_have_is_no_silent_failure() {
    if !real_containers("programs that are not there") {
        return;
    }
    let machine = Machine::new("images-program");
    let _dev = machine.dev(&[]);
    let api = machine.api();
    api.create(&pod("lost", json!({"command": ["/bin/nonsense", "-x"]}), json!({"restartPolicy": "Never"})));
    let told = api.wait_pod("lost", "Failed", LATER, |pod| pod["status"]["phase"] == "Failed");
    let terminated = container_status(&told, "main")["state"]["terminated"].clone();
    assert_eq!((&terminated["reason"], &terminated["exitCode"]), (&json!("StartError"), &json!(255)));
    let message = terminated["message"].as_str().unwrap_or_default().to_lowercase();
    assert!(message.contains("execvp") && message.contains("no such file or directory"), "{terminated}");
    api.delete("lost");
    api.wait_gone("lost");
    eventually("nothing is left", LATER, || {
        let left = machine.leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}
