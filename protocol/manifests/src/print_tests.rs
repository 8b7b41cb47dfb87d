use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::parse_documents;

#[test]
fn what_is_printed_reads_back_the_same() {
    let tricky = json!({
        "words": ["yes", "no", "on", "off", "y", "n", "null", "~", "true", "", " ", "0777", "0o17", "1e3", "1_000", "0x1f",
                  "12:30:45", "2024-01-01", ".inf", "-", "- a", "a: b", "#x", "a #b", "{}", "[]", "*a", "&a", "!t", "%x",
                  "@x", "`x", "<<", "a:", "---", "...", "192.168.200.1", "1.2.3", "a\u{7f}b", "\u{85}", "\u{feff}x"],
        "text": "line one\n  line two\n\nlast without newline",
        "tail": "ends with newline\n",
        "tails": "ends with two\n\n",
        "only": "\n",
        "crlf": "a\r\nb",
        "trailing": "a \nb",
        "numbers": [0, -1, 18446744073709551615u64, 1.5],
        "nested": {"empty": {}, "list": [], "null": null, "lists": [[1, [2]], [{"a": 1, "b": [{"c": "d\ne"}]}]]},
        "": "no key",
        "8080": "number key",
    });
    let text = to_yaml(&tricky);
    assert_eq!(parse_documents(&text), Ok(vec![tricky]), "{text}");
}

#[test]
fn words_that_older_readers_take_for_something_else_are_quoted() {
    for word in ["yes", "no", "on", "off", "y", "n", "Yes", "ON", "0777", "1e3", "12:30", "1_000", "2024-01-01", "+1"] {
        let text = to_yaml(&json!({ "v": word }));
        assert_eq!(text, format!("v: \"{word}\"\n"));
    }
}

#[test]
fn the_layout_is_the_one_kubernetes_tools_print() {
    let pod = json!({"kind": "Pod", "spec": {"containers": [{"args": ["-c", "a"], "name": "web"}], "volumes": []}});
    assert_eq!(
        to_yaml(&pod),
        "kind: Pod\nspec:\n  containers:\n  - args:\n    - \"-c\"\n    - a\n    name: web\n  volumes: []\n"
    );
}

#[test]
fn several_documents_read_back_as_several() {
    let documents = vec![json!({"a": 1}), json!([1, 2]), json!("text\nblock")];
    assert_eq!(parse_documents(&to_yaml_documents(&documents)), Ok(documents));
}

proptest! {
    #[test]
    fn any_text_survives_as_key_and_value(key in any::<String>(), value in any::<String>(), lines in "[ a\t\n#:-]{0,20}") {
        prop_assume!(key != "<<");
        let document = json!({key: [value, {"lines": lines.clone()}, lines]});
        let text = to_yaml(&document);
        prop_assert_eq!(parse_documents(&text), Ok(vec![document]), "{}", text);
    }
}
