//! The device: requests and events in, answers and effects out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::changes::Pending;
use crate::containers::{Phase, Runtime};
use crate::effects::Effect;
use crate::launch::key_of;
use crate::logbook::LogBook;
use crate::menus::Menu;
use crate::printing::Neighbour;
use crate::release::Release;
use crate::request::{Circumstances, Request, Verb};
use crate::system::System;
use crate::tables::{Row, RowNumber};

/// What survives a restart of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceState {
    pub(crate) identity: String,
    pub(crate) next: BTreeMap<String, RowNumber>,
    pub(crate) rows: BTreeMap<Menu, Vec<Row>>,
    pub(crate) runtimes: BTreeMap<RowNumber, Runtime>,
    pub(crate) config: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) system: System,
}

/// A device.
#[derive(Debug, Clone)]
pub struct Device {
    pub(crate) release: Release,
    pub(crate) state: DeviceState,
    pub(crate) log: LogBook,
    pub(crate) pending: Pending,
    pub(crate) disks: Vec<String>,
    /// Who was heard when somebody last asked.
    pub(crate) neighbours: Vec<Neighbour>,
}

/// An answer and what is to be done for it.
pub(crate) type Outcome = Result<(Answer, Vec<Effect>), Refusal>;

impl Device {
    /// A factory-new device with one user.
    pub fn new(release: Release, user: &str, password: &str) -> Self {
        let fields = [("name", user), ("group", "full"), ("password", password)];
        let user = Row { number: 1, fields: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() };
        let state = DeviceState {
            identity: "MikroTik".to_owned(),
            next: BTreeMap::from([(Menu::User.numbered_with().to_owned(), 2)]),
            rows: BTreeMap::from([(Menu::User, vec![user])]),
            runtimes: BTreeMap::new(),
            config: BTreeMap::new(),
            system: System::default(),
        };
        Self::restore(release, state)
    }

    /// A device as it was.
    pub fn restore(release: Release, state: DeviceState) -> Self {
        let disks = vec!["disk1".to_owned()];
        Self { release, state, log: LogBook::default(), pending: Pending::default(), disks, neighbours: Vec::new() }
    }

    /// What has to be kept.
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// Names of the disks, where they are not the one every device has.
    pub fn set_disks(&mut self, names: Vec<String>) {
        self.disks = names;
    }

    /// Sets name and password of the first user, who is the one the host was started with.
    pub fn set_first_user(&mut self, user: &str, password: &str) {
        let Some(number) = self.rows(Menu::User).first().map(|row| row.number) else { return };
        if let Some(row) = self.row_mut(Menu::User, number) {
            row.fields.insert("name".into(), user.to_owned());
            row.fields.insert("password".into(), password.to_owned());
        }
    }

    /// The group of the user whose words these are.
    pub fn group_of(&self, user: &str, password: &str) -> Option<String> {
        let known = self.rows(Menu::User).iter().find(|row| row.get("name") == user && !row.is("disabled"))?;
        (known.get("password") == password).then(|| known.get("group").to_owned())
    }

    /// Whether a group's policies cover a request.
    pub fn permits(group: &str, request: &Request) -> Result<(), Refusal> {
        let only_looks = request.verb == Verb::Get || request.segments.last().is_some_and(|last| last == "print");
        let users = request.segments.first().is_some_and(|first| first == "user");
        // To write what was fetched takes the policy `ftp`, which the group `write` has not.
        let fetches = request.segments == ["tool", "fetch"];
        let covered = match group {
            "full" => true,
            "write" => only_looks || !(users || fetches),
            _ => only_looks,
        };
        if covered { Ok(()) } else { Err(Refusal { status: 500, detail: Some("not enough permissions (9)".into()) }) }
    }

    /// The wrong password was given.
    pub fn login_failed(&mut self, user: &str, stamp: &str) {
        self.log.note(stamp, "system,error,critical", format!("login failure for user {user} via rest-api"));
    }

    pub(crate) fn rows(&self, menu: Menu) -> &[Row] {
        self.state.rows.get(&menu).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn row_mut(&mut self, menu: Menu, number: RowNumber) -> Option<&mut Row> {
        self.pending.row(menu, number);
        self.state.rows.get_mut(&menu)?.iter_mut().find(|row| row.number == number)
    }

    pub(crate) fn push_row(&mut self, menu: Menu, row: Row) {
        self.pending.row(menu, row.number);
        self.state.rows.entry(menu).or_default().push(row);
    }

    pub(crate) fn drop_row(&mut self, menu: Menu, number: RowNumber) {
        self.pending.row(menu, number);
        self.state.rows.entry(menu).or_default().retain(|row| row.number != number);
    }

    pub(crate) fn set_runtime(&mut self, number: RowNumber, runtime: Option<Runtime>) {
        self.pending.runtime(number);
        match runtime {
            Some(runtime) => drop(self.state.runtimes.insert(number, runtime)),
            None => drop(self.state.runtimes.remove(&number)),
        }
    }

    pub(crate) fn row(&self, menu: Menu, number: RowNumber) -> Option<&Row> {
        self.rows(menu).iter().find(|row| row.number == number)
    }

    pub(crate) fn named(&self, menu: Menu, name: &str) -> Option<&Row> {
        self.rows(menu).iter().find(|row| row.get("name") == name)
    }

    /// What a container is doing.
    pub fn runtime(&self, number: RowNumber) -> Option<&Runtime> {
        self.state.runtimes.get(&number)
    }

    pub(crate) fn runtime_mut(&mut self, number: RowNumber) -> Option<&mut Runtime> {
        self.pending.runtime(number);
        self.state.runtimes.get_mut(&number)
    }

    pub(crate) fn phase(&self, number: RowNumber) -> Phase {
        self.runtime(number).map_or(Phase::Stopped, |runtime| runtime.phase)
    }

    /// Keys, numbers and phases of all containers.
    pub fn containers(&self) -> Vec<(String, RowNumber, Phase)> {
        self.rows(Menu::Container).iter().map(|row| (key_of(row), row.number, self.phase(row.number))).collect()
    }

    /// The number of the container an engine calls by this key.
    pub fn container_of(&self, key: &str) -> Option<RowNumber> {
        self.rows(Menu::Container).iter().find(|row| key_of(row) == key).map(|row| row.number)
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
        if segments.first() == Some(&"container") && !self.state.system.container_package() {
            return Err(Refusal::bad("no such command or directory (container)"));
        }
        if request.verb == Verb::Post
            && let Some(answer) = self.system_command(&segments, &request.body, now)?
        {
            return Ok((answer, Vec::new()));
        }
        if let Some((view, rest)) = self.view(&segments, now) {
            return Ok((view.answer(rest, request)?, Vec::new()));
        }
        let found = Menu::ALL.into_iter().filter(|menu| segments.starts_with(&menu.words()));
        let Some(menu) = found.max_by_key(|menu| menu.path().len()) else {
            return Err(Self::unknown_directory(&segments));
        };
        let rest = &segments[menu.words().len()..];
        if menu == Menu::Container {
            self.check_device_mode(request, rest)?;
        }
        match (request.verb, rest) {
            (Verb::Get, []) => Ok((Answer::ok(self.print_all(menu, &request.query)), vec![])),
            (Verb::Get, ["print"]) => Err(Refusal::bad("no such command")),
            (Verb::Get, [target]) => {
                let number = self.find(menu, target)?;
                Ok((Answer::ok(Value::Object(self.print(menu, number))), vec![]))
            }
            (Verb::Put, []) => {
                let (number, effects) = self.add(menu, &request.body, now)?;
                Ok((Answer::created(Value::Object(self.print(menu, number))), effects))
            }
            (Verb::Patch, [target]) => {
                let number = self.find(menu, target)?;
                let effects = self.set(menu, number, &request.body, &[], now)?;
                Ok((Answer::ok(Value::Object(self.print(menu, number))), effects))
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

    /// Names the first word that leads nowhere.
    fn unknown_directory(segments: &[&str]) -> Refusal {
        let known =
            |length: &usize| crate::views::DIRECTORIES.iter().any(|path| path.starts_with(&segments[..*length]));
        let depth = (0..=segments.len()).rev().find(known).unwrap_or(0);
        match segments.get(depth) {
            Some(unknown) => Refusal::bad(format!("no such command or directory ({unknown})")),
            None => Refusal::bad("no such command"),
        }
    }

    /// What the device's mode forbids.
    fn check_device_mode(&self, request: &Request, rest: &[&str]) -> Result<(), Refusal> {
        let starts = match (request.verb, rest) {
            (Verb::Put, []) => true,
            (Verb::Post, [command]) => ["add", "start", "restart"].contains(command),
            _ => false,
        };
        if starts && !self.state.system.container_mode {
            return Err(Refusal { status: 500, detail: Some("failure: not allowed by device-mode".into()) });
        }
        Ok(())
    }

    pub(crate) fn done(ret: impl std::fmt::Display) -> Answer {
        Answer::ok(json!({"ret": ret.to_string()}))
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
