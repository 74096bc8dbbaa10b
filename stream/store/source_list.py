"""The list of sources with their state, rates and gaps of the last day: all from the roll-ups."""

from datetime import datetime

import msgspec

from stream.db import Executor
from stream.tweet import NetworkName, SourceId

RATE_MINUTES = 5  # the tweets per minute are the mean of these and of the running one

# The rate is that of the time in which the source was observed: not before its first tweet, nor in
# closed gaps. During an open gap the rate falls.
_SUMMARIES = """
SELECT sources.id, name, network, url, proxy, secrets IS NOT NULL AS has_keys, enabled,
    source_state(sources) AS state, reason, state_at, retry_at, last_at,
    source_collected(sources) AS collected,
    coalesce(60 * minutes.recent / nullif(greatest(
        extract(epoch FROM now() - began.at) - missed.seconds, 0), 0), 0)::double precision
        AS per_minute,
    coalesce(minutes.hour, 0)::bigint AS last_hour,
    coalesce(hours.day, 0)::bigint AS last_day,
    coalesce(hours.rejected, 0)::bigint AS rejected,
    gap.number AS gaps, gap.seconds AS gap_seconds
FROM sources
CROSS JOIN (SELECT date_trunc('minute', now()) - make_interval(mins => $1) AS at) AS span
CROSS JOIN LATERAL (
    SELECT sum(frames) AS hour,
        sum(frames) FILTER (WHERE minute >= span.at AND minute <= now()) AS recent,
        min(minute) FILTER (WHERE minute >= span.at) AS first
    FROM source_minutes
    WHERE source_id = sources.id AND minute > now() - interval '1 hour'
      AND outcome IN ('stored', 'unmatched')
) AS minutes
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN state = 'streaming' AND state_at < span.at
            OR EXISTS (SELECT FROM source_minutes WHERE source_id = sources.id AND minute < span.at)
            OR EXISTS (SELECT FROM gaps WHERE source_id = sources.id AND began_at < span.at)
            THEN span.at
        WHEN state_at > minutes.first AND state_at < minutes.first + interval '1 minute'
            THEN state_at
        ELSE minutes.first
    END AS at
) AS began
CROSS JOIN LATERAL (
    SELECT coalesce(sum(extract(epoch FROM ended_at - greatest(began_at, began.at))), 0) AS seconds
    FROM gaps WHERE source_id = sources.id AND ended_at > began.at
) AS missed
CROSS JOIN LATERAL (
    SELECT sum(frames) FILTER (WHERE outcome <> 'rejected') AS day,
        sum(frames) FILTER (WHERE outcome = 'rejected') AS rejected
    FROM source_hours
    WHERE source_id = sources.id AND hour > now() - interval '1 day'
      AND outcome IN ('stored', 'unmatched', 'rejected')
) AS hours
CROSS JOIN LATERAL (
    SELECT count(*)::integer AS number,
        coalesce(sum(extract(epoch FROM
            least(ended_at, now()) - greatest(began_at, now() - interval '1 day'))), 0)
            ::bigint AS seconds
    FROM gaps
    WHERE source_id = sources.id AND began_at < now()
      AND least(ended_at, now()) > now() - interval '1 day'
) AS gap
ORDER BY sources.name
"""


class SourceSummary(msgspec.Struct, frozen=True):
    """A source, its state, and how much it delivers."""

    id: SourceId
    name: str
    network: NetworkName
    url: str | None
    proxy: str | None
    has_keys: bool
    enabled: bool
    state: str  # of the SQL function source_state(): `stopped` where no daemon runs
    reason: str
    state_at: datetime | None
    retry_at: datetime | None
    last_at: datetime | None
    collected: bool  # by a daemon, at this moment
    per_minute: float
    last_hour: int
    last_day: int
    rejected: int  # of the last day
    gaps: int  # of the last day
    gap_seconds: int

    @property
    def is_connected(self) -> bool:
        return self.collected and self.state == "streaming"


async def overview(connection: Executor) -> list[SourceSummary]:
    """All sources, by name."""
    return [SourceSummary(**row) for row in await connection.fetch(_SUMMARIES, RATE_MINUTES)]
