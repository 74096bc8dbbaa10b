"""The most frequent items of tracks: the table track_top_items."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args

import msgspec

from stream.db import Executor
from stream.keys import hour_of
from stream.tweet import TrackId

Aspect = Literal["hashtag", "author", "mention", "link", "lang", "kind"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
Span = Literal["hour", "day", "all"]
SPANS: tuple[Span, ...] = get_args(Span)

ITEM_LENGTH_MAX = 500  # characters, as the table requires
HOUR = timedelta(hours=1)
HOURS_KEPT = 25  # stay one by one, so that there is always a whole day; the older ones are added up

# The ranks within each aspect, read from short ranges of the key; with the handles of authors that
# are counted by id.
_TOPS = """
SELECT aspect, item, tweets, nullif(accounts.handle, 'handle.invalid') AS name FROM (
    SELECT aspect, item, sum(tweets)::bigint AS tweets,
        row_number() OVER (PARTITION BY aspect ORDER BY sum(tweets) DESC, item) AS place
    FROM track_top_items
    WHERE track_id = $1 AND aspect = ANY ($2)
      AND hour >= coalesce($3::timestamptz, '-infinity')
    GROUP BY aspect, item
) AS ranked
LEFT JOIN accounts ON aspect = 'author' AND network = 'bluesky' AND author_id = item
WHERE place <= $4 ORDER BY aspect, place
"""
_ADD = """
INSERT INTO track_top_items AS known (track_id, hour, aspect, item, tweets)
SELECT track_id, coalesce(hour, '-infinity'), aspect, item, tweets
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::integer[])
    AS new (track_id, hour, aspect, item, tweets)
ORDER BY track_id, hour, aspect, item
ON CONFLICT (track_id, hour, aspect, item)
    DO UPDATE SET tweets = least(known.tweets::bigint + excluded.tweets, 2147483647)
"""
_HOURS = """
WITH RECURSIVE each AS (
    (SELECT hour FROM track_top_items WHERE hour > '-infinity' ORDER BY hour LIMIT 1)
    UNION ALL
    SELECT (SELECT hour FROM track_top_items WHERE hour > each.hour ORDER BY hour LIMIT 1)
    FROM each WHERE each.hour IS NOT NULL
)
SELECT hour FROM each WHERE hour IS NOT NULL
"""
_TRACKS = "SELECT DISTINCT track_id FROM track_top_items WHERE hour = $1 ORDER BY track_id"
_PRUNE = """
WITH ranked AS (
    SELECT track_id, aspect, item,
        row_number() OVER (PARTITION BY track_id, aspect ORDER BY tweets DESC, item) AS place
    FROM track_top_items
    WHERE track_id = ANY ($1) AND hour = coalesce($2::timestamptz, '-infinity')
)
DELETE FROM track_top_items USING ranked
WHERE ranked.place > $3 AND track_top_items.track_id = ranked.track_id
  AND track_top_items.hour = coalesce($2::timestamptz, '-infinity')
  AND track_top_items.aspect = ranked.aspect AND track_top_items.item = ranked.item
"""
_ROLL_UP = """
WITH old AS (
    DELETE FROM track_top_items WHERE track_id = ANY ($1) AND hour = $2
    RETURNING track_id, aspect, item, tweets
)
INSERT INTO track_top_items AS known (track_id, hour, aspect, item, tweets)
SELECT track_id, '-infinity', aspect, item, tweets FROM old
ON CONFLICT (track_id, hour, aspect, item)
    DO UPDATE SET tweets = least(known.tweets::bigint + excluded.tweets, 2147483647)
"""
# A removal can be undone: what was counted stays for a week.
_DELETE_REMOVED = """
WITH RECURSIVE each AS (
    (SELECT track_id FROM track_top_items ORDER BY track_id LIMIT 1)
    UNION ALL
    SELECT (SELECT track_id FROM track_top_items WHERE track_id > each.track_id
            ORDER BY track_id LIMIT 1)
    FROM each WHERE each.track_id IS NOT NULL
)
DELETE FROM track_top_items USING each
WHERE track_top_items.track_id = each.track_id
  AND NOT EXISTS (SELECT FROM tracks WHERE tracks.id = each.track_id)
  AND NOT EXISTS (SELECT FROM track_history
                  WHERE track_history.track_id = each.track_id AND action = 'removed'
                    AND at > now() - interval '7 days')
"""


class TopItem(msgspec.Struct, frozen=True):
    """An item, and how many tweets have it; the count of a rare one may be too low.

    `name` is the handle of an author whose item is an id (a DID); null if it is not known.
    """

    item: str
    tweets: int
    name: str | None = None


class ItemKey(NamedTuple):
    """The key of a top item; no hour: all hours that are no longer stored separately."""

    track_id: TrackId
    hour: datetime | None
    aspect: Aspect
    item: str


def span_start(span: Span, now: datetime | None = None) -> datetime | None:
    """Since when a span is counted; None: since the first tweet.

    Hours are whole: `hour` is the current one and the one before it.
    """
    hour = hour_of(now or datetime.now(UTC))
    return {"hour": hour - HOUR, "day": hour - 24 * HOUR, "all": None}[span]


async def most_frequent_by_aspect(
    connection: Executor,
    track_id: TrackId,
    span: Span,
    limit: int,
    aspects: Sequence[Aspect] = ASPECTS,
) -> dict[Aspect, list[TopItem]]:
    """The most frequent items of each aspect."""
    found: dict[Aspect, list[TopItem]] = {aspect: [] for aspect in aspects}
    for row in await connection.fetch(_TOPS, track_id, list(aspects), span_start(span), limit):
        found[row["aspect"]].append(TopItem(row["item"], row["tweets"], row["name"]))
    return found


async def add(connection: Executor, items: Mapping[ItemKey, int]) -> None:
    """Add counts, in the transaction that moves the cursor."""
    await connection.execute(
        _ADD,
        [key.track_id for key in items],
        [key.hour for key in items],
        [key.aspect for key in items],
        [key.item for key in items],
        list(items.values()),
    )


async def hours(connection: Executor) -> list[datetime]:
    """The hours that are kept one by one, in order."""
    return [row["hour"] for row in await connection.fetch(_HOURS)]


async def tracks_of(connection: Executor, hour: datetime) -> list[TrackId]:
    """The tracks that have items in this hour."""
    return [TrackId(row["track_id"]) for row in await connection.fetch(_TRACKS, hour)]


async def prune(
    connection: Executor, track_ids: Sequence[TrackId], hour: datetime | None, most: int
) -> None:
    """Delete all but the most frequent items of each aspect."""
    await connection.execute(_PRUNE, list(track_ids), hour, most)


async def roll_up(connection: Executor, track_ids: Sequence[TrackId], hour: datetime) -> None:
    """Add an hour's counts to those of all older hours, and delete it."""
    await connection.execute(_ROLL_UP, list(track_ids), hour)


async def delete_removed_tracks(connection: Executor) -> None:
    """Delete the items of tracks that were removed more than a week ago."""
    await connection.execute(_DELETE_REMOVED)
