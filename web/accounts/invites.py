"""The invites table: links that work once, to choose a password."""

from stream.db import Executor
from web.accounts.secrets import hashed, new_key
from web.person import UserId

HOURS = 72

_CLEAR = "DELETE FROM invites WHERE user_id = $1 OR expires_at < now()"
_ADD = """
INSERT INTO invites (hash, user_id, expires_at)
VALUES ($1, $2, now() + make_interval(hours => $3))
"""
_FIND = """
SELECT user_id, (SELECT name FROM users WHERE users.id = user_id) AS name
FROM invites WHERE hash = $1 AND expires_at > now()
    AND (user_id IS NULL OR EXISTS (SELECT FROM users WHERE users.id = user_id AND enabled))
"""
_TAKE = "DELETE FROM invites WHERE hash = $1 AND expires_at > now() RETURNING user_id"
_END = "DELETE FROM invites WHERE user_id IS NOT DISTINCT FROM $1"


async def make(connection: Executor, user_id: UserId | None) -> str:
    """The key of a new link, for a user or for the first admin.

    A user's older ones no longer work. Each running copy of the pages has its own for the first
    admin, until somebody is there.
    """
    key = new_key()
    await connection.execute(_CLEAR, user_id)
    await connection.execute(_ADD, hashed(key), user_id, HOURS)
    return key


async def find(connection: Executor, key: str) -> tuple[UserId | None, str | None] | None:
    """Whose link it is, number and name (both None: the first admin's); None: it works no more."""
    rows = await connection.fetch(_FIND, hashed(key))
    if not rows:
        return None
    number = rows[0]["user_id"]
    return (None if number is None else UserId(number)), rows[0]["name"]


async def take(connection: Executor, key: str) -> bool:
    """Use it up; False when somebody else has."""
    return bool(await connection.fetch(_TAKE, hashed(key)))


async def end(connection: Executor, user_id: UserId | None) -> None:
    """No link of this user, or for the first admin, works any more."""
    await connection.execute(_END, user_id)
