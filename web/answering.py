"""Around every answer: errors in words, and headers that keep browsers from harm."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from stream.errors import Broken, DatabaseAway, RowRefused, TwitterstreamError
from web.problem import Code, Problem
from web.rendering import is_part, render
from web.site import CALLER, site

logger = logging.getLogger(__name__)

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}
_AWAY = "The database is away. What is collected meanwhile waits in the journal; try again soon."
_OUR_FAULT = "This is our fault, and nothing that you did; the log says more."
_FORM = "application/x-www-form-urlencoded"
_HIDDEN = ("password", "secret", "token", "key")  # in names of fields
_FOR_PROGRAMS = ("/api/", "/stream/", "/tweets")
EMPTY: Mapping[str, str] = {}
PATIENCE = 30.0  # seconds for one request: until it is read, answered, and the answer taken
GOODBYE = 2.0  # seconds in which somebody so slow may take the answer that says so
_SLOW = "The request came too slowly, or stopped in the middle."
_LONG = "This took too long; the server is busy, or that was too much at once."
_BEGUN: web.RequestKey[bool] = web.RequestKey("begun", bool)
_LIMIT: web.RequestKey[asyncio.Timeout] = web.RequestKey("limit", asyncio.Timeout)
_BY_STATUS: dict[int, Code] = {
    400: "bad_request", 403: "forbidden", 404: "not_found", 405: "bad_request", 413: "too_large",
}  # fmt: skip


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every request an answer in words, and send it: for that, too, there is a time."""
    request[CALLER] = site(request).proxies.caller(request)
    try:
        async with asyncio.timeout(PATIENCE) as request[_LIMIT]:
            response = await _in_words(request, handler)
            if isinstance(response, web.FileResponse):  # sends itself, and would do so twice
                return response
            try:
                await response.prepare(request)
            except ValueError as error:  # a header with what no header can have
                response = _explain(request, _problem(request, error))
                await response.prepare(request)
            await response.write_eof()
            return response
    except TimeoutError:
        if request[_LIMIT].expired():
            return _dismiss(request)
        raise


async def _in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    here = site(request)
    if here.base and request.path == here.base:
        return web.Response(status=308, headers={"Location": here.base + "/"})
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _explain(request, _of_http(error), dict(error.headers), error.status)
    except ConnectionError:  # nobody is there any more
        raise
    except Exception as error:  # noqa: BLE001 - one request may not end the others
        problem = _problem(request, error)
        if _BEGUN in request:
            _break_off(request)
        again = await _form(request) if problem.code == "unavailable" else ()
        return _explain(request, problem, again=again)


async def _form(request: web.Request) -> Sequence[tuple[str, str]]:
    """What somebody sent in vain, to be sent again by a button; nothing that is to stay hidden."""
    if request.method != "POST" or is_part(request) or request.content_type != _FORM:
        return ()
    fields = [(name, value) for name, value in (await request.post()).items()]
    texts = [(name, value) for name, value in fields if isinstance(value, str)]
    hidden = any(word in name for name, _ in fields for word in _HIDDEN)
    return () if hidden or len(texts) < len(fields) else texts


def _break_off(request: web.Request) -> NoReturn:
    """An answer that has begun cannot be taken back: what is missing must be seen to be missing."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


def _dismiss(request: web.Request) -> web.StreamResponse:
    """Let go of a connection that takes too long, with a word when none has been said yet."""
    transport = request.transport
    if _BEGUN in request or transport is None:
        _break_off(request)
    asyncio.get_running_loop().call_later(GOODBYE, transport.abort)
    if request.content.is_eof():
        response = _explain(request, Problem("unavailable", _LONG, retry_after=10))
    else:
        response = _explain(request, Problem("bad_request", _SLOW), status=408)
    response.force_close()
    return response


def _of_http(error: web.HTTPException) -> Problem:
    code = _BY_STATUS.get(error.status, "bad_request" if error.status < 500 else "internal")
    return Problem(code, "There is nothing here." if error.status == 404 else f"{error.reason}.")


def _problem(request: web.Request, error: Exception) -> Problem:
    """What to tell the caller of this; what is our own fault is logged."""
    match error:
        case Problem():
            return error
        case DatabaseAway():
            logger.info("a page waits for the database", extra={"why": str(error)})
            return Problem("unavailable", _AWAY, retry_after=2)
        case RowRefused():
            logger.warning("the database refuses what a page asks", extra={"why": str(error)})
            return Problem("invalid", "The database refuses this value.")
        case TwitterstreamError() if not isinstance(error, Broken):
            return Problem("invalid", str(error))
        case _:
            where = "%s %s cannot be answered"
            logger.error(where, request.method, request.path, exc_info=error)
            return Problem("internal", _OUR_FAULT)


async def dress(request: web.Request, response: web.StreamResponse) -> None:
    """Headers for everything that leaves; what is not a file of ours is kept by nobody.

    What is written bit by bit (sockets, events, downloads) has all the time in the world from here
    on: the server ends it when its reader takes nothing any more.
    """
    request[_BEGUN] = True
    if _LIMIT in request and not isinstance(response, web.Response | web.FileResponse):
        request[_LIMIT].reschedule(None)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.get(CALLER) is not None and request[CALLER].is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    is_file = request.path.startswith(f"{site(request).base}/static/")
    kept = "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"
    response.headers.setdefault("Cache-Control", kept if is_file else "no-store")


def _explain(
    request: web.Request,
    problem: Problem,
    said: Mapping[str, str] = EMPTY,
    status: int | None = None,
    again: Sequence[tuple[str, str]] = (),
) -> web.Response:
    here = site(request)
    path = request.path.removeprefix(here.base)
    headers = {name: value for name, value in said.items() if name == "Allow"}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if path.startswith(_FOR_PROGRAMS):
        if problem.code == "login_needed":
            headers["WWW-Authenticate"] = 'Bearer realm="twitterstream"'
        error = {"code": problem.code, "message": problem.message, "field": problem.field}
        response = web.json_response({"error": error}, status=problem.status)
    elif problem.code == "login_needed":
        login = here.pages.url("/login", next=_back(request))
        if is_part(request):
            response = web.Response(status=401, headers={"HX-Redirect": login})
        else:
            response = web.Response(status=303, headers={"Location": login})
    else:
        if problem.code == "unavailable" and request.method == "GET" and not is_part(request):
            headers["Refresh"] = str(problem.retry_after or 5)  # the page comes back by itself
        template = "problem_part.html" if is_part(request) else "problem.html"
        response = render(request, template, status=problem.status, problem=problem, again=again)
    response.headers.update(headers)
    if status is not None:
        response.set_status(status)
    return response


def _back(request: web.Request) -> str | None:
    """Where to go after the login: to this page, or to the one of which a part was asked for."""
    asked = request.headers.get("HX-Current-URL", "") if is_part(request) else request.path_qs
    if not asked or (request.method != "GET" and not is_part(request)):
        return None
    try:
        parts = urlsplit(asked)
    except ValueError:
        return None
    back = parts.path.removeprefix(site(request).base)
    return f"{back}?{parts.query}" if parts.query else back
