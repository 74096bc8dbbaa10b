"""Parts of the page Health that are loaded separately: charts, events, archives."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import get_args
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web

from stream.cells.databases import Cells
from stream.notes import EventKind
from stream.store import archive_list, gaps, machine_history
from stream.store.events import EventFilter, search
from web.context import AppContext, app_context, render_part
from web.pages.sources import CAUSES
from web.problem import Problem
from web.queries import machine
from web.queries.cache import StaleWhileRevalidate
from web.queries.machine import SPANS, Charts, Span
from web.routing import Route, row_id

ARCHIVES_SHOWN = 14  # days or parts of days, on one page
FRESH, STALE_MAX = 20.0, 120.0  # seconds, as in health.py; measured once a minute
EVENTS = 50  # on one page
SEARCH_MAX = 200  # characters
GAP_MIN = 0.002  # share of a chart's width; shorter gaps would be invisible

ARCHIVE_STATES = {
    "writing": "being written",
    "verified": "archived and verified",
    "dropped": "archive only",
    "restored": "restored from the archive",
}


class _Chart(msgspec.Struct, frozen=True):
    """What charts.js draws."""

    times: tuple[int, ...]
    series: tuple[machine.Series, ...]
    gaps: tuple[dict[str, object], ...] = ()


class _ChartCache:
    """The charts of each machine and span, cached for all viewers."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.database = cells.home
        self.hosts = StaleWhileRevalidate(self._hosts, FRESH, STALE_MAX)
        self._lines: dict[tuple[str, Span], StaleWhileRevalidate[Charts]] = {}

    def lines(self, host: str, span: Span) -> StaleWhileRevalidate[Charts]:
        """`host` is one that was measured: there are not many."""
        key = host, span
        if key not in self._lines:
            self._lines[key] = StaleWhileRevalidate(
                lambda: self._read(host, span), FRESH, STALE_MAX
            )
        return self._lines[key]

    async def _hosts(self) -> frozenset[str]:
        async with self.database.acquire() as connection:
            return frozenset(
                each.host for each in await machine_history.latest_of_hosts(connection)
            )

    async def _read(self, host: str, span: Span) -> Charts:
        async with self.database.acquire() as connection:
            return await machine.charts(self.cells, connection, host, span, datetime.now(UTC))


_kept: WeakKeyDictionary[AppContext, _ChartCache] = WeakKeyDictionary()


async def chart(request: web.Request) -> web.StreamResponse:
    """The lines of a chart, in the format of charts.js."""
    here = app_context(request)
    kept = _kept.setdefault(here, _ChartCache(here.cells))
    host = request.query.get("host", "")
    span = _span(request.query.get("span", "day"))
    if host not in await kept.hosts.get():
        raise Problem("not_found", "No measurements of this machine.")
    found = await kept.lines(host, span).get()
    name = request.match_info["name"]
    if name not in found.charts:
        raise Problem("not_found", "Unknown chart.")
    shaded = await _gaps(here, found.times) if name == "tweets" else ()
    drawn = _Chart(tuple(found.times), tuple(found.charts[name]), shaded)
    return web.Response(body=msgspec.json.encode(drawn), content_type="application/json")


async def _gaps(here: AppContext, times: Sequence[int]) -> tuple[dict[str, object], ...]:
    """Times without delivery of a source that should have delivered, if they can be seen."""
    begin, end = datetime.fromtimestamp(times[0], UTC), datetime.now(UTC)
    shortest = (end - begin) * GAP_MIN
    async with here.database.acquire() as connection:
        found = await gaps.gaps_within(connection, begin, end)
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
    raise Problem("not_found", "Unknown span.")


async def events(request: web.Request) -> web.StreamResponse:
    """The newest matching events, or those before one."""
    wanted = _wanted(request)
    async with app_context(request).database.acquire() as connection:
        found, before = await search(connection, wanted, EVENTS)
    query = {"source": wanted.source_id, "kind": wanted.kind, "words": wanted.words}
    values: dict[str, object] = {"events": found, "before": before, "query": query}
    return render_part(request, "health_events.html", "Events", "health.css", **values)


def _wanted(request: web.Request) -> EventFilter:
    query = request.query
    kind = next((kind for kind in get_args(EventKind) if kind == query.get("kind")), None)
    words = query.get("words", "").replace("\0", "").strip()[:SEARCH_MAX]
    return EventFilter(
        source_id=_whole(query.get("source", "")),
        kind=kind,
        words=words,
        below=_whole(query.get("before", ""), 63),
    )


def _whole(text: str, bits: int = 31) -> int | None:
    """The id of a row in a parameter of the address; None when it is not a valid id."""
    return row_id(text, (1 << bits) - 1) or None


async def archives(request: web.Request) -> web.StreamResponse:
    """The newest days, or those before one."""
    try:
        before = date.fromisoformat(request.query["before"]) if "before" in request.query else None
    except ValueError as error:
        raise Problem("invalid", "Write the day as 2026-01-31.", field="before") from error
    async with app_context(request).database.acquire() as connection:
        found = await archive_list.newest_days(connection, before, ARCHIVES_SHOWN)
    more = found[-1].day if len(found) == ARCHIVES_SHOWN else None
    values: dict[str, object] = {"archives": found, "more": more, "states": ARCHIVE_STATES}
    return render_part(request, "health_archives.html", "Archives", "health.css", **values)


ROUTES = (
    Route("GET", "/health/charts/{name}", chart, "admin"),
    Route("GET", "/health/events", events, "admin"),
    Route("GET", "/health/archives", archives, "admin"),
)
