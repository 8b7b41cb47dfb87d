//! A device whose disks mkube does not see: it fetches the archives over HTTP, once, whole, whatever goes wrong on the way.

mod dev;

use std::path::PathBuf;

use dev::http::{Http, is_running};
use dev::process::Running;
use dev::proxy::{Proxy, Wire};
use dev::site::LATER;
use dev::{Machine, SOON, container_status, eventually, pod, real_containers, shell};
use serde_json::{Value, json};

/// Controller and host with nothing in common but the network; the archive lies with the controller.
struct Apart {
    // Ended before the machine takes apart what they made.
    _serve: Running,
    _host: Running,
    machine: Machine,
    proxy: Proxy,
    archive: PathBuf,
}

fn apart(story: &str, engine: &str, plan: &[Wire]) -> Apart {
    let machine = Machine::new(story);
    let host = machine.host(engine, &[]);
    let proxy = Proxy::start(&machine.listen, plan);
    let cache = machine.dir.join("controller/cache");
    let archive = machine.image_in(&cache, "hello:latest");
    let base = format!("http://{}", proxy.address);
    let serve = machine.serve_unready(|config| {
        config["storage"] = json!({"basePath": "/disk1/images", "tarballCache": cache});
        config["images"] = json!({"delivery": "fetch", "fetchBaseURL": base});
    });
    machine.api().wait_ready();
    Apart { machine, proxy, archive, _host: host, _serve: serve }
}

impl Apart {
    fn size(&self) -> u64 {
        std::fs::metadata(&self.archive).expect("the archive").len()
    }

    /// Names and sizes of what lies in the device's directory of archives.
    fn delivered(&self) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(self.machine.dir.join("host/disk1/cache")).into_iter().flatten().flatten();
        let one = |entry: std::fs::DirEntry| {
            (entry.file_name().to_string_lossy().into_owned(), entry.metadata().map_or(0, |meta| meta.len()))
        };
        entries.map(one).collect()
    }

    fn fetches(&self) -> u64 {
        self.machine.calls("POST /tool/fetch")
    }

    /// One archive, whole, and nothing half done.
    #[track_caller]
    fn holds_the_archive(&self) {
        let delivered = self.delivered();
        assert!(
            matches!(delivered.as_slice(), [(name, size)] if name.ends_with(".tar") && *size == self.size()),
            "{delivered:?}"
        );
        assert_eq!(std::fs::read_dir(self.machine.dir.join("host/fetching")).map_or(0, Iterator::count), 0);
    }
}

fn told(pod: &Value) -> String {
    container_status(pod, "main")["state"]["waiting"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_pod_comes_up_from_an_archive_the_device_fetched_and_the_address_works_once() {
    if !real_containers("archives fetched by the device") {
        return;
    }
    let site = apart("fetch-real", "linux", &[Wire::Honest]);
    let api = site.machine.api();
    api.create(&pod("first", json!({}), json!({})));
    let first = api.wait_running("first");
    site.machine.process(&first, "main");
    site.holds_the_archive();
    assert_eq!(site.fetches(), 1);
    let paths = site.proxy.paths();
    assert!(paths.iter().all(|path| path.starts_with("/offers/") && path.len() == "/offers/".len() + 64), "{paths:?}");

    // It is there: the next pod of the image moves nothing.
    api.create(&pod("second", json!({}), json!({})));
    api.wait_running("second");
    assert_eq!((site.fetches(), site.proxy.paths().len()), (1, 1));

    // Files of a ConfigMap come over REST, and go with the container.
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page"}, "data": {"a.txt": "sent\n"}});
    api.post("/api/v1/namespaces/default/configmaps", &map);
    let mut reader = shell("reader", "cat /page/a.txt; sleep 100000", json!({}));
    reader["spec"]["volumes"] = json!([{"name": "page", "configMap": {"name": "page"}}]);
    reader["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "page", "mountPath": "/page"}]);
    api.create(&reader);
    api.wait_running("reader");
    eventually("the file is read", SOON, || match api.page("/api/v1/namespaces/default/pods/reader/log") {
        Ok(text) if text.contains("sent") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let placed = site.machine.dir.join("host/disk1/configmaps/default_reader_main/page/a.txt");
    assert!(placed.is_file());
    api.delete("reader");
    api.wait_gone("reader");
    assert!(!placed.exists());

    // Used up; and a word nobody was given opens nothing, however it is asked.
    for path in [paths[0].as_str(), "/offers/", "/offers/wrong", "/offers/../state.redb", "/offers/%2e%2e/x"] {
        for method in ["GET", "HEAD"] {
            let answer = api.call(method, path, None).map(|(code, _)| code);
            assert_eq!(answer, Ok(404), "{method} {path}");
        }
    }
    let output = site._serve.output();
    assert!(!paths.iter().any(|path| output.contains(path.trim_start_matches("/offers/"))), "a token was logged");
}

#[test]
fn a_download_cut_in_the_middle_is_made_again() {
    let site = apart("fetch-cut", "simulated", &[Wire::Cut(100_000), Wire::Cut(0), Wire::Honest]);
    let api = site.machine.api();
    api.create(&pod("web", json!({}), json!({})));
    let waiting = api.wait_pod("web", "told why", SOON, |pod| told(pod).contains("could not be brought to the device"));
    assert!(!told(&waiting).contains("/offers/"), "{}", told(&waiting));
    api.wait_pod("web", "running", LATER, is_running);
    site.holds_the_archive();
    assert_eq!(site.fetches(), 3);
    let paths = site.proxy.paths();
    assert!(paths[0] != paths[1] && paths[1] != paths[2], "each try has its own address");
}

#[test]
fn a_wire_that_lies_about_the_size_is_not_believed() {
    let site = apart("fetch-lie", "simulated", &[Wire::Lie(100_000), Wire::Honest]);
    let api = site.machine.api();
    api.create(&pod("web", json!({}), json!({})));
    let wanted = format!("100000 bytes of {} came", site.size());
    api.wait_pod("web", "told why", SOON, |pod| told(pod).contains(&wanted));
    api.wait_pod("web", "running", LATER, is_running);
    site.holds_the_archive();
}

#[test]
fn a_device_on_a_bad_day_gets_the_archive_all_the_same() {
    let site = apart("fetch-faults", "simulated", &[Wire::Honest]);
    let (machine, api) = (&site.machine, site.machine.api());
    let fetch = json!({"method": "POST", "path": "/tool/fetch"});
    for (name, rule, words, fetches) in [
        // The reply is lost and the work done: nothing is fetched twice.
        ("lost", json!({"match": fetch, "when": {"nth": 1}, "drop": "after"}), "", 1),
        ("cut", json!({"fetch": "cut", "when": {"nth": 1}}), "connection closed", 2),
        ("short", json!({"fetch": "short", "when": {"nth": 1}}), "bytes of", 2),
        ("full", json!({"match": {"path": "/tool/fetch"}, "when": {"nth": 1}, "disk_full": true}), "no space left", 2),
        ("named", json!({"match": {"path": "/file/set"}, "when": {"nth": 1}, "drop": "after"}), "", 1),
    ] {
        let before = site.fetches();
        machine.faults(&json!([rule]));
        api.create(&pod(name, json!({}), json!({})));
        if !words.is_empty() {
            api.wait_pod(name, "told why", SOON, |pod| told(pod).contains(words));
        }
        api.wait_pod(name, &format!("running in spite of {rule}"), LATER, is_running);
        assert_eq!(site.fetches() - before, fetches, "under {rule}");
        site.holds_the_archive();
        api.delete(name);
        api.wait_gone(name);
        // Gone from the device, and brought again for the next.
        machine.faults(&json!([]));
        let archive = format!("disk1/cache/{}", site.delivered()[0].0);
        machine.host_api().good("POST", "/file/remove", Some(&json!({"numbers": archive})));
    }
}

#[test]
fn the_device_is_served_by_whatever_name_it_was_told_and_nobody_else_is() {
    let machine = Machine::new("fetch-host");
    let _dev = machine.dev(&["--host", "simulated"]);
    let port = machine.listen.rsplit(':').next().expect("a port").to_owned();
    // `localtest` is no name of the API; only addresses of offers do not ask.
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: router.example:{port}\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("asked");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("answered");
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(ask("/api/v1/pods"), "403");
    assert_eq!(ask("/offers/unknown"), "404");
    let unknown = Http::new(&format!("http://{}", machine.listen), None).call("POST", "/offers/x", None);
    assert_eq!(unknown.map(|(code, _)| code), Ok(405));
    eventually("still there", SOON, || machine.api().call("GET", "/livez", None));
}
