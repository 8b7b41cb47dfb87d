//! Rows as the device prints them: what was written, and what the device knows beside it.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use crate::containers::Phase;
use crate::device::Device;
use crate::launch::environment;
use crate::menus::Menu;
use crate::query;
use crate::tables::{Row, RowNumber};
use crate::views::object;

/// What printing a row needs to know of other rows; gathered once for a whole listing.
struct Beside<'a> {
    used: HashSet<&'a str>,
    interfaces: HashSet<&'a str>,
}

/// Somebody who was heard on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Address.
    pub address: Ipv4Addr,
    /// Name of the interface.
    pub interface: String,
    /// Hardware address, upper case.
    pub hardware: String,
}

impl Neighbour {
    fn print(&self, number: u32) -> Map<String, Value> {
        object(json!({
            ".id": format!("*D{number:07X}"), "address": self.address.to_string(), "interface": self.interface,
            "mac-address": self.hardware, "published": "false", "disabled": "false", "dynamic": "true",
            "invalid": "false", "DHCP": "false", "complete": "true",
        }))
    }
}

impl Device {
    /// Who is heard on the device's interfaces now.
    pub fn hear(&mut self, neighbours: Vec<Neighbour>) {
        self.neighbours = neighbours;
    }

    /// Names of the bridges there are.
    pub fn bridges(&self) -> Vec<String> {
        self.rows(Menu::Bridge).iter().map(|row| row.get("name").to_owned()).collect()
    }

    fn beside(&self, menu: Menu) -> Beside<'_> {
        let used = match menu {
            Menu::Veth | Menu::BridgePort => self.interfaces_in_use(),
            _ => HashSet::new(),
        };
        let interfaces = match menu {
            Menu::BridgePort | Menu::Address => {
                self.rows(Menu::Veth).iter().chain(self.rows(Menu::Bridge)).map(|row| row.get("name")).collect()
            }
            _ => HashSet::new(),
        };
        Beside { used, interfaces }
    }

    /// Interfaces that running containers use.
    pub(crate) fn interfaces_in_use(&self) -> HashSet<&str> {
        let up = |row: &&Row| matches!(self.phase(row.number), Phase::Running | Phase::Stopping);
        self.rows(Menu::Container).iter().filter(up).flat_map(|row| row.list("interface")).collect()
    }

    fn print_row(&self, menu: Menu, row: &Row, beside: &Beside<'_>) -> Map<String, Value> {
        let mut printed = row.print(menu, &self.release);
        let mut set = |name: &str, value: &str| drop(printed.insert(name.to_owned(), json!(value)));
        match menu {
            Menu::Container => {
                if let Some(runtime) = self.runtime(row.number) {
                    if self.release.from(21) {
                        let of_image = runtime.image.as_ref().map_or(&[][..], |image| &image.env);
                        let pairs = environment(row, of_image, &self.env_rows(row));
                        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
                        set("env-current", &pairs.join(","));
                    }
                    runtime.print(&self.release, &mut printed);
                }
            }
            Menu::Veth => set("running", &beside.used.contains(row.get("name")).to_string()),
            Menu::Bridge => {
                set("running", "true");
                set("dynamic", "false");
            }
            Menu::BridgePort => {
                set("dynamic", "false");
                set("inactive", &(!beside.used.contains(row.get("interface"))).to_string());
            }
            Menu::Address => {
                set("actual-interface", row.get("interface"));
                set("dynamic", "false");
                set("invalid", &(!beside.interfaces.contains(row.get("interface"))).to_string());
            }
            Menu::Arp => {
                for flag in ["dynamic", "invalid", "DHCP"] {
                    set(flag, "false");
                }
                set("complete", &(!row.get("mac-address").is_empty()).to_string());
            }
            Menu::User => set("expired", "false"),
            Menu::Envs | Menu::Mounts => {}
        }
        printed
    }

    pub(crate) fn print(&self, menu: Menu, number: RowNumber) -> Map<String, Value> {
        self.row(menu, number).map(|row| self.print_row(menu, row, &self.beside(menu))).unwrap_or_default()
    }

    pub(crate) fn print_rows(&self, menu: Menu) -> Vec<Map<String, Value>> {
        let beside = self.beside(menu);
        let mut rows: Vec<_> = self.rows(menu).iter().map(|row| self.print_row(menu, row, &beside)).collect();
        if menu == Menu::Arp {
            rows.extend(self.neighbours.iter().zip(1_u32..).map(|(one, number)| one.print(number)));
        }
        rows
    }

    pub(crate) fn print_all(&self, menu: Menu, query: &[(String, String)]) -> Value {
        query::to_array(query::select(self.print_rows(menu), query))
    }
}
