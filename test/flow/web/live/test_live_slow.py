"""Viewers who take nothing, or too little, of what is there for them."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.web.conftest import Pages, Visitor
    from test.flow.web.live.conftest import Hall, MakeHall

LONG = "snow " + "x" * 20_000
FEW = 5  # of these fit into a feed


class Frozen:
    """A viewer who reads nothing, unless he is asked to; his buffers are small."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def watching(cls, pages: Pages, visitor: Visitor, query: str) -> Frozen:
        parts = urlsplit(pages.address)
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=made, limit=4096)
        cookies = "; ".join(f"{each.key}={each.value}" for each in visitor.client.cookie_jar)
        head = [
            "GET /live/socket HTTP/1.1", f"Host: {parts.netloc}", f"Origin: {pages.address}",
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
        async with asyncio.timeout(30):
            while True:
                first, length = await self.reader.readexactly(2)
                if length >= 126:
                    size = 2 if length == 126 else 8
                    length = int.from_bytes(await self.reader.readexactly(size))
                body = await self.reader.readexactly(length)
                if first & 15 == 1:
                    return body

    async def told(self) -> tuple[int, int]:
        """How many he gets until he is told that he has missed some, and how many."""
        seen = 0
        while True:
            message = json.loads(await self.message())
            seen += len(message.get("tweets", ()))
            if message.get("missed"):
                return seen, message["missed"]


async def test_a_slow_viewer_loses_only_his_own_and_is_told(hall: Hall) -> None:
    slow = await Frozen.watching(hall.pages, await hall.pages.enter("slow"), "snow")
    watcher = await hall.watcher(await hall.pages.enter("quick"))
    await watcher.watch(query="snow")
    for _ in range(8):
        await hall.press.store(*(LONG for _ in range(FEW)))
        await watcher.tweets(FEW)
    assert all(said.get("missed", 0) == 0 for said in watcher.heard)
    seen, missed = await slow.told()
    assert missed > 0
    assert seen + missed == 8 * FEW
    slow.writer.close()


async def test_a_frozen_viewer_is_ended_and_his_seat_is_free(
    make_hall: MakeHall, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.socket.PATIENCE", 0.5)
    async with make_hall(web={"viewers": 4}) as hall:  # one of them for each user
        ana = await hall.pages.enter("ana")
        frozen = await Frozen.watching(hall.pages, ana, "snow")
        assert (await ana.get("/live/socket"))[0] == 429
        for _ in range(8):
            await hall.press.store(*(LONG for _ in range(FEW)))

        async def seat_is_free() -> bool:
            return (await ana.get("/live/socket"))[0] == 400

        await eventually(seat_is_free)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await frozen.told()  # the end comes before
        frozen.writer.close()


async def test_viewers_who_vanish_as_the_server_ends_are_no_news(
    make_hall: MakeHall, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_hall() as hall:
        ana = await hall.pages.enter("ana")
        viewers = [await Frozen.watching(hall.pages, ana, "snow") for _ in range(20)]
        for viewer in viewers:
            viewer.writer.transport.abort()
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
