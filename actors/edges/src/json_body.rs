//! JSON of strangers: bounded in values and depth, and a field that is written twice is remembered.

use std::cell::{Cell, RefCell};
use std::fmt;

use mkube_model::stored_text::RESERVED;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Values of one body. Text of three megabytes could else become a hundred times that in memory.
const VALUES: usize = 250_000;
/// Levels of lists and objects inside each other.
const DEPTH: usize = 64;
/// Repeated fields that are named.
const NAMED: usize = 16;

/// A body as JSON, and the paths of fields written more than once; the last one counts.
pub fn parse(body: &[u8]) -> Result<(Value, Vec<String>), String> {
    let limits = Limits { left: Cell::new(VALUES), repeated: RefCell::default() };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let seed = Seed { limits: &limits, depth: 0, path: String::new() };
    let value = seed.deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok((value, limits.repeated.into_inner()))
}

struct Limits {
    left: Cell<usize>,
    repeated: RefCell<Vec<String>>,
}

struct Seed<'l> {
    limits: &'l Limits,
    depth: usize,
    path: String,
}

impl Seed<'_> {
    fn inner(&self, path: String) -> Self {
        Self { limits: self.limits, depth: self.depth + 1, path }
    }

    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth >= DEPTH {
            return Err(E::custom(format_args!("nested deeper than {DEPTH} levels")));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.limits.left.get();
        if left == 0 {
            return Err(D::Error::custom(format_args!("more than {VALUES} values")));
        }
        self.limits.left.set(left - 1);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner(format!("{}[{}]", self.path, list.len())))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut map = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if name.starts_with(RESERVED) {
                return Err(A::Error::custom(format_args!("a field must not be called {name:?}")));
            }
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let value = entries.next_value_seed(self.inner(path.clone()))?;
            if map.insert(name, value).is_some() {
                let mut repeated = self.limits.repeated.borrow_mut();
                if repeated.len() < NAMED && !repeated.contains(&path) {
                    repeated.push(path);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_reads_as_it_is_written_and_repeated_fields_are_named() {
        let text = r#"{"a": [1, -2, 2.5, "x", null, true, {}], "data": {"k": "1", "k": "2"}, "l": [{"n": 1, "n": 1}]}"#;
        let (value, repeated) = parse(text.as_bytes()).expect("JSON");
        assert_eq!(value, json!({"a": [1, -2, 2.5, "x", null, true, {}], "data": {"k": "2"}, "l": [{"n": 1}]}));
        assert_eq!(repeated, ["data.k", "l[0].n"]);
    }

    #[test]
    fn what_is_too_deep_too_much_or_no_json_is_refused() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(deep(DEPTH).as_bytes()).is_ok());
        assert!(parse(deep(DEPTH + 1).as_bytes()).expect_err("deep").contains("nested deeper"));
        let many = format!("[{}0]", "0,".repeat(VALUES));
        assert!(parse(many.as_bytes()).expect_err("many").contains("values"));
        assert!(
            parse(br#"{"a": {"$serde_json::private::RawValue": "{"}}"#)
                .expect_err("odd")
                .contains("must not be called")
        );
        for bad in ["{", "{\"a\": 1,}", "{a: 1}", "{} {}", "", "\u{0}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
