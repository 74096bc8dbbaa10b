"""Tweets that are stored as the writer stores them, and clients that watch them live."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp

from stream.store import sources
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet
from web_app import Client, WebApp
from x_tweets import store_frames, v1_tweet

TIMEOUT = 90  # seconds, for what comes in a moment
Message = dict[str, Any]


class Viewer:
    """A browser with the page Live open."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.cursor = ""
        self.messages: list[Message] = []

    async def send(self, do: str, **more: Any) -> None:
        await self.ws.send_json({"do": do, **more})

    async def watch(self, **what: Any) -> None:
        """Ask for a view, and wait until it is there."""
        await self.send("watch", **what)
        await self.wait_for("watching")

    async def pause(self) -> None:
        """What was on its way has come before the next answer."""
        await self.send("pause")
        await self.send("check", query="")
        await self.wait_for("checked")

    async def receive(self) -> Message:
        """The next message."""
        async with asyncio.timeout(TIMEOUT):
            message: Message = await self.ws.receive_json()
        self.messages.append(message)
        self.cursor = message.get("cursor") or self.cursor
        return message

    async def wait_for(self, kind: str) -> Message:
        """The next message of this kind."""
        return await self.wait_until(lambda message: message["kind"] == kind)

    async def wait_until(self, condition: Callable[[Message], object]) -> Message:
        """The next message that meets this condition."""
        while not condition(message := await self.receive()):
            pass
        return message

    async def tweets(self, number: int) -> list[Message]:
        """So many of the next tweets."""
        found: list[Message] = []
        while len(found) < number:
            found += (await self.wait_until(lambda message: message.get("tweets")))["tweets"]
        return found

    async def texts(self, number: int) -> list[str]:
        return [each["tweet"]["text"] for each in await self.tweets(number)]

    async def refused(self, do: str, **what: Any) -> tuple[str, str]:
        """Code and field of the answer to what is refused."""
        await self.send(do, **what)
        message = await self.wait_for("refused")
        return message["code"], message["field"]

    async def ended(self) -> str:
        """The code of the last message, after which the socket closes."""
        async with asyncio.timeout(TIMEOUT):
            last = await self.wait_for("ended")
            message = await self.ws.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        return str(last["code"])


class LiveApp:
    """The application, with tweets that come and viewers; a track gets the tweets with its word."""

    def __init__(self, app: WebApp, stack: contextlib.AsyncExitStack) -> None:
        self.app = app
        self.stack = stack
        self.tracks: dict[str, TrackId] = {}
        self._numbers = itertools.count(1)
        self._clock = round(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1e6)
        self._source: SourceId | None = None

    async def connect(self, client: Client, **options: Any) -> Viewer:
        headers = {"Origin": self.app.address} | options.pop("headers", {})
        ws = await self.stack.enter_async_context(
            client.http.ws_connect("/live/socket", headers=headers, **options)
        )
        return Viewer(ws)

    async def viewer(self, name: str) -> Viewer:
        """Of a new session of this user."""
        return await self.connect(await self.app.log_in(name))

    async def source(self, name: str = "main") -> SourceId:
        async with self.app.database.acquire() as connection:
            return await sources.add(connection, name, "x_v1")

    async def track(self, word: str, owner: str = "ana") -> TrackId:
        self.tracks[word] = await self.app.add_track(word, owner)
        return self.tracks[word]

    async def store(self, *texts: str, source: SourceId | None = None, ago: float = 0) -> list[str]:
        """One batch; `ago`: as if a journal came late by so many seconds. Gives native ids."""
        if source is None:
            self._source = source = self._source or await self.source()
        frames, ids = [], []
        for text in texts:
            self._clock += 1000
            number = next(self._numbers)
            ids.append(str(number))
            frames.append(Frame(self._clock - round(ago * 1e6), v1_tweet(number, text), number))
        await store_frames(self.app.database, source, frames, self._match)
        return ids

    def _match(self, tweet: Tweet) -> Sequence[Match]:
        return [
            Match(track, word, "text") for word, track in self.tracks.items() if word in tweet.text
        ]


class MakeLive(Protocol):
    """`async with make_live(web={…}) as live`; settings by section."""

    def __call__(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[LiveApp]: ...
