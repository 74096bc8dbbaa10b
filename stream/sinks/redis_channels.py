"""Publish every message to Redis channels: `tweets`, and `tweets:ID` of each of its tracks."""

import asyncio
import time

from stream.db import Database
from stream.sinks.messages import Skipped, numbered
from stream.sinks.reader import MessageBatch, Reader, SinkPosition
from stream.sinks.redis import Redis, queue
from stream.sinks.status import SinkStatus
from stream.store import consumer_cursors

NAME = "redis channels"
CHANNEL = "tweets"
SAVE_INTERVAL = 1.0  # seconds between two notes of the position in Postgres
REPEATS = (2.0, 10.0, 30.0)  # seconds after which `skipped` is sent again


class ChannelSink:
    """Passes on what is stored from now on; subscribers are told what was skipped.

    Subscribers get what is published while they are connected, and old tweets are of little use to
    them: after an interruption it continues with the newest.
    """

    def __init__(
        self, client: Redis, database: Database, reader: Reader, status: SinkStatus
    ) -> None:
        self._client = client
        self._database = database
        self._reader = reader
        self._status = status
        self._position: SinkPosition | None = None  # None: not read from Postgres yet
        self._is_certain = False  # everything before the position was published
        self._saved_at = float("-inf")
        self._skipped: Skipped | None = None  # while it is repeated
        self._repeats: list[float] = []  # when; monotonic

    async def work(self) -> None:
        """Pass on until an error; then it may be called again."""
        position = await self._begin()
        while True:
            self._status.begin_reading()
            batch = await self._reader.read(position)
            if batch.messages:
                await self._publish(batch, position.seq)
            self._position = position = batch.position
            await self._repeat_skipped()
            await self._save(position)
            self._status.passed_on(more=batch.more)
            if not batch.more:
                await self._status.wait()

    async def _begin(self) -> SinkPosition:
        """Where to begin; after an interruption subscribers are told what is skipped."""
        await self._client.ping()  # an error must not wait for the next tweet
        if self._position is not None and self._is_certain:
            return self._position
        known = self._position or await self._saved()
        # The clock is above all numbers given, also those since the position was saved.
        head = await self._reader.head(time.time_ns() // 1000)
        if known is not None and (known.cursor, known.deletion) == (head.cursor, head.deletion):
            head = known  # nothing was stored since, so its number is the last one published
        elif known is not None:
            first = known.cursor if self._skipped is None else self._skipped.from_
            self._skipped = Skipped(first, head.cursor)
            await self._publish_skipped(head.seq)
            now = asyncio.get_running_loop().time()
            self._repeats = [now + seconds for seconds in REPEATS]
        self._position, self._is_certain = head, True
        await self._save(head)
        return head

    async def _publish(self, batch: MessageBatch, before: int) -> None:
        self._is_certain = False
        pipeline = self._client.pipeline(transaction=False)
        for seq, message in numbered(batch.messages, before):
            body = message.as_json(seq)
            for channel in (CHANNEL, *(f"{CHANNEL}:{track}" for track in message.tracks)):
                queue(pipeline, "PUBLISH", channel, body)
        await pipeline.execute()
        self._is_certain = True

    async def _publish_skipped(self, seq: int) -> None:
        assert self._skipped is not None
        body = self._skipped.as_json(seq)
        channels = await self._client.pubsub_channels(f"{CHANNEL}:*")
        pipeline = self._client.pipeline(transaction=False)
        for channel in (CHANNEL, *channels):
            queue(pipeline, "PUBLISH", channel, body)
        await pipeline.execute()

    async def _repeat_skipped(self) -> None:
        """Tell it again: subscribers whose connection was lost, too, come back some time later."""
        if self._repeats and asyncio.get_running_loop().time() >= self._repeats[0]:
            assert self._position is not None
            await self._publish_skipped(self._position.seq)
            del self._repeats[0]
            if not self._repeats:
                self._skipped = None

    async def _saved(self) -> SinkPosition | None:
        async with self._database.acquire() as connection:
            text = await consumer_cursors.read(connection, NAME)
        return None if text is None else SinkPosition.parse(text)

    async def _save(self, position: SinkPosition) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._saved_at >= SAVE_INTERVAL:
            async with self._database.acquire() as connection:
                await consumer_cursors.save(connection, NAME, str(position))
            self._saved_at = now
