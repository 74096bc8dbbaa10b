"""The list of tracks with what each brings, out of the roll-ups: quick, however much was collected.

What costs something is read for the tracks of one page only, except where the list is sorted by it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, Row
from stream.query import TrackKind
from stream.tracks import TrackState
from stream.tweet import NetworkName, TrackId
from web.person import Person

Sort = Literal["newest", "value", "state", "now", "today", "total", "last", "looked"]

MINUTES = 60  # that a line's small chart shows
FORGOTTEN_AFTER = 30  # days without a look or a download

# What of the last minute lies before this one, so that a number exists from the first second on.
_SLIDING = """
round(coalesce(sum(tweets) FILTER (WHERE minute = clock.minute), 0)
    + coalesce(sum(tweets) FILTER (WHERE minute = clock.minute - interval '1 minute'), 0)
    * (60 - extract(epoch FROM now() - clock.minute)) / 60)::integer"""
_CLOCK = """
(SELECT date_trunc('minute', now()) AS minute, (now() AT TIME ZONE 'UTC')::date AS today)
AS clock"""
_FORGOTTEN = f"""
coalesce(tracks.looked_at, tracks.created_at) < now() - interval '{FORGOTTEN_AFTER} days'"""
_TODAY = """
coalesce((SELECT tweets FROM track_days WHERE track_id = tracks.id AND day = clock.today), 0)"""
_TOTAL = "(SELECT coalesce(sum(tweets), 0) FROM track_days WHERE track_id = tracks.id)"
_LAST = """
coalesce(
    (SELECT minute FROM track_minutes
     WHERE track_id = tracks.id AND tweets > 0 ORDER BY minute DESC LIMIT 1),
    (SELECT hour FROM track_hours
     WHERE track_id = tracks.id AND tweets > 0 ORDER BY hour DESC LIMIT 1))"""
_NOW = f"""
(SELECT {_SLIDING} FROM track_minutes
 WHERE track_id = tracks.id AND minute >= clock.minute - interval '1 minute')"""  # noqa: S608 - constants

_ORDERS: dict[Sort, str] = {
    "newest": "tracks.id DESC",
    "value": "lower(tracks.value), tracks.id",
    "state": """array_position(ARRAY['refused', 'partial', 'pending', 'active', 'scheduled',
        'paused', 'ended'], tracks.state), tracks.id DESC""",
    "now": f"{_NOW} DESC, tracks.id DESC",
    "today": f"{_TODAY} DESC, tracks.id DESC",
    "total": f"{_TOTAL} DESC, tracks.id DESC",
    "last": f"{_LAST} DESC NULLS LAST, tracks.id DESC",
    "looked": "coalesce(tracks.looked_at, tracks.created_at), tracks.id",
}
_WANTED = f"""
FROM tracks
JOIN tracks_seen_by($1) AS seen ON seen.track_id = tracks.id
CROSS JOIN {_CLOCK}
WHERE ($2 = '' OR position(lower($2) IN lower(tracks.value)) > 0)
  AND ($3::text IS NULL OR tracks.state = $3)
  AND ($4::text IS NULL OR tracks.kind = $4)
  AND ($5::text IS NULL OR coalesce(tracks.owner, '') = $5)
  AND (NOT $6 OR {_FORGOTTEN})
  AND ($7::bigint IS NULL OR tracks.id = $7)
"""
_PAGE = """
WITH chosen AS (
    SELECT page.*, row_number() OVER () AS place FROM (
        SELECT tracks.*, seen.may_change
        {wanted}
        ORDER BY {order} LIMIT $8 OFFSET $9
    ) AS page
)
SELECT tracks.id, tracks.owner, tracks.kind, tracks.value, tracks.networks, tracks.enabled,
    tracks.state, tracks.reason, tracks.state_at, tracks.starts_at, tracks.ends_at,
    tracks.created_at, tracks.looked_at, tracks.may_change, {forgotten} AS forgotten,
    coalesce(hour.last_minute, 0) AS last_minute, hour.places, hour.tweets,
    {today}::bigint AS today, {total}::bigint AS total, last.minute AS last_minute_at,
    (SELECT received_at FROM matches
     WHERE track_id = tracks.id AND received_at >= last.minute
       AND received_at < last.minute + interval '1 minute'
     ORDER BY received_at DESC LIMIT 1) AS last_at
FROM chosen AS tracks
CROSS JOIN {clock}
CROSS JOIN LATERAL (SELECT {last} AS minute) AS last
LEFT JOIN LATERAL (
    SELECT {sliding} AS last_minute,
        array_agg((extract(epoch FROM clock.minute - minute) / 60)::integer) AS places,
        array_agg(tweets) AS tweets
    FROM track_minutes
    WHERE track_id = tracks.id AND minute > clock.minute - interval '{minutes} minutes'
) AS hour ON true
ORDER BY tracks.place
"""
_COUNT = f"""
SELECT tracks.state, count(*) AS number, count(*) FILTER (WHERE {_FORGOTTEN}) AS forgotten
{_WANTED} GROUP BY tracks.state
"""
_OWNERS = "SELECT DISTINCT owner FROM tracks WHERE owner IS NOT NULL ORDER BY owner"
_ARRIVING = f"""
SELECT newest.* FROM {_CLOCK} CROSS JOIN LATERAL (
    SELECT {_SLIDING.replace("tweets", "frames")} AS tweets, count(DISTINCT source_id) AS sources
    FROM sources JOIN source_minutes ON source_id = sources.id
    WHERE minute >= clock.minute - interval '1 minute' AND outcome IN ('stored', 'unmatched')
) AS newest
"""  # noqa: S608 - constants
_TWINS = r"""
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
_NETWORKS = "SELECT DISTINCT network FROM sources WHERE enabled"
_STREAMING = """
SELECT count(*) FILTER (WHERE state IN ('streaming', 'importing')) AS streaming,
    count(*) FILTER (WHERE enabled) AS enabled
FROM sources
"""


class Listing(msgspec.Struct, frozen=True):
    """Which tracks are wanted, in which order; `words`: a part of the value."""

    words: str = ""
    state: TrackState | None = None
    kind: TrackKind | None = None
    owner: str | None = None  # "": nobody's
    forgotten: bool = False
    number: TrackId | None = None  # this one only
    sort: Sort = "newest"
    limit: int | None = None
    offset: int = 0


class TrackLine(msgspec.Struct, frozen=True):
    """A track and what it brings. `minutes`: tweets of the last 60, the newest at the end."""

    id: TrackId
    owner: str | None
    kind: TrackKind
    value: str
    networks: Sequence[NetworkName] | None
    enabled: bool
    state: TrackState
    reason: str
    state_at: datetime | None
    starts_at: datetime | None
    ends_at: datetime | None
    created_at: datetime
    looked_at: datetime | None
    may_change: bool
    forgotten: bool  # nobody looked, nobody took its tweets, for so long
    last_minute: int
    today: int  # since midnight UTC
    total: int
    last_at: datetime | None
    minutes: Sequence[int]


class Found(msgspec.Struct, frozen=True):
    """How many tracks there are of a listing, whatever its page."""

    total: int
    forgotten: int
    states: dict[TrackState, int]


class Arriving(msgspec.Struct, frozen=True):
    """What comes in at this moment, over all tracks."""

    tweets: int  # in the last minute
    sources: int  # that brought some
    streaming: int  # that are connected
    enabled: int


EVERYTHING = Listing()


async def overview(
    connection: Executor, person: Person, listing: Listing = EVERYTHING
) -> list[TrackLine]:
    """The tracks that the person sees, one page of them."""
    query = _PAGE.format(
        order=_ORDERS[listing.sort],
        wanted=_WANTED,
        forgotten=_FORGOTTEN,
        today=_TODAY,
        total=_TOTAL,
        last=_LAST,
        clock=_CLOCK,
        sliding=_SLIDING,
        minutes=MINUTES,
    )
    rows = await connection.fetch(
        query, *_arguments(person, listing), listing.limit, listing.offset
    )
    return [_line(row) for row in rows]


def _arguments(person: Person, listing: Listing) -> tuple[object, ...]:
    return (
        person.id,
        listing.words,
        listing.state,
        listing.kind,
        listing.owner,
        listing.forgotten,
        listing.number,
    )


def _line(row: Row) -> TrackLine:
    fields = dict(row)
    minutes = [0] * MINUTES
    for place, tweets in zip(fields.pop("places") or (), fields.pop("tweets") or (), strict=True):
        if 0 <= place < MINUTES:  # a clock may have been set back
            minutes[-1 - place] = tweets
    minutes[-1] = fields["last_minute"]  # the minute that runs is not over yet
    last_minute_at = fields.pop("last_minute_at")
    fields["last_at"] = fields["last_at"] or last_minute_at
    return TrackLine(**fields, minutes=minutes)


async def found(connection: Executor, person: Person, listing: Listing = EVERYTHING) -> Found:
    """How many there are of them."""
    rows = await connection.fetch(_COUNT, *_arguments(person, listing))
    return Found(
        sum(row["number"] for row in rows),
        sum(row["forgotten"] for row in rows),
        {row["state"]: row["number"] for row in rows},
    )


async def owners(connection: Executor) -> list[str]:
    """Who has tracks."""
    return [row["owner"] for row in await connection.fetch(_OWNERS)]


async def arriving(connection: Executor) -> Arriving:
    """Whether tweets come in, and how many."""
    [minute] = await connection.fetch(_ARRIVING)
    [sources] = await connection.fetch(_STREAMING)
    return Arriving(**minute, **sources)


async def twins(
    connection: Executor,
    person: Person,
    kind: TrackKind,
    value: str,
    besides: TrackId,
    owner: str,
) -> list[tuple[TrackId, str]]:
    """Tracks that the person sees and that ask for the same, number and value of each; those of
    this owner first."""
    rows = await connection.fetch(_TWINS, person.id, kind, value, besides, owner)
    return [(TrackId(row["id"]), row["value"]) for row in rows]


async def networks_used(connection: Executor) -> set[NetworkName]:
    """Those with an enabled source."""
    return {row["network"] for row in await connection.fetch(_NETWORKS)}


def plain(value: str) -> str:
    """The same for values that differ only in spaces and capital letters."""
    return " ".join(value.lower().split())


async def values(connection: Executor, person: Person, kind: TrackKind) -> set[str]:
    """What the person sees followed already, plain."""
    rows = await connection.fetch(_VALUES, person.id, kind)
    return {plain(row["value"]) for row in rows}
