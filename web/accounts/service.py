"""Changes of users by pages and commands: the rules, with an error for a person where one fails."""

import contextlib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from stream import files
from stream.db import Executor
from stream.errors import RowRefused
from stream.store import look_backs, sessions, tracks, users
from stream.store.users import Role, User
from stream.tweet import UserId
from web.accounts.credentials import hashed, new_key
from web.problem import Problem

FIRST_ADMIN_LINK_FILE = "first-admin-link"  # in data_dir
MAX_TRACKS_LIMIT = 1_000_000  # as the table's constraint
LOOK_BACKS_MAX = 20  # of one user that wait or run
LOOK_BACK_RETRY = 60  # seconds after which one may have finished

_NAME_RULE = (
    "A name has at most 63 characters: lower-case letters, digits, dots, dashes and underscores."
)
_LAST_ADMIN = "This is the last admin. Make another user an admin first."


class Limits(msgspec.Struct, frozen=True):
    """What admins limit for each user; None: no limit."""

    max_tracks: Annotated[int, Meta(ge=0, le=MAX_TRACKS_LIMIT)] | None = None


async def add_user(
    connection: Executor, name: str, role: Role, password: str | None = None
) -> UserId:
    """Add a user with a hashed password, if any. Problem when the name is taken or unfit."""
    try:
        return await users.add(connection, name, role, password)
    except RowRefused as error:
        raise _refusal(error.constraint, name) from error


async def add_first_admin(connection: Executor, name: str, password: str) -> UserId | None:
    """Add the first admin in a transaction; None when there is one already."""
    await users.lock(connection)
    try:
        return await users.add_first(connection, name, password)
    except RowRefused as error:
        raise _refusal(error.constraint, name) from error


def _refusal(constraint: str, name: str) -> Problem:
    match constraint:
        case "users_name_unique":
            return Problem("conflict", f"There is already a user {name}.", field="name")
        case "users_name_plain":
            return Problem("invalid", _NAME_RULE, field="name")
    return Problem("invalid", "This user cannot be stored.", field="name")


async def change_access(
    connection: Executor, user_id: int, *, role: Role | None = None, enabled: bool | None = None
) -> User | None:
    """Change the role, or enable or disable; None stays. A disabled user is logged out.

    Gives the user as it was, None when there is no such user; Problem when no admin would be left.
    Inside a transaction.
    """
    await users.lock(connection)
    user = await users.by_id(connection, user_id)
    if user is None:
        return None
    role = user.role if role is None else role
    enables = user.enabled if enabled is None else enabled
    was_admin, stays_admin = user.role == "admin" and user.enabled, role == "admin" and enables
    if was_admin and not stays_admin and not await users.count_other_admins(connection, user_id):
        raise Problem("conflict", _LAST_ADMIN)
    await users.set_access(connection, user_id, role, enabled=enables)
    if enabled is False:
        await sessions.revoke_sessions(connection, user.id)
        await users.revoke_invites(connection, user.id)
    return user


async def set_password(
    connection: Executor,
    user_id: UserId,
    password: str,
    *,
    keep_session: bytes | None = None,
    end_tokens: bool = False,
) -> None:
    """Store a hashed password; all sessions end but one, and on request all API tokens."""
    await users.set_password(connection, user_id, password)
    await sessions.revoke_sessions(connection, user_id, keep_session)
    if end_tokens:
        await sessions.revoke_tokens(connection, user_id)


async def new_invite(connection: Executor, user_id: UserId | None) -> str:
    """The key of a one-time link, for a user or (None) for the first admin."""
    key = new_key()
    await users.add_invite(connection, user_id, hashed(key))
    return key


async def require_track_quota(connection: Executor, owner: str, more: int) -> None:
    """Problem when `more` tracks exceed the user's limit. In the transaction that adds them."""
    most = await users.lock_max_tracks(connection, owner)
    if most is None:
        return
    present = await tracks.count_of_owner(connection, owner)
    if present + more > most:
        words = f"{owner} has {present:,} tracks, and the limit is {most:,}."
        raise Problem("conflict", f"{words} Remove some, or ask an admin to raise the limit.")


async def require_look_back_quota(connection: Executor, name: str, more: int = 0) -> None:
    """Problem when one user has too many look-backs waiting or running, with `more` new ones.

    Two requests at the same time may together exceed it once.
    """
    number = await look_backs.unfinished_of(connection, name) + more
    if number > LOOK_BACKS_MAX:
        words = (
            f"At most {LOOK_BACKS_MAX} look-backs of a user may wait or run, and these would make"
            f" it {number:,}: wait until some end, cancel some, or request fewer."
        )
        raise Problem("too_many", words, field="look_back", retry_after=LOOK_BACK_RETRY)


def write_first_admin_link(data_dir: Path, link: str) -> Path:
    """Write the link so that only our own system user can read it. OSError when that fails.

    It is as good as a password until it is used, so it is never logged.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / FIRST_ADMIN_LINK_FILE
    files.write(path, f"{link}\n".encode())
    return path


def remove_first_admin_link(data_dir: Path) -> None:
    """Delete the file: the link was used, or there is an admin already."""
    with contextlib.suppress(OSError):
        (data_dir / FIRST_ADMIN_LINK_FILE).unlink()
