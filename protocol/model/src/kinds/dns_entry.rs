//! DnsEntry: something that mkube put, or is about to put, into a name server which does not keep whose things are. Kept so
//! that nothing of others is ever taken away, and nothing of ours is forgotten. Clients may only read it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AGE, Home, Kind, NAME, at, by_itself, column, no_default, no_problems, no_warnings, schema_of, typed};

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
    typed: typed::<DnsEntryObject>,
    schema: schema_of::<DnsEntryObject>,
    warnings: no_warnings,
    protobuf: &[],
};

/// Something that mkube put, or is about to put, into a name server which does not keep whose things are. Only mkube writes it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "io.vkube.v1alpha1.DnsEntry")]
struct DnsEntryObject {
    /// `vkube.io/v1alpha1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
    /// `DnsEntry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Standard object metadata.
    #[serde(default)]
    metadata: ObjectMeta,
    /// What was put where.
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Spec>,
}

/// What was put where.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct Spec {
    /// `Zone`, `Record` or `Forwarder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    /// URL of the name server's REST interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    /// The zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// The record's name, within the zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The record's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    record_type: Option<String>,
    /// What the record says.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    /// Since when nobody wants it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    gone_at: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_it_does_not_have_are_found_and_wrong_types_are_named() {
        let entry = json!({"metadata": {"name": "a"}, "spec": {"what": "Record", "zone": "gt.lo", "colour": "red"}});
        let known = (DNS_ENTRY.typed)(&entry).expect("fine");
        assert_eq!(known["spec"], json!({"what": "Record", "zone": "gt.lo"}));
        let wrong = (DNS_ENTRY.typed)(&json!({"metadata": {}, "spec": {"zone": 1}})).expect_err("no text");
        assert!(wrong.starts_with("spec.zone: "), "{wrong}");
    }
}
