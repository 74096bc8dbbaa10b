"""Append every message to Redis Streams, exactly once: one of all, and one of each track.

The position is a key of Redis and changes in the same MULTI as the Streams. So both are always of
the same moment, also after a crash, a failover, or in a snapshot that Redis loads.
"""

import asyncio

from redis.exceptions import ResponseError, WatchError

from stream.backoff import Backoff
from stream.config.settings import RedisSettings
from stream.db import Database
from stream.sinks.messages import numbered
from stream.sinks.reader import MessageBatch, Reader, SinkPosition
from stream.sinks.redis import Pipeline, Redis, explain, queue
from stream.sinks.status import SinkStatus
from stream.sinks.stream_size import StreamSize
from stream.store import consumer_cursors, tracks

NAME = "redis streams"
# The braces keep all of them in one slot of a cluster.
STREAM = "{tweets}:stream"
POSITION = "{tweets}:position"
TRACKS = "{tweets}:tracks"  # the tracks that have a Stream
SAVE_INTERVAL = 1.0  # seconds between two copies of the position in Postgres
CLEAN_INTERVAL = 600.0  # seconds between two looks for Streams of removed tracks
SAMPLES = 100  # nodes of a Stream that are looked at to measure it

Entry = tuple[str, dict[str, str | bytes]]


class StreamSink:
    """Appends from its position on; a Redis without one continues at the copy in Postgres."""

    def __init__(
        self,
        client: Redis,
        database: Database,
        reader: Reader,
        status: SinkStatus,
        settings: RedisSettings,
    ) -> None:
        self._client = client
        self._database = database
        self._reader = reader
        self._status = status
        self._settings = settings
        self._kept: bytes | None = None  # the position in Redis
        self._sizes: dict[str, StreamSize] = {}
        self._saved_at = self._cleaned_at = float("-inf")

    async def work(self) -> None:
        """Pass on until an error; then it may be called again."""
        position = await self._begin()
        while True:
            self._status.begin_reading()
            batch = await self._reader.read(position)
            if batch.messages and not await self._append(batch, position.seq):
                position = await self._begin()
                continue
            position = batch.position
            await self._save(position)
            self._status.passed_on(more=batch.more)
            await self._clean()
            if not batch.more:
                await self._status.wait()

    async def _begin(self) -> SinkPosition:
        """Where to begin: what Redis says, else its copy, else with what is stored from now on."""
        self._sizes.clear()
        kept = await self._client.get(POSITION)
        assert kept is None or isinstance(kept, bytes)
        self._kept = kept
        if kept is not None:
            return SinkPosition.parse(kept)
        async with self._database.acquire() as connection:
            copy = await consumer_cursors.read(connection, NAME)
        position = SinkPosition.parse(copy) if copy is not None else await self._reader.head(0)
        self._saved_at = float("-inf")
        await self._save(position)
        return position

    async def _append(self, batch: MessageBatch, before: int) -> bool:
        """Append a batch with its position; False: it is not known what Redis has now."""
        entries = self._entries(batch, before)
        streams = list(dict.fromkeys(stream for stream, _ in entries))
        for stream in streams:
            if stream not in self._sizes:
                self._sizes[stream] = await self._measure(stream)
        try:
            results = await self._execute(batch, entries, streams)
        except WatchError:  # another sink was faster, or the connection was lost
            return False
        await self._append_failed(entries, results)
        return True

    async def _execute(
        self, batch: MessageBatch, entries: list[Entry], streams: list[str]
    ) -> list[object]:
        """Append, trim and move the position, all or nothing; returns the results of appending."""
        position = str(batch.position).encode()
        async with self._client.pipeline(transaction=True) as pipeline:
            await pipeline.watch(POSITION)
            if await pipeline.get(POSITION) != self._kept:
                raise WatchError
            pipeline.multi()  # type: ignore[no-untyped-call]  # of redis-py
            self._add(pipeline, entries)
            trimmed = self._trim(pipeline, streams)
            self._add_tracks(pipeline, batch)
            queue(pipeline, "SET", POSITION, position)
            results: list[object] = await pipeline.execute(raise_on_error=False)
        self._kept = position
        for stream, removed in zip(trimmed, results[len(entries) :], strict=False):
            if isinstance(removed, int):
                self._sizes[stream].remove(removed)
        return results[: len(entries)]

    def _entries(self, batch: MessageBatch, before: int) -> list[Entry]:
        entries: list[Entry] = []
        for seq, message in numbered(batch.messages, before):
            fields = message.as_fields(seq)
            entries.append((STREAM, fields))
            if self._settings.track_stream_bytes:
                entries += [(f"{STREAM}:{track}", fields) for track in message.tracks]
        return entries

    def _add(self, pipeline: Pipeline, entries: list[Entry]) -> None:
        for stream, fields in entries:
            _queue_entry(pipeline, stream, fields)
            self._sizes[stream].add(sum(map(len, fields.values())))

    def _trim(self, pipeline: Pipeline, streams: list[str]) -> list[str]:
        """Remove the oldest entries of Streams that are too large; returns which."""
        trimmed = []
        for stream in streams:
            if (number := self._sizes[stream].to_keep()) is not None:
                queue(pipeline, "XTRIM", stream, "MAXLEN", "~", number)
                trimmed.append(stream)
        return trimmed

    def _add_tracks(self, pipeline: Pipeline, batch: MessageBatch) -> None:
        if self._settings.track_stream_bytes:
            names = {track for message in batch.messages for track in message.tracks}
            if names:
                queue(pipeline, "SADD", TRACKS, *names)

    async def _measure(self, stream: str) -> StreamSize:
        """How large a Stream is; with a limit that was lowered it is trimmed."""
        settings = self._settings
        limit = settings.stream_bytes if stream == STREAM else settings.track_stream_bytes
        entries = await self._client.xlen(stream)
        used = await self._client.memory_usage(stream, samples=SAMPLES)
        size = StreamSize(limit, entries, used or 0)
        if (number := size.to_keep()) is not None:  # a full server would refuse it with XADD
            size.remove(await self._client.xtrim(stream, maxlen=number, approximate=True))
        return size

    async def _append_failed(self, entries: list[Entry], results: list[object]) -> None:
        """Append those entries again that the server alone refused, until it takes them.

        Most servers refuse a MULTI as a whole. Some run out of memory in the middle of it.
        """
        backoff = Backoff()
        while True:
            refused = [
                (entry, result)
                for entry, result in zip(entries, results, strict=True)
                if isinstance(result, ResponseError)
            ]
            if not refused:
                return
            self._status.fail(*explain(refused[0][1]))
            await asyncio.sleep(backoff.delay("resumable"))
            entries = [entry for entry, _ in refused]
            pipeline = self._client.pipeline(transaction=False)
            for stream, fields in entries:
                _queue_entry(pipeline, stream, fields)
            results = await pipeline.execute(raise_on_error=False)

    async def _save(self, position: SinkPosition) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._saved_at >= SAVE_INTERVAL:
            async with self._database.acquire() as connection:
                await consumer_cursors.save(connection, NAME, str(position))
            self._saved_at = now

    async def _clean(self) -> None:
        """Delete the Streams of removed tracks, now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._cleaned_at < CLEAN_INTERVAL:
            return
        self._cleaned_at = now
        known = {int(each) for each in await self._client.smembers(TRACKS)}
        async with self._database.acquire() as connection:
            kept = {int(track.id) for track in await tracks.get_all(connection)}
        for track in known - kept:
            async with self._client.pipeline(transaction=True) as pipeline:
                queue(pipeline, "DEL", f"{STREAM}:{track}")
                queue(pipeline, "SREM", TRACKS, track)
                await pipeline.execute()
            self._sizes.pop(f"{STREAM}:{track}", None)


def _queue_entry(pipeline: Pipeline, stream: str, fields: dict[str, str | bytes]) -> None:
    queue(pipeline, "XADD", stream, "*", *(part for field in fields.items() for part in field))
