//! Where a pod is to run, in protobuf.

use crate::protobuf::{Field, Wire};

/// A selector of labels.
pub(super) const LABEL_SELECTOR: &[Field] =
    &[Field::new(1, "matchLabels", Wire::TextMap), Field::new(2, "matchExpressions", Wire::Messages(REQUIREMENT))];

const REQUIREMENT: &[Field] =
    &[Field::new(1, "key", Wire::Text), Field::new(2, "operator", Wire::Text), Field::new(3, "values", Wire::Texts)];

/// `spec.affinity`.
pub(super) const AFFINITY: &[Field] = &[
    Field::new(
        1,
        "nodeAffinity",
        Wire::Message(&[
            Field::new(
                1,
                "requiredDuringSchedulingIgnoredDuringExecution",
                Wire::Message(&[Field::new(1, "nodeSelectorTerms", Wire::Messages(NODE_TERM))]),
            ),
            Field::new(
                2,
                "preferredDuringSchedulingIgnoredDuringExecution",
                Wire::Messages(&[
                    Field::new(1, "weight", Wire::Number),
                    Field::new(2, "preference", Wire::Message(NODE_TERM)),
                ]),
            ),
        ]),
    ),
    Field::new(2, "podAffinity", Wire::Message(POD_AFFINITY)),
    Field::new(3, "podAntiAffinity", Wire::Message(POD_AFFINITY)),
];

const NODE_TERM: &[Field] = &[
    Field::new(1, "matchExpressions", Wire::Messages(REQUIREMENT)),
    Field::new(2, "matchFields", Wire::Messages(REQUIREMENT)),
];

const POD_AFFINITY: &[Field] = &[
    Field::new(1, "requiredDuringSchedulingIgnoredDuringExecution", Wire::Messages(POD_TERM)),
    Field::new(
        2,
        "preferredDuringSchedulingIgnoredDuringExecution",
        Wire::Messages(&[
            Field::new(1, "weight", Wire::Number),
            Field::new(2, "podAffinityTerm", Wire::Message(POD_TERM)),
        ]),
    ),
];

const POD_TERM: &[Field] = &[
    Field::new(1, "labelSelector", Wire::Message(LABEL_SELECTOR)),
    Field::new(2, "namespaces", Wire::Texts),
    Field::new(3, "topologyKey", Wire::Text),
    Field::new(4, "namespaceSelector", Wire::Present(LABEL_SELECTOR)),
    Field::new(5, "matchLabelKeys", Wire::Texts),
    Field::new(6, "mismatchLabelKeys", Wire::Texts),
];

/// One of `spec.tolerations`.
pub(super) const TOLERATION: &[Field] = &[
    Field::new(1, "key", Wire::Text),
    Field::new(2, "operator", Wire::Text),
    Field::new(3, "value", Wire::Text),
    Field::new(4, "effect", Wire::Text),
    Field::new(5, "tolerationSeconds", Wire::OptionalNumber),
];

/// One of `spec.topologySpreadConstraints`.
pub(super) const SPREAD: &[Field] = &[
    Field::new(1, "maxSkew", Wire::Number),
    Field::new(2, "topologyKey", Wire::Text),
    Field::new(3, "whenUnsatisfiable", Wire::Text),
    Field::new(4, "labelSelector", Wire::Message(LABEL_SELECTOR)),
    Field::new(5, "minDomains", Wire::OptionalNumber),
    Field::new(6, "nodeAffinityPolicy", Wire::Text),
    Field::new(7, "nodeTaintsPolicy", Wire::Text),
    Field::new(8, "matchLabelKeys", Wire::Texts),
];
