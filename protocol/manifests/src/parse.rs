//! Text to values, within limits.

use std::cell::Cell;

use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::fault::{ManifestFault, Reason};
use crate::value::{Budget, Exceeded, ValueReader};

/// How much a text may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole text.
    pub bytes: usize,
    /// Levels of lists and maps inside each other.
    pub depth: usize,
    /// Values in all documents together, counted after aliases are expanded.
    pub values: usize,
}

impl Default for Limits {
    /// 3 MiB, the most a Kubernetes API server reads of one body; 64 levels; 250,000 values.
    fn default() -> Self {
        Limits { bytes: 3 * 1024 * 1024, depth: 64, values: 250_000 }
    }
}

impl Limits {
    /// Bytes of texts and keys after aliases are expanded. Without aliases they are fewer than those of the text they stand in, but
    /// for two-letter escapes that mean three bytes.
    fn expanded(&self) -> usize {
        self.bytes.saturating_mul(2)
    }
}

/// Reads every document of a YAML or JSON text, empty ones left out, within the default [`Limits`].
///
/// # Errors
/// The first document that cannot be read, with its number and line; nothing of the others is returned.
pub fn parse_documents(text: &str) -> Result<Vec<Value>, ManifestFault> {
    parse_documents_within(text, Limits::default())
}

/// Reads a text that must hold at most one document; nothing at all reads as `null`.
///
/// # Errors
/// As [`parse_documents`], and [`Reason::NotOne`] for several documents.
pub fn parse_one(text: &str) -> Result<Value, ManifestFault> {
    let mut documents = parse_documents(text)?;
    match documents.len() {
        0 => Ok(Value::Null),
        1 => Ok(documents.remove(0)),
        found => Err(ManifestFault { document: 2, line: None, reason: Reason::NotOne { found } }),
    }
}

/// [`parse_documents`] with other limits.
///
/// # Errors
/// As [`parse_documents`].
pub fn parse_documents_within(text: &str, limits: Limits) -> Result<Vec<Value>, ManifestFault> {
    read(text, limits).0
}

/// What stands in a text, and how many values were counted until then.
pub(crate) fn read(text: &str, limits: Limits) -> (Result<Vec<Value>, ManifestFault>, usize) {
    if text.len() > limits.bytes {
        let reason = Reason::TooLarge { bytes: text.len(), limit: limits.bytes };
        return (Err(ManifestFault { document: 1, line: None, reason }), 0);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let budget = Budget {
        values_left: Cell::new(limits.values),
        text_left: Cell::new(limits.expanded()),
        max_depth: limits.depth,
        exceeded: Cell::new(None),
    };
    let found = read_with(text, &budget, limits);
    (found, limits.values - budget.values_left.get())
}

fn read_with(text: &str, budget: &Budget, limits: Limits) -> Result<Vec<Value>, ManifestFault> {
    if text.trim_start().starts_with(['{', '[']) {
        match json_documents(text, budget) {
            Ok(documents) => return Ok(documents),
            // Flow style YAML begins like JSON; what hit a limit or a duplicate fails again below.
            Err(_) if budget.exceeded.get().is_none() => {
                budget.values_left.set(limits.values);
                budget.text_left.set(limits.expanded());
            }
            Err((document, error)) => {
                return Err(fault(document, Some(error.line()), budget, limits, || error.to_string()));
            }
        }
    }
    refuse_tangles(text, limits)?;
    yaml_documents(text, budget, limits)
}

/// Work the YAML scanner may have with one document, in its own steps; about two seconds of a slow processor.
const SCANNER_STEPS: usize = 2_000_000_000;

/// The scanner looks at every open bracket again for every mark, so a text of brackets alone would keep it busy for
/// minutes before any depth is known. Counted without understanding quotes, therefore generous.
fn refuse_tangles(text: &str, limits: Limits) -> Result<(), ManifestFault> {
    for (index, document) in text.split("\n---").enumerate() {
        let (mut brackets, mut marks) = (0_usize, 0_usize);
        for byte in document.bytes() {
            match byte {
                b'[' | b'{' => brackets += 1,
                b',' | b':' => marks += 1,
                _ => {}
            }
        }
        if brackets.saturating_mul(brackets + marks) > SCANNER_STEPS {
            return Err(ManifestFault {
                document: index + 1,
                line: None,
                reason: Reason::TooMany { limit: limits.values },
            });
        }
    }
    Ok(())
}

fn json_documents(text: &str, budget: &Budget) -> Result<Vec<Value>, (usize, serde_json::Error)> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut documents = Vec::new();
    loop {
        let value =
            ValueReader { budget, depth: 0 }.deserialize(&mut reader).map_err(|error| (documents.len() + 1, error))?;
        documents.push(value);
        if reader.end().is_ok() {
            return Ok(documents);
        }
    }
}

fn yaml_documents(text: &str, budget: &Budget, limits: Limits) -> Result<Vec<Value>, ManifestFault> {
    let mut documents = Vec::new();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = ValueReader { budget, depth: 0 }.deserialize(document).map_err(|error| {
            let line = error.location().map(|place| place.line());
            fault(index + 1, line, budget, limits, || without_place(&error))
        })?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

fn fault(
    document: usize,
    line: Option<usize>,
    budget: &Budget,
    limits: Limits,
    text: impl FnOnce() -> String,
) -> ManifestFault {
    let reason = match budget.exceeded.get() {
        Some(Exceeded::Depth) => Reason::TooDeep { limit: limits.depth },
        Some(Exceeded::Values) => Reason::TooMany { limit: limits.values },
        Some(Exceeded::Text) => Reason::TooLong { limit: limits.expanded() },
        None => Reason::Syntax(text()),
    };
    ManifestFault { document, line, reason }
}

/// The library's text without its own "at line …" tail, since the fault says the line itself.
fn without_place(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    match text.find(" at line ") {
        Some(end) if error.location().is_some() => text[..end].to_owned(),
        _ => text,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
