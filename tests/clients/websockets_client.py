"""The server seen by the Python package `websockets`, and by bare sockets where it is too polite.

RINGWIRE_WS names the running server, such as ws://127.0.0.1:8080. With RINGWIRE_PID the last
test sends that process SIGTERM and watches the drain. Ends with `N passed, N failed`.
"""

import asyncio
import contextlib
import os
import random
import resource
import signal
import sys
import time
import traceback
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

BASE = os.environ.get("RINGWIRE_WS", "")
PID = os.environ.get("RINGWIRE_PID")
MIB = 1 << 20
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def opened(path="/echo", **options):
    return connect(BASE + path, **{"compression": None, "max_size": 32 * MIB, "open_timeout": 30, **options})


async def refused(path="/echo", **options):
    """The HTTP answer to an opening that must fail."""
    try:
        async with opened(path, **options):
            raise AssertionError(f"{path} was opened")
    except InvalidStatus as error:
        return error.response


def bare_socket():
    address = urlsplit(BASE)
    return asyncio.open_connection(address.hostname, address.port)


@test
async def echo_of_every_size():
    async with opened() as ws:
        for size in (0, 1, 125, 126, 65_535, 65_536, MIB, 16 * MIB):
            binary = random.randbytes(size)
            await ws.send(binary)
            assert await ws.recv() == binary, f"{size} bytes"
            text = "añ水🦀" * (size // 10) + "x" * (size % 10)
            await ws.send(text)
            assert await ws.recv() == text, f"text of {size} bytes"


@test
async def fragments_become_one_message():
    async with opened() as ws:
        await ws.send(["one ", "", "two ", "three"])
        assert await ws.recv() == "one two three"
        await ws.send([b"\x00" * 70_000, b"\xff" * 70_000])
        assert await ws.recv() == b"\x00" * 70_000 + b"\xff" * 70_000


@test
async def compression_offered_and_declined():
    async with opened(compression="deflate") as ws:
        assert "permessage-deflate" in ws.request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in ws.response.headers
        await ws.send("a" * 10_000)
        assert await ws.recv() == "a" * 10_000


@test
async def keepalive_pings_are_answered():
    async with opened(ping_interval=0.1, ping_timeout=5) as ws:
        await asyncio.sleep(1)
        assert ws.latency > 0, "no keepalive ping was answered"
        await (await asyncio.wait_for(ws.ping(b"x" * 125), 5))
        await ws.send("alive")
        assert await ws.recv() == "alive"


@test
async def close_codes_come_back():
    for code, reason in ((1000, ""), (1001, "leaving"), (3000, "ü" * 61), (4999, "last")):
        async with opened() as ws:
            await ws.close(code, reason)
            assert (ws.close_code, ws.close_reason) == (code, reason), (ws.close_code, ws.close_reason)


@test
async def refusals():
    assert (await refused("/no/such/route")).status_code == 404
    assert (await refused(origin="https://elsewhere.example")).status_code == 403
    async with opened(origin=BASE.replace("ws", "http", 1)):
        pass


@test
async def a_thousand_connections_at_once():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))

    async def one(number):
        async with opened(ping_interval=None) as ws:
            for turn in range(3):
                message = f"{number}/{turn}"
                await ws.send(message)
                assert await asyncio.wait_for(ws.recv(), 30) == message
            await barrier.wait()

    barrier = asyncio.Barrier(1000)
    await asyncio.gather(*(one(number) for number in range(1000)))


@test
async def half_an_opening_is_cut_with_408():
    reader, writer = await bare_socket()
    started = time.monotonic()
    writer.write(b"GET /echo HTTP/1.1\r\nHost: ")
    answer = await asyncio.wait_for(reader.read(), 20)
    took = time.monotonic() - started
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert 8 <= took <= 14, f"cut after {took:.1f} s"


@test
async def an_opening_in_drops_is_cut_all_the_same():
    reader, writer = await bare_socket()
    started = time.monotonic()
    answer = asyncio.ensure_future(reader.read())
    writer.write(b"GET /echo HTTP/1.1\r\nX: ")
    while not answer.done() and time.monotonic() - started < 20:
        with contextlib.suppress(ConnectionError):
            writer.write(b"x")
        await asyncio.wait([answer], timeout=0.5)
    took = time.monotonic() - started
    writer.close()
    with contextlib.suppress(ConnectionError):
        assert (await answer).startswith(b"HTTP/1.1 408 "), answer
    assert 8 <= took <= 14, f"cut after {took:.1f} s"


@test
async def silence_on_the_timed_echo():
    async with opened("/csp/user/MyApp.MyWebSocketServer.cls") as ws:
        await ws.send("hello")
        assert await ws.recv() == "hello"
        started = time.monotonic()
        text = await asyncio.wait_for(ws.recv(), 20)
        took = time.monotonic() - started
        assert text.startswith("Server timed-out at "), text
        assert 8 <= took <= 14, f"spoke after {took:.1f} s"
        await ws.send("exit")
        await asyncio.wait_for(ws.wait_closed(), 10)
        assert ws.close_code == 1000, ws.close_code


@test
async def chat_of_twenty():
    async with contextlib.AsyncExitStack() as stack:
        people = []
        for number in range(20):
            ws = await stack.enter_async_context(opened("/chat", max_queue=None))
            await ws.send(f"guest {number}")
            people.append(ws)
            for other in people:
                assert await asyncio.wait_for(other.recv(), 10) == f"* guest {number} has joined"
        await asyncio.gather(*(ws.send(f"hello {turn}") for turn in range(5) for ws in people))
        heard = [[await asyncio.wait_for(ws.recv(), 10) for _ in range(100)] for ws in people]
        wanted = sorted(f"guest {number}: hello {turn}" for number in range(20) for turn in range(5))
        for lines in heard:
            assert sorted(lines) == wanted
            for number in range(20):
                mine = [line for line in lines if line.startswith(f"guest {number}:")]
                assert mine == sorted(mine), "one speaker's lines stay in order"
        await people.pop().close()
        for ws in people:
            assert await asyncio.wait_for(ws.recv(), 10) == "* guest 19 has left"


@test
async def chat_names_are_checked():
    for name in ("", "x" * 33, "two\nlines", b"binary"):
        async with opened("/chat") as ws:
            await ws.send(name)
            await asyncio.wait_for(ws.wait_closed(), 10)
            assert ws.close_code in (1003, 1008), (name, ws.close_code)


async def drain_says_going_away():
    async with contextlib.AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(opened(path)) for path in ("/echo", "/chat", "/csp/user/MyApp.MyWebSocketServer.cls") * 5]
        os.kill(int(PID), signal.SIGTERM)
        for ws in sockets:
            await asyncio.wait_for(ws.wait_closed(), 15)
            assert ws.close_code == 1001, ws.close_code


def main():
    if not BASE:
        sys.exit("set RINGWIRE_WS to the server under test, such as ws://127.0.0.1:8080")
    failed = 0
    tests = TESTS + ([drain_says_going_away] if PID else [])
    for function in tests:
        started = time.monotonic()
        try:
            asyncio.run(asyncio.wait_for(function(), 120))
            verdict = "ok"
        except Exception:
            traceback.print_exc()
            failed += 1
            verdict = "FAILED"
        print(f"{verdict} {function.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
