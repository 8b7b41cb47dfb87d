//! From a row, its lists and its image to a process: RouterOS' rules of what overrides what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mkube_model::command_line::split;

use crate::engine::{Bind, EngineVeth, ImageConfig, Launch};
use crate::tables::Row;
use crate::values::path;

/// What a launch is made of.
pub struct Given<'a> {
    /// The container.
    pub row: &'a Row,
    /// What its archive said.
    pub image: &'a ImageConfig,
    /// Environment rows of its lists, in order.
    pub envs: &'a [&'a Row],
    /// Mount rows of its lists, in order.
    pub mounts: &'a [&'a Row],
    /// Its interfaces, with the bridge each is a port of.
    pub veths: &'a [(&'a Row, Option<String>)],
    /// The device's own name servers.
    pub default_dns: &'a [std::net::IpAddr],
    /// A path of the device as a path of this machine.
    pub local: &'a dyn Fn(&str) -> PathBuf,
    /// Interfaces inside carry the RouterOS name (7.20), else `eth0`.
    pub names_inside: bool,
}

/// The launch, or why the device would refuse to start.
pub fn launch(given: &Given<'_>) -> Result<Launch, String> {
    let Given { row, image, .. } = given;
    let entrypoint = match row.get("entrypoint") {
        "" => image.entrypoint.clone(),
        line => split(line),
    };
    let cmd = match row.get("cmd") {
        "" => image.cmd.clone(),
        line => split(line),
    };
    let argv: Vec<String> = entrypoint.into_iter().chain(cmd).collect();
    if argv.is_empty() {
        return Err("no command specified, set cmd or entrypoint".to_owned());
    }
    let mounts = given
        .mounts
        .iter()
        .map(|mount| {
            let mode = mount.get("mode");
            Bind {
                source: (given.local)(mount.get("src")),
                destination: path(mount.get("dst")),
                read_only: mount.is("read-only") || mode.starts_with("ro"),
                no_exec: mode.ends_with("noexec"),
            }
        })
        .collect();
    let mut veths = Vec::new();
    for (index, (veth, bridge)) in given.veths.iter().enumerate() {
        let name = veth.get("name").to_owned();
        let addresses = veth.list("address").iter().filter_map(|address| address.parse().ok()).collect();
        let inside_name = if given.names_inside { name.clone() } else { format!("eth{index}") };
        veths.push(EngineVeth {
            addresses,
            gateway: veth.get("gateway").parse().ok(),
            bridge: bridge.clone(),
            inside_name,
            name,
        });
    }
    let own_dns: Vec<std::net::IpAddr> = row.list("dns").iter().filter_map(|address| address.parse().ok()).collect();
    let first = |own: &str, images: &str| if own.is_empty() { images.to_owned() } else { own.to_owned() };
    let workdir = first(row.get("workdir"), &image.workdir);
    let limit = |name: &str| row.get(name).parse::<u64>().ok();
    Ok(Launch {
        key: key_of(row),
        name: row.get("name").to_owned(),
        root_dir: (given.local)(row.get("root-dir")),
        argv,
        env: environment(row, &image.env, given.envs),
        workdir: if workdir.is_empty() { "/".to_owned() } else { workdir },
        user: first(row.get("user"), &image.user),
        hostname: first(row.get("hostname"), row.get("name")),
        dns: if own_dns.is_empty() { given.default_dns.to_vec() } else { own_dns },
        mounts,
        veths,
        memory_high: limit("memory-high"),
        memory_max: limit("memory-max"),
        cpus: row.list("cpu-list").iter().filter_map(|cpu| cpu.parse().ok()).collect(),
    })
}

/// Variables: the image's, over them those of the lists in order, over them those written in the row.
pub fn environment(row: &Row, of_image: &[String], listed: &[&Row]) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |pair: &str| {
        if let Some((key, value)) = pair.split_once('=') {
            env.insert(key.to_owned(), value.to_owned());
        }
    };
    of_image.iter().for_each(|pair| put(pair));
    listed.iter().for_each(|variable| put(&format!("{}={}", variable.get("key"), variable.get("value"))));
    row.list("env").into_iter().for_each(put);
    env
}

/// Key of a container inside an engine.
pub fn key_of(row: &Row) -> String {
    format!("c{:x}", row.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[(&str, &str)]) -> Row {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Row { number: 1, fields }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["default".into()],
            env: vec!["A=image".into(), "B=image".into()],
            ..ImageConfig::default()
        }
    }

    fn launched(container: &Row, image: &ImageConfig, envs: &[&Row]) -> Result<Launch, String> {
        let local = |path: &str| PathBuf::from(path);
        launch(&Given {
            row: container,
            image,
            envs,
            mounts: &[],
            veths: &[],
            default_dns: &[],
            local: &local,
            names_inside: true,
        })
    }

    #[test]
    fn overrides_replace_their_own_half_of_the_command() {
        let argv = |fields: &[(&str, &str)]| launched(&row(fields), &image(), &[]).map(|launch| launch.argv.join("|"));
        assert_eq!(argv(&[]), Ok("/entry|default".into()));
        assert_eq!(argv(&[("cmd", "a \"b c\"")]), Ok("/entry|a|b c".into()));
        assert_eq!(argv(&[("entrypoint", "/other")]), Ok("/other|default".into()));
        assert!(launched(&row(&[]), &ImageConfig::default(), &[]).is_err());
    }

    #[test]
    fn environment_goes_from_image_over_lists_to_inline() {
        let list = row(&[("key", "B"), ("value", "list")]);
        let env = launched(&row(&[("env", "C=inline")]), &image(), &[&list]).expect("a command").env;
        let text: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(text, ["A=image", "B=list", "C=inline"]);
    }
}
