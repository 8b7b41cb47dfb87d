//! One document of a manifest: which object it is. Pure.

use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::metadata;
use serde_json::{Value, json};

/// What `kubectl apply` compares with: with it, objects of a manifest can be applied again from the same file.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object to be brought in.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its kind.
    pub kind: KindId,
    /// Its key.
    pub key: ObjectKey,
    /// The object.
    pub body: Value,
}

/// Why a document cannot be brought in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("document {number}: {cause}")]
pub struct DocumentFault {
    /// Position in the file, from 1.
    pub number: usize,
    /// Cause in words.
    pub cause: String,
}

impl Document {
    /// How the record of what was brought in names it: `pods/infra/nats`.
    pub fn identity(&self) -> String {
        format!("{}/{}", self.kind.plural, self.key)
    }
}

/// Finds out what each document is. A document without `kind` is a Pod, as in the boot manifests of the Go controller;
/// lists are taken apart; empty documents are skipped.
pub fn read(kinds: &KindTable, documents: Vec<Value>) -> Result<Vec<Document>, DocumentFault> {
    let mut found = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let fault = |cause: String| DocumentFault { number: index + 1, cause };
        let items = match document.get("items").and_then(Value::as_array) {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.clone(),
            _ => vec![document],
        };
        for item in items.into_iter().filter(|item| !item.is_null()) {
            found.push(one(kinds, item).map_err(fault)?);
        }
    }
    Ok(found)
}

fn one(kinds: &KindTable, mut body: Value) -> Result<Document, String> {
    if !body.is_object() {
        return Err("is not an object".to_owned());
    }
    for (field, usual) in [("kind", "Pod"), ("apiVersion", "v1")] {
        if body.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            body[field] = json!(usual);
        }
    }
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(row) = kinds.by_kind(&api_version, &kind) else {
        return Err(format!("no kind {kind:?} in version {api_version:?}"));
    };
    let name = metadata::name(&body).to_owned();
    if body.pointer(&format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1"))).is_none() && !name.is_empty()
    {
        let text = format!("{body}\n");
        metadata::of_mut(&mut body).entry("annotations").or_insert_with(|| json!({}))[LAST_APPLIED] = json!(text);
    }
    if name.is_empty() {
        return Err(format!("the {kind} has no metadata.name"));
    }
    let namespace = match (row.namespaced, metadata::namespace(&body)) {
        (false, _) => String::new(),
        (true, "") => "default".to_owned(),
        (true, given) => given.to_owned(),
    };
    Ok(Document { kind: row.id(), key: ObjectKey::new(namespace, name), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_without_kind_is_a_pod_of_the_default_namespace() {
        let documents = vec![json!({"metadata": {"name": "dns"}}), Value::Null];
        let found = read(&KindTable::builtin(), documents).expect("read");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].identity(), "pods/default/dns");
        let applied = found[0].body["metadata"]["annotations"][LAST_APPLIED].as_str().expect("annotated");
        assert!(applied.contains("\"name\":\"dns\"") && !applied.contains(LAST_APPLIED), "{applied}");
    }

    #[test]
    fn lists_are_taken_apart_and_unknown_kinds_are_named() {
        let list = json!({"kind": "List", "apiVersion": "v1", "items": [
            {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m", "namespace": "g10"}},
            {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "g10"}},
        ]});
        let found = read(&KindTable::builtin(), vec![list]).expect("read");
        let names: Vec<String> = found.iter().map(Document::identity).collect();
        assert_eq!(names, ["configmaps/g10/m", "namespaces/g10"]);
        let fault =
            read(&KindTable::builtin(), vec![Value::Null, json!({"kind": "Gadget", "metadata": {"name": "x"}})]);
        assert_eq!(fault.expect_err("refused").to_string(), "document 2: no kind \"Gadget\" in version \"v1\"");
    }
}
