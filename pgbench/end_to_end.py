"""Measures the whole program: from a simulated network to the committed rows."""

import asyncio
import contextlib
import json
import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import msgspec

from pgbench import processes
from pgbench.server import Server
from stream.query import TrackKind
from stream.tweet import NetworkName
from stream.vault import Vault

COUNTED = "SELECT coalesce(sum(frames), 0)::bigint FROM source_minutes WHERE outcome = ANY ($1)"
ATTEMPTED = "SELECT count(*) FROM sources WHERE state = 'waiting'"
OUTCOMES = ["stored", "unmatched", "duplicate", "deleted", "control", "rejected", "dropped"]
ADD_SOURCE = "INSERT INTO sources (name, network, url, secrets) VALUES ($1, $1, $2, $3)"
ADD_TRACKS = "INSERT INTO tracks (kind, value) SELECT * FROM unnest($1::text[], $2::text[])"
LAST = """
SELECT max(pg_xact_commit_timestamp(m.xmin))
FROM source_minutes AS m JOIN sources AS s ON s.id = m.source_id WHERE s.network = $1
"""
# The commit timestamp is set when the commit is written, just before the flush to disk.
TIMES = """
SELECT count(*) AS tweets, min(received_at) AS first, max(committed) AS last,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY delay) AS half,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY delay) AS most,
       count(DISTINCT committed) AS commits
FROM tweets, pg_xact_commit_timestamp(xmin) AS committed,
     LATERAL (SELECT extract(epoch FROM committed - received_at)::double precision) AS _ (delay)
WHERE network = $1
"""
POLL = 0.2  # seconds
TIMEOUT = 300  # seconds


Track: TypeAlias = tuple[TrackKind, str]


class Feed(msgspec.Struct, frozen=True):
    """What one simulated network sends; a rate of 0 means as fast as the daemon reads."""

    network: NetworkName
    replayed: Path
    rate: float

    def messages(self) -> int:
        """How many messages the file holds."""
        with self.replayed.open("rb") as lines:
            return sum(1 for line in lines if line.strip())


class Outcome(msgspec.Struct, frozen=True):
    """One feed in one run: from the first tweet received to the last commit.

    Memory and processor time are those of the whole daemon.
    """

    messages: int
    seconds: float
    commits: int
    latency_p50: float  # seconds, received to committed
    latency_p99: float
    memory_max: int  # resident bytes of the daemon
    memory_growth: int  # between the medians of the second and the last quarter of the run
    start_cpu: float  # seconds, of the daemon until its first attempt to connect
    daemon_cpu: float  # seconds, after that
    simulator_cpu: float

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


def collect_alone(config: str) -> list[str]:
    """The command line of the daemon."""
    return ["twitterstream.py", "--config", config, "collect"]


async def run(
    server: Server,
    folder: Path,
    feeds: Sequence[Feed],
    tracks: Sequence[Track],
    *,
    settings: Mapping[str, object] | None = None,
    collect: Callable[[str], list[str]] = collect_alone,
) -> list[Outcome]:
    """Replay files through simulators, one for each network; an outcome for each feed."""
    folder.mkdir(parents=True)
    counts = [feed.messages() for feed in feeds]
    ports = [processes.free_port() for _ in feeds]
    async with server.database() as url, contextlib.AsyncExitStack() as simulators:
        await prepare(url, folder, feeds, ports, tracks, settings or {})
        command = collect(str(folder / "config.yaml"))
        # The daemon first: what it needs to start is no cost of its tweets.
        async with processes.running("collect", command, folder / "collect.log") as daemon:
            await wait_until(url, ATTEMPTED, len(feeds))
            start = processes.cpu_seconds(daemon)
            pids = [
                await simulators.enter_async_context(simulator(folder, feed, port))
                for feed, port in zip(feeds, ports, strict=True)
            ]
            async with _memory_samples(daemon) as samples:
                await wait_until(url, COUNTED, sum(counts), OUTCOMES)
            used = processes.cpu_seconds(daemon) - start, *map(processes.cpu_seconds, pids)
        return [
            await _outcome(url, feed, count, samples, (start, used[0], used[number]))
            for number, (feed, count) in enumerate(zip(feeds, counts, strict=True), 1)
        ]


def simulator(folder: Path, feed: Feed, port: int) -> AbstractAsyncContextManager[int]:
    """Run the simulated network of a feed."""
    command = ["twitterstream.py", "simulate", f"--network={feed.network}", f"--port={port}"]
    command += [f"--rate={feed.rate}", f"--replay={feed.replayed}"]
    return processes.running("simulate", command, folder / f"simulate-{feed.network}.log")


async def prepare(
    url: str,
    folder: Path,
    feeds: Sequence[Feed],
    ports: Sequence[int],
    tracks: Sequence[Track],
    changed: Mapping[str, object],
) -> None:
    """Configure a daemon with these tracks, and a source for each feed."""
    settings = {"database": url, "data_dir": str(folder / "data"), **changed}
    (folder / "data").mkdir()
    # JSON is YAML, too.
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    vault = Vault(folder / "data")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(ADD_TRACKS, *zip(*tracks, strict=True))
        for feed, port in zip(feeds, ports, strict=True):
            secrets = vault.seal(CREDENTIALS[feed.network])
            address = f"http://127.0.0.1:{port}"
            await connection.execute(ADD_SOURCE, feed.network, address, secrets)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _memory_samples(pid: int) -> AsyncIterator[list[int]]:
    samples: list[int] = []
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(processes.memory(pid, samples))
        try:
            yield samples
        finally:
            watching.cancel()


async def wait_until(url: str, query: str, expected: int, *arguments: object) -> None:
    """Wait until a query counts so many: attempts to connect, or messages with an outcome."""
    connection = await asyncpg.connect(url)
    counted = 0
    try:
        async with asyncio.timeout(TIMEOUT):
            while counted < expected:
                await asyncio.sleep(POLL)
                counted = await connection.fetchval(query, *arguments)
    except TimeoutError:
        raise RuntimeError(f"only {counted} of {expected} after {TIMEOUT} s: {query}") from None
    finally:
        await connection.close()


async def _outcome(
    url: str, feed: Feed, messages: int, samples: list[int], used: tuple[float, float, float]
) -> Outcome:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(TIMES, feed.network)
        last = await connection.fetchval(LAST, feed.network)
    finally:
        await connection.close()
    assert row is not None
    quarter = max(len(samples) // 4, 1)
    return Outcome(
        messages=messages,
        seconds=(last - row["first"]).total_seconds(),
        commits=row["commits"],
        latency_p50=row["half"],
        latency_p99=row["most"],
        memory_max=max(samples),
        memory_growth=int(
            statistics.median(samples[-quarter:])
            - statistics.median(samples[quarter : 2 * quarter])
        ),
        start_cpu=used[0],
        daemon_cpu=used[1],
        simulator_cpu=used[2],
    )


CREDENTIALS: Mapping[NetworkName, dict[str, str]] = {
    "x_v2": {"bearer_token": "bench"},
    "x_v1": {
        "consumer_key": "bench",
        "consumer_secret": "bench",
        "token": "bench",
        "token_secret": "bench",
    },
    "bluesky": {},
}
