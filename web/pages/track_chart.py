"""The chart of a track as data: when its tweets came, beside another one's, and when none could."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from aiohttp import web

from stream.db import Executor
from stream.tracks import Track
from stream.tweet import GapCause
from web.pages.track import other
from web.pages.track_asked import choice, number
from web.reading import counts
from web.reading.counts import LENGTH, STEPS, Gap, Step
from web.reading.looks import note
from web.routing import Route
from web.site import person, site
from web.tracking import desk

STEPS_SHOWN: dict[Step, int] = {"minute": 180, "hour": 168, "day": 90}
SMALLEST_GAP = 60  # the part of a step that is worth shading
CAUSES: dict[GapCause, str] = {
    "network": "the connection was lost",
    "http": "the network answered with an error",
    "rate_limit": "the network asked to wait",
    "silence": "nothing came any more",
    "quota": "the network's quota was used up",
    "refused": "the network refused the connection",
    "disk": "the disk was full",
    "filter_change": "the filter was changed",
    "idle": "there was nothing to follow",
    "stopped": "it was stopped",
    "killed": "the program ended unexpectedly",
}


async def chart(request: web.Request) -> web.StreamResponse:
    """As static/charts.js wants it."""
    who = person(request)
    step = choice(request.query, "step", STEPS, "hour")
    now = datetime.now(UTC)
    times = _times(step, now)
    async with site(request).database.acquire() as connection:
        found = await desk.require(connection, who, number(request))
        await note(connection, found.id)
        beside = await other(connection, who, found.id, request.query.get("with", ""))
        shown = [found, beside] if beside is not None else [found]
        series = [
            {"label": each.value[:60], "values": await _values(connection, each, step, times)}
            for each in shown
        ]
        gaps = await counts.gaps(connection, times[0], now)
    return web.json_response(
        {
            "times": [round(time.timestamp()) for time in times],
            "series": series,
            "gaps": _missed(found, gaps, LENGTH[step] / SMALLEST_GAP),
        }
    )


def _times(step: Step, now: datetime) -> list[datetime]:
    """When each step begins, the running one at the end."""
    begin = now.replace(second=0, microsecond=0)
    if step != "minute":
        begin = begin.replace(minute=0, hour=begin.hour if step == "hour" else 0)
    number_of = STEPS_SHOWN[step]
    return [begin - LENGTH[step] * back for back in range(number_of - 1, -1, -1)]


async def _values(
    connection: Executor, track: Track, step: Step, times: Sequence[datetime]
) -> list[int | None]:
    """Nothing, rather than 0, before the track was there."""
    end = times[-1] + LENGTH[step]
    found = await counts.counts(connection, [track.id], step, times[0], end)
    tweets = {each.time: each.tweets for each in found}
    first = min(filter(None, (track.created_at, *list(tweets)[:1])), default=times[0])
    return [tweets.get(time, 0) if time + LENGTH[step] > first else None for time in times]


def _missed(track: Track, gaps: Sequence[Gap], shortest: timedelta) -> list[dict[str, object]]:
    """The gaps of sources that bring this track something."""
    return [
        {
            "from": gap.began_at.timestamp(),
            "to": gap.ended_at.timestamp(),
            "text": f"{gap.source or 'a source that was removed'}: {CAUSES[gap.cause]}",
        }
        for gap in gaps
        if gap.expected
        and (track.networks is None or gap.network in track.networks)
        and gap.ended_at - gap.began_at >= shortest
    ]


ROUTES = (Route("GET", r"/tracks/{track:\d{1,18}}/chart", chart, "viewer"),)
