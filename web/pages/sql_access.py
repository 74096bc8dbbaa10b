"""SQL access on the pages: an admin gives and removes it, and its user makes the password.

So no admin sees a password, and a user without the access cannot give it to themselves.
"""

from aiohttp import web

from stream.store import sql_roles, users
from stream.tweet import UserId
from web.accounts.sql_access import new_login
from web.context import app_context, person, see_other
from web.pages.account import show
from web.problem import Problem
from web.routing import Route, row_id


async def give(request: web.Request) -> web.StreamResponse:
    """Create the role. Nobody knows a password for it until the user makes one."""
    number = UserId(row_id(request.match_info["id"]))
    async with app_context(request).database.transaction() as connection:
        if await users.by_id(connection, number) is None:
            raise Problem("not_found", "There is no such user.")
        if await sql_roles.of_user(connection, number) is None:
            await new_login(connection, number)
    return see_other(request, f"/users/{number}#sql")


async def remove(request: web.Request) -> web.StreamResponse:
    number = UserId(row_id(request.match_info["id"]))
    async with app_context(request).database.transaction() as connection:
        if not await sql_roles.remove(connection, number):
            raise Problem("not_found", "This user has no SQL access.")
    return see_other(request, f"/users/{number}#sql")


async def new_password(request: web.Request) -> web.StreamResponse:
    """A new password for one's own role; only this answer shows it."""
    here, who = app_context(request), person(request)
    async with here.database.transaction() as connection:
        if await sql_roles.of_user(connection, who.id) is None:
            raise Problem("forbidden", "You have no SQL access. Ask an admin for it.")
        login = await new_login(connection, who.id)
    return await show(request, sql_address=here.database.address_for(*login))


ROUTES = (
    Route("POST", "/users/{id}/sql", give, "admin"),
    Route("POST", "/users/{id}/sql/remove", remove, "admin"),
    Route("POST", "/account/sql", new_password, "viewer"),
)
