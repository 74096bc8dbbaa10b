"""Many tracks at once: a text of lines, looked at first and added on confirmation."""

import asyncio
from collections.abc import Sequence
from typing import cast, get_args

import msgspec
from aiohttp import web

from stream.query import TrackKind
from stream.tracks import NewTrack
from web.pages.edit_form import KINDS
from web.problem import Problem
from web.reading import tracks as reading
from web.rendering import render, see_other
from web.routing import Route
from web.site import person, site
from web.tracking import desk

MOST = 5000  # lines
BREATH = 20  # lines that are understood before others have their turn
COMMENTS = ("# ", "//")  # a hashtag has no space behind its sign


class Line(msgspec.Struct, frozen=True):
    """A line as it was pasted. `problem`: why it cannot be; `twin`: the same stands there."""

    number: int
    value: str
    problem: str = ""
    twin: str = ""

    @property
    def is_right(self) -> bool:
        return not self.problem and not self.twin


class Pasted(msgspec.Struct, frozen=True):
    """What a pasted text holds; empty lines are left out without a word."""

    lines: Sequence[Line]
    comments: int

    @property
    def right(self) -> list[str]:
        return [line.value for line in self.lines if line.is_right]


async def form(request: web.Request) -> web.StreamResponse:
    return _show(request, "keyword", "", None)


async def paste(request: web.Request) -> web.StreamResponse:
    """Look at the lines; when that was done, add the right ones."""
    given = await request.post()
    kind, text = str(given.get("kind", "keyword")), str(given.get("lines", ""))
    if kind not in get_args(TrackKind):
        raise Problem("invalid", "There is no such kind of track.", field="kind")
    chosen = cast("TrackKind", kind)
    who, database = person(request), site(request).database
    async with database.acquire() as connection:
        known = await reading.values(connection, who, chosen)
    pasted = await looked_at(chosen, text, known)
    if given.get("do") == "add" and pasted.right:
        await desk.add_many(database, who, [NewTrack(value, chosen) for value in pasted.right])
        return see_other(request, f"/?added={len(pasted.right)}")
    return _show(request, chosen, text, pasted)


async def looked_at(kind: TrackKind, text: str, known: set[str]) -> Pasted:
    """Each line by itself. `known`: values that are followed already, plain."""
    lines: list[Line] = []
    first: dict[str, int] = {}
    comments = 0
    for number, written in enumerate(text.splitlines(), 1):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        value = written.strip()
        if number > MOST:
            words = f"Paste at most {MOST:,} lines at once."
            raise Problem("too_large", words, field="lines")
        if not value:
            continue
        if value.startswith(COMMENTS) or value == "#":
            comments += 1
            continue
        lines.append(_line(kind, number, value, first, known))
        first.setdefault(reading.plain(value), number)
    return Pasted(lines, comments)


def _line(kind: TrackKind, number: int, value: str, first: dict[str, int], known: set[str]) -> Line:
    try:
        desk.checked(kind, value)
    except Problem as problem:
        return Line(number, value, problem=problem.message)
    same = reading.plain(value)
    if same in first:
        return Line(number, value, twin=f"the same as line {first[same]}")
    if same in known:
        return Line(number, value, twin="followed already")
    return Line(number, value)


def _show(
    request: web.Request, kind: TrackKind, text: str, pasted: Pasted | None
) -> web.StreamResponse:
    return render(request, "edit_paste.html", kinds=KINDS, kind=kind, text=text, pasted=pasted)


ROUTES = (
    Route("GET", "/tracks/paste", form, "user"),
    Route("POST", "/tracks/paste", paste, "user"),
)
