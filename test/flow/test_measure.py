"""A real daemon that collects from the simulator, measured while it does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from monitor.watch import Monitor
from simulator.server import Settings as Simulated
from simulator.server import serve
from stream import db, sources, tracks
from stream.config import JournalSettings, MonitorSettings, Settings
from stream.daemon import Daemon
from stream.vault import Vault

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.reading import Reading
    from test.conftest import Eventually

RATE = 200  # tweets a second


class Watched:
    """A daemon, its monitor and its database."""

    def __init__(self, daemon: Daemon, monitor: Monitor, database: db.Database) -> None:
        self.daemon = daemon
        self.monitor = monitor
        self.database = database

    @property
    def newest(self) -> Reading:
        reading = self.monitor.prober.newest
        assert reading is not None
        return reading

    def brought(self) -> int:
        """Frames of the one source, as the newest reading says."""
        reading = self.monitor.prober.newest
        return reading.sources[0].frames if reading is not None and reading.sources else 0


@pytest.fixture
async def watched(database: str, tmp_path: Path) -> AsyncIterator[Watched]:
    """Collects from a simulator until the test ends."""
    vault = Vault(tmp_path)
    settings = Settings(
        database=database,
        data_dir=str(tmp_path),
        save_every=0.05,
        journal=JournalSettings(min_free_bytes=0, min_free_percent=0),
        monitor=MonitorSettings(probe_every=0.2),
    )
    async with (
        serve(msgspec.structs.replace(Simulated(), rate=RATE)) as server,
        db.connect(database) as connected,
        connected.beside(3) as own,
    ):
        async with connected.acquire() as connection:
            sealed = vault.seal({"bearer_token": "T"})
            await sources.add(connection, "main", "x_v2", server.url, None, sealed)
            await tracks.add(connection, "snow")
        daemon = Daemon(connected, settings, vault, lambda _: None)
        monitor = Monitor(daemon, own, settings)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(monitor.run())
            collecting = group.create_task(daemon.run())
            with contextlib.suppress(asyncio.CancelledError):
                yield Watched(daemon, monitor, connected)
            daemon.stop.set()
            await asyncio.wait([collecting])
            watching.cancel()


async def test_a_reading_of_a_collecting_daemon_is_believable(
    watched: Watched, eventually: Eventually
) -> None:
    await eventually(lambda: watched.brought() > RATE)
    await eventually(lambda: watched.newest.commits.p50 is not None)
    watched.monitor.prober.sizes.hurry()
    await eventually(lambda: watched.newest.database.tables.get("tweets"))
    reading = watched.newest
    [source] = reading.sources
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
    assert 0 <= source.lag_seconds < 60
    assert source.last_byte is not None
    assert reading.at - source.last_byte < 60
    assert source.away_since is None
    assert reading.tracks == {"active": 1}
    database = reading.database
    assert database.up
    assert database.size is not None
    assert sum(database.tables.values()) < database.size
    assert database.connections is not None
    assert database.connections >= 2
    assert database.partitions is not None
    machine, process = reading.machine, reading.process
    assert 0 <= machine.cpu_percent <= 100
    assert 0 < machine.memory_used < machine.memory_total
    assert {volume.name for volume in machine.volumes} >= {"data", "journal"}
    assert all(volume.used + volume.free <= volume.total for volume in machine.volumes)
    assert 1 << 20 < process.memory < machine.memory_total
    assert 3 < process.files < process.files_limit
    assert 0 <= process.loop_lag < 60
    assert [chore.failed for chore in reading.chores] == [None] * len(reading.chores)
