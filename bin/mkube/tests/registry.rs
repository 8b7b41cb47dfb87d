//! `mkube registry` and the registry of `mkube dev`, with the tools people push and pull with.

mod dev;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dev::process::Running;
use dev::{Machine, SOON, binary, eventually, free_address};
use serde_json::{Value, json};

const PASSWORD: &str = "hunter2-password";
const SECRET: &str = "hunter2-signing";
const TOKEN: &str = "hunter2-token";

/// Whether skopeo is there; says loudly when not.
fn skopeo(story: &str) -> bool {
    let there = Command::new("skopeo").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        let _ = writeln!(std::io::stderr(), "\n!!! SKIPPED: {story}: skopeo is not installed\n");
    }
    there
}

/// Runs skopeo without any configuration of the machine; what it said.
fn run_skopeo(home: &Path, arguments: &[&str]) -> (bool, String) {
    let policy = home.join("policy.json");
    std::fs::write(&policy, r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).expect("written");
    let output = Command::new("skopeo")
        .arg("--policy")
        .arg(&policy)
        .args(arguments)
        .env("HOME", home)
        .env("XDG_RUNTIME_DIR", home)
        .env("REGISTRY_AUTH_FILE", home.join("auth.json"))
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .output()
        .expect("skopeo runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

#[track_caller]
fn skopeo_does(home: &Path, arguments: &[&str]) -> String {
    let (done, said) = run_skopeo(home, arguments);
    assert!(done, "skopeo {arguments:?}: {said}");
    said
}

/// An image in OCI layout with one layer of so many bytes.
fn oci_layout(directory: &Path, text: &str) -> String {
    let digest = |bytes: &[u8]| {
        let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a directory");
    let put = |bytes: &[u8]| {
        std::fs::write(blobs.join(digest(bytes)), bytes).expect("written");
        json!({"digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()})
    };
    let with = |mut descriptor: Value, kind: &str| {
        descriptor["mediaType"] = kind.into();
        descriptor
    };
    // An archive of nothing: two empty blocks, and the text after them.
    let mut layer = vec![0u8; 1024];
    layer.extend_from_slice(text.repeat(100_000).as_bytes());
    let layer_digest = format!("sha256:{}", digest(&layer));
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer_digest]}});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": with(put(config.to_string().as_bytes()), "application/vnd.oci.image.config.v1+json"),
        "layers": [with(put(&layer), "application/vnd.oci.image.layer.v1.tar")],
    });
    let descriptor = with(put(manifest.to_string().as_bytes()), "application/vnd.oci.image.manifest.v1+json");
    let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    std::fs::write(directory.join("index.json"), index.to_string()).expect("written");
    format!("oci:{}", directory.display())
}

/// A registry that runs, and where.
struct Registry {
    running: Running,
    address: String,
}

fn registry(arguments: &[&str]) -> Registry {
    let mut command = Command::new(binary());
    command.arg("registry").args(arguments).env_remove("REGISTRY_CONFIG");
    started(command)
}

fn started(command: Command) -> Registry {
    let running = Running::start(command);
    running.wait_for("ready", SOON);
    let output = running.output();
    let line = output.lines().find(|line| line.starts_with("OCI registry on ")).expect("it says where it is");
    let address = line.split_whitespace().nth(3).expect("an address").to_owned();
    Registry { running, address }
}

/// Bodies of the POSTs that came, each answered 200.
struct Receiver {
    url: String,
    told: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let told: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let keep = told.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut text = String::new();
                let mut piece = [0u8; 4096];
                while let Ok(count @ 1..) = stream.read(&mut piece) {
                    text.push_str(&String::from_utf8_lossy(&piece[..count]));
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length = head.to_lowercase().lines().find_map(|line| {
                        line.strip_prefix("content-length:").and_then(|value| value.trim().parse::<usize>().ok())
                    });
                    if body.len() >= length.unwrap_or(0) {
                        break;
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
                keep.lock().expect("not poisoned").push((head.to_owned(), body.to_owned()));
            }
        });
        Self { url, told }
    }

    /// The only notice, once it has come.
    #[track_caller]
    fn one(&self) -> (String, Value) {
        let (head, body) = eventually("a notice", SOON, || {
            let told = self.told.lock().expect("not poisoned");
            told.first().cloned().ok_or_else(|| "nothing".to_owned())
        });
        (head, serde_json::from_str(&body).expect("JSON"))
    }
}

fn hash(password: &str) -> String {
    let mut child = Command::new(binary())
        .args(["registry", "--hash-password"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("piped").write_all(password.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn skopeo_pushes_and_pulls_through_tls_with_a_login_and_no_secret_is_logged() {
    if !skopeo("pushing with TLS and a login") {
        return;
    }
    let machine = Machine::new("registry-tls");
    let (tls, store) = (machine.dir.join("tls"), machine.dir.join("store"));
    let receiver = Receiver::start();
    let config = json!({
        "listenAddr": "127.0.0.1:0", "storePath": store, "notifyURL": receiver.url, "localAddresses": ["registry.gt.lo:5000"],
        "tls": {"directory": tls}, "management": {"listen": ""}, "notices": {"secret": SECRET},
        "access": {
            "anonymousPull": true,
            "users": [
                {"name": "ann", "password": hash(PASSWORD), "roles": ["read", "write"]},
                {"name": "bob", "password": "hunter2-reader", "roles": ["read"]},
            ],
            "tokens": [{"name": "ci", "token": TOKEN, "roles": ["write"]}],
        },
    });
    let config = machine.write("registry-config.yaml", &config.to_string());
    let one = registry(&["--config", &config.display().to_string(), "--log-level", "trace"]);
    let layout = oci_layout(&machine.dir.join("image"), "hello");
    let image = format!("docker://{}/team/app:edge", one.address);
    // A directory of certificates holds what is trusted; a key beside it would be taken for the client's own.
    let trusted = machine.dir.join("trusted");
    std::fs::create_dir_all(&trusted).expect("a directory");
    std::fs::copy(tls.join("ca.crt"), trusted.join("ca.crt")).expect("there is an authority");
    let certificates = trusted.display().to_string();
    let home = machine.dir.clone();
    let push = |more: &[&str]| {
        let mut words = vec!["copy", "--preserve-digests", "--dest-cert-dir", &certificates];
        words.extend_from_slice(more);
        words.extend_from_slice(&[&layout, &image]);
        run_skopeo(&home, &words)
    };
    for (who, more) in [
        ("nobody", vec![]),
        ("a wrong password", vec!["--dest-creds", "ann:wrong"]),
        ("a reader", vec!["--dest-creds", "bob:hunter2-reader"]),
    ] {
        let (done, said) = push(&more);
        assert!(!done, "{who} pushed: {said}");
    }
    let writer = format!("ann:{PASSWORD}");
    let (done, said) = push(&["--dest-creds", &writer]);
    assert!(done, "{said}");
    let (head, notice) = receiver.one();
    assert_eq!(notice["image"], "team/app:edge");
    assert_eq!(notice["registry"], "registry.gt.lo:5000");
    assert!(head.to_lowercase().contains("x-mkube-signature: sha256="), "{head}");
    let (done, said) = push(&["--dest-registry-token", TOKEN]);
    assert!(done, "{said}");
    let back = format!("oci:{}", machine.dir.join("back").display());
    skopeo_does(&home, &["copy", "--src-cert-dir", &certificates, &image, &back]);
    skopeo_does(&home, &["copy", "--src-cert-dir", &certificates, "--src-creds", "bob:hunter2-reader", &image, &back]);
    let (done, said) =
        run_skopeo(&home, &["inspect", "--cert-dir", &machine.dir.join("none").display().to_string(), &image]);
    assert!(!done, "trusted without its authority: {said}");
    // The same port speaks plain HTTP too.
    skopeo_does(
        &home,
        &[
            "copy",
            "--src-tls-verify=false",
            "--src-no-creds",
            &format!("docker://{}/team/app:edge", one.address),
            &back,
        ],
    );
    let original: Value =
        serde_json::from_str(&std::fs::read_to_string(machine.dir.join("image/index.json")).expect("there"))
            .expect("JSON");
    assert_eq!(notice["digest"], original["manifests"][0]["digest"]);
    let output = one.running.output();
    for secret in ["hunter2", "Authorization", &base64_of(&writer)] {
        assert!(!output.contains(secret), "{secret} is in the log:\n{}", lines_with(&output, secret));
    }
    let status = one.running.terminate();
    assert_eq!(status.code(), Some(0));
}

fn base64_of(text: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    text.as_bytes()
        .chunks_exact(3)
        .flat_map(|three| {
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            [18, 12, 6, 0].map(|shift| char::from(LETTERS[(bits >> shift) as usize & 63]))
        })
        .collect()
}

fn lines_with(text: &str, word: &str) -> String {
    text.lines().filter(|line| line.contains(word)).take(5).collect::<Vec<_>>().join("\n")
}

#[test]
fn from_flags_alone_it_keeps_what_was_pushed_and_tells_after_a_kill() {
    if !skopeo("pushing to a registry from flags alone") {
        return;
    }
    let machine = Machine::new("registry-flags");
    let data = machine.dir.join("store").display().to_string();
    // Nobody is there.
    let away = free_address();
    let hook = format!("http://{away}/hook");
    let one = registry(&["--listen", "127.0.0.1:0", "--data-dir", &data, "--notify", &hook]);
    let layout = oci_layout(&machine.dir.join("image"), "flags");
    skopeo_does(
        &machine.dir,
        &["copy", "--dest-tls-verify=false", &layout, &format!("docker://{}/app:edge", one.address)],
    );
    one.running.kill();
    let receiver = Receiver::start();
    let again = registry(&["--listen", "127.0.0.1:0", "--data-dir", &data, "--notify", &receiver.url]);
    assert_eq!(receiver.one().1["image"], "app:edge", "acknowledged before the kill, told after it");
    let said = skopeo_does(
        &machine.dir,
        &["inspect", "--raw", "--tls-verify=false", &format!("docker://{}/app:edge", again.address)],
    );
    assert!(said.contains("schemaVersion"), "{said}");
    assert_eq!(again.running.terminate().code(), Some(0));
}

#[test]
fn what_is_in_the_way_is_told_with_the_exit_code_of_its_kind() {
    let machine = Machine::new("registry-refused");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|address| (taken, address.to_string())).expect("an address");
    let data = machine.dir.join("store").display().to_string();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("registry").args(arguments).env_remove("REGISTRY_CONFIG");
        let (status, output) = Running::start(command).wait(SOON);
        (status.code(), output)
    };
    let (code, output) = run(&["--listen", &taken.1, "--data-dir", &data]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(&taken.1) && output.contains("hint: "), "{output}");
    let bad = machine.write("bad.yaml", "storePth: /x\nlistenAddr: nowhere\naccess: {users: [{name: ann}]}\n");
    let (code, output) = run(&["--config", &bad.display().to_string()]);
    assert_eq!(code, Some(64), "{output}");
    for named in ["storePath", "listenAddr", "access.users[0].password"] {
        assert!(output.contains(named), "{named}: {output}");
    }
    let broken =
        json!({"listenAddr": "127.0.0.1:0", "storePath": data, "tlsCertFile": bad, "tlsKeyFile": "/nowhere.key"});
    let broken = machine.write("broken.yaml", &broken.to_string());
    let (code, output) = run(&["--config", &broken.display().to_string()]);
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("bad.yaml"), "{output}");
    assert_eq!(run(&["--nonsense"]).0, Some(2));
}

#[test]
fn it_answers_to_the_go_programs_name_and_variable_and_its_file_can_be_checked() {
    let machine = Machine::new("registry-name");
    let link: PathBuf = machine.dir.join("mkube-registry");
    std::os::unix::fs::symlink(binary(), &link).expect("linked");
    let config = json!({
        "enabled": true, "listenAddr": "127.0.0.1:0", "storePath": machine.dir.join("store"), "pullThrough": true,
        "upstreamRegistries": ["ghcr.io"], "management": {"listen": "127.0.0.1:0"},
        "access": {"users": [{"name": "ann", "password": PASSWORD}]},
    });
    let config = machine.write("registry-config.yaml", &config.to_string());
    let mut command = Command::new(&link);
    command.env("REGISTRY_CONFIG", &config);
    let one = started(command);
    let output = one.running.output();
    assert!(output.contains("management  http://127.0.0.1:"), "{output}");
    assert_eq!(one.running.terminate().code(), Some(0));
    let checked = Command::new(binary()).arg("check-config").arg(&config).output().expect("it runs");
    let printed = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && printed.contains("pullThrough: true"), "{printed}");
    assert!(!printed.contains(PASSWORD), "{printed}");
}

#[test]
fn skopeo_pushes_into_dev_and_what_was_pushed_is_there_after_a_restart() {
    if !skopeo("pushing into mkube dev") {
        return;
    }
    let machine = Machine::new("registry-dev");
    let address_of = |running: &Running| {
        let output = running.output();
        let line =
            output.lines().find(|line| line.trim_start().starts_with("registry ")).expect("dev names its registry");
        line.split_whitespace().nth(1).and_then(|url| url.strip_prefix("http://")).expect("an address").to_owned()
    };
    let dev = machine.dev(&["--host", "simulated", "--registry", "127.0.0.1:0"]);
    let layout = oci_layout(&machine.dir.join("image"), "dev");
    let image = format!("docker://{}/hello:latest", address_of(&dev));
    skopeo_does(&machine.dir, &["copy", "--dest-tls-verify=false", &layout, &image]);
    assert_eq!(dev.terminate().code(), Some(0));
    let dev = machine.dev(&["--host", "simulated", "--registry", "127.0.0.1:0"]);
    let image = format!("docker://{}/hello:latest", address_of(&dev));
    skopeo_does(&machine.dir, &["inspect", "--tls-verify=false", &image]);
    assert_eq!(dev.terminate().code(), Some(0));
}

#[test]
fn dev_says_which_address_of_the_registry_is_taken_and_how_to_choose_another() {
    let machine = Machine::new("registry-taken");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (status, output) =
        machine.dev_unready(&["--host", "simulated", "--registry", &address]).wait(Duration::from_secs(60));
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(&address) && output.contains("--registry"), "{output}");
}
