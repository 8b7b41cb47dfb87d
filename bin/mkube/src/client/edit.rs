//! `mkube edit`: an object as text in a person's editor, and what was changed in it as a patch.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use super::api::{Api, block_on};
use super::get::JSON;
use super::targets;
use crate::cli::EditArgs;
use crate::failure::{FAILED, Failure, USAGE};
use crate::say::print;

const HEAD: &str =
    "# Change what you like, save, and leave the editor. An empty file, or one without changes, changes nothing.\n";
const USUAL: &str = "vi";

/// `mkube edit`.
pub fn edit(args: &EditArgs) -> Result<(), Failure> {
    let api = Api::new(&args.reach.server)?;
    block_on(async {
        let namespace = api.namespace(args.reach.namespace.as_deref()).to_owned();
        for target in targets::of(&api, &args.what.words, &args.what.filename).await? {
            if target.names.is_empty() {
                return Err(Failure::text(USAGE, format!("which of the {}? name one", target.resource.plural)));
            }
            let namespace = target.namespace.as_ref().unwrap_or(&namespace);
            for name in &target.names {
                let path = target.resource.path(Some(namespace), Some(name));
                one(&api, &path, &format!("{}/{name}", target.resource.singular)).await?;
            }
        }
        Ok(())
    })
}

async fn one(api: &Api, path: &str, name: &str) -> Result<(), Failure> {
    let mut object = api.get_json(path, JSON).await?;
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    let shown = mkube_manifests::to_yaml(&object);
    let mut paper = Paper::new(&shown)?;
    let mut refused_before = None;
    loop {
        paper.open()?;
        let after = paper.read()?;
        if after.is_empty() {
            return print(format_args!("{name} not edited: nothing is left of it\n"));
        }
        // Whoever leaves what was refused as it is has given up.
        let untouched = refused_before.as_ref() == Some(&after);
        let edited = match mkube_manifests::parse_one(&after) {
            Ok(edited) => changed(&object, &edited),
            Err(fault) => Err(fault.to_string()),
        };
        let refused = match edited {
            Ok(None) => return print(format_args!("{name} not edited: nothing is changed\n")),
            _ if untouched => {
                let failure = Failure::text(FAILED, format!("{name} is as it was: what was edited was refused"));
                return Err(failure.hint(format!("your text stands in {}", paper.keep().display())));
            }
            Ok(Some(patch)) => match api.merge_patch(path, &patch).await {
                Ok(_) => return print(format_args!("{name} edited\n")),
                Err(failure) => failure.to_string(),
            },
            Err(why) => why,
        };
        paper.refused(&refused, &after)?;
        refused_before = Some(after);
    }
}

/// What was changed, as a merge patch; the identity of an object is not changed.
fn changed(object: &Value, edited: &Value) -> Result<Option<Value>, String> {
    if !edited.is_object() {
        return Err("this is no object".to_owned());
    }
    for pointer in ["/kind", "/apiVersion", "/metadata/name", "/metadata/namespace", "/metadata/uid"] {
        if object.pointer(pointer) != edited.pointer(pointer) {
            return Err(format!("{} must stay as it is", pointer[1..].replace('/', ".")));
        }
    }
    Ok(difference(object, edited))
}

/// The merge patch that makes one value of another; none where they are the same. Lists are replaced as a whole.
fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return Some(new.clone()) };
    let mut patch: Map<String, Value> =
        before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in after {
        let part = match before.get(key) {
            Some(old) => difference(old, value),
            None => Some(value.clone()),
        };
        patch.extend(part.map(|part| (key.clone(), part)));
    }
    Some(Value::Object(patch))
}

/// The file that is edited; it goes with the value, unless it is kept.
struct Paper {
    path: PathBuf,
    kept: bool,
}

impl Paper {
    fn new(text: &str) -> Result<Self, Failure> {
        let directory = std::env::temp_dir();
        let name = |number: u32| directory.join(format!("mkube-edit-{}-{number}.yaml", std::process::id()));
        // Objects may hold what others are not to read.
        let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut made = (0..100).map(name).map(|path| open(&path).map(|file| (path, file)));
        let (path, mut file) = made
            .find_map(Result::ok)
            .ok_or_else(|| Failure::text(FAILED, format!("no file can be made in {}", directory.display())))?;
        let paper = Self { path, kept: false };
        file.write_all(format!("{HEAD}{text}").as_bytes()).map_err(|error| Failure::new(FAILED, error))?;
        Ok(paper)
    }

    /// What stands there, without the words above it.
    fn read(&self) -> Result<String, Failure> {
        let failed = |error| Failure::new(FAILED, error).at(&self.path.display().to_string());
        let text = std::fs::read_to_string(&self.path).map_err(failed)?;
        Ok(text.lines().skip_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect())
    }

    /// Opens it in the editor, and waits until that is left.
    fn open(&self) -> Result<(), Failure> {
        let named = ["KUBE_EDITOR", "EDITOR"].into_iter().find_map(std::env::var_os);
        let editor = named.filter(|editor| !editor.is_empty()).unwrap_or_else(|| OsString::from(USUAL));
        let mut line = editor.clone();
        line.push(" \"$1\"");
        let ended = Command::new("sh").arg("-c").arg(line).arg("sh").arg(&self.path).status();
        let name = editor.to_string_lossy().into_owned();
        let ended = ended.map_err(|error| Failure::new(FAILED, error).at(&name))?;
        if ended.success() {
            return Ok(());
        }
        let failure = Failure::text(FAILED, format!("the editor {name} ended with {ended}, and nothing is changed"));
        Err(failure.hint("EDITOR names another one"))
    }

    /// Writes down why a text was refused, above it.
    fn refused(&self, why: &str, text: &str) -> Result<(), Failure> {
        let why: String = why.lines().map(|line| format!("# error: {line}\n")).collect();
        std::fs::write(&self.path, format!("{HEAD}{why}{text}")).map_err(|error| Failure::new(FAILED, error))
    }

    fn keep(&mut self) -> &Path {
        self.kept = true;
        &self.path
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        if !self.kept {
            // A file that has gone needs nothing.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mkube_model::patch::merge_patch;
    use serde_json::json;

    #[test]
    fn a_change_is_a_patch_that_makes_it_and_no_change_is_none() {
        let old =
            json!({"kind": "A", "metadata": {"name": "x", "labels": {"a": "1", "b": "2"}}, "list": [1, 2], "n": 1});
        let mut new = old.clone();
        assert_eq!(changed(&old, &new), Ok(None));
        new["metadata"]["labels"] = json!({"b": "3", "c": "4"});
        new["list"] = json!([2]);
        let patch = changed(&old, &new).expect("allowed").expect("a change");
        assert_eq!(patch, json!({"metadata": {"labels": {"a": null, "b": "3", "c": "4"}}, "list": [2]}));
        assert_eq!(merge_patch(&old, &patch), Ok(new.clone()));
        new["metadata"]["name"] = json!("y");
        assert_eq!(changed(&old, &new), Err("metadata.name must stay as it is".to_owned()));
        assert!(changed(&old, &json!("text")).is_err());
    }
}
