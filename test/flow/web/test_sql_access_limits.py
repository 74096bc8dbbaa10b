"""Logins to Postgres have limits: locks, connections, time, and the log."""

import base64
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from sql_readers import People, Reader, opened_people, store_five_tracks
from stream.errors import TwitterstreamError
from stream.store import sql_roles
from waiting import Eventually
from web.accounts.sql_access import new_login, scram_verifier
from web_app import WebApp


@pytest.fixture
async def people(app: WebApp, eventually: Eventually) -> AsyncIterator[People]:
    async with opened_people(app, eventually) as made:
        yield made


@pytest.fixture
async def filled(app: WebApp) -> WebApp:
    await store_five_tracks(app)
    return app


async def test_nobody_can_hold_the_locks_of_the_program(filled: WebApp, people: People) -> None:
    """With one of them a login would stop the collection of all sources."""
    reader = await people.reader("ana")
    functions = reader.rows(
        "SELECT proname, pronargs FROM pg_proc WHERE proname LIKE '%advisory%' ORDER BY oid"
    )
    assert functions
    for name, arguments in functions:
        call = f"SELECT {name}({', '.join('1' * arguments)})"
        assert reader.refused(call) == "42501", call
    await filled.store_tweets({"text": "snow"})  # with those locks


async def test_a_new_password_brings_the_limits_back(filled: WebApp, people: People) -> None:
    reader = await people.reader("ana")
    reader.rows("SELECT set_config('default_transaction_read_only', 'off', false)")
    for setting in ("default_transaction_read_only = off", "statement_timeout = 0"):
        reader.connection.execute(f"ALTER ROLE CURRENT_USER SET {setting}".encode())
    again = await people.reader("ana")
    [(only_reads, timeout)] = again.rows(
        "SELECT current_setting('default_transaction_read_only'),"
        " current_setting('statement_timeout')"
    )
    assert (only_reads, timeout) == ("on", "1min")


async def test_a_role_has_limits(filled: WebApp, people: People) -> None:
    reader = await people.reader("ana")
    for name, value in (
        ("statement_timeout", "1min"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("default_transaction_read_only", "on"),
        ("search_path", "sql_access"),
    ):
        assert reader.rows(f"SHOW {name}") == [(value,)]
    more = [Reader(reader.url) for _ in range(sql_roles.CONNECTIONS_MAX - 1)]
    with pytest.raises(psycopg.OperationalError, match="too many connections"):
        Reader(reader.url)
    for each in more:
        each.connection.close()


async def test_messages_of_a_role_do_not_fill_the_log(filled: WebApp, people: People) -> None:
    reader = await people.reader("ana")
    assert reader.rows("SHOW log_min_messages") == [("fatal",)]
    assert reader.refused("SET log_min_messages = log") == "42501"


async def test_a_transaction_ends_although_its_user_has_lifted_the_limits(
    filled: WebApp, people: People, eventually: Eventually
) -> None:
    reader, other = await people.reader("ana"), await people.reader("bob")
    reader.rows("SELECT set_config('idle_in_transaction_session_timeout', '0', false)")
    reader.connection.execute("BEGIN")
    reader.rows("SELECT 1")
    async with filled.database.acquire() as connection:
        limit = sql_roles.TRANSACTION_MAX
        assert await sql_roles.end_long_transactions(connection, limit) == 0
        assert await sql_roles.end_long_transactions(connection, timedelta(0)) == 1
    with pytest.raises(psycopg.OperationalError):
        reader.rows("SELECT 1")
    assert other.rows("SELECT 1") == [(1,)]


async def test_a_new_password_replaces_the_old_one(filled: WebApp, people: People) -> None:
    first, second = await people.reader("ana"), await people.reader("ana")
    assert first.connection.info.user == second.connection.info.user
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(first.url)
    assert second.ids()


async def test_a_program_that_cannot_restrict_its_logins_says_so(filled: WebApp) -> None:
    """What every role may do, only a superuser takes away; then the program keeps it."""
    await filled.execute("ALTER TABLE sql_roles OWNER TO pg_monitor")
    async with filled.database.transaction() as connection:
        await connection.execute("SET LOCAL ROLE pg_monitor")
        assert not await sql_roles.restrict(connection)
    async with filled.database.transaction() as connection:
        assert await sql_roles.restrict(connection)
        await connection.execute("SET LOCAL ROLE pg_monitor")
        assert await sql_roles.restrict(connection)
        await connection.execute("SELECT pg_advisory_xact_lock(1)")


async def test_a_program_that_may_not_create_roles_says_what_to_do(
    filled: WebApp, database: str
) -> None:
    user_id = await filled.user("ana")
    async with filled.database.transaction() as connection:
        await connection.execute("SET ROLE pg_monitor")
        with pytest.raises(TwitterstreamError, match='ALTER ROLE "pg_monitor" CREATEROLE'):
            await new_login(connection, user_id)


def test_postgres_makes_the_same_verifier_of_a_password(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE ROLE verified PASSWORD 'correct horse'")
        query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'verified'"
        [[made]] = connection.execute(query).fetchall()
        connection.rollback()
    salt = base64.b64decode(re.findall(r":(.+)\$", made)[0])
    assert scram_verifier("correct horse", salt) == made
