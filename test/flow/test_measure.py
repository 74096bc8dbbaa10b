"""A real daemon that collects from the simulator, measured while it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest
from psycopg import sql

from monitor.jobs import Leader, PeriodicJob
from monitor.measure.sampler import Sampler
from simulator.server import Settings as Simulated
from simulator.server import serve
from stream import db
from stream.config import JournalSettings, MonitorSettings, Settings
from stream.daemon import Daemon
from stream.store import sources, tracks
from stream.store.machine_history import SourceMinute
from stream.store.tracks import NewTrack
from stream.vault import Vault

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.snapshot import Snapshot, SourceSnapshot
    from stream.db import Row
    from test.conftest import Eventually

RATE = 200  # tweets a second
SHORT = 2  # seconds of a minute, for whom a real one is too long


class Watched:
    """A daemon, its prober and its database."""

    def __init__(self, daemon: Daemon, sampler: Sampler, database: db.Database) -> None:
        self.daemon = daemon
        self.sampler = sampler
        self.database = database
        self.snapshots: list[Snapshot] = []

    @property
    def newest(self) -> Snapshot:
        snapshot = self.sampler.newest
        assert snapshot is not None
        return snapshot

    @property
    def main(self) -> SourceSnapshot:
        [source] = self.newest.sources
        return source

    def commits(self) -> int:
        """Commits of the one source so far."""
        [collector] = self.daemon.collectors.values()
        assert collector.writer is not None
        return len(collector.writer.timings)

    def knows_sizes(self) -> bool:
        """Asked for again: after an attempt that failed the next one would be minutes later."""
        if not self.newest.database.tables.get("tweets"):
            self.sampler.sizes.run_soon()
            return False
        return True

    def brought(self) -> int:
        """Frames of the one source, as the newest snapshot says."""
        snapshot = self.sampler.newest
        return snapshot.sources[0].frames if snapshot is not None and snapshot.sources else 0


@pytest.fixture
async def watched(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Watched]:
    """Collects from a simulator until the test ends."""
    monkeypatch.setattr("monitor.measure.rollup.MINUTE", SHORT)
    vault = Vault(tmp_path)
    settings = Settings(
        database=database,
        data_dir=str(tmp_path),
        flush_interval=0.05,
        poll_interval=0.5,
        journal=JournalSettings(min_free_bytes=0, min_free_percent=0),
        monitor=MonitorSettings(sample_interval=0.2),
    )
    async with (
        serve(msgspec.structs.replace(Simulated(), rate=RATE)) as server,
        db.connect(database) as connected,
        connected.separate_pool(3) as own,
    ):
        async with connected.acquire() as connection:
            sealed = vault.seal({"bearer_token": "T"})
            await sources.add(connection, "main", "x_v2", server.url, None, sealed)
            await tracks.add(connection, NewTrack("snow"))
        daemon = Daemon(connected, settings, vault, lambda _: None)
        leader, jobs = Leader(own), list[PeriodicJob]()
        sampler = Sampler(daemon, own, settings, leader, jobs)
        jobs += sampler.jobs()
        watched = Watched(daemon, sampler, connected)
        sampler.listeners.append(watched.snapshots.append)
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(daemon.run())
            runs = [leader.run(), sampler.run(), *(job.run() for job in jobs)]
            watching = [group.create_task(run) for run in runs]
            yield watched
            daemon.stop.set()
            await asyncio.wait([collecting])
            for task in watching:
                task.cancel()


async def test_a_reading_of_a_collecting_daemon_is_believable(
    watched: Watched, eventually: Eventually
) -> None:
    await eventually(lambda: watched.brought() > RATE)
    await eventually(lambda: watched.newest.commits.p50 is not None)
    await eventually(watched.knows_sizes)
    await eventually(lambda: watched.newest.tracks == {"active": 1})
    await eventually(lambda: watched.newest.database.up and watched.main.lag_seconds < 60)
    snapshot, source = watched.newest, watched.main
    assert (source.name, source.network, source.state) == ("main", "x_v2", "streaming")
    assert source.collecting
    assert not source.standing_by
    assert 100 * source.frames < source.bytes < 100_000 * source.frames
    assert source.outcomes["stored"] + source.outcomes["unmatched"] > 0
    assert source.attempts == 1
    assert source.attempts_left is not None
    assert source.attempts_left < 45
    assert source.journal_bytes >= source.bytes
    assert 0 <= source.lag_bytes <= source.journal_bytes
    assert source.lag_seconds >= 0
    assert source.last_byte is not None
    assert snapshot.at - source.last_byte < 60
    assert source.away_since is None
    # Every commit is in one snapshot.
    numbers = [each.commits.number for each in watched.snapshots]
    assert 0 < sum(numbers) <= watched.commits()
    database = snapshot.database
    assert database.size is not None
    assert sum(database.tables.values()) < database.size
    assert database.connections is not None
    assert database.connections >= 2
    assert database.partitions is not None
    machine, process = snapshot.machine, snapshot.process
    assert 0 <= machine.cpu_percent <= 100
    assert 0 < machine.memory_used < machine.memory_total
    assert {volume.name for volume in machine.volumes} >= {"data", "journal"}
    assert all(volume.used + volume.free <= volume.total for volume in machine.volumes)
    assert 1 << 20 < process.memory < machine.memory_total
    assert 3 < process.files < process.files_limit
    assert 0 <= process.loop_lag < 60
    assert [job.failed for job in snapshot.jobs] == [None] * len(snapshot.jobs)


async def test_minutes_of_a_collecting_daemon_are_believable(
    watched: Watched, eventually: Eventually
) -> None:
    rows: list[Row] = []
    mains: list[SourceMinute] = []

    async def enough() -> bool:
        """Two minutes with frames, and one in which tweets were stored: a commit comes later."""
        rows[:] = await watched.database.fetch(
            "SELECT *, sources -> 'main' AS main FROM machine_minutes ORDER BY at"
        )
        mains[:] = [
            msgspec.json.decode(row["main"], type=SourceMinute) for row in rows if row["main"]
        ]
        stored = any(main.frames_per_s > 1 and main.tweets_per_s > 1 for main in mains)
        return stored and sum(main.frames > 0 for main in mains) >= 2

    await eventually(enough)
    frames, tweets = sum(main.frames for main in mains), sum(main.tweets for main in mains)
    assert 0 < tweets <= frames <= watched.brought()
    assert 100 * frames < sum(main.bytes for main in mains) < 100_000 * frames
    assert mains[-1].state == "streaming"
    newest = [row for row in rows if row["commit_p50"] is not None][-1]
    assert newest["commit_p99"] >= newest["commit_p50"] > 0
    assert newest["batch_frames"] >= 1
    assert newest["journal_lag_bytes"] >= 0
    assert newest["database_up"] == 1
    assert newest["process_memory"] > 1 << 20
    assert newest["host"] == watched.newest.host
    [forecast, *_] = await watched.database.fetch("SELECT * FROM stats_forecast")
    assert 0 < forecast["free"] < forecast["total"]
    [source] = await watched.database.fetch("SELECT * FROM stats_sources")
    assert source["collected"]
    assert source["tweets_last_hour"] >= tweets


async def test_counts_go_on_when_a_source_is_disabled_and_enabled(
    watched: Watched, eventually: Eventually
) -> None:
    async def enable(*, enabled: bool) -> None:
        async with watched.database.acquire() as connection:
            await sources.enable(connection, "main", enabled=enabled)

    await eventually(lambda: watched.brought() > 10)
    await enable(enabled=False)
    await eventually(lambda: watched.main.state == "disabled")
    before = watched.main
    assert before.frames > 10
    assert not before.collecting
    await enable(enabled=True)
    await eventually(lambda: watched.main.frames > before.frames)
    assert watched.main.attempts == before.attempts + 1
    assert watched.main.outcomes["stored"] >= before.outcomes["stored"]
    watched.sampler.gaps_today.run_soon()
    await eventually(lambda: watched.main.gap_seconds_today > 0)


async def test_postgres_that_is_away_is_a_finding_and_minutes_wait_for_it(
    watched: Watched, eventually: Eventually, server: str, database: str
) -> None:
    name = sql.Identifier(urlsplit(database).path.removeprefix("/"))
    await eventually(lambda: watched.brought() > 10)
    await eventually(watched.knows_sizes)
    assert watched.newest.database.up
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as admin:
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [name.as_string().strip('"')],
        )
        await eventually(lambda: not watched.newest.database.up)
        away = watched.newest.database
        assert away.error
        assert away.since <= watched.newest.at
        assert away.tables  # the last ones stay
        assert (away.connections, away.oldest_transaction) == (None, None)
        await eventually(lambda: watched.main.away_since is not None)
        await eventually(lambda: watched.main.lag_seconds > 0.5)
        assert watched.main.lag_bytes > 0
        await eventually(lambda: len(watched.sampler._minutes.waiting) >= 2)
        await admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    await eventually(lambda: watched.newest.database.up and watched.main.away_since is None)
    assert watched.newest.database.since > away.since
    watched.sampler.minutes.run_soon()

    async def written() -> bool:
        query = "SELECT min(database_up) AS up FROM machine_minutes"
        [row] = await watched.database.fetch(query)
        return bool(row["up"] is not None and row["up"] < 1)

    await eventually(written)
    await eventually(lambda: watched.main.lag_seconds < 5)
