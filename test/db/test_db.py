"""What the errors of the driver and of Postgres mean."""

from collections.abc import Callable

import pytest

from stream import db
from stream.db import Database
from stream.errors import DatabaseAway, RowRefused
from stream.store import daemons, lanes, sources
from stream.store.migrations import available


@pytest.mark.parametrize("value", [2**40, -(2**70), "no number"])
async def test_a_value_that_the_driver_cannot_send_is_at_fault_itself(
    connected: Database, value: object
) -> None:
    with pytest.raises(RowRefused):
        await connected.fetch("SELECT $1::integer", value)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("22012", RowRefused),
        ("XX000", DatabaseAway),
        ("57014", DatabaseAway),
        ("42883", DatabaseAway),
        ("42P10", DatabaseAway),
    ],
)
async def test_what_postgres_says_is_told_by_its_code(
    connected: Database, code: str, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning):
        await connected.execute(f"DO $$ BEGIN RAISE SQLSTATE '{code}'; END $$")


async def test_a_schema_that_is_being_migrated_is_away_until_it_has_all(
    empty_database: Callable[[], str],
) -> None:
    """Before each migration: first tables are missing, then columns and functions."""
    reads = (sources.get_all, lanes.get_all, daemons.get_all)
    why: set[tuple[str, bool]] = set()
    async with db.connect(empty_database()) as database:
        for migration in available():
            for read in reads:
                try:
                    async with database.acquire() as connection:
                        await read(connection)
                except DatabaseAway as error:
                    name, _, text = str(error).partition(": ")
                    why.add((name, text.endswith("another version: run `migrate`)")))
            await database.execute(migration.sql)
        for read in reads:
            async with database.acquire() as connection:
                assert not await read(connection)
    errors = ("UndefinedTableError", "UndefinedColumnError", "UndefinedFunctionError")
    assert why == {(error, True) for error in errors}


async def test_a_table_that_changes_inside_a_transaction_only_ends_this_transaction(
    connected: Database, database: str
) -> None:
    read = "SELECT * FROM made"
    await connected.execute("CREATE TABLE made (one integer)")
    async with db.connect(database, size=1) as single:
        assert not await single.fetch(read)  # which prepares it
        await connected.execute("ALTER TABLE made ADD COLUMN two integer")
        with pytest.raises(DatabaseAway):
            async with single.transaction() as connection:
                await connection.fetch(read)
        assert not await single.fetch(read)


async def test_of_several_hosts_each_says_what_is_wrong() -> None:
    url = "postgresql://ana@127.0.0.1:1,localhost:2/x"
    async with db.connect(url) as nowhere:
        with pytest.raises(DatabaseAway) as raised:
            await nowhere.fetch("SELECT 1")
    assert str(raised.value) == "127.0.0.1: Connection refused; localhost: Connection refused"


async def test_a_machine_that_stops_inside_a_transaction_does_not_keep_its_locks(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "IDLE_IN_TRANSACTION", 0.5)
    lock = "SELECT pg_advisory_xact_lock(7)"

    async def stop_inside(stopped: Database, other: Database) -> None:
        async with stopped.transaction() as connection:
            await connection.execute(lock)
            await other.execute(lock)  # once the server has ended the other session
            await connection.execute("SELECT 1")

    async with db.connect(database) as one, db.connect(database) as other:
        with pytest.raises(DatabaseAway):
            await stop_inside(one, other)
