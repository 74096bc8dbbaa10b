"""What the daily digest reports of a day. Reads roll-ups and small tables of several homes."""

from datetime import UTC, date, datetime, time, timedelta

import msgspec

from stream.db import Executor
from stream.store import alerts as alert_table

ALERTS_MAX = 200

_TRACKS = """
SELECT id, value, coalesce(sum(tweets) FILTER (WHERE day = $1::date), 0)::bigint AS tweets,
    coalesce(sum(tweets) FILTER (WHERE day = $1::date - 1), 0)::bigint AS before,
    (created_at AT TIME ZONE 'UTC')::date = $1::date AS is_new
FROM (
    SELECT track_id, day, tweets FROM track_days WHERE day BETWEEN $1::date - 1 AND $1::date
) AS counted
FULL JOIN tracks ON id = track_id
WHERE coalesce(enabled, true)
GROUP BY id, value, created_at
ORDER BY 3 DESC, 4 DESC, id
"""
_OUTCOMES = """
SELECT (hour AT TIME ZONE 'UTC')::date = $1::date AS is_day, outcome, sum(frames)::bigint AS frames
FROM source_hours
WHERE hour >= ($1::date - 1)::timestamp AT TIME ZONE 'UTC'
  AND hour < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'
GROUP BY 1, 2
"""
_GAPS = """
SELECT coalesce(name, 'source ' || source_id) AS source, count(*)::integer AS number,
    sum(extract(epoch FROM least(coalesce(ended_at, now()), $2) - greatest(began_at, $1)))
        ::double precision AS seconds,
    string_agg(DISTINCT cause, ', ' ORDER BY cause) AS causes
FROM gaps LEFT JOIN sources ON sources.id = source_id
WHERE began_at < $2 AND coalesce(ended_at, now()) > $1
GROUP BY 1 ORDER BY 1
"""
_REJECTS = """
SELECT reason, count(*)::integer AS number FROM rejects
WHERE received_at >= $1 AND received_at < $2 GROUP BY reason ORDER BY 2 DESC, 1
"""
_VOLUMES = """
SELECT host, volume, free::double precision,
    days_until_full::double precision AS days, bytes_per_day IS NOT NULL AS known
FROM stats_forecast ORDER BY host, volume
"""
_ARCHIVES = """
SELECT count(*) FILTER (WHERE state <> 'writing')::integer AS done,
    to_char(max(day) FILTER (WHERE state <> 'writing'), 'YYYY-MM-DD') AS newest,
    count(*) FILTER (WHERE problem IS NOT NULL)::integer AS problems
FROM archives
"""


class TrackDay(msgspec.Struct, frozen=True):
    """One track: its tweets of the day and of the day before."""

    id: int | None
    value: str | None
    tweets: int
    before: int
    is_new: bool | None


class GapDay(msgspec.Struct, frozen=True):
    """A source's time without delivery."""

    source: str
    number: int
    seconds: float
    causes: str


class AlertDay(msgspec.Struct, frozen=True):
    """An alert that was open at some time of the day."""

    severity: str
    text: str
    opened: bool  # that day
    closed: bool  # that day
    is_open: bool  # now


class VolumeDay(msgspec.Struct, frozen=True):
    """A disk, and when it will be full."""

    host: str
    volume: str
    free: float  # bytes
    days: float | None
    known: bool = True  # whether its trend is known


class ArchiveDay(msgspec.Struct, frozen=True):
    """How much is archived."""

    done: int
    newest: str | None
    problems: int


class DigestData(msgspec.Struct, frozen=True):
    """All that the digest reports of one day."""

    day: date
    tweets: int
    before: int
    rejects: tuple[tuple[str, int], ...]
    tracks: tuple[TrackDay, ...]
    gaps: tuple[GapDay, ...]
    alerts: tuple[AlertDay, ...]
    volumes: tuple[VolumeDay, ...]
    archives: ArchiveDay


async def read(connection: Executor, day: date) -> DigestData:
    """Everything known about this day (UTC)."""
    since = datetime.combine(day, time(), UTC)
    until = since + timedelta(days=1)
    tweets, before = 0, 0
    for row in await connection.fetch(_OUTCOMES, day):
        if row["outcome"] in ("stored", "unmatched"):
            tweets += row["frames"] if row["is_day"] else 0
            before += 0 if row["is_day"] else row["frames"]
    rejects = await connection.fetch(_REJECTS, since, until)
    alerts = await alert_table.open_between(connection, since, until, ALERTS_MAX)
    [archives] = await connection.fetch(_ARCHIVES)
    return DigestData(
        day=day,
        tweets=tweets,
        before=before,
        rejects=tuple((row["reason"], row["number"]) for row in rejects),
        tracks=tuple(TrackDay(**row) for row in await connection.fetch(_TRACKS, day)),
        gaps=tuple(GapDay(**row) for row in await connection.fetch(_GAPS, since, until)),
        alerts=tuple(
            AlertDay(
                row["severity"],
                row["text"],
                since <= row["opened_at"] < until,
                row["closed_at"] is not None and row["closed_at"] < until,
                row["closed_at"] is None,
            )
            for row in alerts
        ),
        volumes=tuple(VolumeDay(**row) for row in await connection.fetch(_VOLUMES)),
        archives=ArchiveDay(**archives),
    )
