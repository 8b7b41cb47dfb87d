//! Two controllers, one device, one NATS. Each reaches the device and NATS over wires of its own, on which is noted who asked the
//! device for what.

use std::process::Command;
use std::time::Duration;

use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::Http;
use super::process::Running;
use super::wire::Wire;
use super::{Machine, SOON, binary, eventually, free_address, pod};

/// A bound for what takes a takeover and a machine that is busy with other things.
pub const LONG: Duration = Duration::from_secs(90);

/// One of the two.
pub struct Controller {
    pub process: Option<Running>,
    pub device: Wire,
    pub nats: Wire,
    pub listen: String,
    config: std::path::PathBuf,
}

impl Controller {
    pub fn new(machine: &Machine, nats: &NatsServer, name: &str) -> Self {
        let device = Wire::to(&machine.host_listen);
        let wire = Wire::to(&format!("127.0.0.1:{}", nats.port()));
        let listen = free_address();
        let mut config = machine.config();
        config["nodeName"] = json!("rose1");
        config["routeros"]["restUrl"] = json!(format!("http://{}/rest", device.address));
        config["nats"] = json!({"url": format!("nats://{}", wire.address)});
        config["store"] = json!({"kind": "nats", "path": machine.dir.join(name).join("state.redb")});
        config["api"] = json!({"listen": listen});
        let config = machine.write(&format!("{name}.yaml"), &config.to_string());
        let mut controller = Self { process: None, device, nats: wire, listen, config };
        controller.start();
        controller
    }

    pub fn start(&mut self) {
        let mut command = Command::new(binary());
        command.args(["serve", "--config"]).arg(&self.config);
        self.process = Some(Running::start(command));
    }

    pub fn api(&self) -> Http {
        Http::new(&format!("http://{}", self.listen), None)
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.as_ref().expect("it runs").pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().is_ok_and(|status| status.success()));
    }

    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    pub fn lease(&self) -> Result<Value, String> {
        let text = self.api().page("/api/v1/supervisor")?;
        serde_json::from_str::<Value>(&text).map(|tree| tree["lease"].clone()).map_err(|error| error.to_string())
    }

    #[track_caller]
    pub fn says(&self, words: &str) -> Value {
        eventually(words, LONG, || {
            let lease = self.lease()?;
            if lease["message"].as_str().is_some_and(|text| text.contains(words)) {
                Ok(lease)
            } else {
                Err(lease.to_string())
            }
        })
    }

    /// When it changed the device for the first time after `from`.
    #[track_caller]
    pub fn first_change_after(&self, from: Instant) -> Instant {
        eventually("a command to the device", LONG, || {
            let first = self.device.changes().into_iter().find(|one| one.at > from);
            first.map(|one| one.at).ok_or_else(|| format!("{:?}", self.lease()))
        })
    }

    #[track_caller]
    pub fn last_change(&self) -> Instant {
        self.device.changes().last().expect("it drove").at
    }
}

/// Processes first: they end before their machine does.
pub struct Pair {
    pub a: Controller,
    pub b: Controller,
    pub host: Running,
    pub nats: NatsServer,
    pub machine: Machine,
}

impl Pair {
    /// The first drives, the second stands by and is known to it.
    pub fn new(name: &str) -> Self {
        Self::over(name, "simulated")
    }

    /// The same over this engine.
    pub fn over(name: &str, engine: &str) -> Self {
        let machine = Machine::new(name);
        machine.image("hello:latest");
        let host = machine.host(engine, &[]);
        let nats = NatsServer::start();
        let a = Controller::new(&machine, &nats, "a");
        a.says("drives rose1");
        let b = Controller::new(&machine, &nats, "b");
        b.says(" drives");
        eventually("the second is acknowledged", LONG, || {
            let lease = b.lease()?;
            if lease["message"].as_str().is_some_and(|text| text.ends_with(" drives")) {
                Ok(())
            } else {
                Err(lease.to_string())
            }
        });
        let pair = Self { a, b, host, nats, machine };
        pair.runs(&pair.a, "first");
        // A container was unpacked; its end is told too.
        eventually("no long command is announced", LONG, || {
            let lease = pair.b.lease()?;
            if lease["announcedSeconds"] == 0 { Ok(()) } else { Err(lease.to_string()) }
        });
        pair
    }

    /// Asks this one for a pod, which whoever drives starts.
    #[track_caller]
    pub fn asks(&self, at: &Controller, name: &str) {
        eventually("the pod is taken", SOON, || {
            let body = pod(name, json!({"imagePullPolicy": "Never"}), json!({}));
            match at.api().call("POST", "/api/v1/namespaces/default/pods", Some(&body)) {
                // The reply of a try before may have been lost, when one tree made room for the other.
                Ok((201 | 409, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    #[track_caller]
    pub fn runs(&self, at: &Controller, name: &str) {
        self.asks(at, name);
        eventually(&format!("{name} runs"), LONG, || {
            let text = at.api().page(&format!("/api/v1/namespaces/default/pods/{name}"))?;
            let pod: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            if pod["status"]["phase"] == "Running" { Ok(()) } else { Err(text) }
        });
    }

    pub fn token(&self) -> u64 {
        eventually("the lease is read", SOON, || {
            let lease = self.b.lease()?;
            lease["token"].as_u64().ok_or_else(|| lease.to_string())
        })
    }
}
