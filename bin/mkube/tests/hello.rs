//! The thin line: one command, one manifest, and the page answers at the pod's address.

mod dev;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use dev::http::Http;
use dev::{Machine, SOON, container_status, eventually, real_containers};

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: "hello from a story\n"}
---
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  containers:
  - name: web
    image: hello:latest
    command: [/bin/httpd, -f, -p, "80", -h, /www]
    volumeMounts: [{name: page, mountPath: /www}]
  volumes: [{name: page, configMap: {name: page}}]
"#;

#[test]
fn a_manifest_given_to_dev_becomes_a_page_at_the_pods_address() {
    if !real_containers("the hello page") {
        return;
    }
    let machine = Machine::new("hello");
    let manifest = machine.write("hello.yaml", MANIFEST);
    let started = Instant::now();
    let dev = machine.dev(&["--manifest", &manifest.display().to_string()]);
    let ready = started.elapsed();
    let pod = machine.api().wait_running("hello");
    eprintln!("ready after {ready:?}, pod running after {:?}", started.elapsed());
    let address = pod["status"]["podIP"].as_str().expect("an address").to_owned();
    assert!(address.starts_with(&machine.prefix), "{address}");
    let web = Http::new(&format!("http://{address}"), None);
    assert_eq!(eventually("the page", SOON, || web.page("/")), "hello from a story\n");
    assert_eq!(container_status(&pod, "web")["restartCount"], 0);

    // As `kubectl run` makes it: a pod that names the image and nothing else.
    let bare =
        json!({"metadata": {"name": "bare"}, "spec": {"containers": [{"name": "bare", "image": "hello:latest"}]}});
    machine.api().create(&bare);
    let address = machine.api().wait_running("bare")["status"]["podIP"].as_str().expect("an address").to_owned();
    let own = Http::new(&format!("http://{address}"), None);
    assert!(eventually("the page of the image", SOON, || own.page("/")).contains("came with the image"));
    machine.api().delete("bare");
    machine.api().wait_gone("bare");

    // Gone means gone, also from the kernel and the disk.
    machine.api().delete("hello");
    machine.api().wait_gone("hello");
    eventually("nothing left of the pod", Duration::from_secs(10), || {
        let left = machine.leftovers();
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
    assert!(web.page("/").is_err(), "the page is gone");
    assert!(dev.terminate().success());
}
