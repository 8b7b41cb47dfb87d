//! ConfigMaps and Secrets of a pod's namespace: what variables take their values from, and what stands in for a secret where
//! its value must not go.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mkube_model::generated::{generated_key, is_kept_by_its_owner};
use mkube_model::metadata;
use serde_json::{Value, json};

/// Objects of the pod's namespace, by name.
pub type ByName = BTreeMap<String, Value>;

/// What a pod may refer to.
#[derive(Clone, Default)]
pub struct Sources {
    /// ConfigMaps.
    pub maps: ByName,
    /// Secrets that the pod names.
    pub secrets: ByName,
}

impl Sources {
    /// Whether the hash of a container is made from something else than what is mounted.
    pub fn needs_veil(&self) -> bool {
        !self.secrets.is_empty() || self.maps.iter().any(|(name, map)| generated(name, map).is_some())
    }

    /// The same, with a name for each value of a secret in its place: it changes when the value may have changed, and tells
    /// nothing of it. A hash of a container is read by everybody who reads the device; of a value one could guess. What mkube writes
    /// into ConfigMaps itself is left out: a container is not made anew for it.
    pub fn veiled(&self) -> Self {
        let veil = |name: &String, secret: &Value| {
            let generation = secret.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
            let data = secret.get("data").and_then(Value::as_object).into_iter().flatten();
            let data: BTreeMap<&String, String> = data
                .map(|(key, _)| {
                    let stand_in = format!("secret {name} {key} {} {generation}", metadata::uid(secret));
                    (key, STANDARD.encode(stand_in))
                })
                .collect();
            json!({"data": data})
        };
        let secrets = self.secrets.iter().map(|(name, secret)| (name.clone(), veil(name, secret))).collect();
        let veil_map = |(name, map): (&String, &Value)| {
            let mut map = map.clone();
            if let Some(key) = generated(name, &map) {
                map["data"][key] = json!("");
            }
            (name.clone(), map)
        };
        Self { maps: self.maps.iter().map(veil_map).collect(), secrets }
    }
}

/// The key of a ConfigMap that mkube writes, if it writes one here.
fn generated(name: &str, map: &Value) -> Option<&'static str> {
    let key = generated_key(metadata::namespace(map), name).filter(|_| !is_kept_by_its_owner(map))?;
    map["data"].get(key).map(|_| key)
}

/// The entries of a ConfigMap as variables have them.
pub fn entries_of_map(map: &Value) -> Vec<(String, String)> {
    let data = map.get("data").and_then(Value::as_object).into_iter().flatten();
    data.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// The entries of a Secret as variables have them; what is wrong with one is said without its value.
pub fn entries_of_secret(name: &str, secret: &Value) -> Result<Vec<(String, String)>, String> {
    let data = secret.get("data").and_then(Value::as_object).into_iter().flatten();
    data.map(|(key, _)| value_of_secret(name, secret, key).map(|value| (key.clone(), value.unwrap_or_default())))
        .collect()
}

/// One value of a Secret, if it has that key.
pub fn value_of_secret(name: &str, secret: &Value, key: &str) -> Result<Option<String>, String> {
    let Some(value) = secret.get("data").and_then(|data| data.get(key)) else { return Ok(None) };
    let text = STANDARD.decode(value.as_str().unwrap_or_default()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match text {
        None => Err(format!("secret {name:?}: key {key:?} is no text, which a variable must be")),
        Some(text) if text.chars().any(|c| c.is_control() && c != '\t') => Err(format!(
            "secret {name:?}: key {key:?} has a line break or another control character, which RouterOS cannot express"
        )),
        Some(text) => Ok(Some(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(generation: u64, value: &str) -> Value {
        json!({"metadata": {"uid": "u", "generation": generation}, "data": {"k": STANDARD.encode(value)}})
    }

    #[test]
    fn what_stands_in_for_a_value_moves_with_its_generation_and_not_with_the_value() {
        let veiled = |secret: Value| {
            let sources = Sources { secrets: [("s".to_owned(), secret)].into(), ..Sources::default() };
            value_of_secret("s", &sources.veiled().secrets["s"], "k").expect("a text").expect("there")
        };
        assert_eq!(veiled(secret(1, "hunter2")), "secret s k u 1");
        assert_eq!(veiled(secret(1, "hunter2")), veiled(secret(1, "another")));
        assert_ne!(veiled(secret(1, "hunter2")), veiled(secret(2, "hunter2")));
    }

    #[test]
    fn what_is_wrong_with_a_value_is_said_without_it() {
        let why = value_of_secret("s", &secret(1, "hunter2\n"), "k").expect_err("a line break");
        assert!(why.contains("\"s\"") && why.contains("\"k\"") && !why.contains("hunter2"), "{why}");
        assert_eq!(value_of_secret("s", &secret(1, "x"), "other"), Ok(None));
        let bytes = json!({"data": {"k": STANDARD.encode([0xff, 0xfe])}});
        assert!(entries_of_secret("s", &bytes).is_err());
    }
}
