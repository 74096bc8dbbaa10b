"""Which cell a database is, and why another one is refused."""

import uuid

import pytest

from stream.db import Database
from stream.errors import TwitterstreamError
from stream.store import cells
from stream.store.cells import Identity

EAST = Identity(uuid.uuid4(), "east")


@pytest.mark.parametrize(
    "used",
    [
        "INSERT INTO sources (name, network) VALUES ('a', 'bluesky')",
        "INSERT INTO tracks (value) VALUES ('snow')",
        "INSERT INTO users (name, role) VALUES ('ann', 'user')",
    ],
)
async def test_a_database_with_data_of_its_own_is_said_to_be_that(
    connected: Database, used: str
) -> None:
    async with connected.acquire() as connection:
        with pytest.raises(TwitterstreamError, match="has not been set up yet"):
            await cells.require(connection, EAST)
        await cells.require_name(connection, "east")  # home has not reached it yet
        await connection.execute(used)
        await cells.require_name(connection, "")
        with pytest.raises(TwitterstreamError, match="cell east has data of its own"):
            await cells.require_name(connection, "east")
        for refuse in (cells.require, cells.adopt):
            with pytest.raises(TwitterstreamError, match="cell east has data of its own"):
                await refuse(connection, EAST)


async def test_an_adopted_database_is_this_cell_and_no_other(connected: Database) -> None:
    async with connected.acquire() as connection:
        await cells.adopt(connection, EAST)
        await connection.execute("INSERT INTO tracks (value) VALUES ('snow')")
        await cells.require(connection, EAST)
        with pytest.raises(TwitterstreamError, match="leads to cell east: correct"):
            await cells.require(connection, Identity(EAST.installation, "west"))
