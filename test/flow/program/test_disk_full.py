"""A disk that really fills: collecting pauses, the gap is told, and it goes on with new room."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Iterator
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import AuditBooks, Tables
    from test.flow.program.conftest import MakeProgram, Program, Simulate

SIZE = 48 << 20  # bytes of the disk
NO_FLOOR = {"min_free_bytes": 0, "min_free_percent": 0}
OFTEN = {"listen": "", "probe_every": 0.2}
NEVER = {"listen": "", "probe_every": 3600}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "none", str(folder)]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"only root may mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, leave: float) -> Path:
    """Somebody else's file takes all but such a share of the disk."""
    foreign = disk / "foreign"
    with foreign.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(disk) - int(SIZE * leave))
    return foreign


def fill_up(disk: Path) -> Path:
    """Somebody else's file takes the last byte."""
    foreign = fill(disk, 0.001)
    with foreign.open("ab", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return foreign


@pytest.mark.parametrize("stopped_by", ["the monitor", "the floor", "the disk itself"])
async def test_a_disk_that_fills_pauses_collecting_and_loses_nothing(
    make_program: MakeProgram,
    disk: Path,
    tables: Tables,
    simulate: Simulate,
    audit: AuditBooks,
    eventually: Eventually,
    stopped_by: str,
) -> None:
    """By each of the three lines of defence alone: percent free, journal.min_free_*, and ENOSPC."""
    floor = {"min_free_bytes": 0, "min_free_percent": 6}
    program = make_program(
        "main",
        tables.url,
        data_dir=str(disk),
        journal={"segment_bytes": 1 << 16, **(floor if stopped_by == "the floor" else NO_FLOOR)},
        monitor=OFTEN if stopped_by == "the monitor" else NEVER,
    )
    program.data_dir = disk
    await tables.add_tracks("snow", "rain,sun", "#news")
    limits = Limits(resend=1000, resend_bytes=8 << 20)
    async with simulate(rate=300, faults=("resend",), limits=limits) as server:
        await program.add_source(server.url)
        await program.start()
        await eventually(lambda: len(server.sent) > 300)
        foreign = fill_up(disk) if stopped_by == "the disk itself" else fill(disk, 0.03)
        await eventually(lambda: server.connections == 0)
        if stopped_by != "the disk itself":
            assert free(disk) > SIZE * 0.02, "room to spare"

        async def gap_is_open() -> bool:
            query = "SELECT count(*) FROM gaps WHERE cause = 'disk' AND ended_at IS NULL"
            return bool(await tables.one(query))

        # On a disk without any room the gap cannot be noted before there is some.
        if stopped_by != "the disk itself":
            await eventually(gap_is_open)
        attempts = server.hub.attempt_count
        await stays_paused(program)
        assert server.hub.attempt_count == attempts, "nobody asks for tweets that have no room"
        foreign.unlink()
        await eventually(lambda: server.connections == 1)
        sent = len(server.sent)
        await eventually(lambda: len(server.sent) > sent + 300)
        server.hub.posts_left = 0

        async def all_there() -> bool:
            return await tables.stored() == len(server.sent)

        await eventually(all_there)
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
        "the disk itself": "no space left",
    }[stopped_by] in gaps[0][1]


async def stays_paused(program: Program) -> None:
    """Look at the disk several times more: nothing changes, and the daemon lives."""
    for _ in range(15):
        await asyncio.sleep(0.1)
        assert program.alive, program.log.read_text()
