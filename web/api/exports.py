"""Calls about exports: request, follow, download and cancel them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.export_requests import (
    COLUMNS,
    FORMATS,
    GRAPH_LIMIT,
    TRACKS_MAX,
    WORDS_MAX,
    Choice,
    ExportRequest,
)
from stream.store.exports import ColumnSet, Export, Format, Graph, State
from stream.tweet import TrackId
from web import exports as service
from web.api.operations import operation
from web.api.params import PLAIN, Moment, TrackNumber, row_number, track_ids
from web.context import app_context, person

_EXPORT = "Id of the export."


def _described(choices: Mapping[str, Choice]) -> str:
    return "; ".join(f"`{name}`: {each.title}, {each.use}" for name, each in choices.items()) + "."


class AddExport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which tweets to export, and how. `until`: exclusive; null: now."""

    tracks: Annotated[Sequence[TrackNumber], Meta(min_length=1, max_length=TRACKS_MAX)]
    format: Annotated[Format, Meta(description=_described(FORMATS))] = "csv"
    columns: Annotated[
        ColumnSet | None,
        Meta(
            description=f"{_described(COLUMNS)} `everything` if left out. Some formats have columns"
            " of their own."
        ),
    ] = None
    since: Moment | None = None
    until: Moment | None = None
    words: Annotated[
        str,
        Meta(max_length=WORDS_MAX, pattern=PLAIN, description="All of them are in the text."),
    ] = ""
    pseudonyms: Annotated[
        bool, Meta(description="Replace names and ids of accounts by pseudonyms.")
    ] = False
    graph: Annotated[
        Graph | None,
        Meta(description="What the format `gexf` links: `co-hashtag` if left out."),
    ] = None
    min_weight: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=GRAPH_LIMIT,
                description="Of a graph: tweets of an edge, at least; 1 if left out.",
            ),
        ]
        | None
    ) = None
    max_nodes: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=GRAPH_LIMIT,
                description="Of a graph: those with the heaviest edges; 10,000 if left out.",
            ),
        ]
        | None
    ) = None


class ExportStatus(msgspec.Struct, frozen=True):
    """An export and how far it is.

    `owner`: the user who requested it, null for the command line. `rows`: tweets so far; of the
    format `gexf`, rows of its table of edges, and `nodes` and `edges` are those of the finished
    graph. `progress`: from 0 to 1, null while it is unknown. `size`: bytes. `sha256` is of the
    file. `valid_until`: tweets that were deleted until then are not in it. `link`: the path of the
    finished file for those who do not log in; it is valid for a day. `graph`, `min_weight` and
    `max_nodes` are of the format `gexf`, too.
    """

    id: int
    owner: str | None
    tracks: Sequence[TrackId]
    format: Format
    columns: ColumnSet
    since: datetime | None
    until: datetime
    words: str
    pseudonyms: bool
    graph: Graph
    min_weight: int
    max_nodes: int
    requested_at: datetime
    state: State
    reason: str
    progress: float | None
    rows: int
    nodes: int | None
    edges: int | None
    size: int
    sha256: str | None
    valid_until: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    link: str | None


class ExportList(msgspec.Struct, frozen=True):
    """Exports, the newest first."""

    exports: list[ExportStatus]


def _status(request: web.Request, found: Export) -> ExportStatus:
    here = app_context(request)
    is_done = found.state == "done"
    link = here.pages.url(service.link_to(here, found)) if is_done else None
    values = {
        name: getattr(found, name)
        for name in ExportStatus.__struct_fields__
        if name not in ("link", "pseudonyms")
    }
    return ExportStatus(**values, pseudonyms=found.pseudonym_key is not None, link=link)


@operation("GET", "/api/v1/exports", "listExports", "Exports")
async def list_exports(request: web.Request) -> ExportList:
    """Your last 50 exports; for admins those of all users."""
    async with app_context(request).database.acquire() as connection:
        found = await service.listed(connection, person(request))
    return ExportList([_status(request, each) for each in found])


@operation(
    "POST",
    "/api/v1/exports",
    "addExport",
    "Exports",
    status=201,
    location="/api/v1/exports/{id}",
    errors=(429,),
    example={"tracks": [1], "format": "csv"},
)
async def add_export(request: web.Request, body: AddExport) -> ExportStatus:
    """Export the tweets of tracks as a .zip of files.

    It is written in the background, from Postgres and from archives.
    """
    values = {name: getattr(body, name) for name in AddExport.__struct_fields__}
    wanted = msgspec.convert(values | {"tracks": track_ids(body.tracks)}, ExportRequest)
    found = await service.add(app_context(request), person(request), wanted)
    return _status(request, found)


@operation("GET", "/api/v1/exports/{id:[0-9]+}", "getExport", "Exports", path_help=_EXPORT)
async def get_export(request: web.Request) -> ExportStatus:
    """An export and how far it is."""
    async with app_context(request).database.acquire() as connection:
        found = await service.require(connection, person(request), row_number(request))
    return _status(request, found)


@operation(
    "GET",
    "/api/v1/exports/{id:[0-9]+}/file",
    "downloadExport",
    "Exports",
    path_help=_EXPORT,
    files={"application/zip": {"type": "string", "format": "binary"}},
)
async def download_export(request: web.Request) -> web.StreamResponse:
    """The file of a finished export, or with `Range` a part of it.

    503 while it is written again without tweets that were deleted since.
    """
    return await service.download(app_context(request), person(request), row_number(request))


@operation("DELETE", "/api/v1/exports/{id:[0-9]+}", "cancelExport", "Exports", path_help=_EXPORT)
async def cancel_export(request: web.Request) -> None:
    """Cancel an export, or delete the file of a finished one."""
    await service.cancel(app_context(request), person(request), row_number(request))


OPERATIONS = (list_exports, add_export, get_export, download_export, cancel_export)
