"""What breaks, is lost, or is of another time: said in a sentence, and mended where it can be."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pytest

from monitor.archive import adopting, inspecting
from monitor.archive.manifest import Manifest, decode
from stream import tweets
from stream.tweet import NativeId

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench

DAY = date(2026, 3, 14)
NUMBER = 300
AT = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    return archive_bench


def manifest(bench: ArchiveBench) -> Manifest:
    return decode(bench.file("manifest.json").read_bytes(), "it")


# -- a database of before -------------------------------------------------------------------------


async def _set_back(bench: ArchiveBench) -> Manifest:
    """The row of generation 1, and generation 2 in the store."""
    await bench.run(DAY, drop=True)
    bench.rows("CREATE TABLE backup AS SELECT * FROM archives")
    async with bench.database.transaction() as connection:
        await tweets.delete(connection, "x_v1", NativeId(str(10**18 + 4)), AT, erase=True)
    await bench.run(DAY)
    bench.rows("DELETE FROM archives; INSERT INTO archives SELECT * FROM backup")
    made = manifest(bench)
    assert (made.generation, (await bench.archive()).generation) == (2, 1)
    return made


@pytest.mark.parametrize("state", ["dropped", "verified"])
async def test_a_row_of_before_takes_up_the_later_archive(bench: ArchiveBench, state: str) -> None:
    made = await _set_back(bench)
    bench.rows("UPDATE archives SET state = %s", state)
    await bench.run()
    archive = await bench.archive()
    assert (archive.manifest, archive.state, archive.problem) == (made, "dropped", None)
    assert inspecting.problems(bench.store, made) == []
    assert (await bench.restore()).tweets == NUMBER - 1


async def test_a_row_of_before_can_be_restored_and_looked_at(bench: ArchiveBench) -> None:
    made = await _set_back(bench)
    await adopting.renew(bench.database, bench.store, adopting.names_in(bench.store))
    assert (await bench.archive()).manifest == made
    bench.rows("DELETE FROM archives; INSERT INTO archives SELECT * FROM backup")
    assert (await bench.restore()).tweets == NUMBER - 1
