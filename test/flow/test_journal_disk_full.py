"""A journal on a disk that is short: nothing breaks, and what is stored already makes room."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from disks import small_disk
from stream.config import JournalSettings
from stream.errors import JournalFull
from stream.journal import Journal, JournalReader, maintenance

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from test.conftest import Eventually

SMALL = JournalSettings(segment_bytes=1 << 16, min_free_bytes=0, min_free_percent=0)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, 1 << 20) as folder:
        yield folder


@contextlib.asynccontextmanager
async def kept(opened: Journal) -> AsyncIterator[asyncio.Task[None]]:
    keeping = asyncio.create_task(maintenance.run(opened))
    yield keeping
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


def fill(opened: Journal, bodies: list[bytes]) -> int:
    """Append as long as there is room; how many were taken."""
    for number, body in enumerate(bodies):
        try:
            opened.append([body])
        except JournalFull:
            return number
    return len(bodies)


async def test_without_room_to_compress_it_waits_and_is_whole(
    disk: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "COMPRESS_RETRY", 0.01)
    ballast = disk / "foreign"
    ballast.write_bytes(bytes(200_000))
    bodies = [bytes([number % 256]) * 3000 for number in range(400)]
    with Journal.open(disk / "journal", SMALL) as opened:
        taken = fill(opened, bodies)
        assert 0 < taken < len(bodies)
        async with kept(opened) as keeping:
            tried = disk / "journal"
            await eventually(lambda: any(each.compress_at for each in opened.segments))
            assert not keeping.done(), "a full disk is no reason to end"
            await eventually(lambda: not list(tried.glob("*.partial")))
            ballast.unlink()
            await eventually(lambda: all(each.compressed for each in opened.segments[:-1]))
        with contextlib.closing(JournalReader(opened, 0)) as reader:
            found = []
            while batch := await reader.read(100, 1 << 20):
                found += [frame.body for frame in batch]
    assert found == bodies[:taken]


async def test_what_is_stored_goes_when_the_disk_is_short_and_nothing_else(
    tmp_path: Path, eventually: Eventually
) -> None:
    with Journal.open(tmp_path, SMALL) as opened:
        for number in range(200):
            opened.append([bytes([number]) * 3000])
        async with kept(opened):
            await eventually(lambda: all(each.compressed for each in opened.segments[:-1]))
            opened.stored = middle = opened.segments[4].start
            await maintenance.trim(opened)
            assert opened.start == 0, "young, and there is room"
            opened.keep_stored = False
            await eventually(lambda: opened.start == middle)
            await maintenance.trim(opened)
            assert opened.start == middle, "what is not stored stays"
