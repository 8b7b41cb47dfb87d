//! `/file`: the device's disk, as far as small files go.

use std::path::{Path, PathBuf};

use mkube_router_machine::{Answer, Refusal, Request, Verb};
use serde_json::{Map, Value, json};

use crate::world::World;

/// Bytes of a file's contents that go through JSON.
const CONTENTS: usize = 61_440;
/// Files in one listing.
const LISTED: usize = 10_000;

pub fn answer(data_dir: &Path, request: &Request) -> Answer {
    route(data_dir, request).unwrap_or_else(|refusal| refusal.to_answer())
}

fn route(data_dir: &Path, request: &Request) -> Result<Answer, Refusal> {
    let words: Vec<&str> = request.segments.iter().skip(1).map(String::as_str).collect();
    let text = |name: &str| request.body.get(name).and_then(Value::as_str).map(str::to_owned);
    match (request.verb, words.as_slice()) {
        (Verb::Get, []) => {
            Ok(Answer::ok(Value::Array(list(data_dir, &request.query).into_iter().map(Value::Object).collect())))
        }
        (Verb::Put, []) => add(data_dir, &request.body).map(Answer::created),
        (Verb::Post, ["add"]) => add(data_dir, &request.body).map(|row| Answer::ok(json!({"ret": row[".id"]}))),
        (Verb::Post, ["read"]) => {
            let path = named(data_dir, text("file"))?;
            let number = |name: &str, default: usize| text(name).and_then(|text| text.parse().ok()).unwrap_or(default);
            let bytes = std::fs::read(path).map_err(|_| Refusal::not_found())?;
            let chunk: Vec<u8> =
                bytes.into_iter().skip(number("offset", 0)).take(number("chunk-size", 32_768).min(32_768)).collect();
            Ok(Answer::ok(json!([{"data": String::from_utf8_lossy(&chunk)}])))
        }
        (Verb::Post, ["set"]) => {
            let path = named(data_dir, text("numbers").or_else(|| text(".id")))?;
            if !path.exists() {
                return Err(Refusal::not_found());
            }
            let failed = |error: std::io::Error| Refusal::failure(error);
            if let Some(contents) = text("contents") {
                check_size(&contents)?;
                std::fs::write(&path, contents).map_err(failed)?;
            }
            if let Some(name) = text("name") {
                std::fs::rename(&path, World::local(data_dir, &relative(&name))).map_err(failed)?;
            }
            Ok(Answer::done())
        }
        (Verb::Post, ["remove"]) => {
            remove(&named(data_dir, text("numbers").or_else(|| text(".id")))?)?;
            Ok(Answer::done())
        }
        (Verb::Delete, path) if !path.is_empty() => {
            remove(&named(data_dir, Some(path.join("/")))?)?;
            Ok(Answer::nothing())
        }
        _ => Err(Refusal::bad("no such command")),
    }
}

/// A name in `/file` has no leading slash and lies on a disk.
fn relative(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

fn named(data_dir: &Path, name: Option<String>) -> Result<PathBuf, Refusal> {
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| Refusal::bad("missing =numbers="))?;
    Ok(World::local(data_dir, &relative(&name)))
}

fn remove(path: &Path) -> Result<(), Refusal> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Refusal::not_found(),
        _ => Refusal::failure(error),
    })
}

fn check_size(contents: &str) -> Result<(), Refusal> {
    if contents.len() > CONTENTS { Err(Refusal::failure("contents too long")) } else { Ok(()) }
}

fn add(data_dir: &Path, body: &Value) -> Result<Value, Refusal> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("name").is_empty() {
        return Err(Refusal::bad("missing =name="));
    }
    let path = World::local(data_dir, &relative(text("name")));
    if path.exists() {
        return Err(Refusal::failure("file already exists"));
    }
    check_size(text("contents"))?;
    let failed = |error: std::io::Error| Refusal::failure(error);
    if text("type") == "directory" {
        std::fs::create_dir_all(&path).map_err(failed)?;
    } else {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, text("contents")).map_err(failed)?;
    }
    Ok(row(data_dir, &path).map(Value::Object).unwrap_or_default())
}

fn row(data_dir: &Path, path: &Path) -> Option<Map<String, Value>> {
    let name = path.strip_prefix(data_dir).ok()?.to_string_lossy().into_owned();
    let meta = std::fs::symlink_metadata(path).ok()?;
    let kind = if meta.is_dir() {
        "directory".to_owned()
    } else {
        path.extension().map_or("file".to_owned(), |extension| format!(".{} file", extension.to_string_lossy()))
    };
    let id = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut row = Map::new();
    row.insert(".id".into(), json!(format!("*{id:X}")));
    row.insert("name".into(), json!(name));
    row.insert("type".into(), json!(kind));
    if meta.is_file() {
        row.insert("size".into(), json!(meta.len().to_string()));
        if meta.len() <= CONTENTS as u64
            && let Ok(contents) = std::fs::read_to_string(path)
        {
            row.insert("contents".into(), json!(contents));
        }
    }
    Some(row)
}

fn list(data_dir: &Path, query: &[(String, String)]) -> Vec<Map<String, Value>> {
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let mut rows = Vec::new();
    if let Some(name) = value("name") {
        rows.extend(row(data_dir, &World::local(data_dir, &relative(name))));
    } else {
        let mut todo = vec![data_dir.join("disk1")];
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                if rows.len() >= LISTED {
                    break;
                }
                let path = entry.path();
                rows.extend(row(data_dir, &path));
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    todo.push(path);
                }
            }
        }
    }
    if let Some(wanted) = value(".proplist") {
        let wanted: Vec<&str> = wanted.split(',').collect();
        for row in &mut rows {
            row.retain(|name, _| name == ".id" || wanted.contains(&name.as_str()));
        }
    }
    rows
}
