"""The port of /metrics and /health: real HTTP, and clients that do what they should not."""

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from monitor.alert.verdict import Check, HealthReport
from monitor.service.server import CONNECTIONS_MAX, Endpoints, Server

FINE = HealthReport(ok=True, checks=())
WRONG = HealthReport(ok=False, checks=(Check("database", ok=False, text="No answer."),))


class Seen:
    """What the server shows, to be changed by a test."""

    def __init__(self) -> None:
        self.live = FINE
        self.ready = FINE
        self.fault: Exception | None = None
        self.alerts: tuple[tuple[str, str], ...] = ()

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(lambda: None, lambda: self.alerts, lambda: self.live, self._ready)

    def _ready(self) -> HealthReport:
        if self.fault is not None:
            raise self.fault
        return self.ready


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(60):
            while server.address is None:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.01)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def get(server: Server, path: str) -> tuple[int, str, str]:
    assert server.address is not None
    host, port = server.address
    host = f"[{host}]" if ":" in host else host
    timeout = aiohttp.ClientTimeout(total=90)
    async with (
        aiohttp.ClientSession(timeout=timeout) as client,
        client.get(f"http://{host}:{port}{path}") as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


@pytest.fixture
def seen() -> Seen:
    return Seen()


async def test_each_page_answers_with_its_code_and_kind(seen: Seen) -> None:
    async with serving(Server("127.0.0.1:0", seen.endpoints)) as server:
        status, kind, text = await get(server, "/")
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        assert "/metrics" in text
        status, kind, text = await get(server, "/metrics")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "twitterstream_build_info" in text
        assert (await get(server, "/health/live"))[0] == 200
        assert (await get(server, "/health/ready"))[0] == 200
        seen.live = seen.ready = WRONG
        status, kind, text = await get(server, "/health/ready")
        assert (status, kind) == (503, "application/json")
        check = {"name": "database", "ok": False, "text": "No answer."}
        assert json.loads(text) == {"ok": False, "checks": [check]}
        assert (await get(server, "/health/live"))[0] == 503
        assert (await get(server, "/secret.key"))[0] == 404


async def test_a_fault_of_ours_is_said_once_and_answered(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    seen.fault = ValueError("broken")
    async with serving(Server("127.0.0.1:0", seen.endpoints)) as server:
        for _ in range(3):
            status, _, text = await get(server, "/health/ready")
            assert status == 500
            assert "broken" not in text
        assert (await get(server, "/health/live"))[0] == 200
    assert [record.exc_info is not None for record in caplog.records].count(True) == 1


async def test_ipv6_is_served(seen: Seen) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    async with serving(Server("[::1]:0", seen.endpoints)) as server:
        assert (await get(server, "/health/live"))[0] == 200


async def test_a_port_that_is_taken_is_said_once_and_had_when_it_is_free(
    seen: Seen, caplog: pytest.LogCaptureFixture, eventually: Any
) -> None:
    caplog.set_level(logging.DEBUG, "monitor.service.server")
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = Server(f"127.0.0.1:{port}", seen.endpoints, retry=0.02)
        task = asyncio.create_task(server.run())
        await eventually(lambda: len(caplog.records) > 3)
        assert not task.done()
        assert server.address is None
    await eventually(lambda: server.address is not None)
    assert (await get(server, "/health/live"))[0] == 200
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("listen", ["192.0.2.1:9273", "no.such.host.invalid:1", "127.0.0.1:99999"])
async def test_an_address_that_cannot_be_had_harms_nobody(
    listen: str, seen: Seen, caplog: pytest.LogCaptureFixture, eventually: Any
) -> None:
    task = asyncio.create_task(Server(listen, seen.endpoints, retry=0.02).run())
    await eventually(lambda: "cannot be bound" in caplog.text)
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def open_to(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert server.address is not None
    return await asyncio.open_connection(*server.address)


async def ended(reader: asyncio.StreamReader) -> bytes:
    """All that still came, when the other side ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(90):
            while part := await reader.read(1 << 16):
                received += part
    return received


async def has_room(server: Server) -> bool:
    try:
        return (await get(server, "/health/live"))[0] == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET /metrics HT", id="torn"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b\r\n", id="headers without an end"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx", id="long body"
        ),
    ],
)
async def test_a_client_that_does_not_go_on_is_put_out(sent: bytes, seen: Seen) -> None:
    async with serving(Server("127.0.0.1:0", seen.endpoints, timeout=2)) as server:
        reader, writer = await open_to(server)
        writer.write(sent)
        await ended(reader)
        writer.close()
        assert (await get(server, "/health/live"))[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", id="long line"),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(5000)) + b"\r\n",
            id="many headers",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 99_999 + b"\r\n\r\n", id="field"),
        pytest.param(b"GET /health/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", id="path"),
    ],
)
async def test_what_is_no_request_of_ours_is_refused_and_not_logged(
    sent: bytes, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Server("127.0.0.1:0", seen.endpoints)) as server:
        reader, writer = await open_to(server)
        with contextlib.suppress(ConnectionError):
            writer.write(sent)
            await writer.drain()
        received = await ended(reader)
        writer.close()
        assert received == b"" or received.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
        assert b"root:" not in received
        assert (await get(server, "/health/live"))[0] == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_crowd_is_bounded_and_passes(seen: Seen, eventually: Any) -> None:
    async with serving(Server("127.0.0.1:0", seen.endpoints, timeout=60)) as server:
        crowd = [await open_to(server) for _ in range(CONNECTIONS_MAX + 20)]
        ends = [asyncio.create_task(ended(reader)) for reader, _ in crowd]
        # Those beyond the bound are put out at once; the time of the others is not up.
        await eventually(lambda: sum(end.done() for end in ends) == 20)
        for end, (_, writer) in zip(ends, crowd, strict=True):
            end.cancel()
            writer.close()
        await eventually(lambda: has_room(server))


async def test_clients_that_do_not_read_are_put_out(seen: Seen, eventually: Any) -> None:
    seen.alerts = tuple((f"{number:04}" + "x" * 2000, "warning") for number in range(4000))
    async with serving(Server("127.0.0.1:0", seen.endpoints, timeout=2)) as server:
        assert server.address is not None
        with contextlib.ExitStack() as crowd:
            for _ in range(CONNECTIONS_MAX):
                client = crowd.enter_context(contextlib.closing(socket.socket()))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(server.address)
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert not await has_room(server)
            await eventually(lambda: has_room(server))


async def test_a_flood_of_requests_is_answered_from_one_text(seen: Seen) -> None:
    async with serving(Server("127.0.0.1:0", seen.endpoints)) as server:
        answers = await asyncio.gather(
            *(get(server, "/metrics") for _ in range(CONNECTIONS_MAX // 2))
        )
        assert {status for status, _, _ in answers} == {200}
        assert len({text for _, _, text in answers}) == 1
