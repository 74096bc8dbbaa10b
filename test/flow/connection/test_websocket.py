"""A WebSocket against a real server: order, memory, pings, closing, and answers without upgrade."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web

from servers import serving
from stream.backoff import Clock
from stream.errors import ConnectError
from stream.networks import websocket
from stream.networks.http import NetworkHttp
from stream.networks.response import Response
from stream.networks.websocket import WebSocketOptions, WebSocketStream, open_websocket
from stream.tweet import Source, SourceId

SECRET = "hidden-token"
Handler = Callable[[web.WebSocketResponse], Awaitable[None]]
Open = Callable[..., Awaitable[WebSocketStream]]


def source(url: str) -> Source:
    return Source(SourceId(1), "social", "mastodon", url, None, {"access_token": SECRET}, True)


async def connect(
    url: str, options: WebSocketOptions | None = None, path: str = "/"
) -> WebSocketStream | Response:
    http = NetworkHttp(source(url), Clock(), url)
    headers = {"Authorization": f"Bearer {SECRET}"}
    return await open_websocket(http, path, headers, options or WebSocketOptions(1 << 16))


@pytest.fixture
async def open_to() -> AsyncIterator[Open]:
    """Opens a WebSocket to a server that does what a function says."""
    async with AsyncExitStack() as opened:

        async def open_(handler: Handler, options: WebSocketOptions | None = None) -> object:
            async def answer(request: web.Request) -> web.StreamResponse:
                socket = web.WebSocketResponse(autoping=False)
                await socket.prepare(request)
                await handler(socket)
                return socket

            app = web.Application()
            app.router.add_get("/", answer)
            url = await opened.enter_async_context(serving(app))
            stream = await connect(url, options)
            assert isinstance(stream, WebSocketStream)
            opened.push_async_callback(stream.close)
            return stream

        yield open_  # type: ignore[misc]  # the object is a WebSocketStream


async def wait_for_ever(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


async def read_until_end(
    stream: WebSocketStream, batches: list[list[bytes]] | None = None
) -> tuple[list[bytes], ConnectError]:
    batches = [] if batches is None else batches
    while True:
        try:
            batches.append(await stream.read() or [])
        except ConnectError as error:
            return [message for batch in batches for message in batch], error


async def test_messages_come_whole_in_order_and_many_at_a_time(open_to: Open) -> None:
    number = 20_000

    async def replay(socket: web.WebSocketResponse) -> None:
        for n in range(number):
            await socket.send_str(f'{{"n":{n},"é":"東京"}}')
        await socket.close(code=1001, message=b"going away")

    stream = await open_to(replay)
    batches: list[list[bytes]] = []
    found, error = await read_until_end(stream, batches)
    assert found == [f'{{"n":{n},"é":"東京"}}'.encode() for n in range(number)]
    assert stream.received == sum(map(len, found))
    assert len(batches) < number / 4
    assert error.reason == "the server closed the connection (code 1001: going away)"
    assert error.retry == "drop"
    assert stream.close_code == 1001
    assert stream.rest() == []


async def test_a_reader_that_falls_behind_keeps_memory_flat(
    open_to: Open, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., Awaitable[None]]
) -> None:
    monkeypatch.setattr(websocket, "WAITING_MAX", 10)
    sent = 0

    async def flood(socket: web.WebSocketResponse) -> None:
        nonlocal sent
        while sent < 5_000:
            await socket.send_bytes(b"x" * 10_000)
            sent += 1
        await socket.close()

    stream = await open_to(flood)
    await eventually(lambda: stream.received >= 10 * 10_000)
    paused = stream.received
    await asyncio.sleep(0)  # the receiver would go on if it could
    assert stream.received == paused == 10 * 10_000
    found, _ = await read_until_end(stream)
    assert len(found) == 5_000


async def test_pings_are_answered_and_prove_life(open_to: Open) -> None:
    answers: list[bytes] = []

    async def ping(socket: web.WebSocketResponse) -> None:
        await socket.ping(b"42")
        answers.append((await socket.receive()).data)
        await socket.send_str("{}")
        await wait_for_ever(socket)

    stream = await open_to(ping)
    assert await stream.read() == []
    assert stream.keepalives == 1
    assert await stream.read() == [b"{}"]
    assert answers == [b"42"]


async def test_where_only_data_proves_life_pings_do_not_end_the_waiting(open_to: Open) -> None:
    async def ping(socket: web.WebSocketResponse) -> None:
        await socket.ping(b"42")
        await socket.receive()
        await socket.send_str("{}")
        await wait_for_ever(socket)

    stream = await open_to(ping, WebSocketOptions(1 << 16, pings_prove_life=False))
    assert await stream.read() == [b"{}"]
    assert stream.keepalives == 1


async def test_a_peer_without_pongs_is_dead(open_to: Open) -> None:
    async def deaf(socket: web.WebSocketResponse) -> None:
        await wait_for_ever(socket)  # which answers no ping

    stream = await open_to(deaf, WebSocketOptions(1 << 16, heartbeat=0.05))
    with pytest.raises(ConnectError, match="PONG"):
        await stream.read()


async def test_binary_messages_are_decoded_and_text_is_not(open_to: Open) -> None:
    async def mixed(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(zlib.compress(b'{"n":1}'))
        await socket.send_str('{"n":2}')
        await socket.send_bytes(b"not compressed")
        await wait_for_ever(socket)

    def decompress(data: bytes) -> bytes:
        try:
            return zlib.decompress(data)
        except zlib.error as error:
            raise ConnectError("cannot be decompressed", "drop") from error

    stream = await open_to(mixed, WebSocketOptions(1 << 16, decode_message=decompress))
    found, error = await read_until_end(stream)
    assert found == [b'{"n":1}', b'{"n":2}']
    assert error.reason == "cannot be decompressed"


async def test_an_error_of_ours_in_a_message_reaches_the_reader(open_to: Open) -> None:
    async def send(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"one")
        await wait_for_ever(socket)

    def fail(data: bytes) -> bytes:
        raise ZeroDivisionError

    stream = await open_to(send, WebSocketOptions(1 << 16, decode_message=fail))
    async with asyncio.timeout(90):
        with pytest.raises(ZeroDivisionError):
            await stream.read()


async def test_a_long_message_is_cut_and_a_much_longer_one_ends_the_connection(
    open_to: Open,
) -> None:
    async def send(socket: web.WebSocketResponse) -> None:
        await socket.send_str("a" * 1500)
        await socket.send_str("b" * 5000)
        await wait_for_ever(socket)

    stream = await open_to(send, WebSocketOptions(1000))
    found, error = await read_until_end(stream)
    assert found == [b"a" * 1000]
    assert "4,000 bytes" in error.reason
    assert stream.close_code == 1009


async def test_an_end_without_a_close_frame_is_named(open_to: Open) -> None:
    async def abort(socket: web.WebSocketResponse) -> None:
        await socket.send_str("{}")
        transport = socket._req.transport if socket._req is not None else None
        assert transport is not None
        transport.close()

    stream = await open_to(abort)
    found, error = await read_until_end(stream)
    assert found == [b"{}"]
    assert "without a close frame" in error.reason
    assert stream.close_code == 1006


async def test_the_reason_of_a_close_frame_shows_no_secret(open_to: Open) -> None:
    async def leak(socket: web.WebSocketResponse) -> None:
        await socket.close(code=1008, message=f"bad {SECRET}".encode())

    _, error = await read_until_end(await open_to(leak))
    assert error.reason == "the server closed the connection (code 1008: bad ***)"


async def test_messages_can_be_sent_until_the_end(open_to: Open) -> None:
    received: list[str] = []

    async def listen(socket: web.WebSocketResponse) -> None:
        message = await socket.receive()
        received.append(message.data)
        await socket.send_str("done")
        await wait_for_ever(socket)

    stream = await open_to(listen)
    await stream.send('{"type":"subscribe"}')
    assert await stream.read() == [b"done"]
    assert received == ['{"type":"subscribe"}']
    await stream.close()
    with pytest.raises(ConnectError):
        await stream.send("too late")
    await stream.close()


async def test_an_answer_without_upgrade_is_returned_whole_and_redirects_are_not_followed() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": "CursorTooOld"}, status=400)

    async def move(_: web.Request) -> web.Response:
        raise web.HTTPFound("/refuse")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>login", content_type="text/html")

    app = web.Application()
    app.router.add_get("/refuse", refuse)
    app.router.add_get("/move", move)
    app.router.add_get("/page", page)
    async with serving(app) as url:
        refused = await connect(url, path="/refuse")
        assert isinstance(refused, Response)
        assert (refused.status, refused.body) == (400, b'{"error": "CursorTooOld"}')
        moved = await connect(url, path="/move")
        assert isinstance(moved, Response)
        assert (moved.status, moved.headers["location"]) == (302, "/refuse")
        login = await connect(url, path="/page")
        assert isinstance(login, Response)
        assert login.is_page


async def test_no_server_and_no_valid_address_are_connect_errors() -> None:
    async with serving(web.Application()) as url:
        pass
    with pytest.raises(ConnectError) as gone:
        await connect(url)
    assert gone.value.retry == "network"
    assert isinstance(gone.value.__cause__, aiohttp.ClientError)
