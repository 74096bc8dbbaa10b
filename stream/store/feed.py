"""Reading stored tweets in the order in which they were stored, by a cursor.

Readers have no queue: they poll the tables. A cursor holds the last key that was read of each run
of each lane (ingest_runs in the schema); a reader gets what it has not read yet, however long it
was away. Each tweet belongs to one run, in which keys rise in commit order, and a batch is visible
as a whole or not at all: so nothing is missed, and nothing is read twice.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from stream.db import Executor, Row
from stream.keys import (
    Cursor,
    KeyRange,
    Run,
    StoredRun,
    bounds_by_lane,
    overlapping_groups,
    received_at,
    split_by_query,
    to_datetime,
    tweet_key,
    unread_ranges,
)
from stream.store import deletions
from stream.tweet import Field, LaneId, NetworkName, Part, TrackId, TweetId, TweetKind

__all__ = [
    "SHOWN",
    "Cursor",
    "KeyPage",
    "Page",
    "StoredMatch",
    "StoredTweet",
    "after",
    "count",
    "head",
    "keys_after",
    "matches",
    "newest",
    "since",
    "tracks_of",
]

_RUNS = "SELECT source_id, run, first_id, last_id, former FROM ingest_runs ORDER BY source_id, run"
_COLUMNS = """tweets.id, tweets.received_at, tweets.created_at, tweets.network, tweets.native_id,
    tweets.kind, tweets.lang, tweets.author_id, tweets.author, tweets.url, tweets.text,
    tweets.doc"""
_WITHOUT_DOC = _COLUMNS.replace(
    "tweets.doc", "''::bytea AS doc"
)  # most of a row, and costly to read
# Stored, but not shown: what is flagged as deleted, or withheld everywhere, and what the author
# has deleted and `stream.store.deletions` has not processed yet. Such tweets are rare.
SHOWN = f"""tweets.deleted_at IS NULL AND NOT ('XX' = ANY (coalesce(tweets.withheld, '{{}}')))
    AND (coalesce(tweets.author_id <> ALL (
            ARRAY(SELECT author_id FROM author_tombstones WHERE pending <> '{{}}')), true)
        OR NOT EXISTS (
            SELECT FROM author_tombstones AS lost
            WHERE lost.network = tweets.network AND lost.author_id = tweets.author_id
              AND ('deleted' = ANY (lost.pending)
                   AND {deletions.author_deleted("tweets", "lost")}
                OR 'withheld' = ANY (lost.pending) AND 'XX' = ANY (lost.withheld))))"""  # noqa: S608 - all of it is in the store
# By lane: the keys to read, from (exclusive) and to. Without a join, rows come in index order,
# and only as many as are needed.
_WANTED = """id > ($1::bigint[])[tweet_source(id)] AND id <= ($2::bigint[])[tweet_source(id)]
    AND id > $3 AND id <= $4"""
_BETWEEN = "received_at BETWEEN tweet_received_at($3) AND tweet_received_at($4)"
# Of the first runs of all lanes at once, or of one later run of one lane.
_FIRST_RUN, _LATER_RUN = "tweets.run IS NULL", "tweets.run = ${}"


def _after(run: str, columns: str = _COLUMNS) -> str:
    return f"""
SELECT tweets.id AS key, {columns} FROM tweets
WHERE {_WANTED} AND {_BETWEEN} AND {SHOWN} AND {run} ORDER BY id LIMIT $5
"""  # noqa: S608 - constants


def _after_of_tracks(run: str, columns: str = _COLUMNS) -> str:
    """As many of each track as are needed, by its own index; then the first of all.

    A match does not name its run: one of another run, or of a hidden tweet, has no tweet here.
    """
    return f"""
WITH found AS (
    SELECT DISTINCT tweet_id, received_at
    FROM unnest($6::bigint[]) AS wanted (track_id)
    CROSS JOIN LATERAL (
        SELECT id AS tweet_id, received_at
        FROM (SELECT tweet_id AS id, received_at, track_id FROM matches) AS matches
        WHERE matches.track_id = wanted.track_id AND {_WANTED} AND {_BETWEEN}
        ORDER BY received_at, id LIMIT $5) AS first
    ORDER BY received_at, tweet_id LIMIT $5
)
SELECT found.tweet_id AS key, {columns}
FROM found LEFT JOIN tweets
    ON tweets.id = found.tweet_id AND tweets.received_at = found.received_at AND {SHOWN} AND {run}
ORDER BY key
"""  # noqa: S608 - constants


def _newest(run: str) -> str:
    return f"""
SELECT id FROM tweets WHERE {_WANTED} AND {_BETWEEN} AND {run} ORDER BY id DESC LIMIT $5
"""  # noqa: S608 - constants


def _count(run: str) -> str:
    """Read from the index alone where possible; later runs in the key range are counted, too."""
    return f"""
SELECT count(*) AS number
FROM (SELECT FROM tweets WHERE {_WANTED} AND {_BETWEEN} {run} LIMIT $5) AS counted
"""  # noqa: S608 - constants


_AFTER = _after(_FIRST_RUN), _after(_LATER_RUN.format(6))
_TEXTS_AFTER = _after(_FIRST_RUN, _WITHOUT_DOC), _after(_LATER_RUN.format(6), _WITHOUT_DOC)
_KEYS_AFTER = _after(_FIRST_RUN, "tweets.id"), _after(_LATER_RUN.format(6), "tweets.id")
_AFTER_OF_TRACKS = (_after_of_tracks(_FIRST_RUN), _after_of_tracks(_LATER_RUN.format(7)))
_TEXTS_AFTER_OF_TRACKS = (
    _after_of_tracks(_FIRST_RUN, _WITHOUT_DOC),
    _after_of_tracks(_LATER_RUN.format(7), _WITHOUT_DOC),
)
_NEWEST = _newest(_FIRST_RUN), _newest(_LATER_RUN.format(6))
_COUNT = _count(""), _count(f"AND {_LATER_RUN.format(6)}")
_MATCHES = """
SELECT tweet_id, track_id, term, field, part, look_back FROM matches
WHERE tweet_id = ANY ($1) AND received_at BETWEEN $2 AND $3
ORDER BY tweet_id, track_id
"""


_TRACKS_OF = """
SELECT tweet_id, track_id FROM matches
WHERE tweet_id = ANY ($1) AND received_at BETWEEN $2 AND $3
ORDER BY tweet_id, track_id
"""


class StoredTweet(msgspec.Struct, frozen=True):
    """A row of tweets; `doc` is the message as received."""

    id: TweetId
    received_at: datetime
    created_at: datetime | None
    network: NetworkName
    native_id: str
    kind: TweetKind
    lang: str | None
    author_id: str | None
    author: str | None
    url: str | None
    text: str
    doc: bytes


class StoredMatch(msgspec.Struct, frozen=True):
    """A row of matches: why a tweet belongs to a track."""

    tweet_id: TweetId
    track_id: TrackId
    term: str
    field: Field
    part: Part
    look_back: bool = False  # found by a look-back, not when the tweet was received


class Page(msgspec.Struct, frozen=True):
    """Tweets in order of their keys, the cursor after them, and whether there are more now."""

    tweets: Sequence[StoredTweet]
    cursor: Cursor
    more: bool
    ranges: Sequence[KeyRange] = ()
    reached: TweetId = TweetId(0)  # all keys up to here are read

    def cursor_after(self, key: TweetId) -> Cursor:
        """The cursor of a reader who has read up to and including this tweet."""
        return Cursor({each.run: each.clamp(key) for each in self.ranges})


class KeyPage(msgspec.Struct, frozen=True):
    """The keys of tweets in order, the cursor after them, and whether there are more now."""

    keys: Sequence[TweetId]
    cursor: Cursor
    more: bool


async def head(connection: Executor) -> Cursor:
    """The cursor after everything that is stored now."""
    return Cursor({each.run: each.last for each in await _runs(connection) if not each.former})


async def since(connection: Executor, time: datetime) -> Cursor:
    """The cursor before everything that was received at this time or later."""
    microseconds = round((time - to_datetime(0)).total_seconds() * 1e6)
    key = TweetId(max(0, tweet_key(microseconds, LaneId(0)) - 1))
    runs = await _runs(connection)
    return Cursor({each.run: min(key, each.last) for each in runs if not each.former})


async def unread(connection: Executor, cursor: Cursor) -> list[KeyRange]:
    """Ranges of keys that a reader at this cursor has left to read, by run."""
    return unread_ranges(await _runs(connection), cursor)


async def _runs(connection: Executor) -> list[StoredRun]:
    return [
        StoredRun(
            Run(LaneId(row["source_id"]), row["run"]),
            TweetId(row["first_id"]),
            TweetId(row["last_id"]),
            row["former"],
        )
        for row in await connection.fetch(_RUNS)
    ]


async def after(
    connection: Executor,
    cursor: Cursor,
    limit: int,
    tracks: Sequence[TrackId] | None = None,
    *,
    with_doc: bool = True,
) -> Page:
    """The next tweets after the cursor, at most `limit`; of these tracks only, or of all."""
    ranges = await unread(connection, cursor)
    if tracks is None:
        query = _Query(_AFTER if with_doc else _TEXTS_AFTER)
    else:
        statements = _AFTER_OF_TRACKS if with_doc else _TEXTS_AFTER_OF_TRACKS
        query = _Query(statements, (list(tracks),))
    rows, reached, more = await _next(connection, ranges, limit, query)
    tweets = [_tweet(row) for row in rows if row["id"] is not None]
    page = Page(tweets, cursor, more, ranges, reached)
    return msgspec.structs.replace(page, cursor=page.cursor_after(reached)) if ranges else page


async def keys_after(connection: Executor, cursor: Cursor, limit: int) -> KeyPage:
    """The keys of the next tweets after the cursor, at most `limit`."""
    ranges = await unread(connection, cursor)
    rows, reached, more = await _next(connection, ranges, limit, _Query(_KEYS_AFTER))
    after = Cursor({each.run: each.clamp(reached) for each in ranges}) if ranges else cursor
    return KeyPage([TweetId(row["key"]) for row in rows], after, more)


class _Query(NamedTuple):
    """A statement for the first runs of all lanes, and one for a later run of one lane."""

    statements: tuple[str, str]
    arguments: tuple[object, ...] = ()


async def _next(
    connection: Executor, ranges: Sequence[KeyRange], limit: int, query: _Query
) -> tuple[list[Row], TweetId, bool]:
    """The first rows of key ranges, how far these are read, and whether there are more."""
    rows: list[Row] = []
    reached = TweetId(max((each.high for each in ranges), default=0))
    for group in overlapping_groups(ranges):
        rows += await _read(connection, group, limit - len(rows), query)
        if len(rows) == limit:
            reached = TweetId(rows[-1]["key"])
            break
    more = len(rows) == limit or any(each.clamp(reached) < each.high for each in ranges)
    return rows, reached, more


async def _read(
    connection: Executor, group: Sequence[KeyRange], limit: int, query: _Query
) -> list[Row]:
    """The first rows of key ranges that overlap, in order of their keys."""
    rows: list[Row] = []
    for ranges in split_by_query(group):
        if len(rows) == limit:  # what follows the last of them is not needed
            last = rows[-1]["key"]
            ranges = [each._replace(high=min(each.high, last)) for each in ranges]  # noqa: PLW2901
        wanted = [each for each in ranges if each.low < each.high]
        if not wanted:
            continue
        statement = query.statements[not ranges[0].is_first]
        bounds = bounds_by_lane(wanted)
        values = (*bounds, limit, *query.arguments, *_later_run(ranges))
        more = await connection.fetch(statement, *values)
        rows = _merged(rows, more)[:limit] if rows else more
    return rows


def _later_run(ranges: Sequence[KeyRange]) -> tuple[int, ...]:
    """The parameter of _LATER_RUN."""
    return () if ranges[0].is_first else (ranges[0].run.number,)


def _merged(some: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """In order of their keys; a match that has its tweet in one of them has it."""
    by_key = {row["key"]: row for row in some}
    by_key.update((r["key"], r) for r in others if r["id"] is not None or r["key"] not in by_key)
    return [by_key[key] for key in sorted(by_key)]


async def count(connection: Executor, cursor: Cursor, limit: int) -> int:
    """About how many tweets are stored after the cursor; counting stops at the limit."""
    number = 0
    for group in overlapping_groups(await unread(connection, cursor)):
        for ranges in split_by_query(group):
            query = _COUNT[not ranges[0].is_first]
            bounds = bounds_by_lane(ranges)
            [row] = await connection.fetch(query, *bounds, limit - number, *_later_run(ranges))
            number += row["number"]
    return number


async def newest(connection: Executor, cursor: Cursor, number: int) -> Cursor:
    """The cursor after all but the newest `number` tweets, if there are more after this one."""
    unread_now = await unread(connection, cursor)
    for group in reversed(overlapping_groups(unread_now)):
        keys: list[TweetId] = []
        for ranges in split_by_query(group):
            query = _NEWEST[not ranges[0].is_first]
            bounds = bounds_by_lane(ranges)
            rows = await connection.fetch(query, *bounds, number + 1, *_later_run(ranges))
            keys += [TweetId(row["id"]) for row in rows]
        if len(keys) > number:
            key = sorted(keys)[-number - 1]
            return Cursor({each.run: each.clamp(key) for each in unread_now})
    return cursor


async def tracks_of(connection: Executor, keys: Sequence[TweetId]) -> dict[TweetId, list[TrackId]]:
    """The tracks that these tweets are credited to; tweets without any are left out."""
    found: dict[TweetId, list[TrackId]] = {}
    if keys:
        times = received_at(min(keys)), received_at(max(keys))
        for row in await connection.fetch(_TRACKS_OF, keys, *times):
            found.setdefault(TweetId(row["tweet_id"]), []).append(TrackId(row["track_id"]))
    return found


def _tweet(row: Row) -> StoredTweet:
    return StoredTweet(*(row[name] for name in StoredTweet.__struct_fields__))


async def matches(
    connection: Executor, tweets: Sequence[StoredTweet]
) -> dict[TweetId, list[StoredMatch]]:
    """The matches of these tweets; tweets without any are left out."""
    if not tweets:
        return {}
    keys = [tweet.id for tweet in tweets]
    begin, end = received_at(min(keys)), received_at(max(keys))
    found: dict[TweetId, list[StoredMatch]] = {}
    for row in await connection.fetch(_MATCHES, keys, begin, end):
        found.setdefault(TweetId(row["tweet_id"]), []).append(StoredMatch(**row))
    return found
