//! Lease: who of several does something, for as long as he says so now and then. For programs of users that choose a leader among
//! themselves; which controller drives a device stands elsewhere.

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;

use super::{AGE, Home, Kind, NAME, at, by_itself, column, no_default, no_warnings, schema_of, typed};
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

pub(super) const LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    // The word LEASES is taken by the book of who drives.
    bucket: "COORDINATION",
    graceful: false,
    read_only: false,
    has_status: false,
    subresources: &[],
    columns: &[NAME, column("Holder", "string", 0, |object, _| at(object, "/spec/holderIdentity").into()), AGE],
    selectable: &[],
    dotted_names: true,
    default: no_default,
    home: Home::Everywhere,
    validate,
    among: by_itself,
    typed: typed::<Lease>,
    schema: schema_of::<Lease>,
    warnings: no_warnings,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(
            2,
            "spec",
            Wire::Message(&[
                Field::new(1, "holderIdentity", Wire::Text),
                Field::new(2, "leaseDurationSeconds", Wire::OptionalNumber),
                Field::new(3, "acquireTime", Wire::MicroTime),
                Field::new(4, "renewTime", Wire::MicroTime),
                Field::new(5, "leaseTransitions", Wire::OptionalNumber),
                Field::new(6, "strategy", Wire::Text),
                Field::new(7, "preferredHolder", Wire::Text),
            ]),
        ),
    ],
};

fn validate(new: &Value, _old: Option<&Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (field, least, why) in [
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ] {
        if let Some(number) = new["spec"][field].as_i64().filter(|number| *number < least) {
            problems.push(Problem::invalid(format!("spec.{field}"), number, why));
        }
    }
    if new.pointer("/spec/holderIdentity").is_some_and(|holder| holder == "") {
        problems.push(Problem::invalid("spec.holderIdentity", "", "must not be empty"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_has_a_holder_and_times_that_make_sense() {
        let problems = |spec: Value| -> Vec<String> {
            validate(&json!({"spec": spec}), None).into_iter().map(|problem| problem.field).collect()
        };
        assert!(problems(json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0})).is_empty());
        assert!(problems(json!({})).is_empty());
        assert_eq!(
            problems(json!({"holderIdentity": "", "leaseDurationSeconds": 0, "leaseTransitions": -1})),
            ["spec.leaseDurationSeconds", "spec.leaseTransitions", "spec.holderIdentity"]
        );
    }
}
