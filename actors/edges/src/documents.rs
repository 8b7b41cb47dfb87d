//! Which objects the documents of a text are: read once to know, and again when their turn comes. Between the two only the text is
//! kept, so that a long one does not stand in memory as trees.

use std::collections::BTreeMap;

use mkube_manifests::{Allowance, Limits, Piece, pieces};
use mkube_messages::objects::ObjectKey;
use mkube_model::kinds::{Kind, KindTable};
use mkube_model::metadata;
use mkube_model::portable;
use mkube_model::status::Status;
use serde_json::{Value, json};

use crate::request_body;

/// What one document may hold: as much as any other body.
const EACH: Limits = Limits { bytes: request_body::LIMIT, depth: 64, values: 250_000 };
/// Values in all documents of a text.
const VALUES: usize = 4_000_000;
/// Documents of a text.
const DOCUMENTS: usize = 50_000;

/// One object to be written, or why it cannot be.
#[derive(Debug)]
pub struct Document<'t> {
    /// Position in the text, from 1.
    pub number: usize,
    /// Position in the list that the document is, from 1.
    pub item: Option<usize>,
    /// What its writer calls its kind.
    pub kind_name: String,
    /// What it is, and where its text stands.
    pub object: Result<(Kind, ObjectKey, Source<'t>), Status>,
}

/// Where the text of an object stands.
#[derive(Debug)]
pub enum Source<'t> {
    /// In the text of all.
    Piece(Piece<'t>),
    /// One of a list that was taken apart.
    Item(String),
}

impl Source<'_> {
    /// Reads it once more.
    pub fn read(&self, kinds: &KindTable) -> Result<Value, Status> {
        let mut body = match self {
            Self::Piece(piece) => {
                let read = piece.read(&mut Allowance { each: EACH, values: EACH.values });
                read.map_err(|fault| Status::bad_request(fault.to_string()))?.unwrap_or_default()
            }
            Self::Item(text) => serde_json::from_str(text).map_err(Status::internal)?,
        };
        identify(kinds, &mut body)?;
        Ok(body)
    }
}

/// Finds out what stands in a text. Gives way to others between two documents.
pub async fn documents<'t>(kinds: &KindTable, text: &'t str) -> Result<Vec<Document<'t>>, Status> {
    let pieces = pieces(text);
    let mut allowance = Allowance { each: EACH, values: VALUES };
    let mut found: Vec<Document<'t>> = Vec::with_capacity(pieces.len().min(DOCUMENTS));
    for piece in pieces {
        if found.len() > DOCUMENTS || allowance.values == 0 {
            let why = format!("more than {DOCUMENTS} documents or {VALUES} values at once; send them in parts");
            return Err(Status::new(413, "RequestEntityTooLarge", why));
        }
        one(kinds, piece, &mut allowance, &mut found);
        tokio::task::yield_now().await;
    }
    refuse_repeated(&mut found);
    Ok(found)
}

fn one<'t>(kinds: &KindTable, piece: Piece<'t>, allowance: &mut Allowance, found: &mut Vec<Document<'t>>) {
    let number = piece.number;
    let mut add = |item: Option<usize>, kind_name: String, object| {
        found.push(Document { number, item, kind_name, object });
    };
    let body = match piece.read(allowance) {
        Ok(None) => return,
        Ok(Some(body)) => body,
        Err(fault) => return add(None, String::new(), Err(Status::bad_request(fault.to_string()))),
    };
    let kind_of = |body: &Value| body["kind"].as_str().unwrap_or_default().to_owned();
    match body {
        Value::Object(mut fields)
            if fields.get("items").is_some_and(Value::is_array)
                && fields["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) =>
        {
            let items = fields.remove("items").and_then(|items| items.as_array().cloned()).unwrap_or_default();
            for (index, mut item) in items.into_iter().enumerate() {
                let named = kind_of(&item);
                let object = identify(kinds, &mut item).map(|(kind, key)| (kind, key, Source::Item(item.to_string())));
                add(Some(index + 1), named, object);
            }
        }
        mut body => {
            let named = kind_of(&body);
            let object = identify(kinds, &mut body).map(|(kind, key)| (kind, key, Source::Piece(piece)));
            add(None, named, object);
        }
    }
}

/// What an object is. One without a kind is a Pod, and one without a namespace is in `default`, as in manifests of the Go
/// controller.
fn identify(kinds: &KindTable, body: &mut Value) -> Result<(Kind, ObjectKey), Status> {
    if !body.is_object() {
        return Err(Status::bad_request("it is not an object"));
    }
    for (field, usual) in [("kind", "Pod"), ("apiVersion", "v1")] {
        if body.get(field).is_none_or(|value| value.is_null() || value == "") {
            body[field] = json!(usual);
        }
        if !body[field].is_string() {
            return Err(Status::bad_request(format!("{field}: must be a text")));
        }
    }
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let row = kinds.by_written_kind(&api_version, &kind).copied();
    let row =
        row.ok_or_else(|| Status::bad_request(format!("there is no kind {kind:?} in version {api_version:?}")))?;
    body["apiVersion"] = json!(row.api_version());
    if !body["metadata"].is_object() {
        return Err(Status::bad_request("metadata: must be an object with a name"));
    }
    for field in ["name", "namespace"] {
        if body["metadata"].get(field).is_some_and(|value| !value.is_null() && !value.is_string()) {
            return Err(Status::bad_request(format!("metadata.{field}: must be a text")));
        }
    }
    let name = metadata::name(body).to_owned();
    if name.is_empty() {
        return Err(Status::bad_request("metadata.name: required"));
    }
    let namespace = match (row.namespaced, metadata::namespace(body)) {
        (false, _) => String::new(),
        (true, "") => "default".to_owned(),
        (true, given) => given.to_owned(),
    };
    Ok((row, ObjectKey::new(namespace, name)))
}

/// Two documents of one object contradict one another: the first one counts.
fn refuse_repeated(documents: &mut [Document]) {
    let mut first = BTreeMap::new();
    for document in documents {
        let Ok((kind, key, _)) = &document.object else { continue };
        let number = document.number;
        let before = *first.entry((kind.id(), key.clone())).or_insert((number, document.item));
        if before != (number, document.item) {
            let why = format!("document {} is about the same object", before.0);
            document.object = Err(Status::bad_request(why));
        }
    }
}

/// Positions of the documents that can be written, by rank: those of a rank need nothing of one another.
pub fn in_order(documents: &[Document]) -> Vec<Vec<usize>> {
    let mut ranks: BTreeMap<(usize, &str), Vec<usize>> = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        if let Ok((kind, ..)) = &document.object {
            ranks.entry(portable::rank(kind)).or_default().push(index);
        }
    }
    ranks.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn each_document_is_known_or_refused_by_itself_and_namespaces_come_first() {
        let text = "metadata: {name: a}\n---\nkind: ConfigMap\nmetadata: {name: m, namespace: n}\n---\nkind: Gadget\n\
                    metadata: {name: g}\n---\nkind: Namespace\nmetadata: {name: n}\n---\n[]\n---\nkind: Pod\n---\n\
                    apiVersion: v1\nkind: List\nitems: [{kind: Pod, metadata: {name: b}}, 5, {metadata: {name: a}}]\n";
        let kinds = KindTable::builtin();
        let found = documents(&kinds, text).await.expect("taken apart");
        let told: Vec<String> = found
            .iter()
            .map(|one| match &one.object {
                Ok((kind, key, _)) => format!("{} {} {key}", one.number, kind.kind),
                Err(status) => format!("{} {:?}: {}", one.number, one.item, status.message),
            })
            .collect();
        assert_eq!(
            told,
            [
                "1 Pod default/a",
                "2 ConfigMap n/m",
                "3 None: there is no kind \"Gadget\" in version \"v1\"",
                "4 Namespace n",
                "5 None: it is not an object",
                "6 None: metadata: must be an object with a name",
                "7 Pod default/b",
                "7 Some(2): it is not an object",
                "7 Some(3): document 1 is about the same object",
            ]
        );
        assert_eq!(in_order(&found), [vec![3], vec![1], vec![0, 6]]);
        let Ok((.., source)) = &found[6].object else { panic!("it is known") };
        assert_eq!(metadata::name(&source.read(&kinds).expect("it was read before")), "b");
    }

    #[actix_rt::test]
    async fn more_documents_than_anybody_has_are_refused_as_a_whole() {
        let text = "a: 1\n---\n".repeat(DOCUMENTS + 2);
        assert_eq!(documents(&KindTable::builtin(), &text).await.expect_err("too many").code, 413);
    }
}
