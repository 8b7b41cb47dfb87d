//! Pod templates in protobuf: what `kubectl create deployment|job|cronjob` sends. Fields beyond these are refused by their number, never dropped.

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
    Field::new(4, "selector", Wire::Message(&[Field::new(1, "matchLabels", Wire::TextMap)])),
    Field::new(5, "manualSelector", Wire::Boolean),
    Field::new(6, "template", Wire::Message(TEMPLATE)),
    Field::new(7, "backoffLimit", Wire::OptionalNumber),
    Field::new(8, "ttlSecondsAfterFinished", Wire::OptionalNumber),
    Field::new(9, "completionMode", Wire::Text),
    Field::new(10, "suspend", Wire::Boolean),
    Field::new(14, "podReplacementPolicy", Wire::Text),
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
    Field::new(14, "securityContext", Wire::Message(&[])),
    Field::new(15, "imagePullSecrets", Wire::Messages(LOCAL_REFERENCE)),
    Field::new(16, "hostname", Wire::Text),
    Field::new(17, "subdomain", Wire::Text),
    Field::new(19, "schedulerName", Wire::Text),
    Field::new(20, "initContainers", Wire::Messages(CONTAINER)),
    Field::new(21, "automountServiceAccountToken", Wire::Boolean),
    Field::new(24, "priorityClassName", Wire::Text),
    Field::new(25, "priority", Wire::OptionalNumber),
    Field::new(27, "shareProcessNamespace", Wire::Boolean),
    Field::new(30, "enableServiceLinks", Wire::Boolean),
];

const CONTAINER: &[Field] = &[
    Field::new(1, "name", Wire::Text),
    Field::new(2, "image", Wire::Text),
    Field::new(3, "command", Wire::Texts),
    Field::new(4, "args", Wire::Texts),
    Field::new(5, "workingDir", Wire::Text),
    Field::new(
        6,
        "ports",
        Wire::Messages(&[
            Field::new(1, "name", Wire::Text),
            Field::new(2, "hostPort", Wire::Number),
            Field::new(3, "containerPort", Wire::Number),
            Field::new(4, "protocol", Wire::Text),
            Field::new(5, "hostIP", Wire::Text),
        ]),
    ),
    Field::new(
        7,
        "env",
        Wire::Messages(&[
            Field::new(1, "name", Wire::Text),
            Field::new(2, "value", Wire::Text),
            Field::new(3, "valueFrom", Wire::Message(VALUE_FROM)),
        ]),
    ),
    Field::new(
        8,
        "resources",
        Wire::Message(&[Field::new(1, "limits", Wire::Quantities), Field::new(2, "requests", Wire::Quantities)]),
    ),
    Field::new(
        9,
        "volumeMounts",
        Wire::Messages(&[
            Field::new(1, "name", Wire::Text),
            Field::new(2, "readOnly", Wire::Flag),
            Field::new(3, "mountPath", Wire::Text),
            Field::new(4, "subPath", Wire::Text),
        ]),
    ),
    Field::new(13, "terminationMessagePath", Wire::Text),
    Field::new(14, "imagePullPolicy", Wire::Text),
    Field::new(15, "securityContext", Wire::Message(&[])),
    Field::new(16, "stdin", Wire::Flag),
    Field::new(17, "stdinOnce", Wire::Flag),
    Field::new(18, "tty", Wire::Flag),
    Field::new(20, "terminationMessagePolicy", Wire::Text),
];

const VALUE_FROM: &[Field] = &[
    Field::new(
        1,
        "fieldRef",
        Wire::Message(&[Field::new(1, "apiVersion", Wire::Text), Field::new(2, "fieldPath", Wire::Text)]),
    ),
    Field::new(3, "configMapKeyRef", Wire::Message(KEY)),
    Field::new(4, "secretKeyRef", Wire::Message(KEY)),
];

/// A key of a ConfigMap or Secret.
const KEY: &[Field] = &[
    Field::new(1, "name", Wire::Inline(LOCAL_REFERENCE)),
    Field::new(2, "key", Wire::Text),
    Field::new(3, "optional", Wire::Boolean),
];

const LOCAL_REFERENCE: &[Field] = &[Field::new(1, "name", Wire::Text)];

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
            Field::new(2, "emptyDir", Wire::Present(&[Field::new(1, "medium", Wire::Text)])),
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
                10,
                "persistentVolumeClaim",
                Wire::Message(&[Field::new(1, "claimName", Wire::Text), Field::new(2, "readOnly", Wire::Flag)]),
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
        ]),
    ),
];

const KEY_TO_PATH: &[Field] =
    &[Field::new(1, "key", Wire::Text), Field::new(2, "path", Wire::Text), Field::new(3, "mode", Wire::OptionalNumber)];
