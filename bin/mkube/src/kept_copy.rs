//! The text of a copy of all that is known of a store: documents that `mkube import` takes, and in comments what it leaves out.

use std::io::{self, Write};

use mkube_model::kinds::{Kind, KindTable};
use mkube_model::neighbours::desired_store::StoredValue;
use mkube_model::portable;
use mkube_objects::read_stored;
use serde_json::Value;

/// Writes it. What others need comes before those who need it, as in an export with Secrets.
pub fn write(why: &str, values: &[StoredValue], out: &mut dyn Write) -> io::Result<()> {
    let kinds = KindTable::builtin();
    let mut documents: Vec<(&Kind, Value)> = Vec::new();
    let mut rest: Vec<&StoredValue> = Vec::new();
    for stored in values {
        let kind = kinds.iter().find(|kind| kind.bucket == stored.at.bucket);
        let object = kind.and_then(|kind| Some((kind, read_stored(kind, &stored.at, &stored.value).ok()?.1)));
        match object.and_then(|(kind, object)| Some((kind, portable::portable(kind, &object)?))) {
            Some(document) => documents.push(document),
            None => rest.push(stored),
        }
    }
    documents.sort_by_key(|(kind, _)| portable::rank(kind));
    writeln!(out, "# All that mkube knew before it took what the store held. It did not obey the store before, since")?;
    writeln!(out, "# {}.", one_line(why.as_bytes()))?;
    writeln!(
        out,
        "# `mkube import` makes of the documents what they say: take out those that are to stay as they are now."
    )?;
    for (_, document) in &documents {
        write!(out, "---\n{}", mkube_manifests::to_yaml(document))?;
    }
    if !rest.is_empty() {
        writeln!(
            out,
            "# What follows is not imported: mkube makes it again, or it was at its end, or it is no object."
        )?;
    }
    for stored in rest {
        let at = &stored.at;
        writeln!(out, "# {}/{} {}", at.bucket, one_line(at.key.as_bytes()), one_line(&stored.value))?;
    }
    Ok(())
}

/// In a comment nothing may end the line. JSON as it is stored has no such letters.
fn one_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|letter| if letter.is_control() || "\u{85}\u{2028}\u{2029}".contains(letter) { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use mkube_model::neighbours::desired_store::StoreKey;
    use serde_json::json;

    use super::*;

    fn stored(bucket: &str, key: &str, value: &str) -> StoredValue {
        let at = StoreKey { bucket: bucket.into(), key: key.into() };
        StoredValue { at, revision: 7, value: value.to_owned().into() }
    }

    #[test]
    fn what_moves_is_a_document_in_the_order_of_need_and_everything_else_stands_in_comments() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page", "namespace": "shop", "uid": "u"}, "data": {"a": "x\n---\ny"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": "shop", "uid": "u"}, "data": {"a": "c2VzYW1l"}});
        let owned = json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]}});
        let values = [
            stored("CONFIGMAPS", "shop.page", &map.to_string()),
            stored("NAMESPACES", "shop", r#"{"name": "shop"}"#),
            stored("PODS", "shop.web-1", &owned.to_string()),
            stored("PODS", "shop.torn", "{\"metadata\": \n---\nkind: Pod"),
            stored("SECRETS", "shop.key", &secret.to_string()),
            stored("ELSE", "x", "{}"),
        ];
        let mut text = Vec::new();
        write("a bucket\nis gone", &values, &mut text).expect("room");
        let text = String::from_utf8(text).expect("text");
        let documents = mkube_manifests::parse_documents(&text).expect("YAML");
        let named: Vec<String> =
            documents.iter().map(|one| format!("{}/{}", one["kind"], one["metadata"]["name"])).collect();
        assert_eq!(named, [r#""Namespace"/"shop""#, r#""ConfigMap"/"page""#, r#""Secret"/"key""#], "{text}");
        assert_eq!((&documents[1]["data"]["a"], &documents[2]["data"]["a"]), (&json!("x\n---\ny"), &json!("c2VzYW1l")));
        assert!(documents.iter().all(|one| one["metadata"].get("uid").is_none()), "{text}");
        for line in ["# PODS/shop.web-1 {", "# PODS/shop.torn {\"metadata\":  --- kind: Pod", "# ELSE/x {}"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
