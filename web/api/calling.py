"""Around every call: how many there may be, and how answers look."""

import hashlib
import math
from typing import Any

import msgspec
from aiohttp import web

from web.api.asking import Nothing, parameters
from web.person import Access, Person, Scope
from web.problem import Problem
from web.routing import Handler, Method, Route
from web.site import PERSON
from web.throttle import Throttle

MINUTE = 60  # seconds in which web.calls_per_minute come back
JSON = "application/json"
_CALLS: web.AppKey[Throttle] = web.AppKey("calls", Throttle)
_COUNTED: web.RequestKey[str] = web.RequestKey("counted", str)
_encoder = msgspec.json.Encoder()


def install(app: web.Application, calls_per_minute: int) -> None:
    """Count the calls of each user, and tell him with every answer how many are left."""
    app[_CALLS] = Throttle(calls_per_minute, MINUTE)
    app.on_response_prepare.append(_tell)


def call(
    method: Method,
    path: str,
    handler: Handler,
    access: Access = "viewer",
    scope: Scope = "read",
    *,
    in_query: bool = False,
) -> Route:
    """A route for programs: counted, and open to tokens."""

    async def counted(request: web.Request) -> web.StreamResponse:
        _count(request, request[PERSON])
        return await handler(request)

    return Route(method, path, counted, access, scope, in_query)


def _count(request: web.Request, person: Person) -> None:
    key = str(person.id)
    request[_COUNTED] = key
    seconds = request.config_dict[_CALLS].take(key)
    if seconds > 0:
        wait = math.ceil(seconds)
        words = f"You may call {request.config_dict[_CALLS].burst} times a minute: wait {wait} s."
        raise Problem("too_many", words, retry_after=wait)


async def _tell(request: web.Request, response: web.StreamResponse) -> None:
    if _COUNTED not in request:
        return
    calls = request.config_dict[_CALLS]
    left = calls.left(request[_COUNTED])
    response.headers["RateLimit-Limit"] = str(calls.burst)
    response.headers["RateLimit-Remaining"] = str(left)
    response.headers["RateLimit-Reset"] = str(
        math.ceil((calls.burst - left) * MINUTE / calls.burst)
    )


def answer(request: web.Request, payload: object, *, status: int = 200) -> web.Response:
    """The payload as JSON; a GET of what the caller has already is answered with 304."""
    return raw(request, _encoder.encode(payload), JSON, status=status)


def raw(request: web.Request, body: bytes, kind: str, *, status: int = 200) -> web.Response:
    """The same for what is encoded already."""
    response = web.Response(body=body, status=status, content_type=kind, charset="utf-8")
    if request.method == "GET":
        tag = hashlib.sha256(body).hexdigest()[:32]
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Vary"] = "Accept, Authorization, Cookie"
        known = request.if_none_match or ()
        if any(each.value in (tag, "*") for each in known):
            response = web.Response(status=304, headers=response.headers)
            del response.headers["Content-Type"]
        response.headers["ETag"] = f'"{tag}"'
    return response


def takes_nothing(request: web.Request) -> None:
    """Problem for parameters where there are none."""
    parameters(request, Nothing)


def fields(struct: msgspec.Struct) -> dict[str, Any]:
    """A Struct as what JSON shows of it, to add something or leave something out."""
    return msgspec.structs.asdict(struct)
