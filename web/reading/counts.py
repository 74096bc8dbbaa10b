"""How many tweets came when, out of the roll-ups; and when nothing could come."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, get_args

import msgspec

from stream.db import Executor
from stream.tweet import GapCause, NetworkName, SourceId, TrackId

Step = Literal["minute", "hour", "day"]
STEPS: tuple[Step, ...] = get_args(Step)
LENGTH: dict[Step, timedelta] = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
MOST_GAPS = 2000  # the longest ones, where there are more

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
_GAPS = """
SELECT source_id, source, network, expected, began_at, ended_at, cause FROM (
    SELECT gaps.source_id, sources.name AS source, sources.network, gaps.cause,
        coalesce(sources.enabled, false) OR NOT EXISTS (SELECT FROM sources WHERE enabled)
            AS expected,
        greatest(gaps.began_at, $1) AS began_at,
        least(coalesce(gaps.ended_at, now()), $2) AS ended_at
    FROM gaps LEFT JOIN sources ON sources.id = gaps.source_id
    WHERE gaps.began_at < $2 AND coalesce(gaps.ended_at, now()) > $1
    ORDER BY least(coalesce(gaps.ended_at, now()), $2) - greatest(gaps.began_at, $1) DESC
    LIMIT $3
) AS longest
ORDER BY began_at, source_id
"""


class Count(msgspec.Struct, frozen=True):
    """So many tweets from this time on, for one step."""

    time: datetime
    tweets: int


class Gap(msgspec.Struct, frozen=True):
    """A source could not deliver, within the time that was asked for."""

    source_id: SourceId
    source: str | None  # its name; None: it was removed
    network: NetworkName | None
    expected: bool  # enabled, or no source is: without it nothing comes
    began_at: datetime
    ended_at: datetime
    cause: GapCause


async def counts(
    connection: Executor, track_ids: Sequence[TrackId], step: Step, begin: datetime, end: datetime
) -> list[Count]:
    """Tweets of these tracks, added up, by steps that begin from `begin` on and before `end`.

    A step in which nothing came is not in it. Days and hours are those of UTC; a day counts when it
    holds `begin`.
    """
    rows = await connection.fetch(_COUNTS[step], list(track_ids), begin, end)
    return [Count(row["time"], row["tweets"]) for row in rows]


async def gaps(connection: Executor, begin: datetime, end: datetime) -> list[Gap]:
    """When which source could not deliver, cut to this time, in order of beginning."""
    rows = await connection.fetch(_GAPS, begin, end, MOST_GAPS)
    return [Gap(**row) for row in rows]
