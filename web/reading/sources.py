"""How the sources are, for the page about them: everything from roll-ups."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream import ledger
from stream.config import Settings
from stream.db import Executor
from stream.networks.table import NETWORKS
from stream.tweet import GapCause, NetworkName, SourceId

GAPS = 20  # the newest ones are listed
MINUTES = 5  # of these the tweets a minute are the mean

_LINES = """
SELECT sources.id, name, network, url, proxy, secrets IS NOT NULL AS has_keys, enabled, state,
    reason, state_at, retry_at, last_at, sources.id = ANY ($1::integer[]) AS collected,
    coalesce(minutes.recent, 0)::double precision / $2 AS per_minute,
    coalesce(minutes.hour, 0)::bigint AS last_hour,
    coalesce(hours.day, 0)::bigint AS last_day,
    coalesce(hours.rejected, 0)::bigint AS rejected,
    gap.number AS gaps, gap.seconds AS gap_seconds
FROM sources
CROSS JOIN LATERAL (
    SELECT sum(frames) AS hour,
        sum(frames) FILTER (WHERE minute < date_trunc('minute', now())
            AND minute >= date_trunc('minute', now()) - make_interval(mins => $2)) AS recent
    FROM source_minutes
    WHERE source_id = sources.id AND minute > now() - interval '1 hour'
      AND outcome IN ('stored', 'unmatched')
) AS minutes
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
            coalesce(ended_at, now()) - greatest(began_at, now() - interval '1 day'))), 0)
            ::bigint AS seconds
    FROM gaps
    WHERE source_id = sources.id AND coalesce(ended_at, now()) > now() - interval '1 day'
) AS gap
ORDER BY sources.name
"""
_GAPS = """
SELECT source_id, sources.name AS source, began_at, ended_at, cause, detail
FROM sources
CROSS JOIN LATERAL (
    SELECT * FROM gaps WHERE source_id = sources.id ORDER BY began_at DESC LIMIT $1
) AS newest
ORDER BY began_at DESC LIMIT $1
"""


class Attempts(msgspec.Struct, frozen=True):
    """Connections that the network still allows: so many of so many in so many seconds."""

    left: int
    most: int
    window: float


class SourceLine(msgspec.Struct, frozen=True):
    """A source, how it is, and what it brings."""

    id: SourceId
    name: str
    network: NetworkName
    url: str | None
    proxy: str | None
    has_keys: bool
    enabled: bool
    state: str
    reason: str
    state_at: datetime | None
    retry_at: datetime | None
    last_at: datetime | None
    collected: bool  # by some daemon, at this moment
    per_minute: float
    last_hour: int
    last_day: int
    rejected: int  # of the last day
    gaps: int  # of the last day
    gap_seconds: int
    attempts: Attempts

    @property
    def is_connected(self) -> bool:
        return self.collected and self.state == "streaming"


class GapLine(msgspec.Struct, frozen=True):
    """A time without delivery; `ended_at` None: it lasts."""

    source_id: SourceId
    source: str
    began_at: datetime
    ended_at: datetime | None
    cause: GapCause
    detail: str


async def overview(
    connection: Executor, settings: Settings, collected: Sequence[SourceId]
) -> list[SourceLine]:
    """All sources, by name; `collected`: those that some daemon collects now."""
    found = []
    for row in await connection.fetch(_LINES, list(collected), MINUTES):
        left = await attempts(connection, settings, row["network"], row["id"])
        found.append(SourceLine(**row, attempts=left))
    return found


async def attempts(
    connection: Executor, settings: Settings, network: NetworkName, source_id: SourceId
) -> Attempts:
    """How often this source may still connect."""
    pace = NETWORKS[network].pace(settings)
    used = len(await ledger.attempts(connection, source_id, pace.window))
    return Attempts(max(pace.attempts - used, 0), pace.attempts, pace.window)


async def newest_gaps(connection: Executor) -> list[GapLine]:
    """The newest gaps of all sources."""
    return [GapLine(**row) for row in await connection.fetch(_GAPS, GAPS)]
