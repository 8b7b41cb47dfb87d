//! The bus on a real NATS server: a push to the registry ends in new containers, what happens is heard in order, a flood changes nothing, and
//! a server that is killed is missed by nobody.

mod dev;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dev::http::{Http, is_running};
use dev::process::Running;
use dev::site::LATER;
use dev::{Machine, SOON, binary, container_status, eventually, free_address, pod, real_containers};
use mkube_linux_containers::assemble::{self, ImageFile};
use mkube_model::neighbours::bus::{Bus, BusMessage};
use mkube_model::secret::SecretUrl;
use mkube_model::settings::NatsSettings;
use mkube_nats_bus::NatsBus;
use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A rollout of one pod, proven for three seconds.
const ROLLOUT: Duration = Duration::from_secs(90);

/// Somebody else on the bus.
struct Outsider {
    runtime: Runtime,
    url: String,
}

type Heard = Arc<Mutex<Vec<(String, Value)>>>;

impl Outsider {
    fn new(server: &NatsServer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { runtime: runtime.expect("a runtime"), url: server.url() }
    }

    fn bus(&self) -> NatsBus {
        let settings = NatsSettings { url: SecretUrl::new(self.url.clone()), ..NatsSettings::default() };
        NatsBus::new(settings, "an outsider").expect("a thread")
    }

    /// Listens from now on, for as long as the connection lasts.
    fn listen(&self, subject: &'static str) -> Heard {
        let (bus, heard) = (self.bus(), Heard::default());
        let list = heard.clone();
        let (session, mut subscription) = self.runtime.block_on(async {
            let session = bus.attach().await.expect("attached");
            let subscription = session.subscribe(subject).await.expect("subscribed");
            // The server has the subscription when it has what came after it.
            session.publish(vec![]).await.expect("taken");
            (session, subscription)
        });
        self.runtime.spawn(async move {
            let _kept = (bus, session);
            while let Some(message) = subscription.next().await {
                let value = serde_json::from_slice(&message.payload).unwrap_or_default();
                list.lock().unwrap_or_else(PoisonError::into_inner).push((message.subject, value));
            }
        });
        heard
    }
}

fn heard(of: &Heard) -> Vec<(String, Value)> {
    of.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A figure of `/metrics`, with what stands in its braces.
fn figure(api: &Http, name: &str) -> f64 {
    let page = api.page("/metrics").expect("metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

/// The controller on the bus, with objects in a file and a registry of its own.
fn serve(machine: &Machine, nats: &str, registry: &str) -> Running {
    let running = machine.serve_unready(|config| {
        config["nats"] = json!({"url": nats});
        config["registry"] = json!({"localAddresses": [registry]});
        config["images"] = json!({"registries": [{"host": registry, "plainHTTP": true}]});
        // Only a notice makes it ask sooner.
        config["rollouts"] = json!({"checkInterval": "1h"});
    });
    machine.api().wait_ready();
    running
}

fn registry(machine: &Machine, listen: &str, nats: &str) -> Running {
    let mut command = Command::new(binary());
    command.args(["registry", "--listen", listen, "--nats", nats, "--data-dir"]).arg(machine.dir.join("registry"));
    let running = Running::start(command);
    running.wait_for("ready", SOON);
    running
}

/// Pushes an image whose `/bin/run` is this shell line.
fn push(machine: &Machine, image: &str, line: &str) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let busybox = busybox.into_iter().find(|path| path.is_file()).expect("busybox-static is installed");
    let mut spec = assemble::busybox("app:1", busybox, &["sh", "sleep"]).expect("an image");
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

fn digest(pod: &Value) -> String {
    let id = container_status(pod, "main")["imageID"].as_str().unwrap_or_default().to_owned();
    id.rsplit_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default()
}

#[test]
fn a_push_is_told_on_the_bus_and_pods_follow_also_when_the_server_was_away_meanwhile() {
    if !real_containers("pods that follow what is told on the bus") {
        return;
    }
    let mut server = NatsServer::start();
    let outsider = Outsider::new(&server);
    let machine = Machine::new("bus");
    let address = free_address();
    let _registry = registry(&machine, &address, &server.url());
    let image = format!("{address}/app:edge");
    push(&machine, &image, "exec sleep 100000");
    let _host = machine.host("linux", &[]);
    let _serve = serve(&machine, &server.url(), &address);
    let api = machine.api();
    let (pushes, events) = (outsider.listen("mkube.images.pushed"), outsider.listen("mkube.events"));
    let mut follower = pod("a", json!({"image": image, "command": ["/bin/run"]}), json!({}));
    follower["metadata"]["annotations"] = json!({"vkube.io/image-policy": "auto"});
    api.create(&follower);
    let first = digest(&api.wait_running("a"));
    assert!(first.starts_with("sha256:"), "{first}");

    push(&machine, &image, "exec sleep 200000");
    let on_another = |pod: &Value, before: &str| is_running(pod) && digest(pod) != before && !digest(pod).is_empty();
    let second = digest(&api.wait_pod("a", "on the second image", ROLLOUT, |pod| on_another(pod, &first)));
    eventually("the push and what came of it are heard", LATER, || {
        let told = |one: &(String, Value)| {
            one.1["repository"] == "app" && one.1["tag"] == "edge" && one.1["digest"] == second.as_str()
        };
        let came = |one: &(String, Value)| one.1["reason"] == "ImageUpdated" && one.1["involvedObject"]["name"] == "a";
        let (pushes, events) = (heard(&pushes), heard(&events));
        if pushes.iter().any(told) && events.iter().any(came) { Ok(()) } else { Err(format!("{pushes:?} {events:?}")) }
    });
    assert!(figure(&api, "mkube_bus_heard{about=\"pushes\"}") >= 1.0);

    server.kill();
    push(&machine, &image, "exec sleep 300000");
    eventually("the bus is missed", LATER, || {
        let attached = figure(&api, "mkube_bus_attached");
        if attached == 0.0 { Ok(()) } else { Err(attached.to_string()) }
    });
    api.wait_ready();
    server.start_again();
    // Whoever was not there when it was told hears of the next push.
    eventually("the bus is back", LATER, || {
        let attached = figure(&api, "mkube_bus_attached");
        if attached == 1.0 { Ok(()) } else { Err(attached.to_string()) }
    });
    push(&machine, &image, "exec sleep 400000");
    api.wait_pod("a", "on the last image", ROLLOUT, |pod| on_another(pod, &first) && digest(pod) != second);
    api.delete("a");
    api.wait_gone("a");
}

#[test]
fn changes_are_heard_in_order_without_secrets_and_a_flood_holds_up_nobody() {
    let server = NatsServer::start();
    let outsider = Outsider::new(&server);
    let machine = Machine::new("bus-flood");
    let _host = machine.host("simulated", &[]);
    let _serve = serve(&machine, &server.url(), "127.0.0.1:1");
    let api = machine.api();
    eventually("the bus is attached to", SOON, || {
        let attached = figure(&api, "mkube_bus_attached");
        if attached == 1.0 { Ok(()) } else { Err(attached.to_string()) }
    });
    let (objects, maps) = (outsider.listen("mkube.objects.>"), "/api/v1/namespaces/default/configmaps");
    api.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}, "stringData": {"k": "hunter2"}}));
    api.post(maps, &json!({"metadata": {"name": "m.x"}, "data": {"n": "0"}}));
    for number in 1..20 {
        api.patch(&format!("{maps}/m.x"), &json!({"data": {"n": number.to_string()}}));
    }
    api.good("DELETE", &format!("{maps}/m.x"), None);
    let of_map = eventually("every change is heard", LATER, || {
        let all: Vec<Value> = heard(&objects)
            .into_iter()
            .filter(|(subject, _)| subject == "mkube.objects.configmaps.default.m=2Ex")
            .map(|(_, value)| value)
            .collect();
        if all.len() == 21 { Ok(all) } else { Err(all.len().to_string()) }
    });
    let words: Vec<&str> = of_map.iter().filter_map(|one| one["type"].as_str()).collect();
    assert_eq!((words[0], words[20]), ("ADDED", "DELETED"));
    assert!(words[1..20].iter().all(|word| *word == "MODIFIED"), "{words:?}");
    let said = |one: &Value| one["object"]["data"]["n"].as_str().and_then(|text| text.parse::<usize>().ok());
    assert_eq!(of_map[..20].iter().filter_map(said).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    let of_secret: Vec<Value> = heard(&objects)
        .into_iter()
        .filter(|(at, _)| at.ends_with("secrets.default.s"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(of_secret.len(), 1);
    assert_eq!((&of_secret[0]["partial"], &of_secret[0]["object"]["data"]), (&json!(true), &Value::Null));

    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flood = outsider.runtime.spawn({
        let (bus, stop, told) = (outsider.bus(), stop.clone(), told.clone());
        async move {
            let session = bus.attach().await.expect("attached");
            let notice = json!({"repository": "app", "tag": "edge"}).to_string();
            while !stop.load(Ordering::Relaxed) || told.load(Ordering::Relaxed) < 50_000 {
                let message = |number: usize| BusMessage {
                    subject: ["mkube.images.pushed", "microdns.x.leases", "microdns.x.dns"][number % 3].to_owned(),
                    headers: BTreeMap::new(),
                    payload: [notice.clone(), "x".repeat(70_000), "{".repeat(1000)][number % 7 % 3].clone().into(),
                };
                session.publish((0..300).map(message).collect()).await.expect("taken");
                told.fetch_add(300, Ordering::Relaxed);
            }
        }
    });
    eventually("the flood runs", SOON, || {
        let told = told.load(Ordering::Relaxed);
        if told > 0 { Ok(()) } else { Err(told.to_string()) }
    });
    for number in 0..50 {
        api.post(maps, &json!({"metadata": {"name": format!("during-{number}")}}));
    }
    stop.store(true, Ordering::Relaxed);
    outsider.runtime.block_on(flood).expect("it floods to the end");
    let about = |what: &str| {
        let of = |name: &str| figure(&api, &format!("mkube_bus_{name}{{about=\"{what}\"}}"));
        (of("heard") + of("refused"), of("floods"))
    };
    for what in ["pushes", "leases", "names"] {
        let (worked_on, floods) = about(what);
        assert!(floods >= 1.0, "{what}: {floods} floods");
        assert!((1.0..5_000.0).contains(&worked_on), "{what}: {worked_on} of {}", told.load(Ordering::Relaxed));
    }
    api.wait_ready();
    eventually("what happened during the flood is heard", LATER, || {
        let during = heard(&objects).iter().filter(|(at, _)| at.contains("configmaps.default.during-")).count();
        if during == 50 { Ok(()) } else { Err(during.to_string()) }
    });
}

#[test]
fn without_a_server_everything_works_and_what_happened_meanwhile_is_heard_when_there_is_one() {
    let mut server = NatsServer::start();
    let outsider = Outsider::new(&server);
    server.kill();
    let machine = Machine::new("bus-away");
    let _host = machine.host("simulated", &[]);
    let _serve = serve(&machine, &server.url(), "127.0.0.1:1");
    let api = machine.api();
    let maps = "/api/v1/namespaces/default/configmaps";
    for number in 0..20 {
        api.post(maps, &json!({"metadata": {"name": format!("m{number}")}}));
    }
    assert_eq!((figure(&api, "mkube_bus_attached"), figure(&api, "mkube_bus_told_total")), (0.0, 0.0));
    assert!(figure(&api, "mkube_bus_waiting") >= 20.0);
    server.start_again();
    // It may be attached before somebody listens: what is told is counted.
    eventually("what waited is told", LATER, || {
        let (told, waiting) = (figure(&api, "mkube_bus_told_total"), figure(&api, "mkube_bus_waiting"));
        if told >= 20.0 && waiting == 0.0 { Ok(()) } else { Err(format!("{told} told, {waiting} wait")) }
    });
    let objects = outsider.listen("mkube.objects.configmaps.>");
    api.post(maps, &json!({"metadata": {"name": "later"}}));
    eventually("what comes later is heard", LATER, || {
        let all = heard(&objects);
        if all.iter().any(|(at, _)| at.ends_with("default.later")) { Ok(()) } else { Err(format!("{all:?}")) }
    });
}
