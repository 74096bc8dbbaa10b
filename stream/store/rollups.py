"""Counts by time: tweets of tracks by minute, hour, day; frames of sources by minute, hour."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TypeVar

from stream.db import Executor, Row, row_count
from stream.tweet import SourceId, TrackId

_ADD_TRACK_COUNTS = "SELECT add_track_counts($1, $2, $3, $4)"
# The rows in the order of the key, as those who add to them take them: so there is no deadlock.
_UNCOUNT = """
WITH gone AS (
    SELECT * FROM unnest($1::bigint[], $2::{type}[], $3::integer[]) AS gone (track_id, at, tweets)
), held AS MATERIALIZED (
    SELECT counted.track_id, counted.{column}, gone.tweets
    FROM track_{column}s AS counted JOIN gone ON gone.track_id = counted.track_id AND {column} = at
    ORDER BY 1, 2 FOR UPDATE OF counted
)
UPDATE track_{column}s AS counted SET tweets = greatest(counted.tweets - held.tweets, 0)
FROM held WHERE held.track_id = counted.track_id AND held.{column} = counted.{column}
"""
_UNCOUNT_MINUTES = _UNCOUNT.format(column="minute", type="timestamptz")
_UNCOUNT_HOURS = _UNCOUNT.format(column="hour", type="timestamptz")
_UNCOUNT_DAYS = _UNCOUNT.format(column="day", type="date")
_ADD_FRAME_COUNTS = "SELECT add_frame_counts($1, $2, $3, $4)"
_TOTALS = """
SELECT outcome, sum(frames)::bigint AS frames,
       coalesce((SELECT sum(recent.frames) FROM source_minutes AS recent
                 WHERE recent.source_id = $1 AND recent.outcome = source_hours.outcome
                   AND recent.minute > now() - interval '5 minutes'), 0)::bigint AS recent
FROM source_hours WHERE source_id = $1 GROUP BY outcome ORDER BY outcome
"""


def _prune_each(delete: str, owner: str) -> str:
    """Prune minutes, whose keys begin with their owner: a track or a source.

    Each owner has a short range of its own at the start of the index, and jumping from one to the
    next reads a few pages, however many rows there are.
    """
    table = delete.rpartition(" ")[2]
    return f"""
WITH RECURSIVE each AS (
    (SELECT {owner} FROM {table} ORDER BY {owner} LIMIT 1)
    UNION ALL
    SELECT (SELECT {owner} FROM {table} WHERE {owner} > each.{owner} ORDER BY {owner} LIMIT 1)
    FROM each WHERE each.{owner} IS NOT NULL
)
{delete} WHERE ctid = ANY (ARRAY(
    SELECT old.row FROM each CROSS JOIN LATERAL (
        SELECT ctid AS row FROM {table}
        WHERE {owner} = each.{owner} AND minute < $1 ORDER BY minute LIMIT $2) AS old
    LIMIT $2))
"""  # noqa: S608 - constants of this file


def _prune(delete: str, condition: str) -> str:
    """Prune hours and days: they are few enough for an index of their own."""
    table = delete.rpartition(" ")[2]
    return f"""
{delete} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT $2))
"""  # noqa: S608 - as above


# The test of the tables' homes finds these names.
_PRUNE_TRACK_MINUTES = _prune_each("DELETE FROM track_minutes", "track_id")
_PRUNE_SOURCE_MINUTES = _prune_each("DELETE FROM source_minutes", "source_id")
_PRUNE_TRACK_HOURS = _prune("DELETE FROM track_hours", "hour < $1 ORDER BY hour")
_PRUNE_TRACK_DAYS = _prune("DELETE FROM track_days", "day < $1::timestamptz::date ORDER BY day")
_PRUNE_SOURCE_HOURS = _prune("DELETE FROM source_hours", "hour < $1")

When = TypeVar("When", bound=date)


class Credit:
    """How many tweets and bytes a batch adds to a track in one minute."""

    __slots__ = ("bytes", "tweets")

    def __init__(self) -> None:
        self.tweets = 0
        self.bytes = 0  # of the messages as received

    def add(self, tweets: int, size: int) -> None:
        self.tweets += tweets
        self.bytes += size


class CountChanges:
    """What a transaction changes in the counts of tracks.

    All who store or delete tweets of a track change the same few rows: they are locked last, and in
    one pass (see `row_locks`).
    """

    def __init__(self) -> None:
        self.credited: defaultdict[tuple[TrackId, datetime], Credit] = defaultdict(Credit)
        self.uncredited: Counter[tuple[TrackId, datetime]] = Counter()

    def credit(self, track_id: TrackId, minute: datetime, size: int) -> None:
        """Count a tweet whose message has this many bytes; 0 where they are counted already."""
        self.credited[track_id, minute].add(1, size)

    def uncredit(self, track_id: TrackId, minute: datetime, tweets: int = 1) -> None:
        """Count deleted tweets no longer; their bytes stay."""
        self.uncredited[track_id, minute] += tweets

    def add(self, other: "CountChanges") -> None:
        """Make the changes of both."""
        for key, credit in other.credited.items():
            self.credited[key].add(credit.tweets, credit.bytes)
        self.uncredited.update(other.uncredited)

    async def save(self, connection: Executor) -> None:
        """Change the tables, as the last thing that a transaction does with tweets."""
        if self.credited:
            for key in self.uncredited:
                self.credited[key].add(0, 0)  # so that no second pass locks other rows
            await add_track_counts(connection, self.credited)
        if self.uncredited:
            await subtract_track_counts(connection, self.uncredited)


async def add_track_counts(
    connection: Executor, credits_: Mapping[tuple[TrackId, datetime], Credit]
) -> None:
    """Add to track_minutes, track_hours and track_days."""
    await connection.execute(
        _ADD_TRACK_COUNTS,
        [track for track, _ in credits_],
        [minute for _, minute in credits_],
        [credit.tweets for credit in credits_.values()],
        [credit.bytes for credit in credits_.values()],
    )


async def subtract_track_counts(
    connection: Executor, uncredited: Mapping[tuple[TrackId, datetime], int]
) -> None:
    """Subtract deleted tweets from the counts of tracks by minute, hour and day; keep bytes."""
    hours: Counter[tuple[TrackId, datetime]] = Counter()
    days: Counter[tuple[TrackId, date]] = Counter()
    for (track, minute), tweets in uncredited.items():
        hours[track, minute.replace(minute=0)] += tweets
        days[track, minute.date()] += tweets
    await _subtract(connection, _UNCOUNT_MINUTES, uncredited)
    await _subtract(connection, _UNCOUNT_HOURS, hours)
    await _subtract(connection, _UNCOUNT_DAYS, days)


async def _subtract(
    connection: Executor, statement: str, uncredited: Mapping[tuple[TrackId, When], int]
) -> None:
    tracks, times = [track for track, _ in uncredited], [when for _, when in uncredited]
    await connection.execute(statement, tracks, times, list(uncredited.values()))


async def add_frame_counts(
    connection: Executor, source_id: SourceId, counts: Mapping[tuple[datetime, str], int]
) -> None:
    """Add to source_minutes and source_hours."""
    minutes = [minute for minute, _ in counts]
    outcomes = [outcome for _, outcome in counts]
    await connection.execute(_ADD_FRAME_COUNTS, source_id, minutes, outcomes, list(counts.values()))


async def frame_totals(connection: Executor, source_id: SourceId) -> Sequence[Row]:
    """The frames of a source by outcome: in total, and in the last five minutes."""
    return await connection.fetch(_TOTALS, source_id)


# -- pruning --------------------------------------------------------------------------------------


async def prune_track_minutes(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some minutes of tracks before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_TRACK_MINUTES, before, limit))


async def prune_track_hours(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some hours of tracks before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_TRACK_HOURS, before, limit))


async def prune_track_days(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some days of tracks before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_TRACK_DAYS, before, limit))


async def prune_source_minutes(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some minutes of sources before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_SOURCE_MINUTES, before, limit))


async def prune_source_hours(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some hours of sources before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_SOURCE_HOURS, before, limit))
