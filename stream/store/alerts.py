"""Alerts and their mutes: the tables alerts and alert_mutes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, Row, row_count

Severity = Literal["notice", "warning", "critical"]
Key = tuple[str, str]  # rule and subject

RESOLVED_NOTICE_MAX_AGE = 86_400  # seconds; that an older alert has ended is no longer sent
HOST_GONE_AFTER = 86_400  # seconds without a daemon on a machine; nothing else closes its alerts
LISTED_MAX = 1000  # rows in a list for people

_LOAD = """
SELECT id, rule, subject, host, severity, text, remedy, notified_count,
    notified_severity, undelivered,
    extract(epoch FROM opened_at)::double precision AS opened_at,
    extract(epoch FROM closed_at)::double precision AS closed_at,
    extract(epoch FROM notified_at)::double precision AS notified_at,
    extract(epoch FROM all_clear_at)::double precision AS all_clear_at,
    extract(epoch FROM acknowledged_at)::double precision AS acknowledged_at,
    extract(epoch FROM gone_since)::double precision AS gone_since
FROM alerts
WHERE (closed_at IS NULL
       OR opened_at > now() - make_interval(secs => $2) - interval '30 days'
          AND closed_at > now() - make_interval(secs => $2)
          AND all_clear_at IS NULL AND (notified_count > 0 OR undelivered))
  AND (host = '' OR host = ANY ($1::text[]))
ORDER BY id
"""
# Another daemon may have opened the same one, or this one before a crash.
_OPEN = """
INSERT INTO alerts (rule, subject, host, severity, text, remedy, opened_at, closed_at, notified_at,
                    notified_count, notified_severity, undelivered, all_clear_at, gone_since)
VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7), to_timestamp($8), to_timestamp($9), $10, $11, $12,
        to_timestamp($13), to_timestamp($14))
ON CONFLICT (rule, subject, host) WHERE closed_at IS NULL DO UPDATE SET
    severity = excluded.severity, text = excluded.text, remedy = excluded.remedy,
    notified_at = coalesce(excluded.notified_at, alerts.notified_at),
    notified_count = alerts.notified_count + excluded.notified_count,
    notified_severity = coalesce(excluded.notified_severity, alerts.notified_severity),
    undelivered = excluded.undelivered, gone_since = excluded.gone_since
RETURNING id
"""
_UPDATE = """
UPDATE alerts SET severity = $2, text = $3, remedy = $4,
    closed_at = coalesce(closed_at, CASE WHEN $5::double precision IS NOT NULL
                                    THEN greatest(to_timestamp($5), opened_at) END),
    notified_at = to_timestamp($6), notified_count = $7, notified_severity = $8, undelivered = $9,
    all_clear_at = to_timestamp($10), gone_since = to_timestamp($11)
WHERE id = $1
"""
_CLOSE_OF_GONE_HOSTS = """
UPDATE alerts SET closed_at = now()
WHERE closed_at IS NULL AND host <> '' AND opened_at < now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT FROM daemons
                  WHERE daemons.host IN (alerts.host, split_part(alerts.host, ' (', 1))
                  AND daemons.seen_at > now() - make_interval(secs => $1))
"""
_LIST = """
SELECT id, rule, subject, host, severity, text, remedy, opened_at, closed_at,
    notified_at, notified_count, acknowledged_at, acknowledged_by
FROM alerts WHERE closed_at IS NULL OR $1 ORDER BY opened_at DESC, id DESC LIMIT $2
"""
# The worst first.
_UNCLOSED = """
SELECT id, rule, subject, host, severity, text, remedy, opened_at, acknowledged_at, acknowledged_by,
    gone_since, alert_about(alerts) AS about,
    EXISTS (SELECT FROM alert_mutes AS mute
            WHERE mute.rule = alerts.rule
              AND (mute.subject IS NULL OR mute.subject = alerts.subject)
              AND (until IS NULL OR until > now())) AS muted
FROM alerts WHERE closed_at IS NULL
ORDER BY gone_since IS NOT NULL, acknowledged_at IS NOT NULL,
    array_position(ARRAY['critical', 'warning'], severity), opened_at DESC, id
LIMIT $1
"""
_QUIET_SINCE = """
SELECT greatest((SELECT max(closed_at) FROM alerts WHERE opened_at > now() - interval '90 days'),
                (SELECT min(started_at) FROM daemons
                 WHERE seen_at > now() - interval '15 seconds')) AS since
"""
_OPEN_BETWEEN = """
SELECT rule, subject, host, severity, text, opened_at, closed_at FROM alerts
WHERE opened_at < $2 AND (closed_at IS NULL OR closed_at >= $1) ORDER BY opened_at LIMIT $3
"""
_ACKNOWLEDGE = """
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_by = coalesce(acknowledged_by, $2)
WHERE id = $1 RETURNING closed_at
"""
_MUTE = "INSERT INTO alert_mutes (rule, subject, until, reason) VALUES ($1, $2, $3, $4)"
_MUTE_ALERT = """
INSERT INTO alert_mutes (rule, subject, until, reason)
SELECT rule, subject, now() + make_interval(hours => $2), $3 FROM alerts WHERE id = $1
RETURNING id
"""
_UNMUTE = """
DELETE FROM alert_mutes
WHERE rule = $1 AND ($2::text IS NULL OR subject IS NOT DISTINCT FROM $2) RETURNING id
"""
_DELETE_MUTE = "DELETE FROM alert_mutes WHERE id = $1 RETURNING id"
_PRUNE_ALERTS = """
DELETE FROM alerts WHERE id IN (
    SELECT id FROM alerts WHERE opened_at < $1 AND closed_at < $1 ORDER BY opened_at LIMIT $2)
"""
_PRUNE_MUTES = """
DELETE FROM alert_mutes WHERE id IN (SELECT id FROM alert_mutes WHERE until < $1 LIMIT $2)
"""
_MUTES = """
SELECT id, rule, subject, until, reason, created_at FROM alert_mutes
WHERE until IS NULL OR until > now() ORDER BY id
"""


class Alert(msgspec.Struct, kw_only=True):
    """A row of alerts, as the engine changes it. All times in seconds since 1970."""

    rule: str
    subject: str
    host: str
    severity: Severity
    text: str
    remedy: str
    opened_at: float
    id: int | None = None  # None: not in Postgres yet
    closed_at: float | None = None
    notified_at: float | None = None
    notified_count: int = 0
    notified_severity: Severity | None = None
    all_clear_at: float | None = None  # when its end was sent
    acknowledged_at: float | None = None
    undelivered: bool = False  # a message about it could not be sent
    gone_since: float | None = None  # its condition has not been found since
    changed: int = 1  # grows with every change that belongs in the row …
    saved: int = 0  # … and this is the one that is there

    @property
    def key(self) -> Key:
        return self.rule, self.subject

    @property
    def is_critical(self) -> bool:
        """Whether something critical is wrong at this moment."""
        return self.severity == "critical" and self.closed_at is None and self.gone_since is None

    def touch(self) -> None:
        """Note a change that belongs in the row."""
        self.changed += 1


class OpenAlert(msgspec.Struct, frozen=True):
    """An open alert for people: what is wrong, and what to do about it."""

    id: int
    rule: str
    subject: str
    host: str
    severity: Severity
    text: str
    remedy: str
    opened_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    gone_since: datetime | None  # it seems to be over, and is closed when it stays so
    about: str  # as in stats_health
    muted: bool


class Mute(msgspec.Struct, frozen=True):
    """What no messages are sent about."""

    id: int
    rule: str
    subject: str | None  # None: every subject
    until: datetime | None  # None: for ever
    reason: str
    created_at: datetime

    def covers(self, rule: str, subject: str) -> bool:
        return self.rule == rule and self.subject in (None, subject)


# -- for the engine -------------------------------------------------------------------------------


async def load(connection: Executor, *hosts: str) -> list[Alert]:
    """The alerts of these hosts and the shared ones: the open, and those whose end was not sent."""
    return [Alert(**row) for row in await connection.fetch(_LOAD, hosts, RESOLVED_NOTICE_MAX_AGE)]


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
            alert.notified_at,
            alert.notified_count,
            alert.notified_severity,
            alert.undelivered,
            alert.all_clear_at,
            alert.gone_since,
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
            alert.notified_at,
            alert.notified_count,
            alert.notified_severity,
            alert.undelivered,
            alert.all_clear_at,
            alert.gone_since,
        )
    alert.saved = version


async def close_of_gone_hosts(connection: Executor) -> None:
    """Close the alerts of machines that no longer run a daemon."""
    await connection.execute(_CLOSE_OF_GONE_HOSTS, HOST_GONE_AFTER)


# -- for people -----------------------------------------------------------------------------------


async def listing(connection: Executor, *, closed: bool) -> Sequence[Row]:
    """Open alerts, or all; the newest first."""
    return await connection.fetch(_LIST, closed, LISTED_MAX)


async def unclosed(connection: Executor, limit: int) -> list[OpenAlert]:
    """Open alerts, the worst first; acknowledged and resolved ones last."""
    return [OpenAlert(**row) for row in await connection.fetch(_UNCLOSED, limit)]


async def open_between(
    connection: Executor, since: datetime, until: datetime, limit: int
) -> Sequence[Row]:
    """Alerts that were open at some time between the two."""
    return await connection.fetch(_OPEN_BETWEEN, since, until, limit)


async def quiet_since(connection: Executor) -> datetime | None:
    """When the last alert ended, or when the oldest running daemon started."""
    [row] = await connection.fetch(_QUIET_SINCE)
    found: datetime | None = row["since"]
    return found


async def acknowledge(connection: Executor, alert_id: int, who: str) -> bool | None:
    """Stop the reminders of an alert; returns whether it is still open, None: no such alert."""
    rows = await connection.fetch(_ACKNOWLEDGE, alert_id, who)
    return rows[0]["closed_at"] is None if rows else None


# -- mutes ----------------------------------------------------------------------------------------


async def mutes(connection: Executor) -> list[Mute]:
    """Those in force, the oldest first."""
    return [Mute(**row) for row in await connection.fetch(_MUTES)]


async def mute(
    connection: Executor, rule: str, subject: str | None, until: datetime | None, reason: str
) -> None:
    """Send no messages of this rule, or of one subject of it."""
    await connection.execute(_MUTE, rule, subject, until, reason)


async def mute_alert(connection: Executor, alert_id: int, hours: int | None, reason: str) -> bool:
    """Mute the rule and subject of an alert; without hours, for ever. False: no such alert."""
    return bool(await connection.fetch(_MUTE_ALERT, alert_id, hours, reason))


async def unmute(connection: Executor, rule: str, subject: str | None) -> int:
    """Delete the mutes of this rule, or only those of one subject; returns how many there were."""
    return len(await connection.fetch(_UNMUTE, rule, subject))


async def delete_mute(connection: Executor, mute_id: int) -> bool:
    """False when there is no such mute."""
    return bool(await connection.fetch(_DELETE_MUTE, mute_id))


async def prune_alerts(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some alerts that closed before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_ALERTS, before, limit))


async def prune_mutes(connection: Executor, before: datetime, limit: int) -> int:
    """Delete some mutes that ended before a time; returns how many."""
    return row_count(await connection.execute(_PRUNE_MUTES, before, limit))
