"""Drives a server, whose URL is the first argument, with the Python client of Kubernetes; fails by an assertion.

The second argument is an image that the server has."""

import sys
import time

from kubernetes import client, dynamic, watch
from kubernetes.client.rest import ApiException

configuration = client.Configuration()
configuration.host = sys.argv[1]
api = client.ApiClient(configuration)
core = client.CoreV1Api(api)
image = sys.argv[2]


def refused(call, code):
    try:
        call()
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"a refusal with {code} was expected")


version = client.VersionApi(api).get_code()
assert (version.major, version.minor) == ("1", "32"), version
assert "v1" in client.CoreApi(api).get_api_versions().versions
names = [resource.name for resource in core.get_api_resources().resources]
assert "pods" in names and "configmaps" in names, names

# Bodies have no kind, requests no content type.
meta = client.V1ObjectMeta(name="m", labels={"app": "web"})
made = core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta, data={"a": "1"}))
assert made.metadata.uid and made.data == {"a": "1"}, made
refused(lambda: core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta)), 409)
made.data["b"] = "2"
replaced = core.replace_namespaced_config_map("m", "default", made)
assert replaced.data == {"a": "1", "b": "2"}, replaced
refused(lambda: core.replace_namespaced_config_map("m", "default", made), 409)
patched = core.patch_namespaced_config_map("m", "default", {"data": {"b": None, "c": "3"}})
assert patched.data == {"a": "1", "c": "3"}, patched
operations = [{"op": "replace", "path": "/data/a", "value": "4"}]
assert core.patch_namespaced_config_map("m", "default", operations).data["a"] == "4"
assert [one.metadata.name for one in core.list_namespaced_config_map("default", label_selector="app in (web)").items] == ["m"]
refused(lambda: core.list_namespaced_config_map("default", field_selector="spec.foo=b"), 400)

spec = client.V1PodSpec(containers=[client.V1Container(name="c", image=image)])
core.create_namespaced_pod("default", client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=spec))
phases = []
for event in watch.Watch().stream(core.list_namespaced_pod, "default", timeout_seconds=60):
    phases.append(event["object"].status.phase)
    if phases[-1] == "Running":
        break
assert phases[-1] == "Running", phases
assert core.read_namespaced_pod("p", "default").status.pod_ip
assert core.read_namespaced_pod_status("p", "default").status.phase == "Running"
assert isinstance(core.read_namespaced_pod_log("p", "default", tail_lines=5), str)
error = refused(lambda: core.read_namespaced_pod("nosuch", "default"), 404)
assert '"reason":"NotFound"' in error.body, error.body

# A watch that runs out ends without an exception, after what there is.
begun = time.monotonic()
seen = [event["type"] for event in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=2)]
assert seen[0] == "ADDED" and 1 <= time.monotonic() - begun < 30, seen

maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
maps.create(body={"kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"x": "1"}}, namespace="default")
assert maps.get(name="d", namespace="default").data.x == "1"
maps.patch(name="d", namespace="default", body={"data": {"x": "2"}}, content_type="application/merge-patch+json")
assert maps.get(name="d", namespace="default").data.x == "2"
maps.delete(name="d", namespace="default")

# Statement 58, the part of Python: a kind it has no types for, with the dynamic client and with the one for custom kinds.
hosts = dynamic.DynamicClient(api).resources.get(api_version="vkube.io/v1alpha1", kind="BareMetalHost")
machine = {"apiVersion": "vkube.io/v1alpha1", "kind": "BareMetalHost", "metadata": {"name": "machine"}}
hosts.create(body={**machine, "spec": {"bootMACAddress": "02:00:00:00:00:01"}}, namespace="default")
assert [one.metadata.name for one in hosts.get(namespace="default").items] == ["machine"]
merge = {"content_type": "application/merge-patch+json"}
labelled = hosts.patch(name="machine", namespace="default", body={"metadata": {"labels": {"rack": "a"}}}, **merge)
assert labelled.metadata.labels.rack == "a", labelled
reported = hosts.status.patch(name="machine", namespace="default", body={**machine, "status": {"phase": "Ready"}}, **merge)
assert reported.status.phase == "Ready", reported
seen = [event["type"] for event in hosts.watch(namespace="default", timeout=1)]
assert seen == ["ADDED"], seen
applied = hosts.server_side_apply({**machine, "spec": {"image": "fedora"}}, namespace="default", field_manager="me", force_conflicts=True)
assert (applied.spec.image, applied.spec.bootMACAddress) == ("fedora", "02:00:00:00:00:01"), applied
custom = client.CustomObjectsApi(api)
where = ("vkube.io", "v1alpha1", "default", "baremetalhosts")
assert custom.patch_namespaced_custom_object(*where, "machine", {"spec": {"image": "debian"}})["spec"]["image"] == "debian"
refused(lambda: custom.patch_namespaced_custom_object(*where, "machine", {"spec": {"online": "perhaps"}}), 400)
hosts.delete(name="machine", namespace="default")
refused(lambda: custom.get_namespaced_custom_object(*where, "machine"), 404)

# Statement 55: pods that are there, then what happens, then an end without an exception; from a version on as well.
version = core.list_namespaced_pod("default").metadata.resource_version
watched = watch.Watch().stream(core.list_namespaced_pod, "default", timeout_seconds=2)
told = [(next(watched)["type"])]
core.patch_namespaced_pod("p", "default", {"metadata": {"labels": {"seen": "yes"}}})
told += [event["type"] for event in watched]
assert told[:2] == ["ADDED", "MODIFIED"], told
later = watch.Watch().stream(core.list_namespaced_pod, "default", resource_version=version, timeout_seconds=1)
assert "ADDED" not in [event["type"] for event in later]

assert core.delete_namespaced_config_map("m", "default")["status"] == "Success"
core.delete_namespaced_pod("p", "default")
deadline = time.monotonic() + 60
while core.list_namespaced_pod("default").items:
    assert time.monotonic() < deadline, "the pod is still there"
    time.sleep(0.05)
core.create_namespace({"metadata": {"name": "team"}})
core.delete_namespace("team")
core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=meta))
core.delete_collection_namespaced_config_map("default", label_selector="app=web")
assert core.list_namespaced_config_map("default").items == []
print("all well")
