//! One document of a manifest: which object it is. Pure.

use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::{KindId, KindTable};
use mkube_model::marks::BOOT_RECORD;
use mkube_model::metadata;
use serde_json::{Value, json};

/// What `kubectl apply` compares with: with it, objects of a manifest can be applied again from the same file.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Annotation of objects that came with the boot manifest. It tells where they are from, and binds nobody.
const MANAGED_BY: &str = "vkube.io/managed-by";

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

    /// The same, for a store that is away: with the record it is noted in.
    pub fn owned_by_record(&self, record: &str) -> Value {
        let mut body = self.owned();
        body["metadata"]["annotations"][BOOT_RECORD] = json!(record);
        body
    }

    /// The object with the mark of those that came with the boot manifest. It is no part of what `kubectl apply` compares with:
    /// applying the same file again leaves the mark where it is.
    pub fn owned(&self) -> Value {
        let mut body = self.body.clone();
        metadata::of_mut(&mut body).entry("annotations").or_insert_with(|| json!({}))[MANAGED_BY] =
            json!("boot-manifest");
        body
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
    let Some(row) = kinds.by_written_kind(&api_version, &kind) else {
        return Err(format!("no kind {kind:?} in version {api_version:?}"));
    };
    body["apiVersion"] = json!(row.api_version());
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
    fn every_kind_of_the_table_may_stand_in_it_and_is_marked_as_brought_in() {
        let kinds = KindTable::builtin();
        let documents: Vec<Value> = kinds
            .iter()
            .filter(|kind| !kind.read_only)
            .map(|kind| json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": {"name": "x"}}))
            .collect();
        let found = read(&kinds, documents.clone()).expect("read");
        assert_eq!(found.len(), documents.len());
        for name in ["deployments/default/x", "secrets/default/x", "pods/default/x"] {
            assert!(found.iter().any(|document| document.identity() == name), "{name}");
        }
        for document in &found {
            let owned = document.owned();
            let annotations = &owned["metadata"]["annotations"];
            assert_eq!(annotations[MANAGED_BY], "boot-manifest");
            assert!(!annotations[LAST_APPLIED].as_str().expect("annotated").contains(MANAGED_BY));
        }
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
