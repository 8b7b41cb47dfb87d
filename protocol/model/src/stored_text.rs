//! Whether an object that is written as text can be read again. Everybody who looks at an object relies on it.

use serde_json::Value;

/// Names that the JSON library keeps for itself: a map that begins with one reads as something else, or not at all.
pub const RESERVED: &str = "$serde_json::private::";
/// Levels that are read; the library gives up at 128.
const LEVELS: usize = 100;

/// Why a value would not be read as it is written, if so.
pub fn problem(value: &Value) -> Option<String> {
    within(value, LEVELS)
}

fn within(value: &Value, levels: usize) -> Option<String> {
    let deep = || format!("it is nested deeper than {LEVELS} levels");
    match value {
        Value::Object(_) | Value::Array(_) if levels == 0 => Some(deep()),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let reserved = name.starts_with(RESERVED).then(|| format!("a field must not be called {name:?}"));
            reserved.or_else(|| within(value, levels - 1))
        }),
        Value::Array(items) => items.iter().find_map(|value| within(value, levels - 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_library_would_read_as_something_else_or_not_at_all_is_found() {
        assert_eq!(problem(&json!({"a": [{"$b": {"c": null}}], "d": "$serde_json::private::RawValue"})), None);
        let odd = json!({"spec": [{"$serde_json::private::RawValue": "{"}]});
        assert!(problem(&odd).is_some_and(|why| why.contains("RawValue")));
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert_eq!(problem(&nested(LEVELS)), None);
        assert!(serde_json::from_str::<Value>(&nested(LEVELS).to_string()).is_ok());
        assert!(problem(&nested(LEVELS + 1)).is_some_and(|why| why.contains("deeper")));
    }
}
