"""The page Live, and the socket behind it."""

import re

from aiohttp import web

from stream.tweet import TrackId
from web.live.live import LIVE, seated
from web.live.socket import opened
from web.live.talk import Talk
from web.live.wire import LONGEST
from web.reading import watched
from web.rendering import render
from web.routing import Route
from web.site import person, site

NUMBER = re.compile(r"[1-9]\d{0,17}", re.ASCII)  # of a track
CHOICES = 200  # tracks to choose from; more would be a search of their own


async def page(request: web.Request) -> web.StreamResponse:
    """What is watched stands in the address: so it can be kept and passed on."""
    query = request.query.get("query", "")
    given = request.query.get("track", "")
    track = TrackId(int(given)) if NUMBER.fullmatch(given) else None
    async with site(request).database.acquire() as connection:
        choices = await watched.choices(connection, person(request).id, CHOICES, track)
    return render(request, "live.html", choices=choices, track=track, query=query)


async def socket(request: web.Request) -> web.StreamResponse:
    with seated(request) as seat:
        async with opened(request, LONGEST) as ws:
            await Talk(ws, seat, request.config_dict[LIVE], site(request).database).go_on()
    return ws


ROUTES = (
    Route("GET", "/live", page, "viewer"),
    Route("GET", "/live/socket", socket, "viewer"),
)
