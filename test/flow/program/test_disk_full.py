"""A disk that really fills: collecting pauses, the gap is recorded, new space resumes it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from disks import fill_up, small_disk
from simulator.server import Limits
from stream.errors import TwitterstreamError
from stream.journal.segments import open_to_append, unwritable
from stream.postgres import cluster

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Iterator
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, Tables
    from test.flow.program.conftest import Collect, MakeProgram, Program, Simulate

SIZE = 48 << 20  # bytes of the disk
NO_FLOOR = {"min_free_bytes": 0, "min_free_percent": 0}
OFTEN = {"listen": "", "sample_interval": 0.2}
NEVER = {"listen": "", "sample_interval": 3600}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, SIZE) as folder:
        yield folder


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, leave: float) -> Path:
    """Another program's file takes all but such a share of the disk."""
    foreign = disk / "foreign"
    with foreign.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(disk) - int(SIZE * leave))
    return foreign


@pytest.mark.parametrize("stopped_by", ["the monitor", "the floor", "the disk itself"])
async def test_a_disk_that_fills_pauses_collecting_and_loses_nothing(
    collect: Collect, disk: Path, audit: AuditBooks, eventually: Eventually, stopped_by: str
) -> None:
    """By each of the three lines of defence alone: percent free, journal.min_free_*, and ENOSPC."""
    floor = {"min_free_bytes": 0, "min_free_percent": 6}
    settings: dict[str, object] = {
        "data_dir": str(disk),
        "journal": {"segment_bytes": 1 << 16} | (floor if stopped_by == "the floor" else NO_FLOOR),
        "monitor": OFTEN if stopped_by == "the monitor" else NEVER,
    }
    tracks = ("snow", "rain,sun", "#news")
    limits = Limits(resend=1000, resend_bytes=8 << 20)
    async with collect(
        *tracks, settings=settings, rate=300, faults=("resend",), limits=limits
    ) as run:
        program, tables, server = run.program, run.tables, run.server
        await run.more_sent(300)
        foreign = fill_up(disk) if stopped_by == "the disk itself" else fill(disk, 0.03)
        await eventually(lambda: server.connections == 0)
        if stopped_by != "the disk itself":
            assert free(disk) > SIZE * 0.02, "room to spare"
        # On a disk without any room the gap cannot be noted before there is some.
        if stopped_by != "the disk itself":
            query = "SELECT count(*) FROM gaps WHERE cause = 'disk' AND ended_at IS NULL"
            await eventually(lambda: tables.one(query))
        attempts = server.hub.attempt_count
        await stays_paused(program)
        assert server.hub.attempt_count == attempts, "nothing connects while there is no space"
        foreign.unlink()
        await eventually(lambda: server.connections == 1)
        await run.more_sent(300)
        await run.stored_all()
        await program.stop()
    stored = await tables.rows("SELECT native_id FROM tweets")
    assert sorted(name for (name,) in stored) == sorted(server.sent), "nothing is lost, none twice"
    if stopped_by != "the monitor":  # who lets the journal forget what is stored already
        await audit(tables, program.journal)
    gaps = await tables.rows("SELECT cause, detail, ended_at FROM gaps ORDER BY began_at, id")
    assert [cause for cause, _, _ in gaps] == ["disk", "stopped"]
    assert gaps[0][2] is not None
    assert {
        "the monitor": "alerts.disk_pause_all_percent",
        "the floor": "journal.min_free_percent",
        "the disk itself": "No space left",
    }[stopped_by] in gaps[0][1]


@pytest.mark.parametrize("filled_by", ["the floor", "the disk itself"])
async def test_a_daemon_on_standby_collects_while_the_disk_is_full(
    collect: Collect,
    make_program: MakeProgram,
    database: str,
    disk: Path,
    audit: AuditBooks,
    eventually: Eventually,
    filled_by: str,
) -> None:
    """The first stands by then, and takes over again when the second is gone."""
    floor = {"min_free_bytes": 0, "min_free_percent": 6}
    settings: dict[str, object] = {
        "data_dir": str(disk),
        "journal": {"segment_bytes": 1 << 16} | (floor if filled_by == "the floor" else NO_FLOOR),
        "monitor": NEVER,
    }
    second = make_program("second", database)
    limits = Limits(resend=1000, resend_bytes=8 << 20)
    async with collect(
        "snow", "rain,sun", settings=settings, rate=300, faults=("resend",), limits=limits
    ) as run:
        first, tables, server = run.program, run.tables, run.server
        second.share_key_of(first)
        await run.more_sent(300)
        await second.start()
        query = "SELECT count(*) FROM daemons WHERE pid = %s AND role = %s"
        await eventually(lambda: tables.one(query, second.pid, "standby"))
        foreign = fill(disk, 0.03) if filled_by == "the floor" else fill_up(disk)
        await eventually(lambda: tables.one(query, second.pid, "collecting"))
        await run.more_sent(300)
        assert await tables.one("SELECT state FROM sources") == "streaming"
        assert not await tables.one("SELECT count(*) FROM gaps WHERE ended_at IS NULL")
        await eventually(lambda: tables.one(query, first.pid, "standby"))
        foreign.unlink()
        ready = "SELECT count(*) FROM daemons WHERE pid = %s AND report ? 'ready'"
        await eventually(lambda: tables.one(ready, first.pid))
        await second.stop()
        await eventually(lambda: tables.one(query, first.pid, "collecting"))
        await run.more_sent(300)
        await run.stored_all()
        await first.stop()
    stored = await tables.rows("SELECT native_id FROM tweets")
    assert sorted(name for (name,) in stored) == sorted(server.sent), "nothing is lost, none twice"
    await audit(tables, first.journal, second.journal)
    causes = await tables.rows("SELECT cause FROM gaps ORDER BY began_at, id")
    assert [cause for (cause,) in causes] == ["disk", "stopped", "stopped"]


@pytest.mark.parametrize("when", ["while it runs", "at the start"])
async def test_a_disk_without_inodes_pauses_the_source_and_it_resumes_by_itself(
    make_program: MakeProgram,
    disk: Path,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
    when: str,
) -> None:
    """There is room, and no file can be made: a gap with its cause, and nothing ends."""
    remounting = ["mount", "-o", "remount,nr_inodes=1000", str(disk)]
    await asyncio.to_thread(subprocess.run, remounting, check=True)
    journal = {"segment_bytes": 1 << 16, **NO_FLOOR}
    program = make_program("main", tables.url, data_dir=str(disk), journal=journal, monitor=OFTEN)
    await tables.add_tracks("snow", "rain,sun", "#news")
    async with simulate(rate=300) as server:
        await program.add_source(server.url)
        if when == "while it runs":
            await program.start()
            await eventually(lambda: len(server.sent) > 100)
        foreign = use_inodes(disk)
        if when == "at the start":
            await program.start()
        query = (
            "SELECT count(*) FROM gaps"
            " WHERE cause = 'disk' AND ended_at IS NULL AND detail LIKE '%inodes%'"
        )
        await eventually(lambda: tables.one(query))
        await eventually(lambda: server.connections == 0)
        assert await tables.one("SELECT state FROM sources") == "paused"
        notified = "SELECT count(*) FROM alerts WHERE rule = 'journal_full'"
        await eventually(lambda: tables.one(notified))
        await stays_paused(program)
        for each in foreign.iterdir():
            each.unlink()
        sent = len(server.sent)
        await eventually(lambda: len(server.sent) > sent + 100)
        await program.stop()
    [(ended_at,)] = await tables.rows("SELECT ended_at FROM gaps WHERE cause = 'disk'")
    assert ended_at is not None


def use_inodes(disk: Path) -> Path:
    """Another program's files take all inodes."""
    foreign = disk / "foreign"
    foreign.mkdir()
    for number in range(2000):
        try:
            (foreign / str(number)).touch()
        except OSError:
            return foreign
    pytest.fail("there are more inodes than were given")


async def stays_paused(program: Program) -> None:
    """Look at the disk several times more: nothing changes, and the daemon lives."""
    for _ in range(15):
        await asyncio.sleep(0.1)
        assert program.alive, program.log.read_text()


async def test_a_read_only_disk_is_called_so(disk: Path) -> None:
    """And not another user's."""
    remounting = ["mount", "-o", "remount,ro", str(disk)]
    await asyncio.to_thread(subprocess.run, remounting, check=True)
    with pytest.raises(TwitterstreamError, match="the disk is read-only"):
        async with cluster.locked(disk / "users.lock", fcntl.LOCK_SH):
            pass
    with pytest.raises(OSError, match="Read-only") as raised:
        open_to_append(disk / "0.journal")
    assert "see `dmesg`" in unwritable(disk, raised.value)
