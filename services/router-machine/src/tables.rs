//! Rows: numbered, printed with everything a release prints, found by id or name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::Refusal;
use crate::menus::Menu;
use crate::release::Release;
use crate::values;

/// Number of a row; printed as `*` and upper-case hexadecimal.
pub type RowNumber = u32;

/// A row of a menu: what was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number.
    pub number: RowNumber,
    /// Values as RouterOS keeps them.
    pub fields: BTreeMap<String, String>,
}

impl Row {
    /// A value, empty when not written.
    pub fn get(&self, name: &str) -> &str {
        self.fields.get(name).map(String::as_str).unwrap_or_default()
    }

    /// A boolean value.
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    /// A comma separated list.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.get(name).split(',').map(str::trim).filter(|one| !one.is_empty()).collect()
    }

    /// `.id`.
    pub fn id(&self) -> String {
        format!("*{:X}", self.number)
    }

    /// As printed, without what the machine knows beside it.
    pub fn print(&self, menu: Menu, release: &Release) -> Map<String, Value> {
        let mut printed = Map::new();
        printed.insert(".id".into(), json!(self.id()));
        for property in menu.properties(release).filter(|property| property.kind != Scalar::Secret) {
            let written = self.fields.get(property.name).map(String::as_str);
            let value = written.or(property.default);
            match value {
                Some("") if property.name == "comment" => {}
                Some(value) => drop(printed.insert(property.name.into(), json!(value))),
                None => {}
            }
        }
        printed
    }
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// As it is.
    Text,
    /// `true` or `false`.
    Bool,
    /// Bytes or `unlimited`.
    Bytes,
    /// A duration.
    Duration,
    /// A path, printed with a leading slash.
    Path,
    /// A hardware address, printed in capitals.
    Mac,
    /// Digits.
    Number,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Taken and never printed.
    Secret,
}

/// A value as a property keeps it.
pub fn read_value(menu: Menu, release: &Release, name: &str, value: &Value) -> Result<String, Refusal> {
    let property = menu
        .properties(release)
        .find(|property| property.name == name)
        .ok_or_else(|| Refusal::bad(format!("unknown parameter {name}")))?;
    read_scalar(name, property.kind, value)
}

/// A value as it is kept, read as its kind demands.
pub fn read_scalar(name: &str, kind: Scalar, value: &Value) -> Result<String, Refusal> {
    let text = values::to_text(value);
    let invalid = || Refusal::bad(format!("invalid value for argument {name}"));
    match kind {
        Scalar::Text | Scalar::Secret => Ok(text),
        Scalar::Bool => values::boolean(&text).map(str::to_owned).ok_or_else(invalid),
        Scalar::Bytes => values::bytes(&text).ok_or_else(invalid),
        Scalar::Duration => values::duration(&text)
            .map(values::format_duration)
            .ok_or_else(|| Refusal::bad(format!("invalid time value for argument {name}"))),
        Scalar::Path => Ok(values::path(&text)),
        Scalar::Mac => values::mac(&text).ok_or_else(invalid),
        Scalar::Number if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => Ok(text),
        Scalar::Number if text.starts_with(|c: char| c.is_ascii_digit()) => {
            Err(Refusal::bad(format!("value of {name} contains invalid trailing characters")))
        }
        Scalar::Number => Err(invalid()),
        Scalar::OneOf(words) if words.contains(&text.as_str()) => Ok(text),
        Scalar::OneOf(_) => Err(Refusal::bad(format!("input does not match any value of {name}"))),
    }
}

/// A row number from `*1F`.
pub fn number_of(id: &str) -> Option<RowNumber> {
    RowNumber::from_str_radix(id.strip_prefix('*')?, 16).ok()
}
