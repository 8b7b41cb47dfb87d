//! Containers in protobuf.

use super::template_wire::{FIELD_REFERENCE, LOCAL_REFERENCE, RESOURCE_REFERENCE};
use crate::protobuf::{Field, Wire};

/// A container.
pub(super) const CONTAINER: &[Field] = &[
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
    Field::new(8, "resources", Wire::Message(RESOURCES)),
    Field::new(
        9,
        "volumeMounts",
        Wire::Messages(&[
            Field::new(1, "name", Wire::Text),
            Field::new(2, "readOnly", Wire::Flag),
            Field::new(3, "mountPath", Wire::Text),
            Field::new(4, "subPath", Wire::Text),
            Field::new(5, "mountPropagation", Wire::Text),
            Field::new(6, "subPathExpr", Wire::Text),
            Field::new(7, "recursiveReadOnly", Wire::Text),
        ]),
    ),
    Field::new(10, "livenessProbe", Wire::Message(PROBE)),
    Field::new(11, "readinessProbe", Wire::Message(PROBE)),
    Field::new(
        12,
        "lifecycle",
        Wire::Message(&[
            Field::new(1, "postStart", Wire::Message(HOOK)),
            Field::new(2, "preStop", Wire::Message(HOOK)),
            Field::new(3, "stopSignal", Wire::Text),
        ]),
    ),
    Field::new(13, "terminationMessagePath", Wire::Text),
    Field::new(14, "imagePullPolicy", Wire::Text),
    Field::new(15, "securityContext", Wire::Message(SECURITY)),
    Field::new(16, "stdin", Wire::Flag),
    Field::new(17, "stdinOnce", Wire::Flag),
    Field::new(18, "tty", Wire::Flag),
    Field::new(
        19,
        "envFrom",
        Wire::Messages(&[
            Field::new(1, "prefix", Wire::Text),
            Field::new(2, "configMapRef", Wire::Message(ALL_KEYS)),
            Field::new(3, "secretRef", Wire::Message(ALL_KEYS)),
        ]),
    ),
    Field::new(20, "terminationMessagePolicy", Wire::Text),
    Field::new(
        21,
        "volumeDevices",
        Wire::Messages(&[Field::new(1, "name", Wire::Text), Field::new(2, "devicePath", Wire::Text)]),
    ),
    Field::new(22, "startupProbe", Wire::Message(PROBE)),
    Field::new(
        23,
        "resizePolicy",
        Wire::Messages(&[Field::new(1, "resourceName", Wire::Text), Field::new(2, "restartPolicy", Wire::Text)]),
    ),
    Field::new(24, "restartPolicy", Wire::Text),
];

/// What a container needs, or a pod.
pub(super) const RESOURCES: &[Field] = &[
    Field::new(1, "limits", Wire::Quantities),
    Field::new(2, "requests", Wire::Quantities),
    Field::new(3, "claims", Wire::Messages(&[Field::new(1, "name", Wire::Text), Field::new(2, "request", Wire::Text)])),
];

const VALUE_FROM: &[Field] = &[
    Field::new(1, "fieldRef", Wire::Message(FIELD_REFERENCE)),
    Field::new(2, "resourceFieldRef", Wire::Message(RESOURCE_REFERENCE)),
    Field::new(3, "configMapKeyRef", Wire::Message(KEY)),
    Field::new(4, "secretKeyRef", Wire::Message(KEY)),
];

/// A key of a ConfigMap or Secret.
const KEY: &[Field] = &[
    Field::new(1, "name", Wire::Inline(LOCAL_REFERENCE)),
    Field::new(2, "key", Wire::Text),
    Field::new(3, "optional", Wire::Boolean),
];

/// All keys of one.
const ALL_KEYS: &[Field] =
    &[Field::new(1, "name", Wire::Inline(LOCAL_REFERENCE)), Field::new(2, "optional", Wire::Boolean)];

const PROBE: &[Field] = &[
    Field::new(
        1,
        "handler",
        Wire::Inline(&[
            Field::new(1, "exec", Wire::Present(EXEC)),
            Field::new(2, "httpGet", Wire::Present(HTTP)),
            Field::new(3, "tcpSocket", Wire::Present(TCP)),
            Field::new(
                4,
                "grpc",
                Wire::Present(&[Field::new(1, "port", Wire::Number), Field::new(2, "service", Wire::Text)]),
            ),
        ]),
    ),
    Field::new(2, "initialDelaySeconds", Wire::Number),
    Field::new(3, "timeoutSeconds", Wire::Number),
    Field::new(4, "periodSeconds", Wire::Number),
    Field::new(5, "successThreshold", Wire::Number),
    Field::new(6, "failureThreshold", Wire::Number),
    Field::new(7, "terminationGracePeriodSeconds", Wire::OptionalNumber),
];

const HOOK: &[Field] = &[
    Field::new(1, "exec", Wire::Present(EXEC)),
    Field::new(2, "httpGet", Wire::Present(HTTP)),
    Field::new(3, "tcpSocket", Wire::Present(TCP)),
    Field::new(4, "sleep", Wire::Present(&[Field::new(1, "seconds", Wire::OptionalNumber)])),
];

const EXEC: &[Field] = &[Field::new(1, "command", Wire::Texts)];
const TCP: &[Field] = &[Field::new(1, "port", Wire::NumberOrText), Field::new(2, "host", Wire::Text)];
const HTTP: &[Field] = &[
    Field::new(1, "path", Wire::Text),
    Field::new(2, "port", Wire::NumberOrText),
    Field::new(3, "host", Wire::Text),
    Field::new(4, "scheme", Wire::Text),
    Field::new(
        5,
        "httpHeaders",
        Wire::Messages(&[Field::new(1, "name", Wire::Text), Field::new(2, "value", Wire::Text)]),
    ),
];

const SECURITY: &[Field] = &[
    Field::new(
        1,
        "capabilities",
        Wire::Message(&[Field::new(1, "add", Wire::Texts), Field::new(2, "drop", Wire::Texts)]),
    ),
    Field::new(2, "privileged", Wire::Boolean),
    Field::new(3, "seLinuxOptions", Wire::Message(SE_LINUX)),
    Field::new(4, "runAsUser", Wire::OptionalNumber),
    Field::new(5, "runAsNonRoot", Wire::Boolean),
    Field::new(6, "readOnlyRootFilesystem", Wire::Boolean),
    Field::new(7, "allowPrivilegeEscalation", Wire::Boolean),
    Field::new(8, "runAsGroup", Wire::OptionalNumber),
    Field::new(9, "procMount", Wire::Text),
    Field::new(11, "seccompProfile", Wire::Message(PROFILE)),
    Field::new(12, "appArmorProfile", Wire::Message(PROFILE)),
];

/// What a pod says for all its containers.
pub(super) const POD_SECURITY: &[Field] = &[
    Field::new(1, "seLinuxOptions", Wire::Message(SE_LINUX)),
    Field::new(2, "runAsUser", Wire::OptionalNumber),
    Field::new(3, "runAsNonRoot", Wire::Boolean),
    Field::new(4, "supplementalGroups", Wire::Numbers),
    Field::new(5, "fsGroup", Wire::OptionalNumber),
    Field::new(6, "runAsGroup", Wire::OptionalNumber),
    Field::new(7, "sysctls", Wire::Messages(&[Field::new(1, "name", Wire::Text), Field::new(2, "value", Wire::Text)])),
    Field::new(9, "fsGroupChangePolicy", Wire::Text),
    Field::new(10, "seccompProfile", Wire::Message(PROFILE)),
    Field::new(11, "appArmorProfile", Wire::Message(PROFILE)),
    Field::new(12, "supplementalGroupsPolicy", Wire::Text),
    Field::new(13, "seLinuxChangePolicy", Wire::Text),
];

const SE_LINUX: &[Field] = &[
    Field::new(1, "user", Wire::Text),
    Field::new(2, "role", Wire::Text),
    Field::new(3, "type", Wire::Text),
    Field::new(4, "level", Wire::Text),
];

const PROFILE: &[Field] = &[Field::new(1, "type", Wire::Text), Field::new(2, "localhostProfile", Wire::Text)];
