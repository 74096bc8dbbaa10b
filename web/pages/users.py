"""Who may come in, and as what: for admins."""

from typing import get_args

from aiohttp import web

from web.accounts import invites, sessions, users
from web.person import Role, UserId
from web.problem import Problem
from web.reading import people
from web.rendering import render, see_other
from web.routing import Route
from web.site import caller, site

LARGEST = 2**63 - 1
ROLES: dict[Role, str] = {
    "admin": "everything, also users, sources and the tracks of others",
    "user": "follows tracks of their own, and sees what is shared with them",
    "viewer": "only looks at what is shared with them",
}


async def everybody(request: web.Request) -> web.StreamResponse:
    return await _list(request)


async def _list(
    request: web.Request, problem: Problem | None = None, name: str = "", role: str = "user"
) -> web.Response:
    async with site(request).database.acquire() as connection:
        lines = await people.lines(connection)
    status = 200 if problem is None else problem.status
    return render(
        request,
        "users.html",
        status=status,
        lines=lines,
        roles=ROLES,
        problem=problem,
        name=name,
        role=role,
    )


async def add(request: web.Request) -> web.StreamResponse:
    """A new user, and the link by which he chooses a password."""
    given = await request.post()
    name, role = str(given.get("name", "")).strip().lower(), str(given.get("role", ""))
    try:
        async with site(request).database.transaction() as connection:
            user_id = await users.add(connection, name, _role(role))
            key = await invites.make(connection, user_id)
    except Problem as problem:
        if problem.field is None:
            raise
        return await _list(request, problem, name, role)
    return _show_link(request, user_id, name, key)


async def one(request: web.Request) -> web.StreamResponse:
    async with site(request).database.acquire() as connection:
        lines = await people.lines(connection, _number(request))
    if not lines:
        raise _nobody()
    return render(request, "users_one.html", line=lines[0], roles=ROLES)


async def change_role(request: web.Request) -> web.StreamResponse:
    """Another role; it holds from the next click on."""
    role = _role(str((await request.post()).get("role", "")))
    async with site(request).database.transaction() as connection:
        if await users.change(connection, _number(request), role=role) is None:
            raise _nobody()
    return see_other(request, f"/users/{_number(request)}")


async def enable(request: web.Request) -> web.StreamResponse:
    async with site(request).database.transaction() as connection:
        if await users.change(connection, _number(request), enabled=True) is None:
            raise _nobody()
    return see_other(request, f"/users/{_number(request)}")


async def disable(request: web.Request) -> web.StreamResponse:
    """Out at once: sessions end, and tokens are refused until he is enabled again."""
    async with site(request).database.transaction() as connection:
        user = await users.change(connection, _number(request), enabled=False)
        if user is None:
            raise _nobody()
        await sessions.end_all(connection, user.id)
        await invites.end(connection, user.id)
    return see_other(request, f"/users/{user.id}")


async def new_link(request: web.Request) -> web.StreamResponse:
    """For somebody who has forgotten his password, or let his link grow too old."""
    async with site(request).database.transaction() as connection:
        user = await users.of_id(connection, _number(request))
        if user is None:
            raise _nobody()
        if not user.enabled:
            raise Problem("conflict", f"{user.name} is disabled: a link would open nothing.")
        key = await invites.make(connection, user.id)
    return _show_link(request, user.id, user.name, key)


async def log_out(request: web.Request) -> web.StreamResponse:
    async with site(request).database.acquire() as connection:
        await sessions.end_all(connection, UserId(_number(request)))
    return see_other(request, f"/users/{_number(request)}")


def _show_link(request: web.Request, user_id: UserId, name: str, key: str) -> web.Response:
    origin = caller(request).origin if caller(request).host else ""
    link = origin + site(request).pages.url("/welcome", key=key)
    return render(
        request, "users_link.html", link=link, name=name, user_id=user_id, hours=invites.HOURS
    )


def _role(written: str) -> Role:
    for role in get_args(Role):
        if role == written:
            return role  # type: ignore[no-any-return]
    raise Problem("invalid", "Choose one of the roles.", field="role")


def _number(request: web.Request) -> int:
    """The user's number in the address; 0, which nobody has, for everything else."""
    written = request.match_info["id"]
    number = int(written) if written.isascii() and written.isdigit() and len(written) < 20 else 0
    return number if number <= LARGEST else 0


def _nobody() -> Problem:
    return Problem("not_found", "There is no such user.")


ROUTES = (
    Route("GET", "/users", everybody, "admin"),
    Route("POST", "/users", add, "admin"),
    Route("GET", "/users/{id}", one, "admin"),
    Route("POST", "/users/{id}/role", change_role, "admin"),
    Route("POST", "/users/{id}/enable", enable, "admin"),
    Route("POST", "/users/{id}/disable", disable, "admin"),
    Route("POST", "/users/{id}/link", new_link, "admin"),
    Route("POST", "/users/{id}/logout", log_out, "admin"),
)
