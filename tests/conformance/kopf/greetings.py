"""A small operator: each ConfigMap labelled `app=greeting` gets a Deployment and a card of its own, which go when it goes."""

import kopf
from kubernetes import client, config

config.load_kube_config()
core = client.CoreV1Api()
apps = client.AppsV1Api()
GREETING = {"labels": {"app": "greeting"}}


@kopf.on.startup()
def settled(settings, **_):
    settings.posting.level = 20
    settings.peering.standalone = True
    # Watches end often here, so that going on from where they ended is tried too.
    settings.watching.server_timeout = 2


def card_of(name, data):
    return {"metadata": {"name": f"{name}-card"}, "data": {"text": f"hello {data.get('name', 'nobody')}"}}


@kopf.on.create("v1", "configmaps", **GREETING)
def begun(name, namespace, body, patch, retry, **_):
    # What was tried, and when it is tried again, is kept in the object.
    if retry == 0:
        raise kopf.TemporaryError("not at the first attempt", delay=0.5)
    container = {"name": "c", "image": "hello:latest", "command": ["/bin/busybox", "sleep", "100000"]}
    template = {"metadata": {"labels": {"of": name}}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}
    deployment = {"metadata": {"name": name}, "spec": {"replicas": 1, "selector": {"matchLabels": {"of": name}}, "template": template}}
    kopf.adopt(deployment)
    apps.create_namespaced_deployment(namespace, deployment)
    # No owner: it goes because the operator takes it away.
    core.create_namespaced_config_map(namespace, card_of(name, body.get("data", {})))
    patch.metadata.annotations["example.org/greeted"] = "yes"
    kopf.info(body, reason="Greeted", message="a card was written")
    return {"cards": 1}


@kopf.on.update("v1", "configmaps", field="data.name", **GREETING)
def renamed(name, namespace, old, new, body, **_):
    core.patch_namespaced_config_map(f"{name}-card", namespace, card_of(name, {"name": new}))
    kopf.info(body, reason="Renamed", message=f"from {old} to {new}")


@kopf.on.resume("v1", "configmaps", **GREETING)
def again(patch, retry, **_):
    patch.metadata.annotations["example.org/resumed"] = "yes"


@kopf.on.delete("v1", "configmaps", **GREETING)
def ended(name, namespace, **_):
    core.delete_namespaced_config_map(f"{name}-card", namespace)


@kopf.timer("vkube.io", "v1alpha1", "baremetalhosts", interval=0.5)
def looked_after(patch, status, **_):
    patch.status["phase"] = "Ready"


@kopf.on.event("apps", "v1", "deployments", labels={"app": kopf.ABSENT})
def seen(event, logger, **_):
    logger.debug(f"a deployment: {event['type']}")
