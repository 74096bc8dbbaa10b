"""All addresses, in one application."""

from collections.abc import Iterable

from aiohttp import web

from stream.config import Settings
from stream.db import Database
from stream.vault import Vault
from web.answering import answer, dress
from web.api import calling
from web.api import routes as api
from web.environment import HERE, VENDOR
from web.guard import guarded
from web.live.live import attach
from web.pages import (
    account,
    edit,
    health,
    health_parts,
    history,
    live,
    login,
    paste,
    share,
    source_form,
    source_trial,
    sources,
    track,
    track_chart,
    track_download,
    tracks,
    users,
)
from web.reading import downloads
from web.routing import Route
from web.site import SITE, Site

ROUTES: tuple[Route, ...] = (
    *login.ROUTES,
    *share.ROUTES,
    *paste.ROUTES,
    *history.ROUTES,
    *edit.ROUTES,
    *users.ROUTES,
    *account.ROUTES,
    *tracks.ROUTES,
    *track.ROUTES,
    *track_chart.ROUTES,
    *track_download.ROUTES,
    *source_form.ROUTES,
    *source_trial.ROUTES,
    *sources.ROUTES,
    *live.ROUTES,
    *health.ROUTES,
    *health_parts.ROUTES,
    *api.ROUTES,
)


def build(
    database: Database, settings: Settings, vault: Vault, routes: Iterable[Route] = ROUTES
) -> web.Application:
    """The application over a database of its own."""
    app = web.Application(middlewares=[answer], client_max_size=settings.web.body_bytes)
    here = Site(database, settings, vault)
    app[SITE] = here
    calling.install(app, settings.web.calls_per_minute)
    downloads.install(app)
    for route in routes:
        app.router.add_route(route.method, here.base + route.path, guarded(route))
    app.router.add_get(here.base + "/static/vendor/{name}", _vendor)
    app.router.add_static(here.base + "/static/", HERE / "static", append_version=False)
    app.on_response_prepare.append(dress)
    attach(app)
    return app


async def _vendor(request: web.Request) -> web.StreamResponse:
    path = VENDOR.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path)
