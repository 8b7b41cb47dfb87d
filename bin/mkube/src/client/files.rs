//! `-f FILE|-|DIR`: the documents of manifests.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{FAILED, Failure};

/// An object of a manifest, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The file, and which document of it.
    pub place: String,
    /// The object.
    pub object: Value,
}

/// Every object of these files and directories; lists are taken apart.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Document>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            let inside = manifests_in(path)?;
            if inside.is_empty() {
                let failure = Failure::text(FAILED, format!("{}: there is no manifest in it", path.display()));
                return Err(failure.hint("manifests are files that end in .yaml, .yml or .json"));
            }
            for one in inside {
                of_file(&one, &mut found)?;
            }
        } else {
            of_file(path, &mut found)?;
        }
    }
    Ok(found)
}

fn manifests_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let bad = |error: std::io::Error| Failure::text(FAILED, format!("{}: {error}", directory.display()));
    let entries = std::fs::read_dir(directory).map_err(bad)?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(bad)?.path();
        let ends = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if ["yaml", "yml", "json"].contains(&ends) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn of_file(path: &Path, found: &mut Vec<Document>) -> Result<(), Failure> {
    let bad = |cause: String| Failure::text(FAILED, format!("{}: {cause}", path.display()));
    let text = if path.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            eprintln!("reading documents from the terminal until end of file (Ctrl-D)");
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| bad(error.to_string()))?;
    let documents = mkube_manifests::parse_documents(&text).map_err(|fault| bad(fault.to_string()))?;
    for (index, object) in documents.into_iter().enumerate() {
        let place = format!("{}, document {}", path.display(), index + 1);
        match object {
            Value::Null => {}
            Value::Object(mut fields) if is_list(&fields) => {
                let items = fields.remove("items").and_then(|items| items.as_array().cloned()).unwrap_or_default();
                found.extend(items.into_iter().map(|object| Document { place: place.clone(), object }));
            }
            object => found.push(Document { place, object }),
        }
    }
    Ok(())
}

fn is_list(fields: &serde_json::Map<String, Value>) -> bool {
    fields.get("items").is_some_and(Value::is_array)
        && fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_in_order_and_lists_are_taken_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
        write("b.yaml", "kind: B\n---\n---\nkind: C\n");
        write("a.json", r#"{"kind": "List", "items": [{"kind": "A"}, {"kind": "AA"}]}"#);
        write("notes.txt", "not a manifest: [");
        let found = read(&[directory.path().to_owned()]).expect("read");
        let kinds: Vec<&str> = found.iter().filter_map(|one| one.object["kind"].as_str()).collect();
        assert_eq!(kinds, ["A", "AA", "B", "C"]);
        assert!(found[3].place.ends_with("b.yaml, document 2"), "{}", found[3].place);
    }
}
