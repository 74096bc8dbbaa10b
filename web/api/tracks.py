"""Calls about tracks: list, add, change, pause, remove, share; history and undo."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from stream.cells.databases import Cells
from stream.db import Executor
from stream.query import TrackKind
from stream.store import track_list
from stream.store.track_history import Entry
from stream.store.track_list import Sort, TrackFilter, TrackSummary
from stream.store.tracks import NewTrack, TrackState
from stream.tweet import NetworkName, TrackId
from web.api.look_backs import LookBacks
from web.api.operations import operation
from web.api.params import PLAIN, Moment, RowNumber, TrackNumber, row_number, track_ids
from web.context import app_context, person
from web.person import Person
from web.problem import Problem
from web.queries.tracks import overview
from web.track_editing import look_back, service
from web.track_editing.undo import undo_entry

Text = Annotated[str, Meta(max_length=500, pattern=PLAIN)]
Value = Annotated[str, Meta(min_length=1, max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=63)]
Networks = Annotated[
    Sequence[NetworkName], Meta(min_length=1, max_length=10, description="Null: all.")
]
Days = Annotated[
    int, Meta(ge=1, le=36_500, description="Number of days to keep its tweets; null: the default.")
]
Priority = Annotated[
    int,
    Meta(
        ge=-32_768,
        le=32_767,
        description="When a disk is almost full, the tracks with the lowest pause first.",
    ),
]
Limit = Annotated[int, Meta(ge=1, le=1000)]
Below = Annotated[RowNumber, Meta(description="Only entries with smaller ids.")]


class TrackListQuery(msgspec.Struct, frozen=True):
    """Which tracks to list."""

    words: Annotated[Text, Meta(description="Part of the value, in any letter case.")] = ""
    state: TrackState | None = None
    kind: TrackKind | None = None
    owner: Annotated[Name, Meta(pattern=PLAIN)] | None = None
    forgotten: Annotated[
        bool, Meta(description="Only tracks that were not viewed or downloaded for 30 days.")
    ] = False
    sort: Sort = "newest"
    limit: Limit = 100
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class TrackPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some tracks, and how many there are on all pages.

    `incomplete` is only there when databases did not answer, and names them: they are not counted.
    """

    tracks: list[TrackSummary]
    total: int
    incomplete: tuple[str, ...] = ()


class AddTrack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A track to add."""

    value: Value
    kind: TrackKind = "keyword"
    owner: Annotated[Name, Meta(description="Only admins can name another user.")] | None = None
    networks: Networks | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    priority: Priority = 0
    keep_days: Days | None = None
    look_back: LookBacks = ()


class ChangeTrack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields to change; omitted ones stay as they are."""

    value: Value | UnsetType = UNSET
    kind: TrackKind | UnsetType = UNSET
    owner: Name | UnsetType = UNSET
    networks: Networks | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    starts_at: Moment | UnsetType | None = UNSET
    ends_at: Moment | UnsetType | None = UNSET
    priority: Priority | UnsetType = UNSET
    keep_days: Days | UnsetType | None = UNSET


class TrackIds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ids of tracks."""

    tracks: Annotated[Sequence[TrackNumber], Meta(min_length=1, max_length=1000)]


class ChangedTracks(msgspec.Struct, frozen=True):
    """Ids of the tracks that were changed."""

    changed: list[TrackId]


class ShareWith(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of all users that the track is shared with."""

    names: Annotated[Sequence[Name], Meta(max_length=1000)]


class HistoryQuery(msgspec.Struct, frozen=True):
    """Which entries of a history."""

    limit: Limit = 100
    below: Below | None = None


class HistoryPage(msgspec.Struct, frozen=True):
    """Entries, the newest first; `next` is the `below` of the following page."""

    history: list[Entry]
    next: int | None


class UndoneTrack(msgspec.Struct, frozen=True):
    """Id of the track."""

    track: TrackId


_TRACK = "Id of the track."


@operation("GET", "/api/v1/tracks", "listTracks", "Tracks")
async def list_tracks(request: web.Request, query: TrackListQuery) -> TrackPage:
    """The tracks that you see, with their counts."""
    wanted = msgspec.convert(query, TrackFilter, from_attributes=True)
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        lines = await overview(here.cells, connection, who, wanted)
        tally = await track_list.tally(connection, who.id, wanted)
    return TrackPage(lines.value, tally.total, lines.missing)


@operation("GET", "/api/v1/tracks/{id:[0-9]+}", "getTrack", "Tracks", path_help=_TRACK)
async def get_track(request: web.Request) -> TrackSummary:
    """One track, with its counts."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        return await track_summary(here.cells, connection, person(request), row_number(request))


async def track_summary(
    cells: Cells, connection: Executor, who: Person, track_id: int
) -> TrackSummary:
    """A track as the list shows it. Problem when the user does not see it."""
    track = await service.require(connection, who, track_id)
    lines = await overview(cells, connection, who, TrackFilter(ids=[track.id]))
    if not lines.value:  # removed between the two
        raise Problem("not_found", "This track no longer exists.")
    return msgspec.structs.replace(lines.value[0], incomplete=lines.missing)


@operation(
    "POST",
    "/api/v1/tracks",
    "addTrack",
    "Tracks",
    access="user",
    scope="write",
    status=201,
    location="/api/v1/tracks/{id}",
    example={"value": "snow day, black ice"},
    errors=(409,),
)
async def add_track(request: web.Request, body: AddTrack) -> TrackSummary:
    """Add a track.

    It is active on the stream within two seconds: see its `state`.
    """
    here, who = app_context(request), person(request)
    fields = msgspec.structs.asdict(body)
    wanted = [each.new() for each in fields.pop("look_back")]
    track_id = await look_back.add_track(
        here.database, who, here.settings, NewTrack(**fields), wanted
    )
    async with here.database.acquire() as connection:
        return await track_summary(here.cells, connection, who, track_id)


@operation(
    "PATCH",
    "/api/v1/tracks/{id:[0-9]+}",
    "changeTrack",
    "Tracks",
    access="user",
    scope="write",
    example={"enabled": False},
    errors=(409,),
    path_help=_TRACK,
)
async def change_track(request: web.Request, body: ChangeTrack) -> TrackSummary:
    """Change a track; omitted fields stay as they are."""
    here, who, track_id = app_context(request), person(request), row_number(request)
    changes = service.Changes(**msgspec.structs.asdict(body))
    await service.change(here.database, who, track_id, changes)
    async with here.database.acquire() as connection:
        return await track_summary(here.cells, connection, who, track_id)


@operation(
    "DELETE",
    "/api/v1/tracks/{id:[0-9]+}",
    "removeTrack",
    "Tracks",
    access="user",
    scope="write",
    path_help=_TRACK,
)
async def remove_track(request: web.Request) -> None:
    """Remove a track. Its tweets stay, and the removal can be undone."""
    await service.remove(app_context(request).database, person(request), row_number(request))


@operation(
    "POST",
    "/api/v1/tracks/pause",
    "pauseTracks",
    "Tracks",
    access="user",
    scope="write",
    example={"tracks": [1]},
    errors=(404,),
)
async def pause_tracks(request: web.Request, body: TrackIds) -> ChangedTracks:
    """Pause all of these tracks, or none. Returns those that were not paused yet."""
    return await _enable(request, body, enabled=False)


@operation(
    "POST",
    "/api/v1/tracks/resume",
    "resumeTracks",
    "Tracks",
    access="user",
    scope="write",
    example={"tracks": [1]},
    errors=(404,),
)
async def resume_tracks(request: web.Request, body: TrackIds) -> ChangedTracks:
    """Resume all of these tracks, or none. Returns those that were paused."""
    return await _enable(request, body, enabled=True)


async def _enable(request: web.Request, ids: TrackIds, *, enabled: bool) -> ChangedTracks:
    database, who = app_context(request).database, person(request)
    chosen = track_ids(ids.tracks)
    return ChangedTracks(await service.enable(database, who, chosen, enabled=enabled))


@operation(
    "PUT",
    "/api/v1/tracks/{id:[0-9]+}/shares",
    "shareTrack",
    "Tracks",
    access="user",
    scope="write",
    example={"names": []},
    path_help=_TRACK,
)
async def share_track(request: web.Request, body: ShareWith) -> None:
    """Share a track with exactly these users; its owner and admins see it anyway."""
    here, who, track_id = app_context(request), person(request), row_number(request)
    await service.share(here.database, who, track_id, body.names)


@operation("GET", "/api/v1/history", "getHistory", "Tracks")
async def get_history(request: web.Request, query: HistoryQuery) -> HistoryPage:
    """Changes of all tracks that you see, the newest first."""
    return await _history(request, query, None)


@operation(
    "GET", "/api/v1/tracks/{id:[0-9]+}/history", "getTrackHistory", "Tracks", path_help=_TRACK
)
async def get_track_history(request: web.Request, query: HistoryQuery) -> HistoryPage:
    """Changes of one track, the newest first."""
    return await _history(request, query, TrackId(row_number(request)))


async def _history(
    request: web.Request, query: HistoryQuery, track_id: TrackId | None
) -> HistoryPage:
    async with app_context(request).database.acquire() as connection:
        entries = await service.history_entries(
            connection, person(request), track_id, query.limit, query.below
        )
    return HistoryPage(entries, entries[-1].id if len(entries) == query.limit else None)


@operation(
    "POST",
    "/api/v1/history/{id:[0-9]+}/undo",
    "undo",
    "Tracks",
    access="user",
    scope="write",
    errors=(409,),
    path_help="Id of the entry.",
)
async def undo(request: web.Request) -> UndoneTrack:
    """Undo an entry of the history; a removed track is restored."""
    database, who = app_context(request).database, person(request)
    return UndoneTrack(await undo_entry(database, who, row_number(request)))


OPERATIONS = (
    list_tracks,
    add_track,
    pause_tracks,
    resume_tracks,
    get_track,
    change_track,
    remove_track,
    share_track,
    get_track_history,
    get_history,
    undo,
)
