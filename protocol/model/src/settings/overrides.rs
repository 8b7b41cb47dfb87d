//! What the environment and the command line put over the file.

use serde_json::{Map, Value};

use super::section::Notes;

/// Environment variables and the keys they set, weaker first. An empty variable counts as not set.
pub const ENVIRONMENT: [(&str, &str); 21] = [
    ("MKUBE_NODE_NAME", "nodeName"),
    ("MKUBE_STANDALONE", "standalone"),
    ("MKUBE_KUBECONFIG", "kubeconfig"),
    ("MKUBE_BACKEND", "backend"),
    ("MKUBE_ROUTEROS_ADDRESS", "routeros.address"),
    ("MKUBE_ROUTEROS_REST_URL", "routeros.restUrl"),
    ("MKUBE_USER", "routeros.user"),
    ("MKUBE_ROUTEROS_USER", "routeros.user"),
    ("MKUBE_PASSWORD", "routeros.password"),
    ("MKUBE_ROUTEROS_PASSWORD", "routeros.password"),
    ("MKUBE_POD_CIDR", "networks[0].cidr"),
    ("MKUBE_BRIDGE_NAME", "networks[0].bridge"),
    ("MKUBE_STORAGE_PATH", "storage.basePath"),
    ("MKUBE_TARBALL_CACHE", "storage.tarballCache"),
    ("MKUBE_GC_INTERVAL_MINUTES", "storage.gcIntervalMinutes"),
    ("MKUBE_API_LISTEN", "api.listen"),
    ("MKUBE_STORE_KIND", "store.kind"),
    ("MKUBE_STORE_PATH", "store.path"),
    ("MKUBE_NATS_URL", "nats.url"),
    ("MKUBE_NATS_PASSWORD", "nats.password"),
    ("MKUBE_NATS_TOKEN", "nats.token"),
];

/// Values given on the command line.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Overrides(Vec<(&'static str, &'static str, Value)>);

impl Overrides {
    /// None.
    pub fn none() -> Self {
        Overrides::default()
    }

    /// Adds a key's value where the flag was given. `key` is a path such as `routeros.user` or `networks[0].cidr`.
    #[must_use]
    pub fn set(mut self, key: &'static str, flag: &'static str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.push((key, flag, value.into()));
        }
        self
    }
}

pub(super) fn apply(
    root: &mut Map<String, Value>,
    names: &[(&'static str, &'static str)],
    env: &dyn Fn(&str) -> Option<String>,
    flags: Overrides,
    notes: &Notes,
) {
    let from_env = names.iter().filter_map(|(name, key)| {
        let text = env(name).filter(|text| !text.is_empty())?;
        Some((*key, *name, Value::String(text)))
    });
    for (key, source, value) in from_env.chain(flags.0) {
        put(root, key, value);
        notes.sources.borrow_mut().insert(key.to_owned(), source.to_owned());
    }
}

/// Sets the value at a path; sections that are not maps are left for the reader to complain about.
fn put(root: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            root.insert(path.to_owned(), value);
        }
        Some(("networks[0]", key)) => {
            let first = root.get_mut("networks").and_then(|list| list.get_mut(0)).and_then(Value::as_object_mut);
            if let Some(first) = first {
                if key == "cidr" {
                    first.remove("podCIDR");
                }
                first.insert(key.to_owned(), value);
            }
        }
        Some((section, key)) => {
            let section = root.entry(section).or_insert(Value::Null);
            if section.is_null() {
                *section = Value::Object(Map::new());
            }
            if let Some(section) = section.as_object_mut() {
                section.insert(key.to_owned(), value);
            }
        }
    }
}
