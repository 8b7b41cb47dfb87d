//! The configuration file of microdns. What it says of things that are not here is ignored, as are unknown keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::records::{NewForwarder, Secondary, TransferConfig, private_ranges};
use crate::running::{CACHE, Options, Seed};

/// Where REST listens unless told otherwise.
const REST: &str = "0.0.0.0:8080";
/// Where the file is unless told otherwise.
const DATABASE: &str = "/data/microdns.redb";
/// Name of the file in a data directory.
const IN_DIRECTORY: &str = "microdns.db";

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The file is no TOML, or a key has another shape.
    #[error("{0}")]
    Shape(String),
    /// A value cannot be used.
    #[error("{key}: {value:?} is not {wanted}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Nothing would be served.
    #[error(
        "nothing to serve: neither dns.auth nor dns.recursor is there and enabled, and no address was given to answer on"
    )]
    Nothing,
}

/// The tables that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    instance: Option<Instance>,
    dns: Dns,
    api: Option<Api>,
    database: Database,
}

#[derive(Debug, Deserialize)]
struct Instance {
    id: String,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Standalone,
    Gateway,
    Leaf,
    Coordinator,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dns {
    auth: Option<Auth>,
    recursor: Option<Recursor>,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Auth {
    enabled: bool,
    listen: String,
    allow_transfer: Vec<String>,
    notify: Vec<String>,
    secondary: Vec<Secondary>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "0.0.0.0:53".to_owned(),
            allow_transfer: private_ranges(),
            notify: Vec::new(),
            secondary: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Recursor {
    enabled: bool,
    listen: String,
    cache_size: usize,
    forward_zones: BTreeMap<String, Vec<String>>,
}

impl Default for Recursor {
    fn default() -> Self {
        Self { enabled: true, listen: "0.0.0.0:5353".to_owned(), cache_size: CACHE, forward_zones: BTreeMap::new() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Api {
    rest: Rest,
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Rest {
    listen: String,
    api_key: Option<String>,
}

impl Default for Rest {
    fn default() -> Self {
        Self { listen: REST.to_owned(), api_key: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Database {
    path: PathBuf,
}

impl Default for Database {
    fn default() -> Self {
        Self { path: DATABASE.into() }
    }
}

/// A configuration: a file, and what was said beside it.
#[derive(Debug, Default)]
pub struct Config {
    file: File,
    dns: Vec<SocketAddr>,
    rest: Option<SocketAddr>,
    data: Option<PathBuf>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It is no TOML, or a key has another shape.
    pub fn read(text: &str) -> Result<Self, ConfigFault> {
        let file: File = toml::from_str(text).map_err(|error| ConfigFault::Shape(error.to_string()))?;
        if let Some(Instance { mode: Mode::Leaf | Mode::Coordinator, .. }) = &file.instance {
            tracing::warn!("instance.mode: clusters are not here; this server stands alone");
        }
        Ok(Self { file, ..Self::default() })
    }

    /// Answers there instead of where the file says.
    pub fn listen_dns(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) {
        self.dns.extend(addresses);
    }

    /// Serves REST there instead.
    pub fn listen_rest(&mut self, address: SocketAddr) {
        self.rest = Some(address);
    }

    /// Keeps everything in this directory instead.
    pub fn data_dir(&mut self, directory: impl Into<PathBuf>) {
        self.data = Some(directory.into().join(IN_DIRECTORY));
    }

    /// What the server needs.
    ///
    /// # Errors
    /// A value cannot be used, or nothing would be served.
    pub fn options(self) -> Result<Options, ConfigFault> {
        let File { instance, dns, api, database, .. } = self.file;
        let auth = dns.auth.filter(|auth| auth.enabled);
        let recursor = dns.recursor.filter(|recursor| recursor.enabled);
        let mut listen = self.dns;
        if listen.is_empty() {
            // One engine answers on both; the same address twice is once.
            listen.extend(auth.as_ref().map(|auth| address("dns.auth.listen", &auth.listen)).transpose()?);
            listen.extend(recursor.as_ref().map(|one| address("dns.recursor.listen", &one.listen)).transpose()?);
            listen.dedup();
        }
        if listen.is_empty() {
            return Err(ConfigFault::Nothing);
        }
        let api = api.unwrap_or_default();
        let rest = self.rest.map_or_else(|| address("api.rest.listen", &api.rest.listen), Ok)?;
        let mut options = Options::new(self.data.unwrap_or(database.path), rest);
        options.dns = listen;
        options.instance = instance.map_or_else(|| "mkube".to_owned(), |instance| instance.id);
        options.api_key = api.rest.api_key;
        options.seed = Seed::default();
        if let Some(auth) = auth {
            let Auth { allow_transfer, notify, secondary, .. } = auth;
            options.seed.transfer = TransferConfig { allow_transfer, notify, secondary };
        }
        if let Some(recursor) = recursor {
            options.cache = recursor.cache_size;
            let named = recursor.forward_zones.into_iter();
            options.seed.forwarders = named.map(|(zone, servers)| NewForwarder { zone, servers }).collect();
        }
        Ok(options)
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigFault> {
    // As the Go programs write it: a port alone is every address.
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| ConfigFault::Value {
        key,
        value: text.to_owned(),
        wanted: "an address such as 0.0.0.0:53",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimal_file_of_the_reference_is_read() {
        let text = r#"
            [instance]
            id = "edge-1"
            [dns.auth]
            listen = "127.0.0.1:15353"
            [api.rest]
            listen = "127.0.0.1:18080"
            dashboard_listen = "127.0.0.1:18081"
            [database]
            path = "./microdns.redb"
        "#;
        let options = Config::read(text).expect("read").options().expect("usable");
        assert_eq!(options.instance, "edge-1");
        assert_eq!(options.dns, ["127.0.0.1:15353".parse().expect("an address")]);
        assert_eq!((options.rest.port(), options.data.as_path()), (18080, std::path::Path::new("./microdns.redb")));
        assert_eq!(options.seed.transfer.allow_transfer.len(), 4);
    }

    #[test]
    fn what_is_not_here_is_ignored_and_both_parts_are_one() {
        let text = r#"
            [instance]
            id = "a"
            mode = "gateway"
            [dns.auth]
            listen = ":53"
            zones = ["x"]
            [dns.recursor]
            listen = "0.0.0.0:53"
            cache_size = 5
            [dns.recursor.forward_zones]
            "peer.test" = ["10.0.0.2"]
            [dhcp.v4]
            interface = "eth0"
            [[dhcp.v4.pools]]
            range_start = "10.0.0.10"
        "#;
        let options = Config::read(text).expect("read").options().expect("usable");
        assert_eq!((options.dns.len(), options.cache), (1, 5));
        assert_eq!(options.seed.forwarders[0].zone, "peer.test");
    }

    #[test]
    fn flags_win_and_what_cannot_be_is_named() {
        let mut config = Config::default();
        assert!(matches!(Config::default().options(), Err(ConfigFault::Nothing)));
        config.listen_dns(["127.0.0.1:0".parse().expect("an address")]);
        config.data_dir("/x");
        assert_eq!(config.options().expect("usable").data, std::path::Path::new("/x/microdns.db"));
        let bad = Config::read("[dns.auth]\nlisten = \"nowhere\"").expect("read").options();
        assert!(bad.err().is_some_and(|fault| fault.to_string().contains("dns.auth.listen")));
        assert!(Config::read("[instance]\nid = 3").is_err());
        assert!(Config::read("[instance]\nid = \"a\"\nmode = \"other\"").is_err());
    }
}
