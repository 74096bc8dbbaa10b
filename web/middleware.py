"""Around every handler: error responses, time limits, security headers."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from stream.errors import Broken, DatabaseAway, RowRefused, TwitterstreamError
from web.context import CALLER, RESPONSE_TIMEOUT, app_context, is_part, render
from web.problem import Code, Problem

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
    "Server": "twitterstream",  # without a version, which helps attackers
}
_AWAY = "The database is unavailable; collected tweets wait in the journal. Try again in a moment."
_INTERNAL = "Internal error; see the server log."
_FORM = "application/x-www-form-urlencoded"
_SECRETS = ("password", "secret", "token", "key")  # in names of fields
_API_PATHS = ("/api/", "/stream/", "/tweets")
_READS = ("GET", "HEAD")
_OF_BODY = ("Transfer-Encoding", "Content-Length", "Connection", "Upgrade")
EMPTY: Mapping[str, str] = {}
REQUEST_TIMEOUT = 30.0  # seconds to read a request, answer it, and send the answer
CLOSE_TIMEOUT = 2.0  # seconds for a slow client to take the answer that says so
_SLOW = "The request arrived too slowly, or not completely."
_LONG = "This took too long: the server is busy, or the request asks for too much at once."
_STARTED: web.RequestKey[bool] = web.RequestKey("started", bool)
_BY_STATUS: dict[int, Code] = {
    400: "bad_request", 403: "forbidden", 404: "not_found", 405: "bad_request", 413: "too_large",
}  # fmt: skip


class _HeadersOnly(Exception):
    """HEAD for a streamed response: nothing but its headers is sent."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__()
        self.response = response


@web.middleware
async def handle_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every request, errors included, and send the answer within the time limit."""
    request[CALLER] = app_context(request).proxies.caller(request)
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT) as request[RESPONSE_TIMEOUT]:
            response = await _handled(request, handler)
            if isinstance(response, web.FileResponse):  # sends itself, and would do so twice
                return response
            try:
                await response.prepare(request)
            except ValueError as error:  # a header with what no header can have
                response = _error_response(request, _problem(request, error))
                await response.prepare(request)
            await response.write_eof()
            return response
    except TimeoutError:
        if request[RESPONSE_TIMEOUT].expired():
            return _close_slow(request)
        raise


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    here = app_context(request)
    if here.base and request.path == here.base:
        return web.Response(status=308, headers={"Location": here.base + "/"})
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _error_response(request, _of_http(request, error), dict(error.headers), error.status)
    except ConnectionError:  # the client has gone
        raise
    except _HeadersOnly as only:
        kept = only.response.headers.items()
        return web.Response(headers={k: v for k, v in kept if k not in _OF_BODY})
    except Exception as error:  # noqa: BLE001 - one request must not stop the others
        problem = _problem(request, error)
        if _STARTED in request:
            _abort(request)
        again = await _unsent_form(request) if problem.code == "unavailable" else ()
        return _error_response(request, problem, again=again)


async def _unsent_form(request: web.Request) -> Sequence[tuple[str, str]]:
    """The fields of a form that failed, to be sent again by a button; none if one is secret."""
    if request.method != "POST" or is_part(request) or request.content_type != _FORM:
        return ()
    fields = [(name, value) for name, value in (await request.post()).items()]
    texts = [(name, value) for name, value in fields if isinstance(value, str)]
    secret = any(word in name for name, _ in fields for word in _SECRETS)
    return () if secret or len(texts) < len(fields) else texts


def _abort(request: web.Request) -> NoReturn:
    """Cut off an answer that has started, so that the client sees that it is incomplete."""
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError


def _close_slow(request: web.Request) -> web.StreamResponse:
    """Close a connection that takes too long, with an error if no answer has started."""
    transport = request.transport
    if _STARTED in request or transport is None:
        _abort(request)
    asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, transport.abort)
    if request.content.is_eof():
        response = _error_response(request, Problem("unavailable", _LONG, retry_after=10))
    else:
        response = _error_response(request, Problem("bad_request", _SLOW), status=408)
    response.force_close()
    return response


def _of_http(request: web.Request, error: web.HTTPException) -> Problem:
    code = _BY_STATUS.get(error.status, "bad_request" if error.status < 500 else "internal")
    match error:
        case web.HTTPNotFound():
            words = "This page does not exist."
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            words = f"{request.method} is not allowed here; use {allowed}."
        case web.HTTPRequestEntityTooLarge():
            most = app_context(request).settings.web.max_body_bytes
            words = f"The body is too large: at most {most:,} bytes are accepted."
        case _:
            words = f"{error.reason}."
    return Problem(code, words)


def _problem(request: web.Request, error: Exception) -> Problem:
    """The error to show; unexpected ones are logged."""
    match error:
        case Problem():
            return error
        case DatabaseAway():
            logger.info(
                "the database is unavailable; a request was answered with 503",
                extra={"why": str(error)},
            )
            return Problem("unavailable", _AWAY, retry_after=2)
        case RowRefused():
            logger.warning("the database rejected a value of a request", extra={"why": str(error)})
            return Problem("invalid", "This value cannot be stored. Change it and try again.")
        case TwitterstreamError() if not isinstance(error, Broken):
            return Problem("invalid", str(error))
        case _:
            logger.error("%s %s failed", request.method, request.path, exc_info=error)
            return Problem("internal", _INTERNAL)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add security and cache headers to every answer; only static files may be cached.

    Streams (sockets, events, downloads) have no time limit from here on: the server closes them
    when their reader takes nothing for a while.
    """
    is_whole = isinstance(response, web.Response | web.FileResponse)
    if request.method == "HEAD" and not is_whole:
        raise _HeadersOnly(response)
    request[_STARTED] = True
    if RESPONSE_TIMEOUT in request and not is_whole:
        request[RESPONSE_TIMEOUT].reschedule(None)
    for name, value in HEADERS.items():
        response.headers[name] = value
    if request.get(CALLER) is not None and request[CALLER].is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    is_file = request.path.startswith(f"{app_context(request).base}/static/")
    kept = "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"
    response.headers.setdefault("Cache-Control", kept if is_file else "no-store")


def _error_response(
    request: web.Request,
    problem: Problem,
    from_error: Mapping[str, str] = EMPTY,
    status: int | None = None,
    again: Sequence[tuple[str, str]] = (),
) -> web.Response:
    here = app_context(request)
    path = request.path.removeprefix(here.base)
    headers = {name: value for name, value in from_error.items() if name == "Allow"}
    if problem.code == "unsupported_media":
        headers["Accept-Encoding"] = "identity"
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if path.startswith(_API_PATHS):
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
        if problem.code == "unavailable" and request.method in _READS and not is_part(request):
            headers["Refresh"] = str(problem.retry_after or 5)  # the page reloads by itself
        template = "problem_part.html" if is_part(request) else "problem.html"
        response = render(request, template, status=problem.status, problem=problem, again=again)
    response.headers.update(headers)
    if status is not None:
        response.set_status(status)
    return response


def _back(request: web.Request) -> str | None:
    """The address to return to after login: this page, or the one that requested a part."""
    asked = request.headers.get("HX-Current-URL", "") if is_part(request) else request.path_qs
    if not asked or (request.method not in _READS and not is_part(request)):
        return None
    try:
        parts = urlsplit(asked)
    except ValueError:
        return None
    back = parts.path.removeprefix(app_context(request).base)
    return f"{back}?{parts.query}" if parts.query else back
