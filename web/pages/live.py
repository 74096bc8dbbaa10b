"""The page Live, and its WebSocket."""

import re

from aiohttp import web

from stream.store import track_list
from stream.tweet import TrackId
from web.context import app_context, person, render
from web.live.protocol import CLIENT_MESSAGE_MAX
from web.live.session import LiveSession
from web.live.socket import open_websocket
from web.live.viewers import LIVE, viewer_slot
from web.routing import Route

NUMBER = re.compile(r"[1-9]\d{0,17}", re.ASCII)  # of a track
CHOICES = 200  # tracks to choose from


async def page(request: web.Request) -> web.StreamResponse:
    """The address holds the filter, so that it can be bookmarked and shared."""
    query = request.query.get("query", "")
    given = request.query.get("track", "")
    track = TrackId(int(given)) if NUMBER.fullmatch(given) else None
    async with app_context(request).database.acquire() as connection:
        choices = await track_list.choices(connection, person(request).id, CHOICES, track)
    return render(request, "live.html", choices=choices, track=track, query=query)


async def socket(request: web.Request) -> web.StreamResponse:
    async with viewer_slot(request) as slot, open_websocket(request, CLIENT_MESSAGE_MAX) as ws:
        await LiveSession(ws, slot, request.config_dict[LIVE]).run()
    return ws


ROUTES = (
    Route("GET", "/live", page, "viewer"),
    Route("GET", "/live/socket", socket, "viewer"),
)
