//! Rows: numbered, printed with everything a release prints, found by id or name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::Refusal;
use crate::menus::{Menu, Type};
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
        for property in menu.properties(release).filter(|property| property.kind != Type::Secret) {
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

/// A value as a property keeps it.
pub fn read_value(menu: Menu, release: &Release, name: &str, value: &Value) -> Result<String, Refusal> {
    let property = menu
        .properties(release)
        .find(|property| property.name == name)
        .ok_or_else(|| Refusal::bad(format!("unknown parameter {name}")))?;
    let text = values::to_text(value);
    let invalid = || Refusal::bad(format!("invalid value for argument {name}"));
    match property.kind {
        Type::Text | Type::Secret => Ok(text),
        Type::Bool => values::boolean(&text).map(str::to_owned).ok_or_else(invalid),
        Type::Bytes => values::bytes(&text).ok_or_else(invalid),
        Type::Duration => values::duration(&text)
            .map(values::format_duration)
            .ok_or_else(|| Refusal::bad(format!("invalid time value for argument {name}"))),
        Type::Path => Ok(values::path(&text)),
    }
}

/// A row number from `*1F`.
pub fn number_of(id: &str) -> Option<RowNumber> {
    RowNumber::from_str_radix(id.strip_prefix('*')?, 16).ok()
}
