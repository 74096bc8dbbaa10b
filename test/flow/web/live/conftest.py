"""Tweets that are stored as the writer stores them, and those who watch."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import pytest

from stream import ledger, sources
from stream.batch import Batch
from stream.commit import Terms, commit
from stream.db import Database
from stream.networks.x_v1.decode import decode
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import MakePages, Pages, Visitor

TERMS = Terms(network="x_v1", keep_unmatched=True, erase=True)
PATIENCE = 30  # seconds, for what comes in a moment


class Press:
    """Stores tweets; a track gets those whose text has its word."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.words: dict[str, TrackId] = {}
        self._numbers = itertools.count(1)
        self._clock = round(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1e6)
        self._source: SourceId | None = None

    async def source(self, name: str = "main") -> SourceId:
        async with self.database.acquire() as connection:
            return await sources.add(connection, name, "x_v1")

    async def track(self, word: str, owner: str) -> TrackId:
        [row] = await self.database.fetch(
            "INSERT INTO tracks (value, owner) VALUES ($1, $2) RETURNING id", word, owner
        )
        self.words[word] = TrackId(row["id"])
        return self.words[word]

    async def store(self, *texts: str, source: SourceId | None = None, ago: float = 0) -> list[str]:
        """One batch; `ago`: as if a journal came late by so many seconds. Gives native ids."""
        if source is None:
            self._source = source = self._source or await self.source()
        frames, ids = [], []
        for text in texts:
            self._clock += 1000
            number = next(self._numbers)
            ids.append(str(number))
            body = {
                "id": number, "id_str": str(number), "text": text, "lang": "en",
                "created_at": "Tue Nov 14 22:13:20 +0000 2023",
                "user": {"id": 5, "id_str": "5", "screen_name": "ann"},
            }  # fmt: skip
            frames.append(Frame(self._clock - round(ago * 1e6), json.dumps(body).encode(), number))
        batch = Batch(source, 0, 1 << 20)
        batch.add(frames, decode, self._attribute)
        journal = uuid.uuid4()
        async with self.database.transaction() as connection:
            await ledger.position(connection, journal, source, 0)
            await commit(connection, batch, TERMS, journal, 0)
        return ids

    def _attribute(self, tweet: Tweet) -> Sequence[Match]:
        return [
            Match(track, word, "text") for word, track in self.words.items() if word in tweet.text
        ]


class Watcher:
    """A browser at the page Live."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.cursor = ""
        self.heard: list[dict[str, Any]] = []

    async def say(self, do: str, **more: Any) -> None:
        await self.ws.send_json({"do": do, **more})

    async def watch(self, **what: Any) -> None:
        """Ask for a view, and wait until it is there."""
        await self.say("watch", **what)
        await self.until(lambda said: said["kind"] == "watching")

    async def pause(self) -> None:
        """What was on its way has come before the next answer."""
        await self.say("pause")
        await self.say("check", query="")
        await self.until(lambda said: said["kind"] == "checked")

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = await self.ws.receive_json()
        self.heard.append(message)
        self.cursor = message.get("cursor") or self.cursor
        return message

    async def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The next message of this kind."""
        while not condition(message := await self.hear()):
            pass
        return message

    async def tweets(self, number: int) -> list[dict[str, Any]]:
        """So many of the next tweets."""
        found: list[dict[str, Any]] = []
        while len(found) < number:
            found += (await self.until(lambda said: said.get("tweets")))["tweets"]
        return found

    async def texts(self, number: int) -> list[str]:
        return [each["tweet"]["text"] for each in await self.tweets(number)]

    async def ends(self) -> dict[str, Any]:
        """The last word, after which the socket closes."""
        async with asyncio.timeout(PATIENCE):
            last = await self.until(lambda said: said["kind"] == "ended")
            message = await self.ws.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        return last


class Hall:
    """The pages, with tweets that come and people who watch."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.press = Press(pages.database)
        self.stack = contextlib.AsyncExitStack()

    async def watcher(self, visitor: Visitor, **options: Any) -> Watcher:
        headers = {"Origin": self.pages.address} | options.pop("headers", {})
        ws = await self.stack.enter_async_context(
            visitor.client.ws_connect("/live/socket", headers=headers, **options)
        )
        return Watcher(ws)


class MakeHall(Protocol):
    """`async with make_hall(web={…}) as hall`; settings by section."""

    def __call__(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[Hall]: ...


@pytest.fixture
def make_hall(make_pages: MakePages) -> MakeHall:
    @contextlib.asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[Hall]:
        async with make_pages(**settings) as pages:
            made = Hall(pages)
            async with made.stack:
                yield made

    return make


@pytest.fixture
async def hall(make_hall: MakeHall) -> AsyncIterator[Hall]:
    """The pages with the settings as they are."""
    async with make_hall() as made:
        yield made
