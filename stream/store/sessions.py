"""The sessions and tokens tables: the keys that browsers and programs authenticate with.

Only hashes of keys are stored. A deleted row is a session or a token revoked.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from stream.db import Executor, row_count
from stream.store.users import Role
from stream.tweet import UserId

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
SESSIONS_MAX = 100  # of one user; the one not used for longest ends

_ADD_SESSION = """
INSERT INTO sessions (hash, user_id, address, agent, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(days => $5))
"""
_SESSION_OWNER = """
SELECT users.id, users.name, users.role, users.time_zone, users.locale,
    sessions.seen_at < now() - interval '1 minute' AS stale
FROM sessions JOIN users ON users.id = sessions.user_id
WHERE hash = $1 AND expires_at > now() AND users.enabled
"""
_EXTEND_SESSION = """
UPDATE sessions SET seen_at = now(), expires_at = now() + make_interval(days => $2) WHERE hash = $1
"""
_SESSION_RIGHTS = """
SELECT hash, users.role FROM sessions JOIN users ON users.id = sessions.user_id
WHERE hash = ANY ($1) AND expires_at > now() AND users.enabled
"""
_SESSIONS_OF = """
SELECT hash, created_at, seen_at, expires_at, address, agent FROM sessions
WHERE user_id = $1 AND expires_at > now() ORDER BY seen_at DESC
"""
_REVOKE_SESSION = "DELETE FROM sessions WHERE hash = $1 RETURNING user_id"
_REVOKE_SESSION_OF = "DELETE FROM sessions WHERE hash = $1 AND user_id = $2 RETURNING user_id"
_REVOKE_OLDEST = """
DELETE FROM sessions WHERE hash IN
    (SELECT hash FROM sessions WHERE user_id = $1 ORDER BY seen_at DESC OFFSET $2)
"""
_REVOKE_SESSIONS = "DELETE FROM sessions WHERE user_id = $1 AND hash IS DISTINCT FROM $2"
_DELETE_EXPIRED = "DELETE FROM sessions WHERE expires_at < now()"
_PRUNE_SESSIONS = """
DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions WHERE expires_at < $1 LIMIT $2)
"""

_ADD_TOKEN = """
INSERT INTO tokens (user_id, name, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)
RETURNING id
"""  # noqa: S105
_COUNT_TOKENS = "SELECT count(*) AS number FROM tokens WHERE user_id = $1"
_TOKEN_OWNER = """
SELECT tokens.id AS token_id, users.id, users.name, users.role, tokens.scopes,
    coalesce(used_at < now() - interval '1 minute', true) AS stale
FROM tokens JOIN users ON users.id = tokens.user_id
WHERE hash = $1 AND users.enabled AND (expires_at IS NULL OR expires_at > now())
"""  # noqa: S105
_NOTE_USED = "UPDATE tokens SET used_at = now() WHERE id = $1"
_TOKEN_RIGHTS = """
SELECT hash, users.role, tokens.scopes FROM tokens JOIN users ON users.id = tokens.user_id
WHERE hash = ANY ($1) AND users.enabled AND (expires_at IS NULL OR expires_at > now())
"""  # noqa: S105
_TOKENS_OF = """
SELECT id, name, scopes, created_at, used_at, expires_at FROM tokens
WHERE user_id = $1 ORDER BY id
"""
_REVOKE_TOKEN = "DELETE FROM tokens WHERE id = $1 AND user_id = $2 RETURNING id"  # noqa: S105
_REVOKE_TOKENS = "DELETE FROM tokens WHERE user_id = $1"


class Rights(NamedTuple):
    """What a session or token allows: the user's role, and the scopes of the token."""

    role: Role
    scopes: frozenset[Scope]


class KeyOwner(msgspec.Struct, frozen=True):
    """The user that a session or a token belongs to."""

    id: UserId
    name: str
    rights: Rights
    time_zone: str | None = None  # for a session: in which the pages show times
    locale: str | None = None


class Session(msgspec.Struct, frozen=True):
    """One browser that a user is logged in with."""

    hash: bytes
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    agent: str


class Token(msgspec.Struct, frozen=True):
    """What is kept of a token after it was shown once."""

    id: int
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None


async def add_session(
    connection: Executor, user_id: UserId, key_hash: bytes, address: str, agent: str, days: int
) -> None:
    """Start a session; expired ones, and the user's oldest beyond the limit, are deleted."""
    await connection.execute(_DELETE_EXPIRED)
    await connection.execute(_ADD_SESSION, key_hash, user_id, address, agent, days)
    await connection.execute(_REVOKE_OLDEST, user_id, SESSIONS_MAX)


async def session_owner(connection: Executor, key_hash: bytes, days: int) -> KeyOwner | None:
    """Whose session it is, if it is valid; each use extends it to `days` from now."""
    rows = await connection.fetch(_SESSION_OWNER, key_hash)
    if not rows:
        return None
    row = rows[0]
    if row["stale"]:
        await connection.execute(_EXTEND_SESSION, key_hash, days)
    rights = Rights(row["role"], frozenset(SCOPES))
    return KeyOwner(row["id"], row["name"], rights, row["time_zone"], row["locale"])


async def session_rights(
    connection: Executor, key_hashes: Collection[bytes]
) -> dict[bytes, Rights]:
    """Select the sessions that are still valid, with the rights of each."""
    rows = await connection.fetch(_SESSION_RIGHTS, list(key_hashes)) if key_hashes else []
    return {row["hash"]: Rights(row["role"], frozenset(SCOPES)) for row in rows}


async def sessions_of(connection: Executor, user_id: UserId) -> list[Session]:
    """The user's sessions, the last used first."""
    return [Session(**row) for row in await connection.fetch(_SESSIONS_OF, user_id)]


async def revoke_session(
    connection: Executor, key_hash: bytes, user_id: UserId | None = None
) -> bool:
    """End one session; False when there is none (or, with `user_id`, it is not this user's)."""
    if user_id is None:
        return bool(await connection.fetch(_REVOKE_SESSION, key_hash))
    return bool(await connection.fetch(_REVOKE_SESSION_OF, key_hash, user_id))


async def revoke_sessions(
    connection: Executor, user_id: UserId, except_for: bytes | None = None
) -> None:
    """End all sessions of a user, but for the one with this hash."""
    await connection.execute(_REVOKE_SESSIONS, user_id, except_for)


async def prune_sessions(connection: Executor, before: datetime, limit: int) -> int:
    """Delete sessions that expired before then; returns how many."""
    return row_count(await connection.execute(_PRUNE_SESSIONS, before, limit))


async def add_token(
    connection: Executor,
    user_id: UserId,
    key_hash: bytes,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None,
) -> int:
    """Add a token; its id."""
    values = user_id, name, key_hash, sorted(scopes), expires_at
    [row] = await connection.fetch(_ADD_TOKEN, *values)
    return int(row["id"])


async def count_tokens(connection: Executor, user_id: UserId) -> int:
    [row] = await connection.fetch(_COUNT_TOKENS, user_id)
    return int(row["number"])


async def token_owner(connection: Executor, key_hash: bytes) -> KeyOwner | None:
    """Whose token it is, if it is valid."""
    rows = await connection.fetch(_TOKEN_OWNER, key_hash)
    if not rows:
        return None
    row = rows[0]
    if row["stale"]:
        await connection.execute(_NOTE_USED, row["token_id"])
    return KeyOwner(row["id"], row["name"], Rights(row["role"], frozenset(row["scopes"])))


async def token_rights(connection: Executor, key_hashes: Collection[bytes]) -> dict[bytes, Rights]:
    """Select the tokens that are still valid, with the rights of each."""
    rows = await connection.fetch(_TOKEN_RIGHTS, list(key_hashes)) if key_hashes else []
    return {row["hash"]: Rights(row["role"], frozenset(row["scopes"])) for row in rows}


async def tokens_of(connection: Executor, user_id: UserId) -> list[Token]:
    """The user's tokens, the oldest first."""
    return [Token(**row) for row in await connection.fetch(_TOKENS_OF, user_id)]


async def revoke_token(connection: Executor, user_id: UserId, token_id: int) -> bool:
    """False when the user has no such token."""
    return bool(await connection.fetch(_REVOKE_TOKEN, token_id, user_id))


async def revoke_tokens(connection: Executor, user_id: UserId) -> None:
    """End all tokens of a user."""
    await connection.execute(_REVOKE_TOKENS, user_id)
