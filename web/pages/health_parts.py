"""The parts of the page about health that are loaded by themselves: charts, events, archives."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import get_args
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web

from stream.db import Database
from web.pages.sources import CAUSES
from web.problem import Problem
from web.reading import counts, health, machine
from web.reading.health import EventKind, Filter
from web.reading.kept import Kept
from web.reading.machine import SPANS, Lines, Span
from web.rendering import render
from web.routing import Route
from web.site import Site, site

FRESH, OLDEST = 20.0, 120.0  # seconds; what is drawn is measured once a minute
LONGEST = 200  # characters of words to search for
SHORTEST_GAP = 0.002  # share of a chart's width; shorter ones could not be seen

ARCHIVE_STATES = {
    "writing": "being written",
    "verified": "archived and checked",
    "dropped": "only in the archive",
    "restored": "brought back from the archive",
}


class _Chart(msgspec.Struct, frozen=True):
    """What charts.js draws."""

    times: tuple[int, ...]
    series: tuple[machine.Line, ...]
    gaps: tuple[dict[str, object], ...] = ()


class _Kept:
    """The lines of each machine and span, kept for all who look."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.hosts = Kept(self._hosts, FRESH, OLDEST)
        self._lines: dict[tuple[str, Span], Kept[Lines]] = {}

    def lines(self, host: str, span: Span) -> Kept[Lines]:
        """`host` is one that was measured: there are not many."""
        key = host, span
        if key not in self._lines:
            self._lines[key] = Kept(lambda: self._read(host, span), FRESH, OLDEST)
        return self._lines[key]

    async def _hosts(self) -> frozenset[str]:
        async with self.database.acquire() as connection:
            return frozenset(each.host for each in await machine.machines(connection))

    async def _read(self, host: str, span: Span) -> Lines:
        async with self.database.acquire() as connection:
            return await machine.lines(connection, host, span, datetime.now(UTC))


_kept: WeakKeyDictionary[Site, _Kept] = WeakKeyDictionary()


async def chart(request: web.Request) -> web.StreamResponse:
    """One chart's lines, as charts.js wants them."""
    here = site(request)
    kept = _kept.setdefault(here, _Kept(here.database))
    host = request.query.get("host", "")
    span = _span(request.query.get("span", "day"))
    if host not in await kept.hosts.get():
        raise Problem("not_found", "Nothing was measured on this machine.")
    found = await kept.lines(host, span).get()
    name = request.match_info["name"]
    if name not in found.charts:
        raise Problem("not_found", "There is no such chart.")
    shaded = await _gaps(here, found.times) if name == "tweets" else ()
    drawn = _Chart(tuple(found.times), tuple(found.charts[name]), shaded)
    return web.Response(body=msgspec.json.encode(drawn), content_type="application/json")


async def _gaps(here: Site, times: Sequence[int]) -> tuple[dict[str, object], ...]:
    """Times without delivery of a source that should have delivered, if they can be seen."""
    begin, end = datetime.fromtimestamp(times[0], UTC), datetime.now(UTC)
    shortest = (end - begin) * SHORTEST_GAP
    async with here.database.acquire() as connection:
        found = await counts.gaps(connection, begin, end)
    return tuple(
        {
            "from": int(gap.began_at.timestamp()),
            "to": int(gap.ended_at.timestamp()),
            "text": f"{gap.source}: {CAUSES[gap.cause]}",
        }
        for gap in found
        if gap.expected and gap.ended_at - gap.began_at >= shortest
    )


def _span(asked: str) -> Span:
    for span in SPANS:
        if span == asked:
            return span
    raise Problem("not_found", "There is no such span.")


async def events(request: web.Request) -> web.StreamResponse:
    """The newest events that fit, or those before one."""
    wanted = _wanted(request)
    async with site(request).database.acquire() as connection:
        found, before = await health.events(connection, wanted)
    query = {"source": wanted.source_id, "kind": wanted.kind, "words": wanted.words}
    return render(request, "health_events.html", events=found, before=before, query=query)


def _wanted(request: web.Request) -> Filter:
    query = request.query
    kind = next((kind for kind in get_args(EventKind) if kind == query.get("kind")), None)
    words = query.get("words", "").replace("\0", "").strip()[:LONGEST]
    return Filter(_whole(query.get("source", "")), kind, words, _whole(query.get("before", ""), 63))


def _whole(text: str, bits: int = 31) -> int | None:
    """A number out of an address; none where there is none that could be one of a row."""
    is_one = text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if is_one and int(text) < 1 << bits else None


async def archives(request: web.Request) -> web.StreamResponse:
    """The newest days, or those before one."""
    try:
        before = date.fromisoformat(request.query["before"]) if "before" in request.query else None
    except ValueError as error:
        raise Problem("invalid", "A day is written as 2026-01-31.", field="before") from error
    async with site(request).database.acquire() as connection:
        found = await health.archives(connection, before)
    more = found[-1].day if len(found) == health.DAYS else None
    states = ARCHIVE_STATES
    return render(request, "health_archives.html", archives=found, more=more, states=states)


ROUTES = (
    Route("GET", "/health/charts/{name}", chart, "admin"),
    Route("GET", "/health/events", events, "admin"),
    Route("GET", "/health/archives", archives, "admin"),
)
