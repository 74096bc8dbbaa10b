"""Calls about look-backs: searches of posts from before a track existed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.db import Executor
from stream.store import look_backs
from stream.store.look_backs import LookBack, NewLookBack, Place, State
from stream.tweet import TrackId
from web.api.operations import json_response, operation
from web.api.params import PLAIN, Moment, row_number
from web.context import app_context, person
from web.track_editing import look_back, service

Account = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=300,
        pattern=PLAIN,
        description="For the place `author` only: the handle or DID of an account on Bluesky.",
    ),
]


class AddLookBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to search for earlier posts of a track, and how far back.

    `stored`: tweets that are stored for other tracks. `recorded`: everything that was received and
    is still kept, also posts that matched no track. `network`: what the network sends again, on
    Bluesky the last 36 hours. `author`: all posts of one account on Bluesky. `since` null: as far
    as possible.
    """

    place: Place
    since: Moment | None = None
    author: Account | None = None

    def new(self) -> NewLookBack:
        return NewLookBack(self.place, self.since, self.author)


LookBacks = Annotated[
    Sequence[AddLookBack],
    Meta(max_length=10, description="Where to search for earlier posts; default: nowhere."),
]


class LookBackStatus(msgspec.Struct, frozen=True):
    """A look-back and how far it is.

    `progress`: from 0 to 1, null while it is unknown. `looked`: posts searched; `found`: of these,
    posts that match and that the track did not have; `added`: of these, posts that were not stored
    before. `position`: its place in the queue while it waits for its turn, 1 for the next.
    `reason`: why it failed or waits for something else, or what is missing.
    """

    id: int
    track_id: TrackId
    place: Place
    since: datetime | None
    author: str | None
    requested_at: datetime
    requested_by: str | None
    state: State
    position: int | None
    reason: str
    progress: float | None
    looked: int
    found: int
    added: int
    started_at: datetime | None
    finished_at: datetime | None


class LookBackPage(msgspec.Struct, frozen=True):
    """The look-backs of a track, the newest first."""

    look_backs: list[LookBackStatus]


_LOOK_BACK = "Id of the look-back."


@operation(
    "GET",
    "/api/v1/tracks/{id:[0-9]+}/look-backs",
    "listLookBacks",
    "Tracks",
    path_help="Id of the track.",
)
async def list_look_backs(request: web.Request) -> LookBackPage:
    """The last 20 look-backs of a track, and how far they are."""
    async with app_context(request).database.acquire() as connection:
        track = await service.require(connection, person(request), row_number(request))
        found = await look_backs.of_track(connection, track.id)
    return LookBackPage([_status(each) for each in found])


@operation(
    "POST",
    "/api/v1/tracks/{id:[0-9]+}/look-backs",
    "addLookBack",
    "Tracks",
    access="user",
    scope="write",
    status=201,
    location="/api/v1/look-backs/{id}",
    may_exist=True,
    example={"place": "stored"},
    path_help="Id of the track.",
)
async def add_look_back(
    request: web.Request, body: AddLookBack
) -> LookBackStatus | web.StreamResponse:
    """Search for earlier posts of a track.

    It runs in the background. An unfinished one of the same place is returned instead of a second,
    with status 200. If `since` is earlier than its own, it begins again from there.
    """
    here, who = app_context(request), person(request)
    track_id = row_number(request)
    [done] = await look_back.request(here.database, who, here.settings, track_id, [body.new()])
    async with here.database.acquire() as connection:
        found = await _one(connection, request, done.id)
    return found if done.how == "new" else json_response(request, found)


@operation("GET", "/api/v1/look-backs/{id:[0-9]+}", "getLookBack", "Tracks", path_help=_LOOK_BACK)
async def get_look_back(request: web.Request) -> LookBackStatus:
    """A look-back and how far it is."""
    async with app_context(request).database.acquire() as connection:
        return await _one(connection, request, row_number(request))


async def _one(connection: Executor, request: web.Request, number: int) -> LookBackStatus:
    return _status(await look_back.require(connection, person(request), number))


def _status(found: LookBack) -> LookBackStatus:
    return msgspec.convert(found, LookBackStatus, from_attributes=True)


@operation(
    "DELETE",
    "/api/v1/look-backs/{id:[0-9]+}",
    "cancelLookBack",
    "Tracks",
    access="user",
    scope="write",
    path_help=_LOOK_BACK,
)
async def cancel_look_back(request: web.Request) -> None:
    """Cancel a look-back. What it has found stays; a finished one stays as it is."""
    await look_back.cancel(app_context(request).database, person(request), row_number(request))


OPERATIONS = (list_look_backs, add_look_back, get_look_back, cancel_look_back)
