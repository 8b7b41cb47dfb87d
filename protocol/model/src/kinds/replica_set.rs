//! ReplicaSet: one revision of a Deployment, kept by mkube for `rollout history` and `undo`. Clients may only read it.

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::Value;

use super::deployment::{count, selector_text};
use super::{
    AGE, Home, Kind, NAME, by_itself, column, no_default, no_problems, no_warnings, pod_template, schema_of, typed,
};

pub(super) const REPLICA_SET: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    bucket: "REPLICASETS",
    graceful: false,
    read_only: true,
    has_status: true,
    subresources: &[],
    columns: &[
        NAME,
        column("Desired", "integer", 0, |object, _| count(object, "/spec/replicas").into()),
        column("Current", "integer", 0, |object, _| count(object, "/status/replicas").into()),
        column("Ready", "integer", 0, |object, _| count(object, "/status/readyReplicas").into()),
        AGE,
        column("Containers", "string", 1, |object, _| pod_template::containers(object).into()),
        column("Images", "string", 1, |object, _| pod_template::images(object).into()),
        column("Selector", "string", 1, |object, _| selector_text(object).into()),
    ],
    selectable: &[],
    dotted_names: true,
    default: no_default,
    home: Home::Annotation,
    validate: no_problems,
    among: by_itself,
    typed: |object: &Value| {
        let mut object = object.clone();
        pod_template::as_pods_write_it(&mut object, "/spec/template");
        typed::<ReplicaSet>(&object)
    },
    schema: schema_of::<ReplicaSet>,
    warnings: no_warnings,
    protobuf: &[],
};
