"""Events: what the daemons did and found, and each state of a source."""

from datetime import datetime

import msgspec

from stream.db import Executor, row_count
from stream.notes import EventKind, EventNote, SourceState
from stream.text import storable
from stream.tweet import SourceId

EVENTS_SCAN_MAX = 20_000  # events that one search looks through

_ADD_EVENT = """
INSERT INTO events (at, source_id, kind, text, state) VALUES (to_timestamp($1), $2, $3, $4, $5)
"""
_ATTEMPTS = """
SELECT extract(epoch FROM at)::double precision AS at FROM events
WHERE source_id = $1 AND kind = 'state' AND state = 'connecting'
  AND at > now() - make_interval(secs => $2)
ORDER BY at
"""
_EVENTS = """
SELECT events.id, events.at, events.source_id, sources.name AS source, events.kind, events.text
FROM events LEFT JOIN sources ON sources.id = events.source_id
WHERE events.id >= $1 AND ($2::bigint IS NULL OR events.id < $2)
  AND ($3::integer IS NULL OR events.source_id = $3) AND ($4::text IS NULL OR sources.name = $4)
  AND ($5::text IS NULL OR events.kind = $5)
  AND ($6 = '' OR position(lower($6) in lower(events.text)) > 0)
ORDER BY events.id DESC LIMIT $7
"""
_EVENTS_TO_SCAN = """
SELECT min(id) AS id, count(*) AS number
FROM (SELECT id FROM events WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2) AS newest
"""
# Ids are given in order of time, nearly: only the oldest rows are looked at.
_PRUNE_EVENTS = """
WITH oldest AS (SELECT id, at FROM events ORDER BY id LIMIT $2)
DELETE FROM events USING oldest WHERE events.id = oldest.id AND oldest.at < $1
"""


class EventRecord(msgspec.Struct, frozen=True):
    """What a daemon did or found."""

    id: int
    at: datetime
    source_id: int | None
    source: str | None  # its name; None: of no source, or of a removed one
    kind: EventKind
    text: str


class EventFilter(msgspec.Struct, frozen=True):
    """Which events are listed; `below`: only those before this one."""

    source_id: int | None = None
    source: str | None = None  # its name
    kind: EventKind | None = None
    words: str = ""  # a part of the text
    below: int | None = None


async def add(connection: Executor, source_id: SourceId | None, note: EventNote) -> None:
    """Record what the daemon did or found."""
    text = storable(note.text)
    await connection.execute(_ADD_EVENT, note.at, source_id, note.kind, text, None)


async def add_state(
    connection: Executor, source_id: SourceId, state: SourceState, reason: str, at: float
) -> None:
    """Record the state of a source's connection."""
    text = storable(f"{state}: {reason}" if reason else state)
    await connection.execute(_ADD_EVENT, at, source_id, "state", text, state)


async def connection_attempts(
    connection: Executor, source_id: SourceId, seconds: float
) -> list[float]:
    """Times at which this source tried to connect in the last `seconds`, from any machine."""
    return [row["at"] for row in await connection.fetch(_ATTEMPTS, source_id, seconds)]


async def newest(
    connection: Executor, wanted: EventFilter, limit: int, *, since: int = 0
) -> list[EventRecord]:
    """The newest events that pass the filter, from the one with the id `since` on."""
    rows = await connection.fetch(
        _EVENTS,
        since,
        wanted.below,
        wanted.source_id,
        wanted.source,
        wanted.kind,
        wanted.words,
        limit,
    )
    return [EventRecord(**row) for row in rows]


async def search(
    connection: Executor, wanted: EventFilter, limit: int
) -> tuple[list[EventRecord], int | None]:
    """The newest events that pass the filter, and `below` of the next call; None at the end.

    One call looks through a bounded number of events: a word that is nowhere must not cost more
    than another.
    """
    [scan] = await connection.fetch(_EVENTS_TO_SCAN, wanted.below, EVENTS_SCAN_MAX)
    if scan["id"] is None:
        return [], None
    found = await newest(connection, wanted, limit, since=scan["id"])
    if len(found) == limit:
        return found, found[-1].id
    return found, (scan["id"] if scan["number"] == EVENTS_SCAN_MAX else None)


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some events of before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_EVENTS, before, limit))
