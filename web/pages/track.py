"""The page of one track: its chart, top items, and newest tweets with filters."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar, get_args

import msgspec
from aiohttp import web

from stream.cells import counts
from stream.db import Executor
from stream.networks.descriptions import TITLES
from stream.reach import reach_sentence
from stream.store import top_items, track_list, track_reach, tracks
from stream.store.statistics import STEPS, Step
from stream.store.top_items import Aspect
from stream.store.tracks import Track
from stream.tweet import TrackId, TweetKind
from stream.tweet_view import TweetView
from web.context import app_context, person, render, render_part, zone_of
from web.highlighting import Segment, reason, segments
from web.local_time import UTC_ZONE, MissingTime, find_zone, local_text, read_local
from web.pages import look_back as look_back_page
from web.pages.look_back_form import NOTHING, template_values
from web.person import Person
from web.problem import Problem
from web.queries import tweets
from web.queries.tracks import totals as track_totals
from web.queries.tweets import QueryText, TweetQuery
from web.routing import Route, row_id
from web.snippets.snippet import snippets
from web.track_editing import look_back, service

PAGE = 25  # tweets
TOPS = 10  # of each aspect
YOUNG = timedelta(hours=4)  # since its first tweet: shown by minutes
OTHERS = 300  # tracks that are offered for comparison
ASPECTS: dict[Aspect, str] = {
    "hashtag": "Hashtags",
    "mention": "Mentioned accounts",
    "author": "Authors",
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
KINDS: dict[TweetKind, str] = {
    "original": "Posts", "reply": "Replies", "repost": "Reposts", "quote": "Quotes",
}  # fmt: skip
FIELD_MAX = 200  # characters
_Choice = TypeVar("_Choice", bound=str)


class Filters(msgspec.Struct, frozen=True):
    """Which tweets of a track; held in the address, so that it can be bookmarked and shared."""

    words: str = ""
    lang: str = ""
    kind: TweetKind | None = None
    begin: datetime | None = None
    end: datetime | None = None

    def wanted(
        self, person: Person, track_id: TrackId | None, query: QueryText | None = None
    ) -> TweetQuery:
        return TweetQuery(
            person=person,
            tracks=None if track_id is None else [track_id],
            query=query,
            begin=self.begin,
            end=self.end,
            lang=self.lang or None,
            kind=self.kind,
            words=self.words,
        )

    def query(self) -> dict[str, str]:
        """The filters as parameters of an address."""
        parameters = {
            "words": self.words,
            "lang": self.lang,
            "kind": self.kind or "",
            "from": _written(self.begin),
            "to": _written(self.end),
        }
        return {name: value for name, value in parameters.items() if value}


def filters(query: Mapping[str, str]) -> Filters:
    """Problem for a field that cannot be."""
    kind = query.get("kind", "")
    if kind not in ("", *get_args(TweetKind)):
        raise Problem("invalid", "Unknown kind of tweet.", field="kind")
    begin, end = _time(query, "from", fold="0"), _time(query, "to", fold="1")
    if begin and end and begin >= end:
        raise Problem("invalid", "The end must be after the start.", field="to")
    return Filters(
        _short(query, "words"),
        _short(query, "lang").lower(),
        msgspec.convert(kind or None, TweetKind | None),
        begin,
        end,
    )


def number(request: web.Request) -> int:
    return row_id(request.match_info["track"])


def choice(
    query: Mapping[str, str], name: str, choices: tuple[_Choice, ...], default: _Choice
) -> _Choice:
    """The value of a parameter, which must be one of the choices. Problem otherwise."""
    given = query.get(name) or default
    for each in choices:
        if each == given:
            return each
    words = f"Choose one of {', '.join(choices)}."
    raise Problem("invalid", words, field=name)


def _short(query: Mapping[str, str], name: str) -> str:
    text = " ".join(query.get(name, "").replace("\0", "").split())
    if len(text) > FIELD_MAX:
        raise Problem("invalid", f"Enter at most {FIELD_MAX} characters.", field=name)
    return text


def _time(query: Mapping[str, str], name: str, fold: str) -> datetime | None:
    """Parse a time to UTC. `fold`: which one of a time that the zone's clocks show twice."""
    text = query.get(name, "").strip()
    if not text:
        return None
    zone = find_zone(query.get("zone", "")) or UTC_ZONE
    try:
        # The form shows a time by the minute or second: one that was not changed stays exact.
        exact = query.get(f"exact_{name}", "")
        if exact and local_text(found := read_local(exact, UTC_ZONE), zone) == text:
            return found
        return read_local(text, zone, fold)
    except MissingTime:
        return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)
    except ValueError as error:
        words = "Write the time as 2026-11-21T14:30."
        raise Problem("invalid", words, field=name) from error


def _written(time: datetime | None) -> str:
    return "" if time is None else time.isoformat().replace("+00:00", "Z")


class MatchedTweet(msgspec.Struct, frozen=True):
    """A tweet, what is highlighted in it, and why it matched."""

    shown: TweetView
    segments: list[Segment]
    reasons: list[str]


class Listed(msgspec.Struct, frozen=True):
    """Some tweets, and where the next ones begin."""

    lines: list[MatchedTweet]
    next: str | None
    looked_until: datetime | None


async def page(request: web.Request) -> web.StreamResponse:
    """The whole page; its address holds all choices."""
    here, who = app_context(request), person(request)
    asked = filters(request.query)
    span = choice(request.query, "span", top_items.SPANS, "day")
    async with here.database.acquire() as connection:
        found = await service.require(connection, who, number(request))
        looked_back = await look_back_page.listed(connection, who, found)
        offers = []
        if looked_back["may_change"]:
            offers = await look_back.offers_for(connection, found, here.settings)
        await tracks.note_viewed(connection, found.id)
        async with here.cells.reading(connection) as cells:
            totals = await track_totals(cells, connection, found.id, zone_of(request))
            about = await counts.most_frequent_by_aspect(cells, connection, found.id, span, TOPS)
        reaches = await track_reach.of_tracks(connection, [found.id])
        others = await track_list.others(connection, who.id, found.id, OTHERS)
        compared = await other(connection, who, found.id, request.query.get("with", ""))
        listed = await _listed(request, connection, found, asked)
    young = totals.first_at is None or datetime.now(UTC) - totals.first_at < YOUNG
    step = choice(request.query, "step", STEPS, "minute" if young else "hour")
    return render(
        request,
        "track.html",
        track=found,
        reaches=[(each, reach_sentence(each, zone_of(request))) for each in reaches],
        networks=TITLES,
        step=step,
        steps=STEP_WORDS,
        span=span,
        spans=top_items.SPANS,
        since=top_items.span_start(span),
        aspects=ASPECTS,
        kinds=KINDS,
        filters=asked,
        query=asked.query(),
        totals=totals,
        tops=about.value,
        others=others,
        other=compared,
        listed=listed,
        snippets=snippets(asked.wanted(who, found.id), here.origin + here.base),
        explanations=look_back_page.explanations(look_back_page.requested_in(request.query)),
        **looked_back,
        **template_values(NOTHING, offers),
    )


async def more(request: web.Request) -> web.StreamResponse:
    """The next tweets of the list."""
    who, asked = person(request), filters(request.query)
    async with app_context(request).database.acquire() as connection:
        found = await service.require(connection, who, number(request))
        listed = await _listed(request, connection, found, asked)
    values: dict[str, object] = {"track": found, "query": asked.query(), "listed": listed}
    return render_part(request, "track_tweets.html", found.value, "track.css", **values)


async def other(connection: Executor, who: Person, track_id: TrackId, named: str) -> Track | None:
    """The track to compare with, by its number or its value. Problem when there is none."""
    if not named.strip():
        return None
    number_of = _NUMBER.match(named)
    if number_of is None:
        words = " ".join(named.replace("\0", "").split())
        found = await track_list.find_by_value(connection, who.id, track_id, words)
        if found is None:
            words = "There is no track with this name to compare with."
            raise Problem("not_found", words, field="with")
        return await service.require(connection, who, found)
    return await service.require(connection, who, int(number_of[1]))


async def _listed(
    request: web.Request, connection: Executor, found: Track, asked: Filters
) -> Listed:
    wanted = asked.wanted(person(request), found.id)
    cursor = request.query.get("cursor") or None
    cells = app_context(request).cells
    read = await tweets.page(cells, connection, wanted, "newest", cursor, PAGE)
    return Listed(
        [_line(each, found.id) for each in read.tweets],
        read.next if read.more else None,
        read.looked_until,
    )


def _line(shown: TweetView, track_id: TrackId) -> MatchedTweet:
    matches = [match for match in shown.matches if match.track == str(track_id)]
    return MatchedTweet(
        shown,
        segments(shown.text, [match.term for match in matches]),
        [reason(m.term, m.field, m.part, look_back=m.look_back) for m in matches],
    )


ROUTES = (
    Route("GET", r"/tracks/{track:\d{1,18}}", page, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets", more, "viewer"),
)
