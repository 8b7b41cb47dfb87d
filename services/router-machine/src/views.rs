//! Menus that are only looked at: what the device says of itself.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Refusal};
use crate::device::Device;
use crate::menus::Menu;
use crate::query;
use crate::request::{Circumstances, Request, Verb};
use crate::values::format_duration;

/// Every directory there is.
pub const DIRECTORIES: &[&[&str]] = &[
    &["container", "config"],
    &["container", "envs"],
    &["container", "mounts"],
    &["container", "log"],
    &["interface", "veth"],
    &["interface", "bridge", "port"],
    &["ip", "address"],
    &["ip", "arp"],
    &["ip", "route"],
    &["file"],
    &["disk"],
    &["log"],
    &["user"],
    &["system", "resource"],
    &["system", "identity"],
    &["system", "device-mode"],
    &["system", "package"],
];

/// What such a menu holds.
pub enum View {
    /// One object.
    Settings(Map<String, Value>),
    /// Rows, and the property they can be addressed by beside their number.
    Rows(Vec<Map<String, Value>>, Option<&'static str>),
}

impl View {
    /// Answers a request whose path has `rest` left.
    pub fn answer(self, rest: &[&str], request: &Request) -> Result<Answer, Refusal> {
        let no_command = || Refusal::bad("no such command");
        match self {
            Self::Settings(values) => match (request.verb, rest) {
                (Verb::Get, []) => {
                    let mut picked = query::pick(vec![values], query::wanted(&request.query), true);
                    Ok(Answer::ok(Value::Object(picked.pop().unwrap_or_default())))
                }
                (Verb::Post, ["print"]) => Ok(Answer::ok(query::to_array(query::print(vec![values], &request.body)?))),
                (Verb::Patch | Verb::Delete, _) => Err(Refusal::bad("missing or invalid resource identifier")),
                _ => Err(no_command()),
            },
            Self::Rows(rows, name) => match (request.verb, rest) {
                (Verb::Get, []) => Ok(Answer::ok(query::to_array(query::select(rows, &request.query)))),
                (Verb::Get, ["print"]) => Err(no_command()),
                (Verb::Get, [target]) => {
                    let by_id = target.starts_with('*');
                    let Some(key) = (if by_id { Some(".id") } else { name }) else {
                        return Err(Refusal::bad("no such command prefix"));
                    };
                    let same = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(target));
                    let found = rows.into_iter().find(|row| {
                        row.get(key).is_some_and(|value| if by_id { same(value) } else { value == target })
                    });
                    found.map(|row| Answer::ok(Value::Object(row))).ok_or_else(Refusal::not_found)
                }
                (Verb::Post, ["print"]) => query::print_or_count(rows, &request.body),
                _ => Err(no_command()),
            },
        }
    }
}

impl Device {
    /// The view a path leads to, and what is left of the path.
    pub(crate) fn view<'a, 'b>(
        &self,
        segments: &'a [&'b str],
        now: &Circumstances<'_>,
    ) -> Option<(View, &'a [&'b str])> {
        let view = match segments {
            ["system", "resource", ..] => View::Settings(self.resource(now)),
            ["system", "identity", ..] => View::Settings(object(json!({"name": self.state.identity}))),
            ["system", "device-mode", ..] => View::Settings(self.state.system.device_mode(&self.release)),
            ["system", "package", ..] => View::Rows(self.state.system.packages(&self.release), Some("name")),
            ["container", "config", ..] => View::Settings(self.container_config()),
            ["container", "log", ..] if self.release.from(20) => {
                let name = |number| self.row(Menu::Container, number).map_or("", |row| row.get("name"));
                View::Rows(self.log.print_containers(name), None)
            }
            ["interface", "veth" | "bridge", ..] => return None,
            ["interface", rest @ ..] => return Some((View::Rows(self.interfaces(), Some("name")), rest)),
            ["ip", "route", ..] => View::Rows(self.routes(), None),
            ["disk", rest @ ..] => return Some((View::Rows(self.disks(now), Some("slot")), rest)),
            ["log", rest @ ..] => return Some((View::Rows(self.log.print(), None), rest)),
            _ => return None,
        };
        Some((view, &segments[2..]))
    }

    fn resource(&self, now: &Circumstances<'_>) -> Map<String, Value> {
        let [memory_free, memory_total, disk_free, disk_total] = now.sizes.map(|size| size.to_string());
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            other => other,
        };
        object(json!({
            "version": self.release.version, "uptime": format_duration(Duration::from_secs(now.uptime.as_secs())),
            "build-time": "2026-01-01 00:00:00", "factory-software": "7.1", "architecture-name": architecture,
            "board-name": "mkube host", "platform": "MikroTik", "cpu": "host", "cpu-count": now.cpus.to_string(),
            "cpu-frequency": "1000", "cpu-load": now.cpu_load.to_string(), "free-memory": memory_free, "total-memory": memory_total,
            "free-hdd-space": disk_free, "total-hdd-space": disk_total,
        }))
    }

    fn interfaces(&self) -> Vec<Map<String, Value>> {
        let used = self.interfaces_in_use();
        let mut rows = Vec::new();
        for (menu, kind) in [(Menu::Bridge, "bridge"), (Menu::Veth, "veth")] {
            for row in self.rows(menu) {
                let running = menu == Menu::Bridge || used.contains(row.get("name"));
                let mut printed = object(json!({
                    ".id": row.id(), "name": row.get("name"), "type": kind, "mtu": "1500", "dynamic": "false",
                    "disabled": row.is("disabled").to_string(), "running": running.to_string(),
                }));
                if !row.get("comment").is_empty() {
                    printed.insert("comment".into(), json!(row.get("comment")));
                }
                rows.push(printed);
            }
        }
        rows
    }

    fn disks(&self, now: &Circumstances<'_>) -> Vec<Map<String, Value>> {
        let [.., free, size] = now.sizes;
        let disk = |(index, name): (usize, &String)| {
            object(json!({
                ".id": format!("*{:X}", index + 1), "slot": name, "type": "hardware", "mount-point": name,
                "mounted": "true", "fs": "ext4", "size": size.to_string(), "free": free.to_string(),
                "use": (100 - free.min(size) * 100 / size.max(1)).to_string(), "disabled": "false",
            }))
        };
        self.disks.iter().enumerate().map(disk).collect()
    }

    /// Connected routes: those of the device's own addresses.
    fn routes(&self) -> Vec<Map<String, Value>> {
        let on = self.rows(Menu::Address).iter().filter(|row| !row.is("disabled"));
        let routes = on.filter_map(|row| {
            let net: IpNet = row.get("address").parse().ok()?;
            Some(object(json!({
                ".id": format!("*2018{:04X}", row.number), "dst-address": net.trunc().to_string(),
                "gateway": row.get("interface"), "immediate-gw": row.get("interface"), "distance": "0", "scope": "10",
                "local-address": format!("{}%{}", net.addr(), row.get("interface")), "routing-table": "main",
                "active": "true", "connect": "true", "dynamic": "true", "inactive": "false",
            })))
        });
        routes.collect()
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
