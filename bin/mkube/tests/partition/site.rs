//! Controllers, a host and a NATS server, each in a namespace of its own. The story speaks to them over doors that nothing happens to.

use std::process::Command;
use std::time::Duration;

use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

use crate::bucket::{Bucket, Reader};
use crate::dev::http::Http;
use crate::dev::process::Running;
use crate::dev::site::{PASSWORD, USER};
use crate::dev::{Machine, SOON, binary, eventually, free_address};
use crate::dice::Dice;
use crate::line::{Line, Passed};
use crate::net::{Net, Who};

const NATS_PORT: u16 = 4222;

/// One controller.
pub struct Controller {
    pub who: Who,
    /// Where its API is reached, by us alone.
    pub listen: String,
    process: Running,
    _door: Line,
}

/// Until one drives and the other stands by, both known to one another: commands of a predecessor are waited for.
const SETTLED: Duration = Duration::from_secs(180);

impl Controller {
    /// What it says of its lease.
    pub fn lease(&self) -> Result<Value, String> {
        let text = self.api().page("/api/v1/supervisor")?;
        serde_json::from_str::<Value>(&text).map(|tree| tree["lease"].clone()).map_err(|error| error.to_string())
    }

    /// Whether it drives the device.
    pub fn drives(&self) -> Result<bool, String> {
        self.lease().map(|lease| lease["drives"] == true)
    }

    pub fn api(&self) -> Http {
        Http::new(&format!("http://{}", self.listen), None)
    }
}

/// The site. Processes end before their machine does.
pub struct Site {
    pub controllers: Vec<Controller>,
    _host: Running,
    _nats: NatsServer,
    _door: Line,
    notebook: Option<Line>,
    pub net: Net,
    pub machine: Machine,
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("an address")
}

impl Site {
    /// Everything runs and reaches everything else.
    pub fn new(story: &str, controllers: &[Who], dice: &mut Dice) -> Self {
        let machine = Machine::new(story);
        machine.image("hello:latest");
        let host_port = port_of(&machine.host_listen);
        let mut parties: Vec<Who> = controllers.iter().copied().chain([Who::Nats, Who::Device]).collect();
        if controllers.len() > 1 {
            parties.push(Who::Notebook);
        }
        let net = Net::new(&parties, NATS_PORT, host_port);
        let nats = net.at(Who::Nats).run(|| NatsServer::start_with(&format!("listen: \"0.0.0.0:{NATS_PORT}\"")));
        let mut command = Command::new(binary());
        command.args(["host", "--engine", "simulated", "--listen", &format!("0.0.0.0:{host_port}")]);
        command.args(["--user", USER, "--password", PASSWORD, "--data-dir"]).arg(machine.dir.join("host"));
        let host = net.at(Who::Device).run(|| Running::start(command));
        host.wait_for("ready", SOON);
        let door = |listen: &str, who: Who, dice: &mut Dice| {
            Line::new(None, listen, net.at(who), &format!("127.0.0.1:{}", port_of(listen)), dice.split())
        };
        let host_door = door(&machine.host_listen, Who::Device, dice);
        let notebook = parties.contains(&Who::Notebook).then(|| net.notebook(dice.split()));
        let device = if notebook.is_some() { Who::Notebook } else { Who::Device };
        let mut made = Vec::new();
        for who in controllers {
            let listen = if made.is_empty() { machine.listen.clone() } else { free_address() };
            let mut config = machine.config();
            config["routeros"]["restUrl"] = json!(format!("http://{}:{host_port}/rest", device.address()));
            config["nats"] = json!({"url": format!("nats://{}:{NATS_PORT}", Who::Nats.address())});
            config["store"] = json!({"kind": "nats", "path": machine.dir.join(format!("{who:?}/state.redb"))});
            config["api"] = json!({"listen": listen});
            let path = machine.write(&format!("{who:?}.yaml"), &config.to_string());
            let mut command = Command::new(binary());
            command.args(["serve", "--config"]).arg(path);
            let process = net.at(*who).run(|| Running::start(command));
            let _door = door(&listen, *who, dice);
            made.push(Controller { who: *who, listen, process, _door });
        }
        let site = Self { controllers: made, _host: host, _nats: nats, _door: host_door, notebook, net, machine };
        site.wait_well();
        site
    }

    /// Of two controllers the one that drives and the one that could follow it at any moment.
    #[track_caller]
    pub fn roles(&self) -> (&Controller, &Controller) {
        eventually("one drives, and the other may follow it", SETTLED, || {
            let (first, second) = (&self.controllers[0], &self.controllers[1]);
            let (driver, standby) = if first.drives()? { (first, second) } else { (second, first) };
            let (drives, stands) = (driver.lease()?, standby.lease()?);
            let known = stands["message"].as_str().is_some_and(|text| text.ends_with(" drives"));
            // A successor would only read while a long command may be at work.
            let free = stands["announcedSeconds"] == 0;
            if drives["drives"] == true && stands["drives"] == false && known && free {
                Ok((driver, standby))
            } else {
                Err(format!("{drives}, {stands}"))
            }
        })
    }

    /// What changed the device so far, and who asked for it.
    pub fn noted(&self) -> Vec<Passed> {
        self.notebook.as_ref().map(Line::passed).unwrap_or_default()
    }

    /// Waits until every controller is well and has everything.
    #[track_caller]
    pub fn wait_well(&self) {
        for controller in &self.controllers {
            let api = controller.api();
            eventually(&format!("{:?} is well", controller.who), SOON, || {
                let page =
                    api.page("/readyz?verbose").map_err(|why| format!("{why}\n{}", controller.process.output()))?;
                if page.contains("[+]store ok: connected, loaded, complete") { Ok(()) } else { Err(page) }
            });
        }
    }

    /// All rows of a menu of the device.
    #[track_caller]
    pub fn rows(&self, menu: &str) -> Vec<Value> {
        self.machine.host_api().get(menu).as_array().expect("rows").clone()
    }

    /// What NATS has in a bucket.
    #[track_caller]
    pub fn bucket(&self, name: &str) -> Bucket {
        let read = || Reader::connect(&format!("127.0.0.1:{NATS_PORT}"))?.read(name);
        self.net.at(Who::Nats).run(read).unwrap_or_else(|why| panic!("bucket {name}: {why}"))
    }
}
