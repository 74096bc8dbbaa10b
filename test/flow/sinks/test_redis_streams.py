"""Streams of Redis have every message once and in order, whatever happens to either side."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from redis_servers import PASSWORD, RedisServer
from stream.config.settings import RedisSettings
from stream.db import Database
from stream.loop_budget import LoopBudget
from stream.sinks import reader, redis_streams
from stream.sinks.reader import Reader
from stream.sinks.redis import opened
from stream.sinks.redis_streams import STREAM, StreamSink
from stream.sinks.runner import keep_passing_on
from stream.sinks.status import SinkStatus
from stream.store import tracks
from stream.store.tracks import NewTrack

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.sinks.conftest import RedisBench

NAME = redis_streams.NAME
KEEPING = ("--appendonly", "yes", "--appendfsync", "always")


async def test_every_tweet_is_an_entry_of_the_stream_and_of_those_of_its_tracks(
    bench: RedisBench,
) -> None:
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store(*(f"snow {n}" for n in range(9)), "rain")
        entries = await bench.stream_has(10)
    assert [each["id"] for each in entries] == await bench.ids()
    assert [each["seq"] for each in entries] == [str(n) for n in range(1, 11)]
    assert {each["v"] for each in entries} == {"1"}
    assert [each["tracks"] for each in entries] == ["1"] * 9 + ["2"]
    tweet = json.loads(entries[0]["tweet"])
    assert tweet["text"] == "snow 0"
    assert tweet["id"] == entries[0]["id"]
    assert [match["track"] for match in tweet["matches"]] == ["1"]
    assert await bench.entries(f"{STREAM}:1") == entries[:9]
    assert await bench.entries(f"{STREAM}:2") == entries[9:]


async def test_it_begins_with_what_is_stored_then_and_continues_where_it_stopped(
    bench: RedisBench,
) -> None:
    await bench.store("before")
    async with bench.passing_on(streams=True, track_stream_bytes=0):
        await bench.ready()
        await bench.store("snow one")
        await bench.stream_has(1)
    await bench.store("snow two", "snow three")
    async with bench.passing_on(streams=True, track_stream_bytes=0):
        await bench.store("snow four")
        entries = await bench.stream_has(4)
    assert [each["id"] for each in entries] == (await bench.ids())[1:]
    assert [each["seq"] for each in entries] == ["1", "2", "3", "4"]
    assert set(await bench.redis.client.keys("*")) == {b"{tweets}:stream", b"{tweets}:position"}


async def test_without_the_setting_there_are_no_streams(bench: RedisBench) -> None:
    async with bench.passing_on():
        await bench.works("redis channels")
        await bench.store("snow")
        await bench.works("redis channels")
        assert await bench.redis.client.keys("*") == []


@pytest.mark.parametrize("kept", [True, False])
async def test_a_redis_that_was_killed_continues_with_its_data_or_from_the_copy_in_postgres(
    bench: RedisBench, *, kept: bool
) -> None:
    options = KEEPING if kept else ()
    await bench.redis.kill()
    await bench.redis.start(*options)
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store("snow 1", "snow 2")
        await bench.stream_has(2)
        await bench.works(NAME)
        before = await bench.database.fetch(
            "SELECT cursor::json->>'seq' AS seq FROM consumer_cursors WHERE name = $1", NAME
        )
        await bench.redis.kill()
        await bench.store("snow 3")
        state = await bench.fails(NAME, "Redis cannot be reached. Start it")
        assert state.late_since is not None
        await bench.redis.start(*options)
        await bench.store("snow 4")
        first = 0 if kept else int(before[0]["seq"])
        entries = await bench.stream_has(4 - first)
        await bench.works(NAME)
    ids = await bench.ids()
    assert [each["id"] for each in entries] == ids[first:]
    assert [each["seq"] for each in entries] == [str(n + 1) for n in range(first, 4)]


class CuttingProxy:
    """Forwards to Redis; on demand it loses the answer to the next EXEC, and the connection."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self.loses_next = False
        self.lost = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
        async with server:
            yield self

    async def _serve(self, client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.redis.port)

        async def answers() -> None:
            while data := await there.read(65_536):
                writer.write(data)

        answering = asyncio.create_task(answers())
        while data := await client.read(1 << 20):
            back.write(data)
            if b"EXEC" in data and self.loses_next:
                answering.cancel()
                await asyncio.wait([answering])
                await there.read(1)  # it is done
                self.loses_next = False
                self.lost += 1
                break
        answering.cancel()
        back.close()
        writer.close()


async def test_a_multi_whose_answer_was_lost_is_not_repeated(bench: RedisBench) -> None:
    async with (
        CuttingProxy(bench.redis).running() as proxy,
        bench.passing_on(streams=True, url=proxy.url),
    ):
        await bench.ready()
        for number in range(5):
            proxy.loses_next = True
            await bench.store(f"snow {number}")
            await bench.stream_has(number + 1)
            await bench.eventually(lambda: not proxy.loses_next)
        await bench.store("snow")
        entries = await bench.stream_has(6)
        await bench.works(NAME)
    assert proxy.lost == 5
    assert [each["id"] for each in entries] == await bench.ids()


async def test_two_sinks_at_once_append_nothing_twice(
    bench: RedisBench, connected: Database
) -> None:
    """As when a daemon has lost its lock without noticing."""

    def sink(client: object) -> asyncio.Task[None]:
        status = SinkStatus(NAME)
        own = Reader(connected, LoopBudget())
        settings = RedisSettings(streams=True)
        made = StreamSink(client, connected, own, status, settings)  # type: ignore[arg-type]  # a client of redis-py
        return asyncio.create_task(keep_passing_on(status, made.work))

    async with opened(bench.redis.url) as one, opened(bench.redis.url) as other:
        both = [sink(one), sink(other)]
        await bench.ready(NAME)
        for number in range(40):
            await bench.store(f"snow {number}")
        await bench.stream_has(40)
        await bench.store("the last")
        entries = await bench.stream_has(41)
        for task in both:
            task.cancel()
    assert [each["id"] for each in entries] == await bench.ids()


async def test_a_redis_without_memory_gets_what_it_refused_when_it_has_some(
    bench: RedisBench,
) -> None:
    client = bench.redis.client
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store("snow 0")
        await bench.stream_has(1)
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1kb")
        await bench.store("snow 1", "snow 2")
        state = await bench.fails(NAME, "Redis has no memory left (maxmemory). Raise its maxmemory")
        assert "none is lost" in state.reason
        await bench.works("redis channels")  # which need none
        assert await client.xlen(STREAM) == 1
        await client.config_set("maxmemory", "0")
        entries = await bench.stream_has(3)
        await bench.works(NAME)
    assert [each["id"] for each in entries] == await bench.ids()


async def test_a_key_that_is_used_for_something_else_is_named(bench: RedisBench) -> None:
    client = bench.redis.client
    await client.set(f"{STREAM}:1", "mine")
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store("snow 1")
        await bench.fails(NAME, "Delete or rename the keys that begin with {tweets}:")
        assert await bench.entries() == []
        await client.delete(f"{STREAM}:1")
        await bench.stream_has(1, f"{STREAM}:1")
        assert len(await bench.entries()) == 1


async def test_a_frozen_redis_only_delays_its_sink(bench: RedisBench) -> None:
    async with bench.passing_on(streams=True):
        await bench.ready()
        bench.redis.freeze()
        await bench.store("snow 1")
        await bench.fails(NAME, "Redis does not answer")
        await bench.store("snow 2")
        bench.redis.thaw()
        entries = await bench.stream_has(2)
        await bench.works(NAME)
    assert [each["id"] for each in entries] == await bench.ids()


async def test_streams_are_bounded_by_bytes(bench: RedisBench) -> None:
    """Also with tweets of very different sizes, and after a restart of the sink."""
    most, of_track = 1 << 20, 200_000
    limits = {"streams": True, "stream_bytes": most, "track_stream_bytes": of_track}
    client, texts = bench.redis.client, ["snow " + "x" * (n % 7 * 150) for n in range(400)]
    for _ in range(3):
        async with bench.passing_on(**limits):
            await bench.works(NAME)
            for _ in range(3):
                last = (await bench.store(*texts))[-1]

                async def passed_on(last: str = last) -> bool:
                    [newest] = (await bench.entries(newest=1)) or [{}]
                    return bool(json.loads(newest.get("tweet", "{}")).get("native_id") == last)

                await bench.eventually(passed_on)
                for stream, limit in ((STREAM, most), (f"{STREAM}:1", of_track)):
                    used = await client.memory_usage(stream, samples=0)
                    assert used is not None
                    assert used <= 1.1 * limit
    for stream, limit in ((STREAM, most), (f"{STREAM}:1", of_track)):
        used = await client.memory_usage(stream, samples=0)
        assert used is not None
        assert used >= 0.7 * limit


async def test_a_full_redis_gets_memory_back_when_a_limit_is_lowered(bench: RedisBench) -> None:
    client: Any = bench.redis.client
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store(*("snow " + "x" * 1000 for _ in range(500)))
        await bench.stream_has(500, f"{STREAM}:1")
        size = await client.memory_usage(f"{STREAM}:1", samples=0)

    async def is_settled() -> bool:
        """Whether buffers of connections are gone, also of this one: they count as used."""
        buffers = (await client.info("memory"))["mem_clients_normal"]
        return len(await client.client_list()) == 1 and buffers < size // 4

    await bench.eventually(is_settled)
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory-policy", "noeviction")
    await client.config_set("maxmemory", used - size // 2)
    async with bench.passing_on(streams=True):
        await bench.store("snow 1")
        await bench.fails(NAME, "Redis has no memory left")
    async with bench.passing_on(streams=True, track_stream_bytes=10_000):
        entries = await bench.stream_has(501)
        await bench.works(NAME)
    assert [each["id"] for each in entries] == await bench.ids()


async def test_batches_are_bounded_by_bytes(
    bench: RedisBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 1000)  # a tweet or two
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store(*(f"snow {n}" for n in range(50)))
        entries = await bench.stream_has(50)
        await bench.works(NAME)
    assert [each["id"] for each in entries] == await bench.ids()
    assert [each["seq"] for each in entries] == [str(n + 1) for n in range(50)]


async def test_the_stream_of_a_removed_track_is_deleted(
    bench: RedisBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_streams, "CLEAN_INTERVAL", 0.1)
    async with bench.database.acquire() as connection:
        kept, removed = [await tracks.add(connection, NewTrack(text)) for text in ("snow", "rain")]
    assert (kept, removed) == (1, 2)  # the tracks of `snow` in conftest.py
    async with bench.passing_on(streams=True):
        await bench.ready()
        await bench.store(*(f"snow {n}" for n in range(10)))
        await bench.stream_has(1, f"{STREAM}:2")
        async with bench.database.acquire() as connection:
            await tracks.remove(connection, removed)

        async def gone() -> bool:
            return not await bench.redis.client.exists(f"{STREAM}:2")

        await bench.eventually(gone)
    assert len(await bench.entries(f"{STREAM}:1")) == 10


async def test_deletions_are_entries_after_their_tweets(bench: RedisBench) -> None:
    async with bench.passing_on(streams=True):
        await bench.ready()
        [first, second] = await bench.store("snow 1", "rain")
        await bench.stream_has(2)
        [key, other] = await bench.ids()
        await bench.delete(first, "777")  # one was never stored
        await bench.stream_has(3)
        await bench.delete(second)
        entries = await bench.stream_has(4)
    assert entries[2] == {
        "v": "1",
        "id": key,
        "seq": "3",
        "tracks": "1",
        "deleted_at": entries[2]["deleted_at"],
    }
    assert (entries[3]["id"], entries[3]["tracks"]) == (other, "")
    of_track = await bench.entries(f"{STREAM}:1")
    assert [each["seq"] for each in of_track] == ["1", "3"]
