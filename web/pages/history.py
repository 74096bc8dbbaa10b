"""Who did what to which track, and the way back."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from web.pages.source_form import NAMES as NETWORKS
from web.pages.tracks import row_number, track_number
from web.rendering import render, see_other
from web.routing import Route
from web.site import person, site
from web.tracking import desk
from web.tracking.records import Action, Entry
from web.tracking.rights import removals_of, seen_of

PAGE = 50  # entries
LONGEST = 300  # characters of a value that are shown

ACTIONS: dict[Action, str] = {
    "added": "began to follow it",
    "changed": "changed it",
    "paused": "paused it",
    "resumed": "resumed it",
    "removed": "removed it",
    "shared": "shared it",
    "unshared": "took a share back",
}
BACK: dict[Action, str] = {"added": "brought it back", "changed": "changed it back"}
NAMES = {
    "owner": "owner",
    "kind": "kind",
    "value": "value",
    "networks": "networks",
    "enabled": "followed",
    "starts_at": "begins",
    "ends_at": "ends",
    "priority": "priority",
    "keep_days": "kept for days",
}


class Difference(msgspec.Struct, frozen=True):
    """One thing that an edit changed."""

    name: str
    before: str
    after: str


class Shown(msgspec.Struct, frozen=True):
    """An entry in words."""

    entry: Entry
    value: str
    words: str
    differences: list[Difference]
    may_undo: bool
    is_there: bool  # the track, still


async def of_all(request: web.Request) -> web.StreamResponse:
    """Of all tracks that somebody sees, or had."""
    return await _show(request, None)


async def of_track(request: web.Request) -> web.StreamResponse:
    return await _show(request, track_number(request))


async def _show(request: web.Request, number: int | None) -> web.StreamResponse:
    who = person(request)
    below = row_number(request.query.get("below", "")) or None
    async with site(request).database.acquire() as connection:
        entries = await desk.history(connection, who, number, PAGE + 1, below)
        numbers = {entry.track_id for entry in entries}
        may = await seen_of(connection, who, numbers)
        removals = await removals_of(connection, who, numbers)
    last = {removal.id for removal in removals.values()}
    shown = [
        in_words(entry, may, last, before(entry, entries[place:]))
        for place, entry in enumerate(entries[:PAGE], 1)
    ]
    more = entries[PAGE - 1].id if len(entries) > PAGE else None
    return render(request, "history.html", number=number, entries=shown, more=more, below=below)


def before(entry: Entry, older: Sequence[Entry]) -> Entry | None:
    """What was done last to the row before that, among what is shown."""
    shares = ("shared", "unshared")
    same = (each for each in older if each.track_id == entry.track_id and each.action not in shares)
    return next(same, None)


def is_back(entry: Entry, earlier: Entry | None) -> bool:
    """Whether the track became again what it was before what was done before."""
    if earlier is None or entry.after is None:
        return False
    if entry.action == "added":
        return earlier.action == "removed"
    return entry.action == "changed" and (entry.before, entry.after) == (
        earlier.after,
        earlier.before,
    )


def in_words(
    entry: Entry, may: Mapping[Any, bool], last: Collection[int], earlier: Entry | None = None
) -> Shown:
    """An entry for eyes. `may`: the tracks that are there and seen, and whether he changes them;
    `last`: the removals that he may take back; `earlier`: what was done before."""
    is_there = entry.track_id in may
    may_undo = may.get(entry.track_id, False)
    if entry.action == "removed":
        may_undo = entry.id in last
    said = entry.after if entry.action != "removed" else entry.before
    words = BACK[entry.action] if is_back(entry, earlier) else ACTIONS[entry.action]
    if entry.action in ("shared", "unshared"):
        named = (entry.after or entry.before or {}).get("user", "")
        words = f"{words} {'with' if entry.action == 'shared' else 'from'} {named}"
    differences = [
        Difference(
            NAMES.get(name, name), *(_written(part, name) for part in (entry.before, entry.after))
        )
        for name in entry.changed
        if entry.action == "changed"
    ]
    return Shown(entry, str((said or {}).get("value", "")), words, differences, may_undo, is_there)


def _written(said: Mapping[str, Any] | None, name: str) -> str:
    value = (said or {}).get(name)
    if isinstance(value, list):
        value = ", ".join(NETWORKS.get(each, str(each)) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


async def undo(request: web.Request) -> web.StreamResponse:
    number = row_number(request.match_info["id"])
    track_id = await desk.undo(site(request).database, person(request), number)
    return see_other(request, f"/tracks/{track_id}/history")


ROUTES = (
    Route("GET", "/history", of_all, "viewer"),
    Route("GET", "/tracks/{id}/history", of_track, "viewer"),
    Route("POST", "/history/{id}/undo", undo, "user"),
)
