"""Who is slow, silent or many takes up room for a while, and costs others nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from waiting import Eventually
from web import middleware, server
from web.routing import Route
from web_app import WebApp, running_app

SHORT = 1.0  # seconds, for the limit that a test is about; the others stay as they are
ROOM = 8  # connections
PIECE = b"x" * 65_536


class Site:
    """The application with more addresses, which write what tests need."""

    app: WebApp

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.transport: asyncio.Transport | None = None  # of who asked for what is large

    @property
    def is_closed(self) -> bool:
        return self.transport is not None and self.transport.is_closing()

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.begun.set()
        try:
            while True:
                await response.write(PIECE)
        finally:
            self.ended.set()

    async def lasting(self, request: web.Request) -> web.StreamResponse:
        """Longer than a request may otherwise take."""
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(4):
            await asyncio.sleep(SHORT)
            await response.write(b"x")
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        for _ in range(4):
            await asyncio.sleep(SHORT)
            await response.send_str("x")
        return response

    async def large(self, request: web.Request) -> web.StreamResponse:
        self.transport = request.transport
        self.begun.set()
        return web.Response(body=PIECE * 1000)

    async def stuck(self, _: web.Request) -> web.StreamResponse:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        raise AssertionError

    async def broken(self, _: web.Request) -> web.StreamResponse:
        raise RuntimeError("a detail for the log alone")

    async def split(self, _: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Location": "/\r\nSet-Cookie: a=b"})

    @property
    def routes(self) -> tuple[Route, ...]:
        more = (
            *(self.endless, self.lasting, self.socket, self.large, self.stuck),
            *(self.broken, self.split),
        )
        return tuple(Route("GET", f"/{each.__name__}", each, "public") for each in more)

    async def get(self, path: str) -> tuple[int, bytes]:
        async with aiohttp.ClientSession(self.app.address) as client, client.get(path) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def site(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    monkeypatch.setattr(middleware, "CLOSE_TIMEOUT", SHORT)
    monkeypatch.setattr(server, "LINGER", SHORT)
    monkeypatch.setattr(server, "SWEEP", SHORT / 10)
    monkeypatch.setattr(server, "CONNECTIONS_MAX", ROOM - 1)
    made, settings = Site(), {"max_live_connections": 1}
    async with running_app(database, tmp_path, made.routes, web=settings) as app:
        made.app = app
        yield made


async def drip(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, text: bytes) -> bytes:
    """A byte at a time, until the other side has had enough; what it said."""
    said = b""
    with contextlib.suppress(ConnectionError):
        for byte in text:
            writer.write(bytes([byte]))
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.03):
                    if not (some := await reader.read(65_536)):
                        break
                    said += some
        else:
            pytest.fail("it took all of it")
    writer.close()
    return said


@pytest.mark.parametrize(
    "head", [b"", b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /nothing HTTP/1.1\r\n\r\n"]
)
async def test_a_head_that_comes_byte_by_byte(
    site: Site, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first on a connection, and a later one."""
    monkeypatch.setattr(server, "IDLE_MAX", SHORT)
    reader, writer = await site.app.connect()
    writer.write(head)
    await drip(writer, reader, b"GET /login HTTP/1.1\r\nA: " + b"b" * 2000)


async def test_a_body_that_comes_byte_by_byte(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "REQUEST_TIMEOUT", SHORT)
    reader, writer = await site.app.connect()
    writer.write(b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n")
    writer.write(b"Content-Type: application/x-www-form-urlencoded\r\n\r\n")
    said = await drip(writer, reader, b"a" * 1999)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in said
    assert b"Content-Security-Policy" in said


async def test_a_handler_that_hangs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "REQUEST_TIMEOUT", SHORT)
    status, text = await site.get("/stuck")
    assert status == 503
    assert b"took too long" in text
    assert site.ended.is_set()


async def test_a_reader_who_takes_nothing_of_a_page(
    site: Site, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(middleware, "REQUEST_TIMEOUT", SHORT)
        reader, writer = await ask(site, "/large")
    assert (await site.get("/login"))[0] == 200, "others are served"
    await eventually(lambda: site.is_closed)
    await take_all(reader, writer, less_than=1000 * len(PIECE))


async def test_a_reader_who_takes_nothing_of_a_download(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STALL_MAX", SHORT)
    reader, writer = await ask(site, "/endless")
    assert (await site.get("/login"))[0] == 200, "others are served"
    async with asyncio.timeout(90):
        await site.ended.wait()
    await take_all(reader, writer, less_than=1 << 30)


async def ask(site: Site, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for it, and read nothing once the answer has begun."""
    reader, writer = await site.app.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a connection it can
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    await site.begun.wait()
    return reader, writer


async def take_all(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, less_than: int
) -> None:
    """What is still there is the end."""
    writer.transport.resume_reading()  # type: ignore[attr-defined]  # of a connection it can
    taken = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(90):
            while some := await reader.read(1 << 20):
                taken += len(some)
                assert taken < less_than
    writer.close()


@pytest.mark.parametrize("path", ["/lasting", "/socket"])
async def test_what_is_written_bit_by_bit_may_last(
    site: Site, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "REQUEST_TIMEOUT", SHORT)
    monkeypatch.setattr(server, "STALL_MAX", SHORT)
    if path == "/lasting":
        assert await site.get(path) == (200, b"xxxx")
        return
    async with aiohttp.ClientSession(site.app.address) as client, client.ws_connect(path) as socket:
        assert [message.data async for message in socket] == ["x"] * 4


async def test_when_it_is_full_whoever_asks_for_nothing_goes_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_MAX", 1000.0)
    silent = [await site.app.connect() for _ in range(3 * ROOM)]
    assert (await site.get("/login"))[0] == 200
    gone = 0
    for reader, writer in silent[: 2 * ROOM]:
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        gone += 1
    assert gone == 2 * ROOM
    for _, writer in silent[2 * ROOM :]:
        writer.close()


async def test_when_all_are_busy_nobody_new_comes_in(site: Site) -> None:
    busy = [await site.app.connect() for _ in range(ROOM)]
    for reader, writer in busy:
        writer.write(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    with pytest.raises(aiohttp.ClientError):
        await site.get("/login")
    for _, writer in busy:
        writer.close()


async def test_no_header_can_be_smuggled_in(site: Site) -> None:
    async with aiohttp.ClientSession(site.app.address) as client, client.get("/split") as answer:
        assert answer.status == 500
        assert "Set-Cookie" not in answer.headers
        assert "Internal error" in await answer.text()


async def test_our_own_faults_are_not_explained_to_strangers(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    status, text = await site.get("/broken")
    assert status == 500
    assert b"Internal error" in text
    assert b"a detail" not in text
    assert "a detail for the log alone" in caplog.text
