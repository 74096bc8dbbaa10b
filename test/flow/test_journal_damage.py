"""Damage on the disk costs the records it lies in, is said, and ends nothing."""

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import JournalSettings
from stream.journal import Journal, JournalReader, maintenance, segments
from stream.journal.reader import newest_frames
from stream.journal.recovery import DAMAGED
from stream.tweet import Frame

SMALL = JournalSettings(segment_bytes=1 << 14, min_free_bytes=0, min_free_percent=0)
RECORDS = 60


def bodies() -> list[bytes]:
    """Of all lengths; each has a beginning of its own."""
    lengths = random.Random(7)
    return [
        (f"{n:06d} " + "snow day " * lengths.randrange(1, 200)).encode() for n in range(RECORDS)
    ]


def fill(folder: Path, *, compressed: bool) -> list[int]:
    """A journal of several segments; where its records end."""
    ends = []
    with Journal.open(folder, SMALL) as journal:
        for body in bodies():
            journal.append([body])
            ends.append(journal.end)
        if compressed:
            asyncio.run(maintenance._compress_all(journal))
    return ends


async def read_all(folder: Path, position: int = 0) -> tuple[list[Frame], int]:
    """What a new process finds behind a position, and how often it says that there is damage."""
    with Journal.open(folder, SMALL) as journal:
        journal.resume(position)
        found: list[Frame] = []
        with contextlib.closing(JournalReader(journal, position)) as reader:
            await reader.find_start()
            async with asyncio.timeout(90):
                while batch := await reader.read(7, 1 << 12):
                    assert reader.position == batch[-1].after
                    found.extend(batch)
        afters = [frame.after for frame in found]
        assert afters == sorted(set(afters))
        return found, journal.damaged + journal.truncated


def hurt(path: Path, how: str, at: int, count: int) -> None:
    data = bytearray(path.read_bytes())
    match how:
        case "flip":
            data[at] ^= 1 << count % 8
        case "zero":
            data[at : at + count] = bytes(len(data[at : at + count]))
        case "cut":
            del data[at : at + count]
        case "insert":
            data[at:at] = random.Random(count).randbytes(count)
    path.write_bytes(data)


How = Literal["flip", "zero", "cut", "insert"]


@settings(max_examples=100)
@given(
    how=st.sampled_from(["flip", "zero", "cut", "insert"]),
    where=st.floats(0, 1, exclude_max=True),
    count=st.integers(1, 3000),
    stored=st.integers(0, RECORDS),
)
def test_any_damage_costs_only_the_records_it_lies_in(
    how: How, where: float, count: int, stored: int
) -> None:
    """Wherever it lies, and however far Postgres had come."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ends = [0, *fill(folder, compressed=False)]
        paths = sorted(folder.glob(f"*{segments.RAW}"))
        at = int(where * ends[-1])
        path = next(p for p in reversed(paths) if segments.start_of(p) <= at)
        start = segments.start_of(path)
        count = 1 if how == "flip" else min(count, path.stat().st_size - (at - start))
        if path == paths[-1] and how in ("cut", "insert"):
            # The end of the journal has moved with it: what is stored lies before that.
            stored = min(stored, next(n for n, end in enumerate(ends) if end >= start))
        hurt(path, how, at - start, count)
        last = at + (1 if how == "insert" else count)  # an insertion tears the record around it
        torn = [n for n in range(RECORDS) if ends[n] < last and ends[n + 1] > at]
        position = ends[stored]
        found, _ = asyncio.run(read_all(folder, position))
        whole = {frame.body for frame in found if not frame.is_note and not frame.is_damage}
        wanted = {body for n, body in enumerate(bodies()) if n >= stored and n not in torn}
        assert wanted <= whole
        assert whole <= set(bodies()), "nothing is made up"


@pytest.mark.parametrize("how", ["flip", "zero", "cut", "insert"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
async def test_damage_to_a_compressed_segment_costs_at_most_its_frame(
    tmp_path: Path, how: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "CHUNK", 2000)
    ends = await asyncio.to_thread(fill, tmp_path, compressed=True)
    path = sorted(tmp_path.glob(f"*{segments.COMPRESSED}"))[1]
    start = segments.start_of(path)
    hurt(path, how, int(share * path.stat().st_size), 1 if how == "flip" else 5)
    found, said = await read_all(tmp_path)
    whole = {frame.body for frame in found if not frame.is_note and not frame.is_damage}
    lost = [n for n, body in enumerate(bodies()) if body not in whole]
    assert len(lost) <= 10, "two frames of 2,000 bytes, and the records on their borders"
    assert all(start <= ends[n] <= start + (2 << 14) for n in lost)
    assert said or not lost
    again, _ = await read_all(tmp_path)
    assert {f.body for f in again if not f.is_note and not f.is_damage} == whole


async def test_a_damaged_record_is_given_out_as_such_and_kept_beside_the_journal(
    tmp_path: Path,
) -> None:
    ends = await asyncio.to_thread(fill, tmp_path, compressed=False)
    path = min(tmp_path.glob(f"*{segments.RAW}"))
    hurt(path, "flip", ends[2] + 100, 3)
    found, said = await read_all(tmp_path)
    [damage] = [frame for frame in found if frame.is_damage]
    assert damage.after == ends[3]
    assert found[2].received < damage.received < found[4].received
    [kept] = tmp_path.glob(f"*{DAMAGED}")
    assert kept.read_bytes()[segments.HEADER.size :] == damage.body
    assert int(kept.name.partition(".")[0]) == ends[2]
    assert said == 1
    [note] = [frame for frame in found if frame.is_note]
    assert b"damaged at position" in note.body


async def test_damage_while_the_journal_is_in_use_is_repaired_too(tmp_path: Path) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        frames: Sequence[bytes] = bodies()[:8]
        journal.append(frames)
        [path] = tmp_path.glob(f"*{segments.RAW}")
        hurt(path, "flip", segments.HEADER.size + 3, 1)
        journal.append([b"next"])
        with contextlib.closing(JournalReader(journal, 0)) as reader:
            found = []
            while batch := await reader.read(100, 1 << 20):
                found += batch
        whole = [frame.body for frame in found if not frame.is_damage and not frame.is_note]
        assert whole == [*frames[1:], b"next"]
        assert journal.damaged == 1


async def test_a_gap_begins_with_the_last_frame_also_when_damage_was_noted_since(
    tmp_path: Path,
) -> None:
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies())
        last_at, end = journal.last_at, journal.end
        journal.note_hole(0, 10)
        journal.report_damage(["bytes are damaged"], bodies()[:2])
        assert journal.end > end
        assert journal.last_at == last_at


async def test_the_newest_frames_are_those_before_damage(tmp_path: Path) -> None:
    with Journal.open(tmp_path, JournalSettings(min_free_bytes=0, min_free_percent=0)) as journal:
        journal.append(bodies())
        path = journal.segments[-1].path
        data = path.read_bytes()
        path.write_bytes(data.replace(b"000040 ", b"\xff" * 7))
        assert await newest_frames(journal, 3) == bodies()[39:36:-1]


async def test_a_damaged_segment_that_is_stored_disturbs_nobody(tmp_path: Path) -> None:
    ends = await asyncio.to_thread(fill, tmp_path, compressed=True)
    for path in tmp_path.glob(f"*{segments.COMPRESSED}"):
        path.write_bytes(b"\0" * path.stat().st_size)
    found, said = await read_all(tmp_path, ends[-1])
    assert [frame for frame in found if not frame.is_note] == []
    assert said == 0


def texts(frames: Sequence[Frame]) -> list[bytes]:
    return [frame.body for frame in frames if not frame.is_note and not frame.is_damage]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("index", [0, 1, -1])
async def test_a_segment_that_was_removed_costs_only_what_was_in_it(
    tmp_path: Path, index: int, *, compressed: bool
) -> None:
    await asyncio.to_thread(fill, tmp_path, compressed=compressed)
    paths = segments.files(tmp_path, segments.RAW, segments.COMPRESSED)
    with segments.open_segment(paths[index]) as file:
        gone = [body for _, _, body in segments.records(file, paths[index])]
    paths[index].unlink()
    found, said = await read_all(tmp_path)
    assert texts(found) == [body for body in bodies() if body not in gone]
    assert said == (index != -1), "nothing shows that there was more at the end"


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_segment_that_is_removed_while_the_journal_is_in_use_is_missed(
    tmp_path: Path, *, compressed: bool
) -> None:
    """The reader waited in a loop for the file to come back, and the program with it."""
    with Journal.open(tmp_path, SMALL) as journal:
        journal.append(bodies()[:2])
        if compressed:
            journal.rotate()
            await maintenance._compress_all(journal)
        for path in segments.files(tmp_path, segments.COMPRESSED if compressed else segments.RAW):
            path.unlink()
        with contextlib.closing(JournalReader(journal, 0)) as reader:
            async with asyncio.timeout(60):
                assert texts(await reader.read(7, 1 << 12)) == []
            journal.append(bodies()[2:4])
            async with asyncio.timeout(60):
                assert texts(await reader.read(7, 1 << 12)) == bodies()[2:4]
        assert journal.damaged == 1


async def test_a_journal_whose_folder_was_removed_is_closed_and_opened_anew(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    with Journal.open(folder, SMALL) as journal:
        journal.append(bodies()[:2])
        await asyncio.to_thread(shutil.rmtree, folder)
    with Journal.open(folder, SMALL) as journal:
        assert journal.end == 0


@pytest.mark.parametrize(
    "name",
    [
        "00000000000000000000 (1).journal",
        "copy.journal",
        ".journal",
        "-5.journal",
        "x.journal.zst",
        "00000000000000000000.journal.bak",
        "00000000000000000777.journal/folder",
    ],
)
async def test_what_else_lies_in_the_folder_is_let_alone(tmp_path: Path, name: str) -> None:
    ends = await asyncio.to_thread(fill, tmp_path, compressed=False)
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(b"something else")
    found, said = await read_all(tmp_path, ends[0])
    assert texts(found) == bodies()[1:]
    assert not said
    assert other.read_bytes() == b"something else"
