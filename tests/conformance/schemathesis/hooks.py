"""What schemathesis must know of a Kubernetes API to meet more than refusals: places that exist, objects that may be stored, words
that mean something, and that neither a watch nor a followed log ends by itself."""

import random

import schemathesis

NAMES = ["one", "two", "three"]
WORDS = {
    "dryRun": ["All"],
    "fieldValidation": ["Ignore", "Warn", "Strict"],
    "propagationPolicy": ["Background", "Foreground", "Orphan"],
    "labelSelector": ["app=schemathesis", "app", "!app", "app in (a,b)"],
    "fieldSelector": ["metadata.name=one", "metadata.namespace!=x"],
    "continue": [""],
    "resourceVersionMatch": ["NotOlderThan"],
    "gracePeriodSeconds": [0, 1],
    "container": ["c"],
    "sinceTime": ["2026-01-01T00:00:00Z"],
}
CONTAINER = {"name": "c", "image": "hello:latest"}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}}
JOB = {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
# What is laid over objects that were made up, so that they can be stored.
SPECS = {
    "Pod": {"containers": [CONTAINER]},
    "Deployment": {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE, "strategy": {"type": "Recreate"}},
    "Job": JOB,
    "CronJob": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": JOB}},
    "Service": {"selector": {"app": "x"}, "ports": [{"port": 80}]},
    "PersistentVolumeClaim": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    "Lease": {"holderIdentity": "x", "leaseDurationSeconds": 15},
    "BareMetalHost": {"bootMACAddress": "02:00:00:00:00:01"},
    "Scale": {"replicas": 1},
}
# The same in every run with the same seed.
CHANCE = random.Random(1)


def mostly():
    return CHANCE.random() < 0.8


@schemathesis.hook
def map_path_parameters(context, parameters):
    if parameters and "namespace" in parameters and mostly():
        parameters["namespace"] = "default"
    if parameters and "name" in parameters and mostly():
        parameters["name"] = CHANCE.choice(NAMES)
    return parameters


@schemathesis.hook
def map_query(context, query):
    if context.operation.method == "delete" and mostly():
        # What was made stays for the others.
        query = {**(query or {}), "dryRun": "All"}
    if not query:
        return query
    # What is told over a stream is no document; the clients beside this one try it.
    for streaming in ("watch", "follow", "sendInitialEvents"):
        query.pop(streaming, None)
    # A version that is yet to come is waited for, and answered with 504 as Kubernetes does.
    if str(query.get("resourceVersion", "")).isdigit():
        query["resourceVersion"] = "1"
    for name in query:
        if name in WORDS and mostly():
            query[name] = CHANCE.choice(WORDS[name])
    return query


def kind_of(context):
    return context.operation.definition.raw.get("x-kubernetes-group-version-kind", {}).get("kind")


@schemathesis.hook
def map_body(context, body):
    if not isinstance(body, dict) or not mostly():
        return body
    if context.operation.method == "patch":
        return {"metadata": {"labels": {"app": CHANCE.choice(["a", "b"])}}} if CHANCE.random() < 0.5 else body
    if context.operation.method == "delete":
        return {"propagationPolicy": "Background"} if CHANCE.random() < 0.5 else body
    if not isinstance(body.get("metadata"), dict):
        body["metadata"] = {}
    metadata = body["metadata"]
    for field in list(metadata):
        if field not in ("labels", "annotations", "creationTimestamp"):
            del metadata[field]
    metadata["name"] = CHANCE.choice(NAMES)
    for field in ("labels", "annotations"):
        if field in metadata:
            metadata[field] = {"app": "schemathesis"}
    body.pop("apiVersion", None)
    body.pop("kind", None)
    kind = kind_of(context)
    if kind in SPECS:
        whole = CHANCE.random() < 0.5 or not isinstance(body.get("spec"), dict)
        body["spec"] = SPECS[kind] if whole else {**body["spec"], **SPECS[kind]}
    if kind in ("ConfigMap", "Secret"):
        body["data"] = {"a": "YQ=="}
        body.pop("binaryData", None)
    return body
