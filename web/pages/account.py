"""What is one's own: the password, where one is logged in, and the keys of one's programs."""

import math
from datetime import UTC, datetime, timedelta

from aiohttp import web

from web.accounts import sessions, tokens, users
from web.accounts.devices import device
from web.person import SCOPES, Person, Role, Scope, UserId
from web.problem import Problem
from web.rendering import render, see_other
from web.routing import Route
from web.site import caller, person, site

WORDS: dict[Scope, str] = {
    "read": "see tracks and tweets",
    "write": "make, change and pause tracks",
    "admin": "do what only admins may",
}
_REACH: dict[Role, tuple[Scope, ...]] = {
    "viewer": ("read",),
    "user": ("read", "write"),
    "admin": SCOPES,
}
LASTING = {"30": "30 days", "90": "90 days", "365": "a year", "": "until I end it"}  # by days
NAME_MAX = 100  # characters


async def account(request: web.Request) -> web.StreamResponse:
    return await _page(request)


async def _page(
    request: web.Request, problem: Problem | None = None, done: str = "", token: str = ""
) -> web.Response:
    who = person(request)
    async with site(request).database.acquire() as connection:
        mine = await sessions.of_user(connection, who.id)
        keys = await tokens.of_user(connection, who.id)
    return render(
        request,
        "account.html",
        status=200 if problem is None else problem.status,
        sessions=[(each, device(each.agent), each.hash == who.session) for each in mine],
        tokens=keys,
        reach=[(scope, WORDS[scope]) for scope in _REACH[who.role]],
        lasting=LASTING,
        problem=problem,
        done=done,
        token=token,
    )


async def change_password(request: web.Request) -> web.StreamResponse:
    """Another password: all other sessions end, for somebody else may have them."""
    given = await request.post()
    who = person(request)
    try:
        await _check_present(request, who, str(given.get("present", "")))
        hashed = await site(request).passwords.hash(str(given.get("password", "")))
    except Problem as problem:
        return await _page(request, problem)
    async with site(request).database.transaction() as connection:
        await users.set_password(connection, who.id, hashed)
        await sessions.end_all(connection, who.id, who.session)
    return await _page(request, done="The password is changed; you are logged in only here now.")


async def _check_present(request: web.Request, who: Person, password: str) -> None:
    """Problem unless it is the password, or after too many tries."""
    here, address = site(request), caller(request).address
    if seconds := math.ceil(here.logins.take(address, who.name)):
        words = f"Too many tries: the next one is possible in {seconds} seconds."
        raise Problem("too_many", words, field="present", retry_after=seconds)
    async with here.database.acquire() as connection:
        found = await users.password_of(connection, who.name)
    if not await here.passwords.fits(found[1] if found else None, password):
        raise Problem("invalid", "This is not your present password.", field="present")
    here.logins.right(address, who.name)


async def end_session(request: web.Request) -> web.StreamResponse:
    """The one whose number (its hash) is in the address."""
    try:
        hash_ = bytes.fromhex(request.match_info["id"])
    except ValueError:
        hash_ = b""
    async with site(request).database.acquire() as connection:
        if not await sessions.end(connection, person(request).id, hash_):
            raise Problem("not_found", "You are not logged in there any more.")
    return see_other(request, "/account")


async def end_others(request: web.Request) -> web.StreamResponse:
    who = person(request)
    async with site(request).database.acquire() as connection:
        await sessions.end_all(connection, who.id, who.session)
    return see_other(request, "/account")


async def make_token(request: web.Request) -> web.StreamResponse:
    """A key for a program; this answer is the only one that shows it."""
    given = await request.post()
    who = person(request)
    name = str(given.get("name", "")).strip()
    wanted = {str(each) for each in given.getall("scopes", [])}
    scopes = [scope for scope in _REACH[who.role] if scope in wanted]
    days = str(given.get("days", ""))
    try:
        _check_token(name, scopes, wanted, days)
        until = datetime.now(UTC) + timedelta(days=int(days)) if days else None
        async with site(request).database.acquire() as connection:
            _, token = await tokens.make(connection, UserId(who.id), name, scopes, until)
    except Problem as problem:
        return await _page(request, problem)
    return await _page(request, token=token)


def _check_token(name: str, scopes: list[Scope], wanted: set[str], days: str) -> None:
    if not 1 <= len(name) <= NAME_MAX or any(each < " " for each in name):
        words = f"Give it a name of at most {NAME_MAX} characters, to know it again."
        raise Problem("invalid", words, field="name")
    if not scopes or len(scopes) < len(wanted):
        words = "Choose what it may do, at least one thing, and nothing that you may not."
        raise Problem("invalid", words, field="scopes")
    if days not in LASTING:
        raise Problem("invalid", "Choose how long it lasts.", field="days")


async def end_token(request: web.Request) -> web.StreamResponse:
    written = request.match_info["id"]
    number = int(written) if written.isascii() and written.isdigit() and len(written) < 19 else 0
    async with site(request).database.acquire() as connection:
        if not await tokens.end(connection, person(request).id, number):
            raise Problem("not_found", "You have no such token any more.")
    return see_other(request, "/account")


ROUTES = (
    Route("GET", "/account", account, "viewer"),
    Route("POST", "/account/password", change_password, "viewer"),
    Route("POST", "/account/sessions/end", end_others, "viewer"),
    Route("POST", "/account/sessions/{id}/end", end_session, "viewer"),
    Route("POST", "/account/tokens", make_token, "viewer"),
    Route("POST", "/account/tokens/{id}/end", end_token, "viewer"),
)
