//! DnsEntry: something that mkube put, or is about to put, into a name server which does not keep whose things are. Kept so
//! that nothing of others is ever taken away, and nothing of ours is forgotten. Clients may only read it.

use serde_json::{Value, json};

use super::{AGE, Home, Kind, NAME, at, by_itself, column, no_default, no_problems, no_warnings};

pub(super) const DNS_ENTRY: Kind = Kind {
    group: "vkube.io",
    version: "v1alpha1",
    kind: "DnsEntry",
    plural: "dnsentries",
    singular: "dnsentry",
    short_names: &[],
    categories: &[],
    namespaced: false,
    bucket: "DNSENTRIES",
    graceful: false,
    read_only: true,
    has_status: false,
    subresources: &[],
    columns: &[
        NAME,
        column("What", "string", 0, |object, _| at(object, "/spec/what").into()),
        column("Zone", "string", 0, |object, _| at(object, "/spec/zone").into()),
        column("Record", "string", 0, |object, _| at(object, "/spec/name").into()),
        column("Type", "string", 0, |object, _| at(object, "/spec/type").into()),
        column("Data", "string", 0, |object, _| at(object, "/spec/data").into()),
        column("Gone", "string", 1, |object, _| at(object, "/spec/goneAt").into()),
        column("Server", "string", 1, |object, _| at(object, "/spec/endpoint").into()),
        AGE,
    ],
    selectable: &[],
    dotted_names: true,
    default: no_default,
    home: Home::Annotation,
    validate: no_problems,
    among: by_itself,
    typed,
    warnings: no_warnings,
    protobuf: &[],
};

/// Fields of the spec, each a text.
const FIELDS: [&str; 7] = ["what", "endpoint", "zone", "name", "type", "data", "goneAt"];

fn typed(object: &Value) -> Result<Value, String> {
    let mut known = json!({});
    for field in ["apiVersion", "kind", "metadata"] {
        if let Some(value) = object.get(field) {
            known[field] = value.clone();
        }
    }
    for field in FIELDS {
        match object.pointer(&format!("/spec/{field}")) {
            None => {}
            Some(Value::String(text)) => known["spec"][field] = json!(text),
            Some(_) => return Err(format!("spec.{field}: must be a text")),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_it_does_not_have_are_found_and_wrong_types_are_named() {
        let entry = json!({"metadata": {"name": "a"}, "spec": {"what": "Record", "zone": "gt.lo", "colour": "red"}});
        let known = typed(&entry).expect("fine");
        assert_eq!(known["spec"], json!({"what": "Record", "zone": "gt.lo"}));
        assert_eq!(typed(&json!({"spec": {"zone": 1}})), Err("spec.zone: must be a text".into()));
    }
}
