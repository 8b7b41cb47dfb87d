"""Makes the pod that `streams.py` runs commands in, at the server whose URL is the first argument, and waits until it runs."""

import sys
import time

from kubernetes import client

configuration = client.Configuration()
configuration.host = sys.argv[1]
core = client.CoreV1Api(client.ApiClient(configuration))

LINE = "/bin/busybox mkdir -p /www; /bin/busybox printf 'from the pod' > /www/note; exec /bin/busybox httpd -f -p 80 -h /www"
container = {"name": "main", "image": "hello:latest", "command": ["/bin/busybox", "sh", "-c", LINE]}
pod = {"metadata": {"name": "box"}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
core.create_namespaced_pod("default", pod)
deadline = time.monotonic() + 60
while core.read_namespaced_pod("box", "default").status.phase != "Running":
    assert time.monotonic() < deadline, "the pod does not run"
    time.sleep(0.05)
