//! What a command is about: `pods`, `pod a b`, `pod/a cm/b`, `pods,cm`, `all`, or the objects of manifests.

use std::path::PathBuf;

use super::api::Api;
use super::discovery::{Discovery, Resource};
use super::files;
use crate::failure::{FAILED, Failure, USAGE};

/// Objects of one kind that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Their kind.
    pub resource: Resource,
    /// Their names; none: all of them.
    pub names: Vec<String>,
    /// Their namespace, where a manifest says one.
    pub namespace: Option<String>,
}

/// From the words of a command line, or from manifests.
pub async fn of(api: &Api, words: &[String], files: &[PathBuf]) -> Result<Vec<Target>, Failure> {
    match (words.is_empty(), files.is_empty()) {
        (true, true) => {
            let failure = Failure::text(USAGE, "nothing is named");
            Err(failure.hint("name a kind (`pods`), an object (`pod/web`), or manifests (`-f FILE`)"))
        }
        (false, false) => Err(Failure::text(USAGE, "names and -f do not go together")),
        (false, true) => of_words(&Discovery::of(api).await?, words),
        (true, false) => {
            let known = Discovery::of(api).await?;
            let mut found = Vec::new();
            for document in files::read(files)? {
                let at = |failure: Failure| failure.at(&document.place);
                let resource = known.of_object(&document.object).map_err(at)?.clone();
                let text = |pointer: &str| document.object.pointer(pointer).and_then(serde_json::Value::as_str);
                let name = text("/metadata/name").filter(|name| !name.is_empty());
                let name = name.ok_or_else(|| at(Failure::text(FAILED, "metadata.name: required")))?;
                let namespace = text("/metadata/namespace").map(str::to_owned);
                found.push(Target { resource, names: vec![name.to_owned()], namespace });
            }
            Ok(found)
        }
    }
}

fn of_words(known: &Discovery, words: &[String]) -> Result<Vec<Target>, Failure> {
    let target =
        |resource: &Resource, names: Vec<String>| Target { resource: resource.clone(), names, namespace: None };
    if words.iter().any(|word| word.contains('/')) {
        let mut found: Vec<Target> = Vec::new();
        for word in words {
            let Some((kind, name)) = word.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
            else {
                let failure = Failure::text(USAGE, format!("{word:?} is not KIND/NAME"));
                return Err(failure.hint("either `pod web page`, or `pod/web cm/page`"));
            };
            let resource = known.named(kind)?;
            match found.last_mut().filter(|last| last.resource == *resource) {
                Some(last) => last.names.push(name.to_owned()),
                None => found.push(target(resource, vec![name.to_owned()])),
            }
        }
        return Ok(found);
    }
    let (kinds, names) = words.split_first().ok_or_else(|| Failure::text(USAGE, "a kind is missing"))?;
    let mut found = Vec::new();
    for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
        let category = known.of_category(kind);
        if category.is_empty() {
            found.push(target(known.named(kind)?, names.to_vec()));
        } else {
            found.extend(category.into_iter().map(|resource| target(resource, names.to_vec())));
        }
    }
    if found.is_empty() { Err(Failure::text(USAGE, format!("{kinds:?} names no kind"))) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::super::discovery::known;
    use super::*;

    fn read(line: &str) -> Result<Vec<(String, Vec<String>)>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found = of_words(&known(), &words).map_err(|failure| failure.to_string())?;
        Ok(found.into_iter().map(|one| (one.resource.plural, one.names)).collect())
    }

    #[test]
    fn a_command_line_is_read_as_kubectl_does() {
        let of = |kind: &str, names: &[&str]| (kind.to_owned(), names.iter().map(|one| (*one).to_owned()).collect());
        assert_eq!(read("po"), Ok(vec![of("pods", &[])]));
        assert_eq!(read("pod a b"), Ok(vec![of("pods", &["a", "b"])]));
        assert_eq!(read("pod/a po/b deploy/c"), Ok(vec![of("pods", &["a", "b"]), of("deployments", &["c"])]));
        assert_eq!(read("po,deploy"), Ok(vec![of("pods", &[]), of("deployments", &[])]));
        assert_eq!(read("all"), Ok(vec![of("pods", &[]), of("deployments", &[])]));
        for (line, words) in
            [("pod/a b", "not KIND/NAME"), ("pod/", "not KIND/NAME"), (",", "no kind"), ("gadgets", "\"gadgets\"")]
        {
            assert!(read(line).expect_err(line).contains(words), "{line}");
        }
    }
}
