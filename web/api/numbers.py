"""Calls for numbers: how many tweets came when, what they are about, when nothing could come."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.tops import ASPECTS, Aspect, Span, all_tops, begins
from stream.tweet import TrackId
from web.api.asking import Moment, RowNumber, parameters, row_number
from web.api.calling import answer, call
from web.reading import books
from web.reading.counts import LENGTH, Step, counts
from web.site import person, site
from web.tracking import desk

MOST_STEPS = 20_000  # of one answer; earlier ones are left out
USUAL: dict[Step, timedelta] = {
    "minute": timedelta(hours=6),
    "hour": timedelta(days=7),
    "day": timedelta(days=365),
}


class Steps(msgspec.Struct, frozen=True):
    """Of which time, in which steps."""

    step: Step = "hour"
    begin: Moment | None = None
    end: Moment | None = None


class StepsOf(Steps, frozen=True, kw_only=True):
    """The same of several tracks, added up."""

    track: Annotated[list[RowNumber], Meta(min_length=1, max_length=100)]


class Most(msgspec.Struct, frozen=True):
    """Of how much time, what, and how many of each."""

    span: Span = "day"
    aspect: Aspect | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


class Missed(msgspec.Struct, frozen=True):
    """Which gaps."""

    source: Annotated[str, Meta(min_length=1, max_length=63)] | None = None
    begin: Moment | None = None
    end: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    below: RowNumber | None = None


async def counts_of_one(request: web.Request) -> web.StreamResponse:
    return await _counts(request, parameters(request, Steps), [row_number(request)])


async def counts_of_some(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, StepsOf)
    return await _counts(request, wish, wish.track)


async def _counts(request: web.Request, wish: Steps, tracks: list[int]) -> web.StreamResponse:
    """`begin` and `end` of the answer are those that it really speaks of."""
    end = wish.end or datetime.now(UTC)
    begin = wish.begin or end - USUAL[wish.step]
    begin = max(begin, end - MOST_STEPS * LENGTH[wish.step])
    async with site(request).database.acquire() as connection:
        for track_id in tracks:
            await desk.require(connection, person(request), track_id)
        numbered = [TrackId(track_id) for track_id in dict.fromkeys(tracks)]
        found = await counts(connection, numbered, wish.step, begin, end)
    return answer(request, {"step": wish.step, "begin": begin, "end": end, "counts": found})


async def tops(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, Most)
    aspects = ASPECTS if wish.aspect is None else (wish.aspect,)
    async with site(request).database.acquire() as connection:
        track = await desk.require(connection, person(request), row_number(request))
        found = await all_tops(connection, track.id, wish.span, wish.limit, aspects)
    return answer(request, {"span": wish.span, "begin": begins(wish.span), "tops": found})


async def gaps(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, Missed)
    async with site(request).database.acquire() as connection:
        found = await books.gaps(connection, **msgspec.structs.asdict(wish))
    following = found[-1].id if len(found) == wish.limit else None
    if not person(request).is_admin:
        found = [msgspec.structs.replace(gap, detail=None) for gap in found]
    return answer(request, {"gaps": found, "next": following})


ROUTES = (
    call("GET", "/api/v1/tracks/{id:[0-9]+}/counts", counts_of_one),
    call("GET", "/api/v1/tracks/{id:[0-9]+}/tops", tops),
    call("GET", "/api/v1/counts", counts_of_some),
    call("GET", "/api/v1/gaps", gaps),
)
