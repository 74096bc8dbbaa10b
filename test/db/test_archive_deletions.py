"""Deletions are applied to tweets that are only in archives, and deleted tweets stay deleted."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.parquet as pq
import pytest

from deleting import delete_tweets
from monitor.archive import verify
from monitor.archive.manifest import ArchiveError, Manifest, publish
from monitor.archive.refresh_catalog import file_names, refresh_outdated
from stream.errors import Broken
from stream.store import archives, author_tombstones, deletion_log
from stream.store.author_tombstones import AuthorRestrictions
from stream.tweet import NativeId, NetworkName

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench

DAY = date(2026, 3, 14)
NUMBER = 300
AT = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
async def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    """A day that is only in the archive."""
    await archive_bench.run(DAY, drop=True)
    return archive_bench


def native_id(n: int) -> NativeId:
    return NativeId(str(10**18 + n))


async def delete(bench: ArchiveBench, *numbers: int) -> None:
    for n in numbers:
        network: NetworkName = "x_v2" if n % 2 else "x_v1"
        erase = bench.settings.deletions == "erase"
        await delete_tweets(bench.database, network, {native_id(n): AT}, erase=erase)


def archived(bench: ArchiveBench) -> dict[str, dict[str, Any]]:
    """The archived tweets by their native ids."""
    [path] = bench.file("manifest.json").parent.glob("tweets-*.parquet")
    return {row["native_id"]: row for row in pq.read_table(path).to_pylist()}


def make_old(bench: ArchiveBench) -> None:
    """Make the archive a day older: deletions are applied once a day."""
    bench.rows("UPDATE archives SET verified_at = verified_at - interval '1 day'")


def logged(bench: ArchiveBench) -> dict[int, list[int]]:
    """The tracks of the tweets in the deletion log."""
    return dict(bench.rows("SELECT tweet_id, tracks FROM deletion_log"))


def tracks_of(bench: ArchiveBench) -> dict[int, list[int]]:
    """The tracks of the archived tweets, by their keys."""
    [path] = bench.file("manifest.json").parent.glob("matches-*.parquet")
    found: dict[int, list[int]] = {}
    for row in pq.read_table(path).sort_by("track_id").to_pylist():
        found.setdefault(row["tweet_id"], []).append(row["track_id"])
    return found


async def test_a_deletion_takes_a_tweet_out_of_its_archive(bench: ArchiveBench) -> None:
    keys = [archived(bench)[native_id(n)]["id"] for n in (4, 5)]
    tracks = tracks_of(bench)
    await delete(bench, 4, 5)
    await bench.run()
    assert native_id(4) in archived(bench)  # not applied yet
    async with bench.database.acquire() as connection:
        read = await deletion_log.head(connection)
        assert logged(bench) == {key: [] for key in keys}
        make_old(bench)
        await bench.run()
        # Its tracks are known now: readers get the deletion once more.
        assert logged(bench) == {key: tracks.get(key, []) for key in keys}
        again = {each.tweet_id for each in await deletion_log.after(connection, read, 10)}
        assert again == {key for key in keys if key in tracks} != set()
    assert archived(bench).keys().isdisjoint({native_id(4), native_id(5)})
    made = bench.manifest()
    assert (made.generation, made.tweets) == (2, NUMBER - 2)
    assert [(r.erased, r.flagged, r.scrubbed) for r in made.removals] == [(2, 0, 0)]
    assert verify.problems(bench.store, made) == []
    names = sorted(path.name for path in bench.file("manifest.json").parent.iterdir())
    assert names == ["manifest.json", "matches-2.parquet", "tracks-1.parquet", "tweets-2.parquet"]


async def test_counts_follow_and_the_rest_comes_back_as_it_was(bench: ArchiveBench) -> None:
    await delete(bench, 4, 5, 7)
    await bench.run(DAY)
    done = await bench.restore()
    assert done.tweets == NUMBER - 3
    assert bench.counts_agree()
    assert bench.rows("SELECT count(*) FROM tweets WHERE native_id = %s", native_id(5)) == [(0,)]
    tracks = bench.rows("SELECT track_id::text, count(*) FROM matches GROUP BY 1")
    assert dict(bench.manifest().tracks) == dict(tracks)


@pytest.fixture
async def interrupted(bench: ArchiveBench) -> ArchiveBench:
    """A rewrite that published its manifest, and failed before Postgres had noted it."""
    await delete(bench, 4, 5, 7)
    bench.rows(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        " CREATE TRIGGER no BEFORE UPDATE OF generation ON archives EXECUTE FUNCTION no()"
    )
    with pytest.raises(Broken, match="no"):
        await bench.run(DAY)
    assert bench.manifest().generation == 2
    assert (await bench.archive()).generation == 1
    bench.rows("DROP TRIGGER no ON archives")
    return bench


async def test_a_failure_in_the_last_step_neither_forgets_nor_doubles(
    interrupted: ArchiveBench,
) -> None:
    bench = interrupted
    await bench.run()  # too early to try again, but the old manifest is published again
    assert (await bench.archive()).manifest == bench.manifest()
    assert verify.problems(bench.store, bench.manifest()) == []
    await bench.run(DAY)
    await bench.run(DAY)
    assert (await bench.archive()).manifest == bench.manifest()
    await bench.restore()
    assert bench.counts_agree()


async def test_an_interrupted_rewrite_is_done_again_on_request(interrupted: ArchiveBench) -> None:
    bench = interrupted
    await bench.run(DAY)
    assert (await bench.archive()).manifest == bench.manifest()
    assert bench.manifest().tweets == NUMBER - 3
    await bench.restore()
    assert bench.counts_agree()


async def test_an_interrupted_rewrite_is_done_again_before_restoring(
    interrupted: ArchiveBench,
) -> None:
    bench = interrupted
    done = await bench.restore()
    assert done.tweets == NUMBER - 3
    assert bench.counts_agree()


async def test_an_interrupted_rewrite_does_not_make_an_archive_damaged(
    interrupted: ArchiveBench,
) -> None:
    bench = interrupted
    await refresh_outdated(bench.database, bench.store, file_names(bench.store))
    assert (await bench.archive()).manifest == bench.manifest()
    assert verify.problems(bench.store, bench.manifest()) == []


async def test_a_damaged_manifest_beside_an_interrupted_rewrite_is_reported(
    interrupted: ArchiveBench,
) -> None:
    bench = interrupted
    bench.file("manifest.json").write_text("{")
    with pytest.raises(ArchiveError, match="damaged"):
        await bench.run(DAY)


async def test_deletions_are_applied_before_a_day_is_restored(
    bench: ArchiveBench,
) -> None:
    await delete(bench, 4, 5)
    done = await bench.restore()
    assert (done.tweets, sum(removal.erased for removal in done.removals)) == (NUMBER - 2, 2)
    assert "2 tweets were deleted since" in done.notes[0]
    assert bench.counts_agree()


async def test_flagged_tweets_stay_and_are_marked(bench: ArchiveBench) -> None:
    bench.settings = _flagging(bench)
    before = archived(bench)
    await delete(bench, 4)
    await bench.run(DAY)
    after = archived(bench)
    assert after.keys() == before.keys()
    assert after[native_id(4)] == before[native_id(4)] | {"deleted_at": AT}
    key = before[native_id(4)]["id"]
    assert logged(bench)[key] == tracks_of(bench).get(key, [])
    assert [(r.erased, r.flagged) for r in bench.manifest().removals] == [(0, 1)]
    await bench.run(DAY)
    assert bench.manifest().generation == 2  # it is applied already
    await bench.restore()
    assert bench.rows("SELECT native_id FROM tweets WHERE deleted_at IS NOT NULL") == [
        (native_id(4),)
    ]
    assert bench.counts_agree()


def _flagging(bench: ArchiveBench) -> Any:
    return msgspec.structs.replace(bench.settings, deletions="flag")


async def test_a_deleted_author_s_tweets_are_removed(bench: ArchiveBench) -> None:
    before = archived(bench)
    gone = {
        key
        for key, row in before.items()
        if row["author_id"] == "3"
        and row["network"] == "x_v2"
        and (row["created_at"] is None or row["created_at"] <= AT - timedelta(days=60))
    }
    keys = {before[key]["id"] for key in gone}
    tracks = {key: found for key, found in tracks_of(bench).items() if key in keys}
    assert 0 < len(gone) < len([row for row in before.values() if row["author_id"] == "3"])
    async with bench.database.transaction() as connection:
        await author_tombstones.restrict_authors(
            connection, "x_v2", {"3": AuthorRestrictions(deleted_at=AT - timedelta(days=60))}
        )
    await bench.run(DAY)
    assert before.keys() - archived(bench).keys() == gone
    # They are not stored again.
    buried = bench.rows("SELECT native_id FROM tweet_ids WHERE deleted_at IS NOT NULL")
    assert {key for (key,) in buried} == gone
    assert logged(bench) == tracks != {}
    await bench.restore()
    assert bench.counts_agree()


async def test_places_are_scrubbed_as_in_postgres(archive_bench: ArchiveBench) -> None:
    bench = archive_bench
    scrub = (10**18) + 150
    await bench.run(DAY, drop=True)
    async with bench.database.transaction() as connection:
        await author_tombstones.restrict_authors(
            connection, "x_v1", {"4": AuthorRestrictions(scrubbed_to=scrub)}
        )
    await bench.run(DAY)
    [removal] = bench.manifest().removals
    await bench.restore()
    here = bench.rows("SELECT * FROM tweets ORDER BY id")
    # The same day scrubbed in Postgres is equal.
    async with bench.database.transaction() as connection:
        await author_tombstones.restrict_authors(
            connection, "x_v1", {"4": AuthorRestrictions(scrubbed_to=scrub)}
        )
    assert bench.rows("SELECT * FROM tweets ORDER BY id") == here
    without = bench.rows("SELECT count(*) FROM tweets WHERE NOT doc ? 'place'")
    assert [(removal.scrubbed,)] == without
    assert removal.scrubbed > 0


async def test_deletions_that_do_not_concern_an_archive_change_nothing(bench: ArchiveBench) -> None:
    """A tombstone of that day that was never archived, and an author without tweets."""
    bench.rows(
        "INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at)"
        " VALUES ('x_v1', '5', tweet_key('2026-03-14 23:00+00', 9), now())"
    )
    bench.rows(
        "INSERT INTO author_tombstones (network, author_id, deleted_at, changed_at)"
        " VALUES ('x_v1', 'absent', now(), now() - interval '1 hour')"
    )
    make_old(bench)
    await bench.run()
    assert bench.manifest().generation == 1
    async with bench.database.acquire() as connection:
        assert await archives.awaiting_deletions(connection) == []


async def test_a_deletion_before_the_drop_has_the_day_archived_again(
    archive_bench: ArchiveBench,
) -> None:
    bench = archive_bench
    await bench.run()
    await delete(bench, 4, 5)
    await bench.run(DAY, drop=True)
    assert native_id(4) not in archived(bench)
    assert (bench.manifest().tweets, bench.manifest().tombstones) == (NUMBER - 2, 2)
    await bench.restore()
    assert bench.counts_agree()


async def test_another_server_leaves_out_what_it_has_deleted_or_stored_itself(
    bench: ArchiveBench,
) -> None:
    bench.rows("DELETE FROM archives")
    bench.rows("DELETE FROM tweet_ids")
    bench.rows(
        "INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at) VALUES"
        f" ('x_v1', '{native_id(4)}', NULL, now()), ('x_v2', '{native_id(5)}', 77, NULL)"
    )
    done = await bench.restore()
    assert (done.tweets, done.left_out) == (NUMBER - 2, 2)
    assert "2 tweets were not restored" in done.notes[0]
    # The archive is written again as Postgres has it.
    await bench.run(DAY, drop=True)
    assert bench.manifest().tweets == NUMBER - 2


async def test_a_tampered_archive_is_not_restored(bench: ArchiveBench) -> None:
    """Files and manifest agree with each other, but not with the digest."""
    path = bench.file("tweets-1.parquet")
    found = pq.read_table(path)
    rows = found.to_pylist()
    rows[3]["text"] = "put in another's mouth"
    pq.write_table(type(found).from_pylist(rows, found.schema), path)
    made = bench.manifest()
    stored = bench.store.hashed(made.path("tweets"))
    _forge(bench, made, stored.bytes, stored.sha256)
    with pytest.raises(ArchiveError, match="differ from its manifest"):
        await bench.restore()
    assert bench.rows("SELECT to_regclass('tweets_20260314')") == [(None,)]


def _forge(bench: ArchiveBench, made: Manifest, size: int, sha256: str) -> None:
    file = msgspec.structs.replace(made.files["tweets"], bytes=size, sha256=sha256)
    forged = msgspec.structs.replace(made, files={**made.files, "tweets": file})
    publish(bench.store, forged)
    bench.rows("UPDATE archives SET manifest = %s", bench.file("manifest.json").read_text())
