//! Two devices with a controller each, on one NATS: what kubectl asks a container is answered through the other controller's API as
//! through its own.

mod dev;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use dev::process::{Running, to_its_end};
use dev::sharing::Site;
use dev::{SOON, binary, eventually, has_line, real_containers, text_of};
use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

/// kubectl speaks WebSocket or SPDY, as this environment says.
const WAYS: [&str; 2] = ["true", "false"];

fn kubectl(site: &Site, websockets: &str, line: &str, last: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    command.env("KUBECONFIG", "/dev/null").env("HOME", site.machine.dir.join("home"));
    for name in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
        command.env(name, websockets);
    }
    command.args(["--server", &format!("http://{}", site.machine.listen), "--cache-dir"]);
    command.arg(site.machine.dir.join("cache")).args(line.split_whitespace()).args(last);
    command
}

fn mkube(site: &Site, line: &str, last: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.env("MKUBE_SERVER", format!("http://{}", site.machine.listen));
    command.args(line.split_whitespace()).args(last);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn page(port: &str) -> String {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream.write_all(b"GET /note HTTP/1.0\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

#[test]
fn what_kubectl_asks_a_container_is_answered_through_the_api_of_another_node() {
    let there = Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !real_containers("kubectl through another node's API") || !there {
        let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: kubectl through another node's API\n");
        return;
    }
    let nats = NatsServer::start();
    let a = Site::new("a", "linux", &nats);
    let mut b = Site::new("b", "linux", &nats);
    for site in [&a, &b] {
        site.machine.api().wait_ready();
    }
    let line = "/bin/busybox mkdir -p /www; echo 'from the pod' > /www/note; echo begun; exec httpd -f -p 80 -h /www";
    let container = json!({"command": ["/bin/sh", "-c", line], "imagePullPolicy": "Never"});
    a.machine.api().create(&dev::pod("web", container, json!({"nodeName": "b"})));
    a.machine.api().wait_running("web");
    assert_eq!(b.containers(), ["default_web_main"]);
    assert!(a.containers().is_empty());
    let failed = |ended: &Output| format!("{}{}", text(&ended.stdout), text(&ended.stderr));

    eventually("its output", SOON, || {
        let ended = to_its_end(kubectl(&a, "true", "logs web", &[]), b"");
        let told = text(&ended.stdout);
        if ended.status.success() && has_line(&told, "begun") { Ok(()) } else { Err(failed(&ended)) }
    });
    let ended = to_its_end(mkube(&a, "logs web", &[]), b"");
    assert!(has_line(&text(&ended.stdout), "begun"), "{}", failed(&ended));
    let ended = to_its_end(kubectl(&a, "true", "logs web -c nosuch", &[]), b"");
    assert!(text(&ended.stderr).contains("container nosuch is not valid for pod web"), "{}", failed(&ended));

    let much: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    for way in WAYS {
        let ended = to_its_end(kubectl(&a, way, "exec web --", &["sh", "-c", "echo out; echo err >&2; exit 3"]), b"");
        assert_eq!((ended.status.code(), text(&ended.stdout)), (Some(3), "out\n".to_owned()), "{}", failed(&ended));
        assert!(text(&ended.stderr).starts_with("err\n"), "{}", failed(&ended));
        let ended = to_its_end(kubectl(&a, way, "exec -i web --", &["cat"]), &much);
        assert!(ended.status.success() && ended.stdout == much, "{}", text(&ended.stderr));
        let ended = to_its_end(kubectl(&a, way, "exec web --", &["/bin/nosuch"]), b"");
        assert_eq!(ended.status.code(), Some(127), "{}", failed(&ended));

        let forwarding = Running::start(kubectl(&a, way, "port-forward pod/web :80", &[]));
        forwarding.wait_for("Forwarding from 127.0.0.1:", SOON);
        let told = forwarding.output();
        let port = told.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split_once(' ')).expect("a port").0;
        assert!(page(port).ends_with("from the pod\n"));
        assert!(page(port).ends_with("from the pod\n"), "another connection over the same");
    }
    let ended = to_its_end(mkube(&a, "exec web --", &["sh", "-c", "exit 5"]), b"");
    assert_eq!(ended.status.code(), Some(5), "{}", failed(&ended));

    let file = a.machine.write("file", "copied over");
    let ended = to_its_end(kubectl(&a, "true", &format!("cp {} web:/www/copy", file.display()), &[]), b"");
    assert!(ended.status.success(), "{}", failed(&ended));
    let ended = to_its_end(kubectl(&b, "true", "exec web --", &["cat", "/www/copy"]), b"");
    assert_eq!(text(&ended.stdout), "copied over", "{}", failed(&ended));

    // A command goes with its client, on whichever node it runs.
    let running = Running::start(kubectl(&a, "true", "exec web --", &["sleep", "64321"]));
    let sleeper = || text_of(Command::new("pgrep").args(["-xf", "sleep 64321"]).output());
    eventually(
        "the command in the container",
        SOON,
        || {
            if sleeper().is_empty() { Err(running.output()) } else { Ok(()) }
        },
    );
    running.kill();
    eventually(
        "the command to end with its client",
        SOON,
        || {
            if sleeper().is_empty() { Ok(()) } else { Err(sleeper()) }
        },
    );

    // What is written from now on, up to the end of the container.
    let followed = Running::start(kubectl(&a, "true", "logs -f web", &[]));
    followed.wait_for("begun", SOON);
    let ended = to_its_end(kubectl(&a, "true", "exec web --", &["sh", "-c", "echo more > /proc/1/fd/1"]), b"");
    assert!(ended.status.success(), "{}", failed(&ended));
    followed.wait_for("more", SOON);
    a.machine.api().delete("web");
    let (status, told) = followed.wait(SOON);
    assert!(status.success(), "{told}");

    // A node that is away is said with its address.
    a.machine.api().create(&dev::pod("late", json!({"imagePullPolicy": "Never"}), json!({"nodeName": "b"})));
    a.machine.api().wait_running("late");
    b.serve.take().expect("it runs").kill();
    let words = format!("pod late runs on node b, and its API, http://{}, cannot be reached", b.machine.listen);
    for (line, last) in [("logs late", &[][..]), ("exec late --", &["true"]), ("port-forward late :80", &[])] {
        for way in WAYS {
            let ended = to_its_end(kubectl(&a, way, line, last), b"");
            assert!(!ended.status.success() && text(&ended.stderr).contains(&words), "{line}: {}", failed(&ended));
        }
    }
    // And one whose address is another's by now gets nothing of it.
    let port = a.machine.listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).expect("a port");
    let status = json!({"status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}});
    let node: Value = a.machine.api().patch("/api/v1/nodes/b/status", &status);
    assert_eq!(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], port);
    let ended = to_its_end(kubectl(&a, "true", "logs late", &[]), b"");
    assert!(text(&ended.stderr).contains("pod late runs on node b: ask the API of that node"), "{}", failed(&ended));
    b.start();
    eventually("the node that is back", SOON, || {
        let ended = to_its_end(kubectl(&a, "true", "exec late --", &["true"]), b"");
        if ended.status.success() { Ok(()) } else { Err(failed(&ended)) }
    });
}
