"""The tokens table: personal keys for programs."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from stream.db import Executor
from web.accounts.secrets import hashed, new_key
from web.person import Person, Rights, Scope, UserId
from web.problem import Problem

PREFIX = "ts_"  # so that a token is known for one wherever it turns up
MOST = 50  # of one user

_ADD = """
INSERT INTO tokens (user_id, name, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5)
RETURNING id
"""
_COUNT = "SELECT count(*) AS number FROM tokens WHERE user_id = $1"
_FIND = """
SELECT tokens.id AS token_id, users.id, users.name, users.role, tokens.scopes,
    coalesce(used_at < now() - interval '1 minute', true) AS stale
FROM tokens JOIN users ON users.id = tokens.user_id
WHERE hash = $1 AND users.enabled AND (expires_at IS NULL OR expires_at > now())
"""
_USED = "UPDATE tokens SET used_at = now() WHERE id = $1"
_ALIVE = """
SELECT hash, users.role, tokens.scopes FROM tokens JOIN users ON users.id = tokens.user_id
WHERE hash = ANY ($1) AND users.enabled AND (expires_at IS NULL OR expires_at > now())
"""
_OF_USER = """
SELECT id, name, scopes, created_at, used_at, expires_at FROM tokens
WHERE user_id = $1 ORDER BY id
"""
_END = "DELETE FROM tokens WHERE id = $1 AND user_id = $2 RETURNING id"


class Token(msgspec.Struct, frozen=True):
    """What is known of a token after it was shown once."""

    id: int
    name: str
    scopes: Sequence[Scope]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None


async def make(
    connection: Executor,
    user_id: UserId,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
) -> tuple[int, str]:
    """Number and token, which is not kept. Problem when the user has too many already."""
    [row] = await connection.fetch(_COUNT, user_id)
    if row["number"] >= MOST:
        raise Problem("conflict", f"There are {MOST} tokens already: end one that is not used.")
    token = PREFIX + new_key()
    [row] = await connection.fetch(_ADD, user_id, name, hashed(token), sorted(scopes), expires_at)
    return row["id"], token


async def person(connection: Executor, token: str) -> Person | None:
    """Whose token it is, if it is one."""
    rows = await connection.fetch(_FIND, hashed(token))
    if not rows:
        return None
    row = rows[0]
    if row["stale"]:
        await connection.execute(_USED, row["token_id"])
    return Person(UserId(row["id"]), row["name"], row["role"], frozenset(row["scopes"]))


async def alive(connection: Executor, hashes: Collection[bytes]) -> dict[bytes, Rights]:
    """Those of these tokens, by their hashes, that are still valid, and what they may now."""
    rows = await connection.fetch(_ALIVE, list(hashes))
    return {row["hash"]: Rights(row["role"], frozenset(row["scopes"])) for row in rows}


async def of_user(connection: Executor, user_id: UserId) -> list[Token]:
    return [Token(**row) for row in await connection.fetch(_OF_USER, user_id)]


async def end(connection: Executor, user_id: UserId, token_id: int) -> bool:
    """False when the user has no such token."""
    return bool(await connection.fetch(_END, token_id, user_id))
