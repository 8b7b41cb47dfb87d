//! Takes a text of many documents apart without reading them, so that one that cannot be read spoils no other, and a long text
//! never stands in memory as one tree.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::fault::{ManifestFault, Reason};
use crate::parse::{Limits, read};

/// One document, not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'t> {
    /// Position in the text, counted from 1. Documents with nothing in them count in YAML.
    pub number: usize,
    /// Line it begins in, counted from 1.
    pub line: usize,
    /// As it is written.
    pub text: &'t str,
}

/// How much may still be read of all pieces of a text together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What one piece may hold.
    pub each: Limits,
    /// Values in all of them.
    pub values: usize,
}

impl Piece<'_> {
    /// Reads it; `None` when nothing stands in it.
    ///
    /// # Errors
    /// What cannot be read, with its number and its line in the whole text.
    pub fn read(&self, allowance: &mut Allowance) -> Result<Option<Value>, ManifestFault> {
        let limits = Limits { values: allowance.each.values.min(allowance.values), ..allowance.each };
        let (found, used) = read(self.text, limits);
        allowance.values -= used;
        let placed = |fault: ManifestFault| ManifestFault {
            document: self.number,
            line: Some(fault.line.unwrap_or(1).max(1) - 1 + self.line),
            reason: fault.reason,
        };
        let mut documents = found.map_err(placed)?;
        match documents.len() {
            0 => Ok(None),
            1 => Ok(documents.pop()),
            found => Err(placed(ManifestFault { document: 1, line: None, reason: Reason::NotOne { found } })),
        }
    }
}

/// The documents of a text: of a JSON list, of a JSON `List` object, of JSON documents one after the other, or of a YAML stream.
/// Lists that are written in YAML stay one piece.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = text.trim_start().starts_with(['{', '[']).then(|| json_pieces(text)).flatten();
    json.unwrap_or_else(|| yaml_pieces(text))
}

/// What Kubernetes calls a list: an object with items.
#[derive(Deserialize)]
struct Listing<'t> {
    #[serde(borrow)]
    kind: Option<Cow<'t, str>>,
    #[serde(borrow)]
    items: Option<Vec<&'t RawValue>>,
}

fn json_pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut found: Vec<&str> = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let document = document.ok()?.get();
        if document.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(document).ok()?;
            found.extend(items.into_iter().map(RawValue::get));
            continue;
        }
        match serde_json::from_str::<Listing>(document) {
            Ok(Listing { kind: Some(kind), items: Some(items) }) if kind.ends_with("List") => {
                found.extend(items.into_iter().map(RawValue::get));
            }
            _ => found.push(document),
        }
    }
    let start = text.as_ptr() as usize;
    let (mut line, mut counted) = (1, 0);
    let place = |(index, piece): (usize, &'_ str)| (index, piece.as_ptr() as usize - start);
    let offsets: Vec<(usize, usize)> = found.iter().copied().enumerate().map(place).collect();
    let mut pieces = Vec::with_capacity(found.len());
    for ((index, offset), piece) in offsets.into_iter().zip(found) {
        line += newlines(&text[counted..offset]);
        counted = offset;
        pieces.push(Piece { number: index + 1, line, text: piece });
    }
    Some(pieces)
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// `---` at the beginning of a line begins a document wherever it stands: YAML allows it nowhere else, not in quotes either.
fn yaml_pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut begin, mut begin_line) = (Vec::new(), 0, 1);
    let (mut offset, mut number) = (0, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marks =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marks && offset > 0 {
            take(&mut pieces, &mut number, begin_line, &text[begin..offset]);
            (begin, begin_line) = (offset, index + 1);
        }
        offset += line.len();
    }
    take(&mut pieces, &mut number, begin_line, &text[begin..]);
    pieces
}

/// What stands before the first mark is a document only if there is something in it beside comments and directives.
fn take<'t>(pieces: &mut Vec<Piece<'t>>, number: &mut usize, line: usize, text: &'t str) {
    let says_nothing = |line: &str| line.trim().is_empty() || line.starts_with(['#', '%']);
    if *number == 0 && !text.starts_with("---") && text.lines().all(says_nothing) {
        return;
    }
    *number += 1;
    // Without the mark, JSON is read as JSON, in which more is allowed than in YAML.
    let mark = ["---\n", "---\r\n"].into_iter().find(|mark| text.starts_with(mark));
    let skipped = mark.map_or(0, str::len);
    pieces.push(Piece { number: *number, line: line + usize::from(skipped > 0), text: &text[skipped..] });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::to_yaml_documents;
    use proptest::prelude::*;
    use serde_json::json;

    fn allowance() -> Allowance {
        Allowance { each: Limits::default(), values: 1_000_000 }
    }

    fn read_all(text: &str) -> Vec<Result<Option<Value>, String>> {
        let mut allowance = allowance();
        pieces(text).iter().map(|piece| piece.read(&mut allowance).map_err(|fault| fault.to_string())).collect()
    }

    #[test]
    fn one_document_that_cannot_be_read_spoils_no_other() {
        let found = read_all("a: 1\n---\nb: [\n---\n# nothing\n--- {c: 3}\n---\nd: 1\nd: 2\n");
        assert_eq!(found[0], Ok(Some(json!({"a": 1}))));
        assert!(found[1].as_ref().expect_err("unfinished").starts_with("document 2, line"), "{found:?}");
        assert_eq!(found[2..4], [Ok(None), Ok(Some(json!({"c": 3})))]);
        assert!(found[4].as_ref().expect_err("twice").contains("document 5, line"), "{found:?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn the_line_of_a_fault_is_that_of_the_whole_text() {
        let found = read_all("a: 1\n---\nb:\n  c: 1\n  c: 2\n");
        let said = found[1].as_ref().expect_err("twice");
        assert!(["line 3", "line 4", "line 5"].iter().any(|line| said.contains(line)), "{said}");
        let found = read_all("[{\"a\": 1},\n\n{\"b\": 1, \"b\": 2}]");
        assert_eq!(found[0], Ok(Some(json!({"a": 1}))));
        assert!(found[1].as_ref().expect_err("twice").starts_with("document 2, line 3"), "{found:?}");
    }

    #[test]
    fn json_comes_as_a_list_as_a_list_object_or_one_after_the_other() {
        let both = vec![Ok(Some(json!({"a": 1}))), Ok(Some(json!({"b": 2})))];
        for text in [
            "[{\"a\": 1}, {\"b\": 2}]",
            " {\"kind\": \"List\", \"items\": [{\"a\": 1}, {\"b\": 2}]}",
            "{\"kind\": \"Pod\\u004cist\", \"items\": [{\"a\": 1}, {\"b\": 2}]}",
            "{\"a\": 1}\n{\"b\": 2}",
            "---\n{\n \"a\": 1\n}\n---\n{\"b\": 2}\n",
            "---\r\n{\"a\":\r\n\t1}\r\n---\r\n{\"b\": 2}\r\n",
            "\u{feff}{a: 1}\n---\n{b: 2}\n",
            "%YAML 1.1\n# two\n---\na: 1\n---\nb: 2\n",
        ] {
            assert_eq!(read_all(text), both, "{text}");
        }
        let odd = json!({"a": "\u{7f}"});
        assert_eq!(read_all(&format!("---\n{odd}\n---\n{odd}\n")), vec![Ok(Some(odd.clone())), Ok(Some(odd))]);
        assert_eq!(read_all("{\"kind\": \"Gadget\", \"items\": []}").len(), 1);
        assert_eq!((read_all(""), read_all("[]"), read_all("# nothing\n")), (vec![], vec![], vec![]));
    }

    #[test]
    fn all_pieces_together_are_bounded() {
        let text = "a: [1, 1, 1, 1]\n---\n".repeat(10);
        let mut allowance = Allowance { each: Limits::default(), values: 20 };
        let found: Vec<bool> = pieces(&text).iter().map(|piece| piece.read(&mut allowance).is_ok()).collect();
        assert_eq!(found[..5], [true, true, true, false, false]);
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "(---|\\.\\.\\.|- |#|%|\n| |a|:|\"){0,12}"]
    }

    proptest! {
        #[test]
        fn what_is_printed_comes_apart_as_it_was(texts in proptest::collection::vec(texts(), 1..6)) {
            let documents: Vec<Value> = texts.iter().map(|text| json!({"data": {text: text}})).collect();
            let found: Vec<Value> = read_all(&to_yaml_documents(&documents)).into_iter().map(|one| one.expect("printed").expect("something")).collect();
            prop_assert_eq!(found, documents);
        }

        #[test]
        fn whatever_the_text_nothing_breaks(text in any::<String>()) {
            read_all(&text);
        }
    }
}
