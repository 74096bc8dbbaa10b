"""Bringing a dropped day back: loaded out of sight, held against its manifests, and attached when
it is whole, all in one transaction. A kill at any moment leaves nothing behind."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import date

import msgspec

from monitor.archive import book
from monitor.archive.book import Archive
from monitor.archive.checking import agree, check_bytes, check_published
from monitor.archive.days import Digest
from monitor.archive.files import Rows
from monitor.archive.manifest import ArchiveError, Manifest, Removal
from monitor.archive.rewriting import rewrite
from monitor.archive.store import Store
from monitor.archive.tables import MATCHES, TWEETS, Table
from monitor.archive.treating import limits, records
from stream.db import Executor, copy

logger = logging.getLogger(__name__)

ROWS = 5000  # sent at once
ATTEMPTS = 3  # when tweets are deleted in the meantime

RESTORING_TWEETS = Table("restoring_tweets", TWEETS.key, TWEETS.columns, daily=False)
RESTORING_MATCHES = Table("restoring_matches", MATCHES.key, MATCHES.columns, daily=False)

_STAGE = "SELECT archive_stage()"
_LIMITS = limits("restoring_tweets")
_FINISH = "SELECT archive_finish($1)"
_ATTACH = "SELECT archive_attach($1) AS late"
# Deleted here since the archive was looked at: that has to reach the archive first.
_DELETED = """
SELECT EXISTS (
    SELECT FROM restoring_tweets JOIN identities ON tweet_id = id
        AND identities.network = restoring_tweets.network
        AND identities.native_id = restoring_tweets.native_id
    WHERE identities.deleted_at IS NOT NULL AND restoring_tweets.deleted_at IS NULL) AS some
"""
# On another server: what it has under another key, or has a tombstone for.
_LEAVE_OUT = (
    """
    DELETE FROM restoring_tweets USING identities
    WHERE identities.network = restoring_tweets.network
      AND identities.native_id = restoring_tweets.native_id
      AND (identities.tweet_id <> id
           OR identities.deleted_at IS NOT NULL AND restoring_tweets.deleted_at IS NULL)
    """,
    """
    DELETE FROM restoring_tweets USING author_tombstones
    WHERE author_tombstones.network = restoring_tweets.network
      AND author_tombstones.author_id = restoring_tweets.author_id
      AND restoring_tweets.deleted_at IS NULL AND author_tombstones.deleted_at IS NOT NULL
      AND (created_at IS NULL OR created_at <= author_tombstones.deleted_at)
    """,
)
_LEAVE_OUT_MATCHES = """
DELETE FROM restoring_matches
WHERE NOT EXISTS (SELECT FROM restoring_tweets WHERE id = restoring_matches.tweet_id)
"""
# As stream/tweets.py does for rows that are here; what was said of the tweet itself comes first.
_WITHHOLD = """
WITH marks AS (
    SELECT r.id, coalesce(own.withheld, author.withheld) AS withheld
    FROM restoring_tweets AS r
    LEFT JOIN identities AS own ON own.network = r.network AND own.native_id = r.native_id
    LEFT JOIN author_tombstones AS author
        ON author.network = r.network AND author.author_id = r.author_id
)
UPDATE restoring_tweets SET withheld = marks.withheld FROM marks
WHERE marks.id = restoring_tweets.id AND marks.withheld IS NOT NULL
  AND marks.withheld IS DISTINCT FROM restoring_tweets.withheld
"""
_IDENTITIES = """
INSERT INTO identities (network, native_id, tweet_id, deleted_at)
SELECT network, native_id, id, deleted_at FROM restoring_tweets ORDER BY native_id COLLATE "C"
ON CONFLICT (network, native_id) DO UPDATE SET tweet_id = excluded.tweet_id
    WHERE identities.tweet_id IS NULL AND identities.deleted_at IS NULL
"""
# Bytes are those of the messages as Postgres writes them, where nobody has counted those that came.
_COUNTS = (
    """
    INSERT INTO track_minutes (track_id, minute, tweets)
    SELECT track_id, date_trunc('minute', received_at, 'UTC'), count(*)
    FROM restoring_matches GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO track_hours (track_id, hour, tweets, bytes)
    SELECT track_id, date_trunc('hour', found.received_at, 'UTC'), count(*),
           sum(octet_length(doc::text))
    FROM restoring_matches AS found JOIN restoring_tweets ON id = tweet_id
    WHERE NOT EXISTS (
        SELECT FROM track_hours WHERE track_hours.track_id = found.track_id
            AND hour = date_trunc('hour', found.received_at, 'UTC'))
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO track_days (track_id, day, tweets, bytes)
    SELECT track_id, (found.received_at AT TIME ZONE 'UTC')::date, count(*),
           sum(octet_length(doc::text))
    FROM restoring_matches AS found JOIN restoring_tweets ON id = tweet_id
    WHERE NOT EXISTS (
        SELECT FROM track_days WHERE track_days.track_id = found.track_id
            AND day = (found.received_at AT TIME ZONE 'UTC')::date)
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT DO NOTHING
    """,
)


class _DeletedMeanwhile(Exception):
    """A tweet of the day got its tombstone while it was being restored."""


class Restored(msgspec.Struct, frozen=True):
    """What came back, and what did not because it was deleted, or is stored here already."""

    tweets: int
    matches: int
    left_out: int
    removed: Sequence[Removal] = ()  # by deletions that had not reached the archive yet

    @property
    def notes(self) -> list[str]:
        """What a person should know."""
        said = []
        if erased := sum(each.erased for each in self.removed):
            said.append(f"{erased:,} tweets were deleted since, and stay out.")
        if self.left_out:
            said.append(
                f"{self.left_out:,} tweets stay out: they were deleted here, or are stored under"
                " another key."
            )
        return said


async def restore_day(connection: Executor, store: Store, day: date, *, erase: bool) -> Restored:
    """Bring back all parts of a dropped day; the connection holds the day's lock."""
    removed: list[Removal] = []
    for _ in range(ATTEMPTS):
        parts = _dropped(await book.rows(connection, day), day)
        # What was deleted since must not come back.
        for part in parts:
            removal = await rewrite(connection, store, part, erase=erase)
            removed += [] if removal is None else [removal]
        made = [part.known for part in _dropped(await book.rows(connection, day), day)]
        for each in made:
            await asyncio.to_thread(check_published, store, each)
            await asyncio.to_thread(check_bytes, store, each)
        try:
            async with connection.transaction():
                done = await _restore(connection, store, day, made)
        except _DeletedMeanwhile:
            continue
        return msgspec.structs.replace(done, removed=removed)
    raise ArchiveError(f"Tweets of {day} are being deleted at this moment; restore it later.")


def _dropped(archives: Sequence[Archive], day: date) -> list[Archive]:
    parts = [each for each in archives if each.state == "dropped"]
    if not parts:
        there = "is in Postgres already" if archives else "is not in the archive"
        raise ArchiveError(f"{day} {there}; `archive list` shows what can be restored.")
    return parts


async def _restore(
    connection: Executor, store: Store, day: date, made: Sequence[Manifest]
) -> Restored:
    await connection.execute(_STAGE)
    for each in made:
        await _load(connection, store, each.path("tweets"), RESTORING_TWEETS)
        await _load(connection, store, each.path("matches"), RESTORING_MATCHES)
    await connection.execute(_LIMITS)
    loaded = {
        "tweets": await _digest(connection, RESTORING_TWEETS),
        "matches": await _digest(connection, RESTORING_MATCHES),
    }
    if not agree(loaded, made):
        raise ArchiveError(f"What was loaded of {day} is not what its manifest says.")
    [deleted] = await connection.fetch(_DELETED)
    if deleted["some"]:
        raise _DeletedMeanwhile
    left_out = await _leave_out(connection)
    marked = (await connection.execute(_WITHHOLD)) != "UPDATE 0"
    await connection.execute(_IDENTITIES)
    for statement in _COUNTS:
        await connection.execute(statement)
    await connection.execute(_FINISH, day)
    now = await _digest(connection, RESTORING_MATCHES)

    async def attempt() -> bool:
        async with book.short_lock(connection):
            [row] = await connection.fetch(_ATTACH, day)
            await book.restored(connection, day)
            return bool(row["late"])

    if await book.patiently(attempt) or left_out or marked:
        await book.touch(connection, day)  # the day is not what was archived of it
    return Restored(loaded["tweets"].rows - left_out, now.rows, left_out)


async def _load(connection: Executor, store: Store, path: str, table: Table) -> None:
    rows = await asyncio.to_thread(Rows, store, path)
    while True:
        some = await asyncio.to_thread(lambda: records(rows.take(ROWS)))
        if not some:
            return
        await copy(connection, table.name, table.names, some)


async def _leave_out(connection: Executor) -> int:
    """Rows that must not come back here; how many."""
    number = 0
    for statement in _LEAVE_OUT:
        number += int((await connection.execute(statement)).removeprefix("DELETE "))
    if number:
        await connection.execute(_LEAVE_OUT_MATCHES)
    return number


async def _digest(connection: Executor, table: Table) -> Digest:
    [row] = await connection.fetch(table.digested)
    return Digest(row["rows"], row["digest"])
