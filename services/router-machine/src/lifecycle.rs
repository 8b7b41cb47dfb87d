//! The life of a container: started, stopped, ended, found again.

use std::time::Duration;

use serde_json::Value;

use crate::answer::Refusal;
use crate::containers::Phase;
use crate::device::Device;
use crate::effects::{Effect, Happened};
use crate::engine::{Found, ImageConfig};
use crate::launch::{Given, key_of, launch};
use crate::menus::Menu;
use crate::request::Circumstances;
use crate::tables::{Row, RowNumber};
use crate::values::{self, to_text};

/// How long a stop may take where nothing says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

impl Device {
    pub(crate) fn start(&mut self, number: RowNumber, now: &Circumstances<'_>) -> Result<Vec<Effect>, Refusal> {
        match self.phase(number) {
            Phase::Stopped => {}
            Phase::Extracting => return Err(Refusal::failure("container is extracting")),
            Phase::Failed => return Err(Refusal::failure("start failed: layer missing, need repull")),
            Phase::Starting | Phase::Running => return Err(Refusal::failure("already running")),
            Phase::Stopping | Phase::Deleting => return Err(Refusal::failure("container is not stopped")),
        }
        self.launch(number, now)
    }

    /// Rows of the lists a container names, in order, without those switched off.
    fn listed(&self, row: &Row, menu: Menu, properties: [&str; 2]) -> Vec<&Row> {
        let name = menu.list_name(&self.release);
        let lists = properties.into_iter().flat_map(|property| row.list(property));
        let of = |list: &str| {
            let list = list.to_owned();
            self.rows(menu).iter().filter(move |one| one.get(name) == list && !one.is("disabled"))
        };
        lists.flat_map(of).collect()
    }

    pub(crate) fn env_rows(&self, row: &Row) -> Vec<&Row> {
        self.listed(row, Menu::Envs, ["envlists", "envlist"])
    }

    fn launch(&mut self, number: RowNumber, now: &Circumstances<'_>) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(Menu::Container, number).cloned().ok_or_else(Refusal::not_found)?;
        let image = self.runtime(number).and_then(|runtime| runtime.image.clone()).unwrap_or_default();
        let envs = self.env_rows(&row);
        let mounts = self.listed(&row, Menu::Mounts, ["mountlists", "mounts"]);
        let bridge_of = |veth: &str| {
            let port = self.rows(Menu::BridgePort).iter().find(|port| port.get("interface") == veth)?;
            Some(port.get("bridge").to_owned())
        };
        let veths: Vec<(&Row, Option<String>)> = row
            .list("interface")
            .iter()
            .filter_map(|veth| Some((self.named(Menu::Veth, veth)?, bridge_of(veth))))
            .collect();
        let missing = row.list("interface").len() != veths.len();
        let made = launch(&Given {
            row: &row,
            image: &image,
            envs: &envs,
            mounts: &mounts,
            veths: &veths,
            default_dns: &[],
            local: now.local,
            names_inside: self.release.from(20),
        });
        let made = if missing { Err("could not acquire interface: no device (6)".to_owned()) } else { made };
        let Some(runtime) = self.runtime_mut(number) else { return Err(Refusal::not_found()) };
        match made {
            Ok(launch) => {
                runtime.phase = Phase::Starting;
                runtime.start += 1;
                runtime.about.clear();
                let start = runtime.start;
                Ok(vec![Effect::Start { number, start, launch: Box::new(launch) }])
            }
            Err(why) => {
                // Accepted, and said only afterwards, as the device does.
                runtime.about = format!("start failed: {why}");
                self.note(number, &now.stamp, &format!("start failed: {why}"), true);
                Ok(vec![])
            }
        }
    }

    pub(crate) fn stop(&mut self, number: RowNumber) -> Result<Vec<Effect>, Refusal> {
        let Some(runtime) = self.runtime_mut(number) else { return Err(Refusal::not_found()) };
        if !matches!(runtime.phase, Phase::Running | Phase::Starting) {
            return Err(Refusal::failure("not running"));
        }
        runtime.phase = Phase::Stopping;
        Ok(self.stopping(number))
    }

    /// The signal of a stop, as the row and then the image say.
    fn stopping(&self, number: RowNumber) -> Vec<Effect> {
        let (Some(row), Some(runtime)) = (self.row(Menu::Container, number), self.runtime(number)) else {
            return vec![];
        };
        let image = runtime.image.as_ref().map_or("", |image| image.stop_signal.as_str());
        let signal = [row.get("stop-signal"), image].into_iter().find_map(signal_of).unwrap_or(15);
        let patience = values::duration(row.get("stop-time")).unwrap_or(PATIENCE);
        vec![Effect::Stop { number, start: runtime.start, key: key_of(row), signal, patience }]
    }

    pub(crate) fn kill(&mut self, number: RowNumber, body: &Value) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(Menu::Container, number).cloned().ok_or_else(Refusal::not_found)?;
        if !matches!(self.phase(number), Phase::Running | Phase::Stopping) {
            return Err(Refusal::failure("not running"));
        }
        let signal = match body.get("signal").map(to_text) {
            Some(text) => signal_of(&text).ok_or_else(|| Refusal::bad("input does not match any value of signal"))?,
            None => 9,
        };
        Ok(vec![Effect::Kill { key: key_of(&row), signal }])
    }

    pub(crate) fn restart(&mut self, number: RowNumber) -> Result<Vec<Effect>, Refusal> {
        let effects = self.stop(number)?;
        if let Some(runtime) = self.runtime_mut(number) {
            runtime.again = true;
        }
        Ok(effects)
    }

    /// Learns what happened.
    pub fn happened(&mut self, what: Happened, now: &Circumstances<'_>) -> Vec<Effect> {
        match what {
            Happened::Extracted { number, result } => self.extracted(number, result, now),
            Happened::Started { number, start, result } => self.started(number, start, result, now),
            Happened::NotCaught { number, signal } => {
                let text = format!("signal {signal} (Terminated) not caught, kill immediately");
                self.note(number, &now.stamp, &text, true);
                vec![]
            }
            Happened::Exited { number, code, out_of_memory } => self.exited(number, code, out_of_memory, now),
            Happened::Output { number, line } => {
                let logging = self.row(Menu::Container, number).is_some_and(|row| row.is("logging"));
                self.note(number, &now.stamp, &line, logging);
                vec![]
            }
            Happened::FilesRemoved { number } => {
                if self.phase(number) != Phase::Deleting {
                    return vec![];
                }
                let key = self.row(Menu::Container, number).map(key_of);
                self.log.note(&now.stamp, "container,info", format!("{}: remove done", self.name(number)));
                self.drop_row(Menu::Container, number);
                self.set_runtime(number, None);
                self.log.forget(number);
                key.map(|key| vec![Effect::Forget { key }]).unwrap_or_default()
            }
            Happened::RestartDue { number, start } => {
                let due = self
                    .runtime(number)
                    .is_some_and(|runtime| runtime.phase == Phase::Stopped && runtime.start == start);
                if !due {
                    return vec![];
                }
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.restarts += 1;
                }
                self.launch(number, now).unwrap_or_default()
            }
        }
    }

    fn name(&self, number: RowNumber) -> String {
        self.row(Menu::Container, number).map(|row| row.get("name").to_owned()).unwrap_or_default()
    }

    pub(crate) fn failed(&mut self, number: RowNumber, name: &str, why: &str, stamp: &str) {
        if let Some(runtime) = self.runtime_mut(number) {
            runtime.phase = Phase::Failed;
            runtime.about = why.to_owned();
        }
        self.log.note_container(number, name, stamp, why, true);
    }

    fn extracted(
        &mut self,
        number: RowNumber,
        result: Result<ImageConfig, String>,
        now: &Circumstances<'_>,
    ) -> Vec<Effect> {
        if self.phase(number) != Phase::Extracting {
            return vec![];
        }
        match result {
            Ok(image) => {
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.image = Some(image);
                    runtime.phase = Phase::Stopped;
                }
                self.note(number, &now.stamp, "download/extract done", true);
            }
            Err(why) => {
                let name = self.name(number);
                self.failed(number, &name, &format!("download/extract error: {why}"), &now.stamp);
            }
        }
        vec![]
    }

    fn started(
        &mut self,
        number: RowNumber,
        start: u64,
        result: Result<(), String>,
        now: &Circumstances<'_>,
    ) -> Vec<Effect> {
        let key = self.row(Menu::Container, number).map(key_of).unwrap_or_default();
        let Some(runtime) = self.runtime_mut(number) else { return vec![] };
        if runtime.start != start {
            return vec![];
        }
        match result {
            Ok(()) => {
                if runtime.phase == Phase::Starting {
                    runtime.phase = Phase::Running;
                    self.note(number, &now.stamp, "started", true);
                    return vec![];
                }
                // Asked to stop before there was anything to send a signal to.
                if runtime.phase == Phase::Stopping { self.stopping(number) } else { vec![] }
            }
            Err(why) => {
                runtime.phase = Phase::Stopped;
                runtime.about = format!("start failed: {why}");
                self.note(number, &now.stamp, &why, true);
                // What the device says of a process that could not be executed.
                self.note(number, &now.stamp, "exited with status 255", true);
                vec![Effect::CleanUp { key }]
            }
        }
    }

    fn exited(&mut self, number: RowNumber, code: i32, out_of_memory: bool, now: &Circumstances<'_>) -> Vec<Effect> {
        let Some(row) = self.row(Menu::Container, number).cloned() else { return vec![] };
        let Some(runtime) = self.runtime_mut(number) else { return vec![] };
        // Told twice, or told of a process that is not the present one.
        if !matches!(runtime.phase, Phase::Starting | Phase::Running | Phase::Stopping) {
            return vec![];
        }
        let asked = runtime.phase == Phase::Stopping;
        let again = std::mem::take(&mut runtime.again);
        runtime.about.clear();
        runtime.phase = Phase::Stopped;
        let (start, restarts) = (runtime.start, runtime.restarts);
        if out_of_memory {
            self.note(number, &now.stamp, "killed, out of memory", true);
        }
        self.note(number, &now.stamp, &format!("exited with status {code}"), true);
        let mut effects = vec![Effect::CleanUp { key: key_of(&row) }];
        let wanted = match row.get("restart-policy") {
            "always" => !asked,
            "on-failure" => !asked && code != 0,
            _ => false,
        };
        let limit: u32 = row.get("restart-max-count").parse().unwrap_or(0);
        if again || (wanted && (limit == 0 || restarts < limit)) {
            let after =
                if again { Duration::ZERO } else { values::duration(row.get("restart-interval")).unwrap_or_default() };
            effects.push(Effect::RestartLater { number, start, after: after.max(Duration::from_millis(50)) });
        }
        effects
    }

    /// After a restart of the host: what has to be done again for each container, given what the engine found.
    pub fn recover(&mut self, number: RowNumber, found: Found, now: &Circumstances<'_>) -> Vec<Effect> {
        let Some(row) = self.row(Menu::Container, number).cloned() else { return vec![] };
        let Some(phase) = self.runtime(number).map(|runtime| runtime.phase) else { return vec![] };
        match (phase, found) {
            (Phase::Extracting, _) => vec![Self::extract(&row, false, now)],
            (Phase::Deleting, _) => vec![Effect::RemoveFiles { number, root_dir: (now.local)(row.get("root-dir")) }],
            (Phase::Starting | Phase::Running, Found::Running { .. }) => {
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.phase = Phase::Running;
                }
                vec![]
            }
            (Phase::Stopping, Found::Running { .. }) => {
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.phase = Phase::Running;
                }
                self.stop(number).unwrap_or_default()
            }
            (Phase::Starting | Phase::Running | Phase::Stopping, Found::Exited { code, .. }) => {
                self.exited(number, code.unwrap_or(255), false, now)
            }
            (Phase::Starting | Phase::Running | Phase::Stopping, Found::Nothing) => {
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.phase = Phase::Stopped;
                }
                vec![]
            }
            // Stopped by what is written, alive in fact: the write was lost with the host. Believe the process.
            (Phase::Stopped, Found::Running { .. }) => {
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.phase = Phase::Running;
                    runtime.start += 1;
                }
                vec![]
            }
            (Phase::Stopped | Phase::Failed, _) => vec![],
        }
    }

    /// The device goes down: everything that runs is stopped, at once if the power was cut. Nothing scheduled holds any longer.
    pub fn shut_down(&mut self, power_cut: bool) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (key, number, phase) in self.containers() {
            let Some(runtime) = self.runtime_mut(number) else { continue };
            runtime.again = false;
            match phase {
                Phase::Starting | Phase::Running | Phase::Stopping => {
                    runtime.phase = Phase::Stopping;
                    if power_cut {
                        effects.push(Effect::Kill { key, signal: 9 });
                    } else if phase != Phase::Stopping {
                        effects.extend(self.stopping(number));
                    }
                }
                // A restart that was due belongs to the time before.
                Phase::Stopped => runtime.start += 1,
                Phase::Extracting | Phase::Failed | Phase::Deleting => {}
            }
        }
        self.state.system.scheduled.clear();
        self.pending.rest();
        effects
    }

    /// After a restart of the machine: networks are made again, containers that start on boot are started.
    pub fn booted(&mut self, now: &Circumstances<'_>) -> Vec<Effect> {
        self.log.reboot();
        self.log.note(&now.stamp, "system,info", "router rebooted".to_owned());
        let mut effects = self.networks();
        if !self.state.system.container_package() || !self.state.system.container_mode {
            return effects;
        }
        let on_boot: Vec<RowNumber> =
            self.rows(Menu::Container).iter().filter(|row| row.is("start-on-boot")).map(|row| row.number).collect();
        for number in on_boot {
            effects.extend(self.start(number, now).unwrap_or_default());
        }
        effects
    }

    /// Bridges and addresses as they should be.
    pub fn networks(&self) -> Vec<Effect> {
        let bridges =
            self.rows(Menu::Bridge).iter().map(|row| Effect::EnsureBridge { bridge: row.get("name").to_owned() });
        let addresses = self.rows(Menu::Address).iter().filter_map(|row| self.ensure_address(row));
        bridges.chain(addresses).collect()
    }

    fn note(&mut self, number: RowNumber, stamp: &str, message: &str, logged: bool) {
        let name = self.name(number);
        self.log.note_container(number, &name, stamp, message, logged);
    }
}

/// A signal's number, from `15-SIGTERM`, `15`, `SIGTERM` or `TERM`.
fn signal_of(text: &str) -> Option<i32> {
    if let Some(number) = text.split('-').next().and_then(|number| number.parse().ok()) {
        return Some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let known =
        [("HUP", 1), ("INT", 2), ("QUIT", 3), ("KILL", 9), ("USR1", 10), ("USR2", 12), ("TERM", 15), ("WINCH", 28)];
    known.into_iter().find(|(one, _)| *one == name).map(|(_, number)| number)
}
