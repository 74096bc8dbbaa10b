"""The door: who is asking, whether he may, and whether it is he who asks."""

from aiohttp import web

from web.accounts import sessions, tokens, users
from web.accounts.secrets import csrf_of, same
from web.person import Person
from web.problem import Problem
from web.proxies import Caller
from web.routing import Handler, Route
from web.site import CALLER, PERSON, Site, site

SESSION = "twitterstream_session"  # cookie; its value is a session's key
VISITOR = "twitterstream_visitor"  # cookie of whoever is not logged in, for the first forms
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
_SAFE = ("GET", "HEAD", "OPTIONS")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def guarded(route: Route) -> Handler:
    """The route's handler, for those who may."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await _admit(request, route)
        return await route.handler(request)

    return handler


async def _admit(request: web.Request, route: Route) -> None:
    """Problem for whoever must stay outside."""
    person = await _identify(request, route)
    if person is not None:
        request[PERSON] = person
    if person is None and route.access != "public":
        raise Problem("login_needed", "Log in first.")
    if request.method not in _SAFE:
        await _check_form(request, person)
    if person is None or route.access == "public":
        return
    if person.session is None and route.scope is None:
        raise Problem("forbidden", "This is for people: a token does not open it.")
    if not person.may(route.access, route.scope or "read"):
        raise Problem("forbidden", _why_not(person, route))


def _why_not(person: Person, route: Route) -> str:
    if person.may(route.access):
        return f"This token lacks the scope {route.scope}."
    return f"This is for the role {route.access}, and you are {person.role}."


async def _identify(request: web.Request, route: Route) -> Person | None:
    here = site(request)
    token = _token(request, route)
    key = request.cookies.get(SESSION)
    if token is None and not key:
        return None
    async with here.database.acquire() as connection:
        if token is not None:
            person = await tokens.person(connection, token)
            if person is None:
                raise Problem("login_needed", "This token is not valid, or not any more.")
        else:
            person = await sessions.person(connection, key or "", here.settings.web.session_days)
        if person is not None:
            await users.note_seen(connection, person.id)
    return person


def _token(request: web.Request, route: Route) -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    return request.query.get("token") if route.in_query else None


async def _check_form(request: web.Request, person: Person | None) -> None:
    """That a change was asked for by our own pages, and not by a foreign site in his browser."""
    if person is not None and person.session is None:
        return  # a browser does not send tokens by itself
    caller: Caller = request[CALLER]
    origin = request.headers.get("Origin")
    fetched = request.headers.get("Sec-Fetch-Site", "same-origin")
    if (origin is not None and origin != caller.origin) or fetched not in ("same-origin", "none"):
        raise Problem("csrf", "This form was sent from another site.")
    visitor = request.cookies.get(VISITOR, "")
    expected = csrf_of(visitor) if person is None else person.csrf
    sent = request.headers.get(CSRF_HEADER)
    if sent is None and request.content_type in _FORMS:
        field = (await request.post()).get(CSRF_FIELD)
        sent = field if isinstance(field, str) else None
    if sent is None or not same(sent, expected):
        raise Problem("csrf", "This form is too old, or not ours: load the page again.")


def remember(request: web.Request, response: web.StreamResponse, name: str, key: str) -> None:
    """Give the browser a key to keep: out of reach of scripts and of other sites."""
    here: Site = site(request)
    response.set_cookie(
        name,
        key,
        max_age=here.settings.web.session_days * 86400,
        path=here.base or "/",
        httponly=True,
        samesite="Lax",
        secure=request[CALLER].is_secure,
    )


def forget(request: web.Request, response: web.StreamResponse, name: str) -> None:
    """Take the key back."""
    response.del_cookie(name, path=site(request).base or "/")
