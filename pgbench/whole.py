"""The whole program: a simulated network, the daemon, and what is committed in the database."""

import asyncio
import contextlib
import json
import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import asyncpg
import msgspec

from pgbench import processes
from pgbench.server import Server
from stream.vault import Vault

COUNTED = "SELECT coalesce(sum(frames), 0)::bigint FROM source_minutes WHERE outcome = ANY ($1)"
OUTCOMES = ["stored", "unmatched", "duplicate", "deleted", "control", "rejected", "dropped"]
ADD_SOURCE = "INSERT INTO sources (name, network, url, secrets) VALUES ('bench', $1, $2, $3)"
ADD_TRACKS = "INSERT INTO tracks (value) SELECT unnest($1::text[])"
# Postgres stamps a commit when it writes it, just before it is flushed to disk.
TIMES = """
SELECT count(*) AS tweets, min(received_at) AS first, max(committed) AS last,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY delay) AS half,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY delay) AS most,
       count(DISTINCT committed) AS commits
FROM tweets, pg_xact_commit_timestamp(xmin) AS committed,
     LATERAL (SELECT extract(epoch FROM committed - received_at)::double precision) AS _ (delay)
"""
LOOK = 0.2  # seconds between two looks whether all is stored
PATIENCE = 300  # seconds


class Outcome(msgspec.Struct, frozen=True):
    """One run: from the first frame received to the last commit."""

    tweets: int
    seconds: float
    commits: int
    latency_p50: float  # seconds, received to committed
    latency_p99: float
    memory_max: int  # resident bytes of the daemon
    memory_growth: int  # between the medians of the second and the last quarter of the run
    daemon_cpu: float  # seconds
    simulator_cpu: float

    @property
    def rate(self) -> float:
        return self.tweets / self.seconds


def collect_alone(config: str) -> list[str]:
    """How the daemon is started."""
    return ["twitterstream.py", "--config", config, "collect"]


async def run(
    server: Server,
    folder: Path,
    network: str,
    replayed: Path,
    tracks: Sequence[str],
    rate: float,
    *,
    settings: Mapping[str, object] | None = None,
    collect: Callable[[str], list[str]] = collect_alone,
) -> Outcome:
    """Replay a file through the simulator at a rate, 0 for as fast as the daemon reads."""
    folder.mkdir(parents=True)
    expected = sum(1 for line in replayed.open("rb") if line.strip())
    port = processes.free_port()
    simulate = ["twitterstream.py", "simulate", f"--network={network}", f"--port={port}"]
    simulate += [f"--rate={rate}", f"--replay={replayed}"]
    async with server.database() as url:
        await _prepare(url, folder, network, port, tracks, settings or {})
        command = collect(str(folder / "config.yaml"))
        async with (
            processes.running("simulate", simulate, folder / "simulate.log") as simulator,
            processes.running("collect", command, folder / "collect.log") as daemon,
            _remembered(daemon) as samples,
        ):
            await _all_counted(url, expected)
            used = processes.cpu_seconds(daemon), processes.cpu_seconds(simulator)
        return await _outcome(url, samples, used)


async def _prepare(
    url: str,
    folder: Path,
    network: str,
    port: int,
    tracks: Sequence[str],
    changed: Mapping[str, object],
) -> None:
    settings = {"database": url, "data_dir": str(folder / "data"), **changed}
    (folder / "data").mkdir()
    # JSON is YAML, too.
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    secrets = Vault(folder / "data").seal(CREDENTIALS[network])
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(ADD_TRACKS, tracks)
        await connection.execute(ADD_SOURCE, network, f"http://127.0.0.1:{port}", secrets)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _remembered(pid: int) -> AsyncIterator[list[int]]:
    samples: list[int] = []
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(processes.memory(pid, samples))
        try:
            yield samples
        finally:
            watching.cancel()


async def _all_counted(url: str, expected: int) -> None:
    """Wait until every replayed message has an outcome."""
    connection = await asyncpg.connect(url)
    counted = 0
    try:
        async with asyncio.timeout(PATIENCE):
            while counted < expected:
                await asyncio.sleep(LOOK)
                counted = await connection.fetchval(COUNTED, OUTCOMES)
    except TimeoutError:
        raise RuntimeError(f"only {counted} of {expected} messages after {PATIENCE} s") from None
    finally:
        await connection.close()


async def _outcome(url: str, samples: list[int], used: tuple[float, float]) -> Outcome:
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(TIMES)
    finally:
        await connection.close()
    assert row is not None
    quarter = max(len(samples) // 4, 1)
    return Outcome(
        tweets=row["tweets"],
        seconds=(row["last"] - row["first"]).total_seconds(),
        commits=row["commits"],
        latency_p50=row["half"],
        latency_p99=row["most"],
        memory_max=max(samples),
        memory_growth=int(
            statistics.median(samples[-quarter:])
            - statistics.median(samples[quarter : 2 * quarter])
        ),
        daemon_cpu=used[0],
        simulator_cpu=used[1],
    )


CREDENTIALS: Mapping[str, dict[str, str]] = {
    "x_v2": {"bearer_token": "bench"},
    "x_v1": {
        "consumer_key": "bench",
        "consumer_secret": "bench",
        "token": "bench",
        "token_secret": "bench",
    },
}
