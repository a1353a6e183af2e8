"""Holds the control plane to its own description, with a live WebSocket and without.

Schemathesis makes requests from GET /openapi.json, right ones and wrong ones, and checks every
answer against it. It would wait for the end of the stream of events, which has none; so that path is
asked here, in the same manner, and its events are held to their schema. Run by `.ci/run control_api` with RINGWIRE_WS, RINGWIRE_CONTROL_URL and
RINGWIRE_CONTROL_TOKEN set; EXAMPLES is how many requests each operation gets (default 60).
"""

import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import jsonschema_rs
from websockets.sync.client import connect

CONTROL = os.environ["RINGWIRE_CONTROL_URL"].rstrip("/")
TOKEN = os.environ["RINGWIRE_CONTROL_TOKEN"]
EXAMPLES = os.environ.get("EXAMPLES", "60")
PATIENCE_S = 20

# Its answer has no end, see `Events`.
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


class Events:
    """Holds the stream of events to its description."""

    # Values of a parameter, right and wrong: which they are is what their schemas say.
    ROUTES = ["/feed", "/", "ü", "%00", "", "x" * 1024, "x" * 1025]
    TYPES = ["open", "readable,closed", "gap", "open,,open", "dance", "", "OPEN", "open "]
    IDS = ["00000000-0", "ffffffff-9223372036854775807", "0-0", "x", "", "00000000-", "00000000-1 "]

    def __init__(self):
        self.document = asked("/openapi.json")
        self.operation = self.document["paths"][ENDLESS]["get"]

    def validator(self, schema):
        return jsonschema_rs.validator_for({**schema, "components": self.document["components"]})

    def asked(self, query, headers):
        """The open connection and the answer, of which a stream has not been read."""
        connection = http.client.HTTPConnection(urlsplit(CONTROL).netloc, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {TOKEN}", **headers}
        connection.request("GET", ENDLESS + query, headers=headers)
        return contextlib.closing(connection), connection.getresponse()

    def check(self, query, headers, right=None):
        """An answer is one that is described; and a stream if and only if the request is right."""
        connection, answer = self.asked(query, headers)
        with connection:
            told = f"{query} {headers}: {answer.status}"
            described = self.operation["responses"].get(str(answer.status))
            assert described, told
            if "$ref" in described:
                described = self.document["components"]["responses"][described["$ref"].rsplit("/", 1)[1]]
            media = answer.headers["Content-Type"]
            assert media in described["content"], f"{told} {media}"
            if answer.status == 200:
                block = self.block(answer)
                assert block["retry"] == "1000", block
            else:
                self.validator(described["content"][media]["schema"]).validate(json.loads(answer.read()))
            assert right is None or right == (answer.status == 200), told

    def fuzz(self, count):
        """Every parameter, there or not, right or wrong, in all mixtures."""
        dice = random.Random(1)
        places = {(p["in"], p["name"]): self.validator(p["schema"]) for p in self.operation["parameters"]}
        values = {"route": self.ROUTES, "types": self.TYPES, "after": self.IDS, "Last-Event-ID": self.IDS}
        assert {name for _, name in places} == set(values), "a parameter that nobody tries"
        for _ in range(count):
            query, headers, right = {}, {}, True
            for (place, name), validator in places.items():
                if dice.random() < 0.5:
                    continue
                value = dice.choice(values[name])
                # An empty header is none, and spaces around one are not of it (RFC 9110 §5.5).
                value = value.strip() if place == "header" else value
                (query if place == "query" else headers)[name] = value
                right &= validator.is_valid(value) or (place == "header" and not value)
            if headers.get("Last-Event-ID") and "after" in query:
                right = None  # the header wins, whatever `after` is
            self.check("?" + urlencode(query, quote_via=quote), headers, right)
        for query in ["?token=x", "?types=open&types=open", "?%ff"]:
            self.check(query, {}, False)
        self.check("", {"Authorization": "Bearer wrong-wrong-wrong"}, False)
        self.check("", {"Origin": "http://evil.example"}, False)

    @staticmethod
    def block(stream):
        """The fields up to the next empty line."""
        fields = {}
        for line in iter(stream.readline, b"\n"):
            assert line, "the stream has ended"
            name, _, value = line.decode().rstrip("\n").partition(":")
            fields[name] = value.removeprefix(" ")
        return fields

    def follow(self):
        """What happens to a WebSocket is told as described, and all of it again to who comes late."""
        schema = self.validator({"$ref": "#/components/schemas/Event"})
        after = next(p["schema"]["pattern"] for p in self.operation["parameters"] if p["name"] == "after")
        connection, stream = self.asked("?route=/feed", {})
        with connection:
            first = self.block(stream)
            assert re.fullmatch(after, first["id"]) and "data" not in first, first
            with connect(os.environ["RINGWIRE_WS"] + "/feed") as live:
                live.send("hello")
                told = [self.block(stream), self.block(stream)]
            told.append(self.block(stream))
            # Of another run: what was missed is not known.
            gone, gap = self.asked("?types=gap&route=/feed", {"Last-Event-ID": "00000000-1"})
            with gone:
                assert "id" not in self.block(gap), "whoever lost the stream now would miss the gap"
                told.append(self.block(gap))
        for event in told:
            assert re.fullmatch(after, event["id"]), event
            schema.validate(json.loads(event["data"]))
        assert [event["event"] for event in told] == ["open", "readable", "closed", "gap"], told
        again, stream = self.asked("?route=/feed", {"Last-Event-ID": first["id"]})
        with again:
            self.block(stream)
            assert [self.block(stream) for _ in range(3)] == told[:3]


def main():
    events = Events()
    events.follow()
    events.fuzz(10 * int(EXAMPLES))
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
