//! Turns what a YAML or JSON library reads into a `serde_json::Value`, refusing what a careless reader would let pass.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Names that the JSON library keeps for itself: written as JSON, a map with one would read as something else.
const RESERVED: &str = "$serde_json::private::";

/// Counters of one parse; cells because one budget is shared by all nested readers.
pub(crate) struct Budget {
    pub(crate) values_left: Cell<usize>,
    /// Bytes of texts and keys. An alias repeats a text as often as it stands there.
    pub(crate) text_left: Cell<usize>,
    pub(crate) max_depth: usize,
    /// Which limit was hit, so that the caller can name it as more than a text.
    pub(crate) exceeded: Cell<Option<Exceeded>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Exceeded {
    Depth,
    Values,
    Text,
}

/// Reads one value at `depth`.
#[derive(Clone, Copy)]
pub(crate) struct ValueReader<'b> {
    pub(crate) budget: &'b Budget,
    pub(crate) depth: usize,
}

impl ValueReader<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= self.budget.max_depth {
            self.budget.exceeded.set(Some(Exceeded::Depth));
            return Err(E::custom("nested too deep"));
        }
        Ok(ValueReader { depth: self.depth + 1, ..self })
    }
}

impl Budget {
    fn spend<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        let Some(left) = self.text_left.get().checked_sub(text.len()) else {
            self.exceeded.set(Some(Exceeded::Text));
            return Err(E::custom("too much text"));
        };
        self.text_left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.budget.values_left.get();
        if left == 0 {
            self.budget.exceeded.set(Some(Exceeded::Values));
            return Err(D::Error::custom("too many values"));
        }
        self.budget.values_left.set(left - 1);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a plain value without a YAML tag")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("infinity and not-a-number have no JSON form"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.spend(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.budget.spend(&value)?;
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        let mut merged = Vec::new();
        while let Some(key) = entries.next_key_seed(KeyReader)? {
            self.budget.spend(&key)?;
            if key.starts_with(RESERVED) {
                return Err(A::Error::custom(format_args!("a field must not be called {key:?}")));
            }
            let value = entries.next_value_seed(inner)?;
            if key == "<<" {
                merged.push(value);
                continue;
            }
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("key {key:?} is written twice")));
            }
            map.insert(key, value);
        }
        for value in merged {
            merge(&mut map, value).map_err(A::Error::custom)?;
        }
        Ok(Value::Object(map))
    }
}

/// YAML's `<<`: the keys of the other map (or of each map of a list) where this one does not have them.
fn merge(into: &mut Map<String, Value>, from: Value) -> Result<(), &'static str> {
    match from {
        Value::Object(other) => {
            for (key, value) in other {
                into.entry(key).or_insert(value);
            }
            Ok(())
        }
        Value::Array(list) => list.into_iter().try_for_each(|item| merge(into, item)),
        _ => Err("`<<` merges maps only"),
    }
}

/// Keys of maps: text, or a number or boolean turned into its text, as Kubernetes clients do.
struct KeyReader;

impl<'de> DeserializeSeed<'de> for KeyReader {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeyReader {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a plain key")
    }

    fn visit_str<E>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_string<E>(self, value: String) -> Result<String, E> {
        Ok(value)
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}
