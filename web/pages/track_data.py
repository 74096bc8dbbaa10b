"""What a track's page loads or links to: chart data, and downloads of its tweets."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from aiohttp import web

from stream.cells import counts
from stream.cells.databases import Cells
from stream.db import Executor
from stream.store import gaps, tracks
from stream.store.gaps import GapWithin, TrackGapWithin
from stream.store.statistics import STEPS, Step
from stream.store.tracks import Track
from web.context import app_context, person, zone_of
from web.downloads import download
from web.downloads.download import Format
from web.local_time import midnight
from web.pages.sources import CAUSES
from web.pages.track import choice, filters, number, other
from web.queries.tracks import STEP_LENGTHS, tweets_by_day
from web.routing import Route
from web.track_editing import service

STEPS_SHOWN: dict[Step, int] = {"minute": 180, "hour": 168, "day": 90}
SMALLEST_GAP = 60  # the part of a step that is worth shading


async def chart(request: web.Request) -> web.StreamResponse:
    """The chart as static/charts.js expects it."""
    who = person(request)
    step = choice(request.query, "step", STEPS, "hour")
    now = datetime.now(UTC)
    zone = zone_of(request)
    times = _times(step, now, zone)
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await service.require(connection, who, number(request))
        await tracks.note_viewed(connection, found.id)
        compared = await other(connection, who, found.id, request.query.get("with", ""))
        shown = [found, compared] if compared is not None else [found]
        async with here.cells.reading(connection) as cells:
            series = [
                {
                    "label": f"{each.value[:60]} ({each.kind})",
                    "values": await _values(cells, connection, each, step, times),
                }
                for each in shown
            ]
        async with here.replica.beside(connection) as reading:
            source_gaps = await gaps.gaps_within(reading, times[0], now)
            own_gaps = await gaps.track_gaps_within(reading, found.id, times[0], now)
    return web.json_response(
        {
            "times": [round(time.timestamp()) for time in times],
            "series": series,
            "gaps": _missed(found, source_gaps, STEP_LENGTHS[step] / SMALLEST_GAP)
            + _lapses(own_gaps),
        }
    )


def _times(step: Step, now: datetime, zone: ZoneInfo) -> list[datetime]:
    """Begin of each step of a chart, the running one last; days are those of the zone."""
    back = range(STEPS_SHOWN[step] - 1, -1, -1)
    if step == "day":
        return [midnight(now, zone, days) for days in back]
    begin = now.replace(second=0, microsecond=0)
    if step == "hour":
        begin = begin.replace(minute=0)
    return [begin - STEP_LENGTHS[step] * steps for steps in back]


async def _values(
    cells: Cells, connection: Executor, track: Track, step: Step, times: Sequence[datetime]
) -> list[int | None]:
    """Values of a chart; none, rather than 0, before the track existed."""
    end = times[-1] + STEP_LENGTHS[step]
    ends = [*times[1:], end]
    if step == "day":
        tweets = await tweets_by_day(cells, connection, [track.id], times, end)
    else:
        found = await counts.track_counts(cells, connection, [track.id], step, times[0], end)
        by_time = {each.time: each.tweets for each in found.value}
        tweets = [by_time.get(time, 0) for time in times]
    some = (time for time, number in zip(times, tweets, strict=True) if number)
    first = min(filter(None, (track.created_at, next(some, None))), default=times[0])
    return [number if until > first else None for number, until in zip(tweets, ends, strict=True)]


def _missed(
    track: Track, gaps: Sequence[GapWithin], shortest: timedelta
) -> list[dict[str, object]]:
    """The gaps of sources that deliver tweets of this track."""
    return [
        {
            "from": gap.began_at.timestamp(),
            "to": gap.ended_at.timestamp(),
            "text": f"{gap.source or 'a removed source'}: {CAUSES[gap.cause]}",
        }
        for gap in gaps
        if gap.expected
        and (track.networks is None or gap.network in track.networks)
        and gap.ended_at - gap.began_at >= shortest
    ]


def _lapses(gaps: Sequence[TrackGapWithin]) -> list[dict[str, object]]:
    """Gaps of one track: its network delivered, but did not filter for it."""
    return [
        {
            "from": gap.began_at.timestamp(),
            "to": gap.ended_at.timestamp(),
            "text": f"{gap.source or 'a removed source'}: {gap.detail}",
        }
        for gap in gaps
    ]


_PLAIN = re.compile("[^a-z0-9]+")


async def as_xlsx(request: web.Request) -> web.StreamResponse:
    """Download as XLSX, for Excel and other spreadsheets."""
    return await _download(request, "xlsx")


async def as_excel_csv(request: web.Request) -> web.StreamResponse:
    """Download as CSV for spreadsheets that do not read XLSX."""
    return await _download(request, "excel")


async def as_csv(request: web.Request) -> web.StreamResponse:
    """Download as CSV for programs."""
    return await _download(request, "csv")


async def as_ndjson(request: web.Request) -> web.StreamResponse:
    """Download as NDJSON for programs, with all fields of a tweet."""
    return await _download(request, "ndjson")


async def _download(request: web.Request, form: Format) -> web.StreamResponse:
    here, who, asked = app_context(request), person(request), filters(request.query)
    async with here.database.acquire() as connection:
        track = await service.require(connection, who, number(request))
        await tracks.note_viewed(connection, track.id)
    part = "-part" if asked.query() else ""
    name = f"track-{track.id}{_slug(track.value)}{part}-{datetime.now(UTC):%Y-%m-%d}"
    wanted, zone = asked.wanted(who, track.id), zone_of(request)
    return await download.send(request, wanted, form, name=name, zone=zone)


def _slug(value: str) -> str:
    """The part of a value that is safe in a file name."""
    plain = _PLAIN.sub("-", value.lower()).strip("-")[:40].strip("-")
    return f"-{plain}" if plain else ""


ROUTES = (
    Route("GET", r"/tracks/{track:\d{1,18}}/chart", chart, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets.xlsx", as_xlsx, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets.excel.csv", as_excel_csv, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets.csv", as_csv, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets.ndjson", as_ndjson, "viewer"),
)
