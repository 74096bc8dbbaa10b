"""The pages about users, for admins: add, role, limits, disable, password links."""

from typing import get_args

import msgspec
from aiohttp import web

from stream.store import sessions, sql_roles, users
from stream.store.users import Role
from stream.tweet import UserId
from web.accounts.service import MAX_TRACKS_LIMIT, Limits, add_user, change_access, new_invite
from web.context import app_context, form_fields, render, see_other
from web.problem import Problem
from web.routing import Route, row_id

ROLES: dict[Role, str] = {
    "admin": "full access, including users, sources and all tracks",
    "user": "has their own tracks, and sees tracks shared with them",
    "viewer": "sees tracks shared with them",
}


async def all_users(request: web.Request) -> web.StreamResponse:
    return await _list(request)


async def _list(
    request: web.Request, problem: Problem | None = None, name: str = "", role: str = "user"
) -> web.Response:
    async with app_context(request).database.acquire() as connection:
        lines = await users.summaries(connection)
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
    """Add a user; the answer shows the link to choose a password."""
    given = form_fields(request)
    name, role = str(given.get("name", "")).strip().lower(), str(given.get("role", ""))
    try:
        async with app_context(request).database.transaction() as connection:
            user_id = await add_user(connection, name, _role(role))
            key = await new_invite(connection, user_id)
    except Problem as problem:
        if problem.field is None:
            raise
        return await _list(request, problem, name, role)
    return _show_link(request, user_id, name, key)


async def one(request: web.Request) -> web.StreamResponse:
    async with app_context(request).database.acquire() as connection:
        lines = await users.summaries(connection, _number(request))
        sql_role = await sql_roles.of_user(connection, UserId(_number(request)))
    if not lines:
        raise _not_found()
    return render(request, "users_one.html", line=lines[0], roles=ROLES, sql_role=sql_role)


async def change_role(request: web.Request) -> web.StreamResponse:
    """Change the role, from the next request on."""
    given = form_fields(request)
    role = _role(str(given.get("role", "")))
    if role == given.get("was_role"):  # nothing was changed: what another admin did stays
        return see_other(request, f"/users/{_number(request)}")
    async with app_context(request).database.transaction() as connection:
        if await change_access(connection, _number(request), role=role) is None:
            raise _not_found()
    return see_other(request, f"/users/{_number(request)}")


async def change_limits(request: web.Request) -> web.StreamResponse:
    """Change the limits; an empty field means no limit."""
    written = str(form_fields(request).get("max_tracks", "")).strip()
    try:
        new = msgspec.convert({"max_tracks": written or None}, Limits, strict=False)
    except msgspec.ValidationError as error:
        words = f"The limit must be a number from 0 to {MAX_TRACKS_LIMIT:,}, or empty."
        raise Problem("invalid", words, field="max_tracks") from error
    async with app_context(request).database.acquire() as connection:
        if not await users.set_max_tracks(connection, _number(request), new.max_tracks):
            raise _not_found()
    return see_other(request, f"/users/{_number(request)}")


async def enable(request: web.Request) -> web.StreamResponse:
    async with app_context(request).database.transaction() as connection:
        if await change_access(connection, _number(request), enabled=True) is None:
            raise _not_found()
    return see_other(request, f"/users/{_number(request)}")


async def disable(request: web.Request) -> web.StreamResponse:
    """End all sessions, and refuse tokens until the user is enabled again."""
    async with app_context(request).database.transaction() as connection:
        user = await change_access(connection, _number(request), enabled=False)
        if user is None:
            raise _not_found()
    return see_other(request, f"/users/{user.id}")


async def new_link(request: web.Request) -> web.StreamResponse:
    """A new one-time link, for a forgotten password or an expired link."""
    async with app_context(request).database.transaction() as connection:
        user = await users.by_id(connection, _number(request))
        if user is None:
            raise _not_found()
        if not user.enabled:
            raise Problem("conflict", f"{user.name} is disabled. Enable the user first.")
        key = await new_invite(connection, user.id)
    return _show_link(request, user.id, user.name, key)


async def log_out(request: web.Request) -> web.StreamResponse:
    async with app_context(request).database.acquire() as connection:
        await sessions.revoke_sessions(connection, UserId(_number(request)))
    return see_other(request, f"/users/{_number(request)}")


def _show_link(request: web.Request, user_id: UserId, name: str, key: str) -> web.Response:
    here = app_context(request)
    return render(
        request,
        "users_link.html",
        link=here.origin + here.pages.url("/welcome", key=key),
        is_public=bool(here.settings.web.public_url),
        name=name,
        user_id=user_id,
        hours=users.INVITE_HOURS,
    )


def _role(written: str) -> Role:
    for role in get_args(Role):
        if role == written:
            return role  # type: ignore[no-any-return]
    raise Problem("invalid", "Choose one of the roles.", field="role")


def _number(request: web.Request) -> int:
    """The user's id in the address; 0, which is never used, for anything else."""
    return row_id(request.match_info["id"])


def _not_found() -> Problem:
    return Problem("not_found", "There is no such user.")


ROUTES = (
    Route("GET", "/users", all_users, "admin"),
    Route("POST", "/users", add, "admin"),
    Route("GET", "/users/{id}", one, "admin"),
    Route("POST", "/users/{id}/role", change_role, "admin"),
    Route("POST", "/users/{id}/limits", change_limits, "admin"),
    Route("POST", "/users/{id}/enable", enable, "admin"),
    Route("POST", "/users/{id}/disable", disable, "admin"),
    Route("POST", "/users/{id}/link", new_link, "admin"),
    Route("POST", "/users/{id}/logout", log_out, "admin"),
)
