"""A look-back through recorded posts of Bluesky, beside a source that is collected.

    python -m pgbench look_back --posts 5000000

The posts are those of prefilter.py, each with an id of its own, in compressed segments of a
journal; one in 1,000 matches the new track and is stored. Meanwhile a source of X delivers tweets,
which are all stored: their delay is from receipt to Postgres' commit timestamp.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import msgspec
import psutil

from pgbench import end_to_end, prefilter, processes
from pgbench.corpus import Corpus
from pgbench.end_to_end import TIMES, Feed
from pgbench.report import Line, Section
from pgbench.server import Server
from stream.journal import recovery, segments

POSTS = 1_000_000  # if no other number is given
DISTINCT = 8000  # the others differ in their ids only
SEGMENT_BYTES = 64 << 20
HOURS = 20  # in which they were received
STEADY_RATE, ALONE_SECONDS = 100, 40  # tweets/s of X; for how long without a look-back
TRACK = "tracked7x"
ALLOWED_SECONDS = 600  # for so many posts
POLL = 0.2  # seconds
ADD_RECORDED = """
WITH source AS (
    INSERT INTO sources (name, network, enabled) VALUES ('recorded', 'bluesky', false) RETURNING id)
INSERT INTO positions (journal, source_id, position) SELECT $1, id, $2 FROM source
RETURNING source_id
"""
LOOK_BACK = """
WITH track AS (INSERT INTO tracks (value) VALUES ($1) RETURNING id)
INSERT INTO look_backs (track_id, place) SELECT id, 'recorded' FROM track
"""
RESULT = """
SELECT state, reason, looked, found, added,
    extract(epoch FROM finished_at - started_at)::double precision AS seconds FROM look_backs
"""
MB = 1e6


class Beside(msgspec.Struct, frozen=True):
    """Delays of collected tweets in seconds; of a look-back the result, and what it used."""

    p50: float
    p99: float
    looked: int = 0
    found: int = 0
    seconds: float = 0
    memory: int = 0  # bytes, the greatest
    cpu: float = 0  # seconds


async def measure(server: Server, folder: Path, beside: Corpus, posts: int = POSTS) -> Section:
    """The section of results.md; `beside`: what X sends."""
    folder.mkdir()
    tweets = folder / "beside.ndjson"
    tweets.write_bytes(b"".join(body + b"\n" for body in beside.bodies))
    journal = folder / "journal"
    end = write_journal(journal, posts)
    feed = Feed("x_v2", tweets, STEADY_RATE)
    alone = await _run(server, folder / "alone", feed, None, 0)
    async with asyncio.timeout(ALLOWED_SECONDS * max(1, posts / POSTS)):
        both = await _run(server, folder / "both", feed, journal, end)
    return Section(
        "Look-back through recorded posts",
        f"{both.looked:,} posts of Bluesky in sealed and compressed segments, {end / 1e9:.1f} GB of"
        f" messages, of which {both.found:,} match the new track and are stored. Meanwhile X"
        f" delivers {STEADY_RATE} tweets per second to the same daemon, on the same Postgres.",
        [
            Line("posts looked through", [both.looked / both.seconds], "/s"),
            Line(
                "time for 5 million posts", [both.seconds / both.looked * 5e6 / 60], "min", (),
                "≤ 10",
            ),
            Line(
                "processor time of the process, its start included",
                [both.cpu / both.looked * 1e6],
                "µs/post",
            ),
            Line("memory of the process, maximum", [both.memory / MB], "MB"),
            Line("X alone: latency, p50", [alone.p50 * 1e3], "ms"),
            Line("X alone: latency, p99", [alone.p99 * 1e3], "ms"),
            Line("X beside the look-back: latency, p50", [both.p50 * 1e3], "ms"),
            Line("X beside the look-back: latency, p99", [both.p99 * 1e3], "ms", (), "≤ 500"),
        ],
    )  # fmt: skip


def write_journal(folder: Path, count: int) -> int:
    """Write a journal of so many posts; returns its end."""
    folder.mkdir()
    recovery.write_id(folder, uuid.uuid4())
    step = HOURS * 3_600_000_000 // count
    stamp = int(time.time() * 1e6) - (HOURS + 1) * 3_600_000_000
    position, parts, size = 0, list[bytes](), 0
    for body in _bodies(count):
        stamp += step
        parts += segments.encode(segments.FRAME, stamp, body)
        size += segments.HEADER.size + len(body)
        if size >= SEGMENT_BYTES:
            _seal(folder, position, parts)
            position, parts, size = position + size, [], 0
    _seal(folder, position, parts)
    return position + size


def _bodies(count: int) -> Iterator[bytes]:
    """Posts, each with an id of its own."""
    distinct = prefilter.messages(DISTINCT)
    for number in range(count):
        at = number % DISTINCT
        yield distinct[at].replace(b"3mp%010d" % at, b"3mp%010d" % number)


def _seal(folder: Path, position: int, parts: list[bytes]) -> None:
    path = folder / segments.segment_name(position)
    path.write_bytes(b"".join(parts))
    segments.compress(path)
    path.unlink()


async def _run(server: Server, folder: Path, feed: Feed, journal: Path | None, end: int) -> Beside:
    """Collect, and look back if there is a journal to be looked through."""
    folder.mkdir()
    port = processes.free_port()
    async with server.database() as url, contextlib.AsyncExitStack() as stack:
        await end_to_end.prepare(url, folder, [feed], [port], [("keyword", "nothing")], {})
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        if journal is not None:
            await _place(connection, folder / "data", journal, end)
        await stack.enter_async_context(end_to_end.simulator(folder, feed, port))
        command = end_to_end.collect_alone(str(folder / "config.yaml"))
        daemon = await stack.enter_async_context(
            processes.running("collect", command, folder / "collect.log")
        )
        if journal is None:
            await asyncio.sleep(ALONE_SECONDS)
            return Beside(*await _delays(connection))
        await connection.execute(LOOK_BACK, TRACK)
        async with _child_usage(daemon) as samples:
            row = await _finished(connection)
        memory, cpu = (max(some) for some in zip(*samples, strict=True))
        found = row["looked"], row["found"], row["seconds"], memory, cpu
        return Beside(*await _delays(connection), *found)


async def _place(connection: asyncpg.Connection, data: Path, journal: Path, end: int) -> None:
    identity = recovery.read_id(journal / "id")
    source_id = await connection.fetchval(ADD_RECORDED, identity, end)
    (data / "journal").mkdir(exist_ok=True)
    journal.rename(data / "journal" / str(source_id))


async def _finished(connection: asyncpg.Connection) -> asyncpg.Record:
    while True:
        row = await connection.fetchrow(RESULT)
        assert row is not None
        if row["state"] == "done":
            return row
        if row["state"] == "failed":
            raise RuntimeError(row["reason"])
        await asyncio.sleep(POLL)


@contextlib.asynccontextmanager
async def _child_usage(pid: int) -> AsyncIterator[list[tuple[int, float]]]:
    """Samples of the resident bytes and the processor time of each child of a process."""
    samples = [(0, 0.0)]

    async def sample() -> None:
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                samples.extend(
                    (child.memory_info().rss, processes.cpu_seconds(child.pid))
                    for child in psutil.Process(pid).children()
                )
            await asyncio.sleep(POLL)

    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(sample())
        try:
            yield samples
        finally:
            sampling.cancel()


async def _delays(connection: asyncpg.Connection) -> tuple[float, float]:
    row = await connection.fetchrow(TIMES, "x_v2")
    assert row is not None
    return row["half"], row["most"]
