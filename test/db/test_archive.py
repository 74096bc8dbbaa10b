"""A day is archived, dropped and restored: every row comes back unchanged."""

from __future__ import annotations

import hashlib
import json
import stat
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import msgspec
import pyarrow.parquet as pq
import pytest
import zstandard

from monitor.archive.manifest import ArchiveError

if TYPE_CHECKING:
    from test.db.conftest import ArchiveBench, Picture

DAY = date(2026, 3, 14)
NUMBER = 300


@pytest.fixture
def bench(archive_bench: ArchiveBench) -> ArchiveBench:
    return archive_bench


async def test_a_day_is_restored_as_it_was(bench: ArchiveBench) -> None:
    before = bench.picture()
    await bench.run(DAY, drop=True)
    assert (await bench.archive()).state == "dropped"
    assert bench.rows("SELECT to_regclass('tweets_20260314')") == [(None,)]
    done = await bench.restore()
    assert (done.tweets, done.left_out) == (NUMBER, 0)
    assert bench.picture() == before
    assert (await bench.archive()).state == "restored"


async def test_a_restored_day_is_a_partition_like_any_other(bench: ArchiveBench) -> None:
    indexes = (
        "SELECT count(*) FROM pg_index WHERE indrelid IN"
        " ('tweets_20260314'::regclass, 'matches_20260314'::regclass)"
    )
    constraints = (
        "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid IN"
        " ('tweets_20260314'::regclass, 'matches_20260314'::regclass) ORDER BY 1"
    )
    before = [bench.rows(query) for query in (indexes, constraints)]
    await bench.run(DAY, drop=True)
    await bench.restore()
    assert [bench.rows(query) for query in (indexes, constraints)] == before
    await bench.fill(10, first=50_000)  # late tweets
    assert bench.rows("SELECT count(*) FROM tweets_20260314") == [(NUMBER + 10,)]


async def test_another_server_gets_rows_identities_and_counts(bench: ArchiveBench) -> None:
    before = bench.picture()
    await bench.run(DAY, drop=True)
    for table in ("archives", "tweet_ids", "track_minutes", "track_hours", "track_days"):
        bench.rows(f"DELETE FROM {table}")
    await bench.restore()
    assert bench.picture() == before


async def test_what_look_backs_found_stays_marked(bench: ArchiveBench) -> None:
    bench.rows("UPDATE matches SET look_back = true WHERE track_id = 7")
    before = bench.picture()
    await bench.run(DAY, drop=True)
    await bench.restore()
    assert bench.picture() == before


async def test_files_from_before_look_backs_are_restored(bench: ArchiveBench) -> None:
    before = bench.picture()
    await bench.run(DAY, drop=True)
    made, path = bench.manifest(), bench.file("matches-1.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["look_back"]), path)
    size, checksum = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    older = msgspec.structs.replace(made.files["matches"], bytes=size, sha256=checksum)
    made = msgspec.structs.replace(made, files={**made.files, "matches": older})
    bench.file("manifest.json").write_bytes(msgspec.json.encode(made))
    bench.rows("DELETE FROM archives")
    native_id = bench.rows("SELECT native_id FROM tweet_ids ORDER BY 1 LIMIT 1")[0][0]
    bench.rows("UPDATE tweet_ids SET deleted_at = now() WHERE native_id = %s", native_id)
    await bench.restore()  # which writes the files again without the deleted tweet
    after = bench.picture()
    assert after["matches"] == [row for row in before["matches"] if row[0] in keys(after)]
    assert len(after["tweets"]) == NUMBER - 1


def keys(picture: Picture) -> set[object]:
    return {row[0] for row in picture["tweets"]}


async def test_the_manifest_describes_the_day(bench: ArchiveBench) -> None:
    bench.rows("INSERT INTO sources (name, network) VALUES ('main', 'x_v2')")
    bench.rows(
        "INSERT INTO gaps (source_id, began_at, ended_at, cause) VALUES"
        " (1, '2026-03-13 23:50+00', '2026-03-14 00:10+00', 'network'),"
        " (1, '2026-03-12 23:50+00', '2026-03-13 00:10+00', 'network')"
    )
    await bench.run()
    made = bench.manifest()
    assert made == (await bench.archive()).manifest
    assert (made.tweets, made.day, made.part, made.generation) == (NUMBER, DAY, 0, 1)
    assert [(gap.source, gap.cause) for gap in made.gaps] == [("main", "network")]
    counted = bench.rows("SELECT track_id::text, count(*) FROM matches GROUP BY 1")
    assert dict(made.tracks) == dict(counted)
    for role, file in made.files.items():
        stored = bench.store.hashed(made.path(role))
        assert (stored.bytes, stored.sha256) == (file.bytes, file.sha256)
    assert made.first_received_at == bench.rows("SELECT min(received_at) FROM tweets")[0][0]


async def test_any_tool_reads_the_files(bench: ArchiveBench) -> None:
    await bench.run()
    found = pq.read_table(bench.file("tweets-1.parquet")).to_pylist()
    columns = list(found[0])
    rows = bench.rows(
        f"SELECT {', '.join(columns).replace('doc', 'doc::text')} FROM tweets ORDER BY id"
    )
    assert [tuple(row.values()) for row in found] == rows
    tracks = pq.read_table(bench.file("tracks-1.parquet")).to_pylist()
    assert [track["value"] for track in tracks] == ["snow", "one\ntwo,\x01three"]


async def test_ndjson_is_written_by_setting(bench: ArchiveBench) -> None:
    bench.set(archive={"ndjson": True})
    await bench.run()
    data = (
        zstandard.ZstdDecompressor()
        .decompressobj()
        .decompress(bench.file("tweets-1.ndjson.zst").read_bytes())
    )
    lines = [json.loads(line) for line in data.decode().strip("\n").split("\n")]
    assert [(line["id"], line["doc"]) for line in lines] == bench.rows(
        "SELECT id::text, doc FROM tweets ORDER BY id"
    )


async def test_files_are_private(bench: ArchiveBench) -> None:
    await bench.run()
    folder = bench.store.folder
    assert folder is not None
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


async def test_days_that_are_not_over_are_not_archived(bench: ArchiveBench) -> None:
    today = datetime.now(UTC).date()
    await bench.fill(5, day=today, first=1000)
    await bench.run()
    assert [each.day for each in await bench.archives()] == [DAY]
    with pytest.raises(ArchiveError, match="not over"):
        await bench.run(today)


async def test_an_archived_day_is_not_archived_again(bench: ArchiveBench) -> None:
    await bench.run()
    first = await bench.archive()
    await bench.run()
    assert await bench.archive() == first
