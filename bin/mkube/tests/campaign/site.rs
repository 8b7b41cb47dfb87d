//! Controller, host, registry and, if objects lie there, NATS: processes of their own, each of which may be struck.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use mkube_linux_containers::assemble;
use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

use crate::dev::http::Http;
use crate::dev::process::Running;
use crate::dev::{Machine, SOON, binary, eventually, free_address};

/// What can be struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Controller,
    Host,
    Registry,
    Nats,
}

/// Where objects lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Embedded,
    JetStream,
}

/// The site.
pub struct Site {
    // Ended before the machine takes apart what they made.
    running: BTreeMap<Part, Running>,
    nats: Option<NatsServer>,
    pub machine: Machine,
    engine: &'static str,
    registry: String,
    /// Times a process was killed.
    pub kills: BTreeMap<Part, usize>,
}

impl Site {
    /// Everything runs, and the registry has an image.
    pub fn new(story: &str, engine: &'static str, store: Store) -> Self {
        let machine = Machine::new(story);
        machine.image("hello:latest");
        let registry = free_address();
        let nats = (store == Store::JetStream).then(NatsServer::start);
        let mut site = Self { running: BTreeMap::new(), nats, machine, engine, registry, kills: BTreeMap::new() };
        for part in [Part::Registry, Part::Host, Part::Controller] {
            site.bring_back(part);
        }
        site.push();
        for part in [Part::Registry, Part::Host, Part::Controller] {
            site.wait_up(part);
        }
        site
    }

    /// What can be struck here.
    pub fn parts(&self) -> Vec<Part> {
        let nats = self.nats.as_ref().map(|_| Part::Nats);
        [Part::Registry, Part::Host, Part::Controller].into_iter().chain(nats).collect()
    }

    /// Reference of the image in the registry.
    pub fn image(&self) -> String {
        format!("{}/app:edge", self.registry)
    }

    /// The registry.
    pub fn registry(&self) -> Http {
        Http::new(&format!("http://{}", self.registry), None)
    }

    fn push(&self) {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
        let busybox = busybox.into_iter().find(|path| path.is_file()).expect("busybox-static is installed");
        let image = assemble::busybox("app:1", busybox, &["sh", "sleep"]).expect("an image");
        let archive = self.machine.dir.join("pushed.tar");
        assemble::write(&image, &archive).expect("written");
        self.wait_up(Part::Registry);
        let pushed = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
            .args([format!("docker-archive:{}", archive.display()), format!("docker://{}", self.image())])
            .output()
            .expect("skopeo is installed");
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    }

    /// `kill -9`.
    pub fn strike(&mut self, part: Part) {
        match (part, &mut self.nats) {
            (Part::Nats, nats) => nats.as_mut().expect("objects lie there").kill(),
            _ => self.running.remove(&part).expect("it runs").kill(),
        }
        *self.kills.entry(part).or_default() += 1;
    }

    /// Starts it again, and does not wait until it serves.
    pub fn bring_back(&mut self, part: Part) {
        let running = match part {
            Part::Controller => self.machine.serve_unready(|config| {
                config["registry"]["localAddresses"] = json!([self.registry]);
                config["images"]["registries"] = json!([{"host": self.registry, "plainHTTP": true}]);
                if let Some(nats) = &self.nats {
                    config["nats"] = json!({"url": nats.url()});
                    config["store"]["kind"] = json!("nats");
                }
            }),
            Part::Host => self.machine.host_unready(self.engine, &[]),
            Part::Registry => {
                let mut command = Command::new(binary());
                let notify = format!("http://{}/api/v1/registry/push-notify", self.machine.listen);
                command.args(["registry", "--listen", &self.registry, "--notify", &notify, "--data-dir"]);
                command.arg(self.machine.dir.join("registry")).env_remove("REGISTRY_CONFIG");
                Running::start(command)
            }
            Part::Nats => return self.nats.as_mut().expect("objects lie there").start_again(),
        };
        self.running.insert(part, running);
    }

    /// Waits until it serves.
    #[track_caller]
    pub fn wait_up(&self, part: Part) {
        match part {
            Part::Controller => {
                let api = self.machine.api();
                eventually("the controller serves", SOON, || match api.call("GET", "/api/v1/pods", None) {
                    Ok((200, _)) => Ok(()),
                    other => Err(format!("{other:?}\n{}", self.running[&part].output())),
                });
            }
            Part::Nats => {
                let api = self.machine.api();
                eventually("the store is complete", SOON, || match api.page("/readyz?verbose") {
                    Ok(text) if text.contains("[+]store ok: connected, loaded, complete") => Ok(()),
                    other => Err(format!("{other:?}\n{}", self.running[&Part::Controller].output())),
                });
            }
            Part::Host | Part::Registry => self.running[&part].wait_for("ready", SOON),
        }
    }

    /// All rows of a menu of the device.
    #[track_caller]
    pub fn rows(&self, menu: &str) -> Vec<Value> {
        self.machine.host_api().get(menu).as_array().expect("rows").clone()
    }
}
