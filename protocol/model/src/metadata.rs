//! `metadata` of an object kept as JSON: reading it, and what names may look like.

use serde_json::{Map, Value};

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`, empty when absent.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`, empty when absent.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`, empty when absent.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`, empty when absent.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.generation`, 0 when absent.
pub fn generation(object: &Value) -> u64 {
    object.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0)
}

/// Whether a deletion timestamp is set.
pub fn is_deleting(object: &Value) -> bool {
    !text(object, "deletionTimestamp").is_empty()
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.pointer("/metadata/labels")?.as_object()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// Whether `metadata.finalizers` names any.
pub fn has_finalizers(object: &Value) -> bool {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`; those without a uid name nobody.
pub fn owners(object: &Value) -> impl Iterator<Item = &Value> {
    let list = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    list.into_iter().flatten().filter(|owner| !owner_uid(owner).is_empty())
}

/// `uid` of one of the `ownerReferences`, empty when absent.
pub fn owner_uid(owner: &Value) -> &str {
    owner.get("uid").and_then(Value::as_str).unwrap_or_default()
}

/// `metadata` for writing; made when absent.
pub fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(fields) = object else { unreachable!("made an object above") };
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    match metadata {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}

/// Why `name` is not an RFC 1123 label (63 characters), or nothing.
pub fn label_problem(name: &str) -> Option<&'static str> {
    let ok = !name.is_empty() && name.len() <= 63 && is_label(name);
    (!ok).then_some(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
         with an alphanumeric character (e.g. 'my-name', at most 63 characters, regex used for validation is \
         '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
    )
}

/// Why `name` is not an RFC 1123 subdomain (253 characters), or nothing.
pub fn subdomain_problem(name: &str) -> Option<&'static str> {
    let ok = !name.is_empty() && name.len() <= 253 && name.split('.').all(is_label);
    (!ok).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
         and end with an alphanumeric character (e.g. 'example.com', at most 253 characters, regex used for validation \
         is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

fn is_label(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !part.is_empty() && part.chars().all(|c| inner(c) || c == '-') && part.starts_with(inner) && part.ends_with(inner)
}

/// Why `key` is not a label or annotation key, or nothing.
pub fn key_problem(key: &str) -> Option<&'static str> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let ok = prefix.is_none_or(|prefix| subdomain_problem(prefix).is_none()) && is_qualified(name) && name.len() <= 63;
    (!ok).then_some("name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character")
}

/// Why `value` is not a label value, or nothing.
pub fn label_value_problem(value: &str) -> Option<&'static str> {
    let ok = value.is_empty() || (is_qualified(value) && value.len() <= 63);
    (!ok).then_some("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character")
}

fn is_qualified(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric();
    !name.is_empty()
        && name.chars().all(|c| inner(c) || matches!(c, '-' | '_' | '.'))
        && name.starts_with(inner)
        && name.ends_with(inner)
}

/// Characters of a `generateName` that become part of the name.
const GENERATED_PREFIX: usize = 58;

/// A name out of `generateName` and a random number: the prefix, cut so that a label results, and five characters.
pub fn generated_name(prefix: &str, random: u64) -> String {
    let prefix: String = prefix.chars().take(GENERATED_PREFIX).collect();
    format!("{prefix}{}", generated_suffix(random))
}

/// The five characters Kubernetes appends to `generateName`, from a random number. No vowels, nothing to misread.
fn generated_suffix(mut random: u64) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5)
        .map(|_| {
            let index = (random % 27) as usize;
            random /= 27;
            char::from(ALPHABET[index])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_labels_whatever_the_length_of_the_prefix() {
        let name = generated_name(&"p".repeat(80), 123_456_789);
        assert_eq!((name.len(), label_problem(&name)), (63, None));
        assert_ne!(generated_name("a-", 1), generated_name("a-", 2));
    }

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b", "0a", "a.b-c.d"] {
            assert_eq!(subdomain_problem(good), None, "{good}");
        }
        let long = "a".repeat(254);
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", "a/b", long.as_str()] {
            assert!(subdomain_problem(bad).is_some(), "{bad}");
        }
        assert!(label_problem("a.b").is_some());
        assert_eq!(key_problem("vkube.io/static-ip"), None);
        assert!(key_problem("a/b/c").is_some());
    }
}
