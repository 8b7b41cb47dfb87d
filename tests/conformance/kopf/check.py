"""Runs the operator of greetings.py with kopf against a server, whose URL is the first argument, and checks what comes of it."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from kubernetes import client
from kubernetes.client.rest import ApiException

server = sys.argv[1]
configuration = client.Configuration()
configuration.host = server
api = client.ApiClient(configuration)
core, apps, custom = client.CoreV1Api(api), client.AppsV1Api(api), client.CustomObjectsApi(api)
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
HOST = {"group": "vkube.io", "version": "v1alpha1", "namespace": "default", "plural": "baremetalhosts"}


def until(what, look, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def gone(read):
    try:
        read()
        return False
    except ApiException as error:
        assert error.status == 404, error
        return True


def greeting():
    return core.read_namespaced_config_map("world", "default")


def annotation(name):
    return (greeting().metadata.annotations or {}).get(name)


def card():
    try:
        return core.read_namespaced_config_map("world-card", "default").data["text"]
    except ApiException as error:
        assert error.status == 404, error
        return None


def reasons():
    return {event.reason for event in core.list_namespaced_event("default", field_selector="involvedObject.name=world").items}


@contextlib.contextmanager
def operator(directory):
    kubeconfig = pathlib.Path(directory) / "kubeconfig"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: mkube, clusters: [{name: mkube, cluster: {server: '%s'}}], "
        "users: [{name: nobody, user: {}}], contexts: [{name: mkube, context: {cluster: mkube, user: nobody}}]}" % server
    )
    program = [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", "default", "--verbose"]
    with open(pathlib.Path(directory) / "log", "a+") as log:
        script = str(pathlib.Path(__file__).with_name("greetings.py"))
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONDONTWRITEBYTECODE": "1"}
        running = subprocess.Popen([*program, script], env=environment, stdout=log, stderr=log)
        try:
            yield running
            assert running.poll() is None, "the operator ended by itself"
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read()[-20000:])
            raise
        finally:
            running.terminate()
            running.wait(30)
    text = (pathlib.Path(directory) / "log").read_text()
    assert "Traceback" not in text, text[-20000:]


with tempfile.TemporaryDirectory() as directory:
    with operator(directory):
        meta = client.V1ObjectMeta(name="world", labels={"app": "greeting"})
        core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta, data={"name": "world"}))
        until("the card", lambda: card() == "hello world")
        until("the end of the creation", lambda: annotation("example.org/greeted") == "yes")
        assert greeting().metadata.finalizers == [FINALIZER], greeting()
        owners = apps.read_namespaced_deployment("world", "default").metadata.owner_references
        assert [(one.kind, one.name) for one in owners] == [("ConfigMap", "world")], owners
        until("its event", lambda: "Greeted" in reasons())
        until("its pod", lambda: apps.read_namespaced_deployment("world", "default").status.ready_replicas == 1)

        core.patch_namespaced_config_map("world", "default", {"data": {"name": "moon"}})
        until("the new card", lambda: card() == "hello moon")
        until("the event of it", lambda: "Renamed" in reasons())

        custom.create_namespaced_custom_object(
            **HOST, body={"apiVersion": "vkube.io/v1alpha1", "kind": "BareMetalHost", "metadata": {"name": "machine"}, "spec": {}}
        )
        machine = lambda: custom.get_namespaced_custom_object(**HOST, name="machine")
        until("the status of the machine", lambda: (machine().get("status") or {}).get("phase") == "Ready")

    # Nobody is there to let it go.
    core.delete_namespaced_config_map("world", "default")
    assert greeting().metadata.deletion_timestamp, greeting()
    assert card() == "hello moon"
    meta = client.V1ObjectMeta(name="second", labels={"app": "greeting"})

    with operator(directory):
        until("the end of the object", lambda: gone(greeting))
        assert card() is None
        until("the end of what it owned", lambda: gone(lambda: apps.read_namespaced_deployment("world", "default")))
        custom.delete_namespaced_custom_object(**HOST, name="machine")
        until("the end of the machine", lambda: gone(lambda: custom.get_namespaced_custom_object(**HOST, name="machine")))
        core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta, data={"name": "all"}))
        until("the second card", lambda: not gone(lambda: core.read_namespaced_config_map("second-card", "default")))
    with operator(directory):
        resumed = lambda: core.read_namespaced_config_map("second", "default").metadata.annotations.get("example.org/resumed")
        until("that it is taken up again", lambda: resumed() == "yes")
        core.delete_namespaced_config_map("second", "default")
        until("the end of the second", lambda: gone(lambda: core.read_namespaced_config_map("second", "default")))
print("all well")
