"""The page Exports: request them, follow their progress, cancel and download them."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from multidict import MultiMapping

from stream.db import Executor
from stream.export_requests import (
    COLUMNS,
    FORMATS,
    FORMATS_WITH,
    GRAPH_LIMIT,
    GRAPH_TITLES,
    NO_CELLS,
    ExportRequest,
)
from stream.store import sharing, tracks
from stream.store.exports import MAX_NODES, Export
from stream.text import format_time_left
from web import exports as service
from web.context import app_context, form_fields, is_part, person, render, see_other, zone_of
from web.local_time import MissingTime, RepeatedTime, read_local
from web.person import Person
from web.problem import Problem
from web.routing import Route, row_id

TRACKS_OFFERED = 300
TITLE_MAX = 60  # characters
TRACKS_NAMED = 5  # of an export
FIELDS = {
    "format": "xlsx",
    "columns": "simple",
    "graph": "co-hashtag",
    "min_weight": "1",
    "max_nodes": str(MAX_NODES),
} | dict.fromkeys(("since", "until", "words", "pseudonyms"), "")


async def _listed(connection: Executor, who: Person) -> dict[str, Any]:
    found = await service.listed(connection, who)
    named = {track for each in found for track in each.tracks[:TRACKS_NAMED]}
    return {
        "titles": {row.id: row.value for row in await tracks.get_many(connection, sorted(named))},
        "title_max": TITLE_MAX,
        "tracks_named": TRACKS_NAMED,
        "exports": found,
        "formats": FORMATS,
        "columns": COLUMNS,
        "graphs": GRAPH_TITLES,
        "formats_with_columns": FORMATS_WITH["columns"],
        "graph_limit": GRAPH_LIMIT,
        "left": time_left,
        "ongoing": any(each.unfinished for each in found),
    }


def time_left(running: Export) -> str:
    """How long it will probably take; empty: not known yet."""
    if running.started_at is None:
        return ""
    elapsed = (datetime.now(UTC) - running.started_at).total_seconds()
    return format_time_left(running.progress, elapsed)


async def show(request: web.Request) -> web.StreamResponse:
    """The form and the list; for htmx the list alone."""
    return await _show(request)


async def _show(
    request: web.Request,
    problem: Problem | None = None,
    fields: MultiMapping[Any] | None = None,
) -> web.StreamResponse:
    fields = request.query if fields is None else fields
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        values = await _listed(connection, who)
        if is_part(request):
            return render(request, "exports_list.html", **values)
        seen = await sharing.visible_tracks(connection, who.id)
        offered = sorted(seen, reverse=True)[:TRACKS_OFFERED]
        rows = await tracks.get_many(connection, offered)
    return render(
        request,
        "exports.html",
        status=200 if problem is None else problem.status,
        offered=sorted(rows, key=lambda row: row.id),
        offered_max=TRACKS_OFFERED,
        chosen={row_id(str(each)) for each in fields.getall("track", ())},
        no_cells=NO_CELLS if here.settings.cells else "",
        problem=problem,
        fields=FIELDS | dict(fields),
        **values,
    )


async def add(request: web.Request) -> web.StreamResponse:
    """Request an export."""
    form = form_fields(request)
    fields = {name: str(value) for name, value in form.items()}
    zone = zone_of(request)
    try:
        wanted = _request(form.getall("track", ()), fields, zone)
        await service.add(app_context(request), person(request), wanted)
    except Problem as problem:
        return await _show(request, problem, form)
    return see_other(request, "/exports")


def _request(chosen: Any, fields: Mapping[str, str], zone: ZoneInfo) -> ExportRequest:
    """Problem for a field that cannot be."""
    given = {
        "tracks": [row_id(str(each)) for each in chosen],
        "format": fields.get("format", "csv"),
        "columns": fields.get("columns", "simple"),
        "graph": fields.get("graph", "co-hashtag"),
        "min_weight": _number(fields, "min_weight"),
        "max_nodes": _number(fields, "max_nodes"),
        "since": _time(fields, "since", zone),
        "until": _time(fields, "until", zone),
        "words": fields.get("words", ""),
        "pseudonyms": "pseudonyms" in fields,
        "time_zone": zone.key,
    }
    # The page hides these fields, but browsers send them.
    hidden = [name for name, formats in FORMATS_WITH.items() if given["format"] not in formats]
    try:
        return msgspec.convert(given | dict.fromkeys(hidden), ExportRequest)
    except msgspec.ValidationError as error:
        raise Problem("invalid", f"{error}.", field="format") from error


def _number(fields: Mapping[str, str], name: str) -> int:
    written = fields.get(name, "").strip() or FIELDS[name]
    if not re.fullmatch("[0-9]{1,7}", written) or not 1 <= int(written) <= GRAPH_LIMIT:
        raise Problem("invalid", f"Write a number from 1 to {GRAPH_LIMIT:,}.", field=name)
    return int(written)


def _time(fields: Mapping[str, str], name: str, zone: ZoneInfo) -> datetime | None:
    if not (written := fields.get(name, "").strip()):
        return None
    try:
        return read_local(written, zone, fold="0")
    except (MissingTime, RepeatedTime, ValueError) as error:
        raise Problem("invalid", "Write a date and a time.", field=name) from error


async def cancel(request: web.Request) -> web.StreamResponse:
    """Cancel an export, or delete its file."""
    number = row_id(request.match_info["id"])
    await service.cancel(app_context(request), person(request), number)
    if not is_part(request):
        return see_other(request, "/exports")
    return await _show(request)


async def link(request: web.Request) -> web.StreamResponse:
    """A link to the file that needs no login."""
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        found = await service.require(connection, who, row_id(request.match_info["id"]))
    if found.state != "done":
        raise Problem("not_found", f"This export has no file: it is {found.state}.")
    address = here.origin + here.pages.url(service.link_to(here, found))
    return render(request, "exports_link.html", address=address, export=found)


async def by_link(request: web.Request) -> web.StreamResponse:
    return await service.by_link(app_context(request), request.match_info["name"])


ROUTES = (
    Route("GET", "/exports", show, "viewer"),
    Route("POST", "/exports", add, "viewer"),
    Route("POST", "/exports/{id:[0-9]+}/link", link, "viewer"),
    Route("POST", "/exports/{id:[0-9]+}/cancel", cancel, "viewer"),
    Route("GET", "/exports/files/{name}", by_link, "public"),
)
