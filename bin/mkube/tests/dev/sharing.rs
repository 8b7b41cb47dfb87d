//! A device with a controller of its own, whose objects lie in a NATS that others use, too.

use std::process::Command;

use mkube_nats_server_fixture::NatsServer;
use serde_json::{Value, json};

use super::process::Running;
use super::{Machine, binary, shell};

/// A device with a controller of its own. Processes first: they end before their machine does.
pub struct Site {
    pub serve: Option<Running>,
    _host: Running,
    pub machine: Machine,
    pub node: &'static str,
    config: std::path::PathBuf,
}

impl Site {
    /// Starts both.
    pub fn new(node: &'static str, engine: &str, nats: &NatsServer) -> Self {
        let machine = Machine::new(&format!("devices-{node}"));
        machine.image("hello:latest");
        let host = machine.host(engine, &[]);
        let mut config = machine.config();
        config["nodeName"] = json!(node);
        config["nats"] = json!({"url": nats.url()});
        config["store"]["kind"] = json!("nats");
        let config = machine.write("config.yaml", &config.to_string());
        let mut site = Self { serve: None, _host: host, machine, node, config };
        site.start();
        site
    }

    /// Starts the controller, again.
    pub fn start(&mut self) {
        let mut command = Command::new(binary());
        command.args(["serve", "--config"]).arg(&self.config);
        self.serve = Some(Running::start(command));
    }

    /// A pod that says where it is, made through this node's API.
    #[track_caller]
    pub fn make(&self, name: &str, spec: Value) {
        let mut pod = shell(name, "hostname; exec sleep 100000", spec);
        pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
        self.machine.api().create(&pod);
    }

    /// What this device has.
    #[track_caller]
    pub fn containers(&self) -> Vec<String> {
        let rows = self.machine.host_api().get("/container");
        let rows = rows.as_array().expect("rows").iter();
        let mut names: Vec<String> = rows.map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    }

    /// Name, node and address of every pod, as this API shows them; none that does not run.
    pub fn shown(&self) -> Result<Vec<(String, String, String)>, String> {
        let list = self.machine.api().page("/api/v1/pods")?;
        let list: Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
        let row = |pod: &Value| {
            let text = |at: &str| pod.pointer(at).and_then(Value::as_str).map(str::to_owned);
            let runs = pod["status"]["phase"] == "Running";
            let row = Some((text("/metadata/name")?, text("/spec/nodeName")?, text("/status/podIP")?)).filter(|_| runs);
            row.map(|(name, node, ip)| (name, node, ip.rsplit_once('.').map_or(ip.clone(), |(net, _)| net.to_owned())))
        };
        list["items"].as_array().expect("pods").iter().map(|pod| row(pod).ok_or_else(|| pod.to_string())).collect()
    }

    /// A ConfigMap that a controller makes of its networks.
    pub fn console(&self, name: &str) -> Result<String, String> {
        let map = self.machine.api().page(&format!("/api/v1/namespaces/infra/configmaps/{name}"))?;
        let map: Value = serde_json::from_str(&map).map_err(|error| error.to_string())?;
        map["data"]["config.yaml"].as_str().map(str::to_owned).ok_or_else(|| map.to_string())
    }
}
