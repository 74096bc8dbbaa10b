"""Logins to Postgres with which users read their tweets: the sql_roles table, and the roles.

What such a role sees is decided by the views in sql/schema/sql_access.sql. A trigger drops the role
together with its row, and so with the user.
"""

from datetime import timedelta

import msgspec

from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.tweet import UserId

CONNECTIONS_MAX = 10  # of one role
STATEMENT_TIMEOUT = 60  # seconds
IDLE_TRANSACTION_TIMEOUT = 60  # seconds: an open transaction delays the cleaning of tables
# Users can lift those two themselves, and not this one. An open transaction could fill the queue of
# notifications; then nobody could change a track.
TRANSACTION_MAX = timedelta(minutes=2)
TEMP_FILES_MAX = 1 << 20  # kB of one session; only a superuser may set it
RESTRICT = "SELECT restrict_sql_roles() AS restricted"  # for superusers, also by hand

# Where the program may see and end them: as a superuser, or a member of their roles. Waits for each
# to be gone (up to 5 s): until then it keeps the notifications that it has not read.
_END_LONG = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
JOIN sql_roles ON sql_roles.role_oid = pg_stat_activity.usesysid
WHERE xact_start < now() - $1::interval
  AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))
"""
_FREE_NOTIFICATIONS = "SELECT pg_notification_queue_usage()"  # lets go of those that all have read

# The user's number, and not their name: everyone who can log in may read the names of all roles.
_NAMES = """
SELECT current_database() AS database,
    left(current_database(), 40) || '_user_' || $1::bigint AS role
"""
_RIGHTS = """
SELECT rolname AS name, rolsuper AS super, rolsuper OR rolcreaterole AS may_create
FROM pg_roles WHERE rolname = current_user
"""
_OF_USER = """
SELECT pg_roles.rolname AS name, current_database() AS database FROM sql_roles
JOIN pg_roles ON pg_roles.rolname = sql_roles.role AND pg_roles.oid = sql_roles.role_oid
WHERE user_id = $1
"""
_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS exists"
_ADD = "INSERT INTO sql_roles SELECT $1, rolname, oid FROM pg_roles WHERE rolname = $2"
_REMOVE = "DELETE FROM sql_roles WHERE user_id = $1 RETURNING role"
# Such statements take no parameters: Postgres itself quotes the names and texts in them.
_CREATE = """
SELECT format('CREATE ROLE %I LOGIN NOINHERIT CONNECTION LIMIT %s', $1::text, $2::integer) AS sql
"""
_SET = "SELECT format('ALTER ROLE %I SET %I = %L', $1::text, $2::text, $3::text) AS sql"
_SET_PASSWORD = "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text) AS sql"  # noqa: S105


class SqlRole(msgspec.Struct, frozen=True):
    """A role, and the database that it is for."""

    name: str
    database: str


async def set_password(connection: Executor, user_id: UserId, verifier: str) -> SqlRole:
    """Give the user a role with this password (a SCRAM verifier); one that exists is kept.

    Inside a transaction. TwitterstreamError where the program may not create roles.
    """
    [own] = await connection.fetch(_RIGHTS)
    if not own["may_create"]:
        raise TwitterstreamError(
            f"The database role {own['name']} may not create others. Run as a superuser: "
            f'ALTER ROLE "{own["name"]}" CREATEROLE'
        )
    [names] = await connection.fetch(_NAMES, user_id)
    role: str = names["role"]
    if await of_user(connection, user_id) is None:
        await remove(connection, user_id)  # its role was dropped by hand
        await _create(connection, role)
        await connection.execute(_ADD, user_id, role)
    await _set_limits(connection, role, by_superuser=own["super"])
    await _run(connection, _SET_PASSWORD, role, verifier)
    return SqlRole(role, names["database"])


async def of_user(connection: Executor, user_id: UserId) -> SqlRole | None:
    """The user's role; None: no access."""
    found = await connection.fetch(_OF_USER, user_id)
    return SqlRole(**found[0]) if found else None


async def restrict(connection: Executor) -> bool:
    """Take away what Postgres allows every role; False where only a superuser can."""
    [row] = await connection.fetch(RESTRICT)
    restricted: bool = row["restricted"]
    return restricted


async def remove(connection: Executor, user_id: UserId) -> bool:
    """Drop the user's role; False when there is none."""
    return bool(await connection.fetch(_REMOVE, user_id))


async def end_long_transactions(connection: Executor, limit: timedelta) -> int:
    """End the sessions whose transaction has taken too long; returns how many."""
    ended = await connection.fetch(_END_LONG, limit)
    await connection.fetch(_FREE_NOTIFICATIONS)
    return len(ended)


async def _create(connection: Executor, role: str) -> None:
    [known] = await connection.fetch(_EXISTS, role)
    if known["exists"]:
        raise TwitterstreamError(
            f"The server has a role {role} that is not of this database. If it is left over from "
            f'another one, drop it: DROP ROLE "{role}"'
        )
    await _run(connection, _CREATE, role, CONNECTIONS_MAX)


async def _set_limits(connection: Executor, role: str, *, by_superuser: bool) -> None:
    """Set the limits of its sessions, also those that the user has changed."""
    settings = {
        "search_path": "sql_access",
        "default_transaction_read_only": "on",
        "statement_timeout": f"{STATEMENT_TIMEOUT}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_TIMEOUT}s",
    }
    if by_superuser:
        settings["temp_file_limit"] = f"{TEMP_FILES_MAX}kB"
        settings["log_min_messages"] = "fatal"  # RAISE would fill the disk
    for name, value in settings.items():
        await _run(connection, _SET, role, name, value)


async def _run(connection: Executor, statement: str, *arguments: object) -> None:
    [row] = await connection.fetch(statement, *arguments)
    await connection.execute(row["sql"])
