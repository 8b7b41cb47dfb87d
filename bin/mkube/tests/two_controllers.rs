//! Two controllers, one device, one NATS: one drives and the other stands by, whatever happens to whom. Each reaches the device and
//! NATS over wires of its own, on which is noted who asked the device for what. And two controllers of two devices on one NATS: each
//! drives its own, and shows all.

mod dev;

use std::process::Command;
use std::time::Duration;

use dev::http::{Http, Stream};
use dev::pair::{Controller, LONG, Pair};
use dev::sharing::Site;
use dev::{SOON, binary, container_status, eventually, has_line, pause, real_containers};
use mkube_nats_server_fixture::NatsServer;
use serde_json::json;
use tokio::time::Instant;

/// Whoever stands by drives within this, where no long command was running.
const TAKEOVER: Duration = Duration::from_secs(15);

/// A watch of pods that is open while controllers take turns.
struct Watching {
    at: Http,
    path: String,
    stream: Stream,
}

impl Watching {
    /// From now on.
    #[track_caller]
    fn pods(at: &Controller) -> Self {
        let at = at.api();
        let version = at.get("/api/v1/pods")["metadata"]["resourceVersion"].clone();
        let path = format!("/api/v1/pods?watch=true&resourceVersion={}", version.as_str().expect("a version"));
        let stream = at.stream(&path);
        Self { at, path, stream }
    }

    /// It saw everything up to this word, and nothing twice: the same as whoever goes on from where it began.
    #[track_caller]
    fn saw_everything(mut self, last: &str) {
        self.stream.until(last, SOON);
        let mut other = self.at.stream(&self.path);
        other.until(last, SOON);
        let lines = |text: &str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };
        let (seen, told) = (lines(&self.stream.read), lines(&other.read));
        // Either may have read on for a while.
        let both = seen.len().min(told.len()) - 1;
        assert!(both > 0, "{seen:?}");
        assert_eq!(seen[..both], told[..both]);
    }
}

#[test]
fn a_holder_that_is_killed_is_followed() {
    let mut pair = Pair::new("lease-kill");
    assert!(pair.b.device.changes().is_empty(), "who stands by sends nothing: {:?}", pair.b.device.changes());
    // Commands are run by whoever drives; here the device itself says that it has none.
    let exec = "/api/v1/namespaces/default/pods/first/exec?command=true&stdout=true";
    let (code, _) = pair.a.api().call("POST", exec, None).expect("answered");
    assert_eq!(code, 501);
    let (code, body) = pair.b.api().call("POST", exec, None).expect("answered");
    assert_eq!(code, 503);
    assert!(body.contains("standing by for rose1"), "{body}");
    let token = pair.token();
    let watching = Watching::pods(&pair.b);
    pair.a.kill();
    let killed = Instant::now();
    pair.asks(&pair.b, "second");
    let took = pair.b.first_change_after(killed) - killed;
    assert!(took < TAKEOVER, "{took:?}");
    pair.runs(&pair.b, "third");
    assert_eq!(pair.token(), token + 1);
    // Who comes back stands by.
    pair.a.start();
    let lease = pair.a.says("standing by for rose1: ");
    assert_eq!(lease["drives"], false);
    eventually("who stands by is ready, and says that it does", LONG, || {
        let ready = pair.a.api().page("/readyz?verbose")?;
        if ready.contains("lease") && ready.contains("standing by for rose1") { Ok(()) } else { Err(ready) }
    });
    let shown = Command::new(binary()).args(["status", "--server", &format!("http://{}", pair.a.listen)]).output();
    let shown = String::from_utf8_lossy(&shown.expect("it runs").stdout).into_owned();
    assert!(shown.contains("this controller: standing by for rose1"), "{shown}");
    pair.runs(&pair.a, "fourth");
    assert!(pair.a.last_change() < killed);
    // Whoever watched the one that stood by watches on, now that it drives.
    watching.saw_everything("\"name\":\"fourth\"");
}

#[test]
fn a_holder_that_is_killed_and_starts_again_at_once_has_its_own_lease() {
    let mut pair = Pair::new("lease-again");
    let token = pair.token();
    pair.a.kill();
    pair.a.start();
    pair.a.says("drives rose1");
    pair.runs(&pair.a, "second");
    assert!(pair.b.device.changes().is_empty());
    assert_eq!(pair.token(), token + 1);
}

#[test]
fn a_holder_that_is_stopped_or_cut_off_sends_nothing_after_it_was_followed() {
    let pair = Pair::new("lease-stop");
    pair.a.signal("-STOP");
    let stopped = Instant::now();
    pair.asks(&pair.b, "second");
    let took = pair.b.first_change_after(stopped) - stopped;
    assert!(took < TAKEOVER, "{took:?}");
    while stopped.elapsed() < Duration::from_secs(30) {
        pause(Duration::from_millis(100));
    }
    pair.a.signal("-CONT");
    pair.a.says("standing by for rose1: ");
    pair.runs(&pair.a, "third");
    assert!(pair.a.last_change() < stopped, "{:?}", pair.a.device.changes().last());

    // The other way round, and the device is within reach of both.
    eventually("the first is acknowledged", LONG, || {
        let lease = pair.a.lease()?;
        if lease["message"].as_str().is_some_and(|text| text.ends_with(" drives")) {
            Ok(())
        } else {
            Err(lease.to_string())
        }
    });
    eventually("no long command is announced", LONG, || {
        let lease = pair.a.lease()?;
        if lease["announcedSeconds"] == 0 { Ok(()) } else { Err(lease.to_string()) }
    });
    let watching = Watching::pods(&pair.b);
    pair.b.nats.cut();
    let cut = Instant::now();
    pair.asks(&pair.a, "fourth");
    let first = pair.a.first_change_after(cut);
    assert!(first - cut < TAKEOVER, "{:?}", first - cut);
    assert!(pair.b.last_change() < first);
    pair.b.nats.mend();
    pair.b.says("standing by for rose1: ");
    pair.runs(&pair.b, "fifth");
    assert!(pair.b.last_change() < first);
    watching.saw_everything("\"name\":\"fifth\"");
}

#[test]
fn a_holder_that_ends_gives_the_device_away_and_one_alone_drives_without_nats() {
    let mut pair = Pair::new("lease-end");
    let a = pair.a.process.take().expect("it runs");
    assert!(a.terminate().success());
    let ended = Instant::now();
    pair.asks(&pair.b, "second");
    let took = pair.b.first_change_after(ended) - ended;
    assert!(took < Duration::from_secs(5), "{took:?}");
    pair.runs(&pair.b, "third");

    pair.nats.kill();
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(15) {
        pause(Duration::from_millis(100));
    }
    assert_eq!(pair.b.lease().expect("it answers")["drives"], true);
    // Not even a start needs it.
    pair.b.kill();
    let killed = Instant::now();
    pair.b.start();
    let container = pair.machine.host_api().get("/container")[0][".id"].clone();
    pair.machine.host_api().post("/container/stop", &json!({".id": container}));
    pair.b.first_change_after(killed);
}

#[test]
fn two_devices_on_one_nats_have_their_own_pods_and_each_controller_shows_all() {
    let engine = if real_containers("two devices with real containers") { "linux" } else { "simulated" };
    let nats = NatsServer::start();
    let mut a = Site::new("a", engine, &nats);
    let mut b = Site::new("b", engine, &nats);
    for site in [&a, &b] {
        site.machine.api().wait_ready();
    }
    a.make("one", json!({}));
    b.make("two", json!({}));
    // Asked of one and meant for the other.
    a.make("three", json!({"nodeName": "b"}));
    let row = |name: &str, site: &Site| (name.to_owned(), site.node.to_owned(), site.machine.prefix.clone());
    let expected = [row("one", &a), row("three", &b), row("two", &b)];
    for site in [&a, &b] {
        eventually("all pods are shown where they run", LONG, || match site.shown()? {
            shown if shown == expected => Ok(()),
            shown => Err(format!("{}: {shown:?}", site.node)),
        });
    }
    assert_eq!(a.containers(), ["default_one_main"]);
    assert_eq!(b.containers(), ["default_three_main", "default_two_main"]);

    // What a container wrote is read through either.
    let log = |site: &Site, name: &str| site.machine.api().page(&format!("/api/v1/namespaces/default/pods/{name}/log"));
    if engine == "linux" {
        eventually("its own output", SOON, || match log(&a, "two")? {
            text if has_line(&text, "two") => Ok(()),
            text => Err(text),
        });
    }
    assert_eq!(log(&a, "two"), log(&b, "two"));

    // Networks of one name, and each has its file.
    let consoles = |a: &Site, b: &Site| -> Result<[String; 2], String> {
        let plain = a.console("mkube-console-config")?;
        let whose = ["a", "b"].into_iter().find(|node| plain.contains(&format!("name: \"{node}\"")));
        let other = if whose == Some("a") { "b" } else { "a" };
        let own = b.console(&format!("mkube-console-config.{other}"))?;
        if own.contains(&format!("name: \"{other}\"")) { Ok([plain, own]) } else { Err(format!("{plain}\n{own}")) }
    };
    let before = eventually("a file for each", LONG, || consoles(&a, &b));

    // Deleted from the other side.
    a.machine.api().delete("two");
    eventually("it is gone where it ran", LONG, || match b.containers() {
        left if left == ["default_three_main"] => Ok(()),
        left => Err(format!("{left:?}")),
    });

    // One dies, and the other goes on, with its own.
    let id = |site: &Site, name: &str| {
        let status = container_status(&site.machine.api().pod(name), "main");
        [status["containerID"].clone(), status["restartCount"].clone()]
    };
    let ran = id(&a, "one");
    a.serve.take().expect("it runs").kill();
    b.make("four", json!({}));
    b.machine.api().wait_running("four");
    assert_eq!(b.containers(), ["default_four_main", "default_three_main"]);
    assert_eq!(a.containers(), ["default_one_main"]);
    a.start();
    a.machine.api().wait_ready();
    let expected = [row("four", &b), row("one", &a), row("three", &b)];
    eventually("whoever was away sees all", LONG, || match a.shown()? {
        shown if shown == expected => Ok(()),
        shown => Err(format!("{shown:?}")),
    });
    assert_eq!(id(&a, "one"), ran, "nobody touched it");
    assert_eq!(consoles(&a, &b), Ok(before));
    b.serve.take().expect("it runs").kill();
}
