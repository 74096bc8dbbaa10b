"""The live stream of the API: stored tweets as a WebSocket or as server-sent events."""

import re
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from stream.cells import feed as merged
from stream.cells.databases import Cells
from stream.db import Executor
from stream.errors import TwitterstreamError
from stream.keys import PACKED
from stream.query import TrackKind
from stream.store import sharing
from stream.store.feed import Cursor
from stream.tweet import TrackId
from stream.tweet_view import TweetView
from web.api.operations import operation
from web.api.params import RowNumber
from web.context import app_context, person
from web.live.socket import (
    PeerGone,
    limit_send_buffer,
    open_websocket,
    receive_text,
    run_until_ended,
    send,
    send_last,
    wait_until_closed,
)
from web.live.tail import Event, Tail, TailFilter
from web.live.viewers import LIVE, ViewerSlot, viewer_slot
from web.problem import Problem
from web.queries.tweet_filter import parse_query

TRACKS_MAX = 100
MESSAGE_MAX = 4096  # bytes of a message from the client; none is expected
RETRY = 2000  # milliseconds until a reader of events reconnects
_CURSOR = re.compile(rf"[\d.~]+|{PACKED}[\w-]+", re.ASCII)
_HOW = "Open this as a WebSocket, or send `Accept: text/event-stream`."
_WHEN = "Use `now`, a cursor, or a time with its zone, such as 2026-01-31T12:00:00Z."
_NO_TRACK = "Track {} does not exist, or you cannot see it."

encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tweet and the cursor after it; without a tweet: nothing matched up to this cursor.

    `incomplete`: databases that cannot be used at the moment; their tweets come later.
    """

    cursor: str
    tweet: TweetView | msgspec.Raw | None = None
    incomplete: tuple[str, ...] = ()


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tweets, and from where on. The token was read before."""

    track: Annotated[
        list[RowNumber],
        Meta(
            max_length=TRACKS_MAX,
            description="Id of a track; repeat it for several.",
            examples=[[1]],
        ),
    ] = []
    query: Annotated[
        str, Meta(description="Only tweets that match this, written as a track's value.")
    ] = ""
    query_kind: Annotated[TrackKind, Meta(description="How to parse `query`.")] = "keyword"
    since: Annotated[
        str, Meta(description="A cursor, a time with its zone (2026-01-31T12:00:00Z), or `now`.")
    ] = "now"
    token: str = ""


@operation(
    "GET",
    "/api/v1/stream",
    "streamTweets",
    "Tweets",
    in_query=True,
    files={"text/event-stream": {"type": "string"}},
    errors=(404,),
    accept="text/event-stream",
)
async def stream(request: web.Request, query: StreamQuery) -> web.StreamResponse:
    """Tweets as they are stored, without end, as server-sent events or as a WebSocket.

    Send `Accept: text/event-stream`, or open it as a WebSocket. Every message is JSON:
    `{"cursor": "1.1.882345678901248001", "tweet": {…}}`. Keep the cursor of the last one and
    reconnect with `since`: then nothing is missed, however long you were disconnected. Readers of
    events do that by themselves: the cursor is the `id` of the event, and `Last-Event-ID` is
    respected. After a reconnection some tweets may arrive again: recognise them by `id`. Tweets
    are sent at your pace; none is dropped.

    Without `track` and `query`: the tweets of all tracks that you see; for admins, all tweets.
    When nothing matched for a while, a WebSocket gets a message without `tweet`, and events a
    comment, with the cursor so far. When one of several databases cannot be used, a message
    without `tweet`, or an event `incomplete`, names it in `incomplete`; its tweets come when it is
    back. Then one follows that names none.

    The last message is `{"error": {"code", "message", "field"}}`, or an event `error`. With
    `login_needed` the token was revoked; with `not_found` you no longer see a track; with
    `unavailable` the server stops, or your role or the scopes of the token changed, and you may
    reconnect at once.
    """
    is_socket = request.headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    if not is_socket and "text/event-stream" not in request.headers.get(hdrs.ACCEPT, ""):
        raise Problem("bad_request", _HOW)
    async with viewer_slot(request) as slot:
        wanted = _wanted(request, query)
        slot.tracks = frozenset(wanted.tracks)
        here = app_context(request)
        async with here.database.acquire() as connection, here.cells.reading(connection) as cells:
            await _check(connection, wanted)
            # Where a reader of events stopped counts more than where it started.
            cursor = await _begin(
                cells, connection, request.headers.get("Last-Event-ID") or query.since
            )
        events = Tail(request.config_dict[LIVE], wanted).events(cursor)
        try:
            answer = _socket if is_socket else _events
            return await answer(request, slot, events)
        finally:
            await events.aclose()


def _wanted(request: web.Request, given: StreamQuery) -> TailFilter:
    tracks = sorted({TrackId(each) for each in given.track})
    query = given.query.strip()
    parsed = parse_query(query, given.query_kind) if query else None
    return TailFilter(person(request), tracks, parsed)


async def _check(connection: Executor, wanted: TailFilter) -> None:
    visible = await sharing.visible_among(connection, wanted.person.id, wanted.tracks)
    if hidden := set(wanted.tracks) - visible.keys():
        raise Problem("not_found", _NO_TRACK.format(min(hidden)), field="track")


async def _begin(cells: Cells, connection: Executor, since: str) -> Cursor:
    if since == "now":
        return await merged.head(cells, connection)
    if _CURSOR.fullmatch(since):
        try:
            return Cursor.parse(since)
        except TwitterstreamError as error:
            raise Problem("invalid", str(error), field="since") from error
    try:
        # In an address, a + that was not encoded is a space.
        time = datetime.fromisoformat(since.strip().replace(" ", "+"))
    except ValueError:
        raise Problem("invalid", _WHEN, field="since") from None
    if time.tzinfo is None:
        raise Problem("invalid", _WHEN, field="since")
    return await merged.since(cells, connection, time)


Events = AsyncGenerator[tuple[Sequence[Event], Cursor], None]


async def _socket(request: web.Request, slot: ViewerSlot, events: Events) -> web.StreamResponse:
    async with open_websocket(request, MESSAGE_MAX) as ws:

        async def pump() -> None:
            said: tuple[str, ...] = ()
            async for found, cursor in events:
                for each in found:
                    await send(ws, encode(Message(str(each.cursor), each.tweet)))
                missing = _missing(request)
                if not found or missing != said:
                    await send(ws, encode(Message(str(cursor), incomplete=missing)))
                    said = missing

        async def listen() -> None:
            while await receive_text(ws) is not None:
                pass

        try:
            await run_until_ended(slot, pump(), listen())
        except Problem as problem:
            await send_last(ws, encode({"error": _error(problem)}))
        except PeerGone:
            pass
    return ws


async def _events(request: web.Request, slot: ViewerSlot, events: Events) -> web.StreamResponse:
    headers = {hdrs.CONTENT_TYPE: "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    limit_send_buffer(request)

    async def pump() -> None:
        said: tuple[str, ...] = ()
        async for found, cursor in events:
            parts = [_event(Message(str(each.cursor), each.tweet)) for each in found]
            if (missing := _missing(request)) != said:
                note = Message(str(cursor), incomplete=missing)
                parts.append(b"event: incomplete\n" + _event(note))
                said = missing
            await response.write(b"".join(parts) or b": still here\nid: %s\n\n" % _id(cursor))

    try:
        await response.write(b"retry: %d\n\n" % RETRY)
        # A reader who disconnects frees the slot at once, not only at the next write.
        await run_until_ended(slot, pump(), wait_until_closed(request))
    except Problem as problem:
        await response.write(b"event: error\ndata: %s\n\n" % encode(_error(problem)))
    return response


def _missing(request: web.Request) -> tuple[str, ...]:
    """The databases that cannot be used at the moment."""
    return tuple(sorted(app_context(request).cells.why_missing))


def _event(message: Message) -> bytes:
    return b"id: %s\ndata: %s\n\n" % (message.cursor.encode(), encode(message))


def _id(cursor: Cursor) -> bytes:
    return str(cursor).encode()


def _error(problem: Problem) -> dict[str, str | None]:
    return {"code": problem.code, "message": problem.message, "field": problem.field}


OPERATIONS = (stream,)
