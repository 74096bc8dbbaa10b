"""The lists of files, by which programs read archives that read no manifests, are never wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from deleting import delete_tweets
from monitor.archive import write
from monitor.archive.manifest import Role
from monitor.archive.store import Store
from stream.tweet import NativeId

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench

DAY = date(2026, 3, 14)
TABLES: tuple[Role, ...] = ("tweets", "matches", "tracks")


class Killed(BaseException):
    """The end of the process; nothing catches it."""


@pytest.fixture
def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    return archive_bench


def listed(bench: ArchiveBench, table: Role, part: int = 0) -> Path:
    """The file of a table that is listed."""
    [address] = bench.store.read(f"lists/{table}/day={DAY}/part-{part}.txt").decode().splitlines()
    return Path(address)


async def delete_one(bench: ArchiveBench) -> None:
    times = {NativeId(str(10**18)): datetime.now(UTC)}
    await delete_tweets(bench.database, "x_v1", times)


async def test_each_file_of_a_table_is_listed(bench: ArchiveBench) -> None:
    bench.set(archive={"ndjson": True})
    await bench.run()
    made = bench.manifest()
    for table in TABLES:
        assert pq.read_table(listed(bench, table)).num_rows == made.files[table].rows
    names = {entry.path for entry in bench.store.list("lists")}
    assert names == {f"lists/{table}/day={DAY}/part-0.txt" for table in TABLES}


async def test_a_rewritten_file_is_listed_instead_of_the_old_one(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    await delete_one(bench)
    await bench.run(DAY)
    assert listed(bench, "tweets").name == "tweets-2.parquet"
    assert pq.read_table(listed(bench, "tweets")).num_rows == bench.manifest().tweets


async def test_a_listed_file_exists_whenever_a_rewrite_is_killed(
    bench: ArchiveBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run(DAY, drop=True)
    await delete_one(bench)
    delete = Store.delete

    def killed(*_: object) -> None:
        raise Killed

    def killed_after_deleting(store: Store, path: str) -> None:
        delete(store, path)
        raise Killed

    for target, name, replaced in (
        (write, "remove_leftovers", killed),
        (Store, "delete", killed_after_deleting),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, replaced)
            with pytest.raises(Killed):
                await bench.run(DAY)
        assert listed(bench, "tweets").exists()
    await bench.run()
    assert listed(bench, "tweets") == bench.file(bench.manifest().files["tweets"].name)
    assert len(list(bench.file("manifest.json").parent.glob("tweets-*.parquet"))) == 1


async def test_archives_of_earlier_versions_are_listed_by_the_next_run(
    bench: ArchiveBench,
) -> None:
    await bench.run(DAY, drop=True)
    for entry in list(bench.store.list("lists/matches")):
        bench.store.delete(entry.path)
    await bench.run()
    assert {listed(bench, table).exists() for table in TABLES} == {True}


async def test_a_late_part_is_listed_beside_the_first(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    await bench.fill(10, first=50_000)
    await bench.run()
    rows = [pq.read_table(listed(bench, "tweets", part)).num_rows for part in (0, 1)]
    assert rows == [300, 10]
