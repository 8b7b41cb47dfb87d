//! References, uniqueness and what a value must look like.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::answer::Refusal;
use crate::containers::Phase;
use crate::device::Device;
use crate::menus::Menu;
use crate::request::Circumstances;
use crate::tables::Row;

impl Device {
    /// References, uniqueness and what a value must look like.
    pub(crate) fn check(
        &self,
        menu: Menu,
        before: Option<&Row>,
        fields: &mut BTreeMap<String, String>,
        now: &Circumstances<'_>,
    ) -> Result<(), Refusal> {
        let own = before.map(|row| row.number);
        // What was not written anew is not looked at again: a row may outlive what it refers to.
        let changed = |fields: &BTreeMap<String, String>, name: &str| {
            before.is_none_or(|row| Some(row.get(name)) != fields.get(name).map(String::as_str))
        };
        let others = |menu: Menu| self.rows(menu).iter().filter(move |row| Some(row.number) != own);
        let no_match = |name: &str| Refusal::bad(format!("input does not match any value of {name}"));
        match menu {
            Menu::Container => self.check_container(before, fields, now)?,
            Menu::Veth | Menu::Bridge => {
                let name = fields.get("name").cloned().unwrap_or_default();
                let taken = [Menu::Veth, Menu::Bridge].into_iter().any(|one| {
                    self.rows(one).iter().any(|row| row.get("name") == name && (one != menu || Some(row.number) != own))
                });
                if name.is_empty() {
                    return Err(Refusal::bad("invalid value for argument name"));
                }
                if taken {
                    return Err(Refusal::failure("already have interface with such name"));
                }
                for address in fields.get("address").map_or("", String::as_str).split(',').filter(|one| !one.is_empty())
                {
                    if address.parse::<IpNet>().is_err() {
                        return Err(Refusal::bad("invalid value for argument address"));
                    }
                }
                let gateway = |name: &str| fields.get(name).map(String::as_str).filter(|text| !text.is_empty());
                if gateway("gateway").is_some_and(|text| text.parse::<Ipv4Addr>().is_err()) {
                    return Err(Refusal::bad("invalid value for argument gateway"));
                }
                if gateway("gateway6").is_some_and(|text| text.parse::<Ipv6Addr>().is_err()) {
                    return Err(Refusal::bad("invalid value for argument gateway6"));
                }
            }
            Menu::BridgePort => {
                let interface = fields.get("interface").cloned().unwrap_or_default();
                let bridge = fields.get("bridge").cloned().unwrap_or_default();
                if changed(fields, "bridge") && self.named(Menu::Bridge, &bridge).is_none() {
                    return Err(no_match("bridge"));
                }
                if changed(fields, "interface") && self.named(Menu::Veth, &interface).is_none() {
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
                let known = [Menu::Bridge, Menu::Veth].into_iter().any(|menu| self.named(menu, &interface).is_some());
                if changed(fields, "interface") && !known {
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
            Menu::Arp => {
                let address = fields.get("address").cloned().unwrap_or_default();
                if address.parse::<Ipv4Addr>().is_err() {
                    return Err(Refusal::bad("invalid value for argument address"));
                }
                let interface = fields.get("interface").cloned().unwrap_or_default();
                let known = [Menu::Bridge, Menu::Veth].into_iter().any(|menu| self.named(menu, &interface).is_some());
                if changed(fields, "interface") && !known {
                    return Err(no_match("interface"));
                }
                if others(Menu::Arp).any(|row| row.get("interface") == interface && row.get("address") == address) {
                    return Err(Refusal::failure("entry already exists"));
                }
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
        before: Option<&Row>,
        fields: &mut BTreeMap<String, String>,
        now: &Circumstances<'_>,
    ) -> Result<(), Refusal> {
        let no_match = |name: &str| Refusal::bad(format!("input does not match any value of {name}"));
        let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let changed = |name: &str| before.is_none_or(|row| row.get(name) != get(name));
        let others =
            || self.rows(Menu::Container).iter().filter(|row| Some(row.number) != before.map(|row| row.number));
        if changed("interface") {
            for veth in get("interface").split(',').map(str::trim) {
                // A container on its way out holds its interface to the end.
                let held =
                    |row: &Row| self.phase(row.number) == Phase::Deleting && row.list("interface").contains(&veth);
                if self.named(Menu::Veth, veth).is_none() || others().any(held) {
                    return Err(no_match("interface"));
                }
            }
        }
        let lists =
            [("envlists", Menu::Envs), ("envlist", Menu::Envs), ("mountlists", Menu::Mounts), ("mounts", Menu::Mounts)];
        for (property, menu) in lists.into_iter().filter(|(property, _)| changed(property)) {
            for list in get(property).split(',').map(str::trim).filter(|list| !list.is_empty()) {
                let name = menu.list_name(&self.release);
                if !self.rows(menu).iter().any(|row| row.get(name) == list) {
                    return Err(no_match(property));
                }
            }
        }
        if changed("file") && !get("file").is_empty() && !(now.exists)(&get("file")) {
            return Err(no_match("file"));
        }
        if get("name").is_empty() {
            fields.insert("name".into(), self.derived_name(fields));
        } else if changed("name") && others().any(|row| row.get("name") == get("name")) {
            return Err(Refusal::failure("container with such name already exists"));
        }
        if before.is_none() && fields.get("root-dir").is_none_or(String::is_empty) {
            let name = fields.get("name").map_or("", String::as_str);
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            fields.insert("root-dir".into(), format!("/disk1/{name}"));
        }
        let root = fields.get("root-dir").cloned().unwrap_or_default();
        if before.is_some_and(|row| row.get("root-dir") == root) {
            return Ok(());
        }
        if root.trim_matches('/').is_empty() {
            return Err(Refusal::failure("root-dir cannot be /"));
        }
        let inside = |one: &str, other: &str| {
            let (one, other) = (one.trim_matches('/'), other.trim_matches('/'));
            one == other || one.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
        };
        if others().any(|row| inside(row.get("root-dir"), &root) || inside(&root, row.get("root-dir"))) {
            return Err(Refusal::failure("root-dir overlap"));
        }
        // Before 7.23 it is moved aside; what is not on a disk of the device belongs to somebody else and is not touched.
        let on_disk =
            root.trim_matches('/').split('/').next().is_some_and(|name| self.disks.iter().any(|disk| disk == name));
        if (self.release.from(23) || !on_disk) && (now.exists)(&root) {
            return Err(Refusal::failure("root-dir already exists"));
        }
        Ok(())
    }

    /// After the image; a number makes it the only one of its name.
    fn derived_name(&self, fields: &BTreeMap<String, String>) -> String {
        let given = |name: &str| fields.get(name).filter(|value| !value.is_empty());
        let image = given("file").or(given("remote-image")).map_or("container", String::as_str);
        let last = image.rsplit('/').next().unwrap_or(image).trim_end_matches(".tar");
        let name = if last.contains(':') { last.to_owned() } else { format!("{last}:latest") };
        let free = |name: &String| self.named(Menu::Container, name).is_none();
        if free(&name) {
            return name;
        }
        (1u32..).map(|count| format!("{name}-{count}")).find(free).unwrap_or(name)
    }
}
