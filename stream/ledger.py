"""The daemon's own books: positions, gaps, rejects, events and the counts of a minute."""

import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TypeVar

import msgspec

from stream.db import Executor, Row
from stream.errors import Broken, RejectReason
from stream.tweet import EventNote, GapClosed, GapOpened, SourceId, TrackId, TweetId
from stream.tweets import to_datetime

_POSITION = """
INSERT INTO positions (journal, source_id, position) VALUES ($1, $2, $3)
ON CONFLICT (journal) DO UPDATE SET source_id = positions.source_id
RETURNING source_id, position, withheld
"""
_ADVANCE = """
UPDATE positions SET position = $3, withheld = $4, updated_at = now()
WHERE journal = $1 AND position = $2
"""
_WHERE = "SELECT position FROM positions WHERE journal = $1"
_TRACK_MINUTES = """
INSERT INTO track_minutes (track_id, minute, tweets)
SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::integer[]) ORDER BY 1, 2
ON CONFLICT (track_id, minute) DO UPDATE SET tweets = track_minutes.tweets + excluded.tweets
"""
_TRACK_HOURS = """
INSERT INTO track_hours (track_id, hour, tweets, bytes)
SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::integer[], $4::bigint[]) ORDER BY 1, 2
ON CONFLICT (track_id, hour) DO UPDATE SET
    tweets = track_hours.tweets + excluded.tweets, bytes = track_hours.bytes + excluded.bytes
"""
_TRACK_DAYS = """
INSERT INTO track_days (track_id, day, tweets, bytes)
SELECT * FROM unnest($1::bigint[], $2::date[], $3::integer[], $4::bigint[]) ORDER BY 1, 2
ON CONFLICT (track_id, day) DO UPDATE SET
    tweets = track_days.tweets + excluded.tweets, bytes = track_days.bytes + excluded.bytes
"""
_SOURCE_MINUTES = """
INSERT INTO source_minutes (source_id, minute, outcome, frames)
SELECT $1, * FROM unnest($2::timestamptz[], $3::text[], $4::bigint[]) ORDER BY 2, 3
ON CONFLICT (source_id, minute, outcome)
    DO UPDATE SET frames = source_minutes.frames + excluded.frames
"""
_SOURCE_HOURS = """
INSERT INTO source_hours (source_id, hour, outcome, frames)
SELECT $1, * FROM unnest($2::timestamptz[], $3::text[], $4::bigint[]) ORDER BY 2, 3
ON CONFLICT (source_id, hour, outcome)
    DO UPDATE SET frames = source_hours.frames + excluded.frames
"""
_NOTE_RUN = "SELECT note_run($1, $2, $3)"
_REJECT = """
INSERT INTO rejects (id, source_id, received_at, reason, detail, body)
VALUES ($1, $2, $3, $4, $5, $6)
"""
_EVENT = "INSERT INTO events (at, source_id, kind, text) VALUES (to_timestamp($1), $2, $3, $4)"
# A gap that is open already began earlier, and its cause was the first. A source that has been
# removed meanwhile has none.
_OPEN_GAP = """
INSERT INTO gaps (source_id, began_at, cause, detail)
SELECT id, to_timestamp($2), $3, $4 FROM sources WHERE id = $1
ON CONFLICT (source_id) WHERE ended_at IS NULL DO NOTHING
"""
_CLOSE_GAP = """
UPDATE gaps SET ended_at = greatest(to_timestamp($2), began_at)
WHERE source_id = $1 AND ended_at IS NULL
"""
_ATTEMPTS = """
SELECT extract(epoch FROM at)::double precision AS at FROM events
WHERE source_id = $1 AND kind = 'state' AND text LIKE 'connecting%'
  AND at > now() - make_interval(secs => $2)
ORDER BY at
"""
_TOTALS = """
SELECT outcome, sum(frames)::bigint AS frames,
       coalesce((SELECT sum(recent.frames) FROM source_minutes AS recent
                 WHERE recent.source_id = $1 AND recent.outcome = source_hours.outcome
                   AND recent.minute > now() - interval '5 minutes'), 0)::bigint AS recent
FROM source_hours WHERE source_id = $1 GROUP BY outcome ORDER BY outcome
"""
_GAP_SECONDS = """
SELECT count(*) AS gaps, coalesce(sum(extract(epoch FROM
    coalesce(ended_at, now()) - greatest(began_at, now() - interval '1 day'))), 0)::bigint
    AS seconds
FROM gaps WHERE source_id = $1 AND coalesce(ended_at, now()) > now() - interval '1 day'
"""

_GAPS_OF_DAY = """
SELECT source_id,
       coalesce(sum(extract(epoch FROM ended_at - greatest(began_at, to_timestamp($1)))), 0)
           ::double precision AS closed,
       extract(epoch FROM min(began_at) FILTER (WHERE ended_at IS NULL))::double precision
           AS open_since
FROM gaps WHERE ended_at IS NULL OR ended_at > to_timestamp($1) GROUP BY source_id
"""

When = TypeVar("When", bound=date)

DETAIL_MAX = 1000  # characters of a reject's detail


class GapsOfDay(msgspec.Struct, frozen=True):
    """The gaps of one source since some midnight."""

    closed: float  # seconds of those that are over
    open_since: float | None  # seconds since 1970; may be before that midnight


class Position:
    """How far one journal is stored."""

    def __init__(self, journal: uuid.UUID, position: int, withheld: int) -> None:
        self.journal = journal
        self.position = position
        self.withheld = withheld


async def position(
    connection: Executor, journal: uuid.UUID, source_id: SourceId, start: int
) -> Position:
    """Where to read on; `start` for a journal that this database does not know yet.

    Broken when the journal belongs to another source.
    """
    [row] = await connection.fetch(_POSITION, journal, source_id, start)
    if row["source_id"] != source_id:
        raise Broken(f"journal {journal} belongs to source {row['source_id']}, not {source_id}")
    return Position(journal, row["position"], row["withheld"])


async def advance(
    connection: Executor, journal: uuid.UUID, before: int, after: int, withheld: int
) -> bool:
    """Move the position inside the transaction of the rows; False when they are stored already.

    That happens when the answer to an earlier COMMIT was lost on the way.
    """
    done = await connection.execute(_ADVANCE, journal, before, after, withheld)
    if done == "UPDATE 1":
        return True
    rows = await connection.fetch(_WHERE, journal)
    if rows and rows[0]["position"] == after:
        return False
    found = rows[0]["position"] if rows else "nothing"
    raise Broken(f"position of journal {journal} should be {before} or {after} but is {found}")


class Credit:
    """What a track gets in one minute of one batch."""

    __slots__ = ("bytes", "tweets")

    def __init__(self) -> None:
        self.tweets = 0
        self.bytes = 0  # of the messages as they came

    def add(self, tweets: int, size: int) -> None:
        self.tweets += tweets
        self.bytes += size


async def count_tracks(
    connection: Executor, credits_: Mapping[tuple[TrackId, datetime], Credit]
) -> None:
    """Add to track_minutes, track_hours and track_days."""
    minutes = list(credits_.items())
    tracks = [track for (track, _), _ in minutes]
    counts = [credit.tweets for _, credit in minutes]
    await connection.execute(_TRACK_MINUTES, tracks, [m for (_, m), _ in minutes], counts)
    hours: defaultdict[tuple[TrackId, datetime], Credit] = defaultdict(Credit)
    days: defaultdict[tuple[TrackId, date], Credit] = defaultdict(Credit)
    for (track, minute), credit in minutes:
        hours[track, minute.replace(minute=0)].add(credit.tweets, credit.bytes)
        days[track, minute.date()].add(credit.tweets, credit.bytes)
    await _add_credits(connection, _TRACK_HOURS, hours)
    await _add_credits(connection, _TRACK_DAYS, days)


async def _add_credits(
    connection: Executor, statement: str, credits_: Mapping[tuple[TrackId, When], Credit]
) -> None:
    await connection.execute(
        statement,
        [track for track, _ in credits_],
        [when for _, when in credits_],
        [credit.tweets for credit in credits_.values()],
        [credit.bytes for credit in credits_.values()],
    )


async def count_frames(
    connection: Executor, source_id: SourceId, counts: Mapping[tuple[datetime, str], int]
) -> None:
    """Add to source_minutes and source_hours."""
    hours: Counter[tuple[datetime, str]] = Counter()
    for (minute, outcome), frames in counts.items():
        hours[minute.replace(minute=0), outcome] += frames
    for statement, found in ((_SOURCE_MINUTES, counts), (_SOURCE_HOURS, hours)):
        times = [time for time, _ in found]
        outcomes = [outcome for _, outcome in found]
        await connection.execute(statement, source_id, times, outcomes, list(found.values()))


async def note_run(
    connection: Executor, source_id: SourceId, first: TweetId, last: TweetId
) -> None:
    """Tweets with these keys, and others between them, are stored now: see `runs` in the schema."""
    await connection.execute(_NOTE_RUN, source_id, first, last)


async def reject(
    connection: Executor,
    source_id: SourceId,
    key: TweetId,
    received: int,
    why: tuple[RejectReason, str],
    body: bytes,
) -> None:
    """Keep a frame that cannot be stored, raw."""
    reason, detail = why
    detail = detail.replace("\0", "\ufffd").encode(errors="replace").decode()[:DETAIL_MAX]
    await connection.execute(_REJECT, key, source_id, to_datetime(received), reason, detail, body)


async def event(connection: Executor, source_id: SourceId | None, note: EventNote) -> None:
    text = note.text.replace("\0", "\ufffd")
    await connection.execute(_EVENT, note.at, source_id, note.kind, text)


async def open_gap(connection: Executor, source_id: SourceId, gap: GapOpened) -> None:
    await connection.execute(_OPEN_GAP, source_id, gap.began, gap.cause, gap.detail)


async def close_gap(connection: Executor, source_id: SourceId, gap: GapClosed) -> None:
    await connection.execute(_CLOSE_GAP, source_id, gap.ended)


async def attempts(connection: Executor, source_id: SourceId, seconds: float) -> list[float]:
    """When this source connected lately, from whatever machine."""
    return [row["at"] for row in await connection.fetch(_ATTEMPTS, source_id, seconds)]


async def totals(connection: Executor, source_id: SourceId) -> Sequence[Row]:
    """Frames by outcome: all, and of the last five minutes."""
    return await connection.fetch(_TOTALS, source_id)


async def gaps_today(connection: Executor, source_id: SourceId) -> Row:
    """Number and seconds of the gaps of the last 24 hours."""
    rows: Sequence[Row] = await connection.fetch(_GAP_SECONDS, source_id)
    return rows[0]


async def gaps_of_day(connection: Executor, midnight: float) -> dict[SourceId, GapsOfDay]:
    """The gaps since this midnight, in seconds since 1970, by source; only those that have any."""
    rows = await connection.fetch(_GAPS_OF_DAY, midnight)
    return {SourceId(row["source_id"]): GapsOfDay(row["closed"], row["open_since"]) for row in rows}
