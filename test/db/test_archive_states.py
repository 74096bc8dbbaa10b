"""Whatever happens to a day or its archive, no row is lost, and none is stored twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest

from monitor.archive import drop, verify
from monitor.archive.data_files import BLOCK_BYTES
from monitor.archive.drop import drop_due, drop_early
from monitor.archive.manifest import ArchiveError
from stream.config import JournalSettings
from stream.errors import TwitterstreamError
from stream.journal import Journal
from stream.store import archives

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench

DAY = date(2026, 3, 14)
NUMBER = 300


@pytest.fixture
def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    return archive_bench


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
    assert len(list(bench.file("manifest.json").parent.iterdir())) == 4  # the old files are removed


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
    # Both are in Postgres again, and are dropped together.
    await bench.run(DAY, drop=True)
    assert [a.state for a in await bench.archives()] == ["dropped", "dropped"]


async def test_late_rows_survive_a_restore(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    await bench.fill(20, first=50_000)
    done = await bench.restore()
    assert done.tweets == NUMBER
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER + 20,)]
    # The next run has one part for all of it.
    await bench.run(DAY, drop=True)
    assert [(a.part, a.state, a.tweets) for a in await bench.archives()] == [
        (0, "dropped", NUMBER + 20)
    ]


async def test_an_unrecorded_change_keeps_the_day(bench: ArchiveBench) -> None:
    """A change that bypasses the triggers is found by the digest."""
    await bench.run()
    bench.rows(
        "SET session_replication_role = replica;"
        " UPDATE tweets SET author = 'another' WHERE native_id = '1000000000000000010'"
    )
    assert await drop_early(bench.database, bench.settings) == []
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER,)]


@pytest.mark.parametrize("name", ["tweets-1.parquet", "matches-1.parquet", "tracks-1.parquet"])
async def test_a_damaged_file_is_found_and_nothing_is_dropped(
    bench: ArchiveBench, name: str
) -> None:
    await bench.run()
    path = bench.file(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = verify.problems(bench.store, bench.manifest())
    assert any(f"{name} is damaged" in problem for problem in found)
    with pytest.raises(ArchiveError, match="damaged"):
        await drop_early(bench.database, bench.settings)
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER,)]
    assert "damaged" in str((await bench.archive()).problem)
    # It is written again from Postgres.
    bench.rows("INSERT INTO archive_changes (day) VALUES (%s)", DAY)
    await bench.run(DAY, drop=True)
    assert (await bench.archive()).state == "dropped"


async def test_a_missing_file_keeps_the_day(bench: ArchiveBench) -> None:
    await bench.run()
    bench.file("matches-1.parquet").unlink()
    with pytest.raises(TwitterstreamError, match="no such object"):
        await drop_early(bench.database, bench.settings)
    assert bench.rows("SELECT count(*) FROM matches WHERE track_id = 1")[0][0] > 0


# -- dropping -------------------------------------------------------------------------------------


async def test_days_are_dropped_when_they_are_due_and_not_before(bench: ArchiveBench) -> None:
    age = (datetime.now(UTC).date() - DAY).days - 1
    await bench.run()
    for days, gone in ((0, []), (age + 1, []), (age, [DAY])):
        bench.set(retention={"tweets_days": days})
        assert await drop_due(bench.database, bench.settings) == gone


async def test_a_restored_day_stays_a_week(bench: ArchiveBench) -> None:
    bench.set(retention={"tweets_days": 1})
    await bench.run()
    assert (await bench.archive()).state == "dropped"
    await bench.restore()
    await bench.run()
    assert (await bench.archive()).state == "restored"
    bench.rows("UPDATE archives SET restored_at = now() - interval '8 days'")
    await bench.run()
    assert (await bench.archive()).state == "dropped"


async def test_without_an_address_nothing_is_dropped(bench: ArchiveBench) -> None:
    await bench.run()
    bench.set(archive={"url": ""}, retention={"tweets_days": 1})
    assert await drop_due(bench.database, bench.settings) == []
    assert await drop_early(bench.database, bench.settings) == []


async def test_a_long_query_does_not_delay_writers(bench: ArchiveBench) -> None:
    """The drop waits for a reader so briefly that writers are not delayed."""
    await bench.run()
    async with bench.database.separate_pool(2) as other, other.transaction() as reader:
        await reader.fetch("SELECT count(*) FROM tweets")
        dropping = asyncio.create_task(drop_early(bench.database, bench.settings))
        async with asyncio.timeout(90):
            for number in range(20):
                await bench.fill(1, day=DAY + timedelta(days=1), first=1000 + number)
        assert not dropping.done()
        assert bench.rows("SELECT count(*) FROM tweets WHERE received_at < '2026-03-15'") == [
            (NUMBER,)
        ]
    assert await dropping == [DAY]


async def test_two_runs_do_not_archive_the_same_day(bench: ArchiveBench) -> None:
    async with archives.day_lock(bench.database, DAY) as first:
        assert first is not None
        await bench.run()
        assert await bench.archives() == []
        assert "another process" in bench.lines[-1]
    await asyncio.gather(*(bench.run() for _ in range(3)))
    archive = await bench.archive()
    assert (archive.state, archive.tweets, archive.generation) == ("verified", NUMBER, 1)


async def test_old_archives_are_deleted_by_setting_unless_the_day_is_in_postgres(
    bench: ArchiveBench,
) -> None:
    bench.set(archive={"keep_days": 30})
    await bench.run()
    assert (await bench.archive()).state == "verified"
    await bench.run(DAY, drop=True)
    await bench.run()
    assert await bench.archives() == []
    assert list(bench.store.list()) == []


# -- unusual states -------------------------------------------------------------------------------


async def test_after_a_manual_drop_the_last_archive_counts(
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


async def test_a_database_without_its_rows_takes_up_its_archives(bench: ArchiveBench) -> None:
    await bench.run()
    bench.rows("DELETE FROM archives")
    await bench.run()
    archive = await bench.archive()  # the same part, since the rows are the same
    assert (archive.part, archive.state, archive.tweets) == (0, "verified", NUMBER)


async def test_archives_of_another_database_are_not_overwritten(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    bench.rows("DELETE FROM archives")
    bench.rows("DELETE FROM tweet_ids")
    await bench.fill(20, first=50_000)
    await bench.run()
    assert [(a.part, a.state, a.tweets) for a in await bench.archives()] == [
        (0, "dropped", NUMBER),
        (1, "verified", 20),
    ]


async def test_a_lost_manifest_is_reported(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    bench.file("manifest.json").unlink()
    with pytest.raises(ArchiveError, match="lost"):
        await bench.run()


async def test_a_manifest_of_a_newer_version_is_refused(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    later = msgspec.structs.replace(bench.manifest(), format=99)
    bench.file("manifest.json").write_bytes(msgspec.json.encode(later))
    with pytest.raises(ArchiveError, match="newer version"):
        await bench.restore()


async def test_a_day_that_cannot_be_written_does_not_stop_the_others(
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


async def test_a_day_waits_for_frames_in_a_journal(bench: ArchiveBench, tmp_path: Path) -> None:
    bench.settings = msgspec.structs.replace(bench.settings, data_dir=str(tmp_path))
    noon = datetime(2026, 3, 14, 12, tzinfo=UTC)
    with Journal.open(tmp_path / "journal" / "1", JournalSettings()) as journal:
        journal.clock.clock = lambda: round(noon.timestamp() * 1e6)
        with pytest.MonkeyPatch.context() as clock:
            clock.setattr("time.time_ns", lambda: int(noon.timestamp() * 1e9))
            journal.append([b"one", b"two"])
        name, end = journal.id, journal.end
    await bench.run()
    assert await bench.archives() == []
    bench.rows("INSERT INTO positions VALUES (%s, 1, %s)", name, end)
    await bench.run()
    assert (await bench.archive()).state == "verified"


async def test_large_messages_need_little_memory(bench: ArchiveBench) -> None:
    """A row group, which is what is compared at once, has a bounded size."""
    bench.rows(
        "UPDATE tweets SET doc = jsonb_build_object('x', repeat(md5(id::text), 40000))"
        " WHERE id IN (SELECT id FROM tweets ORDER BY id LIMIT 60)"
    )
    await bench.run()
    file = pq.ParquetFile(bench.file("tweets-1.parquet"))
    groups = [file.metadata.row_group(n).total_byte_size for n in range(file.num_row_groups)]
    assert len(groups) > 3
    assert max(groups) < 2 * BLOCK_BYTES


async def test_a_change_in_the_last_moment_keeps_the_day(bench: ArchiveBench) -> None:
    """After everything was compared, and before the locks are held."""
    await bench.run()
    await bench.fill(1, first=50_000)
    async with archives.day_lock(bench.database, DAY) as connection:
        assert connection is not None
        assert not await drop._drop_unless_changed(connection, DAY)
    assert bench.rows("SELECT count(*) FROM tweets") == [(NUMBER + 1,)]


async def test_a_partition_without_its_trigger_is_archived_again(bench: ArchiveBench) -> None:
    """Without the trigger nothing proves that the day is unchanged."""
    await bench.run()
    bench.rows("DROP TRIGGER note_archive_change ON tweets_20260314")
    assert await drop_early(bench.database, bench.settings) == []
    await bench.run(DAY, drop=True)
    archive = await bench.archive()
    assert (archive.state, archive.generation) == ("dropped", 2)


async def test_files_left_by_a_kill_are_removed(bench: ArchiveBench) -> None:
    """Killed after the new manifest was written, and before the old files were removed."""
    await bench.run()
    folder = bench.file("manifest.json").parent
    before = sorted(folder.iterdir())
    (folder / "tweets-99.parquet").write_bytes(b"left")
    await bench.run()
    assert sorted(folder.iterdir()) == before
