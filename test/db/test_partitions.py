"""Partitions exist ahead of time, are repaired, and never stop an insert."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from monitor.maintenance import table_maintenance
from monitor.maintenance.table_maintenance import ensure_partitions
from stream.config import JournalSettings
from stream.db import Database
from stream.errors import DatabaseAway
from stream.frame_readers import DirectReader
from stream.incoming_tweets import StorePolicy
from stream.journal import Journal
from stream.networks.x_v1.decode import decode
from stream.store import sources
from stream.tweet import Match, Source, TrackId, Tweet
from stream.writer import Writer
from x_tweets import v1_tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

ROOMY = JournalSettings(min_free_bytes=0, min_free_percent=0)
PARTITIONS = """
SELECT count(*) FROM generate_series($1::date, $1::date + 7, '1 day') AS day
JOIN pg_inherits ON inhrelid = to_regclass($2 || to_char(day, '_YYYYMMDD'))
WHERE NOT inhdetachpending
"""

CANCEL = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
WHERE datname = current_database()
  AND query LIKE 'ALTER TABLE tweets DETACH%' AND wait_event_type = 'Lock'
"""


async def there(database: Database) -> bool:
    """Whether all days from today on have both partitions."""
    today = datetime.now(UTC).date()
    found = [
        (await database.fetch(PARTITIONS, today, parent))[0][0] for parent in ("tweets", "matches")
    ]
    return found == [table_maintenance.DAYS_AHEAD + 1] * 2


def named(parent: str, ahead: int = 0) -> str:
    return f"{parent}_{datetime.now(UTC) + timedelta(days=ahead):%Y%m%d}"


def snow(_: Tweet) -> Sequence[Match]:
    return [Match(TrackId(1), "snow", "text")]


@contextlib.asynccontextmanager
async def writing(database: Database, folder: Path) -> AsyncIterator[tuple[Writer, Journal]]:
    """A writer at work, as a collector has it."""
    async with database.acquire() as connection:
        source_id = await sources.add(connection, "test", "x_v1")
    source = Source(source_id, "test", "x_v1", None, None, {}, enabled=True)
    policy = StorePolicy(network="x_v1", keep_unmatched=True, erase=True)
    with Journal.open(folder, ROOMY) as journal:
        writer = Writer(
            database,
            source,
            DirectReader(journal, source),
            decode,
            snow,
            flush_interval=0.01,
            max_frame_bytes=1 << 20,
            policy=policy,
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(writer.run())
            await writer.started.wait()
            yield writer, journal
            writer.drain()
            await task


async def test_a_week_ahead_is_there_and_making_it_twice_changes_nothing(
    connected: Database,
) -> None:
    assert not await there(connected)
    await ensure_partitions(connected)
    assert await there(connected)
    await ensure_partitions(connected)
    assert await there(connected)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE {tweets}",
        "DROP TABLE {matches}",
        "ALTER TABLE tweets DETACH PARTITION {tweets}",
        "ALTER TABLE matches DETACH PARTITION {matches}",
        "DROP TABLE {tweets}; CREATE VIEW {tweets} AS SELECT 1 AS one",
        "DROP TABLE {tweets}; CREATE TABLE {tweets} (id text)",
    ],
)
async def test_a_missing_partition_is_repaired(connected: Database, damage: str) -> None:
    await ensure_partitions(connected)
    statement = damage.format(tweets=named("tweets", 3), matches=named("matches", 3))
    await connected.execute(statement)
    assert not await there(connected)
    await ensure_partitions(connected)
    assert await there(connected)


async def test_an_interrupted_detach_is_completed_and_undone(
    connected: Database, eventually: Eventually
) -> None:
    """Until then Postgres lists the partition, but takes no row for it."""
    await ensure_partitions(connected)
    async with connected.dedicated() as reader, connected.dedicated() as detaching:
        await reader.execute("BEGIN")
        await reader.fetch("SELECT count(*) FROM tweets")
        statement = f"ALTER TABLE tweets DETACH PARTITION {named('tweets')} CONCURRENTLY"
        waiting = asyncio.create_task(detaching.execute(statement))

        async def cancelled() -> bool:
            return bool(await connected.fetch(CANCEL))

        await eventually(cancelled)
        with pytest.raises(asyncpg.QueryCanceledError):
            await waiting
        assert not await there(connected)
        await reader.execute("ROLLBACK")
    await ensure_partitions(connected)
    assert await there(connected)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE {tweets}, {matches}",
        "DROP TABLE {matches}",
        "ALTER TABLE tweets DETACH PARTITION {tweets}",
        "ALTER TABLE matches DETACH PARTITION {matches}",
    ],
)
async def test_no_tweet_is_refused_while_partitions_come_and_go(
    connected: Database, tmp_path: Path, damage: str
) -> None:
    """They are removed again and again, in the middle of the writer's transactions."""
    statement = damage.format(tweets=named("tweets"), matches=named("matches"))
    # A dropped partition has no tweets any more; the native ids show that each was stored.
    sent = 0
    async with writing(connected, tmp_path / "journal") as (writer, journal):
        for _ in range(20):
            for _ in range(25):
                sent += 1
                journal.append([v1_tweet(sent)])
                await asyncio.sleep(0)
            with contextlib.suppress(DatabaseAway, asyncpg.PostgresError):
                async with connected.transaction() as connection:
                    await connection.execute("SET LOCAL lock_timeout = '200ms'")
                    await connection.execute(statement)
    assert writer.stored == {"stored": sent}
    assert not await connected.fetch("SELECT FROM rejects")
    [[known]] = await connected.fetch("SELECT count(*) FROM tweet_ids")
    assert known == sent


async def test_a_partition_dropped_between_making_and_copying_is_waited_for(
    connected: Database,
) -> None:
    """The code of the error is that of a refused row; it means something else."""
    with pytest.raises(DatabaseAway, match="no partition"):
        await connected.execute(
            "INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)"
            " SELECT tweet_key(now(), 1), tweet_received_at(tweet_key(now(), 1)),"
            " 'x_v1', '1', 'original', '', '{}'"
        )


async def test_creating_a_day_does_not_wait_for_readers_or_writers(connected: Database) -> None:
    """And delays no one else: an archive run or a dump may read for hours."""
    await ensure_partitions(connected)
    async with connected.dedicated() as reader, connected.dedicated() as writer:
        await reader.execute("BEGIN")
        await reader.fetch("SELECT count(*) FROM track_tweets")
        await writer.execute("BEGIN")
        await writer.execute(
            "INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)"
            " SELECT key, tweet_received_at(key), 'x_v1', '1', 'original', '', '{}'"
            " FROM tweet_key(now(), 1) AS key"
        )
        async with asyncio.timeout(90), connected.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '1s'")
            await connection.execute("SELECT ensure_day(current_date + 100)")
        await writer.execute("ROLLBACK")
        await reader.execute("ROLLBACK")
