"""The sessions table: who is logged in, where; a row that goes is a session revoked."""

from collections.abc import Collection
from datetime import datetime

import msgspec

from stream.db import Executor
from web.accounts.secrets import csrf_of, hashed, new_key
from web.person import SCOPES, Person, Rights, UserId

_ADD = """
INSERT INTO sessions (hash, user_id, address, agent, expires_at)
VALUES ($1, $2, $3, $4, now() + make_interval(days => $5))
"""
_FIND = """
SELECT users.id, users.name, users.role, sessions.seen_at < now() - interval '1 minute' AS stale
FROM sessions JOIN users ON users.id = sessions.user_id
WHERE hash = $1 AND expires_at > now() AND users.enabled
"""
_SEEN = """
UPDATE sessions SET seen_at = now(), expires_at = now() + make_interval(days => $2) WHERE hash = $1
"""
_ALIVE = """
SELECT hash, users.role FROM sessions JOIN users ON users.id = sessions.user_id
WHERE hash = ANY ($1) AND expires_at > now() AND users.enabled
"""
_OF_USER = """
SELECT hash, created_at, seen_at, expires_at, address, agent FROM sessions
WHERE user_id = $1 AND expires_at > now() ORDER BY seen_at DESC
"""
_END = "DELETE FROM sessions WHERE hash = $1 AND user_id = $2 RETURNING hash"
_END_KEY = "DELETE FROM sessions WHERE hash = $1"
_END_OLDEST = """
DELETE FROM sessions WHERE hash IN
    (SELECT hash FROM sessions WHERE user_id = $1 ORDER BY seen_at DESC OFFSET $2)
"""
_END_ALL = "DELETE FROM sessions WHERE user_id = $1 AND hash IS DISTINCT FROM $2"
_SWEEP = "DELETE FROM sessions WHERE expires_at < now()"
_AGENT_MAX = 300  # characters
MOST = 100  # of one user; the one not seen for longest ends


class Session(msgspec.Struct, frozen=True):
    """Where somebody is logged in."""

    hash: bytes
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    address: str
    agent: str


async def begin(connection: Executor, user_id: UserId, address: str, agent: str, days: int) -> str:
    """The key for the cookie, which is not kept here. Sessions that are over are swept out."""
    key = new_key()
    await connection.execute(_SWEEP)
    agent = "".join(each for each in agent[:_AGENT_MAX] if each.isprintable())
    await connection.execute(_ADD, hashed(key), user_id, address, agent, days)
    await connection.execute(_END_OLDEST, user_id, MOST)
    return key


async def person(connection: Executor, key: str, days: int) -> Person | None:
    """Whose session it is, if it is one; used again, it lasts so many days more."""
    hash_ = hashed(key)
    rows = await connection.fetch(_FIND, hash_)
    if not rows:
        return None
    if rows[0]["stale"]:
        await connection.execute(_SEEN, hash_, days)
    row = rows[0]
    return Person(
        UserId(row["id"]), row["name"], row["role"], frozenset(SCOPES), hash_, csrf_of(key)
    )


async def alive(connection: Executor, hashes: Collection[bytes]) -> dict[bytes, Rights]:
    """Those of these sessions that are not over, and what they may now."""
    rows = await connection.fetch(_ALIVE, list(hashes))
    return {row["hash"]: Rights(row["role"], frozenset(SCOPES)) for row in rows}


async def of_user(connection: Executor, user_id: UserId) -> list[Session]:
    return [Session(**row) for row in await connection.fetch(_OF_USER, user_id)]


async def end(connection: Executor, user_id: UserId, hash_: bytes) -> bool:
    """False when the user has no such session."""
    return bool(await connection.fetch(_END, hash_, user_id))


async def end_key(connection: Executor, key: str) -> None:
    """The session of this key, whosever it is."""
    await connection.execute(_END_KEY, hashed(key))


async def end_all(connection: Executor, user_id: UserId, but: bytes | None = None) -> None:
    """All of a user's sessions, but this one."""
    await connection.execute(_END_ALL, user_id, but)
