"""Where users have the tweets of their tracks sent to: the table webhooks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, row_count, translated_errors
from stream.tweet import TrackId, UserId

State = Literal["active", "paused", "disabled"]

_SELECT = """
SELECT webhooks.id, user_id, users.name AS owner, webhooks.name, url, tracks, secrets,
    old_secret_until, state, reason, failing_since, position, webhooks.created_at,
    users.enabled AND users.role <> 'viewer' AS allowed
FROM webhooks JOIN users ON users.id = user_id
"""
_BY_ID = f"{_SELECT} WHERE webhooks.id = $1"
_ALL = f"{_SELECT} WHERE $1::bigint IS NULL OR user_id = $1 ORDER BY users.name, webhooks.name"
_LOCK = "SELECT FROM webhooks WHERE id = $1 FOR UPDATE"
_LOCK_USER = "SELECT FROM users WHERE id = $1 FOR UPDATE"
_COUNT = "SELECT count(*)::integer AS number FROM webhooks WHERE user_id = $1"
_ADD = """
INSERT INTO webhooks (user_id, name, url, tracks, secrets, position)
VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
"""
_EDIT = "UPDATE webhooks SET name = $2, url = $3, tracks = $4 WHERE id = $1"
_SET_SECRETS = "UPDATE webhooks SET secrets = $2, old_secret_until = $3 WHERE id = $1"
_SET_STATE = """
UPDATE webhooks SET state = $2, reason = $3, failing_since = NULL WHERE id = $1
"""
_REMOVE = "DELETE FROM webhooks WHERE id = $1"
_ANY_EXIST = "SELECT EXISTS (SELECT FROM webhooks) AS found"
# What is not active is only run for what its user has sent again, or as a test.
_RUNNING = """
SELECT id, state, EXISTS (
    SELECT FROM webhook_deliveries
    WHERE webhook_id = webhooks.id AND next_at <= now()
      AND (webhooks.state = 'active' OR webhook_deliveries.state = 'again')) AS due
FROM webhooks
WHERE EXISTS (SELECT FROM users WHERE users.id = user_id AND enabled AND role <> 'viewer')
ORDER BY id
"""
_MOVE = "UPDATE webhooks SET position = $2 WHERE id = $1"
_SUCCEEDED = """
UPDATE webhooks SET position = $2, reason = '', failing_since = NULL WHERE id = $1
"""
_FAILED = """
UPDATE webhooks SET reason = $2, failing_since = coalesce(failing_since, now())
WHERE id = $1 RETURNING now() - failing_since > make_interval(secs => $3) AS too_long
"""
_DISABLE = "UPDATE webhooks SET state = 'disabled', reason = $2 WHERE id = $1 AND state = 'active'"


class Webhook(msgspec.Struct, frozen=True):
    """A row of webhooks."""

    id: int
    user_id: UserId
    owner: str
    name: str
    url: str
    tracks: Sequence[TrackId] | None  # None: all that the user sees
    secrets: bytes | None  # encrypted
    old_secret_until: datetime | None
    state: State
    reason: str
    failing_since: datetime | None
    position: str
    created_at: datetime
    allowed: bool  # whether its user may have webhooks

    def __repr__(self) -> str:
        return f"Webhook({self.id})"


class NewWebhook(msgspec.Struct, frozen=True):
    """A webhook before it has a row."""

    name: str
    url: str
    tracks: Sequence[TrackId] | None
    secrets: bytes
    position: str


class Running(msgspec.Struct, frozen=True):
    """A webhook that the daemon serves; `due`: it is time for a try."""

    id: int
    state: State
    due: bool


async def by_id(connection: Executor, webhook_id: int) -> Webhook | None:
    rows = await connection.fetch(_BY_ID, webhook_id)
    return Webhook(**rows[0]) if rows else None


async def get_all(connection: Executor, user_id: UserId | None = None) -> list[Webhook]:
    """The webhooks of a user, or of all, by name."""
    return [Webhook(**row) for row in await connection.fetch(_ALL, user_id)]


async def lock(connection: Executor, webhook_id: int) -> None:
    """Let no other transaction change this webhook until this one ends."""
    await connection.execute(_LOCK, webhook_id)


async def lock_count(connection: Executor, user_id: UserId) -> int:
    """How many webhooks a user has; two requests at once are counted one after the other."""
    await connection.execute(_LOCK_USER, user_id)
    [row] = await connection.fetch(_COUNT, user_id)
    number: int = row["number"]
    return number


async def add(connection: Executor, user_id: UserId, new: NewWebhook) -> int:
    """Add a webhook; its id. RowRefused where the user has one of this name."""
    values = (new.name, new.url, new.tracks, new.secrets, new.position)
    with translated_errors():
        [row] = await connection.fetch(_ADD, user_id, *values)
    webhook_id: int = row["id"]
    return webhook_id


async def edit(
    connection: Executor, webhook_id: int, name: str, url: str, tracks: Sequence[TrackId] | None
) -> None:
    """Change it; RowRefused where the user has another one of this name."""
    with translated_errors():
        await connection.execute(_EDIT, webhook_id, name, url, tracks)


async def set_secrets(
    connection: Executor, webhook_id: int, secrets: bytes, old_until: datetime | None
) -> None:
    await connection.execute(_SET_SECRETS, webhook_id, secrets, old_until)


async def set_state(connection: Executor, webhook_id: int, state: State) -> None:
    """Pause or resume it; its failures are forgotten."""
    await connection.execute(_SET_STATE, webhook_id, state, "")


async def remove(connection: Executor, webhook_id: int) -> bool:
    """Delete it with its deliveries; False when there is none."""
    return bool(row_count(await connection.execute(_REMOVE, webhook_id)))


async def any_exist(connection: Executor) -> bool:
    """Whether there are webhooks, in whatever state."""
    [row] = await connection.fetch(_ANY_EXIST)
    found: bool = row["found"]
    return found


async def running(connection: Executor) -> list[Running]:
    """All webhooks of users who may have some."""
    return [Running(**row) for row in await connection.fetch(_RUNNING)]


async def move(connection: Executor, webhook_id: int, position: str) -> None:
    await connection.execute(_MOVE, webhook_id, position)


async def note_success(connection: Executor, webhook_id: int, position: str) -> None:
    """It works, and has everything up to this position."""
    await connection.execute(_SUCCEEDED, webhook_id, position)


async def note_failure(
    connection: Executor, webhook_id: int, reason: str, seconds_max: float
) -> bool:
    """Note why it fails; whether it has failed for longer than this."""
    rows = await connection.fetch(_FAILED, webhook_id, reason, seconds_max)
    return bool(rows and rows[0]["too_long"])


async def disable(connection: Executor, webhook_id: int, reason: str) -> None:
    """Send nothing more, until its user resumes it."""
    await connection.execute(_DISABLE, webhook_id, reason)
