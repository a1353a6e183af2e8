"""Holds the control plane to its own description, with a live WebSocket and without.

Schemathesis makes requests from GET /openapi.json, right ones and wrong ones, and checks every
answer against it. Run by `.ci/run control_api` with RINGWIRE_WS, RINGWIRE_CONTROL_URL and
RINGWIRE_CONTROL_TOKEN set; EXAMPLES is how many requests each operation gets (default 60).
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from websockets.sync.client import connect

CONTROL = os.environ["RINGWIRE_CONTROL_URL"].rstrip("/")
TOKEN = os.environ["RINGWIRE_CONTROL_TOKEN"]
EXAMPLES = os.environ.get("EXAMPLES", "60")
PATIENCE_S = 20

# Its answer has no end.
ENDLESS = "/v1/events"

# A poll with an id that lives takes its time; zero is as good for the description. And whether a
# message comes, a lease holds and a peer is there is nothing that a right request can know; nor can
# OpenAPI say that `cursor` excludes `sort`, and that `ack` needs `fence`.
SETTINGS = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "408", "409", "410", "412"]
[[operations]]
include-operation-id = ["listWebSockets", "read"]
checks.positive_data_acceptance.enabled = false
[parameters]
"query.timeout" = 0
"""

# What would end the live WebSocket is asked of unknown ids alone.
DEADLY = ["closeWebSocket", "interrupt"]


def asked(path):
    request = urllib.request.Request(CONTROL + path, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def live_id():
    """The id of the WebSocket on /feed."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = asked("/v1/websockets?route=/feed&status=unattended")["websockets"]
        if found:
            return found[0]["id"]
        time.sleep(0.05)
    raise AssertionError("the WebSocket is not in the list")


def schemathesis(folder, settings, *arguments):
    """Runs it, and answers whether it is content."""
    config = Path(folder) / "schemathesis.toml"
    config.write_text(settings)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file", str(config),
        "run", f"{CONTROL}/openapi.json",
        "--url", CONTROL,
        "--header", f"Authorization: Bearer {TOKEN}",
        "--phases", "examples,coverage,fuzzing",
        "--exclude-path", ENDLESS,
        "--max-examples", EXAMPLES,
        "--seed", "1",
        "--request-timeout", "30",
        "--no-color",
        *arguments,
    ]  # fmt: skip
    return subprocess.run(command, cwd=folder, check=False).returncode == 0


def main():
    with tempfile.TemporaryDirectory() as folder:
        content = schemathesis(folder, SETTINGS)
        with connect(os.environ["RINGWIRE_WS"] + "/feed") as live:
            # It takes what is written to it, and always has something to be read.
            threading.Thread(target=lambda: list(live), daemon=True).start()
            for number in range(500):
                live.send(f"message {number}")
            excluded = [word for name in DEADLY for word in ("--exclude-operation-id", name)]
            settings = f'{SETTINGS}"path.id" = "{live_id()}"\n'
            content &= schemathesis(folder, settings, "--include-path-regex", "/v1/websockets/", *excluded)
            assert asked("/v1/websockets?route=/feed")["total"] == 1, "the WebSocket was lost"
    assert asked("/v1/status")["healthy"] is True
    sys.exit(0 if content else 1)


if __name__ == "__main__":
    main()
