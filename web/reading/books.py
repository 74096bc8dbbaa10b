"""The daemon's books for programs: gaps and events, newest first, by pages."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor
from stream.tweet import GapCause

EventKind = Literal["state", "control", "journal", "daemon", "plan"]

_GAPS = """
SELECT gaps.id, sources.name AS source, gaps.began_at, gaps.ended_at, gaps.cause, gaps.detail
FROM gaps LEFT JOIN sources ON sources.id = gaps.source_id
WHERE ($1::bigint IS NULL OR gaps.id < $1)
  AND ($2::text IS NULL OR sources.name = $2)
  AND ($3::timestamptz IS NULL OR coalesce(gaps.ended_at, now()) > $3)
  AND ($4::timestamptz IS NULL OR gaps.began_at < $4)
ORDER BY gaps.id DESC LIMIT $5
"""
_EVENTS = """
SELECT events.id, events.at, sources.name AS source, events.kind, events.text
FROM events LEFT JOIN sources ON sources.id = events.source_id
WHERE ($1::bigint IS NULL OR events.id < $1)
  AND ($2::text IS NULL OR sources.name = $2)
  AND ($3::text IS NULL OR events.kind = $3)
ORDER BY events.id DESC LIMIT $4
"""
_HEALTH = "SELECT ok, since, sentence FROM stats_health LIMIT 1"


class Gap(msgspec.Struct, frozen=True):
    """A time without delivery; `source` null: it was removed, `ended_at` null: it lasts."""

    id: int
    source: str | None
    began_at: datetime
    ended_at: datetime | None
    cause: GapCause
    detail: str | None  # for admins


class Event(msgspec.Struct, frozen=True):
    """What a daemon did or found."""

    id: int
    at: datetime
    source: str | None
    kind: EventKind
    text: str


class Health(msgspec.Struct, frozen=True):
    """Whether all is well, in a sentence."""

    ok: bool
    since: datetime | None  # trouble, if there is some
    sentence: str


async def gaps(
    connection: Executor,
    *,
    below: int | None,
    source: str | None,
    begin: datetime | None,
    end: datetime | None,
    limit: int,
) -> Sequence[Gap]:
    """Those that touch the time; `below`: a gap's number."""
    rows = await connection.fetch(_GAPS, below, source, begin, end, limit)
    return [Gap(**row) for row in rows]


async def events(
    connection: Executor,
    *,
    below: int | None,
    source: str | None,
    kind: EventKind | None,
    limit: int,
) -> Sequence[Event]:
    """`below`: an event's number."""
    rows = await connection.fetch(_EVENTS, below, source, kind, limit)
    return [Event(**row) for row in rows]


async def health(connection: Executor) -> Health:
    [row] = await connection.fetch(_HEALTH)
    return Health(**row)
