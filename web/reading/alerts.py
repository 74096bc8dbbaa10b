"""The alerts that the monitor keeps, as far as people deal with them on a page."""

from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor

MOST = 200
Severity = Literal["notice", "warning", "critical"]

# The worst first.
_OPEN = """
SELECT id, rule, subject, host, severity, text, remedy, opened_at, acknowledged_at, acknowledged_by,
    EXISTS (SELECT FROM alert_mutes AS mute
            WHERE mute.rule = alerts.rule
              AND (mute.subject IS NULL OR mute.subject = alerts.subject)
              AND (until IS NULL OR until > now())) AS muted
FROM alerts WHERE closed_at IS NULL
ORDER BY acknowledged_at IS NOT NULL, array_position(ARRAY['critical', 'warning'], severity),
    opened_at DESC, id
LIMIT $1
"""
_QUIET_SINCE = """
SELECT greatest((SELECT max(closed_at) FROM alerts WHERE opened_at > now() - interval '90 days'),
                (SELECT min(started_at) FROM daemons
                 WHERE seen_at > now() - interval '15 seconds')) AS since
"""
_ACKNOWLEDGE = """
UPDATE alerts SET acknowledged_at = coalesce(acknowledged_at, now()),
    acknowledged_by = coalesce(acknowledged_by, $2)
WHERE id = $1 RETURNING id
"""
_MUTE = """
INSERT INTO alert_mutes (rule, subject, until, reason)
SELECT rule, subject, now() + make_interval(hours => $2), $3 FROM alerts WHERE id = $1
RETURNING id
"""
_UNMUTE = "DELETE FROM alert_mutes WHERE id = $1 RETURNING id"
_MUTES = """
SELECT id, rule, subject, until, reason FROM alert_mutes
WHERE until IS NULL OR until > now() ORDER BY id DESC LIMIT $1
"""


class OpenAlert(msgspec.Struct, frozen=True):
    """Something that is wrong, and what to do about it."""

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
    muted: bool


class Mute(msgspec.Struct, frozen=True):
    """Of what nobody is told; `subject` None: of every one, `until` None: for ever."""

    id: int
    rule: str
    subject: str | None
    until: datetime | None
    reason: str


async def unclosed(connection: Executor) -> list[OpenAlert]:
    """Open alerts, the worst first, those that somebody knows last."""
    return [OpenAlert(**row) for row in await connection.fetch(_OPEN, MOST)]


async def quiet_since(connection: Executor) -> datetime | None:
    """When the last alert was over, or the oldest daemon that runs now began."""
    [row] = await connection.fetch(_QUIET_SINCE)
    found: datetime | None = row["since"]
    return found


async def acknowledge(connection: Executor, alert_id: int, who: str) -> bool:
    """Somebody knows: it is not repeated. False when there is no such alert."""
    return bool(await connection.fetch(_ACKNOWLEDGE, alert_id, who))


async def mutes(connection: Executor) -> list[Mute]:
    """Those in force, the newest first."""
    return [Mute(**row) for row in await connection.fetch(_MUTES, MOST)]


async def mute(connection: Executor, alert_id: int, hours: int | None, reason: str) -> bool:
    """Tell nobody of what this alert is about, for so long or for ever."""
    return bool(await connection.fetch(_MUTE, alert_id, hours, reason))


async def unmute(connection: Executor, mute_id: int) -> bool:
    """Tell of it again; False when there is no such mute."""
    return bool(await connection.fetch(_UNMUTE, mute_id))
