"""The users table: every statement that touches it."""

from datetime import datetime

import msgspec

from stream.db import Executor, meaning
from stream.errors import RowRefused
from web.person import Role, UserId
from web.problem import Problem

_COLUMNS = "id, name, role, enabled, password IS NOT NULL AS ready, created_at, seen_at"
_ALL = f"SELECT {_COLUMNS} FROM users ORDER BY name"  # noqa: S608 - a constant
_NAMED = f"SELECT {_COLUMNS} FROM users WHERE name = $1"  # noqa: S608 - a constant
_ANY = "SELECT EXISTS (SELECT FROM users) AS some"
_ADD = "INSERT INTO users (name, role, password) VALUES ($1, $2, $3) RETURNING id"
# Two who open the first link at once: one of them comes first.
_ADD_FIRST = """
INSERT INTO users (name, role, password)
SELECT $1, 'admin', $2 WHERE NOT EXISTS (SELECT FROM users) RETURNING id
"""
_LOCK = "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"
_PASSWORD = "SELECT id, password FROM users WHERE name = $1 AND enabled"  # noqa: S105
_SET_PASSWORD = "UPDATE users SET password = $2 WHERE id = $1"  # noqa: S105
_OF_ID = f"SELECT {_COLUMNS} FROM users WHERE id = $1"  # noqa: S608 - a constant
_SET = "UPDATE users SET role = $2, enabled = $3 WHERE id = $1"
# Who has not used his link yet cannot log in: he does not count.
_ADMINS = """
SELECT count(*) AS number FROM users
WHERE role = 'admin' AND enabled AND password IS NOT NULL AND id <> $1
"""
_SEEN = """
UPDATE users SET seen_at = now()
WHERE id = $1 AND (seen_at IS NULL OR seen_at < now() - interval '1 minute')
"""


class User(msgspec.Struct, frozen=True):
    """A row of users, without its password; `ready`: there is one."""

    id: UserId
    name: str
    role: Role
    enabled: bool
    ready: bool
    created_at: datetime
    seen_at: datetime | None


async def everybody(connection: Executor) -> list[User]:
    return [User(**row) for row in await connection.fetch(_ALL)]


async def named(connection: Executor, name: str) -> User | None:
    rows = await connection.fetch(_NAMED, name)
    return User(**rows[0]) if rows else None


async def of_id(connection: Executor, user_id: int) -> User | None:
    rows = await connection.fetch(_OF_ID, user_id)
    return User(**rows[0]) if rows else None


async def there_are_any(connection: Executor) -> bool:
    [row] = await connection.fetch(_ANY)
    return bool(row["some"])


async def add(connection: Executor, name: str, role: Role, password: str | None = None) -> UserId:
    """`password` hashed. Problem when the name is taken or no name."""
    try:
        with meaning():
            [row] = await connection.fetch(_ADD, name, role, password)
    except RowRefused as error:
        raise _refusal(str(error), name) from error
    return UserId(row["id"])


async def add_first(connection: Executor, name: str, password: str) -> UserId | None:
    """The first admin; None when there is somebody already. Inside a transaction."""
    await connection.execute(_LOCK)
    try:
        with meaning():
            rows = await connection.fetch(_ADD_FIRST, name, password)
    except RowRefused as error:
        raise _refusal(str(error), name) from error
    return UserId(rows[0]["id"]) if rows else None


def _refusal(error: str, name: str) -> Problem:
    if "users_name_unique" in error:
        return Problem("conflict", f"There is a user {name} already.", field="name")
    if "users_name_plain" in error:
        words = "A name is small letters, digits, dots, dashes and underscores, at most 63."
        return Problem("invalid", words, field="name")
    return Problem("invalid", "This user cannot be stored.", field="name")


async def password_of(connection: Executor, name: str) -> tuple[UserId, str | None] | None:
    """The number and the hash of an enabled user."""
    rows = await connection.fetch(_PASSWORD, name)
    return (UserId(rows[0]["id"]), rows[0]["password"]) if rows else None


async def set_password(connection: Executor, user_id: UserId, password: str) -> None:
    await connection.execute(_SET_PASSWORD, user_id, password)


async def change(
    connection: Executor, user_id: int, *, role: Role | None = None, enabled: bool | None = None
) -> User | None:
    """What is None stays; the user as he was, None when there is no such.

    Problem when no admin would be left. Inside a transaction.
    """
    await connection.execute(_LOCK)
    user = await of_id(connection, user_id)
    if user is None:
        return None
    role = user.role if role is None else role
    enabled = user.enabled if enabled is None else enabled
    if user.role == "admin" and user.enabled and not (role == "admin" and enabled):
        [row] = await connection.fetch(_ADMINS, user_id)
        if row["number"] == 0:
            raise Problem("conflict", "Somebody must remain admin: make another one first.")
    await connection.execute(_SET, user_id, role, enabled)
    return user


async def note_seen(connection: Executor, user_id: UserId) -> None:
    await connection.execute(_SEEN, user_id)
