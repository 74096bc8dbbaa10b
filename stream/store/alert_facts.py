"""What the alert rules read from Postgres. Only roll-ups and small tables, of several homes."""

from collections.abc import Mapping

import msgspec

from stream.db import Executor

HISTORY_DAYS = 7
SHORT_GAP = 60  # seconds; a longer gap keeps a track from its tweets

_LAST_HOUR = """
SELECT source_id, outcome, sum(frames)::bigint AS frames FROM sources
JOIN source_minutes ON source_id = sources.id AND minute > now() - interval '1 hour'
GROUP BY source_id, outcome
"""
_ANY_CREDENTIALS = "SELECT EXISTS (SELECT FROM sources WHERE secrets IS NOT NULL) AS found"
_FORECASTS = """
SELECT volume, free::double precision, bytes_per_day::double precision,
    days_until_full::double precision AS days
FROM stats_forecast WHERE host = $1 AND days_until_full IS NOT NULL
"""
_COLLECTED_DAYS = """
SELECT extract(epoch FROM now() - min(hour))::double precision / 86400 AS days FROM source_hours
"""
_ARCHIVE_PROBLEMS = """
SELECT to_char(day, 'YYYY-MM-DD') AS day, problem FROM archives
WHERE problem IS NOT NULL ORDER BY day, part
"""
# A network has delivered since the last gap of its source ended; its best source counts.
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
_DISABLED_WEBHOOKS = """
SELECT webhooks.id, webhooks.name, users.name AS owner, reason
FROM webhooks JOIN users ON users.id = user_id WHERE state = 'disabled' ORDER BY webhooks.id
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
# From the days before its newest tweet: a long silence must not become usual.
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


class Forecast(msgspec.Struct, frozen=True):
    """When a volume of this machine will be full, by its trend of seven days."""

    volume: str
    free: float  # bytes
    bytes_per_day: float
    days: float


class Profile(msgspec.Struct):
    """What one track usually gets in each hour of the day (UTC)."""

    days: float  # of its history, at most HISTORY_DAYS
    tweets: list[float]  # the mean of these days


NO_PROFILE = Profile(0.0, [0.0] * 24)


class TrackFact(msgspec.Struct, frozen=True):
    """What an active track gets, and what it usually gets."""

    id: int
    value: str
    networks: tuple[str, ...] | None  # None: all
    since: float  # in its state since; seconds since 1970
    days: float  # as in Profile
    profile: tuple[float, ...]
    last_at: float | None  # its newest tweet; seconds since 1970, to the minute
    last_hour: int  # tweets

    @property
    def per_hour(self) -> float:
        """Its usual number of tweets in an hour."""
        return sum(self.profile) / 24


async def frames_of_last_hour(connection: Executor) -> dict[int, dict[str, int]]:
    """Frames by source and outcome."""
    found: dict[int, dict[str, int]] = {}
    for row in await connection.fetch(_LAST_HOUR):
        found.setdefault(row["source_id"], {})[row["outcome"]] = row["frames"]
    return found


async def any_credentials(connection: Executor) -> bool:
    """Whether a source has credentials, which our key must open."""
    [row] = await connection.fetch(_ANY_CREDENTIALS)
    found: bool = row["found"]
    return found


async def forecasts(connection: Executor, host: str) -> tuple[Forecast, ...]:
    return tuple(Forecast(**row) for row in await connection.fetch(_FORECASTS, host))


async def collected_days(connection: Executor) -> float:
    """For how long anything has been collected, at most HISTORY_DAYS."""
    [row] = await connection.fetch(_COLLECTED_DAYS)
    return min(row["days"] or 0.0, HISTORY_DAYS)


async def archive_problems(connection: Executor) -> dict[str, str]:
    """By day."""
    rows = await connection.fetch(_ARCHIVE_PROBLEMS)
    return {row["day"]: row["problem"] for row in rows}


class DisabledWebhook(msgspec.Struct, frozen=True):
    """A webhook that gets nothing until its owner resumes it."""

    id: int
    name: str
    owner: str
    reason: str


async def disabled_webhooks(connection: Executor) -> tuple[DisabledWebhook, ...]:
    return tuple(DisabledWebhook(**row) for row in await connection.fetch(_DISABLED_WEBHOOKS))


async def delivering_since(connection: Executor) -> dict[str, float]:
    """Networks that deliver, and since when without a gap (seconds since 1970)."""
    rows = await connection.fetch(_DELIVERING, SHORT_GAP, HISTORY_DAYS)
    return {row["network"]: row["since"] for row in rows}


async def profiles(connection: Executor) -> dict[int, Profile]:
    """By track."""
    found: dict[int, Profile] = {}
    for row in await connection.fetch(_PROFILES, HISTORY_DAYS):
        profile = found.setdefault(row["id"], Profile(row["days"], [0.0] * 24))
        # With less than a day the hours that are not known yet count as empty.
        profile.tweets[row["hour"]] = row["tweets"] / max(row["days"], 1.0)
    return found


async def tracks(connection: Executor, usual: Mapping[int, Profile]) -> tuple[TrackFact, ...]:
    """All active tracks, with their usual tweets from `profiles`."""
    found = []
    for row in await connection.fetch(_TRACKS):
        profile = usual.get(row["id"], NO_PROFILE)
        found.append(
            TrackFact(
                id=row["id"],
                value=row["value"],
                networks=None if row["networks"] is None else tuple(row["networks"]),
                since=row["since"],
                days=profile.days,
                profile=tuple(profile.tweets),
                last_at=row["last_at"],
                last_hour=row["last_hour"],
            )
        )
    return tuple(found)
