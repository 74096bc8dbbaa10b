"""Login, logout, and the one-time links to choose a password."""

import math

from aiohttp import web

from stream.store import sessions, users
from stream.store.users import Invite
from stream.tweet import UserId
from web.accounts import service
from web.accounts.credentials import begin_session, csrf_of, hashed, new_key
from web.auth import SESSION, VISITOR, cookie, csrf_key, delete_cookie, set_cookie
from web.context import PERSON, app_context, caller, form_fields, person, render, see_other
from web.problem import Problem
from web.routing import Route

FIRST_PAGE = "/"
_WRONG = "Wrong name or password."
_TOO_MANY = "Too many attempts: try again in {} seconds."
_USED = "This link has been used or has expired. Ask an admin for a new one."


async def form(request: web.Request) -> web.StreamResponse:
    """The login form; a logged-in user is sent to the page they asked for."""
    if PERSON in request:
        return see_other(request, _next(request.query.get("next", "")))
    return _with_visitor(request, "login.html", name="", next=request.query.get("next", ""))


async def log_in(request: web.Request) -> web.StreamResponse:
    given = form_fields(request)
    name = str(given.get("name", "")).strip().lower().replace("\x00", "\ufffd")  # no user has it
    password = str(given.get("password", ""))
    values = {"name": name, "next": str(given.get("next", ""))}
    if seconds := math.ceil(app_context(request).logins.take(caller(request).address, name)):
        problem = _TOO_MANY.format(seconds)
        response = _with_visitor(request, "login.html", status=429, problem=problem, **values)
        response.headers["Retry-After"] = str(seconds)
        return response
    user_id = await _whose(request, name, password)
    if user_id is None:
        return _with_visitor(request, "login.html", status=401, problem=_WRONG, **values)
    app_context(request).logins.succeeded(caller(request).address, name)
    return await _start_session(request, user_id, _next(values["next"]))


async def _whose(request: web.Request, name: str, password: str) -> UserId | None:
    """The user with this name and password, if there is one."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await users.password_hash(connection, name)
    user_id, stored = found or (None, None)
    return user_id if await here.passwords.verify(stored, password) else None


async def log_out(request: web.Request) -> web.StreamResponse:
    who = person(request)
    if who.session is not None:
        async with app_context(request).database.acquire() as connection:
            await sessions.revoke_session(connection, who.session)
    response = see_other(request, "/login")
    delete_cookie(request, response, SESSION)
    return response


async def welcome(request: web.Request) -> web.StreamResponse:
    """The form of a one-time link: choose a password, and the first admin also a name."""
    key = request.query.get("key", "")
    async with app_context(request).database.acquire() as connection:
        found = await users.find_invite(connection, hashed(key))
    if found is None:
        raise Problem("not_found", _USED)
    return _with_visitor(
        request, "welcome.html", key=key, name=found.name or "", first=not found.name
    )


async def accept(request: web.Request) -> web.StreamResponse:
    given = form_fields(request)
    key, name = str(given.get("key", "")), str(given.get("name", "")).strip().lower()
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await users.find_invite(connection, hashed(key))
    if found is None:
        raise Problem("not_found", _USED)
    try:
        password, end_tokens = str(given.get("password", "")), bool(given.get("end_tokens"))
        user_id = await _use_link(request, key, found, name, password, end_tokens=end_tokens)
    except Problem as problem:
        if problem.field is None:
            raise
        values = {"key": key, "name": found.name or name, "first": not found.name}
        return _with_visitor(
            request, "welcome.html", status=problem.status, problem=problem.message, **values
        )
    return await _start_session(request, user_id, FIRST_PAGE)


async def _use_link(
    request: web.Request,
    key: str,
    invite: Invite,
    name: str,
    password: str,
    *,
    end_tokens: bool,
) -> UserId:
    """Use up the link. Problem when it was used meanwhile, or a field is not accepted."""
    here = app_context(request)
    stored = await here.passwords.hash(password)
    async with here.database.transaction() as connection:
        if not await users.use_invite(connection, hashed(key)):
            raise Problem("not_found", _USED)
        if invite.user_id is None:
            user_id = await service.add_first_admin(connection, name, stored)
            if user_id is None:
                raise Problem("not_found", _USED)
            await users.revoke_invites(connection, None)
        else:
            user_id = invite.user_id
            await service.set_password(connection, user_id, stored, end_tokens=end_tokens)
    if invite.user_id is None:
        service.remove_first_admin_link(here.data_dir)
    return user_id


async def _start_session(request: web.Request, user_id: UserId, path: str) -> web.Response:
    here = app_context(request)
    agent = request.headers.get("User-Agent", "")
    before = cookie(request, SESSION)
    async with here.database.acquire() as connection:
        if before:  # never the same key before and after
            await sessions.revoke_session(connection, hashed(before))
        key = await begin_session(
            connection,
            user_id,
            caller(request).address,
            agent,
            here.settings.web.session_days,
        )
    response = see_other(request, path)
    set_cookie(request, response, SESSION, key)
    delete_cookie(request, response, VISITOR)
    return response


def _with_visitor(
    request: web.Request, template: str, *, status: int = 200, **values: object
) -> web.Response:
    """A page with a form that works before the login."""
    values.setdefault("problem", "")
    if PERSON in request:  # a logged-in user opened a one-time link
        return render(request, template, status=status, form_csrf=csrf_key(request), **values)
    key = cookie(request, VISITOR) or new_key()
    response = render(request, template, status=status, form_csrf=csrf_of(key), **values)
    set_cookie(request, response, VISITOR, key)
    return response


def _next(path: str) -> str:
    """The path to open after login; only our own paths, never another site's address."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_ours and path.isprintable() else FIRST_PAGE


ROUTES = (
    Route("GET", "/login", form, "public"),
    Route("POST", "/login", log_in, "public"),
    Route("POST", "/logout", log_out, "viewer"),
    Route("GET", "/welcome", welcome, "public"),
    Route("POST", "/welcome", accept, "public"),
)
