//! The device: requests and events in, answers and effects out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal};
use crate::containers::{Phase, Runtime};
use crate::engine::{Found, ImageConfig, Launch};
use crate::launch::{Given, key_of, launch};
use crate::menus::Menu;
use crate::query;
use crate::release::Release;
use crate::tables::{Row, RowNumber, number_of, read_value};
use crate::values::{self, format_duration, to_text};

/// Rows `/log` keeps.
const LOG_ROWS: usize = 1000;
/// Messages kept for each container.
const CONTAINER_MESSAGES: usize = 100;

/// HTTP verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the verbs of HTTP")]
pub enum Verb {
    Get,
    Put,
    Patch,
    Delete,
    Post,
}

/// A request below `/rest`.
#[derive(Debug, Clone)]
pub struct Request {
    /// Verb.
    pub verb: Verb,
    /// Decoded path segments.
    pub segments: Vec<String>,
    /// Decoded query.
    pub query: Vec<(String, String)>,
    /// Parsed body; null when there is none.
    pub body: Value,
}

/// What the device needs to know of the world at a request or event.
pub struct Circumstances<'a> {
    /// Time of day as printed in logs.
    pub stamp: String,
    /// Since the device started.
    pub uptime: Duration,
    /// Whether a path of the device exists.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// A path of the device as a path of this machine.
    pub local: &'a dyn Fn(&str) -> PathBuf,
    /// Free and total memory, free and total disk, in bytes.
    pub sizes: [u64; 4],
    /// Number of CPUs.
    pub cpus: usize,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the engine's calls")]
pub enum Effect {
    Extract {
        number: RowNumber,
        key: String,
        archive: PathBuf,
        root_dir: PathBuf,
    },
    Start {
        number: RowNumber,
        start: u64,
        launch: Box<Launch>,
    },
    /// Send the signal; kill at once if it is not caught, or after `patience`.
    Stop {
        number: RowNumber,
        start: u64,
        key: String,
        signal: i32,
        patience: Duration,
    },
    Kill {
        key: String,
        signal: i32,
    },
    CleanUp {
        key: String,
    },
    Forget {
        key: String,
    },
    RemoveFiles {
        number: RowNumber,
        root_dir: PathBuf,
    },
    RestartLater {
        number: RowNumber,
        start: u64,
        after: Duration,
    },
    EnsureBridge {
        bridge: String,
    },
    RemoveBridge {
        bridge: String,
    },
    EnsureAddress {
        bridge: String,
        address: IpNet,
    },
    RemoveAddress {
        bridge: String,
        address: IpNet,
    },
    Attach {
        veth: String,
        bridge: Option<String>,
    },
    RemoveVeth {
        veth: String,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the effects they follow")]
pub enum Happened {
    Extracted { number: RowNumber, result: Result<ImageConfig, String> },
    Started { number: RowNumber, start: u64, result: Result<(), String> },
    NotCaught { number: RowNumber, signal: i32 },
    Exited { number: RowNumber, code: i32, out_of_memory: bool },
    Output { number: RowNumber, line: String },
    FilesRemoved { number: RowNumber },
    RestartDue { number: RowNumber, start: u64 },
}

#[derive(Debug, Clone)]
struct LogLine {
    number: u64,
    time: String,
    topics: &'static str,
    message: String,
}

/// What survives a restart of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceState {
    identity: String,
    next: BTreeMap<String, RowNumber>,
    rows: BTreeMap<Menu, Vec<Row>>,
    runtimes: BTreeMap<RowNumber, Runtime>,
    config: BTreeMap<String, String>,
}

/// A device.
#[derive(Debug, Clone)]
pub struct Device {
    release: Release,
    state: DeviceState,
    log: VecDeque<LogLine>,
    container_log: BTreeMap<RowNumber, VecDeque<LogLine>>,
    next_line: u64,
    changed: bool,
}

type Outcome = Result<(Answer, Vec<Effect>), Refusal>;

impl Device {
    /// A factory-new device with one user.
    pub fn new(release: Release, user: &str, password: &str) -> Self {
        let fields = [("name", user), ("group", "full"), ("password", password)];
        let user = Row { number: 1, fields: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() };
        let state = DeviceState {
            identity: "MikroTik".to_owned(),
            next: BTreeMap::from([("user".to_owned(), 2)]),
            rows: BTreeMap::from([(Menu::User, vec![user])]),
            runtimes: BTreeMap::new(),
            config: BTreeMap::new(),
        };
        Self::restore(release, state)
    }

    /// A device as it was.
    pub fn restore(release: Release, state: DeviceState) -> Self {
        Self { release, state, log: VecDeque::new(), container_log: BTreeMap::new(), next_line: 0, changed: true }
    }

    /// What has to be kept.
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// Sets name and password of the first user, who is the one the host was started with.
    pub fn set_first_user(&mut self, user: &str, password: &str) {
        if let Some(row) = self.state.rows.entry(Menu::User).or_default().first_mut() {
            row.fields.insert("name".into(), user.to_owned());
            row.fields.insert("password".into(), password.to_owned());
        }
    }

    /// Whether anything that has to be kept changed since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether these are a user's words.
    pub fn may_enter(&self, user: &str, password: &str) -> bool {
        self.rows(Menu::User)
            .iter()
            .any(|row| row.get("name") == user && row.get("password") == password && !row.is("disabled"))
    }

    fn rows(&self, menu: Menu) -> &[Row] {
        self.state.rows.get(&menu).map(Vec::as_slice).unwrap_or_default()
    }

    fn rows_mut(&mut self, menu: Menu) -> &mut Vec<Row> {
        self.changed = true;
        self.state.rows.entry(menu).or_default()
    }

    fn row(&self, menu: Menu, number: RowNumber) -> Option<&Row> {
        self.rows(menu).iter().find(|row| row.number == number)
    }

    fn named(&self, menu: Menu, name: &str) -> Option<&Row> {
        self.rows(menu).iter().find(|row| row.get("name") == name)
    }

    /// What a container is doing.
    pub fn runtime(&self, number: RowNumber) -> Option<&Runtime> {
        self.state.runtimes.get(&number)
    }

    fn runtime_mut(&mut self, number: RowNumber) -> Option<&mut Runtime> {
        self.changed = true;
        self.state.runtimes.get_mut(&number)
    }

    /// Keys, numbers and phases of all containers.
    pub fn containers(&self) -> Vec<(String, RowNumber, Phase)> {
        let phase = |number| self.runtime(number).map_or(Phase::Stopped, |runtime| runtime.phase);
        self.rows(Menu::Container).iter().map(|row| (key_of(row), row.number, phase(row.number))).collect()
    }

    /// Notes what a container uses now.
    pub fn note_usage(&mut self, number: RowNumber, usage: crate::engine::Usage, cpu_percent: f64) {
        if let Some(runtime) = self.state.runtimes.get_mut(&number) {
            runtime.usage = usage;
            runtime.cpu_percent = cpu_percent;
        }
    }

    /// Answers a request.
    pub fn request(&mut self, request: &Request, now: &Circumstances<'_>) -> (Answer, Vec<Effect>) {
        match self.route(request, now) {
            Ok(done) => done,
            Err(refusal) => (refusal.to_answer(), Vec::new()),
        }
    }

    fn route(&mut self, request: &Request, now: &Circumstances<'_>) -> Outcome {
        let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        if let Some(answer) = self.special(request, &segments, now)? {
            return Ok((answer, Vec::new()));
        }
        let found = Menu::ALL
            .into_iter()
            .filter(|menu| {
                let path: Vec<&str> = menu.path().split('/').collect();
                segments.starts_with(&path)
            })
            .max_by_key(|menu| menu.path().len());
        let Some(menu) = found else {
            let unknown = segments.first().copied().unwrap_or_default();
            return Err(Refusal::bad(format!("no such command or directory ({unknown})")));
        };
        let rest = &segments[menu.path().split('/').count()..];
        match (request.verb, rest) {
            (Verb::Get, []) => Ok((Answer::ok(self.print_all(menu, &request.query, now)), vec![])),
            (Verb::Get, ["print"]) => Err(Refusal::bad("no such command")),
            (Verb::Get, [target]) => {
                let number = self.find(menu, target)?;
                let printed = self.print(menu, number, now);
                Ok((Answer::ok(Value::Object(printed)), vec![]))
            }
            (Verb::Put, []) => {
                let (number, effects) = self.add(menu, &request.body, now)?;
                Ok((Answer::created(Value::Object(self.print(menu, number, now))), effects))
            }
            (Verb::Patch, [target]) => {
                let number = self.find(menu, target)?;
                let effects = self.set(menu, number, &request.body, &[])?;
                Ok((Answer::ok(Value::Object(self.print(menu, number, now))), effects))
            }
            (Verb::Delete, [target]) => {
                let number = self.find(menu, target)?;
                Ok((Answer::nothing(), self.remove(menu, number, now)?))
            }
            (Verb::Post, [command]) => self.command(menu, command, &request.body, now),
            (Verb::Patch | Verb::Delete, []) => Err(Refusal::bad("missing or invalid resource identifier")),
            _ => Err(Refusal::bad("no such command")),
        }
    }

    /// Menus without rows of their own.
    fn special(
        &mut self,
        request: &Request,
        segments: &[&str],
        now: &Circumstances<'_>,
    ) -> Result<Option<Answer>, Refusal> {
        let settings = |value: Value| match request.verb {
            Verb::Get => Ok(Some(Answer::ok(value))),
            Verb::Patch | Verb::Delete => Err(Refusal::bad("missing or invalid resource identifier")),
            _ => Err(Refusal::bad("no such command")),
        };
        let list = |rows: Vec<Map<String, Value>>| match request.verb {
            Verb::Get => {
                let rows = query::filter(rows, &request.query);
                let wanted = request.query.iter().find(|(name, _)| name == ".proplist").map_or("", |(_, list)| list);
                Ok(Some(Answer::ok(to_array(query::pick(rows, wanted, true)))))
            }
            _ => Err(Refusal::bad("no such command")),
        };
        match segments {
            ["system", "resource"] => settings(self.resource(now)),
            ["system", "identity"] => settings(json!({"name": self.state.identity})),
            ["system", "identity", "set"] if request.verb == Verb::Post => {
                for (name, value) in request.body.as_object().into_iter().flatten() {
                    if name != "name" {
                        return Err(Refusal::bad(format!("unknown parameter {name}")));
                    }
                    self.state.identity = to_text(value);
                    self.changed = true;
                }
                Ok(Some(Answer::done()))
            }
            ["system", "device-mode"] => settings(json!({
                "mode": "rose", "container": "true", "attempt-count": "0", "flagged": "false", "flagging-enabled": "true",
                "fetch": "true", "scheduler": "true",
            })),
            ["system", "package"] => list(vec![object(json!({
                ".id": "*1", "name": "container", "version": self.release.version.split(' ').next(), "disabled": "false",
                "available": "false", "scheduled": "", "build-time": "2026-01-01 00:00:00", "size": "0",
            }))]),
            ["container", "config"] => settings(self.container_config()),
            ["container", "config", "set"] if request.verb == Verb::Post => {
                self.set_container_config(&request.body).map(Some)
            }
            ["container", "log"] if self.release.from(20) => list(self.print_container_log()),
            ["log"] => list(self.log.iter().map(|line| print_line(line, None)).collect()),
            ["log", level @ ("info" | "warning" | "error" | "debug")] if request.verb == Verb::Post => {
                let topics = match *level {
                    "info" => "script,info",
                    "warning" => "script,warning",
                    "error" => "script,error",
                    _ => "script,debug",
                };
                self.log(&now.stamp, topics, to_text(&request.body["message"]));
                Ok(Some(Answer::done()))
            }
            ["interface"] => list(self.interfaces()),
            ["interface", "print"] if request.verb == Verb::Post => {
                Ok(Some(Answer::ok(to_array(print_query(self.interfaces(), &request.body)?))))
            }
            ["interface", name] if request.verb == Verb::Get && !["veth", "bridge"].contains(name) => {
                let rows = self.interfaces();
                let found = rows.into_iter().find(|row| {
                    row.get("name").is_some_and(|one| one == name) || row.get(".id").is_some_and(|one| one == name)
                });
                found.map(|row| Some(Answer::ok(Value::Object(row)))).ok_or_else(Refusal::not_found)
            }
            ["ip", "route"] => list(self.routes()),
            ["disk"] => list(vec![object(json!({
                ".id": "*1", "slot": "disk1", "type": "hardware", "mount-point": "disk1", "mounted": "true", "fs": "ext4",
                "size": now.sizes[3].to_string(), "free": now.sizes[2].to_string(), "disabled": "false",
            }))]),
            ["execute"] => Err(Refusal::failure("this host runs no scripts")),
            _ => Ok(None),
        }
    }

    fn resource(&self, now: &Circumstances<'_>) -> Value {
        let [memory_free, memory_total, disk_free, disk_total] = now.sizes.map(|size| size.to_string());
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            "x86_64" => "x86_64",
            other => other,
        };
        json!({
            "version": self.release.version, "uptime": format_duration(Duration::from_secs(now.uptime.as_secs())),
            "build-time": "2026-01-01 00:00:00", "factory-software": "7.1", "architecture-name": architecture,
            "board-name": "mkube host", "platform": "MikroTik", "cpu": "host", "cpu-count": now.cpus.to_string(),
            "cpu-frequency": "1000", "cpu-load": "0", "free-memory": memory_free, "total-memory": memory_total,
            "free-hdd-space": disk_free, "total-hdd-space": disk_total,
        })
    }

    fn container_config(&self) -> Value {
        let memory = if self.release.from(20) { "memory-high" } else { "ram-high" };
        let mut config = object(json!({"registry-url": "", "username": "", "tmpdir": "", "layer-dir": ""}));
        config.insert(memory.into(), json!("unlimited"));
        for (name, value) in self.state.config.iter().filter(|(name, _)| *name != "password") {
            config.insert(name.clone(), json!(value));
        }
        Value::Object(config)
    }

    fn set_container_config(&mut self, body: &Value) -> Result<Answer, Refusal> {
        let memory = if self.release.from(20) { "memory-high" } else { "ram-high" };
        let mut wanted = Vec::new();
        for (name, value) in body.as_object().into_iter().flatten() {
            let text = to_text(value);
            let text = match name.as_str() {
                "registry-url" | "username" | "password" | "tmpdir" | "layer-dir" => text,
                name if name == memory => {
                    values::bytes(&text).ok_or_else(|| Refusal::bad(format!("invalid value for argument {name}")))?
                }
                other => return Err(Refusal::bad(format!("unknown parameter {other}"))),
            };
            wanted.push((name.clone(), text));
        }
        self.state.config.extend(wanted);
        self.changed = true;
        Ok(Answer::done())
    }

    fn interfaces(&self) -> Vec<Map<String, Value>> {
        let mut rows = Vec::new();
        for (menu, kind) in [(Menu::Bridge, "bridge"), (Menu::Veth, "veth")] {
            for row in self.rows(menu) {
                let running = menu == Menu::Bridge || self.user_of(row.get("name")).is_some();
                rows.push(object(json!({
                    ".id": row.id(), "name": row.get("name"), "type": kind, "mtu": "1500", "disabled": bool_text(row.is("disabled")),
                    "running": bool_text(running), "dynamic": "false",
                })));
            }
        }
        rows
    }

    fn routes(&self) -> Vec<Map<String, Value>> {
        let routes = self.rows(Menu::Address).iter().filter_map(|row| {
            let net: IpNet = row.get("address").parse().ok()?;
            Some(object(json!({
                ".id": format!("*2018{:04X}", row.number), "dst-address": net.trunc().to_string(),
                "gateway": row.get("interface"), "distance": "0", "active": "true", "connect": "true", "dynamic": "true",
                "routing-table": "main", "inactive": "false",
            })))
        });
        routes.collect()
    }

    /// The running container that uses an interface.
    fn user_of(&self, veth: &str) -> Option<&Row> {
        self.rows(Menu::Container).iter().find(|row| {
            let up = self
                .runtime(row.number)
                .is_some_and(|runtime| matches!(runtime.phase, Phase::Running | Phase::Stopping));
            up && row.list("interface").contains(&veth)
        })
    }

    // Printing.

    fn print(&self, menu: Menu, number: RowNumber, _now: &Circumstances<'_>) -> Map<String, Value> {
        let Some(row) = self.row(menu, number) else { return Map::new() };
        let mut printed = row.print(menu, &self.release);
        match menu {
            Menu::Container => {
                if let Some(runtime) = self.runtime(number) {
                    runtime.print(&self.release, &mut printed);
                }
            }
            Menu::Veth => {
                printed.insert("running".into(), json!(bool_text(self.user_of(row.get("name")).is_some())));
            }
            Menu::Bridge => {
                printed.insert("running".into(), json!("true"));
                printed.insert("dynamic".into(), json!("false"));
            }
            Menu::BridgePort => {
                // A port outlives its interface and then shows its number.
                if self.named(Menu::Veth, row.get("interface")).is_none() {
                    printed.insert("interface".into(), json!(format!("*{:X}", 0x100 + number)));
                }
                printed.insert("dynamic".into(), json!("false"));
                printed.insert("inactive".into(), json!(bool_text(self.user_of(row.get("interface")).is_none())));
            }
            Menu::Address => {
                printed.insert("actual-interface".into(), json!(row.get("interface")));
                printed.insert("dynamic".into(), json!("false"));
                printed.insert("invalid".into(), json!("false"));
            }
            Menu::User => {
                printed.insert("expired".into(), json!("false"));
            }
            Menu::Envs | Menu::Mounts => {}
        }
        printed
    }

    fn print_all(&self, menu: Menu, query: &[(String, String)], now: &Circumstances<'_>) -> Value {
        let rows = self.rows(menu).iter().map(|row| self.print(menu, row.number, now)).collect();
        let rows = query::filter(rows, query);
        let wanted = query.iter().find(|(name, _)| name == ".proplist").map_or("", |(_, list)| list);
        to_array(query::pick(rows, wanted, true))
    }

    fn print_container_log(&self) -> Vec<Map<String, Value>> {
        let mut lines: Vec<(&LogLine, &str)> = Vec::new();
        for (number, kept) in &self.container_log {
            let name = self.row(Menu::Container, *number).map_or("", |row| row.get("name"));
            lines.extend(kept.iter().map(|line| (line, name)));
        }
        lines.sort_by_key(|(line, _)| line.number);
        lines.into_iter().map(|(line, name)| print_line(line, Some(name))).collect()
    }

    // Commands.

    fn command(&mut self, menu: Menu, command: &str, body: &Value, now: &Circumstances<'_>) -> Outcome {
        match command {
            "add" => {
                let (number, effects) = self.add(menu, body, now)?;
                Ok((Answer::ok(json!({"ret": format!("*{number:X}")})), effects))
            }
            "print" => {
                let rows = self.rows(menu).iter().map(|row| self.print(menu, row.number, now)).collect();
                let rows = print_query(rows, body)?;
                if body.get("count-only").is_some() {
                    return Ok((Answer::ok(json!({"ret": rows.len().to_string()})), vec![]));
                }
                Ok((Answer::ok(to_array(rows)), vec![]))
            }
            "set" | "comment" => {
                let mut effects = Vec::new();
                for number in self.targets(menu, body)? {
                    effects.extend(self.set(menu, number, body, &[".id", "numbers", "number"])?);
                }
                Ok((Answer::done(), effects))
            }
            "remove" => {
                let mut effects = Vec::new();
                for number in self.targets(menu, body)? {
                    effects.extend(self.remove(menu, number, now)?);
                }
                Ok((Answer::done(), effects))
            }
            "enable" | "disable" if menu.commands(&self.release).contains(&command) => {
                let disabled = bool_text(command == "disable");
                let mut effects = Vec::new();
                for number in self.targets(menu, body)? {
                    effects.extend(self.set(menu, number, &json!({"disabled": disabled}), &[])?);
                }
                Ok((Answer::done(), effects))
            }
            "start" | "stop" | "kill" | "restart" if menu.commands(&self.release).contains(&command) => {
                let mut effects = Vec::new();
                for number in self.targets(menu, body)? {
                    effects.extend(match command {
                        "start" => self.start(number, now)?,
                        "stop" => self.stop(number)?,
                        "kill" => self.kill(number, body)?,
                        _ => self.restart(number)?,
                    });
                }
                Ok((Answer::done(), effects))
            }
            _ => Err(Refusal::bad("no such command")),
        }
    }

    fn targets(&self, menu: Menu, body: &Value) -> Result<Vec<RowNumber>, Refusal> {
        let words = [".id", "numbers", "number"].iter().find_map(|name| body.get(name)).map(to_text);
        let Some(words) = words.filter(|words| !words.is_empty()) else { return Err(Refusal::bad("missing =.id=")) };
        words.split(',').map(|word| self.find(menu, word.trim())).collect()
    }

    fn find(&self, menu: Menu, target: &str) -> Result<RowNumber, Refusal> {
        if let Some(number) = number_of(target) {
            return self.row(menu, number).map(|row| row.number).ok_or_else(Refusal::not_found);
        }
        if !menu.is_named() {
            return Err(Refusal::bad("no such command prefix"));
        }
        self.named(menu, target).map(|row| row.number).ok_or_else(Refusal::not_found)
    }

    fn read_fields(&self, menu: Menu, body: &Value, skip: &[&str]) -> Result<BTreeMap<String, String>, Refusal> {
        let Some(fields) = body.as_object() else { return Err(Refusal::bad("expected a JSON object")) };
        let mut read = BTreeMap::new();
        for (name, value) in fields.iter().filter(|(name, _)| !skip.contains(&name.as_str())) {
            read.insert(name.clone(), read_value(menu, &self.release, name, value)?);
        }
        Ok(read)
    }

    fn add(&mut self, menu: Menu, body: &Value, now: &Circumstances<'_>) -> Result<(RowNumber, Vec<Effect>), Refusal> {
        let mut fields = self.read_fields(menu, body, &[])?;
        let given = |name: &str| fields.get(name).is_some_and(|value| !value.is_empty());
        if menu == Menu::Container && !given("file") && !given("remote-image") {
            return Err(Refusal::failure("No file or remote-image"));
        }
        for name in menu.required(&self.release) {
            let there = if name == "value" { fields.contains_key(name) } else { given(name) };
            if !there {
                return Err(Refusal::bad(format!("missing ={name}=")));
            }
        }
        self.check(menu, None, &mut fields, now)?;
        let next = self.state.next.entry(menu.path().to_owned()).or_insert(1);
        let number = *next;
        *next += 1;
        if menu == Menu::Veth && self.release.from(20) {
            let mac = format!("02:00:00:{:02X}:{:02X}:00", number >> 8 & 0xff, number & 0xff);
            fields.entry("mac-address".into()).or_insert(mac);
        }
        let row = Row { number, fields };
        let effects = self.effects_of_add(menu, &row, now);
        self.rows_mut(menu).push(row);
        Ok((number, effects))
    }

    fn effects_of_add(&mut self, menu: Menu, row: &Row, now: &Circumstances<'_>) -> Vec<Effect> {
        match menu {
            Menu::Container => {
                self.state.runtimes.insert(row.number, Runtime::extracting());
                let name = row.get("name").to_owned();
                if row.get("file").is_empty() {
                    // There is no registry this host could reach: the row stays, and says why.
                    self.failed(
                        row.number,
                        &name,
                        "download/extract error: this host has no registry client",
                        &now.stamp,
                    );
                    return vec![];
                }
                self.log(&now.stamp, "container,info", format!("{name}: extracting tar archived image"));
                vec![Effect::Extract {
                    number: row.number,
                    key: key_of(row),
                    archive: (now.local)(row.get("file")),
                    root_dir: (now.local)(row.get("root-dir")),
                }]
            }
            Menu::Bridge => vec![Effect::EnsureBridge { bridge: row.get("name").to_owned() }],
            Menu::Address => {
                let address = row.get("address").parse::<IpNet>();
                address.map_or(vec![], |address| {
                    vec![Effect::EnsureAddress { bridge: row.get("interface").to_owned(), address }]
                })
            }
            Menu::BridgePort => vec![Effect::Attach {
                veth: row.get("interface").to_owned(),
                bridge: Some(row.get("bridge").to_owned()),
            }],
            _ => vec![],
        }
    }

    /// References, uniqueness and what a value must look like.
    fn check(
        &self,
        menu: Menu,
        own: Option<RowNumber>,
        fields: &mut BTreeMap<String, String>,
        now: &Circumstances<'_>,
    ) -> Result<(), Refusal> {
        let others = |menu: Menu| self.rows(menu).iter().filter(move |row| Some(row.number) != own);
        let no_match = |name: &str| Refusal::bad(format!("input does not match any value of {name}"));
        match menu {
            Menu::Container => self.check_container(own, fields, now)?,
            Menu::Veth | Menu::Bridge => {
                let name = fields.get("name").cloned().unwrap_or_default();
                let taken = [Menu::Veth, Menu::Bridge].into_iter().any(|one| {
                    self.rows(one).iter().any(|row| row.get("name") == name && (one != menu || Some(row.number) != own))
                });
                if taken {
                    return Err(Refusal::failure("already have interface with such name"));
                }
                for address in fields.get("address").map_or("", String::as_str).split(',').filter(|one| !one.is_empty())
                {
                    if address.parse::<IpNet>().is_err() {
                        return Err(Refusal::bad("invalid value for argument address"));
                    }
                }
                if let Some(gateway) = fields.get("gateway").filter(|gateway| !gateway.is_empty())
                    && gateway.parse::<std::net::Ipv4Addr>().is_err()
                {
                    return Err(Refusal::bad("invalid value for argument gateway"));
                }
            }
            Menu::BridgePort => {
                let interface = fields.get("interface").cloned().unwrap_or_default();
                let bridge = fields.get("bridge").cloned().unwrap_or_default();
                if self.named(Menu::Bridge, &bridge).is_none() {
                    return Err(no_match("bridge"));
                }
                if self.named(Menu::Veth, &interface).is_none() {
                    return Err(no_match("interface"));
                }
                if others(Menu::BridgePort).any(|row| row.get("interface") == interface) {
                    return Err(Refusal::failure("device already added as bridge port"));
                }
            }
            Menu::Address => {
                let text = fields.get("address").cloned().unwrap_or_default();
                let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
                let Some(net) = net else { return Err(Refusal::bad("invalid value for argument address")) };
                let interface = fields.get("interface").cloned().unwrap_or_default();
                if self.named(Menu::Bridge, &interface).is_none() && self.named(Menu::Veth, &interface).is_none() {
                    return Err(no_match("interface"));
                }
                if others(Menu::Address)
                    .any(|row| row.get("interface") == interface && row.get("address") == net.to_string())
                {
                    return Err(Refusal::failure("already have such address"));
                }
                fields.insert("address".into(), net.to_string());
                fields.insert("network".into(), net.network().to_string());
            }
            Menu::Mounts => {
                let list = menu.list_name(&self.release);
                let dst = fields.get("dst").cloned().unwrap_or_default();
                if dst.trim_matches('/').is_empty() {
                    return Err(Refusal::failure("dst cannot be root"));
                }
                let same =
                    |row: &Row| Some(row.get(list)) == fields.get(list).map(String::as_str) && row.get("dst") == dst;
                if others(Menu::Mounts).any(same) {
                    return Err(Refusal::failure("mount with same dst already exists"));
                }
            }
            Menu::User => {
                let name = fields.get("name").cloned().unwrap_or_default();
                if others(Menu::User).any(|row| row.get("name") == name) {
                    return Err(Refusal::failure("user with the same name already exists"));
                }
                if !["full", "write", "read"].contains(&fields.get("group").map_or("", String::as_str)) {
                    return Err(no_match("group"));
                }
            }
            Menu::Envs => {}
        }
        Ok(())
    }

    fn check_container(
        &self,
        own: Option<RowNumber>,
        fields: &mut BTreeMap<String, String>,
        now: &Circumstances<'_>,
    ) -> Result<(), Refusal> {
        let no_match = |name: &str| Refusal::bad(format!("input does not match any value of {name}"));
        let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
        for veth in get("interface").split(',').map(str::trim) {
            if self.named(Menu::Veth, veth).is_none() {
                return Err(no_match("interface"));
            }
        }
        let lists =
            [("envlists", Menu::Envs), ("envlist", Menu::Envs), ("mountlists", Menu::Mounts), ("mounts", Menu::Mounts)];
        for (property, menu) in lists {
            for list in get(property).split(',').map(str::trim).filter(|list| !list.is_empty()) {
                let name = menu.list_name(&self.release);
                if !self.rows(menu).iter().any(|row| row.get(name) == list) {
                    return Err(no_match(property));
                }
            }
        }
        if own.is_some() {
            return Ok(());
        }
        if !get("file").is_empty() && !(now.exists)(&get("file")) {
            return Err(no_match("file"));
        }
        let root = get("root-dir");
        if root.is_empty() || root.trim_matches('/').is_empty() {
            return Err(Refusal::failure("root-dir cannot be /"));
        }
        let inside = |one: &str, other: &str| {
            let (one, other) = (one.trim_matches('/'), other.trim_matches('/'));
            one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
        };
        let overlaps = |row: &&Row| inside(row.get("root-dir"), &root) || inside(&root, row.get("root-dir"));
        if self.rows(Menu::Container).iter().any(|row| overlaps(&row)) {
            return Err(Refusal::failure("root-dir overlap"));
        }
        if self.release.from(23) && (now.exists)(&root) {
            return Err(Refusal::failure("root-dir already exists"));
        }
        if get("name").is_empty() {
            let file = get("file");
            let stem = file.rsplit('/').next().unwrap_or("container").trim_end_matches(".tar").to_owned();
            fields.insert("name".into(), format!("{stem}:latest"));
        }
        let name = fields.get("name").cloned().unwrap_or_default();
        if self.named(Menu::Container, &name).is_some() {
            return Err(Refusal::failure("item with such name already exists"));
        }
        Ok(())
    }

    fn set(&mut self, menu: Menu, number: RowNumber, body: &Value, skip: &[&str]) -> Result<Vec<Effect>, Refusal> {
        let written = self.read_fields(menu, body, skip)?;
        let before = self.row(menu, number).cloned().ok_or_else(Refusal::not_found)?;
        let mut fields = before.fields.clone();
        fields.extend(written);
        let nowhere = Circumstances {
            stamp: String::new(),
            uptime: Duration::ZERO,
            exists: &|_| true,
            local: &|path| PathBuf::from(path),
            sizes: [0; 4],
            cpus: 1,
        };
        self.check(menu, Some(number), &mut fields, &nowhere)?;
        let mut effects = Vec::new();
        match menu {
            Menu::BridgePort if fields.get("bridge") != before.fields.get("bridge") => effects.push(Effect::Attach {
                veth: before.get("interface").to_owned(),
                bridge: fields.get("bridge").cloned(),
            }),
            Menu::Address if fields.get("address") != before.fields.get("address") => {
                let parse = |text: Option<&String>| text.and_then(|text| text.parse::<IpNet>().ok());
                let bridge = before.get("interface").to_owned();
                if let Some(address) = parse(before.fields.get("address")) {
                    effects.push(Effect::RemoveAddress { bridge: bridge.clone(), address });
                }
                if let Some(address) = parse(fields.get("address")) {
                    effects.push(Effect::EnsureAddress { bridge, address });
                }
            }
            _ => {}
        }
        if let Some(row) = self.rows_mut(menu).iter_mut().find(|row| row.number == number) {
            row.fields = fields;
        }
        Ok(effects)
    }

    fn remove(&mut self, menu: Menu, number: RowNumber, now: &Circumstances<'_>) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(menu, number).cloned().ok_or_else(Refusal::not_found)?;
        let mut effects = Vec::new();
        match menu {
            Menu::Container => {
                let phase = self.runtime(number).map_or(Phase::Stopped, |runtime| runtime.phase);
                match phase {
                    Phase::Starting | Phase::Running | Phase::Stopping => {
                        return Err(Refusal::failure("cannot remove running"));
                    }
                    Phase::Deleting => return Err(Refusal::not_found()),
                    Phase::Extracting | Phase::Failed | Phase::Stopped => {}
                }
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.phase = Phase::Deleting;
                }
                self.log(&now.stamp, "container,info", format!("{}: removing files", row.get("name")));
                return Ok(vec![Effect::RemoveFiles { number, root_dir: (now.local)(row.get("root-dir")) }]);
            }
            Menu::Veth => {
                let name = row.get("name");
                if let Some(user) = self.rows(Menu::Container).iter().find(|one| one.list("interface").contains(&name))
                {
                    return Err(Refusal::failure(format!("in use by container {}", user.get("name"))));
                }
                effects.push(Effect::RemoveVeth { veth: name.to_owned() });
            }
            Menu::Bridge => effects.push(Effect::RemoveBridge { bridge: row.get("name").to_owned() }),
            Menu::BridgePort => {
                effects.push(Effect::Attach { veth: row.get("interface").to_owned(), bridge: None });
            }
            Menu::Address => {
                if let Ok(address) = row.get("address").parse() {
                    effects.push(Effect::RemoveAddress { bridge: row.get("interface").to_owned(), address });
                }
            }
            Menu::Envs | Menu::Mounts | Menu::User => {}
        }
        self.rows_mut(menu).retain(|one| one.number != number);
        Ok(effects)
    }

    // Containers.

    fn start(&mut self, number: RowNumber, now: &Circumstances<'_>) -> Result<Vec<Effect>, Refusal> {
        let phase = self.runtime(number).map_or(Phase::Stopped, |runtime| runtime.phase);
        match phase {
            Phase::Stopped => {}
            Phase::Extracting => return Err(Refusal::failure("container is extracting")),
            Phase::Failed => return Err(Refusal::failure("start failed: layer missing, need repull")),
            Phase::Starting | Phase::Running => return Err(Refusal::failure("container is running")),
            Phase::Stopping | Phase::Deleting => return Err(Refusal::failure("container is not stopped")),
        }
        self.launch(number, now)
    }

    fn launch(&mut self, number: RowNumber, now: &Circumstances<'_>) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(Menu::Container, number).cloned().ok_or_else(Refusal::not_found)?;
        let image = self.runtime(number).and_then(|runtime| runtime.image.clone()).unwrap_or_default();
        let listed = |menu: Menu, property: [&str; 2]| -> Vec<&Row> {
            let name = menu.list_name(&self.release);
            let lists: Vec<&str> = property.iter().flat_map(|property| row.list(property)).collect();
            lists.iter().flat_map(|list| self.rows(menu).iter().filter(move |one| one.get(name) == *list)).collect()
        };
        let envs = listed(Menu::Envs, ["envlists", "envlist"]);
        let mounts = listed(Menu::Mounts, ["mountlists", "mounts"]);
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
        let name = row.get("name").to_owned();
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
                self.container_line(number, &now.stamp, format!("{name}: start failed: {why}"), true);
                Ok(vec![])
            }
        }
    }

    fn stop(&mut self, number: RowNumber) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(Menu::Container, number).cloned().ok_or_else(Refusal::not_found)?;
        let Some(runtime) = self.runtime_mut(number) else { return Err(Refusal::not_found()) };
        if !matches!(runtime.phase, Phase::Running | Phase::Starting) {
            return Err(Refusal::failure("container is not running"));
        }
        runtime.phase = Phase::Stopping;
        let start = runtime.start;
        let patience = values::duration(row.get("stop-time")).unwrap_or(Duration::from_secs(10));
        Ok(vec![Effect::Stop { number, start, key: key_of(&row), signal: signal_of(row.get("stop-signal")), patience }])
    }

    fn kill(&mut self, number: RowNumber, body: &Value) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(Menu::Container, number).cloned().ok_or_else(Refusal::not_found)?;
        let running =
            self.runtime(number).is_some_and(|runtime| matches!(runtime.phase, Phase::Running | Phase::Stopping));
        if !running {
            return Err(Refusal::failure("container is not running"));
        }
        let signal = body.get("signal").map(to_text).filter(|text| !text.is_empty()).map_or(9, |text| signal_of(&text));
        Ok(vec![Effect::Kill { key: key_of(&row), signal }])
    }

    fn restart(&mut self, number: RowNumber) -> Result<Vec<Effect>, Refusal> {
        let effects = self.stop(number)?;
        if let Some(runtime) = self.runtime_mut(number) {
            runtime.about = "restarting".to_owned();
        }
        Ok(effects)
    }

    /// Learns what happened.
    pub fn happened(&mut self, what: Happened, now: &Circumstances<'_>) -> Vec<Effect> {
        match what {
            Happened::Extracted { number, result } => self.extracted(number, result, now),
            Happened::Started { number, start, result } => self.started(number, start, result, now),
            Happened::NotCaught { number, signal } => {
                let name = self.name(number);
                let text = format!("{name}: signal {signal} (Terminated) not caught, kill immediately");
                self.container_line(number, &now.stamp, text, true);
                vec![]
            }
            Happened::Exited { number, code, out_of_memory } => self.exited(number, code, out_of_memory, now),
            Happened::Output { number, line } => {
                let logging = self.row(Menu::Container, number).is_some_and(|row| row.is("logging"));
                let name = self.name(number);
                self.container_line(number, &now.stamp, format!("{name}: {line}"), logging);
                vec![]
            }
            Happened::FilesRemoved { number } => {
                let deleting = self.runtime(number).is_some_and(|runtime| runtime.phase == Phase::Deleting);
                if !deleting {
                    return vec![];
                }
                let key = self.row(Menu::Container, number).map(key_of);
                self.log(&now.stamp, "container,info", format!("{}: remove done", self.name(number)));
                self.rows_mut(Menu::Container).retain(|row| row.number != number);
                self.state.runtimes.remove(&number);
                self.container_log.remove(&number);
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

    fn failed(&mut self, number: RowNumber, name: &str, why: &str, stamp: &str) {
        if let Some(runtime) = self.runtime_mut(number) {
            runtime.phase = Phase::Failed;
            runtime.about = why.to_owned();
        }
        self.container_line(number, stamp, format!("{name}: {why}"), true);
    }

    fn extracted(
        &mut self,
        number: RowNumber,
        result: Result<ImageConfig, String>,
        now: &Circumstances<'_>,
    ) -> Vec<Effect> {
        let name = self.name(number);
        if self.runtime(number).is_none_or(|runtime| runtime.phase != Phase::Extracting) {
            return vec![];
        }
        match result {
            Ok(image) => {
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.image = Some(image);
                    runtime.phase = Phase::Stopped;
                }
                self.container_line(number, &now.stamp, format!("{name}: download/extract done"), true);
            }
            Err(why) => self.failed(number, &name, &format!("download/extract error: {why}"), &now.stamp),
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
        let name = self.name(number);
        let key = self.row(Menu::Container, number).map(key_of).unwrap_or_default();
        let Some(runtime) = self.runtime_mut(number) else { return vec![] };
        if runtime.start != start {
            return vec![];
        }
        match result {
            Ok(()) => {
                if runtime.phase == Phase::Starting {
                    runtime.phase = Phase::Running;
                    self.container_line(number, &now.stamp, format!("{name}: started"), true);
                }
                vec![]
            }
            Err(why) => {
                runtime.phase = Phase::Stopped;
                runtime.about = format!("start failed: {why}");
                self.container_line(number, &now.stamp, format!("{name}: {why}"), true);
                // What the device says of a process that could not be executed.
                self.container_line(number, &now.stamp, format!("{name}: exited with status 255"), true);
                vec![Effect::CleanUp { key }]
            }
        }
    }

    fn exited(&mut self, number: RowNumber, code: i32, out_of_memory: bool, now: &Circumstances<'_>) -> Vec<Effect> {
        let Some(row) = self.row(Menu::Container, number).cloned() else { return vec![] };
        let name = row.get("name").to_owned();
        let Some(runtime) = self.runtime_mut(number) else { return vec![] };
        let asked = runtime.phase == Phase::Stopping;
        let again = std::mem::take(&mut runtime.about) == "restarting";
        runtime.phase = Phase::Stopped;
        let (start, restarts) = (runtime.start, runtime.restarts);
        if out_of_memory {
            self.container_line(number, &now.stamp, format!("{name}: killed, out of memory"), true);
        }
        self.container_line(number, &now.stamp, format!("{name}: exited with status {code}"), true);
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
            (Phase::Extracting, _) => vec![Effect::Extract {
                number,
                key: key_of(&row),
                archive: (now.local)(row.get("file")),
                root_dir: (now.local)(row.get("root-dir")),
            }],
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

    /// After a restart of the machine: networks are made again, containers that start on boot are started.
    pub fn booted(&mut self, now: &Circumstances<'_>) -> Vec<Effect> {
        let mut effects = self.networks();
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
        let addresses = self.rows(Menu::Address).iter().filter_map(|row| {
            let address = row.get("address").parse().ok()?;
            Some(Effect::EnsureAddress { bridge: row.get("interface").to_owned(), address })
        });
        bridges.chain(addresses).collect()
    }

    /// The wrong password was given.
    pub fn login_failed(&mut self, user: &str, stamp: &str) {
        self.log(stamp, "system,error,critical", format!("login failure for user {user} via rest-api"));
    }

    // Logs.

    fn log(&mut self, stamp: &str, topics: &'static str, message: String) {
        self.next_line += 1;
        self.log.push_back(LogLine { number: self.next_line, time: stamp.to_owned(), topics, message });
        while self.log.len() > LOG_ROWS {
            self.log.pop_front();
        }
    }

    /// A line about a container: kept for it, and in the log if `logged`.
    fn container_line(&mut self, number: RowNumber, stamp: &str, message: String, logged: bool) {
        if logged {
            self.log(stamp, "container,info", message.clone());
        } else {
            self.next_line += 1;
        }
        let name = format!("{}: ", self.name(number));
        let message = message.strip_prefix(&name).unwrap_or(&message).to_owned();
        let line = LogLine { number: self.next_line, time: stamp.to_owned(), topics: "", message };
        let kept = self.container_log.entry(number).or_default();
        kept.push_back(line);
        while kept.len() > CONTAINER_MESSAGES {
            kept.pop_front();
        }
    }
}

fn signal_of(text: &str) -> i32 {
    text.split('-').next().and_then(|number| number.parse().ok()).unwrap_or(15)
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn to_array(rows: Vec<Map<String, Value>>) -> Value {
    Value::Array(rows.into_iter().map(Value::Object).collect())
}

fn print_line(line: &LogLine, container: Option<&str>) -> Map<String, Value> {
    let mut row = object(json!({".id": format!("*{:X}", line.number), "time": line.time, "message": line.message}));
    match container {
        Some(name) => drop(row.insert("container".into(), json!(name))),
        None => drop(row.insert("topics".into(), json!(line.topics))),
    }
    row
}

fn print_query(rows: Vec<Map<String, Value>>, body: &Value) -> Result<Vec<Map<String, Value>>, Refusal> {
    let list = |value: &Value| match value {
        Value::Array(words) => words.iter().map(to_text).collect::<Vec<_>>(),
        other => vec![to_text(other)],
    };
    if let Some(odd) = body.as_object().into_iter().flatten().map(|(name, _)| name).find(|name| name.starts_with('?')) {
        return Err(Refusal::bad(format!("unknown parameter {odd}")));
    }
    let program = body.get(".query").map(list).unwrap_or_default();
    let mut kept = Vec::new();
    for row in rows {
        if query::passes(&row, &program)? {
            kept.push(row);
        }
    }
    let wanted = body.get(".proplist").map(list).unwrap_or_default().join(",");
    Ok(query::pick(kept, &wanted, false))
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
