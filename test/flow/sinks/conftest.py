"""Sinks on a database that fills: real servers of Redis and Valkey, receivers of webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from redis_servers import PRODUCTS, RedisServer, running
from sink_bench import SinkBench
from stream.config.settings import RedisSettings, SinkSettings
from stream.db import Database
from stream.sinks.reader import SinkPosition
from stream.sinks.runner import Sinks
from stream.store import consumer_cursors, sinks
from stream.store.sinks import SinkRow
from stream.tweet import Match, TrackId, Tweet
from webhook_bench import WebhookBench
from webhook_receiver import Receiver, receiving

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

Message = dict[str, Any]
Entry = dict[str, str]


class RedisBench(SinkBench):
    """With a Redis: track 1 follows snow, track 2 every tenth tweet."""

    def __init__(self, database: Database, redis: RedisServer, eventually: Eventually) -> None:
        super().__init__(database, redis.folder, eventually)
        self.redis = redis

    def match(self, found: Tweet) -> Sequence[Match]:
        tracks = [1] if "snow" in found.text else []
        tracks += [2] if found.native_id.endswith("0") else []
        return [Match(TrackId(track), "snow", "text") for track in tracks]

    @contextlib.asynccontextmanager
    async def passing_on(self, **redis: Any) -> AsyncIterator[Sinks]:
        """Run the sinks with these settings of Redis."""
        # So that `has_begun` can tell what they save from what they have saved before.
        await self.database.execute("UPDATE consumer_cursors SET cursor = cursor || ' '")
        settings = SinkSettings(redis=RedisSettings(**({"url": self.redis.url} | redis)))
        async with self.running(settings) as found:
            yield found

    async def ids(self) -> list[str]:
        """The ids of all stored tweets, in the order of storing."""
        rows = await self.database.fetch("SELECT id FROM tweets ORDER BY id")
        return [str(row["id"]) for row in rows]

    async def states(self) -> dict[str, SinkRow]:
        async with self.database.acquire() as connection:
            return {row.name: row for row in await sinks.get_all(connection)}

    async def entries(
        self, stream: str = "{tweets}:stream", newest: int | None = None
    ) -> list[Entry]:
        """The entries of a Stream, or the newest ones, as text."""
        found: Any = await self.redis.client.xrevrange(stream, count=newest)
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in reversed(found)
        ]

    async def ready(self, *names: str) -> None:
        """Wait until these sinks have begun: from then on they pass on what is stored."""
        wanted = set(names or ["redis channels", "redis streams"])

        async def begun() -> bool:
            rows = await self.database.fetch("SELECT name FROM consumer_cursors")
            return wanted <= {row["name"] for row in rows}

        await self.eventually(begun)

    async def stream_has(self, number: int, stream: str = "{tweets}:stream") -> list[Entry]:
        """The entries of a Stream, as soon as there are so many."""

        async def met() -> bool:
            with contextlib.suppress(RedisError):
                return int(await self.redis.client.xlen(stream)) >= number
            return False

        await self.eventually(met)
        return await self.entries(stream)

    async def fails(self, name: str, because: str) -> SinkRow:
        """The state of a sink, as soon as it says so."""

        async def met() -> bool:
            states = await self.states()
            return name in states and because in states[name].reason

        await self.eventually(met)
        return (await self.states())[name]

    async def has_begun(self, name: str) -> None:
        """Wait until a sink knows where to begin, also when it has run before: it saves that."""
        await self._cursor_meets(name, lambda text: not text.endswith(" "))

    async def saved(self, name: str, seq: int) -> None:
        """Wait until the saved position of a sink has this number."""
        await self._cursor_meets(name, lambda text: SinkPosition.parse(text).seq == seq)

    async def _cursor_meets(self, name: str, condition: Callable[[str], bool]) -> None:
        async def met() -> bool:
            async with self.database.acquire() as connection:
                text = await consumer_cursors.read(connection, name)
            return text is not None and condition(text)

        await self.eventually(met)

    async def published(self, subscriber: Subscriber, number: int) -> None:
        """Wait until a subscriber has so many tweets."""
        await self.eventually(lambda: len(subscriber.ids) == number)

    async def works(self, name: str) -> None:
        async def met() -> bool:
            row = (await self.states()).get(name)
            return row is not None and (row.reason, row.late_since) == ("", None)

        await self.eventually(met)


class Subscriber:
    """A client that keeps what it gets from some channels."""

    def __init__(self, redis: RedisServer, *channels: str) -> None:
        self.messages: list[Message] = []
        self.channels = channels
        self._client: Redis = Redis.from_url(redis.url, socket_timeout=None)
        self.pubsub = self._client.pubsub()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Subscriber]:
        await self.pubsub.subscribe(*self.channels)
        for _ in self.channels:
            await self.pubsub.get_message(timeout=90)
        task = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, RedisError):
                await task
            await self.pubsub.aclose()  # type: ignore[no-untyped-call]  # of redis-py
            await self._client.aclose()

    async def _listen(self) -> None:
        async for message in self.pubsub.listen():
            if message["type"] == "message":
                self.messages.append(json.loads(message["data"]))

    @property
    def ids(self) -> list[str]:
        """The ids of the tweets."""
        return [each["id"] for each in self.messages if "tweet" in each]

    @property
    def skipped(self) -> list[Message]:
        return [each["skipped"] for each in self.messages if "skipped" in each]


@pytest.fixture(params=PRODUCTS)
async def redis(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with running(tmp_path / request.param, request.param) as server:
        yield server


@pytest.fixture
def bench(connected: Database, redis: RedisServer, eventually: Eventually) -> RedisBench:
    return RedisBench(connected, redis, eventually)


@pytest.fixture
async def hooks(connected: Database, tmp_path: Path, eventually: Eventually) -> WebhookBench:
    made = WebhookBench(connected, tmp_path, eventually)
    await made.prepare()
    return made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


class MakeSubscriber(Protocol):
    """`async with subscriber("tweets") as listening`."""

    def __call__(self, *channels: str) -> contextlib.AbstractAsyncContextManager[Subscriber]: ...


@pytest.fixture
def subscriber(redis: RedisServer) -> MakeSubscriber:
    return lambda *channels: Subscriber(redis, *channels).listening()
