"""Runs commands in a pod and reaches its port with the Python client; the server's URL is the first argument."""

import sys
import time

from kubernetes import client
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

configuration = client.Configuration()
configuration.host = sys.argv[1]
core = client.CoreV1Api(client.ApiClient(configuration))


def begin(command, **options):
    given = {"stderr": True, "stdin": False, "stdout": True, "tty": False, **options}
    return stream(core.connect_get_namespaced_pod_exec, "box", "default", command=command, _preload_content=False, **given)


# Both outputs and the code.
ran = begin(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
ran.run_forever(timeout=60)
assert ran.read_stdout() == "out\n", "out"
assert ran.read_stderr() == "err\n", "err"
assert ran.returncode == 3, ran.returncode

# Input, line after line.
shell = begin(["/bin/sh"], stdin=True)
for number in range(3):
    shell.write_stdin(f"echo number {number}\n")
    assert shell.readline_stdout(timeout=60) == f"number {number}", number
shell.write_stdin("exit 4\n")
shell.run_forever(timeout=60)
assert shell.returncode == 4, shell.returncode

try:
    stream(core.connect_get_namespaced_pod_exec, "nosuch", "default", command=["true"], stdout=True)
    raise AssertionError("a refusal was expected")
except ApiException as error:
    assert error.status in (0, 404) and "404" in str(error), error

# A port of the pod, twice, and one where nobody listens.
for _ in range(2):
    forward = portforward(core.connect_get_namespaced_pod_portforward, "box", "default", ports="80")
    connection = forward.socket(80)
    connection.settimeout(60)
    connection.sendall(b"GET /note HTTP/1.0\r\n\r\n")
    page = b""
    while True:
        piece = connection.recv(4096)
        if not piece:
            break
        page += piece
    assert page.endswith(b"\r\n\r\nfrom the pod"), page
    assert forward.error(80) is None, forward.error(80)

forward = portforward(core.connect_get_namespaced_pod_portforward, "box", "default", ports="81")
connection = forward.socket(81)
connection.settimeout(60)
assert connection.recv(10) == b""
end = time.monotonic() + 60
while forward.error(81) is None and time.monotonic() < end:
    time.sleep(0.05)
assert "connection refused" in forward.error(81), forward.error(81)

print("all well")
