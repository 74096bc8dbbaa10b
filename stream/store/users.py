"""The users table, and the invites table: one-time links to choose a password."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from stream.db import Executor, row_count, translated_errors
from stream.tweet import UserId

Role = Literal["admin", "user", "viewer"]

INVITE_HOURS = 72  # a link works this long

_COLUMNS = "id, name, role, enabled, password IS NOT NULL AS ready, created_at, seen_at"
_ALL = f"SELECT {_COLUMNS} FROM users ORDER BY name"  # noqa: S608 - a constant
_BY_NAME = f"SELECT {_COLUMNS} FROM users WHERE name = $1"  # noqa: S608 - a constant
_BY_ID = f"SELECT {_COLUMNS} FROM users WHERE id = $1"  # noqa: S608 - a constant
_ANY_ADMIN = "SELECT EXISTS (SELECT FROM users WHERE role = 'admin') AS any"
_EXISTING_NAMES = "SELECT name FROM users WHERE name = ANY ($1)"
_ADD = "INSERT INTO users (name, role, password) VALUES ($1, $2, $3) RETURNING id"
_ADD_FIRST = """
INSERT INTO users (name, role, password)
SELECT $1, 'admin', $2 WHERE NOT EXISTS (SELECT FROM users WHERE role = 'admin')
RETURNING id
"""
_LOCK = "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"
_PASSWORD = "SELECT id, password FROM users WHERE name = $1 AND enabled"  # noqa: S105
_SET_PASSWORD = "UPDATE users SET password = $2 WHERE id = $1"  # noqa: S105
_SET_DATES = "UPDATE users SET time_zone = $2, locale = $3 WHERE id = $1"
_SET_ACCESS = "UPDATE users SET role = $2, enabled = $3 WHERE id = $1"
# An admin who has not chosen a password yet cannot log in, and does not count.
_OTHER_ADMINS = """
SELECT count(*) AS number FROM users
WHERE role = 'admin' AND enabled AND password IS NOT NULL AND id <> $1
"""
_NOTE_SEEN = """
UPDATE users SET seen_at = now()
WHERE id = $1 AND (seen_at IS NULL OR seen_at < now() - interval '1 minute')
"""
_SET_MAX_TRACKS = "UPDATE users SET max_tracks = $2 WHERE id = $1 RETURNING id"
_LOCK_MAX_TRACKS = "SELECT max_tracks FROM users WHERE name = $1 FOR UPDATE"

_CLEAR_INVITES = "DELETE FROM invites WHERE user_id = $1 OR expires_at < now()"
_ADD_INVITE = """
INSERT INTO invites (hash, user_id, expires_at)
VALUES ($1, $2, now() + make_interval(hours => $3))
"""
_FIND_INVITE = """
SELECT user_id, (SELECT name FROM users WHERE users.id = user_id) AS name
FROM invites WHERE hash = $1 AND expires_at > now()
    AND CASE WHEN user_id IS NULL THEN NOT EXISTS (SELECT FROM users WHERE role = 'admin')
             ELSE EXISTS (SELECT FROM users WHERE users.id = user_id AND enabled) END
"""
_USE_INVITE = "DELETE FROM invites WHERE hash = $1 AND expires_at > now() RETURNING user_id"
_REVOKE_INVITES = "DELETE FROM invites WHERE user_id IS NOT DISTINCT FROM $1"
_PRUNE_INVITES = """
DELETE FROM invites WHERE hash IN (SELECT hash FROM invites WHERE expires_at < $1 LIMIT $2)
"""
_SUMMARIES = """
SELECT id, name, role, enabled, password IS NOT NULL AS ready, created_at, seen_at,
    max_tracks, (SELECT count(*) FROM tracks WHERE owner = users.name) AS tracks,
    (SELECT count(*) FROM sessions WHERE user_id = users.id AND expires_at > now()) AS sessions,
    (SELECT count(*) FROM tokens WHERE user_id = users.id
        AND (expires_at IS NULL OR expires_at > now())) AS tokens
FROM users WHERE $1::bigint IS NULL OR id = $1 ORDER BY name
"""


class User(msgspec.Struct, frozen=True):
    """A row of users, without the password; `ready`: one has been chosen."""

    id: UserId
    name: str
    role: Role
    enabled: bool
    ready: bool
    created_at: datetime
    seen_at: datetime | None


class Invite(msgspec.Struct, frozen=True):
    """Whose link it is; both are None in the link that makes the first admin."""

    user_id: UserId | None
    name: str | None


async def all(connection: Executor) -> list[User]:  # noqa: A001 - read as `users.all`
    """All users, by name."""
    return [User(**row) for row in await connection.fetch(_ALL)]


async def by_name(connection: Executor, name: str) -> User | None:
    rows = await connection.fetch(_BY_NAME, name)
    return User(**rows[0]) if rows else None


async def by_id(connection: Executor, user_id: int) -> User | None:
    rows = await connection.fetch(_BY_ID, user_id)
    return User(**rows[0]) if rows else None


async def any_admin(connection: Executor) -> bool:
    """Whether there is an admin yet."""
    [row] = await connection.fetch(_ANY_ADMIN)
    return bool(row["any"])


async def existing_names(connection: Executor, names: Iterable[str]) -> set[str]:
    """Select the names that are users."""
    possible = [name for name in names if "\0" not in name]  # Postgres has no text with NUL
    return {row["name"] for row in await connection.fetch(_EXISTING_NAMES, possible)}


async def lock(connection: Executor) -> None:
    """Let no other transaction change users until this one ends."""
    await connection.execute(_LOCK)


async def add(connection: Executor, name: str, role: Role, password: str | None) -> UserId:
    """Add a user with the hash of a password. RowRefused where the name is taken or unfit."""
    with translated_errors():
        [row] = await connection.fetch(_ADD, name, role, password)
    return UserId(row["id"])


async def add_first(connection: Executor, name: str, password: str) -> UserId | None:
    """Add the first admin; None when there is one already. Lock the table first."""
    with translated_errors():
        rows = await connection.fetch(_ADD_FIRST, name, password)
    return UserId(rows[0]["id"]) if rows else None


async def set_access(connection: Executor, user_id: int, role: Role, *, enabled: bool) -> None:
    await connection.execute(_SET_ACCESS, user_id, role, enabled)


async def count_other_admins(connection: Executor, user_id: int) -> int:
    """How many other users can log in as an admin."""
    [row] = await connection.fetch(_OTHER_ADMINS, user_id)
    return int(row["number"])


async def password_hash(connection: Executor, name: str) -> tuple[UserId, str | None] | None:
    """Id and hashed password of an enabled user."""
    rows = await connection.fetch(_PASSWORD, name)
    return (UserId(rows[0]["id"]), rows[0]["password"]) if rows else None


async def set_password(connection: Executor, user_id: UserId, password: str) -> None:
    await connection.execute(_SET_PASSWORD, user_id, password)


async def set_dates(
    connection: Executor, user_id: UserId, time_zone: str | None, locale: str | None
) -> None:
    """How the pages show times to this user; None: as the browser does."""
    await connection.execute(_SET_DATES, user_id, time_zone, locale)


async def note_seen(connection: Executor, user_id: UserId) -> None:
    """Note that the user made a request now, once a minute."""
    await connection.execute(_NOTE_SEEN, user_id)


async def set_max_tracks(connection: Executor, user_id: int, max_tracks: int | None) -> bool:
    """False when there is no such user."""
    return bool(await connection.fetch(_SET_MAX_TRACKS, user_id, max_tracks))


async def lock_max_tracks(connection: Executor, name: str) -> int | None:
    """How many tracks a user may have; None: any number.

    The user's row stays locked, so that two requests at once are counted one after the other.
    """
    rows = await connection.fetch(_LOCK_MAX_TRACKS, name)
    return rows[0]["max_tracks"] if rows else None


async def add_invite(connection: Executor, user_id: UserId | None, key_hash: bytes) -> None:
    """Add a link for a user, or (None) for the first admin.

    A user's older links stop working. Each running copy of the pages has its own for the first
    admin, until there is a user.
    """
    await connection.execute(_CLEAR_INVITES, user_id)
    await connection.execute(_ADD_INVITE, key_hash, user_id, INVITE_HOURS)


async def find_invite(connection: Executor, key_hash: bytes) -> Invite | None:
    """Find the invite of a link; None if the link is invalid or has expired."""
    rows = await connection.fetch(_FIND_INVITE, key_hash)
    return Invite(**rows[0]) if rows else None


async def use_invite(connection: Executor, key_hash: bytes) -> bool:
    """Use the link up; False when another request has."""
    return bool(await connection.fetch(_USE_INVITE, key_hash))


async def revoke_invites(connection: Executor, user_id: UserId | None) -> None:
    """End all links of a user, or (None) those for the first admin."""
    await connection.execute(_REVOKE_INVITES, user_id)


async def prune_invites(connection: Executor, before: datetime, limit: int) -> int:
    """Delete links that expired before then; returns how many."""
    return row_count(await connection.execute(_PRUNE_INVITES, before, limit))


class UserSummary(msgspec.Struct, frozen=True):
    """A user, and how many tracks, sessions and tokens they have; `ready`: with a password."""

    id: UserId
    name: str
    role: Role
    enabled: bool
    ready: bool
    created_at: datetime
    seen_at: datetime | None
    max_tracks: int | None
    tracks: int
    sessions: int
    tokens: int


async def summaries(connection: Executor, user_id: int | None = None) -> list[UserSummary]:
    """All users by name, or this one if it exists."""
    return [UserSummary(**row) for row in await connection.fetch(_SUMMARIES, user_id)]
