"""What rules have to know from Postgres. Only roll-ups and small tables are read."""

import time
from collections.abc import Mapping

import msgspec

from monitor.alert.condition import Facts, Forecast, TrackFact
from stream import sources
from stream.db import Database, Executor, Row

HOUR = 3600.0  # seconds
SLOW_EVERY = 1800.0  # seconds between two looks at what changes slowly
HISTORY_DAYS = 7
SHORT_GAP = 60  # seconds; a gap that long keeps a track from its tweets

_OUTCOMES = """
SELECT source_id, outcome, sum(frames)::bigint AS frames FROM sources
JOIN source_minutes ON source_id = sources.id AND minute > now() - interval '1 hour'
GROUP BY source_id, outcome
"""
_HAS_SECRETS = "SELECT EXISTS (SELECT FROM sources WHERE secrets IS NOT NULL) AS found"
_FORECASTS = """
SELECT volume, free::double precision, bytes_per_day::double precision,
    days_until_full::double precision AS days
FROM stats_forecast WHERE host = $1 AND days_until_full IS NOT NULL
"""
_HISTORY = """
SELECT extract(epoch FROM now() - min(hour))::double precision / 86400 AS days FROM source_hours
"""
_PROBLEMS = """
SELECT to_char(day, 'YYYY-MM-DD') AS day, problem FROM archives
WHERE problem IS NOT NULL ORDER BY day, part
"""
# A network delivers since the last gap of its source ended; the best of its sources counts.
_DELIVERING = """
SELECT network, min(since) AS since FROM (
    SELECT network, extract(epoch FROM greatest(max(ended_at), sources.created_at,
                                                now() - make_interval(days => $2)))
                    ::double precision AS since
    FROM sources
    LEFT JOIN gaps ON source_id = sources.id AND ended_at - began_at > make_interval(secs => $1)
        AND began_at > now() - make_interval(days => 2 * $2)
    WHERE enabled AND NOT EXISTS (
        SELECT FROM gaps AS open WHERE open.source_id = sources.id AND open.ended_at IS NULL)
    GROUP BY sources.id
) AS each GROUP BY network
"""
_TRACKS = """
SELECT id, value, networks,
    extract(epoch FROM coalesce(state_at, created_at))::double precision AS since,
    extract(epoch FROM coalesce(newest.minute, oldest.hour))::double precision AS last_at,
    recent.tweets::integer AS last_hour
FROM tracks
LEFT JOIN LATERAL (
    SELECT max(minute) AS minute FROM track_minutes WHERE track_id = tracks.id
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT max(hour) AS hour FROM track_hours WHERE track_id = tracks.id
) AS oldest ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(tweets), 0) AS tweets FROM track_minutes
    WHERE track_id = tracks.id AND minute > now() - interval '1 hour'
) AS recent ON true
WHERE enabled AND state IN ('active', 'partial') ORDER BY id
"""
# Of the days before its newest tweet: a long silence must not become what is usual.
_PROFILES = """
SELECT tracks.id, first.hour AS first, newest.hour AS newest,
    extract(epoch FROM newest.hour - greatest(first.hour, newest.hour - make_interval(days => $1)))
        ::double precision / 86400 AS days,
    extract(hour FROM found.hour AT TIME ZONE 'UTC')::integer AS hour,
    sum(found.tweets)::double precision AS tweets
FROM tracks
CROSS JOIN LATERAL (
    SELECT max(hour) AS hour FROM track_hours WHERE track_id = tracks.id
) AS newest
CROSS JOIN LATERAL (
    SELECT min(hour) AS hour FROM track_hours WHERE track_id = tracks.id
) AS first
JOIN track_hours AS found ON found.track_id = tracks.id AND found.hour < newest.hour
    AND found.hour >= newest.hour - make_interval(days => $1)
WHERE enabled
GROUP BY tracks.id, first.hour, newest.hour, extract(hour FROM found.hour AT TIME ZONE 'UTC')
"""


class Profile(msgspec.Struct):
    """What one track gets by the hours of the day (UTC)."""

    days: float
    tweets: list[float]  # in each hour, the mean of these days


NOTHING = Profile(0.0, [0.0] * 24)


class Observer:
    """Asks; some things each time, some rarely."""

    def __init__(self, database: Database, host: str) -> None:
        self.database = database
        self.host = host
        self._slow_at = float("-inf")  # monotonic
        self._led = False
        self._forecasts: tuple[Forecast, ...] = ()
        self._profiles: Mapping[int, Profile] = {}
        self._history_days = 0.0

    async def look(self, *, leads: bool) -> Facts:
        """Everything, as it is now. Raises DatabaseAway."""
        async with self.database.acquire() as connection:
            if time.monotonic() - self._slow_at >= SLOW_EVERY or (leads and not self._led):
                await self._look_slowly(connection, leads=leads)
            facts = Facts(
                at=time.time(),
                forecasts=self._forecasts,
                outcomes=await _outcomes(connection),
                collected=await sources.collected(connection),
                has_secrets=(await connection.fetch(_HAS_SECRETS))[0]["found"],
                starts=await sources.daemons_died(connection, self.host, HOUR),
            )
            return await self._of_all(connection, facts) if leads else facts

    async def _of_all(self, connection: Executor, facts: Facts) -> Facts:
        tracks = await connection.fetch(_TRACKS)
        delivering = await connection.fetch(_DELIVERING, SHORT_GAP, HISTORY_DAYS)
        problems = await connection.fetch(_PROBLEMS)
        return msgspec.structs.replace(
            facts,
            whole=True,
            tracks=tuple(self._track(row) for row in tracks),
            delivering={row["network"]: row["since"] for row in delivering},
            history_days=self._history_days,
            archive_problems={row["day"]: row["problem"] for row in problems},
        )

    async def _look_slowly(self, connection: Executor, *, leads: bool) -> None:
        rows = await connection.fetch(_FORECASTS, self.host)
        self._forecasts = tuple(Forecast(**row) for row in rows)
        if leads:
            [history] = await connection.fetch(_HISTORY)
            self._history_days = min(history["days"] or 0.0, HISTORY_DAYS)
            self._profiles = _profiles(await connection.fetch(_PROFILES, HISTORY_DAYS))
        self._slow_at, self._led = time.monotonic(), leads

    def _track(self, row: Row) -> TrackFact:
        profile = self._profiles.get(row["id"], NOTHING)
        return TrackFact(
            id=row["id"],
            value=row["value"],
            networks=None if row["networks"] is None else tuple(row["networks"]),
            since=row["since"],
            days=profile.days,
            profile=tuple(profile.tweets),
            last_at=row["last_at"],
            last_hour=row["last_hour"],
        )


async def _outcomes(connection: Executor) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for row in await connection.fetch(_OUTCOMES):
        found.setdefault(row["source_id"], {})[row["outcome"]] = row["frames"]
    return found


def _profiles(rows: list[Row]) -> dict[int, Profile]:
    found: dict[int, Profile] = {}
    for row in rows:
        if row["id"] not in found:
            found[row["id"]] = Profile(row["days"], [0.0] * 24)
        # With less than a day the hours that are not known yet count as empty.
        found[row["id"]].tweets[row["hour"]] = row["tweets"] / max(row["days"], 1.0)
    return found
