"""The page Health, for admins: problems, alerts, machines, disks, jobs."""

import asyncio
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from aiohttp import web

from stream import cluster
from stream.bus import advice
from stream.cells.databases import Cells
from stream.db import Database
from stream.store import (
    alerts,
    archive_list,
    jobs,
    machine_history,
    server,
    sinks,
    sources,
)
from stream.store.alerts import OpenAlert
from stream.store.machine_history import LatestMinute
from stream.store.server import HealthCheck, VolumeForecast
from stream.text import format_duration
from web.context import AppContext, app_context, form_fields, is_part, person, render, see_other
from web.problem import Problem
from web.queries.cache import StaleWhileRevalidate
from web.queries.machine import SPANS, Span
from web.routing import Route, row_id

FRESH = 15.0  # seconds for which a cached answer is used as it is
STALE_MAX = 120.0  # seconds for which it is used while it is refreshed
REASON_MAX = 200  # characters
ALERTS_MAX = 200  # alerts, and mutes, on the page
MUTES = {"1": 1, "24": 24, "168": 168, "ever": None}  # hours

CHARTS = {  # name → title; in their order
    "tweets": "Tweets",
    "latency": "Time from receipt to storage",
    "waiting": "Journal backlog",
    "cpu": "CPU",
    "memory": "Memory",
    "disk": "Free disk space",
    "database": "Database size",
}
SPAN_WORDS = {"hour": "last hour", "day": "last day", "week": "last week", "month": "last month"}
THINGS = {
    "daemon": "Collector",
    "source": "Source",
    "sources": "Sources",
    "tracks": "Tracks",
    "rejects": "Rejected messages of",
    "partitions": "Tables",
    "volume": "Disk",
    "monitor": "Monitor on",
    "archive": "Archive of",
    "job": "Job",
}
KINDS = {
    "state": "source states",
    "control": "network messages",
    "journal": "journal",
    "daemon": "collector",
    "plan": "tracking plan",
}


class _HealthCache:
    """Slow answers of the database, cached for all viewers of the page."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.things = StaleWhileRevalidate(self._things, FRESH, STALE_MAX)
        self.volumes = StaleWhileRevalidate(
            self._volumes, 4 * FRESH, STALE_MAX
        )  # measured once a minute
        self._seen: object = None

    def refresh_if_changed(self, state: object) -> None:
        """Read again when sources or alerts have changed."""
        if state != self._seen:
            self._seen = state
            self.things.invalidate()

    async def _things(self) -> list[HealthCheck]:
        async with self.database.acquire() as connection:
            return await server.health_checks(connection)

    async def _volumes(self) -> list[VolumeForecast]:
        async with self.database.acquire() as connection:
            return await server.disk_forecast(connection)


_caches: WeakKeyDictionary[AppContext, _HealthCache] = WeakKeyDictionary()


def _kept(here: AppContext) -> _HealthCache:
    return _caches.setdefault(here, _HealthCache(here.database))


def _cells(cells: Cells) -> list[tuple[str, str]]:
    """The other databases that share the tweets, and why one did not answer just now."""
    return [(name, cells.why_missing.get(name, "")) for name in sorted(cells.others)]


async def overview(request: web.Request) -> web.StreamResponse:
    """The whole page; for htmx only the part that refreshes by itself."""
    here = app_context(request)
    kept = _kept(here)
    async with here.database.acquire() as connection:
        rows = await sources.get_all(connection)
        open_alerts = await alerts.unclosed(connection, ALERTS_MAX)
    kept.refresh_if_changed(
        (
            [(row.id, row.enabled, row.state, row.reason) for row in rows],
            [
                (each.id, each.severity, each.gone_since, each.acknowledged_at)
                for each in open_alerts
            ],
        )
    )
    checks, volumes = await asyncio.gather(kept.things.get(), kept.volumes.get())
    async with here.database.acquire() as connection:
        measured = await machine_history.latest_of_hosts(connection)
        values: dict[str, object] = {
            "mutes": (await alerts.mutes(connection))[::-1][:ALERTS_MAX],
            "quiet_since": await alerts.quiet_since(connection),
            "cluster": (together := await cluster.read_all(connection, here.cells)),
            "daemons": together.daemons,
            "several": together.uses_bus or len(together.daemons) > 1,
            "jobs": await jobs.last_runs(connection),
            "sinks": await sinks.get_all(connection),
            "archived": await archive_list.totals(connection),
            "cells": _cells(here.cells),
        }
    span = _span(request)
    chosen = _chosen(measured, request.query.get("host", ""))
    wrong = not_alerted(checks[1:], open_alerts)
    values |= {
        "alerts": open_alerts,
        "wrong": wrong,
        "headline": headline(checks),
        "is_well": checks[0].ok,
        "volumes": volumes,
        "machines": measured,
        "chosen": chosen,
        "exposed": here.warnings,
        "replica": here.replica.status,
        "archives_on": bool(here.settings.archive.url),
        "span": span,
        "sources": {row.id: row.name for row in rows},
    }
    template = "health_now.html" if is_part(request) else "health.html"
    return render(request, template, status=200, **_WORDS, **values)


_WORDS: dict[str, object] = {
    "spans": SPAN_WORDS,
    "charts": CHARTS,
    "things": THINGS,
    "kinds": KINDS,
    "duration": format_duration,
    "jetstream_off": advice.JETSTREAM_OFF,
}


def not_alerted(
    checks: Sequence[HealthCheck], open_alerts: Sequence[OpenAlert]
) -> list[HealthCheck]:
    """Failed checks without an open alert, which would say the same again."""
    alerted = {alert.about for alert in open_alerts if alert.gone_since is None}
    return [
        each
        for each in checks
        if not each.ok and each.component != "alert" and each.about not in alerted
    ]


def headline(checks: Sequence[HealthCheck]) -> str:
    """One sentence: all is well, or what is wrong and what to do."""
    overall, *components = checks
    if overall.ok:
        return overall.sentence
    wrong = [each for each in components if not each.ok]
    first = wrong[0].sentence if wrong[0].component == "alert" else _in_words(wrong[0])
    number = len({each.about for each in wrong})
    return first if number == 1 else f"{number} problems. First: {first}"


def _in_words(check: HealthCheck) -> str:
    what = " ".join(
        part for part in (THINGS.get(check.component, check.component), check.subject) if part
    )
    return f"{what}: {check.sentence}"


def _span(request: web.Request) -> Span:
    asked = request.query.get("span", "day")
    return next((span for span in SPANS if span == asked), "day")


def _chosen(measured: Sequence[LatestMinute], host: str) -> LatestMinute | None:
    """The machine chosen in the address, or the one measured last."""
    return next((each for each in measured if each.host == host), measured[0] if measured else None)


# -- alerts ---------------------------------------------------------------------------------------


async def acknowledge(request: web.Request) -> web.StreamResponse:
    """Stop the reminders of an alert; its end is still notified."""
    who = person(request).name
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await alerts.acknowledge(connection, _number(request), who) is not None
    return await _changed(request, found=found)


async def mute(request: web.Request) -> web.StreamResponse:
    """Stop all notifications about the subject of this alert, for a while."""
    given = form_fields(request)
    length = str(given.get("for", ""))
    if length not in MUTES:
        raise Problem("invalid", "Choose a duration.", field="for")
    reason = f"{person(request).name}: {str(given.get('reason', '')).strip()}"[:REASON_MAX]
    async with app_context(request).database.acquire() as connection:
        found = await alerts.mute_alert(
            connection, _number(request), MUTES[length], reason.rstrip(": ")
        )
    return await _changed(request, found=found)


async def unmute(request: web.Request) -> web.StreamResponse:
    async with app_context(request).database.acquire() as connection:
        found = await alerts.delete_mute(connection, _number(request))
    return await _changed(request, found=found)


async def _changed(request: web.Request, *, found: bool) -> web.StreamResponse:
    """Show the page again; Problem when there was nothing to change."""
    if not found:
        raise Problem("not_found", "This alert or mute has already ended.")
    _kept(app_context(request)).things.invalidate()
    return see_other(request, "/health")


def _number(request: web.Request) -> int:
    return row_id(request.match_info["id"])


_ID = r"{id:\d+}"
ROUTES = (
    Route("GET", "/health", overview, "admin"),
    Route("POST", f"/health/alerts/{_ID}/acknowledge", acknowledge, "admin"),
    Route("POST", f"/health/alerts/{_ID}/mute", mute, "admin"),
    Route("POST", f"/health/mutes/{_ID}/remove", unmute, "admin"),
)
