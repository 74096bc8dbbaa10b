"""What is on record about collecting: positions of journals, runs and rejects."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, row_count
from stream.errors import Broken, CommitsLost, PositionMoved, RejectReason
from stream.keys import to_datetime
from stream.text import storable
from stream.tweet import BusPosition, LaneId, NetworkCursor, SourceId, TweetId

_ADD_POSITION = """
INSERT INTO positions (journal, source_id, position) VALUES ($1, $2, $3)
ON CONFLICT (journal, source_id) DO NOTHING
"""
_POSITION = """
SELECT position, undelivered, network_cursor, lanes FROM positions
WHERE journal = $1 AND source_id = $2
"""
_POSITIONS = """
SELECT journal, position FROM positions
WHERE source_id = $1 AND position BETWEEN $2 AND $3 ORDER BY updated_at DESC
"""
# Of a source with several lanes, what all of them have stored.
_POSITIONS_OF = """
SELECT journal, min(position) AS position FROM positions
WHERE journal = ANY ($1::uuid[]) GROUP BY journal
"""
_OWNERS = """
SELECT DISTINCT coalesce(lanes.source_id, positions.source_id) AS source_id
FROM positions LEFT JOIN lanes ON lanes.id = positions.source_id WHERE journal = $1
"""
_LANE_POSITIONS = "SELECT source_id AS lane, position, lanes FROM positions WHERE journal = $1"
_FORGET_LANES = "DELETE FROM positions WHERE journal = $1 AND source_id <> ALL ($2::integer[])"
_SHARE = """
INSERT INTO positions (journal, source_id, position, lanes)
SELECT $1, lane, $3, $4 FROM unnest($2::integer[]) AS lane
ON CONFLICT (journal, source_id) DO UPDATE SET position = excluded.position, lanes = excluded.lanes
"""
_BUS_POSITION = """
SELECT bus_created AS created, bus_sequence AS sequence FROM positions
WHERE source_id = $1 AND bus_sequence IS NOT NULL
ORDER BY bus_created DESC, bus_sequence DESC LIMIT 1
"""
_ADVANCE = """
UPDATE positions SET position = $4, undelivered = $5, updated_at = now(),
    network_cursor = coalesce($6, network_cursor), bus_created = $7, bus_sequence = $8
WHERE journal = $1 AND source_id = $2 AND position = $3
  AND lanes IS NOT DISTINCT FROM $9::integer[]
"""
_CURRENT_POSITION = "SELECT position FROM positions WHERE journal = $1 AND source_id = $2"
_NOTE_RUN = "SELECT number, late FROM note_ingest_run($1, $2, $3)"
_EXTEND_RUN = """
UPDATE ingest_runs SET last_id = greatest(last_id, $3)
WHERE source_id = $1 AND run = coalesce($2::integer,
    (SELECT min(run) FROM ingest_runs WHERE source_id = $1 AND NOT former))
"""
# A writer may store at the same time: its keys are the highest.
_LOCK_RUNS = "SELECT pg_advisory_xact_lock(hashtext('twitterstream runs'), $1)"
_WITHIN_FIRST_RUN = """
SELECT first_id <= $2 AND last_id >= $3 AS within FROM ingest_runs
WHERE source_id = $1 AND NOT former ORDER BY run LIMIT 1
"""
_WIDEN_FIRST_RUN = """
INSERT INTO ingest_runs (source_id, run, first_id, last_id)
SELECT $1, coalesce(min(run) FILTER (WHERE NOT former), max(run) + 1, 1), $2, $3
FROM ingest_runs WHERE source_id = $1
ON CONFLICT (source_id, run) DO UPDATE SET
    first_id = least(ingest_runs.first_id, excluded.first_id),
    last_id = greatest(ingest_runs.last_id, excluded.last_id)
"""
# Two daemons may have received a frame in the same microsecond: it gets the next free key.
# The same one read again, as after a journal's name was lost, is there already.
_ADD_REJECT = """
INSERT INTO rejects (id, source_id, received_at, reason, detail, body)
SELECT key, $2, $3, $4, $5, $6
FROM generate_series($1::bigint, $1::bigint + (4096 << 12), 4096) AS key
WHERE NOT EXISTS (SELECT FROM rejects WHERE id = key)
  AND NOT EXISTS (SELECT FROM rejects WHERE id = $1 AND source_id = $2 AND body = $6)
ORDER BY key LIMIT 1
"""
# Of each lane the newest of all journals, as another machine may have collected it since; of these
# the oldest, as the network has to replay what any lane lacks. Not of a lane that was out of use
# for so long that no network has kept what it lacks.
_NETWORK_CURSOR = """
WITH newest AS (
    SELECT DISTINCT ON (positions.source_id) network_cursor,
        (network_cursor->>'time')::bigint AS time
    FROM positions JOIN sources ON sources.id = $1
    LEFT JOIN lanes ON lanes.id = positions.source_id AND lanes.number < sources.lanes
    WHERE sources.id IN (positions.source_id, lanes.source_id)
        AND (network_cursor->>'time')::bigint > 0
    ORDER BY positions.source_id, time DESC
)
SELECT network_cursor FROM newest
WHERE time >= (SELECT max(time) FROM newest) - $2 ORDER BY time LIMIT 1
"""
# The key is the time.
_PRUNE_REJECTS = """
DELETE FROM rejects WHERE id IN (
    SELECT id FROM rejects WHERE id < tweet_key($1, 0) ORDER BY id LIMIT $2)
"""
# The first run of a source lasts as long as the source, and the number of the last one is not given
# out again. A later one goes with its tweets, which are older than any partition then.
_PRUNE_RUNS = """
WITH oldest AS (
    SELECT tweet_key(min(to_date(right(relname, 8), 'YYYYMMDD'))::timestamp AT TIME ZONE 'UTC', 0)
        AS key
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'tweets'::regclass AND relname ~ '^tweets_[0-9]{8}$'
), kept AS (
    SELECT ingest_runs.source_id, min(run) FILTER (WHERE NOT former) AS first, max(run) AS last
    FROM ingest_runs WHERE source_id IN (SELECT id FROM sources UNION ALL SELECT id FROM lanes)
    GROUP BY ingest_runs.source_id
)
DELETE FROM ingest_runs WHERE ctid = ANY (ARRAY(
    SELECT ingest_runs.ctid FROM ingest_runs CROSS JOIN oldest LEFT JOIN kept USING (source_id)
    WHERE last_id < tweet_key($1, 0) AND last_id < oldest.key
      AND run IS DISTINCT FROM kept.first AND run IS DISTINCT FROM kept.last
    LIMIT $2))
"""

DETAIL_MAX = 1000  # characters of a reject's detail
OUT_OF_USE = 7 * 86_400_000_000  # microseconds; Bluesky's servers keep three days


class Position(msgspec.Struct, frozen=True):
    """How far one lane has stored a journal, whose frames these lanes share; None: it has all."""

    position: int
    undelivered: int
    cursor: NetworkCursor | None
    lanes: Sequence[LaneId] | None


async def open_position(
    connection: Executor, journal: uuid.UUID, lane: LaneId, start: int | None
) -> Position | None:
    """Where to continue reading; a journal that is new to this database begins at `start`.

    None: it is new, and `start` is None. Broken when the journal belongs to another source.
    """
    if start is not None:
        await connection.execute(_ADD_POSITION, journal, lane, start)
    rows = await connection.fetch(_POSITION, journal, lane)
    owners = [owner["source_id"] for owner in await connection.fetch(_OWNERS, journal)]
    if len(owners) > 1:
        raise Broken(f"journal {journal} belongs to several sources: {owners}")
    if not rows:
        return None
    [row] = rows
    cursor = _cursor(row["network_cursor"])
    return Position(row["position"], row["undelivered"], cursor, row["lanes"])


async def network_cursor(connection: Executor, source_id: SourceId) -> NetworkCursor | None:
    """Where a source can resume: after the newest event that is committed.

    Lanes without an event yet do not count, nor does a cell of such lanes: it is new.
    """
    rows = await connection.fetch(_NETWORK_CURSOR, source_id, OUT_OF_USE)
    return _cursor(rows[0]["network_cursor"]) if rows else None


def _cursor(stored: bytes | None) -> NetworkCursor | None:
    return None if stored is None else msgspec.json.decode(stored, type=NetworkCursor)


async def find_positions(
    connection: Executor, lane: LaneId, low: int, high: int
) -> list[tuple[uuid.UUID, int]]:
    """Journals of this lane whose positions are in this range, newest first."""
    rows = await connection.fetch(_POSITIONS, lane, low, high)
    return [(row["journal"], row["position"]) for row in rows]


async def positions_of(connection: Executor, journals: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """How far each of these journals is stored; without those that are not on record."""
    rows = await connection.fetch(_POSITIONS_OF, journals)
    return {row["journal"]: row["position"] for row in rows}


class LanePosition(msgspec.Struct, frozen=True):
    """As `Position`, of any lane."""

    lane: LaneId
    position: int
    lanes: Sequence[LaneId] | None


async def lane_positions(connection: Executor, journal: uuid.UUID) -> list[LanePosition]:
    """How far each lane in this database has stored a journal."""
    return [LanePosition(**row) for row in await connection.fetch(_LANE_POSITIONS, journal)]


async def share_journal(
    connection: Executor,
    journal: uuid.UUID,
    here: Sequence[LaneId],
    lanes: Sequence[LaneId] | None,
    position: int,
) -> None:
    """Let these lanes, `here` of them in this database, share the frames from a position on."""
    await connection.execute(_FORGET_LANES, journal, here)
    await connection.execute(_SHARE, journal, here, position, lanes)


async def bus_position(connection: Executor, lane: LaneId) -> BusPosition | None:
    """The block that a lane has stored last, of any journal; None: it has stored none."""
    rows = await connection.fetch(_BUS_POSITION, lane)
    return BusPosition(**rows[0]) if rows else None


class Advance(msgspec.Struct, frozen=True):
    """A move of a position, and what is stored with it; `cursor` None: as it was."""

    journal: uuid.UUID
    lane: LaneId
    lanes: Sequence[LaneId] | None  # that share the journal, as its reader knows
    before: int
    after: int
    undelivered: int
    cursor: NetworkCursor | None
    bus_position: BusPosition | None


async def advance(connection: Executor, to: Advance) -> bool:
    """Move the position in the transaction of the rows; False: they are stored already.

    That happens when the answer to an earlier COMMIT was lost. CommitsLost when the position is
    before `to.before`, or not there at all.
    """
    cursor = None if to.cursor is None else msgspec.json.encode(to.cursor)
    bus = (None, None) if (at := to.bus_position) is None else (at.created, at.sequence)
    done = await connection.execute(
        _ADVANCE, to.journal, to.lane, to.before, to.after, to.undelivered, cursor, *bus, to.lanes
    )
    if row_count(done):
        return True
    rows = await connection.fetch(_CURRENT_POSITION, to.journal, to.lane)
    found = rows[0]["position"] if rows else -1
    if found == to.after:
        return False
    if found < to.before:
        raise CommitsLost(
            f"Postgres has lost commits: journal {to.journal} was stored up to position"
            f" {to.before:,}, now {f'only to {found:,}' if rows else 'it is unknown'};"
            " what the journal has is stored again"
        )
    raise PositionMoved(
        f"position of journal {to.journal} should be {to.before} or {to.after} but is {found},"
        " or other lanes share it now"
    )


class NotedRun(msgspec.Struct, frozen=True):
    """The run that these tweets belong to."""

    number: int | None  # None: the first one of the lane
    late: bool  # tweets of other runs have keys as high as these


async def note_ingest_run(
    connection: Executor, lane: LaneId, first: TweetId, last: TweetId
) -> NotedRun:
    """Record that this transaction stores tweets with these keys; call it before it does."""
    [row] = await connection.fetch(_NOTE_RUN, lane, first, last)
    return NotedRun(row["number"], row["late"])


async def extend_run(connection: Executor, lane: LaneId, run: NotedRun, last: TweetId) -> None:
    """Extend a run to this key: its last tweet's own was taken and had to change."""
    await connection.execute(_EXTEND_RUN, lane, run.number, last)


async def widen_first_run(
    connection: Executor, lane: LaneId, first: TweetId, last: TweetId
) -> None:
    """Let the first run of a lane include these keys, which a look-back stores.

    Readers that start before these keys find them; a cursor that is past them does not return.
    """
    rows = await connection.fetch(_WITHIN_FIRST_RUN, lane, first, last)
    if not rows or not rows[0]["within"]:
        await connection.execute(_LOCK_RUNS, lane)
        await connection.execute(_WIDEN_FIRST_RUN, lane, first, last)


async def add_reject(
    connection: Executor,
    source_id: SourceId,
    key: TweetId,
    received: int,
    why: tuple[RejectReason, str],
    body: bytes,
) -> None:
    """Keep a frame that cannot be stored, as it was received."""
    reason, detail = why
    detail = storable(detail, DETAIL_MAX)
    await connection.execute(
        _ADD_REJECT, key, source_id, to_datetime(received), reason, detail, body
    )


# -- pruning --------------------------------------------------------------------------------------


async def prune_rejects(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some rejects of before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_REJECTS, before, limit))


async def prune_runs(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some runs that ended before a time and have no tweets any more; returns how many."""
    return row_count(await connection.execute(_PRUNE_RUNS, before, limit))
