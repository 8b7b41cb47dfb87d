//! Who may depend on whom, read from the manifests as cargo understands them.

use std::collections::BTreeMap;
use std::process::Command;

use mkube_structure::top;
use serde_json::Value;

/// A dependency of one of our crates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    /// Room, such as `actors/pods`.
    from: String,
    /// Room of ours, or the name of a crate from outside.
    to: String,
    /// Needed by tests only.
    dev: bool,
}

/// What rooms may use of ours. A room that matches several lines may use all they name; one that matches none, nothing.
const OURS: &[(&str, &[&str])] = &[
    ("protocol/model", &[]),
    ("protocol/manifests", &["protocol/model"]),
    ("protocol/messages", &["protocol/model"]),
    ("protocol/openapi", &["protocol/model"]),
    ("services/", &["protocol/model"]),
    // Servers, and the pure machine that the engines and the tests' router share.
    ("services/routeros-host", &["services/router-machine", "services/linux-containers", "protocol/manifests"]),
    ("services/linux-containers", &["services/router-machine"]),
    // How one connects to NATS is said once.
    ("services/desired-store", &["services/nats-client"]),
    ("services/nats-bus", &["services/nats-client"]),
    // The frames of kubectl's connections, pure.
    ("services/pod-ports", &["services/spdy"]),
    ("actors/", &["protocol/model", "protocol/messages", "actors/supervision"]),
    ("actors/edges", &["protocol/manifests", "protocol/openapi"]),
    ("bin/", &["protocol/", "services/", "actors/"]),
    ("tests/nats-server", &["tests/ports"]),
    // The fake router is the machine behind the real client.
    ("tests/fakes", &["protocol/model", "protocol/messages", "services/router-machine", "services/routeros"]),
    ("tests/scenarios", &["protocol/", "services/", "actors/", "tests/fakes", "bin/"]),
    ("tests/simulation", &["protocol/", "services/", "actors/", "tests/fakes", "bin/"]),
];

/// What only some rooms may use, and why.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    ("actix", &["protocol/messages", "actors/", "bin/", "tests/"], "actors stay out of services and of the model"),
    ("actix-rt", &["protocol/messages", "actors/", "bin/", "tests/"], "actors stay out of services and of the model"),
    (
        "actix-web",
        &["actors/edges", "services/routeros-host", "services/oci-registry", "services/name-server"],
        "HTTP is served by edges and by services that are servers",
    ),
    ("serde_yaml", &["protocol/manifests"], "one crate knows YAML"),
    ("async-nats", &["services/"], "only services talk to the network"),
    ("redb", &["services/desired-store", "services/name-server"], "one crate knows each file"),
    ("hickory-proto", &["services/"], "names are asked and answered in services"),
    ("toml", &["services/name-server", "actors/generated"], "who reads and who writes the one file that is TOML"),
    (
        "reqwest",
        // A host fetches files as a router does.
        &[
            "services/routeros",
            "services/routeros-host",
            "services/image-pull",
            "services/oci-registry",
            "services/probing",
            "services/microdns-client",
            "services/node-apis",
            "bin/",
            "tests/scenarios",
        ],
        "only services and the client talk to the network",
    ),
    ("tar", &["services/", "bin/"], "archives are read and written in services"),
    ("anyhow", &["bin/", "tests/"], "libraries have typed faults"),
    ("tracing-subscriber", &["bin/"], "only the binary decides where logs go"),
    ("clap", &["bin/"], "only the binary has arguments"),
    ("kube", &["tests/scenarios"], "a client for tests"),
];

/// What needs more in tests than in the product.
const DEV_ONLY: &[(&str, &str)] = &[
    ("services/routeros", "actix-web"),
    ("protocol/messages", "tracing-subscriber"),
    // What the API is compared with.
    ("bin/mkube", "actix-web"),
];

/// What rooms may use of ours in tests only.
const OURS_IN_TESTS: &[(&str, &[&str])] = &[
    ("actors/", &["tests/fakes"]),
    ("services/", &["tests/nats-server", "tests/ports"]),
    ("bin/", &["tests/nats-server", "tests/ports"]),
    ("tests/", &["tests/nats-server"]),
];

/// What must not be in the tree at all, for any machine.
const SECOND_TLS: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "hyper-tls",
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "mbedtls",
    "rustls-openssl",
];

fn matches(pattern: &str, room: &str) -> bool {
    room == pattern || pattern.ends_with('/') && room.starts_with(pattern)
}

/// The offence, spelled out; none when the edge is fine.
fn offence(edge: &Edge) -> Option<String> {
    let Edge { from, to, dev } = edge;
    if to.contains('/') {
        let allowed: Vec<&str> =
            OURS.iter().filter(|(room, _)| matches(room, from)).flat_map(|(_, may)| may.iter().copied()).collect();
        let in_tests = |room: &str, may: &[&str]| *dev && matches(room, from) && may.iter().any(|may| matches(may, to));
        let excused = OURS_IN_TESTS.iter().any(|(room, may)| in_tests(room, may));
        return (!excused && !allowed.iter().any(|may| matches(may, to)))
            .then(|| format!("{from} depends on {to}; of ours it may use {allowed:?}"));
    }
    let (_, rooms, why) = OUTSIDE.iter().find(|(name, ..)| name == to)?;
    let excused = *dev && DEV_ONLY.contains(&(from.as_str(), to.as_str()));
    (!excused && !rooms.iter().any(|room| matches(room, from)))
        .then(|| format!("{from} depends on {to}, which is for {rooms:?}: {why}"))
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--locked", "--offline", "--format-version", "1"])
        .current_dir(top())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

/// Crate name → room.
fn rooms(metadata: &Value) -> BTreeMap<String, String> {
    let top = top();
    let packages = metadata["packages"].as_array().expect("a list");
    let room = |package: &Value| {
        let manifest = package["manifest_path"].as_str().expect("a path").to_owned();
        let directory = std::path::Path::new(&manifest).parent().expect("a directory").to_owned();
        directory.strip_prefix(&top).expect("below the top").to_string_lossy().into_owned()
    };
    packages.iter().map(|package| (package["name"].as_str().expect("a name").to_owned(), room(package))).collect()
}

fn edges(metadata: &Value) -> Vec<Edge> {
    let rooms = rooms(metadata);
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().expect("a list") {
        let from = &rooms[package["name"].as_str().expect("a name")];
        for dependency in package["dependencies"].as_array().expect("a list") {
            let name = dependency["name"].as_str().expect("a name");
            let to = rooms.get(name).map_or(name, String::as_str).to_owned();
            edges.push(Edge { from: from.clone(), to, dev: dependency["kind"] == "dev" });
        }
    }
    edges
}

fn locked(name: &str) -> Vec<String> {
    let lock = std::fs::read_to_string(top().join("Cargo.lock")).expect("Cargo.lock is kept");
    lock.split("[[package]]")
        .filter(|package| package.contains(&format!("\nname = \"{name}\"\n")))
        .filter_map(|package| package.split("\nversion = \"").nth(1)?.split('"').next().map(str::to_owned))
        .collect()
}

#[test]
fn no_room_depends_on_what_it_may_not_see() {
    let edges = edges(&metadata());
    assert!(edges.len() > 100, "the edges are read: {}", edges.len());
    let offences: Vec<String> = edges.iter().filter_map(offence).collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_rules_refuse_what_they_are_there_to_refuse() {
    let edge = |from: &str, to: &str, dev| Edge { from: from.into(), to: to.into(), dev };
    for (from, to) in [
        ("protocol/model", "protocol/messages"),
        ("protocol/model", "actix"),
        ("protocol/messages", "services/routeros"),
        ("services/routeros", "protocol/messages"),
        ("services/routeros", "services/desired-store"),
        ("services/routeros", "actix-web"),
        ("services/desired-store", "actix"),
        ("services/shared-disk", "serde_yaml"),
        ("actors/pods", "actors/ipam"),
        ("actors/pods", "services/routeros"),
        ("actors/supervision", "services/routeros"),
        ("actors/pods", "reqwest"),
        ("actors/pods", "anyhow"),
        ("tests/fakes", "services/desired-store"),
        ("tests/structure", "protocol/model"),
        ("a-new-room", "protocol/model"),
    ] {
        assert!(offence(&edge(from, to, false)).is_some(), "{from} on {to} passes");
    }
    for (from, to, dev) in [
        ("actors/pods", "protocol/model", false),
        ("actors/pods", "actors/supervision", false),
        ("bin/mkube", "services/routeros", false),
        ("services/routeros", "actix-web", true),
        ("services/routeros", "tokio", false),
    ] {
        assert_eq!(offence(&edge(from, to, dev)), None, "{from} on {to} is refused");
    }
}

#[test]
fn there_is_one_tls_stack_and_no_old_http2() {
    for name in SECOND_TLS {
        assert!(locked(name).is_empty(), "{name} is in Cargo.lock: one TLS stack, rustls with ring");
    }
    for name in ["rustls", "ring"] {
        assert_eq!(locked(name).len(), 1, "one {name}, not {:?}", locked(name));
    }
    assert!(locked("h2").iter().all(|version| !version.starts_with("0.3.")), "h2 0.3 has RUSTSEC-2026-0258 and no fix");
}

#[test]
fn every_crate_takes_versions_and_lints_from_the_top() {
    for (name, room) in rooms(&metadata()) {
        let manifest = std::fs::read_to_string(top().join(&room).join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name}: the lints of the workspace are off");
        let mut in_dependencies = false;
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && !line.is_empty() && !line.starts_with('#') {
                let from_top = line.contains("workspace = true") || line.contains(".workspace");
                assert!(from_top, "{room}/Cargo.toml: {line:?} names its own version; put it into the top one");
            }
        }
    }
}

#[test]
fn every_profile_unwinds_since_supervision_catches_panics() {
    let manifest = std::fs::read_to_string(top().join("Cargo.toml")).expect("a manifest");
    assert!(!manifest.contains("panic = \"abort\""), "a panic would end the process and not the actor");
    assert!(manifest.contains("[profile.release]\npanic = \"unwind\""), "said where it matters");
}
