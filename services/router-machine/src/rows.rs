//! Commands on menus with rows: add, set, remove and what goes with them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::containers::{Phase, Runtime};
use crate::device::{Device, Outcome};
use crate::effects::Effect;
use crate::launch::key_of;
use crate::menus::Menu;
use crate::query;
use crate::request::Circumstances;
use crate::system::{fields_of, unknown};
use crate::tables::{Row, RowNumber, number_of, read_value};
use crate::values::to_text;

/// Names under which a command takes the rows it is about.
const TARGETS: [&str; 3] = [".id", "numbers", "number"];

impl Device {
    pub(crate) fn command(&mut self, menu: Menu, command: &str, body: &Value, now: &Circumstances<'_>) -> Outcome {
        if !menu.commands(&self.release).contains(&command) {
            return Err(Refusal::bad("no such command"));
        }
        let takes: &[&str] = match command {
            "remove" | "enable" | "disable" | "start" | "stop" | "restart" => &[],
            "kill" => &["signal"],
            "comment" => &["comment"],
            _ => &["*"],
        };
        let odd = fields_of(body)?
            .map(|(name, _)| name.as_str())
            .find(|name| takes != ["*"] && !TARGETS.contains(name) && !takes.contains(name));
        if let Some(odd) = odd {
            return Err(unknown(odd));
        }
        match command {
            "add" => {
                let (number, effects) = self.add(menu, body, now)?;
                return Ok((Self::done(format_args!("*{number:X}")), effects));
            }
            "print" => return Ok((query::print_or_count(self.print_rows(menu), body)?, vec![])),
            _ => {}
        }
        let mut effects = Vec::new();
        for number in self.targets(menu, body)? {
            effects.extend(match command {
                "set" | "comment" => self.set(menu, number, body, &TARGETS, now)?,
                "remove" => self.remove(menu, number, now)?,
                "enable" => self.set(menu, number, &json!({"disabled": "false"}), &[], now)?,
                "disable" => self.set(menu, number, &json!({"disabled": "true"}), &[], now)?,
                "start" => self.start(number, now)?,
                "stop" => self.stop(number)?,
                "kill" => self.kill(number, body)?,
                "restart" => self.restart(number)?,
                _ => return Err(Refusal::bad("no such command")),
            });
        }
        Ok((Answer::done(), effects))
    }

    fn targets(&self, menu: Menu, body: &Value) -> Result<Vec<RowNumber>, Refusal> {
        let words = TARGETS.iter().find_map(|name| body.get(name)).map(to_text);
        let Some(words) = words.filter(|words| !words.is_empty()) else { return Err(Refusal::bad("missing =.id=")) };
        words.split(',').map(|word| self.target(menu, word.trim())).collect()
    }

    /// A command takes ids and names; a bare number is a position, whatever it was meant to be.
    fn target(&self, menu: Menu, word: &str) -> Result<RowNumber, Refusal> {
        match word.parse::<usize>() {
            Ok(position) => self.rows(menu).get(position).map(|row| row.number).ok_or_else(Refusal::not_found),
            Err(_) if menu.is_named() || word.starts_with('*') => self.find(menu, word),
            Err(_) => Err(Refusal::not_found()),
        }
    }

    pub(crate) fn find(&self, menu: Menu, target: &str) -> Result<RowNumber, Refusal> {
        if let Some(number) = number_of(target) {
            return self.row(menu, number).map(|row| row.number).ok_or_else(Refusal::not_found);
        }
        if !menu.is_named() {
            return Err(Refusal::bad("no such command prefix"));
        }
        self.named(menu, target).map(|row| row.number).ok_or_else(Refusal::not_found)
    }

    fn read_fields(&self, menu: Menu, body: &Value, skip: &[&str]) -> Result<BTreeMap<String, String>, Refusal> {
        let mut read = BTreeMap::new();
        for (name, value) in fields_of(body)?.filter(|(name, _)| !skip.contains(&name.as_str())) {
            read.insert(name.clone(), read_value(menu, &self.release, name, value)?);
        }
        Ok(read)
    }

    pub(crate) fn add(
        &mut self,
        menu: Menu,
        body: &Value,
        now: &Circumstances<'_>,
    ) -> Result<(RowNumber, Vec<Effect>), Refusal> {
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
        let next = self.state.next.entry(menu.numbered_with().to_owned()).or_insert(1);
        let number = *next;
        *next += 1;
        self.pending.rest();
        if menu == Menu::Veth {
            self.give_addresses(number, &mut fields);
        }
        let row = Row { number, fields };
        let effects = self.effects_of_add(menu, &row, now);
        self.push_row(menu, row);
        Ok((number, effects))
    }

    /// Hardware addresses nobody wrote: the router's side, and the container's side one above it.
    fn give_addresses(&self, number: RowNumber, fields: &mut BTreeMap<String, String>) {
        let [_, high, middle, low] = number.to_be_bytes();
        let mac = |last: u8| format!("02:00:{high:02X}:{middle:02X}:{low:02X}:{last:02X}");
        if self.release.from(20) {
            fields.entry("mac-address".into()).or_insert_with(|| mac(0));
        }
        if self.release.from(21) {
            fields.entry("container-mac-address".into()).or_insert_with(|| mac(1));
        }
    }

    fn effects_of_add(&mut self, menu: Menu, row: &Row, now: &Circumstances<'_>) -> Vec<Effect> {
        match menu {
            Menu::Container => {
                self.set_runtime(row.number, Some(Runtime::extracting()));
                let name = row.get("name");
                if row.get("file").is_empty() {
                    // There is no registry this host could reach: the row stays, and says why.
                    let why = "download/extract error: this host has no registry client";
                    self.failed(row.number, name, why, &now.stamp);
                    return vec![];
                }
                self.log.note(&now.stamp, "container,info", format!("{name}: extracting tar archived image"));
                let aside = (now.exists)(row.get("root-dir"));
                vec![Self::extract(row, aside, now)]
            }
            Menu::Bridge => vec![Effect::EnsureBridge { bridge: row.get("name").to_owned() }],
            Menu::Address => self.ensure_address(row).into_iter().collect(),
            Menu::BridgePort => vec![Effect::Attach {
                veth: row.get("interface").to_owned(),
                bridge: Some(row.get("bridge").to_owned()),
            }],
            _ => vec![],
        }
    }

    pub(crate) fn extract(row: &Row, aside: bool, now: &Circumstances<'_>) -> Effect {
        Effect::Extract {
            number: row.number,
            key: key_of(row),
            archive: (now.local)(row.get("file")),
            root_dir: (now.local)(row.get("root-dir")),
            aside,
        }
    }

    /// An address that is on counts where its interface is a bridge; one of a veth is the container's affair.
    pub(crate) fn ensure_address(&self, row: &Row) -> Option<Effect> {
        let bridge = row.get("interface").to_owned();
        let address: IpNet = row.get("address").parse().ok()?;
        let wanted = !row.is("disabled") && self.named(Menu::Bridge, &bridge).is_some();
        wanted.then_some(Effect::EnsureAddress { bridge, address })
    }

    fn remove_address(&self, row: &Row) -> Option<Effect> {
        let bridge = row.get("interface").to_owned();
        let address: IpNet = row.get("address").parse().ok()?;
        self.named(Menu::Bridge, &bridge).is_some().then_some(Effect::RemoveAddress { bridge, address })
    }

    pub(crate) fn set(
        &mut self,
        menu: Menu,
        number: RowNumber,
        body: &Value,
        skip: &[&str],
        now: &Circumstances<'_>,
    ) -> Result<Vec<Effect>, Refusal> {
        let written = self.read_fields(menu, body, skip)?;
        let before = self.row(menu, number).cloned().ok_or_else(Refusal::not_found)?;
        let mut after = before.clone();
        after.fields.extend(written);
        self.check(menu, Some(&before), &mut after.fields, now)?;
        let changed = |name: &str| before.get(name) != after.get(name);
        let mut effects = Vec::new();
        match menu {
            Menu::BridgePort if changed("bridge") || changed("interface") => {
                if changed("interface") {
                    effects.push(Effect::Attach { veth: before.get("interface").to_owned(), bridge: None });
                }
                effects.push(Effect::Attach {
                    veth: after.get("interface").to_owned(),
                    bridge: Some(after.get("bridge").to_owned()),
                });
            }
            Menu::Address if changed("address") || changed("interface") || changed("disabled") => {
                effects.extend(self.remove_address(&before));
                effects.extend(self.ensure_address(&after));
            }
            Menu::Veth if changed("name") => self.rename(before.get("name"), after.get("name")),
            Menu::Bridge if changed("name") => {
                self.rename(before.get("name"), after.get("name"));
                effects.push(Effect::EnsureBridge { bridge: after.get("name").to_owned() });
            }
            _ => {}
        }
        let renamed_bridge = menu == Menu::Bridge && changed("name");
        let (old, new) = (before.get("name").to_owned(), after.get("name").to_owned());
        if let Some(row) = self.row_mut(menu, number) {
            *row = after;
        }
        if renamed_bridge {
            let on_it = |menu: Menu, property: &'static str| {
                let new = new.clone();
                self.rows(menu).iter().filter(move |row| row.get(property) == new)
            };
            effects.extend(on_it(Menu::Address, "interface").filter_map(|row| self.ensure_address(row)));
            effects.extend(
                on_it(Menu::BridgePort, "bridge")
                    .map(|row| Effect::Attach { veth: row.get("interface").to_owned(), bridge: Some(new.clone()) }),
            );
            effects.push(Effect::RemoveBridge { bridge: old });
        }
        Ok(effects)
    }

    /// References follow a new name. A removed interface leaves its number behind, which no later name takes up again.
    fn rename(&mut self, old: &str, new: &str) {
        let references = [
            (Menu::BridgePort, "interface"),
            (Menu::BridgePort, "bridge"),
            (Menu::Address, "interface"),
            (Menu::Arp, "interface"),
            (Menu::Container, "interface"),
        ];
        for (menu, property) in references {
            let referring: Vec<RowNumber> =
                self.rows(menu).iter().filter(|row| row.list(property).contains(&old)).map(|row| row.number).collect();
            for number in referring {
                let Some(row) = self.row_mut(menu, number) else { continue };
                let words: Vec<&str> =
                    row.list(property).into_iter().map(|word| if word == old { new } else { word }).collect();
                let words = words.join(",");
                row.fields.insert(property.to_owned(), words);
            }
        }
    }

    pub(crate) fn remove(
        &mut self,
        menu: Menu,
        number: RowNumber,
        now: &Circumstances<'_>,
    ) -> Result<Vec<Effect>, Refusal> {
        let row = self.row(menu, number).cloned().ok_or_else(Refusal::not_found)?;
        let mut effects = Vec::new();
        match menu {
            Menu::Container => {
                match self.phase(number) {
                    Phase::Starting | Phase::Running | Phase::Stopping => {
                        return Err(Refusal::failure("cannot remove running"));
                    }
                    Phase::Deleting => return Err(Refusal::not_found()),
                    Phase::Extracting | Phase::Failed | Phase::Stopped => {}
                }
                if let Some(runtime) = self.runtime_mut(number) {
                    runtime.phase = Phase::Deleting;
                }
                self.log.note(&now.stamp, "container,info", format!("{}: removing files", row.get("name")));
                return Ok(vec![Effect::RemoveFiles { number, root_dir: (now.local)(row.get("root-dir")) }]);
            }
            Menu::Veth => {
                let name = row.get("name");
                if let Some(user) = self.rows(Menu::Container).iter().find(|one| one.list("interface").contains(&name))
                {
                    return Err(Refusal::failure(format!("in use by container {}", user.get("name"))));
                }
                effects.push(Effect::RemoveVeth { veth: name.to_owned() });
                self.rename(name, &row.id());
            }
            Menu::Bridge => {
                effects.push(Effect::RemoveBridge { bridge: row.get("name").to_owned() });
                self.rename(row.get("name"), &row.id());
            }
            Menu::BridgePort => {
                effects.push(Effect::Attach { veth: row.get("interface").to_owned(), bridge: None });
            }
            Menu::Address => effects.extend(self.remove_address(&row)),
            Menu::User
                if self.rows(Menu::User).iter().filter(|one| one.get("group") == "full").count() == 1
                    && row.get("group") == "full" =>
            {
                return Err(Refusal::failure("can not remove last user with full permissions"));
            }
            Menu::Arp | Menu::Envs | Menu::Mounts | Menu::User => {}
        }
        self.drop_row(menu, number);
        Ok(effects)
    }
}
