"""Counts over time and rates, from the roll-ups of tracks and sources: none reads tweets."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from stream.db import Executor
from stream.tweet import TrackId

Step = Literal["minute", "hour", "day"]
STEPS: tuple[Step, ...] = get_args(Step)

# Tweets of the last 60 seconds: all of the running minute, and of the one before it as much as is
# less than 60 seconds ago, relative to the part of it since {began}.
LAST_MINUTE = """
round(coalesce(sum({number} * CASE minute WHEN clock.minute THEN 1
    WHEN clock.minute - interval '1 minute' THEN least(1, (60 - clock.second) / (60 -
        CASE date_trunc('minute', {began}) WHEN minute THEN extract(second FROM {began}) ELSE 0
        END))
    ELSE 0 END), 0))::integer"""
CLOCK = """
(SELECT date_trunc('minute', now()) AS minute, extract(second FROM now()) AS second) AS clock"""

_COUNTS: dict[Step, str] = {
    "minute": """
SELECT minute AS time, sum(tweets)::bigint AS tweets FROM track_minutes
WHERE track_id = ANY ($1) AND minute >= $2 AND minute < $3 AND tweets > 0
GROUP BY minute ORDER BY minute
""",
    "hour": """
SELECT hour AS time, sum(tweets)::bigint AS tweets FROM track_hours
WHERE track_id = ANY ($1) AND hour >= $2 AND hour < $3 AND tweets > 0
GROUP BY hour ORDER BY hour
""",
    "day": """
SELECT day::timestamp AT TIME ZONE 'UTC' AS time, sum(tweets)::bigint AS tweets FROM track_days
WHERE track_id = ANY ($1) AND tweets > 0
  AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date
  AND day::timestamp < $3::timestamptz AT TIME ZONE 'UTC'
GROUP BY day ORDER BY day
""",
}
_REST_OF_HOUR = """
SELECT begin AS time, (
    SELECT coalesce(sum(tweets), 0)::bigint FROM track_minutes
    WHERE track_id = ANY ($1) AND minute >= begin
      AND minute < date_bin('1 hour', begin, 'epoch') + interval '1 hour'
) AS tweets
FROM unnest($2::timestamptz[]) AS begin
"""
# When a source began that had no frames before the last two minutes.
_SOURCE_BEGAN = """
CASE WHEN NOT EXISTS (SELECT FROM source_minutes AS earlier WHERE earlier.source_id = sources.id
                      AND earlier.minute < clock.minute - interval '1 minute')
THEN state_at END"""
_INGEST_RATE = f"""
SELECT newest.* FROM {CLOCK} CROSS JOIN LATERAL (
    SELECT {LAST_MINUTE.format(number="frames", began=_SOURCE_BEGAN)} AS tweets,
        count(DISTINCT source_id) AS sources
    FROM sources JOIN source_minutes ON source_id = sources.id
    WHERE minute >= clock.minute - interval '1 minute' AND outcome IN ('stored', 'unmatched')
) AS newest
"""  # noqa: S608 - constants
_SOURCE_COUNTS = """
SELECT date_bin($2, {at}, 'epoch') AS time, sum(frames)::bigint AS tweets
FROM {table}
WHERE {at} >= $1 AND outcome IN ('stored', 'unmatched')
  AND source_id = ANY (ARRAY(SELECT id FROM sources)) GROUP BY 1
"""
_FIRST_MINUTE = """
SELECT min(first.minute) AS at FROM sources
CROSS JOIN LATERAL (SELECT minute FROM source_minutes WHERE source_id = sources.id
                    ORDER BY minute LIMIT 1) AS first
"""
_CONNECTED = """
SELECT count(*) FILTER (WHERE source_state(sources) = 'streaming') AS streaming,
    count(*) FILTER (WHERE enabled) AS enabled
FROM sources
"""


class Count(msgspec.Struct, frozen=True):
    """The number of tweets in the step that begins at this time."""

    time: datetime
    tweets: int


class IngestRate(msgspec.Struct, frozen=True):
    """How many tweets arrive now, over all tracks."""

    tweets: int  # in the last minute
    sources: int  # that received them
    streaming: int  # that are connected
    enabled: int


async def track_counts(
    connection: Executor, track_ids: Sequence[TrackId], step: Step, begin: datetime, end: datetime
) -> list[Count]:
    """Tweets of these tracks together, for each step that begins from `begin` on, before `end`.

    Steps without tweets are left out. Days and hours are those of UTC; the day of `begin` counts.
    """
    rows = await connection.fetch(_COUNTS[step], list(track_ids), begin, end)
    return [Count(row["time"], row["tweets"]) for row in rows]


async def counts_in_rest_of_hour(
    connection: Executor, track_ids: Sequence[TrackId], times: Sequence[datetime]
) -> list[Count]:
    """Tweets of these tracks together, from each of these times to the end of its hour."""
    rows = await connection.fetch(_REST_OF_HOUR, list(track_ids), list(times)) if times else []
    return [Count(row["time"], row["tweets"]) for row in rows]


async def source_counts(connection: Executor, begin: datetime, step: timedelta) -> list[Count]:
    """Tweets of all sources together, by steps of whole minutes or whole hours."""
    is_hourly = step >= timedelta(hours=1)
    at, table = ("hour", "source_hours") if is_hourly else ("minute", "source_minutes")
    rows = await connection.fetch(_SOURCE_COUNTS.format(at=at, table=table), begin, step)
    return [Count(row["time"], row["tweets"]) for row in rows]


async def first_minute(connection: Executor) -> datetime | None:
    """The first minute on record in which a source delivered; None: none has yet."""
    [row] = await connection.fetch(_FIRST_MINUTE)
    found: datetime | None = row["at"]
    return found


async def ingest_rate(connection: Executor) -> IngestRate:
    """How many tweets arrive now, and from how many sources."""
    [minute] = await connection.fetch(_INGEST_RATE)
    [sources] = await connection.fetch(_CONNECTED)
    return IngestRate(**minute, **sources)
