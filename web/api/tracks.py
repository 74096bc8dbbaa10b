"""Calls about tracks: list, make, change, pause, remove, share; and what was done to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from stream.db import Executor
from stream.query import TrackKind
from stream.tracks import NewTrack, TrackState
from stream.tweet import NetworkName, TrackId
from web.api.asking import Moment, RowNumber, body, no_body, parameters, row_number
from web.api.calling import answer, call, takes_nothing
from web.person import Person
from web.problem import Problem
from web.reading.tracks import Listing, Sort, TrackLine, found, overview
from web.site import person, site
from web.tracking import desk

Text = Annotated[str, Meta(max_length=500)]
Value = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=63)]
Networks = Annotated[Sequence[NetworkName], Meta(min_length=1, max_length=10)]
Days = Annotated[int, Meta(ge=1, le=36_500)]
Priority = Annotated[int, Meta(ge=-32_768, le=32_767)]
YEARS = range(1970, 2200)


class Wish(msgspec.Struct, frozen=True):
    """Which tracks to list."""

    words: Text = ""
    state: TrackState | None = None
    kind: TrackKind | None = None
    owner: Name | None = None
    forgotten: bool = False
    sort: Sort = "newest"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class New(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A track to make."""

    value: Value
    kind: TrackKind = "keyword"
    owner: Name | None = None
    networks: Networks | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    priority: Priority = 0
    keep_days: Days | None = None


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to say anew; what is left out stays."""

    value: Value | UnsetType = UNSET
    kind: TrackKind | UnsetType = UNSET
    owner: Name | UnsetType = UNSET
    networks: Networks | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    starts_at: Moment | UnsetType | None = UNSET
    ends_at: Moment | UnsetType | None = UNSET
    priority: Priority | UnsetType = UNSET
    keep_days: Days | UnsetType | None = UNSET


class Some(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tracks to do the same to."""

    tracks: Annotated[Sequence[RowNumber], Meta(min_length=1, max_length=1000)]


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who shall see a track, beside its owner and the admins: these, and nobody else."""

    names: Annotated[Sequence[Name], Meta(max_length=1000)]


class Newest(msgspec.Struct, frozen=True):
    """How many entries of a history, and below which number."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    below: RowNumber | None = None


async def listed(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, Wish)
    listing = msgspec.convert(wish, Listing, from_attributes=True)
    async with site(request).database.acquire() as connection:
        lines = await overview(connection, person(request), listing)
        number = (await found(connection, person(request), listing)).total
    return answer(request, {"tracks": lines, "total": number})


async def one(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    async with site(request).database.acquire() as connection:
        return answer(request, await line(connection, person(request), row_number(request)))


async def line(connection: Executor, who: Person, track_id: int) -> TrackLine:
    """A track as the list shows it. Problem for whoever does not see it."""
    track = await desk.require(connection, who, track_id)
    lines = await overview(connection, who, Listing(number=track.id))
    if not lines:  # removed between the two
        raise Problem("not_found", "There is no such track any more.")
    return lines[0]


async def make(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    new = await body(request, New)
    _check_times(new.starts_at, new.ends_at)
    here, who = site(request), person(request)
    track_id = await desk.add(here.database, who, NewTrack(**msgspec.structs.asdict(new)))
    async with here.database.acquire() as connection:
        response = answer(request, await line(connection, who, track_id), status=201)
    response.headers["Location"] = here.pages.url(f"/api/v1/tracks/{track_id}")
    return response


async def change(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    new = await body(request, Change)
    _check_times(new.starts_at, new.ends_at)
    here, who, track_id = site(request), person(request), row_number(request)
    changes = desk.Changes(**msgspec.structs.asdict(new))
    await desk.change(here.database, who, track_id, changes)
    async with here.database.acquire() as connection:
        return answer(request, await line(connection, who, track_id))


def _check_times(*times: datetime | UnsetType | None) -> None:
    for time in times:
        if isinstance(time, datetime) and time.year not in YEARS:
            words = f"Times lie between {YEARS[0]} and {YEARS[-1]}."
            raise Problem("invalid", words, field="starts_at" if time == times[0] else "ends_at")


async def remove(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    no_body(request)
    await desk.remove(site(request).database, person(request), row_number(request))
    return web.Response(status=204)


async def pause(request: web.Request) -> web.StreamResponse:
    return await _enable(request, enabled=False)


async def resume(request: web.Request) -> web.StreamResponse:
    return await _enable(request, enabled=True)


async def _enable(request: web.Request, *, enabled: bool) -> web.StreamResponse:
    takes_nothing(request)
    wanted = await body(request, Some)
    changed = await desk.enable(
        site(request).database, person(request), wanted.tracks, enabled=enabled
    )
    return answer(request, {"changed": changed})


async def share(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    wanted = await body(request, Names)
    here, who, track_id = site(request), person(request), row_number(request)
    await desk.share(here.database, who, track_id, wanted.names)
    return web.Response(status=204)


async def history(request: web.Request) -> web.StreamResponse:
    return await _history(request, None)


async def history_of_one(request: web.Request) -> web.StreamResponse:
    return await _history(request, TrackId(row_number(request)))


async def _history(request: web.Request, track_id: TrackId | None) -> web.StreamResponse:
    wish = parameters(request, Newest)
    async with site(request).database.acquire() as connection:
        who = person(request)
        entries = await desk.history(connection, who, track_id, wish.limit, wish.below)
    following = entries[-1].id if len(entries) == wish.limit else None
    return answer(request, {"history": entries, "next": following})


async def undo(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    no_body(request)
    here, who = site(request), person(request)
    track_id = await desk.undo(here.database, who, row_number(request))
    return answer(request, {"track": track_id})


ROUTES = (
    call("GET", "/api/v1/tracks", listed),
    call("POST", "/api/v1/tracks", make, "user", "write"),
    call("POST", "/api/v1/tracks/pause", pause, "user", "write"),
    call("POST", "/api/v1/tracks/resume", resume, "user", "write"),
    call("GET", "/api/v1/tracks/{id:[0-9]+}", one),
    call("PATCH", "/api/v1/tracks/{id:[0-9]+}", change, "user", "write"),
    call("DELETE", "/api/v1/tracks/{id:[0-9]+}", remove, "user", "write"),
    call("PUT", "/api/v1/tracks/{id:[0-9]+}/shares", share, "user", "write"),
    call("GET", "/api/v1/tracks/{id:[0-9]+}/history", history_of_one),
    call("GET", "/api/v1/history", history),
    call("POST", "/api/v1/history/{id:[0-9]+}/undo", undo, "user", "write"),
)
