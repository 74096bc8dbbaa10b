"""Files of exports: without what was deleted, bounded, and written again when damaged."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from deleting import delete_tweets
from exporting import ExportBench, Made
from monitor.export import housekeeping, task
from monitor.export.housekeeping import ExportHousekeeping
from monitor.jobs import Leader
from stream.config import Settings
from stream.export_requests import folder_of
from stream.tweet import NativeId

if TYPE_CHECKING:
    from pathlib import Path

    from stream.db import Database
    from test.db.conftest import ArchiveBench


@pytest.fixture
def bench(archive_bench: ArchiveBench, connected: Database, tmp_path: Path) -> ExportBench:
    settings = msgspec.structs.replace(
        Settings(), data_dir=str(tmp_path), archive=archive_bench.settings.archive
    )
    return ExportBench(connected, settings)


async def delete(bench: ExportBench, tweet_id: int) -> None:
    [row] = await bench.database.fetch(
        "SELECT network, native_id FROM tweet_ids WHERE tweet_id = $1", tweet_id
    )
    times = {NativeId(row["native_id"]): datetime.now(UTC)}
    await delete_tweets(bench.database, row["network"], times)


@pytest.mark.parametrize("archived", [False, True])
async def test_what_is_deleted_while_it_is_exported_is_not_in_the_file(
    bench: ExportBench,
    archive_bench: ArchiveBench,
    monkeypatch: pytest.MonkeyPatch,
    archived: bool,
) -> None:
    if archived:
        await archive_bench.run(drop=False)
        [[day]] = archive_bench.rows("SELECT min(received_at)::date FROM tweets")
        await archive_bench.run(day, drop=True)
    every = (await bench.made(part_rows=20)).ids
    gone = [every[3], every[50], every[-1]]  # written already, being written, not yet written
    save = task.ExportTask._save

    async def delete_then_save(own: task.ExportTask, part: object, *, complete: bool) -> None:
        await save(own, part, complete=complete)  # type: ignore[arg-type]  # passed on
        if len(own.parts) == 2 and gone:
            for each in gone:
                await delete(bench, each)
            gone.clear()

    lost = set(gone)
    monkeypatch.setattr(task.ExportTask, "_save", delete_then_save)
    number = await bench.request(part_rows=20)
    path = await bench.do(number)
    assert path is not None
    assert not gone
    assert Made(path).ids == [each for each in every if each not in lost]
    assert (await bench.row(number)).rows == len(every) - 3


async def test_a_damaged_part_is_written_again(
    bench: ExportBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await bench.made(part_rows=20)
    number = await bench.request(part_rows=20)
    folder = folder_of(bench.settings_dir, number)
    finish = task.ExportTask._finish

    async def damage(own: task.ExportTask, source: object) -> Path:
        first = folder / "tweets-0001.csv.gz"
        first.write_bytes(first.read_bytes()[:-100])
        (folder / "tweets-0002.csv.gz").write_bytes(gzip.compress(b"id\n"))
        (folder / "tweets-0003.csv.gz").unlink()
        return await finish(own, source)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(task.ExportTask, "_finish", damage)
    path = await bench.do(number)
    assert path is not None
    assert Made(path).data == whole.data


async def test_files_are_deleted_by_age_number_and_size(bench: ExportBench) -> None:
    leader = Leader(bench.database)
    leader.leads = True
    said: list[tuple[str, str, bool]] = []

    async def announce(*words: object) -> None:
        said.append(words)  # type: ignore[arg-type]  # three

    limits = msgspec.structs.replace(bench.settings.exports, max_files_per_user=2)
    settings = msgspec.structs.replace(bench.settings, exports=limits)
    keeping = ExportHousekeeping(bench.database, settings, leader, announce)
    for _ in range(4):
        await bench.made()
    stray = folder_of(bench.settings_dir, 99)
    stray.mkdir(parents=True)
    await bench.database.execute("UPDATE exports SET expires_at = now() WHERE id = 4")
    await keeping.work()
    states = await bench.database.fetch("SELECT state FROM exports ORDER BY id")
    assert [row["state"] for row in states] == ["expired", "expired", "done", "expired"]
    assert [path.name for path in stray.parent.iterdir()] == ["3"]
    assert [title for title, _, _ in said] == ["Export 3 is ready"]
    await keeping.work()
    assert len(said) == 1


async def test_deletions_reach_finished_files_once_a_day(
    bench: ExportBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = Leader(bench.database)
    leader.leads = True

    async def announce(*_: object) -> None:
        pass

    number = await bench.request(part_rows=20)  # the package gives back the other parts
    await bench.do(number)
    keeping = ExportHousekeeping(bench.database, bench.settings, leader, announce)
    every = Made(folder_of(bench.settings_dir, number) / "export.zip").ids
    await delete(bench, every[0])
    await keeping.work()
    assert (await bench.row(number)).state == "done"
    monkeypatch.setattr(housekeeping, "RECHECK_AFTER", housekeeping.RECHECK_AFTER * 0)
    await keeping.work()
    assert (await bench.row(number)).state == "waiting"
    path = await bench.do(number)
    assert path is not None
    assert Made(path).ids == every[1:]


async def test_a_full_disk_lets_an_export_wait(
    bench: ExportBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = msgspec.structs.replace(bench.settings.journal, min_free_bytes=1 << 60)
    bench.settings = msgspec.structs.replace(bench.settings, journal=full)
    number = await bench.request()
    assert await bench.do(number) is None
    row = await bench.row(number)
    assert row.state == "waiting"
    assert "It continues when there is more space." in row.reason
