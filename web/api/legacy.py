"""Calls for scripts, as in older services: everything fits into one address.

`POST /stream/start?token=…&track=snow` adds a track, `POST /stream/stop` pauses it,
`GET /stream/status` lists the tracks, and `GET /tweets?token=…&count=20` gets the newest tweets.
"""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta
from multidict import MultiDict

from stream.cells.counts import Sum
from stream.cells.databases import Cells
from stream.db import Executor
from stream.query import TrackKind
from stream.store import tracks
from stream.store.track_list import TrackFilter, TrackSummary
from stream.store.tracks import NewTrack, TrackState
from stream.tweet import TrackId
from stream.tweet_view import TweetView
from web.api.operations import operation
from web.api.params import PLAIN, RowNumber, Shape, read
from web.api.tracks import Text, track_summary
from web.auth import CSRF_FIELD
from web.context import app_context, form_fields, person
from web.person import Person
from web.problem import Problem
from web.queries import tweets
from web.queries.cursors import CURSOR_PATTERN
from web.queries.tracks import overview
from web.queries.tweets import TweetQuery
from web.track_editing import service

Words = Annotated[  # more would not fit into an address
    str, Meta(min_length=1, max_length=1000, pattern=PLAIN, examples=["snow day"])
]
TRACKS_MAX = 1000  # that are stopped or listed at once


class StartQuery(msgspec.Struct, frozen=True):
    """What to track."""

    track: Annotated[Words, Meta(description="What to track.")]
    kind: TrackKind = "keyword"
    token: Text = ""


class StopQuery(msgspec.Struct, frozen=True):
    """Which tracks to pause; without both: all of this user."""

    track: Words | None = None
    id: RowNumber | None = None
    token: Text = ""


class StatusQuery(msgspec.Struct, frozen=True):
    """Only the token."""

    token: Text = ""


class NewestQuery(msgspec.Struct, frozen=True):
    """How many tweets, and of which track."""

    count: Annotated[int, Meta(ge=1, le=1000)] = 20
    id: Annotated[RowNumber, Meta(description="Id of a track.")] | None = None
    cursor: (
        Annotated[str, Meta(pattern=CURSOR_PATTERN, description="`cursor` of the previous answer.")]
        | None
    ) = None
    token: Text = ""


class SimpleTrack(msgspec.Struct, frozen=True):
    """A track and its counts, in short."""

    id: TrackId
    track: str
    kind: TrackKind
    enabled: bool
    state: TrackState
    reason: str
    last_minute: int
    today: int
    total: int


class StoppedTracks(msgspec.Struct, frozen=True):
    """Ids of the tracks that were paused now."""

    stopped: list[TrackId]


class SimpleTracks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Your tracks.

    `incomplete` is only there when databases did not answer, and names them: they are not counted.
    """

    tracks: list[SimpleTrack]
    incomplete: tuple[str, ...] = ()


class NewestTweets(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tweets; `cursor` leads to older ones, null at the end.

    `incomplete` is only there when databases did not answer, and names them.
    """

    tweets: list[TweetView]
    cursor: str | None
    incomplete: tuple[str, ...] = ()


async def _from_address_or_form(request: web.Request, shape: type[Shape]) -> Shape:
    """Parameters from the address, from a form, or some from each."""
    given = MultiDict(request.query)
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        for name, value in form_fields(request).items():
            if name != CSRF_FIELD and isinstance(value, str):
                given.add(name, value)
    elif request.can_read_body and await request.read():
        raise Problem("bad_request", "Send a form, or put everything into the address.")
    return read(given, shape)


@operation(
    "POST",
    "/stream/start",
    "startStream",
    "Simple calls",
    access="user",
    scope="write",
    in_query=True,
    reads=_from_address_or_form,
    errors=(409,),
)
async def start_stream(request: web.Request, query: StartQuery) -> SimpleTrack:
    """Track these words. The same words again are the same track, resumed.

    The parameters may be in the address or in a form. The token may be in the address or in the
    header `Authorization`, but not in the form.
    """
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        known = [
            each.id
            for each in (await _own(here.cells, connection, who, query.track)).value
            if (each.value, each.kind) == (query.track, query.kind)
        ]
    if known:
        await service.enable(here.database, who, known[:1], enabled=True)
    track_id = known[0] if known else None
    if track_id is None:
        new = NewTrack(query.track, query.kind, who.name)
        try:
            track_id = await service.add(here.database, who, new)
        except Problem as problem:
            if problem.field == "value":
                problem.field = "track"  # its name in this call
            raise
    async with here.database.acquire() as connection:
        return _simple(await track_summary(here.cells, connection, who, track_id))


async def _own(
    cells: Cells, connection: Executor, who: Person, words: str = ""
) -> Sum[list[TrackSummary]]:
    wanted = TrackFilter(words=words, owner=who.name, limit=TRACKS_MAX)
    return await overview(cells, connection, who, wanted)


def _simple(track: TrackSummary) -> SimpleTrack:
    return SimpleTrack(
        track.id,
        track.value,
        track.kind,
        track.enabled,
        track.state,
        track.reason,
        track.last_minute,
        track.today,
        track.total,
    )


@operation(
    "POST",
    "/stream/stop",
    "stopStream",
    "Simple calls",
    access="user",
    scope="write",
    in_query=True,
    reads=_from_address_or_form,
    errors=(404,),
)
async def stop_stream(request: web.Request, query: StopQuery) -> StoppedTracks:
    """Pause the track with these words or this id; without both, all of yours."""
    here, who = app_context(request), person(request)
    if query.id is not None:
        wanted = [TrackId(query.id)]
    else:
        async with here.database.acquire() as connection:
            own = await _own(here.cells, connection, who, query.track or "")
        wanted = [each.id for each in own.value if query.track in (None, each.value)]
        if not wanted and query.track is not None:
            raise Problem("not_found", "You have no track with these words.", field="track")
    return StoppedTracks(await service.enable(here.database, who, wanted, enabled=False))


@operation("GET", "/stream/status", "getStreamStatus", "Simple calls", in_query=True)
async def get_stream_status(request: web.Request, query: StatusQuery) -> SimpleTracks:  # noqa: ARG001 - declares the token
    """Your tracks and their counts."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        own = await _own(here.cells, connection, person(request))
    return SimpleTracks([_simple(each) for each in own.value], own.missing)


@operation("GET", "/tweets", "getNewestTweets", "Simple calls", in_query=True, errors=(404,))
async def get_newest_tweets(request: web.Request, query: NewestQuery) -> NewestTweets:
    """The newest tweets of your tracks, or of one."""
    ids = None if query.id is None else [TrackId(query.id)]
    wanted = TweetQuery(person=person(request), tracks=ids)
    here = app_context(request)
    async with here.database.acquire() as connection:
        page = await tweets.page(
            here.cells, connection, wanted, "newest", query.cursor, query.count
        )
        for track_id in ids or ():
            await tracks.note_viewed(connection, track_id)
    return NewestTweets(list(page.tweets), page.next, page.incomplete)


OPERATIONS = (start_stream, stop_stream, get_stream_status, get_newest_tweets)
