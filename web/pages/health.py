"""Whether all is well, and what to do when it is not. For admins."""

import asyncio
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from aiohttp import web

from stream import sources
from stream.db import Database
from web.problem import Problem
from web.reading import alerts, health, machine
from web.reading.alerts import OpenAlert
from web.reading.health import Thing, Volume
from web.reading.kept import Kept
from web.reading.machine import SPANS, Newest, Span
from web.reading.words import lasting
from web.rendering import is_part, render, see_other
from web.routing import Route
from web.site import Site, person, site

FRESH = 15.0  # seconds that an answer is given again, before it is read anew
OLDEST = 120.0  # seconds
LONGEST = 200  # characters of a reason
MUTES = {"1": 1, "24": 24, "168": 168, "ever": None}  # hours

CHARTS = {  # name → title; in their order
    "tweets": "Tweets",
    "latency": "Delay from received to stored",
    "waiting": "Waiting in the journal",
    "cpu": "Processor",
    "memory": "Memory in use",
    "disk": "Free space",
    "database": "Size of the database",
}
SPAN_WORDS = {"hour": "last hour", "day": "last day", "week": "last week", "month": "last month"}
THINGS = {
    "daemon": "Collector",
    "source": "Source",
    "tracks": "Tracks",
    "rejects": "Messages of",
    "partitions": "Tables",
    "volume": "Disk",
    "measuring": "Measuring on",
    "archive": "Archive of",
    "chore": "Housekeeping",
}
KINDS = {
    "state": "how sources are",
    "control": "messages of the networks",
    "journal": "the journal",
    "daemon": "the collector",
    "plan": "what is asked for",
}


class _Books:
    """What the views say, which take a while; kept for all who look."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.things = Kept(self._things, FRESH, OLDEST)
        self.volumes = Kept(self._volumes, 4 * FRESH, OLDEST)  # measured once a minute

    async def _things(self) -> list[Thing]:
        async with self.database.acquire() as connection:
            return await health.things(connection)

    async def _volumes(self) -> list[Volume]:
        async with self.database.acquire() as connection:
            return await health.forecast(connection)


_books: WeakKeyDictionary[Site, _Books] = WeakKeyDictionary()


def _kept(here: Site) -> _Books:
    return _books.setdefault(here, _Books(here.database))


async def overview(request: web.Request) -> web.StreamResponse:
    """The whole page; for htmx only what changes by itself."""
    here = site(request)
    kept = _kept(here)
    said, volumes = await asyncio.gather(kept.things.get(), kept.volumes.get())
    async with here.database.acquire() as connection:
        measured = await machine.machines(connection)
        open_alerts = await alerts.unclosed(connection)
        values: dict[str, object] = {
            "mutes": await alerts.mutes(connection),
            "quiet_since": await alerts.quiet_since(connection),
            "daemons": await sources.daemons(connection),
            "chores": await health.chores(connection),
            "archived": await health.archived(connection),
        }
        names = {row.id: row.name for row in await sources.everything(connection)}
    span = _span(request)
    chosen = _chosen(measured, request.query.get("host", ""))
    wrong = [each for each in said[1:] if not each.ok and each.thing != "alert"]
    values |= {
        "alerts": open_alerts,
        "wrong": wrong,
        "headline": headline(open_alerts, wrong),
        "volumes": volumes,
        "machines": measured,
        "chosen": chosen,
        "span": span,
        "sources": names,
    }
    template = "health_now.html" if is_part(request) else "health.html"
    return render(request, template, status=200, **_WORDS, **values)


_WORDS: dict[str, object] = {
    "spans": SPAN_WORDS,
    "charts": CHARTS,
    "things": THINGS,
    "kinds": KINDS,
    "lasting": lasting,
}


def headline(open_alerts: Sequence[OpenAlert], wrong: Sequence[Thing]) -> str:
    """One sentence: all is well, or what is wrong and what to do."""
    urgent = [a for a in open_alerts if a.acknowledged_at is None and a.severity != "notice"]
    number = len(urgent) + len(wrong)
    if not number:
        return "All is well."
    first = f"{urgent[0].text} {urgent[0].remedy}" if urgent else _said(wrong[0])
    if number == 1:
        return first
    return f"{number} things need you. The first: {first}"


def _said(thing: Thing) -> str:
    what = " ".join(part for part in (THINGS.get(thing.thing, thing.thing), thing.subject) if part)
    return f"{what}: {thing.sentence}"


def _span(request: web.Request) -> Span:
    asked = request.query.get("span", "day")
    return next((span for span in SPANS if span == asked), "day")


def _chosen(measured: Sequence[Newest], host: str) -> Newest | None:
    """The machine that is asked for, or the one that was measured last."""
    return next((each for each in measured if each.host == host), measured[0] if measured else None)


# -- alerts ---------------------------------------------------------------------------------------


async def acknowledge(request: web.Request) -> web.StreamResponse:
    """It is not repeated any more, and its end is still told."""
    who = person(request).name
    here = site(request)
    async with here.database.acquire() as connection:
        found = await alerts.acknowledge(connection, _number(request), who)
    return await _changed(request, found=found)


async def mute(request: web.Request) -> web.StreamResponse:
    """Nobody is told of what this alert is about, for a while."""
    given = await request.post()
    length = str(given.get("for", ""))
    if length not in MUTES:
        raise Problem("invalid", "Choose for how long.", field="for")
    reason = f"{person(request).name}: {str(given.get('reason', '')).strip()}"[:LONGEST]
    async with site(request).database.acquire() as connection:
        found = await alerts.mute(connection, _number(request), MUTES[length], reason.rstrip(": "))
    return await _changed(request, found=found)


async def unmute(request: web.Request) -> web.StreamResponse:
    async with site(request).database.acquire() as connection:
        found = await alerts.unmute(connection, _number(request))
    return await _changed(request, found=found)


async def _changed(request: web.Request, *, found: bool) -> web.StreamResponse:
    """Show what is true now; Problem when there was nothing to change."""
    if not found:
        raise Problem("not_found", "This is over already.")
    _kept(site(request)).things.forget()
    return see_other(request, "/health")


def _number(request: web.Request) -> int:
    text = request.match_info["id"]
    if len(text) > 18:
        raise Problem("not_found", "There is no such alert.")
    return int(text)


_ID = r"{id:\d+}"
ROUTES = (
    Route("GET", "/health", overview, "admin"),
    Route("POST", f"/health/alerts/{_ID}/acknowledge", acknowledge, "admin"),
    Route("POST", f"/health/alerts/{_ID}/mute", mute, "admin"),
    Route("POST", f"/health/mutes/{_ID}/remove", unmute, "admin"),
)
