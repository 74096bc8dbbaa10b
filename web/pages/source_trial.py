"""Try whether a network would let a source in. For admins."""

import asyncio
import time
from weakref import WeakKeyDictionary

from aiohttp import web

from stream import ledger, sources
from stream.db import Executor
from stream.networks.table import NETWORKS
from stream.networks.trial import Verdict, attempt
from stream.sources import SourceRow
from stream.tweet import EventNote, Source
from web.pages.source_form import NOBODY, given_in, row_of, source_in, stored
from web.problem import Problem
from web.reading import keys
from web.reading.sources import attempts
from web.rendering import is_part, render
from web.routing import Route
from web.site import Site, site

_trials: WeakKeyDictionary[Site, dict[int, asyncio.Task[Verdict]]] = WeakKeyDictionary()


async def try_stored(request: web.Request) -> web.StreamResponse:
    """Whether the network would let this source in, as it is saved."""
    row = await row_of(request)
    return _verdict(request, row.id, await _try(request, stored(site(request), row), row))


async def try_given(request: web.Request) -> web.StreamResponse:
    """Whether the network would let in what stands in the form."""
    row = await row_of(request) if "id" in request.match_info else None
    number = NOBODY if row is None else row.id
    try:
        given = await given_in(request, row)
        source = source_in(site(request), given, row)
        verdict = await _try(request, source, row)
    except Problem as problem:
        verdict = Verdict("credentials", problem.message)
    return _verdict(request, number, verdict)


async def stop_trying(request: web.Request) -> web.StreamResponse:
    """Give up a trial that runs."""
    number = int(request.match_info.get("id", NOBODY))
    task = _trials.get(site(request), {}).get(number)
    if task is not None:
        task.cancel()
    return web.Response(status=204)


async def _try(request: web.Request, source: Source, row: SourceRow | None) -> Verdict:
    here = site(request)
    async with here.database.acquire() as connection:
        known = await _known(here, connection, source)
        if known is None and row is not None and NETWORKS[source.network].trial_opens:
            await _pay(here, connection, row)
    if known is not None:
        return known
    running = _trials.setdefault(here, {})
    if source.id in running:
        raise Problem("conflict", "This is being tried already; it takes some seconds.")
    task = running[source.id] = asyncio.create_task(attempt(source, here.settings))
    try:
        await asyncio.wait([task])
    finally:
        task.cancel()
        del running[source.id]
    return Verdict("slow", "Stopped.") if task.cancelled() else task.result()


async def _known(here: Site, connection: Executor, source: Source) -> Verdict | None:
    """What is known without asking: a stream is open with these very keys.

    X v1.1 ends it when another one is opened, and v2 has only one to give.
    """
    collected = await sources.collected(connection)
    for row in await sources.everything(connection):
        if row.network != source.network or row.id not in collected or row.state != "streaming":
            continue
        if not keys.opens(here.vault, row):
            continue
        other = keys.unsealed(here.vault, row)
        if set(other.secrets.values()) != set(source.secrets.values()):
            continue
        if (other.url, other.proxy) == (source.url, source.proxy):
            return Verdict(
                "", f"{row.name} is connected with these keys at this moment: they work."
            )
        if NETWORKS[source.network].trial_opens:
            text = f"{row.name} is connected with these keys, and a test would end its stream."
            return Verdict("crowded", f"{text} Switch it off first.")
    return None


async def _pay(here: Site, connection: Executor, row: SourceRow) -> None:
    """A trial that opens a stream costs one of the attempts to connect; some are left alone."""
    pace = NETWORKS[row.network].pace(here.settings)
    if (await attempts(connection, here.settings, row.network, row.id)).left <= pace.reserve:
        text = f"The network allows {pace.attempts} attempts in {pace.window / 60:.0f} minutes, and"
        raise Problem("too_many", f"{text} the last ones are for collecting: wait a little.")
    note = EventNote("state", "connecting: tried from the pages", time.time())
    await ledger.event(connection, row.id, note)


def _verdict(request: web.Request, number: int, verdict: Verdict) -> web.Response:
    template = "sources_verdict.html" if is_part(request) else "sources_tried.html"
    return render(request, template, verdict=verdict, number=number)


_ID = r"{id:\d+}"
ROUTES = (
    Route("POST", "/sources/try", try_given, "admin"),
    Route("POST", "/sources/try/stop", stop_trying, "admin"),
    Route("POST", f"/sources/{_ID}/try", try_stored, "admin"),
    Route("POST", f"/sources/{_ID}/try_changed", try_given, "admin"),
    Route("POST", f"/sources/{_ID}/try/stop", stop_trying, "admin"),
)
