"""The journal on a real disk: what was appended is kept, what a crash tears is cut and counted."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import zstandard

from stream.config import JournalSettings
from stream.errors import JournalFull
from stream.journal import Journal, JournalReader, maintenance, segments
from stream.journal.journal import JournalTaken
from stream.journal.reader import newest_frames
from stream.notes import Alive, TracksInForce
from stream.tweet import Frame

SMALL = JournalSettings(segment_bytes=1 << 16, min_free_bytes=0, min_free_percent=0)


async def everything(journal: Journal, position: int = 0) -> list[Frame]:
    reader = JournalReader(journal, position)
    found: list[Frame] = []
    with contextlib.closing(reader):
        while batch := await reader.read(100, 1 << 20):
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


async def test_the_newest_frames_are_found_behind_notes_and_in_older_segments(
    tmp_path: Path,
) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        assert await newest_frames(journal, 2) == []
        journal.append(bodies(100))
        journal.rotate()
        journal.note(Alive(1.0))
        assert await newest_frames(journal, 2) == bodies(100)[:-3:-1]
        await maintenance._compress_all(journal)
        assert await newest_frames(journal, 1) == bodies(100)[-1:]


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
    assert f"removed {torn - 3 - whole} bytes".encode() in note.body


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
    settings = JournalSettings(
        segment_bytes=1 << 16, keep_hours=0, min_free_bytes=0, min_free_percent=0
    )
    with Journal.open(tmp_path, settings) as journal:
        for body in bodies(400):
            journal.append([body])
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            keeper = group.create_task(maintenance.run(journal))
            await eventually(lambda: len(list(tmp_path.glob(f"*{segments.RAW}"))) == 1)
            assert len(list(tmp_path.glob(f"*{segments.COMPRESSED}"))) > 3
            frames = await everything(journal)
            assert [frame.body for frame in frames] == bodies(400)
            middle = frames[200].after
            assert [f.body for f in await everything(journal, middle)] == bodies(400)[201:]
            journal.stored = journal.end
            await eventually(lambda: not list(tmp_path.glob(f"*{segments.COMPRESSED}")))
            keeper.cancel()
        assert journal.start > 0
        late = [frame.body for frame in await everything(journal, 0) if not frame.is_note]
        assert late == bodies(400)[-len(late) :], "one who comes too late gets what is left"
        end = journal.end
    with Journal.open(tmp_path, settings) as journal:
        assert journal.end == end


async def test_unstored_segments_are_never_trimmed(tmp_path: Path) -> None:
    settings = JournalSettings(
        segment_bytes=1 << 16, keep_hours=0, max_bytes=1 << 20, min_free_bytes=0, min_free_percent=0
    )
    with Journal.open(tmp_path, settings) as journal:
        for body in bodies(1200):
            journal.append([body])
        assert "journal.max_bytes" in str(journal.why_full())
        assert not maintenance._take_trimmable(journal)
        journal.stored = journal.segment_at(0).end  # type: ignore[union-attr]
        assert [segment.start for segment in maintenance._take_trimmable(journal)] == [0]


async def test_sealing_in_the_middle_of_a_sync_disturbs_neither(tmp_path: Path) -> None:
    settings = JournalSettings(segment_bytes=1 << 16, min_free_bytes=0, min_free_percent=0)
    with Journal.open(tmp_path, settings) as journal:
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
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
        await asyncio.to_thread(journal.sync, journal.take_unsynced())


async def test_a_full_journal_makes_room_by_itself_once_all_is_stored(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    """Also when the only segment is the one in use."""
    settings = JournalSettings(max_bytes=1 << 20, min_free_bytes=0, min_free_percent=0)
    with Journal.open(tmp_path, settings) as journal:
        journal.append(bodies(1200))
        assert journal.why_full() is not None
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(maintenance.run(journal))
            journal.stored = journal.end
            await eventually(lambda: journal.why_full() is None)
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
        found = await everything(journal)
        assert [frame.body for frame in found if not frame.is_note] == [*bodies(5), b"next"]


async def test_the_floor_of_free_disk_is_said_with_its_remedy(tmp_path: Path) -> None:
    settings = JournalSettings(min_free_bytes=1 << 60)
    with Journal.open(tmp_path, settings) as journal:
        assert "journal.min_free_bytes" in str(journal.why_full())


async def test_a_full_disk_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write stops inside a record."""
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(3))
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (journal.end + 100, hard))
        try:
            with pytest.raises(JournalFull, match=r"No space left|too large"):
                journal.append(bodies(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        journal.append([b"room again"])
        assert [f.body for f in await everything(journal)] == [*bodies(3), b"room again"]


def clock_of(journal: Journal, seconds: float) -> None:
    """Let its clock be off by so much."""
    journal.clock.clock = lambda: time.time_ns() // 1000 + int(seconds * 1e6)


async def test_a_clock_that_goes_back_a_little_does_not_disturb_the_order(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        clock_of(journal, 9)
        journal.append([b"a"])
        clock_of(journal, 0)
        journal.append([b"b"])
        journal.note(Alive(time.time()))
        first, second, third = [frame.received for frame in await everything(journal)]
        assert first < second < third


async def test_what_a_person_tracks_is_no_sign_of_life(tmp_path: Path) -> None:
    """A gap begins with the last frame, also when tracks were changed after it."""
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append([b"a"])
        journal.note(TracksInForce(time.time()))
        frame, _ = await everything(journal)
        assert journal.last_at == frame.received / 1e6


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ahead", [11.0, 86_400.0 * 365])
async def test_after_a_clock_was_ahead_frames_get_the_true_time(
    tmp_path: Path, ahead: float, *, restarted: bool
) -> None:
    """At once, in a segment of its own, and it is said."""
    with contextlib.ExitStack() as opened:
        journal = opened.enter_context(Journal.open(tmp_path, SMALL))
        clock_of(journal, ahead)
        journal.append([b"a", b"b"])
        if restarted:
            opened.close()
            journal = opened.enter_context(Journal.open(tmp_path, SMALL))
            assert journal.last_at is not None
            assert journal.last_at <= time.time()
            journal.resume(0)
        clock_of(journal, 0)
        journal.append([b"c", b"d"])
        frames = await everything(journal)
        *early, third, fourth = [frame for frame in frames if not frame.is_note]
        assert [frame.body for frame in frames if not frame.is_note] == [b"a", b"b", b"c", b"d"]
        assert third.received < fourth.received < time.time() * 1e6
        assert early[0].received > time.time() * 1e6
        [note] = [frame for frame in frames if frame.is_note]
        assert b"the clock was set back by" in note.body
        assert len([*tmp_path.glob("*.journal")]) == 2


async def test_a_segment_that_cannot_be_made_pauses_until_it_can(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    """Nothing that was appended is lost, and the keeper of the journal goes on."""
    folder, away = tmp_path / "journal", tmp_path / "away"
    with Journal.open(folder, SMALL) as journal:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(maintenance.run(journal))
            journal.append(bodies(70))  # more than a segment holds
            folder.rename(away)
            journal.append([b"read before the source has paused"])
            assert "put it back" in str(journal.why_full())
            away.rename(folder)
            await eventually(lambda: journal.why_full() is None)
            journal.append([b"next"])
            keeper.cancel()
        assert [f.body for f in await everything(journal)] == [
            *bodies(70),
            b"read before the source has paused",
            b"next",
        ]


async def test_a_segment_that_cannot_be_compressed_hinders_no_other(
    tmp_path: Path, eventually: Callable[..., Awaitable[None]]
) -> None:
    settings = JournalSettings(segment_bytes=1 << 14, min_free_bytes=0, min_free_percent=0)
    with Journal.open(tmp_path, settings) as journal:
        for body in bodies(60):
            journal.append([body])
        first = min(tmp_path.glob("*.journal"))
        (tmp_path / f"{first.name}.zst.partial").mkdir()  # where a file is expected
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(maintenance.run(journal))
            await eventually(lambda: len(list(tmp_path.glob("*.zst"))) >= 2)
            keeper.cancel()
        assert first.exists()
        assert [frame.body for frame in await everything(journal)] == bodies(60)


async def test_a_segment_that_cannot_be_removed_is_removed_later(tmp_path: Path) -> None:
    settings = JournalSettings(
        segment_bytes=1 << 14, keep_hours=0, min_free_bytes=0, min_free_percent=0
    )
    with Journal.open(tmp_path, settings) as journal:
        for body in bodies(60):
            journal.append([body])
        journal.stored = journal.end
        first = min(tmp_path.glob("*.journal"))
        first.unlink()
        first.mkdir()
        await maintenance.trim(journal)
        assert journal.start == 0
        first.rmdir()
        await maintenance.trim(journal)
        assert journal.start > 0
        assert len([*tmp_path.glob("*.journal")]) == 1


async def test_a_disk_with_few_inodes_has_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.statvfs(tmp_path)
    with Journal.open(tmp_path, SMALL) as journal:
        for total, free, room in ((0, 0, True), (10_000, 201, True), (10_000, 199, False)):
            values = [*found[:5], total, free, free, *found[8:]]
            monkeypatch.setattr(os, "statvfs", lambda _, v=values: os.statvfs_result(v))
            assert (journal.why_full() is None) is room


async def test_a_segment_that_an_older_version_compressed_is_read(tmp_path: Path) -> None:
    """It is one frame of zstd, without a summary."""
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies(70))
        journal.rotate()
        end = journal.end
    raw = min(tmp_path.glob("*.journal"))
    compressed = raw.with_name(f"{raw.name}.zst")
    compressed.write_bytes(zstandard.ZstdCompressor().compress(raw.read_bytes()))
    for path in tmp_path.glob("*.journal"):
        path.unlink()
    assert segments.content_length(compressed) == end
    with Journal.open(tmp_path, SMALL) as journal:
        assert journal.end == end
        assert [frame.body for frame in await everything(journal)] == bodies(70)
