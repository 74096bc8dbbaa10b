"""Whether all is well, and what was noted: out of views and books, never out of the tweets."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from stream.db import Executor

EVENTS = 50  # on one page
LOOKED_AT = 20_000  # events are searched at a time
DAYS = 14  # of archives on one page

EventKind = Literal["state", "control", "journal", "daemon", "plan"]

_THINGS = "SELECT thing, subject, ok, since, sentence FROM stats_health"
_FORECAST = """
SELECT host, volume, path, at, total, free, bytes_per_day, days_until_full FROM stats_forecast
ORDER BY host, volume
"""
_CHORES = "SELECT name, ran_at, done_at, took, failed FROM chores ORDER BY failed IS NULL, name"
_ARCHIVES = """
SELECT day, part, state, tweets, bytes, verified_at, dropped_at, restored_at, problem FROM archives
WHERE ($1::date IS NULL OR day < $1) ORDER BY day DESC, part LIMIT $2
"""
_ARCHIVED = """
SELECT count(*) AS parts, coalesce(sum(tweets), 0)::bigint AS tweets,
    coalesce(sum(bytes), 0)::bigint AS bytes, min(day) AS first, max(day) AS last,
    count(*) FILTER (WHERE problem IS NOT NULL) AS problems
FROM archives
"""
_EDGE = """
SELECT min(id) AS id, count(*) AS number
FROM (SELECT id FROM events WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2) AS newest
"""
_EVENTS = """
SELECT events.id, at, events.source_id, sources.name AS source, kind, text
FROM events LEFT JOIN sources ON sources.id = events.source_id
WHERE events.id >= $1 AND ($2::bigint IS NULL OR events.id < $2)
  AND ($3::integer IS NULL OR events.source_id = $3) AND ($4::text IS NULL OR kind = $4)
  AND ($5 = '' OR position(lower($5) in lower(text)) > 0)
ORDER BY events.id DESC LIMIT $6
"""


class Thing(msgspec.Struct, frozen=True):
    """Something that matters, and whether it is well."""

    thing: str
    subject: str
    ok: bool
    since: datetime | None
    sentence: str


class Volume(msgspec.Struct, frozen=True):
    """A place where data lies, and when it will be full if it goes on so."""

    host: str
    volume: str
    path: str | None
    at: datetime
    total: int
    free: int
    bytes_per_day: int | None
    days_until_full: float | None


class Chore(msgspec.Struct, frozen=True):
    """Work that the daemon does now and then, and how it went."""

    name: str
    ran_at: datetime
    done_at: datetime | None
    took: float
    failed: str | None


class ArchivedDay(msgspec.Struct, frozen=True):
    """The archive of a day, or a part of it."""

    day: date
    part: int
    state: str
    tweets: int
    bytes: int
    verified_at: datetime | None
    dropped_at: datetime | None
    restored_at: datetime | None
    problem: str | None


class Archived(msgspec.Struct, frozen=True):
    """All archives together."""

    parts: int
    tweets: int
    bytes: int
    first: date | None
    last: date | None
    problems: int


class Filter(msgspec.Struct, frozen=True):
    """Which events somebody wants to see; those before this one."""

    source_id: int | None = None
    kind: EventKind | None = None
    words: str = ""
    before: int | None = None


class Event(msgspec.Struct, frozen=True):
    """What the daemon did, and why."""

    id: int
    at: datetime
    source_id: int | None
    source: str | None  # its name; None: of none, or of one that was removed
    kind: EventKind
    text: str


async def things(connection: Executor) -> list[Thing]:
    """Everything that matters, trouble first; the first one is the whole."""
    return [Thing(**row) for row in await connection.fetch(_THINGS)]


async def forecast(connection: Executor) -> list[Volume]:
    rows = [dict(row) for row in await connection.fetch(_FORECAST)]
    for row in rows:
        days = row["days_until_full"]
        row["days_until_full"] = None if days is None else float(days)
    return [Volume(**row) for row in rows]


async def chores(connection: Executor) -> list[Chore]:
    """Those that failed come first."""
    return [Chore(**row) for row in await connection.fetch(_CHORES)]


async def archives(connection: Executor, before: date | None) -> Sequence[ArchivedDay]:
    """The newest days, or those before one."""
    rows = await connection.fetch(_ARCHIVES, before, DAYS)
    return [ArchivedDay(**row) for row in rows]


async def archived(connection: Executor) -> Archived:
    [row] = await connection.fetch(_ARCHIVED)
    return Archived(**row)


async def events(connection: Executor, wanted: Filter) -> tuple[list[Event], int | None]:
    """The newest ones, and before which one the next call goes on; None: there are no more.

    So many are searched at a time, so that a word that is nowhere costs no more than another.
    """
    [edge] = await connection.fetch(_EDGE, wanted.before, LOOKED_AT)
    if edge["id"] is None:
        return [], None
    rows = await connection.fetch(
        _EVENTS, edge["id"], wanted.before, wanted.source_id, wanted.kind, wanted.words, EVENTS
    )
    found = [Event(**row) for row in rows]
    if len(found) == EVENTS:
        return found, found[-1].id
    return found, (edge["id"] if edge["number"] == LOOKED_AT else None)
