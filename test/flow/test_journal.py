"""The journal on a real disk: what was appended is kept, what a crash tears is cut and counted."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stream.config import JournalSettings
from stream.errors import Broken, JournalFull
from stream.journal import Follower, Journal, segments
from stream.journal.journal import JournalTaken
from stream.tweet import Alive, Frame

SMALL = JournalSettings(segment_bytes=1 << 16, min_free_bytes=0, min_free_percent=0)


async def everything(journal: Journal, position: int = 0) -> list[Frame]:
    follower = Follower(journal, position)
    found: list[Frame] = []
    with contextlib.closing(follower):
        while batch := await follower.read(100, 1 << 20):
            found.extend(batch)
    return found


def bodies(count: int, size: int = 1000) -> list[bytes]:
    return [f"{n:08d}".encode() * (size // 8) for n in range(count)]


async def test_what_is_appended_is_read_back_in_order_with_rising_times(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(300))
        frames = await everything(journal)
        assert [frame.body for frame in frames] == bodies(300)
        times = [frame.received for frame in frames]
        assert times == sorted(set(times))
        assert frames[-1].after == journal.end


async def test_a_follower_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(10))
        seventh = (await everything(journal))[6].after
        name = journal.id
    with Journal.open(tmp_path, SMALL) as journal:
        assert journal.id == name
        journal.append([b"after the restart"])
        rest = [frame.body for frame in await everything(journal, seventh)]
    assert rest == [*bodies(10)[7:], b"after the restart"]


async def test_frames_of_all_sizes_are_read_far_behind_and_near(tmp_path: Path) -> None:
    """More than is read at once, with records across every border between two chunks."""
    roomy = JournalSettings(min_free_bytes=0, min_free_percent=0)
    wanted = [bytes([n % 251]) * (n * 7919 % 9001) for n in range(2500)]
    wanted.insert(1200, b"x" * (3 << 20))
    with Journal.open(tmp_path, roomy) as journal:
        journal.append(wanted)
        found = await everything(journal)
        assert [frame.body for frame in found] == wanted
        middle = await everything(journal, found[1234].after)
        assert [frame.body for frame in middle] == wanted[1235:]


async def test_a_torn_tail_is_cut_counted_and_appended_behind(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(5))
        whole = journal.end
        journal.append([b"this one will be torn"])
        torn = journal.end
    [path] = tmp_path.glob("*.journal")
    os.truncate(path, torn - 3)
    with Journal.open(tmp_path, SMALL) as journal:
        journal.resume(0)
        last_at = journal.last_at
        journal.append([b"next"])
        frames = await everything(journal)
    assert [frame.body for frame in frames if not frame.is_note] == [*bodies(5), b"next"]
    assert last_at == frames[4].received / 1e6  # from there on nothing was taken
    [note] = [frame for frame in frames if frame.is_note]
    assert f"cut {torn - 3 - whole} bytes".encode() in note.body


async def test_a_tail_of_zeros_after_a_loss_of_power_is_cut(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(5))
    [path] = tmp_path.glob("*.journal")
    with path.open("ab") as file:
        file.write(bytes(4096))
    with Journal.open(tmp_path, SMALL) as journal:
        frames = await everything(journal)
    assert [frame.body for frame in frames if not frame.is_note] == bodies(5)


async def test_sealed_segments_are_compressed_read_and_trimmed_when_stored(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    settings = JournalSettings(segment_bytes=1 << 16, keep=0, min_free_bytes=0, min_free_percent=0)
    with Journal.open(tmp_path, settings) as journal:
        for body in bodies(400):
            journal.append([body])
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            keeper = group.create_task(journal.run())
            await eventually(lambda: len(list(tmp_path.glob(f"*{segments.RAW}"))) == 1)
            assert len(list(tmp_path.glob(f"*{segments.PACKED}"))) > 3
            frames = await everything(journal)
            assert [frame.body for frame in frames] == bodies(400)
            middle = frames[200].after
            assert [f.body for f in await everything(journal, middle)] == bodies(400)[201:]
            journal.stored = journal.end
            await eventually(lambda: not list(tmp_path.glob(f"*{segments.PACKED}")))
            keeper.cancel()
        assert journal.start > 0
        with pytest.raises(Broken):
            await everything(journal, 0)
    with Journal.open(tmp_path, settings) as journal:
        assert journal.end == frames[-1].after


async def test_unstored_segments_are_never_trimmed(tmp_path: Path) -> None:
    settings = JournalSettings(
        segment_bytes=1 << 16, keep=0, max_bytes=1 << 20, min_free_bytes=0, min_free_percent=0
    )
    with Journal.open(tmp_path, settings) as journal:
        for body in bodies(1200):
            journal.append([body])
        assert "journal.max_bytes" in str(journal.room())
        assert not journal._take_trimmable()
        journal.stored = journal.segment_at(0).end  # type: ignore[union-attr]
        assert [segment.start for segment in journal._take_trimmable()] == [0]


async def test_sealing_in_the_middle_of_a_sync_disturbs_neither(tmp_path: Path) -> None:
    settings = JournalSettings(segment_bytes=1 << 16, min_free_bytes=0, min_free_percent=0)
    with Journal.open(tmp_path, settings) as journal:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            syncing = [group.create_task(_sync_often(journal)) for _ in range(2)]
            for body in bodies(20_000, 4000):
                journal.append([body])
                if journal.end % 7 == 0:
                    await asyncio.sleep(0)
            for task in syncing:
                task.cancel()
        assert len(list(tmp_path.glob("*.journal"))) > 1000


async def _sync_often(journal: Journal) -> None:
    while True:
        await asyncio.to_thread(journal._sync, journal._take_unsynced())


async def test_a_full_journal_makes_room_by_itself_once_all_is_stored(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    """Also when the only segment is the one in use."""
    settings = JournalSettings(max_bytes=1 << 20, min_free_bytes=0, min_free_percent=0)
    with Journal.open(tmp_path, settings) as journal:
        journal.append(bodies(1200))
        assert journal.room() is not None
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(journal.run())
            journal.stored = journal.end
            await eventually(lambda: journal.room() is None)
            keeper.cancel()


async def test_two_processes_cannot_have_one_journal(tmp_path: Path) -> None:
    with (
        Journal.open(tmp_path, SMALL),
        pytest.raises(JournalTaken),
        Journal.open(tmp_path, SMALL),
    ):
        pass


async def test_a_stored_position_beyond_a_lost_tail_is_skipped_to(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(5))
        beyond = journal.end + 5000
        journal.resume(beyond)
        journal.append([b"next"])
        assert [frame.body for frame in await everything(journal, beyond)] == [b"next"]
        assert [frame.body for frame in await everything(journal)] == [*bodies(5), b"next"]


async def test_damage_inside_the_journal_is_loud(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(50))
        [path] = tmp_path.glob("*.journal")
        with path.open("r+b") as file:
            file.seek(5000)
            file.write(b"xxxx")
        with pytest.raises(Broken, match="damaged"):
            await everything(journal)


async def test_the_floor_of_free_disk_is_said_with_its_remedy(tmp_path: Path) -> None:
    settings = JournalSettings(min_free_bytes=1 << 60)
    with Journal.open(tmp_path, settings) as journal:
        assert "journal.min_free_bytes" in str(journal.room())


async def test_a_full_disk_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write stops inside a record."""
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(3))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal.end + 100, hard))
        try:
            with pytest.raises(JournalFull, match="no space left"):
                journal.append(bodies(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        journal.append([b"room again"])
        assert [f.body for f in await everything(journal)] == [*bodies(3), b"room again"]


async def test_the_clock_going_back_does_not_disturb_the_order(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append([b"a"])
        journal._last += 3_600_000_000  # as if that had been an hour ahead
        journal.append([b"b"])
        journal.note(Alive(time.time()))
        first, second, third = [frame.received for frame in await everything(journal)]
        assert first < second < third
