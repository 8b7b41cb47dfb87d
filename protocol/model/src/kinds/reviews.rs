//! Questions that are answered and not stored: who am I, may I do that, what may I do. Who reaches the API is not asked for a
//! name, and may do everything: that is what the answers say.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SelfSubjectRulesReview};
use serde_json::{Value, json};

use super::{Home, Kind, by_itself, no_default, no_problems, no_warnings, schema_of, typed};
use crate::problem::Problem;
use crate::protobuf::{Field, METADATA, Wire};

/// How Kubernetes calls those it asked for no name.
const NOBODY: &str = "system:anonymous";
/// The group they are in.
const NAMELESS: &str = "system:unauthenticated";
/// Why everything is allowed.
const REASON: &str = "this API asks for no credentials: whoever reaches it may do everything";

const fn review(group: &'static str, kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        plural,
        singular,
        short_names: &[],
        categories: &[],
        namespaced: false,
        bucket: "",
        graceful: false,
        read_only: false,
        has_status: false,
        subresources: &[],
        columns: &[],
        selectable: &[],
        dotted_names: true,
        default: no_default,
        home: Home::Everywhere,
        validate: no_problems,
        among: by_itself,
        typed: typed::<SelfSubjectReview>,
        schema: schema_of::<SelfSubjectReview>,
        warnings: no_warnings,
        protobuf: &[],
    }
}

/// The kinds that are answered and not stored.
pub const REVIEWS: [Kind; 3] = [WHO, MAY, RULES];

const WHO: Kind = Kind {
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(
            2,
            "status",
            Wire::Message(&[Field::new(
                1,
                "userInfo",
                Wire::Message(&[
                    Field::new(1, "username", Wire::Text),
                    Field::new(2, "uid", Wire::Text),
                    Field::new(3, "groups", Wire::Texts),
                ]),
            )]),
        ),
    ],
    ..review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview")
};

const MAY: Kind = Kind {
    validate: |review, _| question_problems(review),
    typed: typed::<SelfSubjectAccessReview>,
    schema: schema_of::<SelfSubjectAccessReview>,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(
            2,
            "spec",
            Wire::Message(&[
                Field::new(1, "resourceAttributes", Wire::Present(RESOURCE_ATTRIBUTES)),
                Field::new(
                    2,
                    "nonResourceAttributes",
                    Wire::Present(&[Field::new(1, "path", Wire::Text), Field::new(2, "verb", Wire::Text)]),
                ),
            ]),
        ),
        Field::new(
            3,
            "status",
            Wire::Message(&[
                Field::new(1, "allowed", Wire::Flag),
                Field::new(2, "reason", Wire::Text),
                Field::new(3, "evaluationError", Wire::Text),
                Field::new(4, "denied", Wire::Flag),
            ]),
        ),
    ],
    ..review("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview")
};

const RESOURCE_ATTRIBUTES: &[Field] = &[
    Field::new(1, "namespace", Wire::Text),
    Field::new(2, "verb", Wire::Text),
    Field::new(3, "group", Wire::Text),
    Field::new(4, "version", Wire::Text),
    Field::new(5, "resource", Wire::Text),
    Field::new(6, "subresource", Wire::Text),
    Field::new(7, "name", Wire::Text),
];

const RULES: Kind = Kind {
    validate: |review, _| match review.pointer("/spec/namespace").and_then(Value::as_str) {
        None | Some("") => vec![Problem::required_because("spec.namespace", "a namespace is asked about")],
        Some(_) => Vec::new(),
    },
    typed: typed::<SelfSubjectRulesReview>,
    schema: schema_of::<SelfSubjectRulesReview>,
    protobuf: &[
        Field::new(1, "metadata", Wire::Message(METADATA)),
        Field::new(2, "spec", Wire::Message(&[Field::new(1, "namespace", Wire::Text)])),
        // What the server says: clients send it empty.
        Field::new(3, "status", Wire::Skipped),
    ],
    ..review("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview")
};

/// The review of a path, if it is one.
pub fn review_at(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    REVIEWS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

fn question_problems(review: &Value) -> Vec<Problem> {
    let asked = |field: &str| review.pointer(&format!("/spec/{field}")).is_some_and(Value::is_object);
    if asked("resourceAttributes") != asked("nonResourceAttributes") {
        return Vec::new();
    }
    let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    vec![Problem::invalid("spec.resourceAttributes", review["spec"]["resourceAttributes"].clone(), why)]
}

/// A review as it is answered.
pub fn reviewed(kind: &Kind, mut review: Value) -> Value {
    review["apiVersion"] = json!(kind.api_version());
    review["kind"] = json!(kind.kind);
    review["status"] = match kind.kind {
        "SelfSubjectReview" => json!({"userInfo": {"username": NOBODY, "groups": [NAMELESS]}}),
        "SelfSubjectAccessReview" => json!({"allowed": true, "reason": REASON}),
        _ => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
    };
    review
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_review_is_answered_in_the_shape_of_its_kubernetes_type() {
        for kind in REVIEWS {
            let spec = json!({"namespace": "default"});
            let asked = json!({"metadata": {}, "spec": spec});
            let answer = reviewed(&kind, asked);
            let known = (kind.typed)(&answer).expect("its type");
            assert_eq!(known["status"], answer["status"], "{}", kind.kind);
            assert_eq!(review_at(kind.group, "v1", kind.plural).map(|found| found.kind), Some(kind.kind));
        }
    }

    #[test]
    fn a_question_is_about_one_thing() {
        let (resource, path) = (json!({"verb": "get"}), json!({"path": "/healthz"}));
        for (spec, problems) in [
            (json!({}), 1),
            (json!({"resourceAttributes": resource}), 0),
            (json!({"nonResourceAttributes": path}), 0),
            (json!({"resourceAttributes": resource, "nonResourceAttributes": path}), 1),
        ] {
            assert_eq!((MAY.validate)(&json!({"spec": spec}), None).len(), problems, "{spec}");
        }
    }
}
