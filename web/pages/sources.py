"""The page Sources, for admins: states, gaps, connection tests; enable, disable, remove."""

import asyncio
import time
from weakref import WeakKeyDictionary

from aiohttp import web

from stream.config import safe_url
from stream.db import Executor
from stream.networks.connection_test import ConnectionTestResult, run_connection_test
from stream.networks.descriptions import TITLES
from stream.networks.registry import NETWORKS
from stream.store import daemons, events, gaps, sources, tracks
from stream.store.sources import SourceRow
from stream.text import format_duration
from stream.tweet import Source
from web.context import AppContext, app_context, is_part, render, render_part, see_other
from web.pages.source_credentials import can_unseal, stored_source
from web.pages.source_form import UNSAVED, given_in, row_of, source_in
from web.problem import Problem
from web.queries import sources as source_queries
from web.queries.sources import NetworkUsage, attempts_left
from web.routing import Route

GAPS_SHOWN = 20  # the newest ones

_usage: WeakKeyDictionary[AppContext, NetworkUsage] = WeakKeyDictionary()

STATES = {  # text and style of each
    "idle": ("no tracks", "soft"),
    "connecting": ("connecting", "warn"),
    "connected": ("connected, waiting for the first message", "warn"),
    "streaming": ("connected", "good"),
    "waiting": ("waiting to retry", "warn"),
    "paused": ("paused", "warn"),
    "failed": ("failed", "bad"),
    "disabled": ("disabled", "soft"),
    "stopped": ("no collector running", "bad"),
    "beginning": ("starting", "warn"),  # a collector runs, but not yet this source
    "importing": ("holds imported tweets", "soft"),
}
CAUSES = {
    "network": "connection lost or failed",
    "http": "error response from the network",
    "rate_limit": "rate limited by the network",
    "silence": "connected, but no data",
    "quota": "account quota used up",
    "refused": "keys, plan or request refused by the network",
    "disk": "disk full",
    "filter_change": "tracks changed",
    "idle": "no tracks",
    "stopped": "stopped by a user",
    "killed": "collector crashed, was killed or replaced",
}


async def overview(request: web.Request) -> web.StreamResponse:
    """All sources; for htmx only the part that refreshes by itself."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await source_queries.overview(here.cells, connection, here.settings)
        newest = await gaps.newest_gaps(connection, GAPS_SHOWN)
        running = any("collect" in each.roles for each in await daemons.running(connection))
    template = "sources_lines.html" if is_part(request) else "sources.html"
    return render(
        request,
        template,
        lines=found.value,
        gaps=newest,
        running=running,
        names=TITLES,
        states=STATES,
        causes=CAUSES,
        duration=format_duration,
        safe_url=safe_url,
    )


async def usage(request: web.Request) -> web.StreamResponse:
    """A slow part of the page: how much of each network's limits is used."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        rows = await sources.get_all(connection)
        followed = await tracks.get_all(connection)
    networks = frozenset(row.network for row in rows if row.enabled)
    found = await _usage.setdefault(here, NetworkUsage()).usage(followed, here.settings, networks)
    values: dict[str, object] = {"usage": found, "names": TITLES}
    return render_part(request, "sources_usage.html", "Network limits", "sources.css", **values)


async def enable(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=True)


async def disable(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=False)


async def _switch(request: web.Request, *, enabled: bool) -> web.StreamResponse:
    row = await row_of(request)
    async with app_context(request).database.acquire() as connection:
        await sources.enable(connection, row.name, enabled=enabled)
    return see_other(request, "/sources")


async def remove(request: web.Request) -> web.StreamResponse:
    """Remove a source; its tweets stay."""
    row = await row_of(request, imported=True)
    async with app_context(request).database.acquire() as connection:
        await sources.remove(connection, row.name)
    return see_other(request, "/sources")


_tests: WeakKeyDictionary[AppContext, dict[int, asyncio.Task[ConnectionTestResult]]] = (
    WeakKeyDictionary()
)


async def test_stored(request: web.Request) -> web.StreamResponse:
    """Test the connection of a saved source."""
    row = await row_of(request)
    source = stored_source(app_context(request).vault, row)
    return _verdict(request, row.id, await _test(request, source, row))


async def test_given(request: web.Request) -> web.StreamResponse:
    """Test the connection that the form describes."""
    row = await row_of(request) if "id" in request.match_info else None
    number = UNSAVED if row is None else row.id
    try:
        given = await given_in(request, row)
        source = source_in(app_context(request), given, row)
        verdict = await _test(request, source, row)
    except Problem as problem:
        verdict = ConnectionTestResult("credentials", problem.message)
    return _verdict(request, number, verdict)


async def stop_test(request: web.Request) -> web.StreamResponse:
    """Cancel a running test."""
    number = (await row_of(request)).id if "id" in request.match_info else UNSAVED
    task = _tests.get(app_context(request), {}).get(number)
    if task is not None:
        task.cancel()
    return web.Response(status=204)


async def _test(
    request: web.Request, source: Source, row: SourceRow | None
) -> ConnectionTestResult:
    here = app_context(request)
    async with here.database.acquire() as connection:
        known = await _known(here, connection, source)
        if known is None and row is not None and NETWORKS[source.network].test_opens_stream:
            await _use_attempt(here, connection, row)
    if known is not None:
        return known
    running = _tests.setdefault(here, {})
    if source.id in running:
        raise Problem("conflict", "A test is already running; it takes a few seconds.")
    task = running[source.id] = asyncio.create_task(run_connection_test(source, here.settings))
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
        del running[source.id]
    return ConnectionTestResult("slow", "Stopped.") if task.cancelled() else task.result()


async def _known(
    here: AppContext, connection: Executor, source: Source
) -> ConnectionTestResult | None:
    """The result that needs no test: a stream is open with the same keys.

    X v1.1 ends it when another one is opened, and v2 has only one to give.
    """
    collected = await sources.collected_ids(connection)
    for row in await sources.get_all(connection):
        if row.network != source.network or row.id not in collected or row.state != "streaming":
            continue
        if not can_unseal(here.vault, row):
            continue
        others = here.vault.open(row.secrets) if row.secrets is not None else {}
        if set(others.values()) != set(source.secrets.values()):
            continue
        if (row.url, row.proxy) == (source.url, source.proxy):
            with_keys = " with these keys" if others else ""
            works = "they work" if others else "it works"
            return ConnectionTestResult("", f"{row.name} is connected{with_keys} now: {works}.")
        if NETWORKS[source.network].test_opens_stream:
            text = f"{row.name} is connected with these keys, and a test would end its stream."
            return ConnectionTestResult("crowded", f"{text} Disable it first.")
    return None


async def _use_attempt(here: AppContext, connection: Executor, row: SourceRow) -> None:
    """A test that opens a stream uses one of the connection attempts; some are reserved."""
    limits = NETWORKS[row.network].connection_limits(here.settings)
    if (await attempts_left(connection, here.settings, row.network, row.id)).left <= limits.reserve:
        minutes = limits.window / 60
        text = f"The network allows {limits.attempts} attempts to connect in {minutes:.0f} minutes."
        raise Problem("too_many", f"{text} The last are reserved for collecting: try again later.")
    at = time.time()
    await events.add_state(connection, row.id, "connecting", "tested from the page Sources", at)


def _verdict(request: web.Request, number: int, verdict: ConnectionTestResult) -> web.Response:
    template = "sources_verdict.html" if is_part(request) else "sources_tried.html"
    return render(request, template, verdict=verdict, number=number)


_ID = r"{id:\d+}"
ROUTES = (
    Route("GET", "/sources", overview, "admin"),
    Route("GET", "/sources/usage", usage, "admin"),
    Route("POST", f"/sources/{_ID}/enable", enable, "admin"),
    Route("POST", f"/sources/{_ID}/disable", disable, "admin"),
    Route("POST", f"/sources/{_ID}/remove", remove, "admin"),
    Route("POST", "/sources/try", test_given, "admin"),
    Route("POST", "/sources/try/stop", stop_test, "admin"),
    Route("POST", f"/sources/{_ID}/try", test_stored, "admin"),
    Route("POST", f"/sources/{_ID}/try_changed", test_given, "admin"),
    Route("POST", f"/sources/{_ID}/try/stop", stop_test, "admin"),
)
