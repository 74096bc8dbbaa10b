"""One and ten webhooks that follow all tracks, at a thousand tweets per second.

    python -m pgbench webhooks

The delay is from Postgres' commit timestamp to the arrival of the message at a receiver, which is
this process. A webhook waits up to a second for more tweets, so that they come together.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
from aiohttp import web

from pgbench import processes
from pgbench.corpus import Corpus
from pgbench.end_to_end import TIMES
from pgbench.installation import NETWORK, prepare
from pgbench.live import COMMITTED, RATE, TIMEOUT, collect
from pgbench.report import Line, Section
from pgbench.server import Server
from stream.db import Database, connect

RUNS = (0, 1, 10)  # webhooks
SECONDS = 20
SETTINGS = {"sinks": {"webhooks": {"allowed_networks": ["127.0.0.0/8"]}}}
POLL_INTERVAL = 0.1  # seconds
MATCHED = "SELECT count(DISTINCT tweet_id) FROM matches"


class _Tweet(msgspec.Struct, frozen=True):
    id: str


class _Data(msgspec.Struct, frozen=True):
    tweets: list[_Tweet]


class _Message(msgspec.Struct, frozen=True):
    data: _Data


_decode = msgspec.json.Decoder(_Message).decode


class WebhookOutcome(msgspec.Struct, frozen=True):
    """One run; times in seconds."""

    stored_p99: float  # received to committed
    cpu: float  # of the daemon, per second of tweets
    messages: int = 0
    seconds: float = 0  # from the first message to the last
    delays: Sequence[float] = ()  # committed to received


class Receiver:
    """Notes what comes, and when: a message and its tweets."""

    def __init__(self) -> None:
        self.got: list[tuple[float, list[str]]] = []
        self.tweets = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        at = time.time()
        ids = [tweet.id for tweet in _decode(body).data.tweets]
        self.got.append((at, ids))
        self.tweets += len(ids)
        return web.Response(status=204)


async def measure(server: Server, folder: Path, posts: Corpus) -> Section:
    """The section of results.md."""
    folder.mkdir()
    replayed = folder / "webhooks.ndjson"
    replayed.write_bytes(b"".join(body + b"\n" for body in posts.bodies[: RATE * SECONDS]))
    lines: list[Line] = []
    for number in RUNS:
        one = await _run(server, folder / f"run-{number}", replayed, posts.tracks, number)
        lines += _lines({0: "no webhook", 1: "one webhook"}.get(number, f"{number} webhooks"), one)
    return Section(
        "Webhooks",
        f"{RATE:,} tweets/s for {SECONDS} s, all that match a track sent to each webhook, at most"
        " 100 in a message; see webhooks.py.",
        lines,
    )


def _lines(name: str, one: WebhookOutcome) -> list[Line]:
    lines = [
        Line(f"{name}: received to stored, p99", [one.stored_p99 * 1000], "ms"),
        Line(f"{name}: processors used by the daemon", [one.cpu], ""),
    ]
    if one.delays:
        percentiles = statistics.quantiles(one.delays, n=100)
        lines += [
            Line(f"{name}: messages", [one.messages / one.seconds], "/s"),
            Line(f"{name}: tweets", [len(one.delays) / one.seconds], "/s"),
            Line(f"{name}: stored to received, p50", [percentiles[49] * 1000], "ms"),
            Line(f"{name}: stored to received, p99", [percentiles[98] * 1000], "ms"),
        ]
    return lines


async def _run(
    server: Server, folder: Path, replayed: Path, tracks: Sequence[str], number: int
) -> WebhookOutcome:
    port = processes.free_port()
    simulate = ["twitterstream.py", "simulate", f"--network={NETWORK}", f"--port={port}"]
    simulate += [f"--rate={RATE}", f"--replay={replayed}"]
    collecting = ["twitterstream.py", "--config", str(folder / "config.yaml"), "collect"]
    receiver = Receiver()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(server.database())
        database = await stack.enter_async_context(connect(url))
        address = await stack.enter_async_context(receiving(receiver))
        await prepare(url, folder, port, tracks, SETTINGS, [address] * number)
        log = folder / "simulate.log"
        await stack.enter_async_context(processes.running("simulate", simulate, log))
        log = folder / "collect.log"
        pid = await stack.enter_async_context(processes.running("collect", collecting, log))
        used = processes.cpu_seconds(pid)
        await collect(url, RATE * SECONDS)
        used = processes.cpu_seconds(pid) - used
        [row] = await database.fetch(MATCHED)
        async with asyncio.timeout(TIMEOUT):
            while receiver.tweets < number * row[0]:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(POLL_INTERVAL)
        return await _outcome(database, receiver.got, used / SECONDS)


@contextlib.asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    """The receiver's address."""
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/", receiver.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _outcome(
    database: Database, got: Sequence[tuple[float, list[str]]], cpu: float
) -> WebhookOutcome:
    [row] = await database.fetch(TIMES, NETWORK)
    if not got:
        return WebhookOutcome(row["most"], cpu)
    committed = {str(each["id"]): each["at"] for each in await database.fetch(COMMITTED)}
    delays = [at - committed[tweet] for at, ids in got for tweet in ids]
    times = [at for at, _ in got]
    return WebhookOutcome(row["most"], cpu, len(got), max(times) - min(times), delays)
