"""The first page: all tracks that somebody sees, with what each brings; pause, resume, remove."""

from collections.abc import Sequence
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl, urlencode

import msgspec
from aiohttp import web

from stream.db import Executor
from stream.query import TrackKind
from stream.tracks import TrackState
from web.person import Person
from web.problem import Problem
from web.reading import tracks as reading
from web.reading.tracks import Listing, Sort
from web.rendering import is_part, render, see_other
from web.routing import Route
from web.site import person, site
from web.tracking import desk, records

PAGE = 50  # lines
MOST_PAGES = 10_000
MOST_AT_ONCE = 10_000  # tracks that are paused or resumed by one click
LONGEST_SEARCH = 200  # characters

SPARK_WIDTH, SPARK_HEIGHT = 120, 24
_T = TypeVar("_T", bound=str)


class View(msgspec.Struct, frozen=True):
    """What the address says of the list."""

    listing: Listing
    page: int

    def query(self, **changed: object) -> dict[str, object]:
        """The same as parameters of an address, without what is usual."""
        now = self.listing
        said = {
            "q": now.words,
            "state": now.state,
            "kind": now.kind,
            "owner": now.owner,
            "forgotten": "1" if now.forgotten else None,
            "sort": now.sort if now.sort != "newest" else None,
            "page": self.page if self.page > 1 else None,
        }
        return said | changed


async def tracks(request: web.Request) -> web.StreamResponse:
    """The page, or (for htmx) the list alone."""
    who, view = person(request), _view(request)
    async with site(request).database.acquire() as connection:
        lines = await reading.overview(connection, who, view.listing)
        found = await reading.found(connection, who, view.listing)
        arriving = await reading.arriving(connection)
        removed = await _removed(connection, who, request.query.get("removed", ""))
        part = is_part(request)
        owners = await reading.owners(connection) if who.is_admin and not part else []
    values: dict[str, Any] = {
        "view": view,
        "lines": [(line, spark(line.minutes)) for line in lines],
        "found": found,
        "arriving": arriving,
        "last_page": -(-found.total // PAGE),
        "first": view.listing.offset + 1,
        "filtered": is_filtered(view.listing),
        "back": urlencode({k: v for k, v in view.query().items() if v not in (None, "")}),
        "changing": any(line.may_change for line in lines),
        "removed": removed,
        "added": row_number(request.query.get("added", "")),
        "days": reading.FORGOTTEN_AFTER,
    }
    if part:
        return render(request, "tracks_list.html", **values)
    values |= {"states": get_args(TrackState), "kinds": get_args(TrackKind), "owners": owners}
    return render(request, "tracks.html", **values)


def is_filtered(listing: Listing) -> bool:
    """Whether some tracks are left out."""
    everything = Listing(sort=listing.sort, limit=listing.limit, offset=listing.offset)
    return listing != everything


def _view(request: web.Request) -> View:
    given = request.query
    written = given.get("page", "1")
    page = int(written) if written.isascii() and written.isdigit() and len(written) < 6 else 1
    page = min(max(page, 1), MOST_PAGES)
    return View(
        Listing(
            words=given.get("q", "").replace("\x00", "").strip()[:LONGEST_SEARCH],
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


async def _removed(connection: Executor, who: Person, written: str) -> records.Entry | None:
    """The removal that has just been done, for its undo."""
    if not written:
        return None
    try:
        entries = await desk.history(connection, who, row_number(written), 1)
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
    """Pause or resume the chosen ones."""
    given = await request.post()
    chosen = given.getall("id", [])
    if len(chosen) > MOST_AT_ONCE:
        raise Problem("too_large", f"Choose at most {MOST_AT_ONCE:,} tracks at once.")
    numbers = {row_number(str(each)) for each in chosen}
    enabled = given.get("do") == "resume"
    await desk.enable(site(request).database, person(request), numbers, enabled=enabled)
    # Taken apart, since it came from outside and goes into a header.
    return see_other(request, f"/?{urlencode(parse_qsl(str(given.get('back', ''))))}")


async def pause(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=False)


async def resume(request: web.Request) -> web.StreamResponse:
    return await _switch(request, enabled=True)


async def _switch(request: web.Request, *, enabled: bool) -> web.StreamResponse:
    number = track_number(request)
    await desk.enable(site(request).database, person(request), [number], enabled=enabled)
    return see_other(request, f"/tracks/{number}")


async def question(request: web.Request) -> web.StreamResponse:
    """Whether it shall really go."""
    async with site(request).database.acquire() as connection:
        track = await desk.require(connection, person(request), track_number(request), change=True)
        [line] = await reading.overview(connection, person(request), Listing(number=track.id))
    return render(request, "tracks_remove.html", track=track, line=line)


async def remove(request: web.Request) -> web.StreamResponse:
    number = track_number(request)
    await desk.remove(site(request).database, person(request), number)
    return see_other(request, f"/?removed={number}")


def track_number(request: web.Request) -> int:
    """The number of a track in the address."""
    return row_number(request.match_info["id"])


def row_number(written: str) -> int:
    """The number of a row; 0, which none has, for everything else."""
    return int(written) if written.isascii() and written.isdigit() and len(written) < 19 else 0


ROUTES = (
    Route("GET", "/", tracks, "viewer"),
    Route("POST", "/tracks/bulk", bulk, "user"),
    Route("POST", "/tracks/{id}/pause", pause, "user"),
    Route("POST", "/tracks/{id}/resume", resume, "user"),
    Route("GET", "/tracks/{id}/remove", question, "user"),
    Route("POST", "/tracks/{id}/remove", remove, "user"),
)
