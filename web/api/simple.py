"""Calls for scripts, in the manner of older services: everything fits into one address.

`POST /stream/start?token=…&track=snow` follows something, `POST /stream/stop` follows it no more,
`GET /stream/status` tells how it is, and `GET /tweets?token=…&count=20` gives what came last.
"""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta
from multidict import MultiDict

from stream.db import Executor
from stream.query import TrackKind
from stream.tracks import NewTrack
from stream.tweet import TrackId
from web.api.asking import RowNumber, Shape, parameters, read
from web.api.calling import answer, call
from web.api.tracks import Text, line
from web.guard import CSRF_FIELD
from web.person import Person
from web.problem import Problem
from web.reading import looks, tweets
from web.reading.cursors import PATTERN
from web.reading.tracks import Listing, TrackLine, overview
from web.reading.tweets import Wanted
from web.site import person, site
from web.tracking import desk

Words = Annotated[str, Meta(min_length=1, max_length=1000)]  # more would not fit an address
MOST_TRACKS = 1000  # that are stopped or shown at once


class Start(msgspec.Struct, frozen=True):
    """What to follow."""

    track: Words
    kind: TrackKind = "keyword"
    token: Text = ""


class Stop(msgspec.Struct, frozen=True):
    """What to follow no more; without words and number: everything of this user."""

    track: Words | None = None
    id: RowNumber | None = None
    token: Text = ""


class Status(msgspec.Struct, frozen=True):
    """Nothing to say but who asks."""

    token: Text = ""


class Newest(msgspec.Struct, frozen=True):
    """How many tweets; `id`: of which track, `cursor`: behind which page."""

    count: Annotated[int, Meta(ge=1, le=1000)] = 20
    id: RowNumber | None = None
    cursor: Annotated[str, Meta(pattern=PATTERN)] | None = None
    token: Text = ""


async def _said(request: web.Request, shape: type[Shape]) -> Shape:
    """In the address, or in a form, or some here and some there."""
    said = MultiDict(request.query)
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        for name, value in (await request.post()).items():
            if not isinstance(value, str):
                raise Problem("invalid", f"`{name[:50]}` is a file.", field=name[:50])
            if name != CSRF_FIELD:
                said.add(name, value)
    elif request.can_read_body and await request.read():
        raise Problem("bad_request", "Send a form, or put everything into the address.")
    return read(said, shape)


async def start(request: web.Request) -> web.StreamResponse:
    """The same words again are the same track again."""
    wish = await _said(request, Start)
    here, who = site(request), person(request)
    async with here.database.acquire() as connection:
        known = [
            each.id
            for each in await _own(connection, who, wish.track)
            if (each.value, each.kind) == (wish.track, wish.kind)
        ]
    if known:
        await desk.enable(here.database, who, known[:1], enabled=True)
    track_id = known[0] if known else None
    if track_id is None:
        new = NewTrack(wish.track, wish.kind, who.name)
        track_id = await desk.add(here.database, who, new)
    async with here.database.acquire() as connection:
        return answer(request, _shown(await line(connection, who, track_id)))


async def _own(connection: Executor, who: Person, words: str = "") -> list[TrackLine]:
    listing = Listing(words=words, owner=who.name, limit=MOST_TRACKS)
    return await overview(connection, who, listing)


def _shown(track: TrackLine) -> dict[str, object]:
    return {
        "id": track.id,
        "track": track.value,
        "kind": track.kind,
        "enabled": track.enabled,
        "state": track.state,
        "reason": track.reason,
        "last_minute": track.last_minute,
        "today": track.today,
        "total": track.total,
    }


async def stop(request: web.Request) -> web.StreamResponse:
    wish = await _said(request, Stop)
    here, who = site(request), person(request)
    if wish.id is not None:
        wanted = [TrackId(wish.id)]
    else:
        async with here.database.acquire() as connection:
            own = await _own(connection, who, wish.track or "")
        wanted = [each.id for each in own if wish.track in (None, each.value)]
        if not wanted and wish.track is not None:
            raise Problem("not_found", "You have no track with these words.", field="track")
    stopped = await desk.enable(here.database, who, wanted, enabled=False)
    return answer(request, {"stopped": stopped})


async def status(request: web.Request) -> web.StreamResponse:
    parameters(request, Status)
    async with site(request).database.acquire() as connection:
        own = await _own(connection, person(request))
    return answer(request, {"tracks": [_shown(each) for each in own]})


async def newest(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, Newest)
    tracks = None if wish.id is None else [TrackId(wish.id)]
    wanted = Wanted(person=person(request), tracks=tracks)
    async with site(request).database.acquire() as connection:
        page = await tweets.page(connection, wanted, "newest", wish.cursor, wish.count)
        for track_id in tracks or ():
            await looks.note(connection, track_id)
    return answer(request, {"tweets": page.tweets, "cursor": page.next})


ROUTES = (
    call("POST", "/stream/start", start, "user", "write", in_query=True),
    call("POST", "/stream/stop", stop, "user", "write", in_query=True),
    call("GET", "/stream/status", status, in_query=True),
    call("GET", "/tweets", newest, in_query=True),
)
