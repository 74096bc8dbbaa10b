"""A user's login to Postgres, for tests of what reads by SQL."""

import contextlib
from collections.abc import AsyncIterator

from stream.store import sql_roles
from web.accounts.sql_access import new_login
from web_app import WebApp


@contextlib.asynccontextmanager
async def sql_login(app: WebApp, name: str) -> AsyncIterator[str]:
    """The address of the database for this user. The role, which is the server's, is removed."""
    user_id = await app.user(name)
    async with app.database.transaction() as connection:
        login = await new_login(connection, user_id)
    try:
        yield app.database.address_for(*login)
    finally:
        async with app.database.transaction() as connection:
            await sql_roles.remove(connection, user_id)
