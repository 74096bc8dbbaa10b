"""Damaged, lost and outdated archives: reported in a sentence, and repaired where possible."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import obstore.store
import pytest

from deleting import delete_tweets
from monitor.archive import catalog, refresh_catalog, verify
from monitor.archive.data_files import RowReader
from monitor.archive.manifest import ArchiveError, Manifest
from monitor.archive.query import query_archives
from monitor.archive.store import Store, StoreError, _store_errors, display_url
from stream.errors import ConfigError
from stream.store import author_tombstones, deletions
from stream.store.author_tombstones import AuthorRestrictions
from stream.tweet import NativeId

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench

DAY = date(2026, 3, 14)
NUMBER = 300
AT = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    return archive_bench


# -- a database restored from an older backup -----------------------------------------------------


async def _restore_older_backup(bench: ArchiveBench) -> Manifest:
    """The database knows generation 1, and the store has generation 2."""
    await bench.run(DAY, drop=True)
    bench.rows("CREATE TABLE backup AS SELECT * FROM archives")
    await delete_tweets(bench.database, "x_v1", {NativeId(str(10**18 + 4)): AT})
    await bench.run(DAY)
    bench.rows("DELETE FROM archives; INSERT INTO archives SELECT * FROM backup")
    made = bench.manifest()
    assert (made.generation, (await bench.archive()).generation) == (2, 1)
    return made


@pytest.mark.parametrize("state", ["dropped", "verified"])
async def test_an_outdated_row_takes_up_the_later_archive(bench: ArchiveBench, state: str) -> None:
    made = await _restore_older_backup(bench)
    bench.rows("UPDATE archives SET state = %s", state)
    await bench.run()
    archive = await bench.archive()
    assert (archive.manifest, archive.state, archive.problem) == (made, "dropped", None)
    assert verify.problems(bench.store, made) == []
    assert (await bench.restore()).tweets == NUMBER - 1


async def test_an_outdated_row_can_be_restored_and_verified(bench: ArchiveBench) -> None:
    made = await _restore_older_backup(bench)
    await refresh_catalog.refresh_outdated(
        bench.database, bench.store, refresh_catalog.file_names(bench.store)
    )
    assert (await bench.archive()).manifest == made
    bench.rows("DELETE FROM archives; INSERT INTO archives SELECT * FROM backup")
    assert (await bench.restore()).tweets == NUMBER - 1


# -- damage ---------------------------------------------------------------------------------------


async def _verify(bench: ArchiveBench) -> list[str]:
    """As `archive verify` does."""
    archive = await bench.archive()
    found = verify.problems(bench.store, archive.verified_manifest)
    async with bench.database.acquire() as connection:
        assert await catalog.mark_checked(connection, archive, " ".join(found) or None)
    return found


def _flip(bench: ArchiveBench, name: str) -> None:
    path = bench.file(name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("by_day", [True, False])
async def test_a_damaged_archive_is_written_again_from_postgres(
    bench: ArchiveBench, by_day: bool
) -> None:
    await bench.run()
    _flip(bench, "tweets-1.parquet")
    if not by_day:  # else it is checked only where a problem was found before
        [problem] = await _verify(bench)
        assert "tweets-1.parquet is damaged" in problem
        assert "archive run --day 2026-03-14" in problem
        assert (await bench.archive()).problem == problem
    await bench.run(DAY if by_day else None)
    archive = await bench.archive()
    assert (archive.generation, archive.state, archive.problem) == (2, "verified", None)
    assert verify.problems(bench.store, archive.verified_manifest) == []


async def test_a_file_restored_by_hand_is_not_written_again(bench: ArchiveBench) -> None:
    await bench.run()
    kept = bench.file("matches-1.parquet").read_bytes()
    bench.file("matches-1.parquet").unlink()
    [problem] = await _verify(bench)
    assert "matches-1.parquet cannot be read: there is no such object" in problem
    bench.file("tweets-1.parquet").with_name("matches-1.parquet").write_bytes(kept)
    await bench.run()
    archive = await bench.archive()
    assert (archive.generation, archive.problem) == (1, None)
    await bench.run(DAY)
    assert "nothing to do" in bench.lines[-1]


async def test_a_file_that_is_not_parquet_is_reported_in_a_sentence(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    made = bench.manifest()
    path = bench.file("tweets-1.parquet")
    whole = path.read_bytes()
    for data in (b"", b"none", whole[:-1000], whole[:4] + bytes(len(whole) // 2) + whole[-900:]):
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=r"tweets-1\.parquet.*Restore it"):
            _read_all(RowReader(bench.store, made.path("tweets")))


def _read_all(rows: RowReader) -> None:
    while rows.take(1000).num_rows:
        pass


async def test_a_damaged_archive_of_a_dropped_day_needs_a_copy(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    path = bench.file("tweets-1.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(ArchiveError, match="it has 1,000 bytes"):
        await bench.run(DAY)
    assert "Restore it from a copy" in str((await bench.archive()).problem)
    with pytest.raises(ArchiveError, match=r"tweets-1\.parquet"):
        await bench.restore()
    path.write_bytes(whole)
    assert await _verify(bench) == []
    assert (await bench.archive()).problem is None


async def test_an_unreachable_store_is_not_reported_as_damage(bench: ArchiveBench) -> None:
    await bench.run()
    made = bench.manifest()
    away = Store("s3://nobody/there")
    away.objects = obstore.store.S3Store(
        "nobody",
        access_key_id="a",
        secret_access_key="b",
        endpoint="http://127.0.0.1:9",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    with pytest.raises(StoreError):
        verify.problems(away, made)


async def _compared(bench: ArchiveBench) -> str:
    return await verify.compared_with_postgres(bench.database, await bench.archive())


async def test_the_comparison_with_postgres_is_described(bench: ArchiveBench) -> None:
    await bench.run(DAY)
    await bench.fill(1, first=50_000)
    assert "at once" in await _compared(bench)
    await bench.run(DAY, drop=True)
    assert "no longer in Postgres" in await _compared(bench)
    await bench.fill(1, first=60_000)
    assert "late tweets arrived" in await _compared(bench)
    await bench.run(DAY)
    assert "archived 1 tweet," in bench.lines[-1]


# -- what cannot be written -----------------------------------------------------------------------


@pytest.mark.parametrize("created", ["infinity", "0044-03-15 BC", "200000-01-01"])
async def test_times_that_no_file_can_hold_are_reported_in_a_sentence(
    bench: ArchiveBench, created: str
) -> None:
    later = DAY + timedelta(days=1)
    await bench.fill(5, day=later, first=1000)
    bench.rows(f"UPDATE tweets SET created_at = '{created}' WHERE native_id = '{10**18 + 9}'")
    with pytest.raises(ArchiveError):
        await bench.run()
    [first, second] = await bench.archives()
    assert first.state == "writing"
    assert first.problem
    assert "\n" not in first.problem
    assert (second.state, second.problem) == ("verified", None)


@pytest.mark.parametrize(
    "created", ["0001-01-01", "0999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"]
)
async def test_extreme_times_are_restored(bench: ArchiveBench, created: str) -> None:
    bench.rows(f"UPDATE tweets SET created_at = '{created}+00' WHERE native_id = '{10**18 + 9}'")
    before = bench.rows("SELECT tweets.*, doc::text FROM tweets ORDER BY id")
    await bench.run(DAY, drop=True)
    await bench.restore()
    assert bench.rows("SELECT tweets.*, doc::text FROM tweets ORDER BY id") == before


# -- withheld tweets and credentials --------------------------------------------------------------


async def test_what_was_withheld_since_is_withheld_in_restored_rows(bench: ArchiveBench) -> None:
    await bench.run(DAY, drop=True)
    async with bench.database.transaction() as connection:
        await deletions.withhold(connection, "x_v1", {NativeId(str(10**18 + 4)): ["FR"]})
        await author_tombstones.restrict_authors(
            connection, "x_v1", {"4": AuthorRestrictions(withheld=["TR"])}
        )
    await bench.restore()
    marked = bench.rows("SELECT native_id FROM tweets WHERE withheld = '{FR}'")
    assert marked == [(str(10**18 + 4),)]
    others = "author_id = '4' AND network = 'x_v1' AND native_id <> '1000000000000000004'"
    assert bench.rows(f"SELECT DISTINCT withheld FROM tweets WHERE {others}") == [(["TR"],)]
    # The archive is written again as well.
    await bench.run(DAY, drop=True)
    assert (await bench.archive()).generation == 2


def test_no_message_holds_a_credential() -> None:
    with pytest.raises(ConfigError) as refused:
        Store("az://container/below?sig=Hidden1")
    assert "Hidden1" not in str(refused.value)
    assert display_url("s3://key:Hidden1@bucket/below?x=Hidden2") == "s3://bucket/below"
    with pytest.raises(StoreError) as failed, _store_errors("it"):
        raise ValueError("https://me:Hidden1@host/path?sig=Hidden2 and secret=Hidden3")
    assert "host/path" in str(failed.value)
    assert "Hidden" not in str(failed.value)


# -- querying -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "short", "torn"])
async def test_a_broken_day_leaves_the_others_readable(bench: ArchiveBench, how: str) -> None:
    later = DAY + timedelta(days=1)
    await bench.fill(5, day=later, first=1000)
    await bench.run()
    path = bench.file("tweets-1.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] if how == "short" else bytes(len(whole)))
    if how == "missing":
        path.unlink()
    made = [each.verified_manifest for each in await bench.archives()]
    warned: list[str] = []
    query = "SELECT day, count(*) AS number FROM tweets GROUP BY day"
    [batch] = query_archives(bench.store, made, query, warned.append)
    assert batch.to_pylist() == [{"day": later, "number": 5}]
    [warning] = warned
    assert "2026-03-14 is left out" in warning
    assert "tweets-1.parquet" in warning
    with pytest.raises(ArchiveError, match="nothing"):
        list(query_archives(bench.store, made[1:], "SELECT nothing FROM tweets", warned.append))
    assert len(warned) == 1
