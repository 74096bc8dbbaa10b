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
_FOREIGN = (
    "This form was sent from another site. (If it was not: is there a server in front of this one"
    " that web.trusted_proxies does not name, or that does not pass on the Host?)"
)
_SAFE = ("GET", "HEAD", "OPTIONS")
_FORM, _PARTS = "application/x-www-form-urlencoded", "multipart/form-data"
SMALL = 64 * 1024  # bytes: what a stranger may send, and parts of a form; both cost more to read
MOST_FIELDS = 20_000  # of one form


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
        await _read(request, person)
        await _check_form(request, person)
    if person is None or route.access == "public":
        return
    if person.session is None and route.scope is None:
        raise Problem("forbidden", "This is for people: a token does not open it.")
    if not person.may(route.access, route.scope or "read"):
        raise Problem("forbidden", _why_not(person, route))


def _why_not(person: Person, route: Route) -> str:
    if route.scope is not None and route.scope not in person.scopes:
        return f"This token lacks the scope {route.scope}."
    return f"This is for the role {route.access}, and you are {person.role}."


async def _identify(request: web.Request, route: Route) -> Person | None:
    here = site(request)
    token = _token(request, route)
    key = cookie(request, SESSION)
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


async def _read(request: web.Request, person: Person | None) -> None:
    """Have the whole body, if it is no longer than it may be; also when nobody looks at it."""
    length = request.content_length
    is_parts = request.content_type == _PARTS
    most = SMALL if person is None or is_parts else site(request).settings.web.body_bytes
    if length is not None and length > most:
        raise Problem("too_large", f"This is too long: at most {most:,} bytes are taken.")
    if (is_parts or person is None) and length is None and request.body_exists:
        raise Problem("too_large", "Send the length of this first (Content-Length).")
    try:
        fields = 0 if is_parts else (await request.read()).count(b"&")
        if request.content_type in (_FORM, _PARTS) and fields <= MOST_FIELDS:
            await request.post()
    except (web.HTTPException, ConnectionError):
        raise
    except Exception as error:  # the body is at fault, in one of many ways
        raise Problem("bad_request", "The body of this request cannot be read.") from error
    if request.content_type == _FORM and fields > MOST_FIELDS:
        raise Problem("too_large", f"At most {MOST_FIELDS:,} fields are taken.")


async def _check_form(request: web.Request, person: Person | None) -> None:
    """That a change was asked for by our own pages, and not by a foreign site in his browser."""
    if person is not None and person.session is None:
        return  # a browser does not send tokens by itself
    caller: Caller = request[CALLER]
    origin = request.headers.get("Origin")
    fetched = request.headers.get("Sec-Fetch-Site", "same-origin")
    if (origin is not None and origin != caller.origin) or fetched not in ("same-origin", "none"):
        raise Problem("csrf", _FOREIGN)
    expected = form_key(request)
    sent = request.headers.get(CSRF_HEADER)
    if sent is None and request.content_type in (_FORM, _PARTS):
        field = (await request.post()).get(CSRF_FIELD)
        sent = field if isinstance(field, str) else None
    if not expected or sent is None or not same(sent, expected):
        raise Problem("csrf", "This form is too old, or not ours: load the page again.")


def form_key(request: web.Request) -> str:
    """What the forms of whoever asks must carry; empty for a stranger who has had no form yet."""
    if PERSON in request:
        return request[PERSON].csrf
    visitor = cookie(request, VISITOR)
    return csrf_of(visitor) if visitor else ""


def cookie(request: web.Request, name: str) -> str:
    """What the browser keeps of ours under this name, or nothing."""
    return request.cookies.get(_named(request, name), "")


def _named(request: web.Request, name: str) -> str:
    """With HTTPS the browser sees to it that no neighbour of ours can plant a cookie of this name.

    (RFC 6265bis, section 4.1.3: __Host- is only for a whole host.)
    """
    if not request[CALLER].is_secure:
        return name
    return f"__Secure-{name}" if site(request).base else f"__Host-{name}"


def remember(request: web.Request, response: web.StreamResponse, name: str, key: str) -> None:
    """Give the browser a key to keep: out of reach of scripts and of other sites."""
    here: Site = site(request)
    response.set_cookie(
        _named(request, name),
        key,
        max_age=here.settings.web.session_days * 86400,
        path=here.base or "/",
        httponly=True,
        samesite="Lax",
        secure=request[CALLER].is_secure,
    )


def forget(request: web.Request, response: web.StreamResponse, name: str) -> None:
    """Take the key back."""
    response.del_cookie(
        _named(request, name),
        path=site(request).base or "/",
        httponly=True,
        samesite="Lax",
        secure=request[CALLER].is_secure,
    )
