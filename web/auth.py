"""Authentication and authorization of each request, CSRF protection, and limits of bodies."""

from collections.abc import Mapping

from aiohttp import BodyPartReader, hdrs, web
from multidict import MultiDict, MultiDictProxy

from stream.store import users
from web.accounts import credentials
from web.accounts.credentials import csrf_of, same
from web.context import CALLER, FORM, PERSON, AppContext, Form, app_context, form_fields, is_foreign
from web.person import Person
from web.problem import Problem
from web.routing import Handler, Route

SESSION = "twitterstream_session"  # cookie; its value is a session's key
VISITOR = "twitterstream_visitor"  # cookie for forms before the login
CSRF_FIELD, CSRF_HEADER = "csrf", "X-CSRF-Token"
_FOREIGN = (
    "This form was sent from another site. If it was not, set web.public_url to the address that"
    " the browser shows, or let the reverse proxy (named in web.trusted_proxies) pass on Host."
)
_COMPRESSED = "Compressed bodies are not accepted: send it without Content-Encoding."
_SAFE = ("GET", "HEAD", "OPTIONS")
_FORM, _PARTS = "application/x-www-form-urlencoded", "multipart/form-data"
SMALL_BODY_MAX = 64 * 1024  # bytes, before the login and for multipart, which costs more to read
FIELDS_MAX = 20_000  # of one form


def authorized(route: Route) -> Handler:
    """The route's handler, behind authentication and authorization."""

    async def handler(request: web.Request) -> web.StreamResponse:
        await _authorize(request, route)
        return await route.handler(request)

    return handler


async def _authorize(request: web.Request, route: Route) -> None:
    """Problem unless the user may call this route."""
    refuse_compressed(request.headers)
    person = await _identify(request, route)
    if person is not None:
        request[PERSON] = person
    if person is None and route.access != "public":
        raise Problem("login_needed", "Log in first.")
    if request.method not in _SAFE:
        await _read(request, person)
        _check_csrf(request, person)
    if person is None or route.access == "public":
        return
    if person.session is None and route.scope is None:
        raise Problem("forbidden", "API tokens are not accepted here.")
    if not person.may(route.access, route.scope or "read"):
        raise Problem("forbidden", _why_not(person, route))


def _why_not(person: Person, route: Route) -> str:
    if route.scope is not None and route.scope not in person.scopes:
        return f"This token does not have the scope {route.scope}."
    return f"This needs the role {route.access}; yours is {person.role}."


async def _identify(request: web.Request, route: Route) -> Person | None:
    here = app_context(request)
    token = _token(request, route)
    key = cookie(request, SESSION)
    if token is None and not key:
        return None
    async with here.database.acquire() as connection:
        if token is not None:
            person = await credentials.person_of_token(connection, token)
            if person is None:
                raise Problem("login_needed", "This token is invalid or has expired.")
        else:
            days = here.settings.web.session_days
            person = await credentials.person_of_session(connection, key or "", days)
        if person is not None:
            await users.note_seen(connection, person.id)
    return person


def _token(request: web.Request, route: Route) -> str | None:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    return request.query.get("token") if route.in_query else None


async def _read(request: web.Request, person: Person | None) -> None:
    """Read the whole body, if it is not too large; also where no handler looks at it."""
    length = request.content_length
    is_parts = request.content_type == _PARTS
    most = (
        SMALL_BODY_MAX
        if person is None or is_parts
        else app_context(request).settings.web.max_body_bytes
    )
    if length is not None and length > most:
        raise Problem("too_large", f"The body is too large: at most {most:,} bytes are accepted.")
    if (is_parts or person is None) and length is None and request.body_exists:
        raise Problem("too_large", "The header Content-Length is missing.")
    try:
        if is_parts:
            request[FORM] = await _read_parts(request)
        fields = 0 if is_parts else (await request.read()).count(b"&")
        if request.content_type == _FORM and fields <= FIELDS_MAX:
            request[FORM] = await request.post()
    except (web.HTTPException, ConnectionError, Problem):
        raise
    except Exception as error:  # parsers fail in many ways
        raise Problem("bad_request", "The body of this request cannot be read.") from error
    if request.content_type == _FORM and fields > FIELDS_MAX:
        raise Problem("too_large", f"A form has at most {FIELDS_MAX:,} fields.")


def refuse_compressed(headers: Mapping[str, str]) -> None:
    """Problem for a compressed body or part, which could unpack to any size."""
    if headers.get(hdrs.CONTENT_ENCODING) is not None:
        raise Problem("unsupported_media", _COMPRESSED)


async def _read_parts(request: web.Request) -> Form:
    """The fields of a multipart form; Problem for a compressed part or a file."""
    fields: MultiDict[str | bytes | bytearray | web.FileField] = MultiDict()
    parts = await request.multipart()
    while (part := await parts.next()) is not None:
        refuse_compressed(part.headers)
        if not isinstance(part, BodyPartReader) or not part.name:
            raise ValueError("a part without a name")
        if part.filename is not None:
            name = part.name[:50]
            raise Problem("invalid", f"`{name}` is a file: no form here accepts files.", field=name)
        fields.add(part.name, await part.text())
    return MultiDictProxy(fields)


def _check_csrf(request: web.Request, person: Person | None) -> None:
    """Problem unless our own pages sent the form (protection against CSRF)."""
    if person is not None and person.session is None:
        return  # browsers do not send tokens by themselves
    fetched = request.headers.get("Sec-Fetch-Site", "same-origin")
    if is_foreign(request) or fetched not in ("same-origin", "none"):
        raise Problem("csrf", _FOREIGN)
    expected = csrf_key(request)
    sent = request.headers.get(CSRF_HEADER)
    if sent is None:
        field = form_fields(request).get(CSRF_FIELD)
        sent = field if isinstance(field, str) else None
    if not expected or sent is None or not same(sent, expected):
        raise Problem("csrf", "This form has expired: reload the page and try again.")


def csrf_key(request: web.Request) -> str:
    """The CSRF key that forms must send; empty before a first form was shown."""
    if PERSON in request:
        return request[PERSON].csrf
    visitor = cookie(request, VISITOR)
    return csrf_of(visitor) if visitor else ""


def cookie(request: web.Request, name: str) -> str:
    """The value of our cookie with this name; empty when there is none."""
    return request.cookies.get(_cookie_name(request, name), "")


def _cookie_name(request: web.Request, name: str) -> str:
    """With HTTPS a name that no other host can set a cookie under (RFC 6265bis, section 4.1.3)."""
    if not request[CALLER].is_secure:
        return name
    return f"__Secure-{name}" if app_context(request).base else f"__Host-{name}"


def set_cookie(request: web.Request, response: web.StreamResponse, name: str, key: str) -> None:
    """Let the browser keep a key, out of reach of scripts and of other sites."""
    here: AppContext = app_context(request)
    response.set_cookie(
        _cookie_name(request, name),
        key,
        max_age=here.settings.web.session_days * 86400,
        path=here.base or "/",
        httponly=True,
        samesite="Lax",
        secure=request[CALLER].is_secure,
    )


def delete_cookie(request: web.Request, response: web.StreamResponse, name: str) -> None:
    """Delete the key from the browser."""
    response.del_cookie(
        _cookie_name(request, name),
        path=app_context(request).base or "/",
        httponly=True,
        samesite="Lax",
        secure=request[CALLER].is_secure,
    )
