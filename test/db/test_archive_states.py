"""Whatever happens to a day or its archive: nothing unsafe goes, and nothing is there twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest

from monitor.archive import book, drop_due, drop_early, dropping, inspecting
from monitor.archive.files import BLOCK
from monitor.archive.manifest import ArchiveError, Manifest, decode
from stream.config import JournalSettings
from stream.errors import TwitterstreamError
from stream.journal import Journal

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench

DAY = date(2026, 3, 14)
NUMBER = 300


@pytest.fixture
def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    return archive_bench


def manifest(bench: ArchiveBench) -> Manifest:
    return decode(bench.file("manifest.json").read_bytes(), "it")


# -- what changes after archiving -----------------------------------------------------------------


async def test_late_rows_before_the_drop_are_archived_too(bench: ArchiveBench) -> None:
    await bench.run()
    await bench.fill(20, first=50_000)
    before = bench.picture()
    with pytest.raises(ArchiveError, match="changed since"):
        await _drop_only(bench)
    await bench.run(DAY, drop=True)
    archive = await bench.archive()
    assert (archive.tweets, archive.generation, archive.state) == (NUMBER + 20, 2, "dropped")
    await bench.restore()
    assert bench.picture() == before
    assert len(list(bench.file("manifest.json").parent.iterdir())) == 4  # nothing of the first one


async def _drop_only(bench: ArchiveBench) -> None:
    if DAY not in await drop_early(bench.database, bench.settings):
        raise ArchiveError("it has changed since")


async def test_late_rows_after_the_drop_are_another_part(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    await bench.fill(20, first=50_000)
    bench.rows("UPDATE archives SET dropped_at = dropped_at")
    await bench.run(DAY, drop=True)
    assert [(a.part, a.state, a.tweets) for a in await bench.archives()] == [
        (0, "dropped", NUMBER),
        (1, "dropped", 20),
    ]
    done = await bench.restore()
    assert done.tweets == NUMBER + 20
    assert bench.counts_agree()
    # Both are in Postgres again, and leave it together.
    await bench.run(DAY, drop=True)
    assert [a.state for a in await bench.archives()] == ["dropped", "dropped"]


async def test_late_rows_survive_a_restoring(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    await bench.fill(20, first=50_000)
    done = await bench.restore()
    assert done.tweets == NUMBER
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER + 20,)]
    # The next archiving has one part for all of it.
    await bench.run(DAY, drop=True)
    assert [(a.part, a.state, a.tweets) for a in await bench.archives()] == [
        (0, "dropped", NUMBER + 20)
    ]


async def test_a_change_nobody_noted_keeps_the_day(bench: ArchiveBench) -> None:
    """Somebody who goes around the triggers is found out by the digest."""
    await bench.run()
    bench.rows(
        "SET session_replication_role = replica;"
        " UPDATE tweets SET author = 'somebody else' WHERE native_id = '1000000000000000010'"
    )
    assert await drop_early(bench.database, bench.settings) == []
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER,)]


@pytest.mark.parametrize("name", ["tweets-1.parquet", "matches-1.parquet", "tracks-1.parquet"])
async def test_a_damaged_file_is_found_and_nothing_goes(bench: ArchiveBench, name: str) -> None:
    await bench.run()
    path = bench.file(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = inspecting.problems(bench.store, manifest(bench))
    assert any(f"{name} is damaged" in problem for problem in found)
    with pytest.raises(ArchiveError, match="damaged"):
        await drop_early(bench.database, bench.settings)
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER,)]
    assert "damaged" in str((await bench.archive()).problem)
    # What is still in Postgres mends it.
    bench.rows("INSERT INTO archive_touches (day) VALUES (%s)", DAY)
    await bench.run(DAY, drop=True)
    assert (await bench.archive()).state == "dropped"


async def test_a_file_that_is_gone_keeps_the_day(bench: ArchiveBench) -> None:
    await bench.run()
    bench.file("matches-1.parquet").unlink()
    with pytest.raises(TwitterstreamError, match="no such object"):
        await drop_early(bench.database, bench.settings)
    assert bench.rows("SELECT count(*) FROM matches WHERE track_id = 1")[0][0] > 0


# -- dropping -------------------------------------------------------------------------------------


async def test_days_go_when_they_are_due_and_not_before(bench: ArchiveBench) -> None:
    age = (datetime.now(UTC).date() - DAY).days - 1
    await bench.run()
    for days, gone in ((0, []), (age + 1, []), (age, [DAY])):
        bench.set(retention={"tweets_days": days})
        assert await drop_due(bench.database, bench.settings) == gone


async def test_a_day_that_was_asked_for_stays_a_while(bench: ArchiveBench) -> None:
    bench.set(retention={"tweets_days": 1})
    await bench.run()
    assert (await bench.archive()).state == "dropped"
    await bench.restore()
    await bench.run()
    assert (await bench.archive()).state == "restored"
    bench.rows("UPDATE archives SET restored_at = now() - interval '8 days'")
    await bench.run()
    assert (await bench.archive()).state == "dropped"


async def test_without_an_address_nothing_goes(bench: ArchiveBench) -> None:
    await bench.run()
    bench.set(archive={"url": ""}, retention={"tweets_days": 1})
    assert await drop_due(bench.database, bench.settings) == []
    assert await drop_early(bench.database, bench.settings) == []


async def test_a_long_query_is_not_in_the_way_of_writers(bench: ArchiveBench) -> None:
    """The drop waits behind a reader so briefly that a writer behind it does not notice."""
    await bench.run()
    async with bench.database.beside(2) as other, other.transaction() as reader:
        await reader.fetch("SELECT count(*) FROM tweets")
        dropping = asyncio.create_task(drop_early(bench.database, bench.settings))
        async with asyncio.timeout(20):
            for number in range(20):
                await bench.fill(1, day=DAY + timedelta(days=1), first=1000 + number)
        assert not dropping.done()
        assert bench.rows("SELECT count(*) FROM tweets WHERE received_at < '2026-03-15'") == [
            (NUMBER,)
        ]
    assert await dropping == [DAY]


async def test_two_archivers_do_not_do_the_same_day(bench: ArchiveBench) -> None:
    async with book.locked(bench.database, DAY) as first:
        assert first is not None
        await bench.run()
        assert await bench.archives() == []
        assert "another archiver" in bench.said[-1]
    await asyncio.gather(*(bench.run() for _ in range(3)))
    archive = await bench.archive()
    assert (archive.state, archive.tweets, archive.generation) == ("verified", NUMBER, 1)


async def test_old_archives_go_by_setting_and_only_when_they_are_not_in_postgres(
    bench: ArchiveBench,
) -> None:
    bench.set(archive={"keep_days": 30})
    await bench.run()
    assert (await bench.archive()).state == "verified"
    await bench.run(DAY, drop=True)
    await bench.run()
    assert await bench.archives() == []
    assert list(bench.store.list()) == []


# -- strange states -------------------------------------------------------------------------------


async def test_partitions_that_somebody_dropped_leave_what_was_archived(
    bench: ArchiveBench,
) -> None:
    before = bench.picture()
    await bench.run()
    bench.rows("UPDATE archives SET state = 'writing', generation = 2")  # killed in the next one
    bench.rows("DROP TABLE tweets_20260314, matches_20260314")
    await bench.run()
    archive = await bench.archive()
    assert (archive.state, archive.generation) == ("dropped", 1)
    await bench.restore()
    assert bench.picture() == before


async def test_a_database_that_was_set_back_takes_up_its_archives(bench: ArchiveBench) -> None:
    await bench.run()
    bench.rows("DELETE FROM archives")
    await bench.run()
    archive = await bench.archive()  # the same part, since the rows are the same
    assert (archive.part, archive.state, archive.tweets) == (0, "verified", NUMBER)


async def test_archives_of_others_are_not_overwritten(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    bench.rows("DELETE FROM archives")
    bench.rows("DELETE FROM identities")
    await bench.fill(20, first=50_000)
    await bench.run()
    assert [(a.part, a.state, a.tweets) for a in await bench.archives()] == [
        (0, "dropped", NUMBER),
        (1, "verified", 20),
    ]


async def test_a_lost_manifest_is_said(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    bench.file("manifest.json").unlink()
    with pytest.raises(ArchiveError, match="lost"):
        await bench.run()


async def test_a_manifest_of_a_later_program_is_refused(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    later = msgspec.structs.replace(manifest(bench), format=99)
    bench.file("manifest.json").write_bytes(msgspec.json.encode(later))
    with pytest.raises(ArchiveError, match="newer version"):
        await bench.restore()


async def test_a_day_that_cannot_be_written_keeps_no_other_one_waiting(
    bench: ArchiveBench,
) -> None:
    later = DAY + timedelta(days=1)
    await bench.fill(5, day=later, first=1000)
    bench.rows("UPDATE tweets SET created_at = 'infinity' WHERE native_id = '1000000000000000009'")
    with pytest.raises(ArchiveError):
        await bench.run()
    assert {(each.day, each.state) for each in await bench.archives()} == {
        (DAY, "writing"),
        (later, "verified"),
    }
    assert (await bench.archives())[0].problem
    assert await drop_early(bench.database, bench.settings) == [later]


async def test_a_day_waits_for_what_is_still_in_a_journal(
    bench: ArchiveBench, tmp_path: Path
) -> None:
    bench.settings = msgspec.structs.replace(bench.settings, data_dir=str(tmp_path))
    noon = datetime(2026, 3, 14, 12, tzinfo=UTC)
    with Journal.open(tmp_path / "journal" / "1", JournalSettings()) as journal:
        journal._last = round(noon.timestamp() * 1e6)
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr("time.time_ns", lambda: int(noon.timestamp() * 1e9))
            journal.append([b"one", b"two"])
        name, end = journal.id, journal.end
    await bench.run()
    assert await bench.archives() == []
    bench.rows("INSERT INTO positions VALUES (%s, 1, %s)", name, end)
    await bench.run()
    assert (await bench.archive()).state == "verified"


async def test_large_messages_do_not_need_much_memory_at_once(bench: ArchiveBench) -> None:
    """A row group has a bounded number of bytes, and so has what is compared at once."""
    bench.rows(
        "UPDATE tweets SET doc = jsonb_build_object('x', repeat(md5(id::text), 40000))"
        " WHERE id IN (SELECT id FROM tweets ORDER BY id LIMIT 60)"
    )
    await bench.run()
    file = pq.ParquetFile(bench.file("tweets-1.parquet"))
    groups = [file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)]
    assert len(groups) > 3
    assert max(groups) < 2 * BLOCK


async def test_what_comes_in_the_last_moment_keeps_the_day(bench: ArchiveBench) -> None:
    """After everything was compared, and before the locks were had."""
    await bench.run()
    await bench.fill(1, first=50_000)
    async with book.locked(bench.database, DAY) as connection:
        assert connection is not None
        assert not await dropping._take_away(connection, DAY)
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER + 1,)]


async def test_a_partition_without_its_trigger_is_archived_again(bench: ArchiveBench) -> None:
    """Whoever takes the trigger away takes away the proof that nothing has changed."""
    await bench.run()
    bench.rows("DROP TRIGGER archive_touch ON tweets_20260314")
    assert await drop_early(bench.database, bench.settings) == []
    await bench.run(DAY, drop=True)
    archive = await bench.archive()
    assert (archive.state, archive.generation) == ("dropped", 2)


async def test_what_a_kill_left_is_removed(bench: ArchiveBench) -> None:
    """Killed after the new manifest was written, and before the old files were removed."""
    await bench.run()
    folder = bench.file("manifest.json").parent
    before = sorted(folder.iterdir())
    (folder / "tweets-99.parquet").write_bytes(b"left")
    await bench.run()
    assert sorted(folder.iterdir()) == before
