"""The list of tracks that a user sees, with counts from the roll-ups: fast, however much is stored.

What is expensive is read for the tracks of one page only, except where the list is sorted by it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from stream.db import Executor, Row
from stream.query import TrackKind
from stream.store.statistics import CLOCK, LAST_MINUTE
from stream.store.track_reach import NAMED, NamedReach, read_named
from stream.store.tracks import TrackState
from stream.tweet import NetworkName, TrackId, UserId

Sort = Literal["newest", "value", "state", "now", "today", "total", "last", "viewed"]

CHART_MINUTES = 60  # of the small chart of each track
SORTED_BY_COUNTS: frozenset[Sort] = frozenset({"now", "today", "total", "last"})
FORGOTTEN_AFTER = 30  # days without a view or a download

_LAST_MINUTE = LAST_MINUTE.format(number="tweets", began="tracks.created_at")
_FORGOTTEN = f"""
coalesce(tracks.last_viewed_at, tracks.created_at) < now() - interval '{FORGOTTEN_AFTER} days'"""
# Since {midnight}: by hours, and by minutes up to {hour}, the first whole one of the day.
_TODAY = """
(coalesce((SELECT sum(tweets) FROM track_hours WHERE track_id = tracks.id AND hour >= {hour}), 0)
+ coalesce((SELECT sum(tweets) FROM track_minutes
            WHERE track_id = tracks.id AND minute >= {midnight} AND minute < {hour}), 0))"""
_LIST_TODAY = _TODAY.format(midnight="$8::timestamptz", hour="$9::timestamptz")
_TOTAL = "(SELECT coalesce(sum(tweets), 0) FROM track_days WHERE track_id = tracks.id)"
_LAST = """
coalesce(
    (SELECT minute FROM track_minutes
     WHERE track_id = tracks.id AND tweets > 0 ORDER BY minute DESC LIMIT 1),
    (SELECT hour FROM track_hours
     WHERE track_id = tracks.id AND tweets > 0 ORDER BY hour DESC LIMIT 1))"""
_NOW = f"""
(SELECT {_LAST_MINUTE} FROM track_minutes
 WHERE track_id = tracks.id AND minute >= clock.minute - interval '1 minute')"""  # noqa: S608 - constants

_ORDERS: dict[Sort, str] = {
    "newest": "tracks.id DESC",
    "value": "lower(tracks.value), tracks.id",
    "state": """array_position(ARRAY['refused', 'partial', 'pending', 'active', 'scheduled',
        'paused', 'ended'], tracks.state), tracks.id DESC""",
    "now": f"{_NOW} DESC, tracks.id DESC",
    "today": f"{_LIST_TODAY} DESC, tracks.id DESC",
    "total": f"{_TOTAL} DESC, tracks.id DESC",
    "last": f"{_LAST} DESC NULLS LAST, tracks.id DESC",
    "viewed": "coalesce(tracks.last_viewed_at, tracks.created_at), tracks.id",
}
_FILTERED = f"""
FROM tracks
JOIN tracks_seen_by($1) AS seen ON seen.track_id = tracks.id
CROSS JOIN {CLOCK}
WHERE ($2 = '' OR position(lower($2) IN lower(tracks.value)) > 0)
  AND ($3::text IS NULL OR tracks.state = $3)
  AND ($4::text IS NULL OR tracks.kind = $4)
  AND ($5::text IS NULL OR coalesce(tracks.owner, '') = $5)
  AND (NOT $6 OR {_FORGOTTEN})
  AND ($7::bigint[] IS NULL OR tracks.id = ANY ($7))
"""
# Of a track, from the counts: for the list, and for adding those of several databases.
_NUMBERS_OF = f"""
    coalesce(hour.last_minute, 0) AS last_minute, hour.places, hour.tweets,
    {{today}}::bigint AS today, {_TOTAL}::bigint AS total, last.minute AS last_minute_at,
    (SELECT received_at FROM matches
     WHERE track_id = tracks.id AND received_at >= last.minute
       AND received_at < last.minute + interval '1 minute'
     ORDER BY received_at DESC LIMIT 1) AS last_at"""  # noqa: S608 - constants
_WITH_COUNTS = f"""
CROSS JOIN {CLOCK}
CROSS JOIN LATERAL (SELECT {_LAST} AS minute) AS last
LEFT JOIN LATERAL (
    SELECT {_LAST_MINUTE} AS last_minute,
        array_agg((extract(epoch FROM clock.minute - minute) / 60)::integer) AS places,
        array_agg(tweets) AS tweets
    FROM track_minutes
    WHERE track_id = tracks.id AND minute > clock.minute - interval '{CHART_MINUTES} minutes'
) AS hour ON true"""  # noqa: S608 - constants
_PAGE = f"""
WITH chosen AS (
    SELECT page.*, row_number() OVER () AS place FROM (
        SELECT tracks.*, seen.may_change
        {_FILTERED}
        ORDER BY {{order}} LIMIT $10 OFFSET $11
    ) AS page
)
SELECT tracks.id, tracks.owner, tracks.kind, tracks.value, tracks.networks, tracks.enabled,
    tracks.state, tracks.reason, tracks.state_at, tracks.starts_at, tracks.ends_at,
    tracks.created_at, tracks.last_viewed_at, tracks.may_change, {_FORGOTTEN} AS forgotten,
    {NAMED} AS reach, {_NUMBERS_OF.format(today=_LIST_TODAY)}
FROM chosen AS tracks {_WITH_COUNTS}
ORDER BY tracks.place
"""  # noqa: S608 - constants
_GIVEN = """
FROM (SELECT given.id, tracks.created_at
      FROM unnest($1::bigint[]) AS given (id) LEFT JOIN tracks ON tracks.id = given.id) AS tracks"""
_TODAY_OF_GIVEN = _TODAY.format(midnight="$2::timestamptz", hour="$3::timestamptz")
_NUMBERS = f"SELECT tracks.id, {_NUMBERS_OF.format(today=_TODAY_OF_GIVEN)} {_GIVEN} {_WITH_COUNTS}"
_SORT_KEYS: dict[Sort, str] = {
    "now": _NOW,
    "today": _TODAY_OF_GIVEN,
    "total": _TOTAL,
    "last": f"extract(epoch FROM {_LAST})",
}
# Uses all parameters, whatever the key is.
_SORT_KEY = f"""
SELECT tracks.id, coalesce({{key}}, 0)::double precision AS key {_GIVEN} CROSS JOIN {CLOCK}
WHERE $2::timestamptz <= $3::timestamptz
"""
_IDS = f"SELECT tracks.id {_FILTERED}"
_TALLY = f"""
SELECT tracks.state, count(*) AS number, count(*) FILTER (WHERE {_FORGOTTEN}) AS forgotten
{_FILTERED} GROUP BY tracks.state
"""
_TOTALS = f"""
SELECT
    (SELECT {_LAST_MINUTE} FROM track_minutes WHERE track_id = $1
        AND minute >= clock.minute - interval '1 minute') AS last_minute,
    (SELECT coalesce(sum(tweets), 0)::bigint FROM track_minutes WHERE track_id = $1
        AND minute > now() - interval '1 hour') AS last_hour,
    {_TODAY.format(midnight="$2::timestamptz", hour="$3::timestamptz")}::bigint AS today,
    (SELECT coalesce(sum(tweets), 0)::bigint FROM track_days WHERE track_id = $1) AS total,
    (SELECT hour FROM track_hours WHERE track_id = $1 AND tweets > 0
        ORDER BY hour LIMIT 1) AS first_at
FROM (SELECT $1::bigint AS id, (SELECT created_at FROM tracks WHERE id = $1) AS created_at)
    AS tracks CROSS JOIN {CLOCK}
"""  # noqa: S608 - constants
_OWNERS = "SELECT DISTINCT owner FROM tracks WHERE owner IS NOT NULL ORDER BY owner"
_DUPLICATES = r"""
SELECT tracks.id, tracks.value FROM tracks JOIN tracks_seen_by($1) AS seen ON track_id = tracks.id
WHERE tracks.kind = $2 AND tracks.id <> $4
  AND lower(regexp_replace(btrim(tracks.value), '\s+', ' ', 'g'))
    = lower(regexp_replace(btrim($3), '\s+', ' ', 'g'))
ORDER BY tracks.owner IS DISTINCT FROM $5, tracks.id LIMIT 3
"""
_VALUES = """
SELECT tracks.value FROM tracks JOIN tracks_seen_by($1) AS seen ON track_id = tracks.id
WHERE tracks.kind = $2
"""
_OTHERS = """
SELECT tracks.id, tracks.kind, tracks.value FROM tracks
JOIN tracks_seen_by($1) AS seen ON seen.track_id = tracks.id
WHERE tracks.id <> $2 ORDER BY tracks.id DESC LIMIT $3
"""
_BY_VALUE = """
SELECT tracks.id FROM tracks
JOIN tracks_seen_by($1) AS seen ON seen.track_id = tracks.id
WHERE tracks.id <> $2 AND lower(tracks.value) = lower($3) ORDER BY tracks.id DESC LIMIT 1
"""
_CHOICES = """
SELECT id, kind, value FROM tracks
WHERE id IN (SELECT track_id FROM tracks_seen_by($1)) AND (enabled OR id = $3)
ORDER BY id = $3 DESC, id DESC LIMIT $2
"""


class TrackFilter(msgspec.Struct, frozen=True):
    """Which tracks are listed, in which order; `words`: a part of the value."""

    words: str = ""
    state: TrackState | None = None
    kind: TrackKind | None = None
    owner: str | None = None  # "": tracks without an owner
    forgotten: bool = False
    ids: Sequence[TrackId] | None = None  # these only
    sort: Sort = "newest"
    limit: int | None = None
    offset: int = 0


ALL_TRACKS = TrackFilter()


class DayStart(NamedTuple):
    """When the day of a time zone began, and its first whole hour of UTC."""

    midnight: datetime
    first_hour: datetime


class TrackSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A track with its counts. `minutes`: tweets of each of the last 60, the newest at the end.

    `incomplete` is only there when databases did not answer, and names them: they are not counted.
    """

    id: TrackId
    owner: str | None
    kind: TrackKind
    value: str
    networks: Sequence[NetworkName] | None
    enabled: bool
    state: TrackState
    reason: str
    reach: Sequence[NamedReach]
    state_at: datetime | None
    starts_at: datetime | None
    ends_at: datetime | None
    created_at: datetime
    last_viewed_at: datetime | None
    may_change: bool
    forgotten: bool  # neither viewed nor downloaded for FORGOTTEN_AFTER days
    last_minute: int
    today: int  # since midnight, of the zone that was asked for
    total: int
    last_at: datetime | None
    minutes: Sequence[int]
    incomplete: tuple[str, ...] = ()


class TrackNumbers(msgspec.Struct, frozen=True):
    """What one database counts of a track; the fields are those of TrackSummary."""

    last_minute: int
    today: int
    total: int
    last_at: datetime | None
    minutes: Sequence[int]


class TrackTally(msgspec.Struct, frozen=True):
    """How many tracks a filter finds, on all pages together."""

    total: int
    forgotten: int
    states: dict[TrackState, int]


class TrackTotals(msgspec.Struct, frozen=True):
    """How many tweets a track has, over several times."""

    last_minute: int
    last_hour: int
    today: int  # since midnight, of the zone that was asked for
    total: int
    first_at: datetime | None  # the hour of the first tweet


class TrackName(msgspec.Struct, frozen=True):
    """Just enough of a track to offer it in a list of choices."""

    id: TrackId
    kind: TrackKind
    value: str


async def overview(
    connection: Executor, user_id: UserId, wanted: TrackFilter, day: DayStart
) -> list[TrackSummary]:
    """The tracks that the user sees, one page of them; `day`: what counts as today."""
    query = _PAGE.format(order=_ORDERS[wanted.sort])
    arguments = *_arguments(user_id, wanted), *day, wanted.limit, wanted.offset
    return [_summary(row) for row in await connection.fetch(query, *arguments)]


def _arguments(user_id: UserId, wanted: TrackFilter) -> tuple[object, ...]:
    return (
        user_id,
        wanted.words,
        wanted.state,
        wanted.kind,
        wanted.owner,
        wanted.forgotten,
        wanted.ids,
    )


def _summary(row: Row) -> TrackSummary:
    fields = dict(row)
    fields["reach"] = read_named(fields["reach"])
    return TrackSummary(**_with_minutes(fields))


def _with_minutes(fields: dict[str, Any]) -> dict[str, Any]:
    minutes = [0] * CHART_MINUTES
    for place, tweets in zip(fields.pop("places") or (), fields.pop("tweets") or (), strict=True):
        if 0 <= place < CHART_MINUTES:  # a clock may have been set back
            minutes[-1 - place] = tweets
    minutes[-1] = fields["last_minute"]  # the running minute is not over yet
    last_minute_at = fields.pop("last_minute_at")
    return fields | {"last_at": fields["last_at"] or last_minute_at, "minutes": minutes}


async def numbers(
    connection: Executor, track_ids: Sequence[TrackId], day: DayStart
) -> dict[TrackId, TrackNumbers]:
    """What this database counts of these tracks."""
    found: dict[TrackId, TrackNumbers] = {}
    for row in await connection.fetch(_NUMBERS, list(track_ids), *day):
        fields = _with_minutes(dict(row))
        track_id = fields.pop("id")
        found[track_id] = TrackNumbers(**fields)
    return found


async def ids(connection: Executor, user_id: UserId, wanted: TrackFilter) -> list[TrackId]:
    """The ids of all tracks of the user's list that the filter finds, on all pages."""
    return [row["id"] for row in await connection.fetch(_IDS, *_arguments(user_id, wanted))]


async def sort_keys(
    connection: Executor, track_ids: Sequence[TrackId], sort: Sort, day: DayStart
) -> dict[TrackId, float]:
    """What this database has of each track that a list is sorted by; 0 for nothing."""
    query = _SORT_KEY.format(key=_SORT_KEYS[sort])
    return {row["id"]: row["key"] for row in await connection.fetch(query, list(track_ids), *day)}


async def tally(
    connection: Executor, user_id: UserId, wanted: TrackFilter = ALL_TRACKS
) -> TrackTally:
    """How many tracks of the user's list the filter finds."""
    rows = await connection.fetch(_TALLY, *_arguments(user_id, wanted))
    return TrackTally(
        sum(row["number"] for row in rows),
        sum(row["forgotten"] for row in rows),
        {row["state"]: row["number"] for row in rows},
    )


async def totals(connection: Executor, track_id: TrackId, day: DayStart) -> TrackTotals:
    [row] = await connection.fetch(_TOTALS, track_id, *day)
    return TrackTotals(**row)


async def owners(connection: Executor) -> list[str]:
    """Names of the users who own tracks."""
    return [row["owner"] for row in await connection.fetch(_OWNERS)]


async def duplicates(
    connection: Executor,
    user_id: UserId,
    kind: TrackKind,
    value: str,
    besides: TrackId,
    owner: str,
) -> list[tuple[TrackId, str]]:
    """Id and value of visible tracks with the same value; those of this owner come first."""
    rows = await connection.fetch(_DUPLICATES, user_id, kind, value, besides, owner)
    return [(TrackId(row["id"]), row["value"]) for row in rows]


async def values(connection: Executor, user_id: UserId, kind: TrackKind) -> list[str]:
    """The values of all tracks of this kind that the user sees."""
    return [row["value"] for row in await connection.fetch(_VALUES, user_id, kind)]


async def others(
    connection: Executor, user_id: UserId, track_id: TrackId, limit: int
) -> list[TrackName]:
    """The newest of the other tracks that the user sees, to compare with."""
    rows = await connection.fetch(_OTHERS, user_id, track_id, limit)
    return [TrackName(**row) for row in rows]


async def find_by_value(
    connection: Executor, user_id: UserId, besides: TrackId, value: str
) -> TrackId | None:
    """Another track with this value that the user sees."""
    rows = await connection.fetch(_BY_VALUE, user_id, besides, value)
    return TrackId(rows[0]["id"]) if rows else None


async def choices(
    connection: Executor, user_id: UserId, limit: int, first: TrackId | None
) -> list[TrackName]:
    """The newest enabled tracks that the user sees; `first` comes before them."""
    rows = await connection.fetch(_CHOICES, user_id, limit, first)
    return [TrackName(**row) for row in rows]
