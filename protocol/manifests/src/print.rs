//! Values to text.
//!
//! Written here and not by the YAML library, because that one prints `yes`, `on` or `0777` bare: YAML 1.2 reads them as
//! text, but kubectl and every Go client read YAML 1.1, where they are a boolean and an octal number.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// One value as YAML in the layout Kubernetes tools use, ending in a newline.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0, false);
    out
}

/// Several values as one YAML stream, `---` between them.
pub fn to_yaml_documents<'v>(values: impl IntoIterator<Item = &'v Value>) -> String {
    let texts: Vec<String> = values.into_iter().map(to_yaml).collect();
    texts.join("---\n")
}

/// Writes `value` at `indent` spaces; `inline` when the cursor already stands where its first line begins.
fn block(out: &mut String, value: &Value, indent: usize, inline: bool) {
    match value {
        Value::Object(map) if !map.is_empty() => object(out, map, indent, inline),
        Value::Array(list) if !list.is_empty() => {
            for (nth, item) in list.iter().enumerate() {
                pad(out, if nth == 0 && inline { 0 } else { indent });
                out.push_str("- ");
                block(out, item, indent + 2, true);
            }
        }
        scalar => {
            pad(out, if inline { 0 } else { indent });
            self::scalar(out, scalar, indent);
            out.push('\n');
        }
    }
}

fn object(out: &mut String, map: &Map<String, Value>, indent: usize, inline: bool) {
    for (nth, (key, value)) in map.iter().enumerate() {
        pad(out, if nth == 0 && inline { 0 } else { indent });
        text_on_one_line(out, key);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                block(out, value, indent + 2, false);
            }
            Value::Array(inner) if !inner.is_empty() => {
                out.push('\n');
                block(out, value, indent, false);
            }
            scalar => {
                out.push(' ');
                self::scalar(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// Writes what needs no nesting; `indent` is where the lines of a literal block go.
fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) if fits_a_literal_block(text) => literal(out, text, indent.max(2)),
        Value::String(text) => text_on_one_line(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
}

fn text_on_one_line(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        quoted(out, text);
    }
}

/// Whether `text` means itself without quotes, in YAML 1.1 and 1.2 alike.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 13] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "none", "~"];
    let Some(first) = text.chars().next() else {
        return false;
    };
    // A digit, sign or dot may begin a number, a date or a base-60 figure: of those only addresses stay bare.
    let starts_well = first.is_ascii_alphabetic() || matches!(first, '/' | '_');
    let is_address = text.parse::<std::net::Ipv4Addr>().is_ok();
    (starts_well || is_address)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| matches!(c, ' '..='~'))
}

fn fits_a_literal_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.lines().any(|line| !line.trim().is_empty())
        && text.lines().all(|line| !line.ends_with(' ') && !line.trim_start_matches(' ').starts_with('\t'))
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push_str(if text.ends_with("\n\n") {
        "|+"
    } else if text.ends_with('\n') {
        "|"
    } else {
        "|-"
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
}

fn pad(out: &mut String, spaces: usize) {
    out.extend(std::iter::repeat_n(' ', spaces));
}

#[cfg(test)]
#[path = "print_tests.rs"]
mod tests;
