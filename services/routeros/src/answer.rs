//! Bodies of answers. Lists are read row by row: a thousand containers as one tree would take many times the memory of what is
//! wanted of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::Value;

/// Any body.
pub fn value(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    tolerant(bytes, |bytes| serde_json::from_slice(bytes))
}

/// A list, each row as `decode` reads it. All rows must have an id and one of `marks`, else the list is another menu's. What is
/// listed twice under one id is one row: whoever took it for two would remove the one to be left with the other.
pub fn rows<Row>(bytes: &[u8], marks: &[&str], decode: impl Fn(&Value) -> Row) -> Result<Vec<Row>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let read = |bytes: &[u8]| {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let rows = Rows { marks, decode: &decode }.deserialize(&mut json)?;
        json.end()?;
        Ok(rows)
    };
    tolerant(bytes, read).map_err(|error| error.to_string())
}

struct Rows<'a, F> {
    marks: &'a [&'a str],
    decode: &'a F,
}

impl<'de, Row, F: Fn(&Value) -> Row> DeserializeSeed<'de> for Rows<'_, F> {
    type Value = Vec<Row>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Row>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, Row, F: Fn(&Value) -> Row> Visitor<'de> for Rows<'_, F> {
    type Value = Vec<Row>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<Row>, A::Error> {
        let mut rows = Vec::new();
        let mut ids = BTreeSet::new();
        while let Some(row) = items.next_element::<Value>()? {
            let id = row.get(".id").filter(|_| self.marks.iter().any(|mark| row.get(mark).is_some()));
            let Some(id) = id else {
                let keys = row.as_object().map_or(0, serde_json::Map::len);
                return Err(A::Error::custom(format!("a row of {keys} keys without {}", self.marks.join(" or "))));
            };
            if ids.insert(id.as_str().unwrap_or_default().to_owned()) {
                rows.push((self.decode)(&row));
            }
        }
        Ok(rows)
    }
}

/// RouterOS may leave control characters in strings as they are, which JSON forbids.
fn tolerant<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, serde_json::Error>) -> Result<T, serde_json::Error> {
    match read(bytes) {
        Ok(value) => Ok(value),
        Err(error)
            if bytes.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t')) || error.is_syntax() =>
        {
            let mut clean = Vec::with_capacity(bytes.len());
            let mut in_string = false;
            let mut escaped = false;
            for byte in bytes {
                if in_string && *byte < 0x20 {
                    clean.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                    escaped = false;
                    continue;
                }
                match byte {
                    b'"' if !escaped => in_string = !in_string,
                    _ => {}
                }
                escaped = *byte == b'\\' && !escaped;
                clean.push(*byte);
            }
            read(&clean)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_control_characters_in_strings_are_tolerated() {
        let read = value(b"[{\"message\":\"a\x01b\tc\\\"d\"}]").expect("tolerated");
        assert_eq!(read[0]["message"], "a\u{1}b\tc\"d");
        assert!(value(b"<html>").is_err());
    }

    #[test]
    fn a_list_is_read_row_by_row_and_rows_of_another_menu_are_not_believed() {
        let ids =
            |text: &str| rows(text.as_bytes(), &["name"], |row| row[".id"].as_str().unwrap_or_default().to_owned());
        assert_eq!(
            ids("[{\".id\":\"*1\",\"name\":\"a\"},{\".id\":\"*2\",\"name\":\"b\x01\"}]"),
            Ok(vec!["*1".into(), "*2".into()])
        );
        assert_eq!(ids(""), Ok(vec![]));
        let twice = "[{\".id\":\"*1\",\"name\":\"a\"},{\".id\":\"*1\",\"name\":\"a\"}]";
        assert_eq!(ids(twice), Ok(vec!["*1".into()]), "it is one row");
        assert!(ids("[{\".id\":\"*1\",\"address\":\"10.0.0.1\"}]").is_err_and(|why| why.contains("without name")));
        assert!(ids("{\"error\":1}").is_err_and(|why| why.contains("a list")));
        assert!(ids("[] []").is_err());
    }
}
