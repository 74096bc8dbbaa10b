"""The table track_tops: what the tweets of tracks are about, and how far that has been counted."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args

import msgspec

from stream.db import Executor
from stream.tweet import TrackId

Aspect = Literal["hashtag", "author", "mention", "link", "lang", "kind"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
Span = Literal["hour", "day", "all"]
SPANS: tuple[Span, ...] = get_args(Span)

LONGEST_ITEM = 500  # characters, as the table wants it
HOUR = timedelta(hours=1)
HOURS = 25  # stay one by one, so that there is always a whole day; the older ones are added up

_FOLLOWER = "tops"  # our row in followers

# The places of each aspect by itself, out of short ranges of the key.
_TOPS = """
SELECT aspect, item, tweets FROM (
    SELECT aspect, item, sum(tweets)::bigint AS tweets,
        row_number() OVER (PARTITION BY aspect ORDER BY sum(tweets) DESC, item) AS place
    FROM track_tops
    WHERE track_id = $1 AND aspect = ANY ($2)
      AND hour >= coalesce($3::timestamptz, '-infinity')
    GROUP BY aspect, item
) AS ranked
WHERE place <= $4 ORDER BY aspect, place
"""
_CURSOR = "SELECT cursor FROM followers WHERE name = $1"
_BEGIN = "INSERT INTO followers (name, cursor) VALUES ($1, $2) ON CONFLICT DO NOTHING"
# Nobody else may have counted from there.
_MOVE = "UPDATE followers SET cursor = $3, at = now() WHERE name = $1 AND cursor = $2"
_ADD = """
INSERT INTO track_tops AS known (track_id, hour, aspect, item, tweets)
SELECT track_id, coalesce(hour, '-infinity'), aspect, item, tweets
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::integer[])
    AS new (track_id, hour, aspect, item, tweets)
ORDER BY track_id, hour, aspect, item
ON CONFLICT (track_id, hour, aspect, item)
    DO UPDATE SET tweets = least(known.tweets::bigint + excluded.tweets, 2147483647)
"""
_HOURS = """
WITH RECURSIVE each AS (
    (SELECT hour FROM track_tops WHERE hour > '-infinity' ORDER BY hour LIMIT 1)
    UNION ALL
    SELECT (SELECT hour FROM track_tops WHERE hour > each.hour ORDER BY hour LIMIT 1)
    FROM each WHERE each.hour IS NOT NULL
)
SELECT hour FROM each WHERE hour IS NOT NULL
"""
_TRACKS = "SELECT DISTINCT track_id FROM track_tops WHERE hour = $1 ORDER BY track_id"
_CUT = """
WITH ranked AS (
    SELECT track_id, aspect, item,
        row_number() OVER (PARTITION BY track_id, aspect ORDER BY tweets DESC, item) AS place
    FROM track_tops
    WHERE track_id = ANY ($1) AND hour = coalesce($2::timestamptz, '-infinity')
)
DELETE FROM track_tops USING ranked
WHERE ranked.place > $3 AND track_tops.track_id = ranked.track_id
  AND track_tops.hour = coalesce($2::timestamptz, '-infinity')
  AND track_tops.aspect = ranked.aspect AND track_tops.item = ranked.item
"""
_FOLD = """
WITH old AS (
    DELETE FROM track_tops WHERE track_id = ANY ($1) AND hour = $2
    RETURNING track_id, aspect, item, tweets
)
INSERT INTO track_tops AS known (track_id, hour, aspect, item, tweets)
SELECT track_id, '-infinity', aspect, item, tweets FROM old
ON CONFLICT (track_id, hour, aspect, item)
    DO UPDATE SET tweets = least(known.tweets::bigint + excluded.tweets, 2147483647)
"""
# A removal can be undone: what was counted stays for a week.
_FORGET = """
WITH RECURSIVE each AS (
    (SELECT track_id FROM track_tops ORDER BY track_id LIMIT 1)
    UNION ALL
    SELECT (SELECT track_id FROM track_tops WHERE track_id > each.track_id
            ORDER BY track_id LIMIT 1)
    FROM each WHERE each.track_id IS NOT NULL
)
DELETE FROM track_tops USING each
WHERE track_tops.track_id = each.track_id
  AND NOT EXISTS (SELECT FROM tracks WHERE tracks.id = each.track_id)
  AND NOT EXISTS (SELECT FROM track_history
                  WHERE track_history.track_id = each.track_id AND action = 'removed'
                    AND at > now() - interval '7 days')
"""


class Top(msgspec.Struct, frozen=True):
    """An item, and in how many tweets it was; small numbers are lower bounds."""

    item: str
    tweets: int


class Line(NamedTuple):
    """What is added up; no hour: what is older than the hours that are kept."""

    track_id: TrackId
    hour: datetime | None
    aspect: Aspect
    item: str


def begins(span: Span, now: datetime | None = None) -> datetime | None:
    """From when on a span is counted; None: from the first tweet.

    Hours are whole: the last hour is the running one and the one before it.
    """
    hour = hour_of(now or datetime.now(UTC))
    return {"hour": hour - HOUR, "day": hour - 24 * HOUR, "all": None}[span]


def hour_of(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


async def tops(
    connection: Executor, track_id: TrackId, span: Span, aspect: Aspect, limit: int
) -> list[Top]:
    """The most frequent items of one aspect."""
    return (await all_tops(connection, track_id, span, limit, (aspect,)))[aspect]


async def all_tops(
    connection: Executor,
    track_id: TrackId,
    span: Span,
    limit: int,
    aspects: Sequence[Aspect] = ASPECTS,
) -> dict[Aspect, list[Top]]:
    """The most frequent items of each aspect."""
    found: dict[Aspect, list[Top]] = {aspect: [] for aspect in aspects}
    for row in await connection.fetch(_TOPS, track_id, list(aspects), begins(span), limit):
        found[row["aspect"]].append(Top(row["item"], row["tweets"]))
    return found


async def counted_to(connection: Executor) -> str | None:
    """The cursor behind the last tweet that is counted; None: nothing is yet."""
    rows = await connection.fetch(_CURSOR, _FOLLOWER)
    return rows[0]["cursor"] if rows else None


async def begin_at(connection: Executor, cursor: str) -> None:
    """Count from there on, if nobody has begun."""
    await connection.execute(_BEGIN, _FOLLOWER, cursor)


async def move(connection: Executor, cursor: str, reached: str) -> bool:
    """What stands between these cursors is counted now; False if somebody else did so already."""
    return await connection.execute(_MOVE, _FOLLOWER, cursor, reached) == "UPDATE 1"


async def add(connection: Executor, lines: Mapping[Line, int]) -> None:
    """Add these up, in the transaction that moves the cursor."""
    await connection.execute(
        _ADD,
        [line.track_id for line in lines],
        [line.hour for line in lines],
        [line.aspect for line in lines],
        [line.item for line in lines],
        list(lines.values()),
    )


async def hours(connection: Executor) -> list[datetime]:
    """The hours that stand one by one, in order."""
    return [row["hour"] for row in await connection.fetch(_HOURS)]


async def tracks_of(connection: Executor, hour: datetime) -> list[TrackId]:
    """The tracks that have something in this hour."""
    return [TrackId(row["track_id"]) for row in await connection.fetch(_TRACKS, hour)]


async def cut(
    connection: Executor, track_ids: Sequence[TrackId], hour: datetime | None, most: int
) -> None:
    """Keep so many items of each aspect."""
    await connection.execute(_CUT, list(track_ids), hour, most)


async def fold(connection: Executor, track_ids: Sequence[TrackId], hour: datetime) -> None:
    """Add an hour to what is older."""
    await connection.execute(_FOLD, list(track_ids), hour)


async def forget_removed(connection: Executor) -> None:
    """Let go of what was counted for tracks that were removed a while ago."""
    await connection.execute(_FORGET)
