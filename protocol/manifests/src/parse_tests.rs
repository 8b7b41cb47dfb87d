use std::fmt::Write as _;

use serde_json::json;

use super::*;

fn reason(text: &str) -> Reason {
    parse_documents(text).expect_err("refused").reason
}

#[test]
fn documents_of_a_stream_come_in_order_and_empty_ones_are_left_out() {
    let text = "---\na: 1\n---\n---\n# only a comment\n---\nb: [x, 2]\n...\n";
    assert_eq!(parse_documents(text), Ok(vec![json!({"a": 1}), json!({"b": ["x", 2]})]));
    assert_eq!(parse_documents(""), Ok(vec![]));
    assert_eq!(parse_documents("# nothing\n"), Ok(vec![]));
}

#[test]
fn json_is_read_alone_and_as_a_stream() {
    assert_eq!(parse_documents("{\"a\":\t[1]}"), Ok(vec![json!({"a": [1]})]));
    assert_eq!(parse_documents("{\"a\":1}\n{\"b\":2}"), Ok(vec![json!({"a": 1}), json!({"b": 2})]));
    assert_eq!(parse_documents("{a: b}"), Ok(vec![json!({"a": "b"})]));
}

#[test]
fn a_fault_names_document_and_line() {
    let fault = parse_documents("a: 1\n---\nb: 2\nc: [1,\n").expect_err("unfinished");
    assert_eq!(fault.document, 2);
    assert!(fault.line.is_some_and(|line| (4..=5).contains(&line)), "{fault:?}");

    let fault = parse_documents("a: 1\n---\nb:\n  c: 1\n  c: 2\n").expect_err("duplicate");
    assert_eq!(fault.document, 2);
    assert!(fault.line.is_some_and(|line| (3..=5).contains(&line)), "{fault:?}");
    assert!(fault.to_string().contains("\"c\" is written twice"), "{fault}");
}

#[test]
fn a_key_written_twice_is_refused_in_json_too() {
    assert!(matches!(reason("{\"a\": 1, \"a\": 2}"), Reason::Syntax(text) if text.contains("twice")));
}

#[test]
fn a_billion_laughs_are_cut_short() {
    let mut text = String::from("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", [below.as_str(); 9].join(", "));
    }
    assert!(matches!(reason(&text), Reason::TooMany { .. } | Reason::Syntax(_)));
}

#[test]
fn a_long_text_that_is_repeated_by_aliases_is_cut_short() {
    let text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), ["*a"; 50].join(", "));
    assert!(matches!(reason(&text), Reason::TooLong { .. }));
}

#[test]
fn nesting_is_bounded_in_yaml_and_json() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(parse_documents(&deep(64)).is_ok());
    assert_eq!(reason(&deep(65)), Reason::TooDeep { limit: 64 });
    assert_eq!(reason(&format!("a: {}", deep(64))), Reason::TooDeep { limit: 64 });
}

#[test]
fn size_is_bounded() {
    let text = format!("a: {}", "x".repeat(3 * 1024 * 1024));
    assert!(matches!(reason(&text), Reason::TooLarge { .. }));
}

#[test]
fn values_are_bounded() {
    let limits = Limits { values: 3, ..Limits::default() };
    assert!(parse_documents_within("[1, 2]", limits).is_ok());
    let fault = parse_documents_within("[1, 2, 3]", limits).expect_err("four values");
    assert_eq!(fault.reason, Reason::TooMany { limit: 3 });
}

#[test]
fn many_open_brackets_answer_quickly_whatever_they_mean() {
    let text = format!("a: {}", "[".repeat(200_000));
    assert!(parse_documents(&text).is_err());
    let text = format!("a: {}", "{".repeat(200_000));
    assert!(parse_documents(&text).is_err());
}

#[test]
fn tags_and_numbers_without_a_json_form_are_refused() {
    assert!(matches!(reason("a: !secret x"), Reason::Syntax(_)));
    assert!(matches!(reason("a: .nan"), Reason::Syntax(_)));
}

#[test]
fn keys_that_are_not_text_become_text_and_merges_do_not_override() {
    assert_eq!(parse_documents("8080: a\ntrue: b\n"), Ok(vec![json!({"8080": "a", "true": "b"})]));
    let text = "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n";
    assert_eq!(parse_documents(text), Ok(vec![json!({"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}})]));
}

#[test]
fn one_document_is_one_document() {
    assert_eq!(parse_one("a: 1\n"), Ok(json!({"a": 1})));
    assert_eq!(parse_one("\n"), Ok(Value::Null));
    assert_eq!(parse_one("a: 1\n---\nb: 1\n").expect_err("two").reason, Reason::NotOne { found: 2 });
}
