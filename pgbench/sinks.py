"""Redis channels with 1, 10 and 100 subscribers at a thousand tweets per second.

    python -m pgbench sinks

The delay is from Postgres' commit timestamp to the arrival of the message at one subscriber, in a
process on the same machine. One process reads for all others, and in the last run one of them is
frozen: its connection stays open, but is never read.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import asyncpg
import msgspec
from redis.asyncio import Redis

from pgbench import processes
from pgbench.corpus import Corpus
from pgbench.end_to_end import TIMES
from pgbench.installation import NETWORK, prepare
from pgbench.live import COMMITTED, RATE, SECONDS, collect
from pgbench.report import Line, Section
from pgbench.server import Server
from pgbench.subscribers import subscribed
from pgbench.webhooks import SETTINGS, Receiver, receiving
from stream.text import counted

BIN = Path(sys.executable).parent  # of redis-server and redis-cli
CHANNEL = "tweets"
SUBSCRIBERS_WITHIN = 60  # seconds
POLL_INTERVAL = 0.1  # seconds


class Run(NamedTuple):
    """How many subscribers, how many of them are frozen, and how many webhooks get the same."""

    subscribers: int = 0
    frozen: int = 0
    webhooks: int = 0

    def __str__(self) -> str:
        if not self.subscribers:
            return "no sink"
        words = counted(self.subscribers, "subscriber")
        words += ", one frozen" if self.frozen else ""
        return f"{words}, {counted(self.webhooks, 'webhook')}" if self.webhooks else words


RUNS = Run(), Run(1), Run(10), Run(100), Run(100, 1), Run(100, 1, 1)


class SinkOutcome(msgspec.Struct, frozen=True):
    """One run; times in seconds."""

    rate: float  # tweets stored per second
    stored_p99: float  # received to committed
    cpu: float  # of the daemon, per second of tweets
    delays: Sequence[float]  # committed to received by the subscriber


async def measure(server: Server, folder: Path, posts: Corpus) -> Section:
    """The section of results.md."""
    folder.mkdir()
    replayed = folder / "sinks.ndjson"
    replayed.write_bytes(b"".join(body + b"\n" for body in posts.bodies[: RATE * SECONDS]))
    lines: list[Line] = []
    for number, run in enumerate(RUNS):
        name = str(run)
        one = await _run(server, folder / f"run-{number}", replayed, posts.tracks, run)
        lines += [
            Line(f"{name}: tweets stored", [one.rate], "/s"),
            _line(f"{name}: received to stored, p99", one.stored_p99),
            Line(f"{name}: processors used by the daemon", [one.cpu], ""),
        ]
        if one.delays:
            p99 = statistics.quantiles(one.delays, n=100)[98]
            lines += [
                _line(f"{name}: stored to subscriber, p50", statistics.median(one.delays)),
                _line(f"{name}: stored to subscriber, p99", p99, "≤ 50"),
            ]
    return Section(
        "Redis",
        f"{RATE:,} tweets/s for {SECONDS} s, all published to one channel and those of their"
        " tracks, and appended to Streams; see sinks.py.",
        lines,
    )


def _line(what: str, seconds: float, aim: str = "") -> Line:
    return Line(what, [seconds * 1000], "ms", aim=aim)


async def _run(
    server: Server, folder: Path, replayed: Path, tracks: Sequence[str], run: Run
) -> SinkOutcome:
    folder.mkdir()
    port = processes.free_port()
    simulate = ["twitterstream.py", "simulate", f"--network={NETWORK}", f"--port={port}"]
    simulate += [f"--rate={RATE}", f"--replay={replayed}"]
    collecting = ["twitterstream.py", "--config", str(folder / "config.yaml"), "collect"]
    async with server.database() as url, contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_redis(folder))
        hook = await stack.enter_async_context(receiving(Receiver()))
        settings = _settings(redis) if run.subscribers else {}
        await prepare(url, folder, port, tracks, settings, [hook] * run.webhooks)
        log = folder / "simulate.log"
        await stack.enter_async_context(processes.running("simulate", simulate, log))
        log = folder / "collect.log"
        pid = await stack.enter_async_context(processes.running("collect", collecting, log))
        got: list[tuple[float, bytes]] = []
        if run.subscribers:
            await _begun(url)
            await stack.enter_async_context(_others(redis, run.subscribers - 1, run.frozen))
            await stack.enter_async_context(_subscribed(redis, got))
        used = processes.cpu_seconds(pid)
        await collect(url)
        used = processes.cpu_seconds(pid) - used
        return await _outcome(url, got, used / SECONDS)


def _settings(redis: int) -> dict[str, object]:
    """With both sinks of Redis; its port."""
    address = f"redis://127.0.0.1:{redis}/0"
    return {"sinks": {"redis": {"url": address, "streams": True}, **SETTINGS["sinks"]}}


@contextlib.asynccontextmanager
async def _redis(folder: Path) -> AsyncIterator[int]:
    """A server; yields its port."""
    port = processes.free_port()
    words = ["--port", str(port), "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
    server = await asyncio.create_subprocess_exec(BIN / "redis-server", *words, stdout=DEVNULL)
    try:
        await processes.listening(port)
        yield port
    finally:
        server.kill()
        await server.wait()


async def _begun(url: str) -> None:
    """Wait until both sinks have a position."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(SUBSCRIBERS_WITHIN):
            while (  # noqa: ASYNC110 - of another process
                await connection.fetchval("SELECT count(*) FROM consumer_cursors") < 2
            ):
                await asyncio.sleep(POLL_INTERVAL)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _others(port: int, number: int, frozen: int) -> AsyncIterator[None]:
    """Subscribers that read and forget; so many of them are frozen."""
    words = ("-m", "pgbench.subscribers", str(port), CHANNEL, str(number - frozen))
    reading = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=processes.ROOT)
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(frozen):
                stack.enter_context(subscribed(port, CHANNEL))
            client: Redis = Redis(port=port)
            async with client, asyncio.timeout(SUBSCRIBERS_WITHIN):
                while (  # noqa: ASYNC110 - of another process
                    (await client.pubsub_numsub(CHANNEL))[0][1] < number
                ):
                    await asyncio.sleep(POLL_INTERVAL)
            yield
        assert reading.returncode is None, "the subscribers ended"
    finally:
        with contextlib.suppress(ProcessLookupError):
            reading.kill()
        await reading.wait()


@contextlib.asynccontextmanager
async def _subscribed(port: int, got: list[tuple[float, bytes]]) -> AsyncIterator[None]:
    """The subscriber that is measured: what it gets, and when."""
    client: Redis = Redis(port=port, socket_timeout=None)
    async with client, client.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        await pubsub.get_message(timeout=SUBSCRIBERS_WITHIN)

        async def listen() -> None:
            async for message in pubsub.listen():
                got.append((time.time(), message["data"]))  # noqa: PERF401 - read while it grows

        listening = asyncio.create_task(listen())
        yield
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


async def _outcome(url: str, got: Sequence[tuple[float, bytes]], cpu: float) -> SinkOutcome:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(TIMES, NETWORK)
        committed = {str(each["id"]): each["at"] for each in await connection.fetch(COMMITTED)}
    finally:
        await connection.close()
    assert row is not None
    delays = [at - committed[json.loads(body)["id"]] for at, body in got]
    assert len(delays) in (0, len(committed)), f"{len(delays)} of {len(committed)} tweets"
    rate = row["tweets"] / (row["last"] - row["first"]).total_seconds()
    return SinkOutcome(rate, row["most"], cpu, delays)
