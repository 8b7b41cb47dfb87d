//! Values to text.

use serde_json::Value;

/// One value as YAML, ending in a newline.
pub fn to_yaml(value: &Value) -> String {
    serde_yaml::to_string(value).expect("a JSON value has string keys and finite numbers")
}

/// Several values as one YAML stream, `---` between them.
pub fn to_yaml_documents<'v>(values: impl IntoIterator<Item = &'v Value>) -> String {
    values
        .into_iter()
        .map(to_yaml)
        .collect::<Vec<_>>()
        .join("---\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::parse_documents;

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let tricky = json!({
            "words": ["yes", "no", "on", "off", "y", "n", "null", "~", "true", "", " ", "0777", "0o17", "1e3", "1_000", "0x1f",
                      "12:30:45", "2024-01-01", ".inf", "-", "- a", "a: b", "#x", "{}", "[]", "*a", "&a", "!t", "%x", "@x", "`x", "<<"],
            "text": "line one\n  line two\n\nlast without newline",
            "tail": "ends with newline\n",
            "crlf": "a\r\nb",
            "numbers": [0, -1, 18446744073709551615u64, 1.5],
            "nested": {"empty": {}, "list": [], "null": null},
        });
        let text = to_yaml(&tricky);
        assert_eq!(parse_documents(&text), Ok(vec![tricky]), "{text}");
    }

    #[test]
    fn words_that_older_readers_take_for_booleans_are_quoted() {
        for word in [
            "yes", "no", "on", "off", "y", "n", "Yes", "ON", "0777", "1e3", "12:30", "1_000",
        ] {
            let text = to_yaml(&json!({ "v": word }));
            assert!(text.contains(['\'', '"']), "{word} is printed bare: {text}");
        }
    }

    #[test]
    fn several_documents_read_back_as_several() {
        let documents = vec![json!({"a": 1}), json!([1, 2])];
        assert_eq!(
            parse_documents(&to_yaml_documents(&documents)),
            Ok(documents)
        );
    }
}
