"""Every table states its bound in the schema, and native ids are pruned."""

import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from monitor.maintenance import table_maintenance
from stream.config import RetentionSettings, Settings
from stream.db import Database
from stream.keys import tweet_key
from stream.store.partitions import ensure_days
from stream.tweet import LaneId

TABLES = """
SELECT relname, coalesce(obj_description(oid), '') AS comment FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
  AND relname <> 'schema_migrations'
"""
NOW = datetime.now(UTC)
KEEP = RetentionSettings(tweets_days=10, ids_days=20, deletions_days=100)


async def test_every_table_states_its_bound_by_existing_settings(connected: Database) -> None:
    known = msgspec.to_builtins(Settings())
    for row in await connected.fetch(TABLES):
        assert row["comment"].startswith("Bound: "), row["relname"]
        for section, name in re.findall(
            r"\b(retention|web|monitor|archive)\.(\w+)", row["comment"]
        ):
            assert name in known[section], row["relname"]


async def add(database: Database, name: str, ago: int | None, **marks: object) -> None:
    """An id of a tweet that came so many days ago, or of none."""
    at = NOW - timedelta(days=ago or 0)
    key = tweet_key(round(at.timestamp() * 1e6), LaneId(1))
    await database.execute(
        "INSERT INTO tweet_ids (network, native_id, tweet_id, deleted_at, withheld, noted_at)"
        " VALUES ('x_v1', $1, $2, $3, $4, $5)",
        name,
        None if ago is None else key,
        marks.get("deleted_at"),
        marks.get("withheld"),
        marks.get("noted_at"),
    )


async def left(database: Database) -> set[str]:
    return {row["native_id"] for row in await database.fetch("SELECT native_id FROM tweet_ids")}


async def test_ids_are_deleted_some_days_after_the_tweets_were_dropped(connected: Database) -> None:
    old = NOW - timedelta(days=200)
    async with connected.acquire() as connection:
        await ensure_days(connection, [NOW.date(), (NOW - timedelta(days=50)).date()])
    await add(connected, "today", 0)
    await add(connected, "dropped lately", 25)
    await add(connected, "dropped long ago", 40)
    await add(connected, "restored", 50)
    await add(connected, "dropped early", 60)
    await add(connected, "deleted", 40, deleted_at=NOW)
    await add(connected, "deleted long ago", 210, deleted_at=old)
    await add(connected, "deleted, in an archive", 220, deleted_at=old)
    await add(connected, "withheld", 40, withheld=["DE"])
    await add(connected, "deletion of none", None, deleted_at=NOW)
    await add(connected, "old deletion of none", None, deleted_at=old)
    await add(connected, "withheld none", None, withheld=["DE"], noted_at=NOW)
    await add(connected, "old withheld none", None, withheld=["DE"], noted_at=old)
    for days, dropped in ((60, 5), (220, 150)):
        await connected.execute(
            "INSERT INTO archives (day, state, path, dropped_at) VALUES ($1, 'dropped', '', $2)",
            (NOW - timedelta(days=days)).date(),
            NOW - timedelta(days=dropped),
        )
    gone = {
        *("dropped long ago", "deleted long ago", "withheld"),
        *("old deletion of none", "old withheld none"),
    }
    before = await left(connected)
    await table_maintenance.prune_ids(
        connected, RetentionSettings(tweets_days=10, ids_days=0, deletions_days=0)
    )
    assert await left(connected) == before
    await table_maintenance.prune_ids(connected, KEEP)
    assert before - await left(connected) == gone
    await table_maintenance.prune_ids(connected, KEEP)
    assert before - await left(connected) == gone


async def test_ids_of_expired_tweets_are_deleted_while_their_day_stays(connected: Database) -> None:
    day = (NOW - timedelta(days=30)).date()
    async with connected.acquire() as connection:
        await ensure_days(connection, [day])
    await add(connected, "stored", 30)
    await connected.execute(
        "INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)"
        " SELECT tweet_id, tweet_received_at(tweet_id), network, native_id, 'original', '', '{}'"
        " FROM tweet_ids"
    )
    await connected.execute("UPDATE tweet_ids SET native_id = 'stays'")
    async with connected.acquire() as connection:
        await connection.execute(
            "INSERT INTO tweet_ids SELECT 'x_v1', 'went', tweet_id + 4096 FROM tweet_ids"
        )
        await table_maintenance.prune_ids(connected, KEEP)
        assert await left(connected) == {"stays", "went"}
        await connection.execute(
            "INSERT INTO partially_expired_days VALUES ($1, '', now() - interval '21 days')", day
        )
    await table_maintenance.prune_ids(connected, KEEP)
    assert await left(connected) == {"stays"}


async def test_pruning_continues_where_it_was_and_starts_again(
    connected: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_maintenance, "ID_PAGES_PER_TRANSACTION", 3)
    monkeypatch.setattr(table_maintenance, "ID_PAGES_PER_RUN_MIN", 7)
    monkeypatch.setattr(table_maintenance, "ID_RUNS_PER_DAY", 1000)
    monkeypatch.setattr(table_maintenance, "PAUSE_BETWEEN_BATCHES", 0)
    await connected.execute(
        "INSERT INTO tweet_ids SELECT 'x_v1', n::text, n FROM generate_series(1, 3000) AS n"
    )
    [size] = await connected.fetch("SELECT pg_relation_size('tweet_ids') / 8192 AS pages")
    assert size["pages"] > 14
    numbers = [3000]
    while numbers[-1]:
        await table_maintenance.prune_ids(connected, KEEP)
        numbers.append(len(await left(connected)))
        assert numbers[-1] < numbers[-2]
    assert len(numbers) > 3
    await add(connected, "new", 0)
    await table_maintenance.prune_ids(connected, KEEP)
    assert await left(connected) == {"new"}


async def test_later_runs_are_deleted_with_their_tweets_and_first_ones_stay(
    connected: Database,
) -> None:
    keys = [
        tweet_key(round((NOW - timedelta(days=days)).timestamp() * 1e6), LaneId(1))
        for days in (100, 90, 5)
    ]
    async with connected.acquire() as connection:
        await ensure_days(connection, [(NOW - timedelta(days=60)).date()])
    await connected.execute("INSERT INTO sources (name, network) VALUES ('main', 'x_v1')")
    for source, run, last, former in (
        (1, 1, keys[1], True),
        (1, 2, keys[1], False),  # the first one
        (1, 3, keys[1], False),
        (1, 4, keys[2], False),
        (1, 5, keys[1], False),  # the last one
        (2, 1, keys[1], False),  # of a source that was removed
        (2, 2, keys[2], False),
    ):
        await connected.execute(
            "INSERT INTO ingest_runs VALUES ($1, $2, $3, $4, $5)",
            source,
            run,
            keys[0],
            last,
            former,
        )
    await table_maintenance.prune(connected, Settings())
    rows = await connected.fetch("SELECT source_id, run FROM ingest_runs ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [(1, 2), (1, 4), (1, 5), (2, 2)]
