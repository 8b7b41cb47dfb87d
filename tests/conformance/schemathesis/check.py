"""Makes up requests from each OpenAPI document of a server, whose URL is the first argument, and checks the answers against it.

The second argument is where reports go, the third how many requests each operation gets."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.request

server, reports, examples = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
here = pathlib.Path(__file__).parent
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
]
OPTIONS = {
    "--checks": ",".join(CHECKS),
    "--phases": "fuzzing",
    "--max-examples": examples,
    "--seed": os.environ.get("SCHEMATHESIS_SEED", "1"),
    "--request-timeout": "30",
    "--warnings": "off",
    "--suppress-health-check": "all",
    "--report": "har",
    # Upgraded connections have no documents.
    "--exclude-path-regex": "/(exec|attach|portforward)$",
}

reports.mkdir(parents=True, exist_ok=True)
with urllib.request.urlopen(f"{server}/openapi/v3", timeout=30) as answer:
    documents = sorted(json.load(answer)["paths"])
assert "api/v1" in documents and "apis/apps/v1" in documents, documents

failed, statuses = [], collections.Counter()
for document in documents:
    with urllib.request.urlopen(f"{server}/openapi/v3/{document}", timeout=30) as answer:
        if not json.load(answer)["paths"]:
            # Nothing but what subresources of other groups take.
            continue
    report = reports / re.sub("[/.]", "-", document)
    options = [word for pair in {**OPTIONS, "--report-har-path": f"{report}.har"}.items() for word in pair]
    program = [str(pathlib.Path(sys.executable).with_name("st")), "run", f"{server}/openapi/v3/{document}"]
    with open(f"{report}.txt", "w") as output:
        ended = subprocess.run(
            [*program, "--url", server, *options, "--no-color", "--no-shrink", "--continue-on-failure"],
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(here), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=reports,
            stdout=output,
            stderr=output,
            timeout=1200,
        )
    found = collections.Counter(entry["response"]["status"] for entry in json.loads(pathlib.Path(f"{report}.har").read_text())["log"]["entries"])
    statuses += found
    print(f"{document}: {sum(found.values())} requests, {'well' if ended.returncode == 0 else f'see {report}.txt'}", flush=True)
    if ended.returncode != 0:
        failed.append(document)
        kinds = [line[:200] for line in pathlib.Path(f"{report}.txt").read_text().splitlines() if re.match(r"_+ [A-Z]|- ST|\[\d+\] ", line)]
        print("\n".join(kinds[:60]))

print("answers:", dict(sorted(statuses.items())))
# Requests that are all refused show nothing.
assert statuses[200] + statuses[201] > sum(statuses.values()) / 6, statuses
if failed:
    sys.exit(f"error: {', '.join(failed)}")
print("all well")
