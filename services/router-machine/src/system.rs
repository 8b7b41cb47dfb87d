//! What is set rather than added: identity, container settings, device-mode, packages; and the log's own commands.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal};
use crate::device::Device;
use crate::release::Release;
use crate::request::Circumstances;
use crate::tables::{Scalar, read_scalar};
use crate::values::{self, to_text};
use crate::views::object;

/// Modes a device can be in.
const MODES: &[&str] = &["home", "basic", "advanced", "rose"];

/// Device-mode and packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct System {
    pub(crate) mode: String,
    pub(crate) container_mode: bool,
    pub(crate) fetch_mode: bool,
    pub(crate) attempts: u32,
    pub(crate) container_disabled: bool,
    pub(crate) scheduled: String,
}

impl Default for System {
    fn default() -> Self {
        Self {
            mode: "rose".to_owned(),
            container_mode: true,
            fetch_mode: true,
            attempts: 0,
            container_disabled: false,
            scheduled: String::new(),
        }
    }
}

impl System {
    /// Whether the container package is there and on.
    pub fn container_package(&self) -> bool {
        !self.container_disabled
    }

    /// `/system/device-mode`.
    pub fn device_mode(&self, release: &Release) -> Map<String, Value> {
        let mut printed = object(json!({
            "mode": self.mode, "container": self.container_mode.to_string(), "attempt-count": self.attempts.to_string(),
            "flagged": "false", "flagging-enabled": "true", "fetch": self.fetch_mode.to_string(), "scheduler": "true",
        }));
        if release.from(20) {
            printed.insert("allowed-versions".into(), json!("7.13+"));
        }
        printed
    }

    /// `/system/package`.
    pub fn packages(&self, release: &Release) -> Vec<Map<String, Value>> {
        let version = release.version.split(' ').next().unwrap_or_default();
        let row = |id: &str, name: &str, disabled: bool, scheduled: &str| {
            object(json!({
                ".id": id, "name": name, "version": version, "build-time": "2026-01-01 00:00:00", "size": "0",
                "available": "false", "disabled": disabled.to_string(), "scheduled": scheduled,
            }))
        };
        vec![row("*1", "routeros", false, ""), row("*2", "container", self.container_disabled, &self.scheduled)]
    }
}

/// A change of device-mode that waits for somebody at the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModeChange {
    mode: Option<String>,
    container: Option<bool>,
    fetch: Option<bool>,
    /// How long it waits.
    pub patience: Duration,
}

impl Device {
    /// Commands of menus without rows of their own.
    pub(crate) fn system_command(
        &mut self,
        segments: &[&str],
        body: &Value,
        now: &Circumstances<'_>,
    ) -> Result<Option<Answer>, Refusal> {
        match segments {
            ["system", "identity", "set"] => {
                for (name, value) in fields_of(body)? {
                    if name != "name" {
                        return Err(unknown(name));
                    }
                    self.state.identity = to_text(value);
                    self.pending.rest();
                }
            }
            ["container", "config", "set"] => self.set_container_config(body)?,
            ["log", level @ ("info" | "warning" | "error" | "debug")] => {
                if let Some((odd, _)) = fields_of(body)?.find(|(name, _)| *name != "message") {
                    return Err(unknown(odd));
                }
                let message = body.get("message").ok_or_else(|| Refusal::bad("missing =message="))?;
                let topics = match *level {
                    "info" => "script,info",
                    "warning" => "script,warning",
                    "error" => "script,error",
                    _ => "script,debug",
                };
                self.log.note(&now.stamp, topics, to_text(message));
            }
            ["system", "package", command @ ("enable" | "disable" | "unschedule")] => {
                let words = [".id", "numbers"].iter().find_map(|name| body.get(name)).map(to_text);
                match words.as_deref() {
                    None | Some("") => return Err(Refusal::bad("missing =.id=")),
                    Some("container" | "*2") => {}
                    Some("routeros" | "*1") => return Err(Refusal::failure("can not change this package")),
                    Some(_) => return Err(Refusal::not_found()),
                }
                self.state.system.scheduled = match *command {
                    "enable" => "scheduled for enable".to_owned(),
                    "disable" => "scheduled for disable".to_owned(),
                    _ => String::new(),
                };
                self.pending.rest();
            }
            _ => return Ok(None),
        }
        Ok(Some(Answer::done()))
    }

    /// Puts scheduled changes of packages into effect; the device reboots after it.
    pub fn apply_packages(&mut self) {
        let system = &mut self.state.system;
        match std::mem::take(&mut system.scheduled).as_str() {
            "scheduled for enable" => system.container_disabled = false,
            "scheduled for disable" => system.container_disabled = true,
            _ => {}
        }
        self.pending.rest();
    }

    /// Reads `POST /system/device-mode/update`: bad input is answered at once, anything else waits for a power cycle.
    pub fn mode_change(&self, body: &Value) -> Result<ModeChange, Refusal> {
        let mut change = ModeChange { mode: None, container: None, fetch: None, patience: Duration::from_secs(300) };
        for (name, value) in fields_of(body)? {
            let text = to_text(value);
            match name.as_str() {
                "mode" if MODES.contains(&text.as_str()) => change.mode = Some(text),
                "mode" => return Err(Refusal::bad("input does not match any value of mode")),
                "container" | "fetch" => {
                    let invalid = || Refusal::bad(format!("invalid value for argument {name}"));
                    let on = Some(values::boolean(&text).ok_or_else(invalid)? == "true");
                    if name == "fetch" { change.fetch = on } else { change.container = on }
                }
                "activation-timeout" => {
                    let invalid = || Refusal::bad("invalid time value for argument activation-timeout");
                    change.patience = values::duration(&text).ok_or_else(invalid)?;
                    if !(10..=86_400).contains(&change.patience.as_secs()) {
                        return Err(Refusal::bad("value of activation-timeout is out of range (10s .. 1d)"));
                    }
                }
                other => return Err(unknown(other)),
            }
        }
        Ok(change)
    }

    /// Somebody cut the power in time: the change holds.
    pub fn confirm_mode(&mut self, change: &ModeChange) {
        let system = &mut self.state.system;
        if let Some(mode) = &change.mode {
            system.mode.clone_from(mode);
            system.container_mode = mode == "rose";
            system.fetch_mode = mode != "home";
        }
        system.container_mode = change.container.unwrap_or(system.container_mode);
        system.fetch_mode = change.fetch.unwrap_or(system.fetch_mode);
        system.attempts = 0;
        self.pending.rest();
    }

    /// Nobody came.
    pub fn cancel_mode(&mut self) -> Refusal {
        self.state.system.attempts += 1;
        self.pending.rest();
        Refusal::bad("update canceled")
    }

    fn config_properties(&self) -> impl Iterator<Item = (&'static str, Scalar, &'static str)> {
        let memory = if self.release.from(20) { "memory-high" } else { "ram-high" };
        [
            ("layer-dir", Scalar::Text, ""),
            (memory, Scalar::Bytes, "unlimited"),
            ("password", Scalar::Secret, ""),
            ("registry-url", Scalar::Text, ""),
            ("tmpdir", Scalar::Text, ""),
            ("username", Scalar::Text, ""),
        ]
        .into_iter()
    }

    pub(crate) fn container_config(&self) -> Map<String, Value> {
        let shown = self.config_properties().filter(|(_, kind, _)| *kind != Scalar::Secret);
        shown
            .map(|(name, _, default)| {
                (name.to_owned(), json!(self.state.config.get(name).map_or(default, String::as_str)))
            })
            .collect()
    }

    fn set_container_config(&mut self, body: &Value) -> Result<(), Refusal> {
        let mut wanted = Vec::new();
        for (name, value) in fields_of(body)? {
            let known = self.config_properties().find(|(one, ..)| one == name);
            let (_, kind, _) = known.ok_or_else(|| unknown(name))?;
            wanted.push((name.clone(), read_scalar(name, kind, value)?));
        }
        self.state.config.extend(wanted);
        self.pending.rest();
        Ok(())
    }
}

pub(crate) fn fields_of(body: &Value) -> Result<impl Iterator<Item = (&String, &Value)>, Refusal> {
    body.as_object().map(Map::iter).ok_or_else(|| Refusal::bad("expected a JSON object"))
}

pub(crate) fn unknown(name: &str) -> Refusal {
    Refusal::bad(format!("unknown parameter {name}"))
}
