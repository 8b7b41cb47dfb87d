//! Reads one map of the file key by key, and notes everything that is wrong with it instead of stopping at the first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{SettingsProblem, Warning, parse_duration, parse_size};

/// What was found wrong or odd so far, and which keys came from elsewhere than the file.
#[derive(Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<SettingsProblem>>,
    warnings: RefCell<Vec<Warning>>,
    /// Key path to where its value came from, such as `MKUBE_PASSWORD`.
    pub(super) sources: RefCell<BTreeMap<String, String>>,
}

impl Notes {
    pub(super) fn problem(&self, key: impl Into<String>, text: impl Into<String>) {
        let key = key.into();
        let mut text = text.into();
        if let Some(source) = self.sources.borrow().get(&key) {
            text = format!("{text} (given by {source})");
        }
        self.problems.borrow_mut().push(SettingsProblem { key, text });
    }

    pub(super) fn warning(&self, key: impl Into<String>, text: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning { key: key.into(), text: text.into() });
    }

    pub(super) fn into_result<S>(self, settings: S) -> Result<(S, Vec<Warning>), Vec<SettingsProblem>> {
        let problems = self.problems.into_inner();
        if problems.is_empty() { Ok((settings, self.warnings.into_inner())) } else { Err(problems) }
    }
}

/// One map being read. Every key asked for counts as known; [`Section::finish`] reports the rest.
pub(super) struct Section<'n> {
    path: String,
    map: RefCell<Map<String, Value>>,
    known: RefCell<Vec<&'static str>>,
    present: Cell<bool>,
    pub(super) notes: &'n Notes,
}

impl<'n> Section<'n> {
    pub(super) fn root(map: Map<String, Value>, notes: &'n Notes) -> Self {
        Section {
            path: String::new(),
            map: RefCell::new(map),
            known: RefCell::default(),
            present: Cell::new(true),
            notes,
        }
    }

    /// A section from a list's element.
    pub(super) fn element(path: String, value: Value, notes: &'n Notes) -> Self {
        let present = !value.is_null();
        let map = match value {
            Value::Object(map) => map,
            Value::Null => Map::new(),
            other => {
                notes.problem(&path, format!("is {}, where a map of keys is wanted", kind(&other)));
                Map::new()
            }
        };
        Section { path, map: RefCell::new(map), known: RefCell::default(), present: Cell::new(present), notes }
    }

    /// Whether the file has this section at all.
    pub(super) fn is_present(&self) -> bool {
        self.present.get()
    }

    /// Path of one of its keys.
    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn problem(&self, key: &str, text: impl Into<String>) {
        self.notes.problem(self.key(key), text);
    }

    pub(super) fn warning(&self, key: &str, text: impl Into<String>) {
        self.notes.warning(self.key(key), text);
    }

    /// A warning about the section as a whole.
    pub(super) fn warning_here(&self, text: impl Into<String>) {
        self.notes.warning(self.path.clone(), text);
    }

    /// The raw value; `null` counts as not written.
    pub(super) fn value(&self, key: &'static str) -> Option<Value> {
        self.known.borrow_mut().push(key);
        self.map.borrow_mut().remove(key).filter(|value| !value.is_null())
    }

    /// Whether the file has this key, without reading it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.borrow().get(key).is_some_and(|value| !value.is_null())
    }

    pub(super) fn section(&self, key: &'static str) -> Section<'n> {
        let value = self.value(key).unwrap_or(Value::Null);
        Section::element(self.key(key), value, self.notes)
    }

    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'n>> {
        self.list(key)
            .into_iter()
            .enumerate()
            .map(|(nth, value)| Section::element(format!("{}[{nth}]", self.key(key)), value, self.notes))
            .collect()
    }

    fn list(&self, key: &'static str) -> Vec<Value> {
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => {
                self.problem(key, format!("is {}, where a list is wanted", kind(&other)));
                Vec::new()
            }
        }
    }

    /// Text; a whole number or boolean is taken as its text, as YAML writers mean it.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.as_text(key, self.value(key)?)
    }

    fn as_text(&self, key: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text),
            // `1e3` and `1.50` have lost their spelling by now. The value is not repeated: it may be a password.
            Value::Number(number) if number.is_f64() => {
                self.problem(key, "is a number with a fraction or exponent; where text is wanted, write it in quotes");
                None
            }
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            other => {
                self.problem(key, format!("is {}, where text is wanted", kind(&other)));
                None
            }
        }
    }

    /// Text that counts as not written when it is empty, as in the Go controller.
    pub(super) fn filled(&self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    pub(super) fn texts(&self, key: &'static str) -> Vec<String> {
        self.list(key).into_iter().filter_map(|value| self.as_text(key, value)).collect()
    }

    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.filled(key).map(PathBuf::from)
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(flag),
            Value::String(text) if ["true", "yes", "1"].contains(&text.to_lowercase().as_str()) => Some(true),
            Value::String(text) if ["false", "no", "0"].contains(&text.to_lowercase().as_str()) => Some(false),
            other => {
                self.problem(key, format!("is {other}, where true or false is wanted"));
                None
            }
        }
    }

    pub(super) fn number(&self, key: &'static str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.value(key)?;
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number.and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                let (low, high) = (range.start(), range.end());
                self.problem(key, format!("is {value}, where a whole number from {low} to {high} is wanted"));
                None
            }
        }
    }

    /// A duration: a number counts in `unit`, text carries its own (`90s`). Zero counts as not written.
    pub(super) fn duration(&self, key: &'static str, unit: Duration) -> Option<Duration> {
        let value = self.value(key)?;
        let parsed = match &value {
            Value::Number(number) => {
                number.as_u64().and_then(|n| u32::try_from(n).ok()).and_then(|n| unit.checked_mul(n))
            }
            Value::String(text) => match text.parse::<u32>() {
                Ok(number) => unit.checked_mul(number),
                Err(_) => parse_duration(text),
            },
            _ => None,
        };
        if parsed.is_none() {
            self.problem(key, format!("is {value}, where a duration such as \"90s\" or \"5m\" is wanted"));
        }
        parsed.filter(|duration| !duration.is_zero())
    }

    /// A size in bytes: a number, or text with a unit (`16Gi`).
    pub(super) fn size(&self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        let parsed = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => parse_size(text),
            _ => None,
        };
        if parsed.is_none() {
            self.problem(key, format!("is {value}, where a size in bytes such as \"256Mi\" is wanted"));
        }
        parsed
    }

    pub(super) fn address(&self, key: &'static str) -> Option<Ipv4Addr> {
        let text = self.filled(key)?;
        match text.trim().parse() {
            Ok(address) => Some(address),
            Err(_) => {
                self.problem(key, format!("is {text:?}, where an IPv4 address is wanted"));
                None
            }
        }
    }

    /// Notes keys the Go controller knew and that do nothing here.
    pub(super) fn inert(&self, keys: &[&'static str], why: &str) {
        for key in keys {
            if self.value(key).is_some() {
                self.warning(key, why);
            }
        }
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.into_inner();
        for key in self.map.into_inner().keys() {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            self.notes.problem(path, unknown(key, &known));
        }
    }
}

/// What to say of a key nobody knows.
pub(super) fn unknown(key: &str, known: &[&'static str]) -> String {
    match closest(key, known) {
        Some(near) => format!("is not a key of mkube; did you mean {near:?}?"),
        None => format!("is not a key of mkube; known here: {}", known.join(", ")),
    }
}

/// The known key nearest to what was written, if any is near.
fn closest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let written = written.to_lowercase();
    known
        .iter()
        .map(|key| (strsim::jaro_winkler(&written, &key.to_lowercase()), *key))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
