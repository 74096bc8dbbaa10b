"""The tweets of a track as a file: as many as there are, at the pace of whoever takes them."""

import re
from datetime import UTC, datetime

from aiohttp import web

from web.pages.track_asked import filters, number
from web.reading import downloads, looks
from web.reading.export import Format
from web.routing import Route
from web.site import person, site
from web.tracking import desk

_PLAIN = re.compile("[^a-z0-9]+")


async def as_csv(request: web.Request) -> web.StreamResponse:
    """For spreadsheets."""
    return await _download(request, "csv")


async def as_ndjson(request: web.Request) -> web.StreamResponse:
    """For programs."""
    return await _download(request, "ndjson")


async def _download(request: web.Request, form: Format) -> web.StreamResponse:
    here, who, asked = site(request), person(request), filters(request.query)
    async with here.database.acquire() as connection:
        track = await desk.require(connection, who, number(request))
        await looks.note(connection, track.id)
    part = "-part" if asked.query() else ""
    name = f"track-{track.id}{_slug(track.value)}{part}-{datetime.now(UTC):%Y-%m-%d}"
    return await downloads.send(request, asked.wanted(who, track.id), form, name=name)


def _slug(value: str) -> str:
    """What of a value every system takes in the name of a file."""
    plain = _PLAIN.sub("-", value.lower()).strip("-")[:40].strip("-")
    return f"-{plain}" if plain else ""


ROUTES = (
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets.csv", as_csv, "viewer"),
    Route("GET", r"/tracks/{track:\d{1,18}}/tweets.ndjson", as_ndjson, "viewer"),
)
