"""Look-backs on the page of a track: request them, follow their progress, cancel them."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlencode

from aiohttp import web
from multidict import MultiMapping

from stream.db import Executor
from stream.store import look_backs, sharing
from stream.store.look_backs import LookBack, Requested
from stream.store.tracks import Track
from stream.text import format_time_left
from web.context import app_context, form_fields, is_part, person, render, see_other
from web.pages.look_back_form import NOTHING, LookBackForm, read, template_values
from web.person import Person
from web.problem import Problem
from web.routing import Route, row_id
from web.track_editing import look_back, service

FINISHED_SHOWN = 5  # of a track, the newest ones
_EXPLAINED: tuple[Literal["widened", "covered"], ...] = ("widened", "covered")


async def listed(connection: Executor, who: Person, track: Track) -> dict[str, Any]:
    """What the template look_backs.html needs."""
    may = await sharing.visible_among(connection, who.id, [track.id])
    every = await look_backs.of_track(connection, track.id)
    finished = [each for each in every if not each.unfinished]
    return {
        "look_backs": [each for each in every if each.unfinished] + finished[:FINISHED_SHOWN],
        "has_found": any(each.found for each in every),
        "left": time_left,
        "titles": look_back.TITLES,
        "may_change": may.get(track.id, False),
    }


def explanations(requested: Iterable[Requested]) -> dict[int, str]:
    """What look-backs from before do for a request, by their ids."""
    return {each.id: each.explanation for each in requested if each.explanation}


def requested_in(query: MultiMapping[str]) -> list[Requested]:
    """What became of a request, from the address that the browser was sent to."""
    return [
        Requested(row_id(number), how) for how in _EXPLAINED for number in query.getall(how, [])
    ]


def time_left(running: LookBack) -> str:
    """How long it will probably work; empty: not known, as at the start, or without the network.

    Without the time that it waits, for its turn or for the network.
    """
    return "" if running.is_retrying else format_time_left(running.progress, running.worked)


async def show(request: web.Request) -> web.StreamResponse:
    """The look-backs of a track, as a part of its page."""
    return await _list(request, row_id(request.match_info["id"]))


async def _list(request: web.Request, track_id: int) -> web.StreamResponse:
    if not is_part(request):
        return see_other(request, f"/tracks/{track_id}#look-back")
    track, values = await _read(request, track_id)
    return render(request, "look_backs.html", track=track, **values)


async def _read(request: web.Request, track_id: int) -> tuple[Track, dict[str, Any]]:
    who = person(request)
    async with app_context(request).database.acquire() as connection:
        track = await service.require(connection, who, track_id)
        return track, await listed(connection, who, track)


async def add(request: web.Request) -> web.StreamResponse:
    """Look back in the chosen places; the field of a wrong account is marked."""
    here, track_id = app_context(request), row_id(request.match_info["id"])
    form = read(form_fields(request), NOTHING)
    wanted = form.wanted()
    if not wanted:
        raise Problem("invalid", "Choose where to look back.", field="look_back")
    try:
        requested = await look_back.request(
            here.database, person(request), here.settings, track_id, wanted
        )
    except Problem as problem:
        if problem.field == "author" and is_part(request):
            return await _answer(request, track_id, form, (), problem)
        raise
    if not is_part(request):
        query = urlencode([(each.how, each.id) for each in requested if each.explanation])
        return see_other(request, f"/tracks/{track_id}?{query}#look-back")
    return await _answer(request, track_id, NOTHING, requested)


async def _answer(
    request: web.Request,
    track_id: int,
    form: LookBackForm,
    requested: Sequence[Requested],
    problem: Problem | None = None,
) -> web.StreamResponse:
    """The look-backs of a track, what became of a request, and the form, for htmx."""
    here = app_context(request)
    track, values = await _read(request, track_id)
    async with here.database.acquire() as connection:
        values |= template_values(
            form, await look_back.offers_for(connection, track, here.settings)
        )
    values["explanations"] = explanations(requested)
    status = HTTPStatus.OK if problem is None else problem.status
    template = "look_back_added.html"
    return render(request, template, status=status, track=track, problem=problem, **values)


async def cancel(request: web.Request) -> web.StreamResponse:
    """Cancel a look-back; what it has found stays."""
    number = row_id(request.match_info["id"])
    track_id = await look_back.cancel(app_context(request).database, person(request), number)
    return await _list(request, track_id)


ROUTES = (
    Route("GET", "/tracks/{id}/look-backs", show, "viewer"),
    Route("POST", "/tracks/{id}/look-backs", add, "user"),
    Route("POST", "/look-backs/{id}/cancel", cancel, "user"),
)
