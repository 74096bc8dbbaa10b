"""Calls of the API: a decorator reads a handler's Structs and docstring, serves and documents it.

A handler is `async def name(request, query: Q, body: B) -> R`, with only the parameters it needs.
The query and the body are converted to their Structs, the result is sent as JSON. The same Structs
and the docstring become the OpenAPI document, so that page, document and code cannot differ.
"""

import hashlib
import inspect
import math
import re
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, get_type_hints

import msgspec
from aiohttp import web

from stream.store.sessions import Scope
from web.api.params import NoParameters, body, no_body, parameters
from web.context import PERSON
from web.limiters import RateLimiter
from web.person import Access, Person
from web.problem import Problem
from web.routing import Method, Route

MINUTE = 60  # seconds in which all of web.requests_per_minute are available again, evenly
JSON = "application/json"
_LIMITER: web.AppKey[RateLimiter] = web.AppKey("api_limiter", RateLimiter)
_COUNTED: web.RequestKey[str] = web.RequestKey("counted", str)
_encoder = msgspec.json.Encoder()

Tag = typing.Literal[
    "Tweets", "Tracks", "Statistics", "Webhooks", "Exports", "Collector", "Simple calls"
]
Handler = Callable[..., Awaitable[object]]
Struct = type[msgspec.Struct]


class Operation(msgspec.Struct, frozen=True):
    """One call: how it is served, and what the OpenAPI document says about it."""

    route: Route
    id: str
    tag: Tag
    summary: str
    description: str
    query: Struct
    body: Struct | None
    result: Struct | None  # None: no JSON
    status: int
    may_exist: bool  # then it is returned with status 200
    example: object  # of the body
    files: Mapping[str, Any]  # further content types of the answer, with their schemas
    errors: Sequence[int]
    path_help: str  # what the id in the path is
    accept: str  # value of a header Accept that the call needs

    @property
    def path(self) -> str:
        """The path as the document writes it."""
        return re.sub(r"\{(\w+):[^}]*\}", r"{\1}", self.route.path)


def install(app: web.Application, requests_per_minute: int) -> None:
    """Limit the calls of each user, and send what is left with every answer."""
    app[_LIMITER] = RateLimiter(requests_per_minute, MINUTE)
    app.on_response_prepare.append(_add_rate_headers)


def operation(  # noqa: PLR0913 - each is an option of its own
    method: Method,
    path: str,
    id: str,  # noqa: A002 - OpenAPI's word
    tag: Tag,
    *,
    access: Access = "viewer",
    scope: Scope = "read",
    in_query: bool = False,
    reads: Callable[[web.Request, Struct], Awaitable[msgspec.Struct]] | None = None,
    status: int = 200,
    location: str = "",
    may_exist: bool = False,
    example: object = None,
    files: Mapping[str, Any] | None = None,
    errors: Sequence[int] = (),
    path_help: str = "",
    accept: str = "",
) -> Callable[[Handler], Operation]:
    """Serve a handler; `reads`: another way to read the query, `location`: of what was created."""

    def decorate(handler: Handler) -> Operation:
        hints = get_type_hints(handler)
        query, body_type = hints.get("query"), hints.get("body")

        async def handle(request: web.Request) -> web.StreamResponse:
            _count(request, request[PERSON])
            given: dict[str, object] = {}
            if reads is not None and query is not None:
                given["query"] = await reads(request, query)
            else:
                found = parameters(request, query or NoParameters)
                given |= {"query": found} if query is not None else {}
                if body_type is not None:
                    given["body"] = await body(request, body_type)
                elif method != "GET":
                    no_body(request)
            result = await handler(request, **given)
            if isinstance(result, web.StreamResponse):
                return result
            if result is None:
                return web.Response(status=204)
            response = json_response(request, result, status=status)
            if location:
                response.headers["Location"] = location.format(id=getattr(result, "id"))  # noqa: B009
            return response

        summary, _, description = inspect.cleandoc(handler.__doc__ or "").partition("\n\n")
        return Operation(
            Route(method, path, handle, access, scope, in_query),
            id,
            tag,
            " ".join(summary.split()),
            description,
            query or NoParameters,
            body_type,
            _result_type(hints["return"]),
            204 if hints["return"] is types.NoneType else status,
            may_exist,
            example,
            files or {},
            errors,
            path_help,
            accept,
        )

    return decorate


def _result_type(returned: Any) -> Struct | None:
    """The Struct that becomes JSON, of a return annotation."""
    parts = typing.get_args(returned) or (returned,)
    return next(
        (each for each in parts if isinstance(each, type) and issubclass(each, msgspec.Struct)),
        None,
    )


def _count(request: web.Request, person: Person) -> None:
    key = str(person.id)
    request[_COUNTED] = key
    limiter = request.config_dict[_LIMITER]
    if (seconds := limiter.take(key)) > 0:
        wait = math.ceil(seconds)
        rate = f"{limiter.burst / MINUTE:g} per second"
        words = f"At most {limiter.burst:,} calls at once, then {rate}: wait {wait} s."
        raise Problem("too_many", words, retry_after=wait)


async def _add_rate_headers(request: web.Request, response: web.StreamResponse) -> None:
    if _COUNTED not in request:
        return
    limiter = request.config_dict[_LIMITER]
    left = limiter.remaining(request[_COUNTED])
    response.headers["RateLimit-Limit"] = str(limiter.burst)
    response.headers["RateLimit-Remaining"] = str(left)
    reset = math.ceil((limiter.burst - left) * MINUTE / limiter.burst)
    response.headers["RateLimit-Reset"] = str(reset)


def json_response(request: web.Request, payload: object, *, status: int = 200) -> web.Response:
    """The payload as JSON; 304 for a GET whose `If-None-Match` has it already."""
    return cached_response(request, _encoder.encode(payload), JSON, status=status)


def cached_response(
    request: web.Request, content: bytes, kind: str, *, status: int = 200
) -> web.Response:
    """Send encoded content; 304 for a GET whose `If-None-Match` has it already."""
    response = web.Response(body=content, status=status, content_type=kind, charset="utf-8")
    if request.method in ("GET", "HEAD"):
        tag = hashlib.sha256(content).hexdigest()[:32]
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Vary"] = "Accept, Authorization, Cookie"
        known = request.if_none_match or ()
        if any(each.value in (tag, "*") for each in known):
            response = web.Response(status=304, headers=response.headers)
            del response.headers["Content-Type"]
        response.headers["ETag"] = f'"{tag}"'
    return response
