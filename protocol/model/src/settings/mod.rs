//! `config.yaml`: as written, then checked.
//!
//! A file of the Go controller loads unchanged: every key it knew is known here, and what has no effect here costs one
//! warning line. Everything else is strict: an unknown key, a range outside its network or a name used twice is a problem,
//! and all problems of a file are reported together. Precedence: default, file, `MKUBE_*` environment, flag.

mod consistency;
mod duration;
mod images;
mod legacy_network;
mod nats;
mod overrides;
mod read;
mod read_networks;
mod read_registry;
mod registry_server;
mod section;
mod size;
mod types;

use serde_json::Value;
use thiserror::Error;

pub use consistency::{ConsistencySettings, RepairMode};
pub use duration::{parse_duration, print_duration};
pub use images::{Architecture, Delivery, ImageRegistry, ImagesSettings};
pub use nats::{NatsSettings, NatsTlsSettings};
pub use overrides::{ENVIRONMENT, Overrides};
pub use read_networks::{network_among, read_network_spec};
pub use registry_server::*;
pub use size::{parse_size, print_size};
pub use types::*;

/// Something wrong in the settings. The settings are not used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {text}")]
pub struct SettingsProblem {
    /// Path of the key, such as `networks[1].ipamStart`.
    pub key: String,
    /// What is wrong and what would be right.
    pub text: String,
}

/// Something that is accepted and has no effect, or is worth a second look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Path of the key.
    pub key: String,
    /// What is odd about it.
    pub text: String,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.key, self.text)
    }
}

/// Turns a file's value (`null` for a missing file) into checked settings.
///
/// `env` looks up one environment variable; `flags` are those given on the command line.
///
/// # Errors
/// Every problem in the file, the environment and the flags, in the order of the file.
pub fn check(
    value: Value,
    env: &dyn Fn(&str) -> Option<String>,
    flags: Overrides,
) -> Result<(Settings, Vec<Warning>), Vec<SettingsProblem>> {
    let notes = section::Notes::default();
    let mut root = match value {
        Value::Object(map) => map,
        Value::Null => serde_json::Map::new(),
        _ => {
            let text = "the file must hold a map of keys".to_owned();
            return Err(vec![SettingsProblem { key: "config".to_owned(), text }]);
        }
    };
    legacy_network::fold(&mut root, &notes);
    overrides::apply(&mut root, &ENVIRONMENT, env, flags, &notes);
    let settings = read::settings(section::Section::root(root, &notes));
    notes.into_result(settings)
}

#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod tests;
