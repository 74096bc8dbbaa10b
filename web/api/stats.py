"""Calls for statistics: counts over time, top items, gaps."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.cells import counts
from stream.store import gaps
from stream.store.gaps import GapRecord
from stream.store.statistics import Count, Step
from stream.store.top_items import (
    ASPECTS,
    Aspect,
    Span,
    TopItem,
    span_start,
)
from stream.tweet import TrackId
from web.api.operations import operation
from web.api.params import PLAIN, Moment, RowNumber, row_number
from web.api.tracks import Below, Limit
from web.context import app_context, person
from web.queries.tracks import STEP_LENGTHS
from web.track_editing import service

STEPS_MAX = 20_000  # of one answer; earlier ones are left out
DEFAULT_SPANS: dict[Step, timedelta] = {
    "minute": timedelta(hours=6),
    "hour": timedelta(days=7),
    "day": timedelta(days=365),
}
Begin = Annotated[Moment, Meta(description="Only from this time on.")]
End = Annotated[Moment, Meta(description="Only before this time.")]
SourceName = Annotated[
    str, Meta(min_length=1, max_length=63, pattern=PLAIN, description="Name of a source.")
]


class CountsQuery(msgspec.Struct, frozen=True):
    """Which period, in which steps."""

    step: Step = "hour"
    begin: Begin | None = None
    end: End | None = None


class TracksCountsQuery(CountsQuery, frozen=True, kw_only=True):
    """Which tracks together, which period, in which steps."""

    track: Annotated[
        list[RowNumber],
        Meta(
            min_length=1,
            max_length=100,
            description="Id of a track; repeat it for several.",
            examples=[[1]],
        ),
    ]


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tweets by step, in order of time; `begin` and `end` are the period that is covered.

    `incomplete` is only there when databases did not answer, and names them: they are not counted.
    """

    step: Step
    begin: datetime
    end: datetime
    counts: list[Count]
    incomplete: tuple[str, ...] = ()


class TopItemsQuery(msgspec.Struct, frozen=True):
    """Which period, which kind of items, and how many."""

    span: Span = "day"
    aspect: Aspect | None = None
    limit: Annotated[
        int, Meta(ge=1, le=100, description="Maximum number of items of each kind.")
    ] = 10


class TopItems(msgspec.Struct, frozen=True, omit_defaults=True):
    """By aspect, the most frequent first; `begin` is null for all time.

    `incomplete` is only there when databases did not answer, and names them: they are not counted.
    """

    span: Span
    begin: datetime | None
    tops: Mapping[Aspect, Sequence[TopItem]]
    incomplete: tuple[str, ...] = ()


class GapListQuery(msgspec.Struct, frozen=True):
    """Which gaps."""

    source: SourceName | None = None
    begin: Begin | None = None
    end: End | None = None
    limit: Limit = 100
    below: Below | None = None


class GapPage(msgspec.Struct, frozen=True):
    """Gaps, the newest first; `next` is the `below` of the following page."""

    gaps: Sequence[GapRecord]
    next: int | None


@operation(
    "GET",
    "/api/v1/tracks/{id:[0-9]+}/counts",
    "getTrackCounts",
    "Statistics",
    path_help="Id of the track.",
)
async def get_track_counts(request: web.Request, query: CountsQuery) -> Counts:
    """Tweets of a track by minute, hour or day.

    Steps without tweets are omitted. Without `begin`: the last 6 hours by minute, 7 days by hour,
    365 days by day. At most 20,000 steps; `begin` of the answer is where they start. Hours and
    days are UTC.
    """
    return await _counts(request, query, [row_number(request)])


@operation("GET", "/api/v1/counts", "getCounts", "Statistics", errors=(404,))
async def get_counts(request: web.Request, query: TracksCountsQuery) -> Counts:
    """Tweets of several tracks together, by minute, hour or day.

    As for one track. A tweet that matches several of the tracks is counted once for each.
    """
    return await _counts(request, query, query.track)


async def _counts(request: web.Request, query: CountsQuery, tracks: list[int]) -> Counts:
    end = query.end or datetime.now(UTC)
    begin = query.begin or end - DEFAULT_SPANS[query.step]
    begin = max(begin, end - STEPS_MAX * STEP_LENGTHS[query.step])
    here = app_context(request)
    async with here.database.acquire() as connection:
        for track_id in tracks:
            await service.require(connection, person(request), track_id)
        ids = [TrackId(track_id) for track_id in dict.fromkeys(tracks)]
        async with here.cells.reading(connection) as cells:
            found = await counts.track_counts(cells, connection, ids, query.step, begin, end)
    return Counts(query.step, begin, end, found.value, found.missing)


@operation(
    "GET",
    "/api/v1/tracks/{id:[0-9]+}/tops",
    "getTrackTops",
    "Statistics",
    path_help="Id of the track.",
)
async def get_top_items(request: web.Request, query: TopItemsQuery) -> TopItems:
    """The top hashtags, authors, mentions, links, languages and kinds of a track's tweets.

    Items are counted by tweets, also by those that a look-back found. Only the most frequent are
    kept, so counts of rare items may be too low. `hour` is the current hour and the one before it.
    """
    aspects = ASPECTS if query.aspect is None else (query.aspect,)
    here = app_context(request)
    async with here.database.acquire() as connection:
        track = await service.require(connection, person(request), row_number(request))
        async with here.cells.reading(connection) as cells:
            found = await counts.most_frequent_by_aspect(
                cells, connection, track.id, query.span, query.limit, aspects
            )
    return TopItems(query.span, span_start(query.span), found.value, found.missing)


@operation("GET", "/api/v1/gaps", "listGaps", "Statistics")
async def list_gaps(request: web.Request, query: GapListQuery) -> GapPage:
    """Periods in which a source could not deliver, the newest first."""
    async with app_context(request).database.acquire() as connection:
        found = await gaps.list_gaps(connection, **msgspec.structs.asdict(query))
    following = found[-1].id if len(found) == query.limit else None
    if not person(request).is_admin:
        found = [msgspec.structs.replace(gap, detail=None) for gap in found]
    return GapPage(found, following)


OPERATIONS = (get_track_counts, get_top_items, get_counts, list_gaps)
