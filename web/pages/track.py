"""The page of one track: when its tweets came, what they are about, and the tweets themselves."""

import re
from datetime import UTC, datetime, timedelta

import msgspec
from aiohttp import web

from stream import tops
from stream.db import Executor
from stream.tops import Aspect
from stream.tracks import Track
from stream.tweet import TrackId
from web.marking import Segment, reason, segments
from web.pages.track_asked import KINDS, Filters, choice, filters, number
from web.person import Person
from web.problem import Problem
from web.reading import looks, track, tweets
from web.reading.counts import STEPS, Step
from web.rendering import render
from web.routing import Route
from web.shown import ShownTweet
from web.site import person, site
from web.tracking import desk
from web.tracking.rights import seen_of

PAGE = 25  # tweets
TOPS = 10  # of each aspect
YOUNG = timedelta(hours=4)  # since its first hour: it is shown by minutes then
OTHERS = 300  # tracks that are offered for comparison
ASPECTS: dict[Aspect, str] = {
    "hashtag": "Hashtags",
    "mention": "People who are mentioned",
    "author": "People who write",
    "link": "Links",
    "lang": "Languages",
    "kind": "Kinds",
}
STEP_WORDS: dict[Step, str] = {
    "minute": "per minute, 3 hours",
    "hour": "per hour, 7 days",
    "day": "per day, 90 days",
}
_NUMBER = re.compile(r"\s*#?(\d{1,18})(?![^\s:])")


class Line(msgspec.Struct, frozen=True):
    """A tweet, what is marked in it, and why it is here."""

    shown: ShownTweet
    segments: list[Segment]
    reasons: list[str]


class Listed(msgspec.Struct, frozen=True):
    """Some tweets, and where the next ones begin."""

    lines: list[Line]
    next: str | None
    looked_until: datetime | None


async def page(request: web.Request) -> web.StreamResponse:
    """The whole page; its address says all that was chosen on it."""
    here, who = site(request), person(request)
    asked = filters(request.query)
    span = choice(request.query, "span", tops.SPANS, "day")
    async with here.database.acquire() as connection:
        found = await desk.require(connection, who, number(request))
        may = await seen_of(connection, who, [found.id])
        await looks.note(connection, found.id)
        totals = await track.totals(connection, found.id)
        about = await tops.all_tops(connection, found.id, span, TOPS)
        others = await track.others(connection, who, found.id, OTHERS)
        beside = await other(connection, who, found.id, request.query.get("with", ""))
        listed = await _listed(connection, who, found, asked, request.query.get("cursor"))
    young = totals.first_at is None or datetime.now(UTC) - totals.first_at < YOUNG
    step = choice(request.query, "step", STEPS, "minute" if young else "hour")
    return render(
        request,
        "track.html",
        track=found,
        may_change=may.get(found.id, False),
        step=step,
        steps=STEP_WORDS,
        span=span,
        spans=tops.SPANS,
        since=tops.begins(span),
        aspects=ASPECTS,
        kinds=KINDS,
        filters=asked,
        query=asked.query(),
        totals=totals,
        tops=about,
        others=others,
        other=beside,
        listed=listed,
    )


async def more(request: web.Request) -> web.StreamResponse:
    """The next tweets of the list."""
    who, asked = person(request), filters(request.query)
    async with site(request).database.acquire() as connection:
        found = await desk.require(connection, who, number(request))
        listed = await _listed(connection, who, found, asked, request.query.get("cursor"))
    return render(request, "track_tweets.html", track=found, query=asked.query(), listed=listed)


async def other(connection: Executor, who: Person, track_id: TrackId, named: str) -> Track | None:
    """The track to compare with, by its number or its value. Problem when there is none."""
    if not named.strip():
        return None
    number_of = _NUMBER.match(named)
    if number_of is None:
        words = " ".join(named.replace("\0", "").split())
        found = await track.called(connection, who, track_id, words)
        if found is None:
            words = "There is no track of this name to compare with."
            raise Problem("not_found", words, field="with")
        return await desk.require(connection, who, found)
    return await desk.require(connection, who, int(number_of[1]))


async def _listed(
    connection: Executor, who: Person, found: Track, asked: Filters, cursor: str | None
) -> Listed:
    wanted = asked.wanted(who, found.id)
    read = await tweets.page(connection, wanted, "newest", cursor or None, PAGE)
    return Listed(
        [_line(each, found.id) for each in read.tweets],
        read.next if read.more else None,
        read.looked_until,
    )


def _line(shown: ShownTweet, track_id: TrackId) -> Line:
    matches = [match for match in shown.matches if match.track == str(track_id)]
    return Line(
        shown,
        segments(shown.text, [match.term for match in matches]),
        [reason(match.term, match.field, match.part) for match in matches],
    )


ROUTES = (
    Route("GET", r"/tracks/{track:\d{1,18}}", page, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets", more, "viewer"),
)
