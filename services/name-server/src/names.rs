//! Names as people write them, and as they stand in messages.
//!
//! Everything is folded to lower case once, here, on its way in. Written form allows the escapes of the reference: a backslash and
//! three octal digits, or a backslash and one sign.

use std::borrow::Borrow;
use std::fmt::Write as _;
use std::sync::Arc;

/// Longest name in a message, root label included.
const LONGEST: usize = 255;
/// Longest label.
const LABEL: usize = 63;

/// What is wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing, or two dots in a row.
    #[error("invalid name {0:?}: a label is empty")]
    Empty(String),
    /// More than 63 bytes between two dots.
    #[error("invalid name {0:?}: a label is longer than 63 bytes")]
    LabelTooLong(String),
    /// More than 253 characters.
    #[error("invalid name {0:?}: it is longer than a name may be")]
    TooLong(String),
    /// A sign that must be escaped or is not allowed at all.
    #[error("invalid name {0:?}: {1:?} is not a letter, digit, '-', '_', '*' or an escape")]
    Sign(String, char),
}

/// A name as it stands in messages, folded: labels behind their lengths, the root label last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireName(Arc<[u8]>);

impl WireName {
    /// The root.
    pub fn root() -> Self {
        Self(Arc::from([0u8]))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn of(labels: &[Vec<u8>], text: &str) -> Result<Self, NameFault> {
        let mut bytes = Vec::with_capacity(labels.iter().map(|label| label.len() + 1).sum::<usize>() + 1);
        for label in labels {
            bytes.push(u8::try_from(label.len()).map_err(|_| NameFault::LabelTooLong(text.to_owned()))?);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        if bytes.len() > LONGEST {
            return Err(NameFault::TooLong(text.to_owned()));
        }
        Ok(Self(bytes.into()))
    }
}

impl Borrow<[u8]> for WireName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for WireName {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// The name and those above it, itself first and the root last.
pub fn and_above(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(wire);
    std::iter::from_fn(move || {
        let this = rest?;
        let length = usize::from(*this.first()?);
        rest = if length == 0 { None } else { this.get(length + 1..) };
        Some(this)
    })
}

/// Whether `name` is `zone` or below it.
pub fn is_within(name: &[u8], zone: &[u8]) -> bool {
    and_above(name).any(|above| above == zone)
}

/// The labels of a written name. `free` allows every printable sign, for what is only pointed at.
fn labels(text: &str, free: bool) -> Result<Vec<Vec<u8>>, NameFault> {
    let mut labels = vec![Vec::new()];
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        let byte = match sign {
            '.' => {
                labels.push(Vec::new());
                continue;
            }
            '\\' => escaped(&mut signs).ok_or_else(|| NameFault::Sign(text.to_owned(), '\\'))?,
            sign if sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '*') => sign as u8,
            sign if free && sign.is_ascii_graphic() => sign as u8,
            sign => return Err(NameFault::Sign(text.to_owned(), sign)),
        };
        if let Some(label) = labels.last_mut() {
            label.push(byte);
        }
    }
    if labels.iter().any(Vec::is_empty) {
        return Err(NameFault::Empty(text.to_owned()));
    }
    if labels.iter().any(|label| label.len() > LABEL) {
        return Err(NameFault::LabelTooLong(text.to_owned()));
    }
    Ok(labels)
}

fn escaped(signs: &mut std::str::Chars<'_>) -> Option<u8> {
    let first = signs.next()?;
    let Some(high) = first.to_digit(8) else { return first.is_ascii_punctuation().then_some(first as u8) };
    let (middle, low) = (signs.next()?.to_digit(8)?, signs.next()?.to_digit(8)?);
    u8::try_from(high * 64 + middle * 8 + low).ok()
}

fn fold(labels: &mut [Vec<u8>]) {
    labels.iter_mut().for_each(|label| label.make_ascii_lowercase());
}

/// One spelling for one name, so that equal names are equal texts.
fn written(labels: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for (at, label) in labels.iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        for byte in label {
            match byte {
                b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*') => text.push(char::from(*b)),
                other => drop(write!(text, "\\{other:03o}")),
            }
        }
    }
    text
}

/// A zone's name: folded, without final dots.
///
/// # Errors
/// It is no name.
pub fn zone_name(text: &str) -> Result<String, NameFault> {
    let mut labels = labels(text.trim_end_matches('.'), false)?;
    fold(&mut labels);
    WireName::of(&labels, text)?;
    Ok(written(&labels))
}

/// A zone's name in messages; `.` is the root.
///
/// # Errors
/// It is no name.
pub fn zone_wire(text: &str) -> Result<WireName, NameFault> {
    if text == "." {
        return Ok(WireName::root());
    }
    let mut labels = labels(text, false)?;
    fold(&mut labels);
    WireName::of(&labels, text)
}

/// A record's name: folded, relative to its zone, `@` for the zone itself. A final dot makes it absolute.
///
/// # Errors
/// It is no name, or too long together with the zone's.
pub fn record_name(text: &str, zone: &str) -> Result<String, NameFault> {
    if text == "@" {
        return Ok(text.to_owned());
    }
    let absolute = text.ends_with('.') && !text.ends_with("\\.");
    let mut labels = labels(if absolute { &text[..text.len() - 1] } else { text }, false)?;
    fold(&mut labels);
    let mut name = written(&labels);
    if absolute {
        if name == zone {
            return Ok("@".to_owned());
        }
        if let Some(relative) = name.strip_suffix(zone).and_then(|rest| rest.strip_suffix('.')) {
            name = relative.to_owned();
        }
    }
    record_wire(&name, zone)?;
    Ok(name)
}

/// A record's name in messages; both parts as the functions above give them.
///
/// # Errors
/// Too long together.
pub fn record_wire(name: &str, zone: &str) -> Result<WireName, NameFault> {
    let mut all = if name == "@" { Vec::new() } else { labels(name, false)? };
    all.extend(labels(zone, false)?);
    fold(&mut all);
    WireName::of(&all, name)
}

/// A name that is pointed at, in messages: always taken as absolute, spelling kept.
///
/// # Errors
/// It cannot stand in a message.
pub fn target_wire(text: &str) -> Result<WireName, NameFault> {
    if text == "." {
        return Ok(WireName::root());
    }
    WireName::of(&labels(text.strip_suffix('.').unwrap_or(text), true)?, text)
}

/// A name that is pointed at, to compare: case and the final dot do not matter.
pub fn same_target(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    bare(one) == bare(other)
}

/// Written form, without a final dot, of a name in a message.
pub fn text_of(wire: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = wire;
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let Some((label, next)) = after.split_at_checked(usize::from(*length)) else { break };
        labels.push(label.to_vec());
        rest = next;
    }
    written(&labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_one_name_has_one_spelling() {
        assert_eq!(zone_name("Lab.TEST.."), Ok("lab.test".to_owned()));
        assert_eq!(record_name("WEB", "lab.test"), Ok("web".to_owned()));
        assert_eq!(
            record_name(r"My\ Printer".replace(' ', "040").as_str(), "lab.test"),
            Ok(r"my\040printer".to_owned())
        );
        assert_eq!(record_name(r"a\.b", "lab.test"), Ok(r"a\056b".to_owned()));
        assert_eq!(record_name(r"a\101", "lab.test"), Ok("aa".to_owned()));
        assert_eq!(record_wire("@", "lab.test").expect("a name").bytes(), b"\x03lab\x04test\x00");
    }

    #[test]
    fn a_final_dot_makes_a_records_name_absolute() {
        for (text, name) in
            [("web.lab.test.", "web"), ("lab.test.", "@"), ("web.", "web"), ("x.notlab.test.", "x.notlab.test")]
        {
            assert_eq!(record_name(text, "lab.test"), Ok(name.to_owned()), "{text}");
        }
        assert_eq!(
            record_name("web.lab.test", "lab.test"),
            Ok("web.lab.test".to_owned()),
            "without the dot it is relative"
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        for text in ["", ".", "a..b", "a b", "ä", &long, "a\\", "a\\99", "a\\777", "a/b", "..", &"abcdefgh.".repeat(40)]
        {
            assert!(record_name(text, "lab.test").is_err(), "{text:?}");
        }
        assert!(record_name(&"\\141".repeat(63), "lab.test").is_ok(), "the limit is on what is meant");
        assert!(record_name(&format!("{}x", "abcdefg.".repeat(31)), "lab.test").is_err(), "the zone counts too");
    }

    #[test]
    fn the_names_above_end_with_the_root() {
        let above: Vec<&[u8]> = and_above(b"\x01a\x02bc\x00").collect();
        assert_eq!(above, [&b"\x01a\x02bc\x00"[..], b"\x02bc\x00", b"\x00"]);
        assert!(is_within(b"\x01a\x02bc\x00", b"\x02bc\x00") && !is_within(b"\x03abc\x00", b"\x02bc\x00"));
        assert_eq!(text_of(b"\x01a\x02bc\x00"), "a.bc");
    }
}
