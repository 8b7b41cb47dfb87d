"""What schemathesis must know of a Kubernetes API to meet more than refusals: namespaces and names that exist, objects that may be
stored, and that neither a watch nor a followed log ends by itself."""

import random

import schemathesis

NAMES = ["one", "two", "three"]
# The same in every run with the same seed and order.
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
    # What is told over a stream is no document; the clients beside this one try it.
    for streaming in ("watch", "follow", "sendInitialEvents"):
        if query and streaming in query:
            del query[streaming]
    # A version that is yet to come is waited for, and answered with 504 as Kubernetes does.
    if query and str(query.get("resourceVersion", "")).isdigit():
        query["resourceVersion"] = "1"
    return query


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and mostly():
        metadata = body.get("metadata")
        body["metadata"] = metadata = metadata if isinstance(metadata, dict) else {}
        for field in ("namespace", "resourceVersion", "uid", "deletionTimestamp", "finalizers", "ownerReferences", "managedFields"):
            metadata.pop(field, None)
        metadata["name"] = CHANCE.choice(NAMES)
        for field in ("labels", "annotations"):
            if field in metadata:
                metadata[field] = {"app": "schemathesis"}
        body.pop("apiVersion", None)
        body.pop("kind", None)
    return body
