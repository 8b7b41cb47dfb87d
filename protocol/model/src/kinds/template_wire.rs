//! Pods and their templates in protobuf: what `kubectl create deployment|job|cronjob` sends, and what programs may. Fields beyond
//! these are refused by their number, never dropped: volumes of clouds, and what came after Kubernetes 1.32.

use super::container_wire::{CONTAINER, POD_SECURITY, RESOURCES};
use super::placing_wire::{AFFINITY, LABEL_SELECTOR, SPREAD, TOLERATION};
use crate::protobuf::{Field, METADATA, Wire};

/// `batch/v1` Job.
pub(super) const JOB: &[Field] = &[
    Field::new(1, "metadata", Wire::Message(METADATA)),
    Field::new(2, "spec", Wire::Message(JOB_SPEC)),
    Field::new(3, "status", Wire::Skipped),
];

/// `batch/v1` CronJob.
pub(super) const CRON_JOB: &[Field] = &[
    Field::new(1, "metadata", Wire::Message(METADATA)),
    Field::new(
        2,
        "spec",
        Wire::Message(&[
            Field::new(1, "schedule", Wire::Text),
            Field::new(2, "startingDeadlineSeconds", Wire::OptionalNumber),
            Field::new(3, "concurrencyPolicy", Wire::Text),
            Field::new(4, "suspend", Wire::Boolean),
            Field::new(
                5,
                "jobTemplate",
                Wire::Message(&[
                    Field::new(1, "metadata", Wire::Message(METADATA)),
                    Field::new(2, "spec", Wire::Message(JOB_SPEC)),
                ]),
            ),
            Field::new(6, "successfulJobsHistoryLimit", Wire::OptionalNumber),
            Field::new(7, "failedJobsHistoryLimit", Wire::OptionalNumber),
            Field::new(8, "timeZone", Wire::Text),
        ]),
    ),
    Field::new(3, "status", Wire::Skipped),
];

const JOB_SPEC: &[Field] = &[
    Field::new(1, "parallelism", Wire::OptionalNumber),
    Field::new(2, "completions", Wire::OptionalNumber),
    Field::new(3, "activeDeadlineSeconds", Wire::OptionalNumber),
    Field::new(4, "selector", Wire::Message(LABEL_SELECTOR)),
    Field::new(5, "manualSelector", Wire::Boolean),
    Field::new(6, "template", Wire::Message(TEMPLATE)),
    Field::new(7, "backoffLimit", Wire::OptionalNumber),
    Field::new(8, "ttlSecondsAfterFinished", Wire::OptionalNumber),
    Field::new(9, "completionMode", Wire::Text),
    Field::new(10, "suspend", Wire::Boolean),
    Field::new(11, "podFailurePolicy", Wire::Message(&[Field::new(1, "rules", Wire::Messages(FAILURE_RULE))])),
    Field::new(12, "backoffLimitPerIndex", Wire::OptionalNumber),
    Field::new(13, "maxFailedIndexes", Wire::OptionalNumber),
    Field::new(14, "podReplacementPolicy", Wire::Text),
    Field::new(15, "managedBy", Wire::Text),
    Field::new(
        16,
        "successPolicy",
        Wire::Message(&[Field::new(
            1,
            "rules",
            Wire::Messages(&[
                Field::new(1, "succeededIndexes", Wire::Text),
                Field::new(2, "succeededCount", Wire::OptionalNumber),
            ]),
        )]),
    ),
];

const FAILURE_RULE: &[Field] = &[
    Field::new(1, "action", Wire::Text),
    Field::new(
        2,
        "onExitCodes",
        Wire::Message(&[
            Field::new(1, "containerName", Wire::Text),
            Field::new(2, "operator", Wire::Text),
            Field::new(3, "values", Wire::Numbers),
        ]),
    ),
    Field::new(
        3,
        "onPodConditions",
        Wire::Messages(&[Field::new(1, "type", Wire::Text), Field::new(2, "status", Wire::Text)]),
    ),
];

/// A pod.
pub(super) const POD: &[Field] = &[
    Field::new(1, "metadata", Wire::Message(METADATA)),
    Field::new(2, "spec", Wire::Message(POD_SPEC)),
    // Clients have no say in it here.
    Field::new(3, "status", Wire::Skipped),
];

/// A pod template.
pub(super) const TEMPLATE: &[Field] =
    &[Field::new(1, "metadata", Wire::Message(METADATA)), Field::new(2, "spec", Wire::Message(POD_SPEC))];

const POD_SPEC: &[Field] = &[
    Field::new(1, "volumes", Wire::Messages(VOLUME)),
    Field::new(2, "containers", Wire::Messages(CONTAINER)),
    Field::new(3, "restartPolicy", Wire::Text),
    Field::new(4, "terminationGracePeriodSeconds", Wire::OptionalNumber),
    Field::new(5, "activeDeadlineSeconds", Wire::OptionalNumber),
    Field::new(6, "dnsPolicy", Wire::Text),
    Field::new(7, "nodeSelector", Wire::TextMap),
    Field::new(8, "serviceAccountName", Wire::Text),
    Field::new(9, "serviceAccount", Wire::Text),
    Field::new(10, "nodeName", Wire::Text),
    Field::new(11, "hostNetwork", Wire::Flag),
    Field::new(12, "hostPID", Wire::Flag),
    Field::new(13, "hostIPC", Wire::Flag),
    Field::new(14, "securityContext", Wire::Message(POD_SECURITY)),
    Field::new(15, "imagePullSecrets", Wire::Messages(LOCAL_REFERENCE)),
    Field::new(16, "hostname", Wire::Text),
    Field::new(17, "subdomain", Wire::Text),
    Field::new(18, "affinity", Wire::Message(AFFINITY)),
    Field::new(19, "schedulerName", Wire::Text),
    Field::new(20, "initContainers", Wire::Messages(CONTAINER)),
    Field::new(21, "automountServiceAccountToken", Wire::Boolean),
    Field::new(22, "tolerations", Wire::Messages(TOLERATION)),
    Field::new(
        23,
        "hostAliases",
        Wire::Messages(&[Field::new(1, "ip", Wire::Text), Field::new(2, "hostnames", Wire::Texts)]),
    ),
    Field::new(24, "priorityClassName", Wire::Text),
    Field::new(25, "priority", Wire::OptionalNumber),
    Field::new(26, "dnsConfig", Wire::Message(DNS_CONFIG)),
    Field::new(27, "shareProcessNamespace", Wire::Boolean),
    Field::new(28, "readinessGates", Wire::Messages(&[Field::new(1, "conditionType", Wire::Text)])),
    Field::new(29, "runtimeClassName", Wire::Text),
    Field::new(30, "enableServiceLinks", Wire::Boolean),
    Field::new(31, "preemptionPolicy", Wire::Text),
    Field::new(32, "overhead", Wire::Quantities),
    Field::new(33, "topologySpreadConstraints", Wire::Messages(SPREAD)),
    Field::new(35, "setHostnameAsFQDN", Wire::Boolean),
    Field::new(36, "os", Wire::Message(LOCAL_REFERENCE)),
    Field::new(37, "hostUsers", Wire::Boolean),
    Field::new(38, "schedulingGates", Wire::Messages(LOCAL_REFERENCE)),
    Field::new(40, "resources", Wire::Message(RESOURCES)),
];

const DNS_CONFIG: &[Field] = &[
    Field::new(1, "nameservers", Wire::Texts),
    Field::new(2, "searches", Wire::Texts),
    Field::new(3, "options", Wire::Messages(&[Field::new(1, "name", Wire::Text), Field::new(2, "value", Wire::Text)])),
];

pub(super) const LOCAL_REFERENCE: &[Field] = &[Field::new(1, "name", Wire::Text)];

const VOLUME: &[Field] = &[
    Field::new(1, "name", Wire::Text),
    Field::new(
        2,
        "source",
        Wire::Inline(&[
            Field::new(
                1,
                "hostPath",
                Wire::Message(&[Field::new(1, "path", Wire::Text), Field::new(2, "type", Wire::Text)]),
            ),
            // Without a word in it, it says all the same that it is one.
            Field::new(
                2,
                "emptyDir",
                Wire::Present(&[Field::new(1, "medium", Wire::Text), Field::new(2, "sizeLimit", Wire::Quantity)]),
            ),
            Field::new(
                6,
                "secret",
                Wire::Message(&[
                    Field::new(1, "secretName", Wire::Text),
                    Field::new(2, "items", Wire::Messages(KEY_TO_PATH)),
                    Field::new(3, "defaultMode", Wire::OptionalNumber),
                    Field::new(4, "optional", Wire::Boolean),
                ]),
            ),
            Field::new(
                7,
                "nfs",
                Wire::Message(&[
                    Field::new(1, "server", Wire::Text),
                    Field::new(2, "path", Wire::Text),
                    Field::new(3, "readOnly", Wire::Flag),
                ]),
            ),
            Field::new(
                10,
                "persistentVolumeClaim",
                Wire::Message(&[Field::new(1, "claimName", Wire::Text), Field::new(2, "readOnly", Wire::Flag)]),
            ),
            Field::new(
                16,
                "downwardAPI",
                Wire::Present(&[
                    Field::new(1, "items", Wire::Messages(DOWNWARD_FILE)),
                    Field::new(2, "defaultMode", Wire::OptionalNumber),
                ]),
            ),
            Field::new(
                19,
                "configMap",
                Wire::Message(&[
                    Field::new(1, "name", Wire::Inline(LOCAL_REFERENCE)),
                    Field::new(2, "items", Wire::Messages(KEY_TO_PATH)),
                    Field::new(3, "defaultMode", Wire::OptionalNumber),
                    Field::new(4, "optional", Wire::Boolean),
                ]),
            ),
            Field::new(
                26,
                "projected",
                Wire::Message(&[
                    Field::new(1, "sources", Wire::Messages(PROJECTION)),
                    Field::new(2, "defaultMode", Wire::OptionalNumber),
                ]),
            ),
            Field::new(
                30,
                "image",
                Wire::Message(&[Field::new(1, "reference", Wire::Text), Field::new(2, "pullPolicy", Wire::Text)]),
            ),
        ]),
    ),
];

const PROJECTION: &[Field] = &[
    Field::new(1, "secret", Wire::Message(PROJECTED)),
    Field::new(2, "downwardAPI", Wire::Present(&[Field::new(1, "items", Wire::Messages(DOWNWARD_FILE))])),
    Field::new(3, "configMap", Wire::Message(PROJECTED)),
    Field::new(
        4,
        "serviceAccountToken",
        Wire::Message(&[
            Field::new(1, "audience", Wire::Text),
            Field::new(2, "expirationSeconds", Wire::OptionalNumber),
            Field::new(3, "path", Wire::Text),
        ]),
    ),
];

/// Keys of a ConfigMap or Secret among others.
const PROJECTED: &[Field] = &[
    Field::new(1, "name", Wire::Inline(LOCAL_REFERENCE)),
    Field::new(2, "items", Wire::Messages(KEY_TO_PATH)),
    Field::new(4, "optional", Wire::Boolean),
];

const DOWNWARD_FILE: &[Field] = &[
    Field::new(1, "path", Wire::Text),
    Field::new(2, "fieldRef", Wire::Message(FIELD_REFERENCE)),
    Field::new(3, "resourceFieldRef", Wire::Message(RESOURCE_REFERENCE)),
    Field::new(4, "mode", Wire::OptionalNumber),
];

/// A field of the pod.
pub(super) const FIELD_REFERENCE: &[Field] =
    &[Field::new(1, "apiVersion", Wire::Text), Field::new(2, "fieldPath", Wire::Text)];

/// A limit or request of a container.
pub(super) const RESOURCE_REFERENCE: &[Field] = &[
    Field::new(1, "containerName", Wire::Text),
    Field::new(2, "resource", Wire::Text),
    Field::new(3, "divisor", Wire::Quantity),
];

const KEY_TO_PATH: &[Field] =
    &[Field::new(1, "key", Wire::Text), Field::new(2, "path", Wire::Text), Field::new(3, "mode", Wire::OptionalNumber)];
