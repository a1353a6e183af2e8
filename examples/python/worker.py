#!/usr/bin/env python3
"""Answers every message of every WebSocket of a route, from outside of the server.

    ringwire serve --config shared.toml --control /run/ringwire/control.sock
    python3 worker.py --control /run/ringwire/control.sock /feed

with `[[route]]`, `path = "/feed"`, `mode = "shared"` in shared.toml. Over TCP it is
`--admin 127.0.0.1:9002`, and the token in RINGWIRE_TOKEN.

It follows GET /v1/events to learn which sockets have something to say, opens each, answers what
waits there, and releases it. Several of these may run, also on routes of the same server: the
lease that `open` takes lets one of them work on a socket at a time. SIGTERM ends it between two
messages. It may be killed at any moment as well: what it had not acknowledged (by the next read, or
by release) is read again by whoever comes next, when the lease has ended after 30 s. Put your own
code into `answer`.

What may happen at any time does not end it: sockets leave (404, 410) and are taken by others (409,
412), the server is busy or says that it was asked too often (429, 503, which it asks again after
`Retry-After`), is restarted, or does not answer. A wrong token, or a route that is asked for in the
wrong way, does.

Only the standard library is needed, Python 3.9 or newer.
"""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import sys
import time
from urllib.parse import quote, urlencode


def answer(text):
    """What is sent back for a message, text or bytes; None for nothing."""
    return text.upper()


# For so long one request is repeated that the server cannot take at the moment; seconds.
PATIENCE = 20

# What any socket may meet: held by another worker, taken over, or gone. None of it is ours to deal
# with.
USUAL = ("busy", "fenced", "closed", "expired", "unknown_id", "not_shared")


class Refused(Exception):
    """The control plane said no."""

    def __init__(self, status, headers, body):
        try:
            error = json.loads(body)["error"]
            self.code = error["code"]
        except (ValueError, KeyError, TypeError):
            error = {"message": f"status {status}"}
            self.code = "strange"
        super().__init__(f"{error.get('message')}; {error.get('remedy', '')}")
        # Nothing was done, and the same request may be taken in a moment. `full` is the peer's
        # slowness, for which the server has waited already.
        self.is_momentary = status in (429, 503) and self.code != "full"
        try:
            self.retry_after = min(float(headers.get("Retry-After", 0)), PATIENCE)
        except ValueError:
            self.retry_after = 0.0


def say(text):
    print(f"worker: {text}", file=sys.stderr)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Plane:
    """The control plane, over one kept-alive connection."""

    def __init__(self, admin, control, token):
        self.admin, self.control, self.token = admin, control, token
        self.connection = None

    def dial(self, timeout):
        if self.control:
            return UnixConnection(self.control, timeout)
        return http.client.HTTPConnection(self.admin, timeout=timeout)

    def headers(self):
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def call(self, method, path, query=None, body=None, kind=None):
        """One request, repeated while the server cannot take it; header fields and body."""
        deadline, pause = time.monotonic() + PATIENCE, 0.1
        while True:
            try:
                return self.call_once(method, path, query, body, kind)
            except Refused as refused:
                # Several workers that were refused together do not come back together.
                wait = max(pause, refused.retry_after) * random.uniform(1, 1.5)
                if not refused.is_momentary or time.monotonic() + wait > deadline:
                    raise
            time.sleep(wait)
            pause = min(2 * pause, 2)

    def call_once(self, method, path, query, body, kind):
        """One request. Nothing is repeated here."""
        if self.connection is None:
            self.connection = self.dial(timeout=90)
        headers = self.headers()
        if kind:
            headers["Content-Type"] = kind
        target = path + ("?" + urlencode(query) if query else "")
        try:
            self.connection.request(method, target, body=body, headers=headers)
            response = self.connection.getresponse()
            data = response.read()
        except BaseException:
            # What was half said on it cannot be taken up again.
            self.connection.close()
            self.connection = None
            raise
        if response.status >= 300:
            raise Refused(response.status, response.headers, data)
        return response.headers, data

    def events(self, route, after):
        """The events of a route from now on, or after the one of this id: (id, type, data).

        A block with an id and no event, as the stream begins with, is of type None.
        """
        # The server says something every 15 s.
        connection = self.dial(timeout=45)
        try:
            query = {"route": route, "types": "open,readable"}
            if after:
                query["after"] = after
            connection.request("GET", "/v1/events?" + urlencode(query), headers=self.headers())
            response = connection.getresponse()
            if response.status != 200:
                raise Refused(response.status, response.headers, response.read())
            yield None, "listening", {}
            fields = {}
            for line in iter(response.readline, b""):
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    fields[name] = value.removeprefix(" ")
                elif not line.strip():
                    if "data" in fields:
                        yield fields.get("id"), fields.get("event"), json.loads(fields["data"])
                    elif "id" in fields:
                        yield fields["id"], None, {}
                    fields = {}
        finally:
            connection.close()

    def waiting(self, route):
        """Ids of the sockets that nobody holds, and for which something may have come."""
        cursor = None
        while True:
            query = {"route": route, "status": "unattended", "limit": 1000}
            if cursor:
                query["cursor"] = cursor
            page = json.loads(self.call("GET", "/v1/websockets", query)[1])
            for websocket in page["websockets"]:
                if websocket["inbox_messages"] > 0:
                    yield websocket["id"]
            cursor = page["next_cursor"]
            if not cursor:
                return


class Stopping:
    """SIGTERM ends the worker at once, or when it has released the socket that it holds."""

    def __init__(self):
        self.is_wanted = self.is_busy = False
        signal.signal(signal.SIGTERM, self.wanted)

    def wanted(self, _signal, _frame):
        self.is_wanted = True
        if not self.is_busy:
            sys.exit(0)

    def __enter__(self):
        self.is_busy = True

    def __exit__(self, *_error):
        self.is_busy = False
        if self.is_wanted:
            sys.exit(0)


def serve(plane, stopping, websocket_id):
    """Answers what waits on one socket."""
    with stopping:
        answer_all(plane, stopping, websocket_id)


def answer_all(plane, stopping, websocket_id):
    path = "/v1/websockets/" + quote(websocket_id, safe="")
    fence, message = None, b""
    try:
        opened = json.loads(plane.call("POST", path + "/open")[1])
        fence, acknowledged = opened["fence"], 0
        while True:
            message, is_end = b"", False
            while not is_end:
                # A repeated request with the same `ack` would give the same piece again. To look
                # whether there is a message, `len` is left at what makes a socket readable, and a
                # moment is waited: more often comes at once. The rest of a large one is on its way.
                query = {"timeout": 100, "fence": fence, "ack": acknowledged}
                if message:
                    query.update(timeout=10_000, len=1 << 20)
                headers, piece = plane.call("POST", path + "/read", query)
                acknowledged = headers["Ringwire-Message"]
                is_end = headers["Ringwire-At-End"] == "true"
                message += piece
            is_text = headers["Content-Type"].startswith("text/plain")
            reply = answer(message.decode() if is_text else message)
            if reply is not None:
                kind = "text/plain" if isinstance(reply, str) else "application/octet-stream"
                body = reply.encode() if isinstance(reply, str) else reply
                try:
                    plane.call("POST", path + "/write", {"fence": fence}, body, kind)
                except Refused as refused:
                    if refused.code not in ("too_long", "bad_request"):
                        raise
                    # Of no use to ask again, and no reason to stop for the others.
                    say(f"an answer is not sent: {refused}")
            message = b""
            if stopping.is_wanted:
                plane.call("POST", path + "/release", {"fence": fence})
                return
    except Refused as refused:
        if refused.code in USUAL:
            return
        if refused.code != "timeout" and refused.code != "full" and not refused.is_momentary:
            raise
        # Nothing waits any more; an event tells when something does. Or the peer does not take its
        # answer, or the server is too busy: then the message goes back to be read again.
        query = {"fence": fence}
        if refused.code != "timeout" or message:
            say(f"{websocket_id} later: {refused}")
            query["ack"] = "false"
        try:
            if fence is not None:
                plane.call_once("POST", path + "/release", query, None, None)
        except Refused:
            # Then the lease ends by itself.
            pass


def work(plane, stopping, route):
    """Follows the events for ever, also over restarts of the server."""
    after, pause = None, 0.1
    while True:
        try:
            for event_id, kind, data in plane.events(route, after):
                pause = 0.1
                after = event_id or after
                if kind in ("listening", "gap"):
                    # What came before we listened.
                    for websocket_id in list(plane.waiting(route)):
                        serve(plane, stopping, websocket_id)
                elif kind == "readable":
                    serve(plane, stopping, data["id"])
        except (OSError, http.client.HTTPException) as error:
            say(f"{error or type(error).__name__}; trying again")
        except Refused as refused:
            if not refused.is_momentary:
                raise
            say(f"{refused}; trying again")
            pause = max(pause, refused.retry_after)
        time.sleep(pause)
        pause = min(2 * pause, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--admin", default="127.0.0.1:9002", metavar="HOST:PORT")
    parser.add_argument("--control", metavar="PATH", help="the Unix socket instead")
    parser.add_argument("route", help="such as /feed")
    options = parser.parse_args()
    plane = Plane(options.admin, options.control, os.environ.get("RINGWIRE_TOKEN"))
    try:
        work(plane, Stopping(), options.route)
    except Refused as refused:
        sys.exit(f"worker: {refused}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
