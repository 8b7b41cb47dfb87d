//! YAML in and out; the only crate that knows a YAML library.

use serde::Deserialize;
use serde_json::Value;

/// Bytes of one input.
const LIMIT: usize = 3 << 20;
/// Bytes that aliases may blow an input up to.
const EXPANDED: usize = 16 << 20;

/// Why an input is not a list of documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// Larger than any manifest should be.
    #[error("the input is larger than {LIMIT} bytes")]
    TooLarge,
    /// Not YAML or JSON.
    #[error("document {document}: {why}")]
    Syntax {
        /// Counted from 1.
        document: usize,
        /// With line and column.
        why: String,
    },
}

/// All documents of a YAML (or JSON) input; empty ones are left out.
pub fn parse_documents(text: &str) -> Result<Vec<Value>, ManifestFault> {
    if text.len() > LIMIT {
        return Err(ManifestFault::TooLarge);
    }
    let mut documents = Vec::new();
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let syntax = |why: String| ManifestFault::Syntax { document: index + 1, why };
        let value = Value::deserialize(document).map_err(|error| syntax(error.to_string()))?;
        if weight(&value) > EXPANDED {
            return Err(syntax("its aliases expand to more than any manifest should hold".into()));
        }
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// One document.
pub fn parse_one(text: &str) -> Result<Value, ManifestFault> {
    let mut documents = parse_documents(text)?;
    match documents.len() {
        0 => Ok(Value::Null),
        1 => Ok(documents.remove(0)),
        more => Err(ManifestFault::Syntax { document: 2, why: format!("one document is expected, there are {more}") }),
    }
}

/// A value as YAML.
pub fn to_yaml(value: &Value) -> String {
    // A JSON value has no keys or numbers that YAML could not write.
    serde_yaml::to_string(value).unwrap_or_else(|error| format!("# {error}\n"))
}

fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 8,
        Value::Array(items) => 8 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => 8 + fields.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_separated_and_empty_ones_dropped() {
        let text = "kind: A\n---\n# nothing\n---\nkind: B\nlist: [1, two]\n";
        assert_eq!(parse_documents(text), Ok(vec![json!({"kind": "A"}), json!({"kind": "B", "list": [1, "two"]})]));
        assert_eq!(parse_one("{\"kind\": \"C\"}"), Ok(json!({"kind": "C"})));
    }

    #[test]
    fn mistakes_are_named_with_document_and_line() {
        let fault = parse_documents("kind: A\n---\nkind: [unclosed\n").expect_err("broken");
        let text = fault.to_string();
        assert!(text.starts_with("document 2:") && text.contains("line"), "{text}");
        assert!(parse_documents("a: 1\na: 2\n").is_err(), "a key twice");
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (name, before) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f"), ("h", "g")] {
            text += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(","));
        }
        assert!(parse_documents(&text).is_err());
    }
}
