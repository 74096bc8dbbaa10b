"""Add many tracks at once: lines are checked first, and added on confirmation."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast, get_args

import msgspec
from aiohttp import web

from stream.query import TrackKind
from stream.store.tracks import NewTrack
from web.context import app_context, form_fields, person, render, see_other
from web.pages import look_back_form
from web.pages.edit_form import KINDS
from web.pages.look_back_form import NOTHING
from web.problem import Problem
from web.queries.tracks import known_values, normalized
from web.routing import Route
from web.track_editing import look_back, service

LINES_MAX = 5000
LINES_PER_TURN = 20  # parsed before other tasks run
COMMENTS = ("# ", "//")  # a hashtag has no space after its sign


class PastedLine(msgspec.Struct, frozen=True):
    """A pasted line. `problem`: why it is invalid; `duplicate_of`: what it duplicates."""

    number: int
    value: str
    problem: str = ""
    duplicate_of: str = ""

    @property
    def is_valid(self) -> bool:
        return not self.problem and not self.duplicate_of


class Pasted(msgspec.Struct, frozen=True):
    """The lines of a pasted text, without empty ones."""

    lines: Sequence[PastedLine]
    comments: int

    @property
    def valid(self) -> list[str]:
        return [line.value for line in self.lines if line.is_valid]


async def form(request: web.Request) -> web.StreamResponse:
    return await _show(request, "keyword", "", None)


async def paste(request: web.Request) -> web.StreamResponse:
    """Check the lines, or add the valid ones."""
    given = form_fields(request)
    kind, text = str(given.get("kind", "keyword")), str(given.get("lines", ""))
    if kind not in get_args(TrackKind):
        raise Problem("invalid", "Unknown kind of track.", field="kind")
    chosen = cast("TrackKind", kind)
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        known = await known_values(connection, who, chosen)
    pasted = await checked_lines(chosen, text, known)
    if given.get("do") != "add" or not pasted.valid:
        return await _show(request, chosen, text, pasted)
    new = [NewTrack(value, chosen) for value in pasted.valid]
    try:
        wanted = look_back_form.read(given, NOTHING).wanted()
        await look_back.add_tracks(here.database, who, here.settings, new, wanted)
    except Problem as problem:
        if problem.field != "look_back":
            raise
        return await _show(request, chosen, text, pasted, problem)
    return see_other(request, f"/?added={len(new)}")


async def checked_lines(kind: TrackKind, text: str, known: set[str]) -> Pasted:
    """Check each line. `known`: normalized values that are tracked already."""
    lines: list[PastedLine] = []
    first: dict[str, int] = {}
    comments = 0
    for number, written in enumerate(text.splitlines(), 1):
        if number % LINES_PER_TURN == 0:
            await asyncio.sleep(0)
        value = written.strip()
        if number > LINES_MAX:
            words = f"Paste at most {LINES_MAX:,} lines at once."
            raise Problem("too_large", words, field="lines")
        if not value:
            continue
        if value.startswith(COMMENTS) or value == "#":
            comments += 1
            continue
        lines.append(_line(kind, number, value, first, known))
        first.setdefault(normalized(value), number)
    return Pasted(lines, comments)


def _line(
    kind: TrackKind, number: int, value: str, first: dict[str, int], known: set[str]
) -> PastedLine:
    try:
        service.checked(kind, value)
    except Problem as problem:
        return PastedLine(number, value, problem=problem.message)
    same = normalized(value)
    if same in first:
        return PastedLine(number, value, duplicate_of=f"the same as line {first[same]}")
    if same in known:
        return PastedLine(number, value, duplicate_of="already tracked")
    return PastedLine(number, value)


async def _show(
    request: web.Request,
    kind: TrackKind,
    text: str,
    pasted: Pasted | None,
    problem: Problem | None = None,
) -> web.StreamResponse:
    here = app_context(request)
    async with here.database.acquire() as connection:
        offers = await look_back.offers_for_many(connection, here.settings)
    looked_back = look_back_form.read(form_fields(request), NOTHING)
    return render(
        request,
        "edit_paste.html",
        status=problem.status if problem else HTTPStatus.OK,
        kinds=KINDS,
        kind=kind,
        text=text,
        pasted=pasted,
        problem=problem,
        **look_back_form.template_values(looked_back, offers),
    )


ROUTES = (
    Route("GET", "/tracks/paste", form, "user"),
    Route("POST", "/tracks/paste", paste, "user"),
)
