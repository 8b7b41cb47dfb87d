//! `/file`: the device's disks, as far as small files go.
//!
//! A name without a disk lies on the device's internal storage. Nothing of the machine itself is reached from here.

use std::path::{Component, Path, PathBuf};

use mkube_router_machine::{Answer, Refusal, Request, Verb, print_or_count, select, to_array};
use serde_json::{Map, Value, json};

use crate::disks::Disks;

/// Bytes of a file's contents that go through JSON.
const CONTENTS: usize = 61_440;
/// Bytes `read` gives at once.
const CHUNK: usize = 32_768;
/// Files in one listing.
const LISTED: usize = 10_000;

/// Answers a request; blocks on the disk.
pub fn answer(disks: &Disks, request: &Request) -> Answer {
    Files { disks }.route(request).unwrap_or_else(|refusal| refusal.to_answer())
}

struct Files<'a> {
    disks: &'a Disks,
}

/// What went wrong on the disk, as a router words it.
pub fn failed(error: std::io::Error) -> Refusal {
    match error.kind() {
        std::io::ErrorKind::NotFound => Refusal::not_found(),
        std::io::ErrorKind::StorageFull => Refusal::failure("no space left on disk"),
        _ => Refusal::failure(error),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn known(body: &Value, names: &[&str]) -> Result<(), Refusal> {
    let fields = body.as_object().ok_or_else(|| Refusal::bad("expected a JSON object"))?;
    match fields.keys().find(|name| !names.contains(&name.as_str())) {
        Some(odd) => Err(Refusal::bad(format!("unknown parameter {odd}"))),
        None => Ok(()),
    }
}

fn check_size(contents: &str) -> Result<(), Refusal> {
    if contents.len() > CONTENTS { Err(Refusal::failure("contents too long")) } else { Ok(()) }
}

/// A name in `/file` has no leading slash, and no way out of the device: neither by dots nor by links.
pub fn place(disks: &Disks, name: &str) -> Result<PathBuf, Refusal> {
    let path = disks.local(name.trim_start_matches('/'));
    let mut above = path.parent();
    while let Some(directory) = above {
        if let Ok(real) = directory.canonicalize() {
            return if real.starts_with(disks.data_dir()) { Ok(path) } else { Err(Refusal::not_found()) };
        }
        above = directory.parent();
    }
    Err(Refusal::not_found())
}

impl Files<'_> {
    fn route(&self, request: &Request) -> Result<Answer, Refusal> {
        let words: Vec<&str> = request.segments.iter().skip(1).map(String::as_str).collect();
        let body = &request.body;
        let field = |name: &str| body.get(name).map(text).filter(|value| !value.is_empty());
        let target = || {
            let named = [".id", "numbers", "number"].into_iter().find_map(field);
            self.find(&named.ok_or_else(|| Refusal::bad("missing =.id="))?)
        };
        match (request.verb, words.as_slice()) {
            (Verb::Get, []) => Ok(Answer::ok(to_array(select(self.list(&request.query), &request.query)))),
            (Verb::Get, ["print"]) | (Verb::Post, []) => Err(Refusal::bad("no such command")),
            (Verb::Get, path) => {
                let row = self.row(&self.find(&path.join("/"))?, true).ok_or_else(Refusal::not_found)?;
                Ok(Answer::ok(Value::Object(row)))
            }
            (Verb::Put, []) => self.add(body).map(|row| Answer::created(Value::Object(row))),
            (Verb::Post, ["add"]) => self.add(body).map(|row| Answer::ok(json!({"ret": row[".id"]}))),
            (Verb::Post, ["print"]) => print_or_count(self.list(&[]), body),
            (Verb::Post, ["read"]) => {
                known(body, &["file", "chunk-size", "offset"])?;
                let number = |name: &'static str, default: usize| match field(name) {
                    None => Ok(default),
                    Some(text) => {
                        text.parse::<usize>().map_err(|_| Refusal::bad(format!("invalid value for argument {name}")))
                    }
                };
                let path = self.find(&field("file").ok_or_else(|| Refusal::bad("missing =file="))?)?;
                let (chunk, offset) = (number("chunk-size", CHUNK)?, number("offset", 0)?);
                if !(1..=CHUNK).contains(&chunk) {
                    return Err(Refusal::bad(format!("value of chunk-size is out of range (1 .. {CHUNK})")));
                }
                Ok(Answer::ok(json!([{"data": read(&path, offset as u64, chunk as u64).map_err(failed)?}])))
            }
            (Verb::Post, ["get"]) => {
                known(body, &["number", "value-name", "as-string", "as-string-value"])?;
                let row = self.row(&target()?, true).ok_or_else(Refusal::not_found)?;
                let name = field("value-name").ok_or_else(|| Refusal::bad("missing =value-name="))?;
                let no_match = || Refusal::bad("input does not match any value of value-name");
                Ok(Answer::ok(json!({"ret": row.get(&name).ok_or_else(no_match)?})))
            }
            (Verb::Post, ["set"]) => {
                known(body, &[".id", "numbers", "number", "name", "contents"])?;
                self.set(&target()?, body)?;
                Ok(Answer::done())
            }
            (Verb::Patch, path) if !path.is_empty() => {
                known(body, &["name", "contents"])?;
                let path = self.set(&self.find(&path.join("/"))?, body)?;
                Ok(Answer::ok(Value::Object(self.row(&path, true).unwrap_or_default())))
            }
            (Verb::Post, ["remove"]) => {
                known(body, &[".id", "numbers", "number"])?;
                remove(&target()?)?;
                Ok(Answer::done())
            }
            (Verb::Delete, path) if !path.is_empty() => {
                remove(&self.find(&path.join("/"))?)?;
                Ok(Answer::nothing())
            }
            (Verb::Patch | Verb::Delete, _) => Err(Refusal::bad("missing or invalid resource identifier")),
            _ => Err(Refusal::bad("no such command")),
        }
    }

    fn place(&self, name: &str) -> Result<PathBuf, Refusal> {
        place(self.disks, name)
    }

    /// By number or by name; what it is must exist.
    fn find(&self, target: &str) -> Result<PathBuf, Refusal> {
        let path = if target.starts_with('*') {
            let same =
                |path: &PathBuf| self.disks.name_of(path).is_some_and(|name| id(&name).eq_ignore_ascii_case(target));
            self.walk().into_iter().find(same).ok_or_else(Refusal::not_found)?
        } else {
            self.place(target)?
        };
        if path.symlink_metadata().is_ok() { Ok(path) } else { Err(Refusal::not_found()) }
    }

    fn add(&self, body: &Value) -> Result<Map<String, Value>, Refusal> {
        known(body, &["name", "type", "contents"])?;
        let field = |name: &str| body.get(name).map(text).unwrap_or_default();
        let name = field("name");
        if name.trim_matches('/').is_empty() {
            return Err(Refusal::bad("missing =name="));
        }
        if Path::new(&name).components().any(|part| part == Component::ParentDir) {
            return Err(Refusal::bad("invalid value for argument name"));
        }
        let path = self.place(&name)?;
        if path.symlink_metadata().is_ok() {
            return Err(Refusal::failure("file already exists"));
        }
        let contents = field("contents");
        check_size(&contents)?;
        match field("type").as_str() {
            "directory" => std::fs::create_dir_all(&path).map_err(failed)?,
            "" | "file" => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent).map_err(failed)?;
                }
                std::fs::write(&path, contents).map_err(failed)?;
            }
            _ => return Err(Refusal::bad("input does not match any value of type")),
        }
        self.row(&path, true).ok_or_else(Refusal::not_found)
    }

    /// Writes contents, then the name; where the file is now.
    fn set(&self, path: &Path, body: &Value) -> Result<PathBuf, Refusal> {
        if let Some(contents) = body.get("contents").map(text) {
            check_size(&contents)?;
            std::fs::write(path, contents).map_err(failed)?;
        }
        let Some(name) = body.get("name").map(text).filter(|name| !name.is_empty()) else {
            return Ok(path.to_owned());
        };
        let to = self.place(&name)?;
        if to.symlink_metadata().is_ok() {
            return Err(Refusal::failure("file already exists"));
        }
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::rename(path, &to).map_err(failed)?;
        Ok(to)
    }

    fn row(&self, path: &Path, with_contents: bool) -> Option<Map<String, Value>> {
        let name = self.disks.name_of(path)?;
        let meta = std::fs::symlink_metadata(path).ok()?;
        let kind = if self.disks.names().contains(&name) {
            "disk".to_owned()
        } else if meta.is_dir() {
            "directory".to_owned()
        } else {
            path.extension().map_or("file".to_owned(), |extension| format!(".{} file", extension.to_string_lossy()))
        };
        let mut row = Map::new();
        row.insert(".id".into(), json!(id(&name)));
        if let Ok(stamp) = meta.modified().map_err(drop).and_then(|time| jiff::Timestamp::try_from(time).map_err(drop))
        {
            row.insert("last-modified".into(), json!(stamp.strftime("%Y-%m-%d %H:%M:%S").to_string()));
        }
        row.insert("name".into(), json!(name));
        row.insert("type".into(), json!(kind));
        if meta.is_file() {
            row.insert("size".into(), json!(meta.len().to_string()));
            if with_contents
                && meta.len() <= CONTENTS as u64
                && let Ok(contents) = std::fs::read_to_string(path)
            {
                row.insert("contents".into(), json!(contents));
            }
        }
        Some(row)
    }

    /// Every file and directory, links not followed.
    fn walk(&self) -> Vec<PathBuf> {
        let mut todo: Vec<PathBuf> = self.disks.roots().collect();
        let mut found: Vec<PathBuf> = todo.iter().filter(|root| self.disks.name_of(root).is_some()).cloned().collect();
        while let Some(directory) = todo.pop() {
            for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
                if found.len() >= LISTED {
                    return found;
                }
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    todo.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found
    }

    fn list(&self, query: &[(String, String)]) -> Vec<Map<String, Value>> {
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let with_contents = value(".proplist").is_none_or(|list| list.split(',').any(|name| name == "contents"));
        let paths = match value("name") {
            Some(name) => self.place(name).into_iter().collect(),
            None => self.walk(),
        };
        paths.iter().filter_map(|path| self.row(path, with_contents)).collect()
    }
}

/// Like a number of the device: from the name, the same as long as the name is.
fn id(name: &str) -> String {
    let hash = name.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("*{hash:X}")
}

fn read(path: &Path, offset: u64, chunk: u64) -> std::io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(chunk).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn remove(path: &Path) -> Result<(), Refusal> {
    let is_directory = path.symlink_metadata().map_err(failed)?.is_dir();
    if is_directory { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(disks: &Disks, verb: Verb, path: &str, body: Value) -> Answer {
        let segments = path.split('/').map(str::to_owned).collect();
        answer(disks, &Request { verb, segments, query: vec![], body })
    }

    #[test]
    fn neither_dots_nor_links_nor_the_hosts_own_state_lead_out_of_the_device() {
        let directory = tempfile::tempdir().expect("a directory");
        let disks = Disks::open(directory.path()).expect("disks");
        let data_dir = disks.data_dir();
        std::fs::create_dir_all(data_dir.join("disk1/c1")).expect("made");
        std::fs::write(data_dir.join("device.json"), "secret").expect("written");
        std::os::unix::fs::symlink("/etc", data_dir.join("disk1/c1/link")).expect("linked");
        for name in ["device.json", "/etc/passwd", "disk1/../device.json", "disk1/c1/link/passwd"] {
            let read = ask(&disks, Verb::Post, "file/read", json!({"file": name}));
            assert_eq!(read.status, 404, "{name}: {read:?}");
            let removed = ask(&disks, Verb::Post, "file/remove", json!({"numbers": name}));
            assert_eq!(removed.status, 404, "{name}: {removed:?}");
        }
        let made = ask(&disks, Verb::Put, "file", json!({"name": "disk1/c1/link/new", "contents": "x"}));
        assert_eq!(made.status, 404);
        assert_eq!(ask(&disks, Verb::Delete, "file/disk1/c1", Value::Null).status, 204);
        assert!(Path::new("/etc/passwd").exists() && data_dir.join("device.json").exists());
    }
}
