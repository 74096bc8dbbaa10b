"""The first page: the list of tracks with their counts; pause, resume, remove and share them."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl, urlencode

import msgspec
from aiohttp import web

from stream.cells import counts
from stream.db import Executor
from stream.query import TrackKind
from stream.store import sharing, track_list
from stream.store.track_history import Entry
from stream.store.track_list import Sort, TrackFilter
from stream.store.tracks import TrackState
from web.context import app_context, form_fields, is_part, person, render, see_other, zone_of
from web.person import Person
from web.problem import Problem
from web.queries.tracks import overview
from web.routing import Route, row_id
from web.track_editing import service

PAGE = 50  # lines
PAGES_MAX = 10_000
BULK_MAX = 10_000  # tracks that are paused or resumed by one click
SEARCH_MAX = 200  # characters

SPARK_WIDTH, SPARK_HEIGHT = 120, 24
_T = TypeVar("_T", bound=str)


class TrackListState(msgspec.Struct, frozen=True):
    """The filters and the page of the list, from the address."""

    listing: TrackFilter
    page: int

    def query(self, **changed: object) -> dict[str, object]:
        """The filters as parameters of an address, without defaults."""
        now = self.listing
        parameters = {
            "q": now.words,
            "state": now.state,
            "kind": now.kind,
            "owner": now.owner,
            "forgotten": "1" if now.forgotten else None,
            "sort": now.sort if now.sort != "newest" else None,
            "page": self.page if self.page > 1 else None,
        }
        return parameters | changed


async def tracks(request: web.Request) -> web.StreamResponse:
    """The page, or (for htmx) the list alone."""
    who, view = person(request), _view(request)
    here = app_context(request)
    async with here.database.acquire() as connection:
        lines = await overview(here.cells, connection, who, view.listing, zone_of(request))
        found = await track_list.tally(connection, who.id, view.listing)
        arriving = (await counts.ingest_rate(here.cells, connection)).value
        removed = await _removed(connection, who, request.query.get("removed", ""))
        part = is_part(request)
        owners = await track_list.owners(connection) if who.is_admin and not part else []
    values: dict[str, Any] = {
        "view": view,
        "lines": [(line, spark(line.minutes)) for line in lines.value],
        "found": found,
        "arriving": arriving,
        "last_page": -(-found.total // PAGE),
        "first": view.listing.offset + 1,
        "filtered": is_filtered(view.listing),
        "back": urlencode({k: v for k, v in view.query().items() if v not in (None, "")}),
        "changing": any(line.may_change for line in lines.value),
        "removed": removed,
        "added": row_id(request.query.get("added", "")),
        "days": track_list.FORGOTTEN_AFTER,
    }
    if part:
        return render(request, "tracks_list.html", **values)
    values |= {"states": get_args(TrackState), "kinds": get_args(TrackKind), "owners": owners}
    return render(request, "tracks.html", **values)


def is_filtered(listing: TrackFilter) -> bool:
    """Whether some tracks are left out."""
    everything = TrackFilter(sort=listing.sort, limit=listing.limit, offset=listing.offset)
    return listing != everything


def _view(request: web.Request) -> TrackListState:
    given = request.query
    written = given.get("page", "1")
    page = min(max(row_id(written), 1), PAGES_MAX)
    return TrackListState(
        TrackFilter(
            words=given.get("q", "").replace("\x00", "").strip()[:SEARCH_MAX],
            state=_one_of(given.get("state", ""), get_args(TrackState)),
            kind=_one_of(given.get("kind", ""), get_args(TrackKind)),
            owner=given.get("owner", "").replace("\x00", "") or None,
            forgotten=given.get("forgotten") == "1",
            sort=_one_of(given.get("sort", ""), get_args(Sort)) or "newest",
            limit=PAGE,
            offset=(page - 1) * PAGE,
        ),
        page,
    )


def _one_of(written: str, known: Sequence[_T]) -> _T | None:
    return next((each for each in known if each == written), None)


async def _removed(connection: Executor, who: Person, written: str) -> Entry | None:
    """The removal that was just made, for its undo button."""
    if not written:
        return None
    try:
        entries = await service.history_entries(connection, who, row_id(written), 1)
    except Problem:
        return None
    return entries[0] if entries and entries[0].action == "removed" else None


def spark(minutes: Sequence[int]) -> str:
    """The points of a line; the largest value reaches the top."""
    top = max([*minutes, 1])
    step = SPARK_WIDTH / max(len(minutes) - 1, 1)
    return " ".join(
        f"{place * step:.4g},{1 + (SPARK_HEIGHT - 2) * (1 - tweets / top):.4g}"
        for place, tweets in enumerate(minutes)
    )


async def bulk(request: web.Request) -> web.StreamResponse:
    """Pause or resume the chosen tracks."""
    given = form_fields(request)
    chosen = given.getall("id", [])
    if len(chosen) > BULK_MAX:
        raise Problem("too_large", f"Choose at most {BULK_MAX:,} tracks at once.")
    numbers = {row_id(str(each)) for each in chosen}
    enabled = given.get("do") == "resume"
    await service.enable(app_context(request).database, person(request), numbers, enabled=enabled)
    # Parsed and encoded again: it came from outside and goes into a header.
    return see_other(request, f"/?{urlencode(parse_qsl(str(given.get('back', ''))))}")


async def pause(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=False)


async def resume(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=True)


async def _switch(request: web.Request, *, enabled: bool) -> web.StreamResponse:
    number = track_number(request)
    await service.enable(app_context(request).database, person(request), [number], enabled=enabled)
    return see_other(request, f"/tracks/{number}")


async def question(request: web.Request) -> web.StreamResponse:
    """The page that asks for confirmation of a removal."""
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        track = await service.require(connection, who, track_number(request), change=True)
        lines = await overview(here.cells, connection, who, TrackFilter(ids=[track.id]))
    return render(request, "tracks_remove.html", track=track, line=lines.value[0])


async def remove(request: web.Request) -> web.StreamResponse:
    number = track_number(request)
    await service.remove(app_context(request).database, person(request), number)
    return see_other(request, f"/?removed={number}")


def track_number(request: web.Request) -> int:
    """The number of a track in the address."""
    return row_id(request.match_info["id"])


async def share_form(request: web.Request) -> web.StreamResponse:
    return await _share_form(request, None)


async def _share_form(
    request: web.Request, problem: Problem | None, written: str = ""
) -> web.StreamResponse:
    async with app_context(request).database.acquire() as connection:
        track = await service.require(
            connection, person(request), track_number(request), change=True
        )
        shared = await sharing.shared_with(connection, track.id)
    return render(
        request,
        "edit_share.html",
        status=problem.status if problem else 200,
        track=track,
        shared=shared,
        written=written,
        problem=problem,
    )


async def share(request: web.Request) -> web.StreamResponse:
    given = form_fields(request)
    written = str(given.get("more", ""))
    names = [str(name) for name in given.getall("names", [])] + written.replace(",", " ").split()
    was = [str(name) for name in given.getall("was", [])] if "shown" in given else None
    number = track_number(request)
    try:
        await service.share(app_context(request).database, person(request), number, names, was)
    except Problem as problem:
        if problem.field is None:
            raise
        return await _share_form(request, problem, written)
    return see_other(request, f"/tracks/{number}")


ROUTES = (
    Route("GET", "/", tracks, "viewer"),
    Route("POST", "/tracks/bulk", bulk, "user"),
    Route("POST", "/tracks/{id}/pause", pause, "user"),
    Route("POST", "/tracks/{id}/resume", resume, "user"),
    Route("GET", "/tracks/{id}/remove", question, "user"),
    Route("POST", "/tracks/{id}/remove", remove, "user"),
    Route("GET", "/tracks/{id}/share", share_form, "user"),
    Route("POST", "/tracks/{id}/share", share, "user"),
)
