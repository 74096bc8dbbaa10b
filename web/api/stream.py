"""The stream for programs: every tweet as it is stored, as WebSocket or as server-sent events."""

import re
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import hdrs, web

from stream import stored
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.query import TrackKind
from stream.stored import Cursor
from stream.tweet import TrackId
from web.api.asking import RowNumber, parameters
from web.api.calling import call
from web.live.live import LIVE, seated
from web.live.pursuit import Event, Pursuit, Wanted
from web.live.seats import Seat
from web.live.socket import Gone, keep_small, opened, said, send, send_last, until_over
from web.live.view import understood
from web.problem import Problem
from web.reading import watched
from web.shown import ShownTweet
from web.site import person, site

MOST_TRACKS = 100
LONGEST = 4096  # bytes of a message from the program; none is expected
RETRY = 2000  # milliseconds after which a reader of events comes back
_CURSOR = re.compile(r"[\d.~]+", re.ASCII)
_HOW = "Open this as a WebSocket, or ask with `Accept: text/event-stream`."
_WHEN = "Say `now`, a cursor, or a time with its zone, such as 2026-01-31T12:00:00Z."
_NO_TRACK = "There is no track {}, or you do not see it."

encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tweet and the cursor behind it; without a tweet: so far, there is none."""

    cursor: str
    tweet: ShownTweet | None = None


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which tracks, what of them, from where on. The token is the guard's business."""

    track: Annotated[list[RowNumber], msgspec.Meta(max_length=MOST_TRACKS)] = []
    query: str = ""
    query_kind: TrackKind = "keyword"
    since: str = "now"
    token: str = ""


async def stream(request: web.Request) -> web.StreamResponse:
    is_socket = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    if not is_socket and "text/event-stream" not in request.headers.get(hdrs.ACCEPT, ""):
        raise Problem("bad_request", _HOW)
    asked = parameters(request, Asked)
    with seated(request) as seat:
        wanted = _wanted(request, asked)
        seat.tracks = frozenset(wanted.tracks)
        async with site(request).database.acquire() as connection:
            await _check(connection, wanted)
            # What a reader of events has seen counts more than where he began.
            cursor = await _begin(connection, request.headers.get("Last-Event-ID") or asked.since)
        pursuit = Pursuit(site(request).database, request.config_dict[LIVE].follower, wanted)
        events = pursuit.events(cursor)
        try:
            answer = _socket if is_socket else _events
            return await answer(request, seat, events)
        finally:
            await events.aclose()


def _wanted(request: web.Request, asked: Asked) -> Wanted:
    tracks = sorted({TrackId(each) for each in asked.track})
    query = asked.query.strip()
    return Wanted(person(request), tracks, understood(query, asked.query_kind) if query else None)


async def _check(connection: Executor, wanted: Wanted) -> None:
    asked = [(wanted.person.id, track) for track in wanted.tracks]
    hidden = set(asked) - await watched.still_seen(connection, asked)
    if hidden:
        track = min(track for _, track in hidden)
        raise Problem("not_found", _NO_TRACK.format(track), field="track")


async def _begin(connection: Executor, since: str) -> Cursor:
    if since == "now":
        return await stored.head(connection)
    if _CURSOR.fullmatch(since):
        try:
            return Cursor.parse(since)
        except TwitterstreamError as error:
            raise Problem("invalid", str(error), field="since") from error
    try:
        # In an address, a + that nobody encoded is a space.
        time = datetime.fromisoformat(since.strip().replace(" ", "+"))
    except ValueError:
        raise Problem("invalid", _WHEN, field="since") from None
    if time.tzinfo is None:
        raise Problem("invalid", _WHEN, field="since")
    return await stored.since(connection, time)


Events = AsyncGenerator[tuple[Sequence[Event], Cursor], None]


async def _socket(request: web.Request, seat: Seat, events: Events) -> web.StreamResponse:
    async with opened(request, LONGEST) as ws:

        async def pump() -> None:
            async for found, cursor in events:
                for each in found:
                    await send(ws, encode(Message(str(each.cursor), each.tweet)))
                if not found:
                    await send(ws, encode(Message(str(cursor))))

        async def listen() -> None:
            while await said(ws) is not None:
                pass

        try:
            await until_over(seat, pump(), listen())
        except Problem as problem:
            await send_last(ws, encode({"error": _error(problem)}))
        except Gone:
            pass
    return ws


async def _events(request: web.Request, seat: Seat, events: Events) -> web.StreamResponse:
    headers = {hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    keep_small(request)

    async def pump() -> None:
        async for found, cursor in events:
            parts = [
                _event(encode(Message(str(each.cursor), each.tweet)), str(each.cursor))
                for each in found
            ]
            await response.write(b"".join(parts) or b": still here\nid: %s\n\n" % _id(cursor))

    try:
        await response.write(b"retry: %d\n\n" % RETRY)
        await until_over(seat, pump())
    except Problem as problem:
        await response.write(b"event: error\ndata: %s\n\n" % encode(_error(problem)))
    return response


def _event(data: bytes, cursor: str) -> bytes:
    return b"id: %s\ndata: %s\n\n" % (cursor.encode(), data)


def _id(cursor: Cursor) -> bytes:
    return str(cursor).encode()


def _error(problem: Problem) -> dict[str, str | None]:
    return {"code": problem.code, "message": problem.message, "field": problem.field}


ROUTES = (call("GET", "/api/v1/stream", stream, in_query=True),)
