"""Viewers who take nothing, or too little, of what is there for them."""

from __future__ import annotations

import asyncio
import json
import socket
from urllib.parse import urlsplit

import pytest

from live_app import LiveApp, MakeLive
from waiting import Eventually
from web_app import Client, WebApp

LONG = "snow " + "x" * 20_000
FEW = 5  # of these fit into a feed


class Frozen:
    """A viewer with small buffers that reads only on request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def watching(cls, app: WebApp, client: Client, query: str) -> Frozen:
        parts = urlsplit(app.address)
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=made, limit=4096)
        cookies = "; ".join(f"{each.key}={each.value}" for each in client.http.cookie_jar)
        head = [
            "GET /live/socket HTTP/1.1", f"Host: {parts.netloc}", f"Origin: {app.address}",
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Cookie: {cookies}",
        ]  # fmt: skip
        writer.write("\r\n".join([*head, "", ""]).encode())
        await reader.readuntil(b"\r\n\r\n")
        wish = json.dumps({"do": "watch", "query": query}).encode()
        writer.write(bytes([0x81, 0x80 | len(wish), 0, 0, 0, 0]) + wish)
        frozen = cls(reader, writer)
        assert b'"watching"' in await frozen.message()
        return frozen

    async def message(self) -> bytes:
        """The next text."""
        async with asyncio.timeout(90):
            while True:
                first, length = await self.reader.readexactly(2)
                if length >= 126:
                    size = 2 if length == 126 else 8
                    length = int.from_bytes(await self.reader.readexactly(size))
                body = await self.reader.readexactly(length)
                if first & 15 == 1:
                    return body

    async def notice(self) -> tuple[int, int]:
        """How many tweets a viewer gets until the notice about missed ones, and their number."""
        seen = 0
        while True:
            message = json.loads(await self.message())
            seen += len(message.get("tweets", ()))
            if message.get("missed"):
                return seen, message["missed"]


async def test_a_slow_viewer_loses_only_his_own_and_is_told(live: LiveApp) -> None:
    slow = await Frozen.watching(live.app, await live.app.log_in("slow"), "snow")
    watcher = await live.viewer("quick")
    await watcher.watch(query="snow")
    for _ in range(8):
        await live.store(*(LONG for _ in range(FEW)))
        await watcher.tweets(FEW)
    assert all(said.get("missed", 0) == 0 for said in watcher.messages)
    seen, missed = await slow.notice()
    assert missed > 0
    assert seen + missed == 8 * FEW
    slow.writer.close()


async def test_a_frozen_viewer_is_ended_and_his_seat_is_free(
    make_live: MakeLive, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.socket.SEND_TIMEOUT", 0.5)
    async with make_live(web={"max_live_per_user": 1}) as live:  # one of them for each user
        ana = await live.app.log_in("ana")
        frozen = await Frozen.watching(live.app, ana, "snow")
        assert (await ana.get("/live/socket"))[0] == 429
        for _ in range(8):
            await live.store(*(LONG for _ in range(FEW)))

        async def seat_is_free() -> bool:
            return (await ana.get("/live/socket"))[0] == 400

        await eventually(seat_is_free)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await frozen.notice()  # the end comes before
        frozen.writer.close()


async def test_viewers_who_vanish_as_the_server_ends_are_no_news(
    make_live: MakeLive, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_live() as live:
        ana = await live.app.log_in("ana")
        viewers = [await Frozen.watching(live.app, ana, "snow") for _ in range(10)]
        for viewer in viewers:
            viewer.writer.transport.abort()
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
