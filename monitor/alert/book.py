"""The tables alerts and alert_mutes: every statement that touches them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from monitor.alert.engine import Alert
from stream.db import Executor, Row

UNTOLD = 86_400  # seconds; the end of an older alert is no news any more
HOST_GONE = 86_400  # seconds without a daemon on a machine: nobody is left to close its alerts

_TIMES = """
    extract(epoch FROM opened_at)::double precision AS opened_at,
    extract(epoch FROM closed_at)::double precision AS closed_at,
    extract(epoch FROM told_at)::double precision AS told_at,
    extract(epoch FROM all_clear_at)::double precision AS all_clear_at,
    extract(epoch FROM acknowledged_at)::double precision AS acknowledged_at
"""
_LOAD = f"""
SELECT id, rule, subject, host, severity, text, remedy, told, told_severity, missed, {_TIMES}
FROM alerts
WHERE (closed_at IS NULL
       OR opened_at > now() - make_interval(secs => $2) - interval '30 days'
          AND closed_at > now() - make_interval(secs => $2)
          AND all_clear_at IS NULL AND (told > 0 OR missed))
  AND host IN ('', $1)
ORDER BY id
"""  # noqa: S608 - a constant
# Another daemon may have opened the same one, or this one before a crash.
_OPEN = """
INSERT INTO alerts (rule, subject, host, severity, text, remedy, opened_at, closed_at, told_at,
                    told, told_severity, missed, all_clear_at)
VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7), to_timestamp($8), to_timestamp($9), $10, $11, $12,
        to_timestamp($13))
ON CONFLICT (rule, subject, host) WHERE closed_at IS NULL DO UPDATE SET
    severity = excluded.severity, text = excluded.text, remedy = excluded.remedy,
    told_at = coalesce(excluded.told_at, alerts.told_at), told = alerts.told + excluded.told,
    told_severity = coalesce(excluded.told_severity, alerts.told_severity), missed = excluded.missed
RETURNING id
"""
_UPDATE = """
UPDATE alerts SET severity = $2, text = $3, remedy = $4,
    closed_at = coalesce(closed_at, CASE WHEN $5::double precision IS NOT NULL
                                    THEN greatest(to_timestamp($5), opened_at) END),
    told_at = to_timestamp($6), told = $7, told_severity = $8, missed = $9,
    all_clear_at = to_timestamp($10)
WHERE id = $1
"""
_MUTES = "SELECT rule, subject FROM alert_mutes WHERE until IS NULL OR until > now()"
_LEFT_BEHIND = """
UPDATE alerts SET closed_at = now()
WHERE closed_at IS NULL AND host <> '' AND opened_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM daemons WHERE daemons.host = alerts.host
                  AND daemons.seen_at > now() - make_interval(secs => $1))
"""
_LIST = """
SELECT id, rule, subject, host, severity, text, remedy, opened_at, closed_at, told_at, told,
       acknowledged_at, acknowledged_by
FROM alerts WHERE closed_at IS NULL OR $1 ORDER BY opened_at DESC, id DESC LIMIT $2
"""
_ACKNOWLEDGE = """
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_by = coalesce(acknowledged_by, $2)
WHERE id = $1 RETURNING closed_at
"""
_MUTE = "INSERT INTO alert_mutes (rule, subject, until, reason) VALUES ($1, $2, $3, $4)"
_UNMUTE = """
DELETE FROM alert_mutes
WHERE rule = $1 AND ($2::text IS NULL OR subject IS NOT DISTINCT FROM $2) RETURNING id
"""
_ALL_MUTES = """
SELECT id, rule, subject, until, reason, created_at FROM alert_mutes
WHERE until IS NULL OR until > now() ORDER BY id
"""
_OF_DAY = """
SELECT rule, subject, host, severity, text, opened_at, closed_at FROM alerts
WHERE opened_at < $2 AND (closed_at IS NULL OR closed_at >= $1) ORDER BY opened_at LIMIT $3
"""


class Mute(msgspec.Struct, frozen=True):
    """Who shall not be told of."""

    rule: str
    subject: str | None  # None: every subject

    def covers(self, rule: str, subject: str) -> bool:
        return self.rule == rule and self.subject in (None, subject)


async def load(connection: Executor, host: str) -> list[Alert]:
    """Alerts of this machine and of all that are open, or whose end was not told."""
    rows = await connection.fetch(_LOAD, host, UNTOLD)
    return [Alert(**row) for row in rows]


async def save(connection: Executor, alert: Alert) -> None:
    """Bring the row up to date; what people write into it stays."""
    version = alert.changed
    if alert.id is None:
        [row] = await connection.fetch(
            _OPEN,
            alert.rule,
            alert.subject,
            alert.host,
            alert.severity,
            alert.text,
            alert.remedy,
            alert.opened_at,
            alert.closed_at,
            alert.told_at,
            alert.told,
            alert.told_severity,
            alert.missed,
            alert.all_clear_at,
        )
        alert.id = row["id"]
    else:
        await connection.execute(
            _UPDATE,
            alert.id,
            alert.severity,
            alert.text,
            alert.remedy,
            alert.closed_at,
            alert.told_at,
            alert.told,
            alert.told_severity,
            alert.missed,
            alert.all_clear_at,
        )
    alert.saved = version


async def mutes(connection: Executor) -> list[Mute]:
    """Those in force."""
    return [Mute(**row) for row in await connection.fetch(_MUTES)]


async def close_left_behind(connection: Executor) -> None:
    """Close the alerts of machines that run no daemon any more."""
    await connection.execute(_LEFT_BEHIND, HOST_GONE)


async def listing(connection: Executor, *, closed: bool, most: int = 1000) -> Sequence[Row]:
    """Open alerts, or all; the newest first."""
    return await connection.fetch(_LIST, closed, most)


async def acknowledge(connection: Executor, alert_id: int, who: str) -> bool | None:
    """Somebody knows. Whether it is still open; None when there is no such alert."""
    rows = await connection.fetch(_ACKNOWLEDGE, alert_id, who)
    return rows[0]["closed_at"] is None if rows else None


async def mute(
    connection: Executor, rule: str, subject: str | None, until: datetime | None, reason: str
) -> None:
    await connection.execute(_MUTE, rule, subject, until, reason)


async def unmute(connection: Executor, rule: str, subject: str | None) -> int:
    """Take the mutes of this rule away, or only those of one subject; how many there were."""
    return len(await connection.fetch(_UNMUTE, rule, subject))


async def all_mutes(connection: Executor) -> Sequence[Row]:
    return await connection.fetch(_ALL_MUTES)


async def of_day(
    connection: Executor, since: datetime, until: datetime, most: int
) -> Sequence[Row]:
    """Alerts that were open at some time of it."""
    return await connection.fetch(_OF_DAY, since, until, most)
