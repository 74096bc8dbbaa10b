"""Redis channels with 1, 10 and 100 subscribers at a thousand tweets per second.

    python -m pgbench sinks

The delay is from Postgres' commit timestamp to the arrival of the message at one subscriber, in a
process on the same machine. One process reads for all others, and in the last run one of them is
frozen: its connection is open, and nobody reads from it.
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

import asyncpg
import msgspec
from redis.asyncio import Redis

from pgbench import processes
from pgbench.corpus import Corpus
from pgbench.end_to_end import ADD_TRACKS, CREDENTIALS, TIMES
from pgbench.live import ADD_SOURCE, COMMITTED, NETWORK, RATE, SECONDS, collect
from pgbench.report import Line, Section
from pgbench.server import Server
from pgbench.subscribers import subscribed
from stream.vault import Vault

BIN = Path(sys.executable).parent  # of redis-server and redis-cli
CHANNEL = "tweets"
RUNS = ((0, 0), (1, 0), (10, 0), (100, 0), (100, 1))  # subscribers, and how many are frozen
SUBSCRIBERS_WITHIN = 60  # seconds
POLL_INTERVAL = 0.1  # seconds


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
    for subscribers, frozen in RUNS:
        name = f"{subscribers} subscribers" if subscribers else "no sink"
        name += ", one frozen" if frozen else ""
        here = folder / f"run-{subscribers}-{frozen}"
        one = await _run(server, here, replayed, posts.tracks, (subscribers, frozen))
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
    server: Server, folder: Path, replayed: Path, tracks: Sequence[str], run: tuple[int, int]
) -> SinkOutcome:
    subscribers, frozen = run
    folder.mkdir()
    port = processes.free_port()
    simulate = ["twitterstream.py", "simulate", f"--network={NETWORK}", f"--port={port}"]
    simulate += [f"--rate={RATE}", f"--replay={replayed}"]
    collecting = ["twitterstream.py", "--config", str(folder / "config.yaml"), "collect"]
    async with server.database() as url, contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(_redis(folder))
        await _prepare(url, folder, port, redis if subscribers else 0, tracks)
        log = folder / "simulate.log"
        await stack.enter_async_context(processes.running("simulate", simulate, log))
        log = folder / "collect.log"
        pid = await stack.enter_async_context(processes.running("collect", collecting, log))
        got: list[tuple[float, bytes]] = []
        if subscribers:
            await _begun(url)
            await stack.enter_async_context(_others(redis, subscribers - 1, frozen))
            await stack.enter_async_context(_subscribed(redis, got))
        used = processes.cpu_seconds(pid)
        await collect(url)
        used = processes.cpu_seconds(pid) - used
        return await _outcome(url, got, used / SECONDS)


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


async def _prepare(url: str, folder: Path, port: int, redis: int, tracks: Sequence[str]) -> None:
    """Settings, tracks and source; `redis`: its port, 0: no sink."""
    settings = {"database": url, "data_dir": str(folder / "data"), "monitor": {"listen": ""}}
    if redis:
        address = f"redis://127.0.0.1:{redis}/0"
        settings["sinks"] = {"redis": {"url": address, "streams": True}}
    (folder / "data").mkdir()
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    secrets = Vault(folder / "data").seal(CREDENTIALS[NETWORK])
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(ADD_TRACKS, ["keyword"] * len(tracks), tracks)
        await connection.execute(ADD_SOURCE, NETWORK, f"http://127.0.0.1:{port}", secrets)
    finally:
        await connection.close()


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
