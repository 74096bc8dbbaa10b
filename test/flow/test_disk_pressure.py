"""A nearly full disk: what pauses, which days are dropped early, and that it ends."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from monitor.maintenance import disk_pressure
from monitor.maintenance.disk_pressure import DiskPressure, Level
from monitor.snapshot import Machine, Volume, VolumeName
from snapshots import make_snapshot
from stream import db
from stream.collector import Collector
from stream.config import AlertSettings, JournalSettings, Settings
from stream.daemon import Daemon
from stream.journal import Journal
from stream.store.tracks import Track, get_all
from stream.tweet import Source, SourceId, TrackId
from stream.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ROOMY = JournalSettings(min_free_bytes=0, min_free_percent=0)
PATHS: dict[VolumeName, str] = {"data": "/d", "journal": "/j", "postgres": "/p", "archive": "/a"}


class Bench:
    """A daemon with one source and its journal, and a disk that one can fill by saying so."""

    def __init__(self, daemon: Daemon, journal: Journal, settings: Settings) -> None:
        self.daemon = daemon
        self.journal = journal
        self.days = [date(2026, 1, 1), date(2026, 1, 2)]  # that may go early
        self.archived = 0  # requests
        self.pressure = DiskPressure(daemon, settings, self.drop_early, self.archive)

    async def drop_early(self) -> list[date]:
        return [self.days.pop(0)] if self.days else []

    def archive(self) -> None:
        self.archived += 1

    def read(self, **frees: float) -> None:
        """A snapshot with so many percent free there, and plenty elsewhere."""
        volumes = []
        for name, path in PATHS.items():
            free = round(1000 * frees.get(name, 80))
            volumes.append(Volume(name, path, 1, 100_000, 100_000 - free, free))
        machine = Machine(0, 1, 0, 1, 1, 0, 0, tuple(volumes))
        # Of a snapshot, only its volumes are looked at.
        self.pressure.on_snapshot(make_snapshot(0, machine=machine))

    def level(self) -> Level:
        return self.pressure.level

    def held(self) -> tuple[set[TrackId], str]:
        held: set[TrackId] = set(self.daemon.reconciler.paused)
        return held, self.daemon.reconciler.paused_because


async def tracks_of(url: str, *priorities: int) -> list[Track]:
    async with db.connect(url) as connected, connected.acquire() as connection:
        for priority in priorities:
            await connection.execute(
                "INSERT INTO tracks (value, priority) VALUES ('x', $1)", priority
            )
        return await get_all(connection)


@pytest.fixture
async def bench(database: str, tmp_path: Path) -> AsyncIterator[Bench]:
    settings = Settings(data_dir=str(tmp_path), journal=ROOMY)
    async with db.connect(database) as connected:
        daemon = Daemon(connected, settings, Vault(tmp_path), lambda _: None)
        source = Source(SourceId(1), "main", "x_v1", None, None, {}, enabled=True)
        collector = Collector(connected, settings, source, daemon.reconciler, daemon.locks)
        daemon.collectors[SourceId(1)] = collector
        with Journal.open(tmp_path / "journal" / "1", ROOMY) as journal:
            collector.journal = journal
            await tracks_of(database, 0, 0, 5)
            await daemon.reconciler.reload()
            yield Bench(daemon, journal, settings)


async def test_first_the_least_important_tracks_pause_then_all_and_it_ends_by_itself(
    bench: Bench,
) -> None:
    bench.read(journal=9)
    assert bench.held() == (set(), "")
    assert bench.journal.why_full() is None
    assert bench.journal.keep_stored
    bench.read(journal=7)
    assert not bench.journal.keep_stored, "stored segments are deleted first"
    ids, why = bench.held()
    assert ids == {1, 2}
    assert "/j has less than 7.5 % free (alerts.disk_pause_low_percent)" in why
    assert bench.journal.why_full() is None
    bench.read(journal=4)
    assert bench.level() == Level.PAUSE_ALL
    room = bench.journal.why_full()
    assert room is not None
    assert "/j has less than 5 % free (alerts.disk_pause_all_percent). Free some" in room
    bench.read(journal=5.5)
    assert bench.journal.why_full() == room, "it ends a point above, and with the same words"
    bench.read(journal=6.5)
    assert bench.journal.why_full() is None
    assert bench.held()[0] == {1, 2}
    bench.read(journal=8.6)
    assert bench.held() == (set(), "")
    assert bench.level() == Level.ARCHIVE
    assert bench.journal.keep_stored


async def test_with_one_priority_only_nothing_pauses_before_all_does(
    bench: Bench, database: str
) -> None:
    await bench.daemon.database.execute("DELETE FROM tracks WHERE id > 2")
    await bench.daemon.reconciler.reload()
    bench.read(journal=6)
    assert bench.held()[0] == set()
    assert bench.journal.why_full() is None


async def test_the_fullest_of_the_disks_counts_but_the_archive_s_own_does_not(
    bench: Bench,
) -> None:
    bench.read(archive=1)
    assert bench.level() == Level.FINE
    bench.read(data=20, journal=4)
    assert bench.level() == Level.PAUSE_ALL
    bench.read(data=20, postgres=14)
    assert bench.level() == Level.WARN


@pytest.fixture
def real_disk(bench: Bench, tmp_path: Path) -> Iterator[None]:
    """The volume of Postgres is a real folder: its space is read again after each day."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(PATHS, "postgres", str(tmp_path))
        yield


def settings_that_want(percent: float) -> Settings:
    return Settings(alerts=AlertSettings(disk_warn_percent=100, disk_archive_percent=percent))


async def test_days_are_dropped_early_oldest_first_until_there_are_none(
    bench: Bench, real_disk: None
) -> None:
    bench.pressure.settings = settings_that_want(99)
    bench.read(postgres=9)
    await bench.pressure.free_space()
    assert bench.days == []
    assert bench.archived == 1, "then closed days are archived, so that more can go"


async def test_no_more_days_are_dropped_than_needed(
    bench: Bench, real_disk: None, tmp_path: Path
) -> None:
    disk = os.statvfs(tmp_path)
    free = 100 * disk.f_bavail / (disk.f_blocks - disk.f_bfree + disk.f_bavail)
    # The last snapshot was below; there is more room by now.
    bench.pressure.settings = settings_that_want(max(free - 5, 1))
    bench.read(postgres=0.5)
    await bench.pressure.free_space()
    assert len(bench.days) == 2
    assert not bench.archived


async def test_another_disk_than_that_of_postgres_drops_no_day(bench: Bench) -> None:
    bench.read(journal=1)
    await bench.pressure.free_space()
    assert len(bench.days) == 2


async def test_a_stale_snapshot_pauses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's own minimum still applies."""
    bench.read(journal=3)
    assert bench.journal.why_full() is not None
    monkeypatch.setattr(disk_pressure, "STALE_AFTER", -1.0)
    await bench.pressure.free_space()
    assert bench.journal.why_full() is None
    assert bench.held() == (set(), "")
