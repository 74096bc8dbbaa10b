"""The page about sources: how they are, and how they are changed. For admins."""

from weakref import WeakKeyDictionary

from aiohttp import web

from stream import sources, tracks
from stream.config import safe_url
from web.pages.source_form import NAMES, row_of
from web.reading import sources as reading
from web.reading.asked import Asked
from web.reading.words import lasting
from web.rendering import is_part, render, see_other
from web.routing import Route
from web.site import Site, site

_asked: WeakKeyDictionary[Site, Asked] = WeakKeyDictionary()

STATES = {  # in words, and how they look
    "idle": ("nothing to follow", "soft"),
    "connecting": ("connecting", "warn"),
    "proving": ("connected, waiting for the first message", "warn"),
    "streaming": ("connected", "good"),
    "waiting": ("waiting to try again", "warn"),
    "paused": ("paused", "warn"),
    "failed": ("needs you", "bad"),
    "disabled": ("switched off", "soft"),
    "importing": ("holds imported tweets", "soft"),
}
CAUSES = {
    "network": "the connection was lost, or could not be made",
    "http": "the network answered with an error",
    "rate_limit": "the network wanted fewer connections",
    "silence": "it was connected, but nothing came",
    "quota": "the quota of the account was spent",
    "refused": "the network refused keys, plan or request",
    "disk": "there was no room on the disk",
    "filter_change": "what is followed was changed",
    "idle": "there was nothing to follow",
    "stopped": "somebody switched it off, or stopped the collector",
    "killed": "the collector ended without a word",
}


async def overview(request: web.Request) -> web.StreamResponse:
    """All sources; for htmx only what changes by itself."""
    here = site(request)
    async with here.database.acquire() as connection:
        collected = sorted(await sources.collected(connection))
        lines = await reading.overview(connection, here.settings, collected)
        gaps = await reading.newest_gaps(connection)
        running = bool(await sources.daemons(connection))
    template = "sources_lines.html" if is_part(request) else "sources.html"
    return render(
        request,
        template,
        lines=lines,
        gaps=gaps,
        running=running,
        names=NAMES,
        states=STATES,
        causes=CAUSES,
        lasting=lasting,
        safe_url=safe_url,
    )


async def usage(request: web.Request) -> web.StreamResponse:
    """A part of the page that may take a while: how full each network is."""
    here = site(request)
    async with here.database.acquire() as connection:
        rows = await sources.everything(connection)
        followed = await tracks.everything(connection)
    networks = frozenset(row.network for row in rows if row.enabled)
    found = await _asked.setdefault(here, Asked()).usage(followed, here.settings, networks)
    return render(request, "sources_usage.html", usage=found, names=NAMES)


async def enable(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=True)


async def disable(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=False)


async def _switch(request: web.Request, *, enabled: bool) -> web.StreamResponse:
    row = await row_of(request)
    async with site(request).database.acquire() as connection:
        await sources.enable(connection, row.name, enabled=enabled)
    return see_other(request, "/sources")


async def remove(request: web.Request) -> web.StreamResponse:
    """What it brought stays."""
    row = await row_of(request, imported=True)
    async with site(request).database.acquire() as connection:
        await sources.remove(connection, row.name)
    return see_other(request, "/sources")


_ID = r"{id:\d+}"
ROUTES = (
    Route("GET", "/sources", overview, "admin"),
    Route("GET", "/sources/usage", usage, "admin"),
    Route("POST", f"/sources/{_ID}/enable", enable, "admin"),
    Route("POST", f"/sources/{_ID}/disable", disable, "admin"),
    Route("POST", f"/sources/{_ID}/remove", remove, "admin"),
)
