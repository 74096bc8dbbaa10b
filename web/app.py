"""The web application: all routes, middleware and static files."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from aiohttp import web

from stream.backoff import supervised
from stream.config import Settings
from stream.db import Database
from stream.guarded_database import GuardedDatabase
from stream.vault import Vault
from web.api import openapi_page, operations
from web.auth import authorized
from web.context import APP_CONTEXT, AppContext
from web.downloads import download
from web.live.viewers import attach
from web.middleware import add_headers, handle_errors
from web.pages import (
    account,
    bulk_add,
    cities,
    edit,
    exports,
    health,
    health_data,
    history,
    live,
    login,
    look_back,
    source_form,
    sources,
    sql_access,
    track,
    track_data,
    tracks,
    use_data,
    users,
    webhooks,
)
from web.routing import Route
from web.templating import HERE, VENDOR

REPLICA_CONNECTIONS = 8  # for all pages together

ROUTES: tuple[Route, ...] = (
    *login.ROUTES,
    *bulk_add.ROUTES,
    *history.ROUTES,
    *cities.ROUTES,
    *edit.ROUTES,
    *users.ROUTES,
    *account.ROUTES,
    *sql_access.ROUTES,
    *tracks.ROUTES,
    *track.ROUTES,
    *track_data.ROUTES,
    *use_data.ROUTES,
    *look_back.ROUTES,
    *source_form.ROUTES,
    *sources.ROUTES,
    *exports.ROUTES,
    *webhooks.ROUTES,
    *live.ROUTES,
    *health.ROUTES,
    *health_data.ROUTES,
    *openapi_page.ROUTES,
)


def build(
    database: Database,
    settings: Settings,
    vault: Vault,
    routes: Iterable[Route] = ROUTES,
    *,
    config_file: Path | None = None,
    other_cells: Mapping[str, GuardedDatabase] | None = None,
) -> web.Application:
    """The application, over a database pool of its own."""
    app = web.Application(middlewares=[handle_errors], client_max_size=settings.web.max_body_bytes)
    here = AppContext(database, settings, vault, config_file, other_cells)
    app[APP_CONTEXT] = here
    operations.install(app, settings.web.requests_per_minute)
    download.install(app)
    for route in routes:
        path, handler = here.base + route.path, authorized(route)
        if route.method == "GET":
            app.router.add_get(path, handler)  # and HEAD
        else:
            app.router.add_route(route.method, path, handler)
    app.router.add_get(here.base + "/static/{name:.+}", _file)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_guard_databases)
    attach(app)
    return app


async def _guard_databases(app: web.Application) -> AsyncIterator[None]:
    """Let requests fail soon while the database does not answer, or leave out a cell."""
    here = app[APP_CONTEXT]
    loops = {"database guard": here.database.watch}
    if here.cells.others:
        loops["guard of cells"] = here.cells.watch
    if here.settings.web.replica:
        loops["replica"] = lambda: here.replica.watch(REPLICA_CONNECTIONS)
    tasks = [asyncio.create_task(supervised(name, loop), name=name) for name, loop in loops.items()]
    yield
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


FILES = {path.name: path for path in (HERE / "static").iterdir()} | {
    f"vendor/{name}": path for name, path in VENDOR.items()
}


async def _file(request: web.Request) -> web.StreamResponse:
    """A static file; no other name reaches the disk."""
    path = FILES.get(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path)
