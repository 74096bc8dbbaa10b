"""Coming in and going out: log in, log out, and the links that work once."""

import math

from aiohttp import web

from web.accounts import invites, sessions, users
from web.accounts.secrets import csrf_of, new_key
from web.guard import SESSION, VISITOR, cookie, forget, form_key, remember
from web.person import UserId
from web.problem import Problem
from web.rendering import render, see_other
from web.routing import Route
from web.site import PERSON, caller, person, site

FIRST_PAGE = "/"
_WRONG = "This name and password do not fit."
_TOO_MANY = "Too many tries: the next one is possible in {} seconds."
_USED = "This link has been used, or is too old: ask for another one."


async def form(request: web.Request) -> web.StreamResponse:
    """The login, or on to where somebody wanted to go who is logged in."""
    if PERSON in request:
        return see_other(request, _next(request.query.get("next", "")))
    return _with_visitor(request, "login.html", name="", next=request.query.get("next", ""))


async def log_in(request: web.Request) -> web.StreamResponse:
    given = await request.post()
    name, password = str(given.get("name", "")).strip().lower(), str(given.get("password", ""))
    values = {"name": name, "next": str(given.get("next", ""))}
    if seconds := math.ceil(site(request).logins.take(caller(request).address, name)):
        problem = _TOO_MANY.format(seconds)
        response = _with_visitor(request, "login.html", status=429, problem=problem, **values)
        response.headers["Retry-After"] = str(seconds)
        return response
    user_id = await _whose(request, name, password)
    if user_id is None:
        return _with_visitor(request, "login.html", status=401, problem=_WRONG, **values)
    site(request).logins.right(caller(request).address, name)
    return await _enter(request, user_id, _next(values["next"]))


async def _whose(request: web.Request, name: str, password: str) -> UserId | None:
    """Who has this name and this password, if somebody has."""
    here = site(request)
    async with here.database.acquire() as connection:
        found = await users.password_of(connection, name)
    user_id, stored = found or (None, None)
    return user_id if await here.passwords.fits(stored, password) else None


async def log_out(request: web.Request) -> web.StreamResponse:
    who = person(request)
    if who.session is not None:
        async with site(request).database.acquire() as connection:
            await sessions.end(connection, who.id, who.session)
    response = see_other(request, "/login")
    forget(request, response, SESSION)
    return response


async def welcome(request: web.Request) -> web.StreamResponse:
    """Whoever has a link that works once chooses a password, and the very first a name, too."""
    key = request.query.get("key", "")
    async with site(request).database.acquire() as connection:
        found = await invites.find(connection, key)
    if found is None:
        raise Problem("not_found", _USED)
    return _with_visitor(request, "welcome.html", key=key, name=found[1] or "", first=not found[1])


async def accept(request: web.Request) -> web.StreamResponse:
    given = await request.post()
    key, name = str(given.get("key", "")), str(given.get("name", "")).strip().lower()
    here = site(request)
    async with here.database.acquire() as connection:
        found = await invites.find(connection, key)
    if found is None:
        raise Problem("not_found", _USED)
    try:
        user_id = await _settle(request, key, found, name, str(given.get("password", "")))
    except Problem as problem:
        if problem.field is None:
            raise
        values = {"key": key, "name": found[1] or name, "first": not found[1]}
        return _with_visitor(
            request, "welcome.html", status=problem.status, problem=problem.message, **values
        )
    return await _enter(request, user_id, FIRST_PAGE)


async def _settle(
    request: web.Request,
    key: str,
    found: tuple[UserId | None, str | None],
    name: str,
    password: str,
) -> UserId:
    """Use up the link. Problem when somebody was quicker, or the name or password will not do."""
    here = site(request)
    hashed = await here.passwords.hash(password)
    async with here.database.transaction() as connection:
        if not await invites.take(connection, key):
            raise Problem("not_found", _USED)
        if found[0] is None:
            user_id = await users.add_first(connection, name, hashed)
            if user_id is None:
                raise Problem("not_found", _USED)
            await invites.end(connection, None)
        else:
            user_id = found[0]
            await users.set_password(connection, user_id, hashed)
            await sessions.end_all(connection, user_id)
    return user_id


async def _enter(request: web.Request, user_id: UserId, path: str) -> web.Response:
    here = site(request)
    agent = request.headers.get("User-Agent", "")
    before = cookie(request, SESSION)
    async with here.database.acquire() as connection:
        if before:  # never the same key before and after
            await sessions.end_key(connection, before)
        key = await sessions.begin(
            connection,
            user_id,
            caller(request).address,
            agent,
            here.settings.web.session_days,
        )
    response = see_other(request, path)
    remember(request, response, SESSION, key)
    forget(request, response, VISITOR)
    return response


def _with_visitor(
    request: web.Request, template: str, *, status: int = 200, **values: object
) -> web.Response:
    """A page with a form for somebody who is not logged in."""
    values.setdefault("problem", "")
    if PERSON in request:  # who has a link for another person, or for himself
        return render(request, template, status=status, form_csrf=form_key(request), **values)
    key = cookie(request, VISITOR) or new_key()
    response = render(request, template, status=status, form_csrf=csrf_of(key), **values)
    remember(request, response, VISITOR, key)
    return response


def _next(path: str) -> str:
    """Only paths of ours: never an address that somebody put into a link."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_ours and path.isprintable() else FIRST_PAGE


ROUTES = (
    Route("GET", "/login", form, "public"),
    Route("POST", "/login", log_in, "public"),
    Route("POST", "/logout", log_out, "viewer"),
    Route("GET", "/welcome", welcome, "public"),
    Route("POST", "/welcome", accept, "public"),
)
