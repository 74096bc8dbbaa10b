"""The history of tracks: who changed what, with undo."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from stream.networks.descriptions import TITLES
from stream.store import sharing
from stream.store.track_history import Action, Entry
from web.context import app_context, person, render, see_other, zone_of
from web.local_time import UTC_ZONE, local_text, offset_text
from web.pages.tracks import track_number
from web.routing import Route, row_id
from web.track_editing import service
from web.track_editing.service import removals_of
from web.track_editing.undo import undo_entry

PAGE = 50  # entries
VALUE_MAX = 300  # characters of a value that are shown

ACTIONS: dict[Action, str] = {
    "added": "added it",
    "changed": "changed it",
    "paused": "paused it",
    "resumed": "resumed it",
    "removed": "removed it",
    "shared": "shared it",
    "unshared": "stopped sharing it",
    "exported": "exported its tweets",
}
BACK: dict[Action, str] = {"added": "restored it", "changed": "reverted it"}
NAMES = {
    "owner": "owner",
    "kind": "kind",
    "value": "value",
    "networks": "networks",
    "enabled": "enabled",
    "starts_at": "start",
    "ends_at": "end",
    "priority": "priority",
    "keep_days": "keep tweets for (days)",
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
    """The history of all tracks that the user sees, or owned."""
    return await _show(request, None)


async def of_track(request: web.Request) -> web.StreamResponse:
    return await _show(request, track_number(request))


async def _show(request: web.Request, number: int | None) -> web.StreamResponse:
    who = person(request)
    below = row_id(request.query.get("below", "")) or None
    async with app_context(request).database.acquire() as connection:
        entries = await service.history_entries(connection, who, number, PAGE + 1, below)
        numbers = {entry.track_id for entry in entries}
        may = await sharing.visible_among(connection, who.id, numbers)
        removals = await removals_of(connection, who, numbers)
    last = {removal.id for removal in removals.values()}
    shown = [
        in_words(entry, may, last, before(entry, entries[place:]), zone_of(request))
        for place, entry in enumerate(entries[:PAGE], 1)
    ]
    more = entries[PAGE - 1].id if len(entries) > PAGE else None
    return render(request, "history.html", number=number, entries=shown, more=more, below=below)


def before(entry: Entry, older: Sequence[Entry]) -> Entry | None:
    """The previous entry about the same row, among those shown."""
    shares = ("shared", "unshared", "exported")
    same = (each for each in older if each.track_id == entry.track_id and each.action not in shares)
    return next(same, None)


def is_back(entry: Entry, earlier: Entry | None) -> bool:
    """Whether the entry reverts the one before it."""
    if earlier is None or entry.after is None:
        return False
    if entry.action == "added":
        return earlier.action == "removed"
    return entry.action == "changed" and (entry.before, entry.after) == (
        earlier.after,
        earlier.before,
    )


def in_words(
    entry: Entry,
    may: Mapping[Any, bool],
    last: Collection[int],
    earlier: Entry | None = None,
    zone: ZoneInfo = UTC_ZONE,
) -> Shown:
    """An entry for the page. `may`: existing visible tracks, and whether the user may change them;
    `last`: the removals that the user may undo; `earlier`: the previous entry."""
    is_there = entry.track_id in may
    may_undo = may.get(entry.track_id, False)
    if entry.action == "exported":
        may_undo = False
    if entry.action == "removed":
        may_undo = entry.id in last
    fields = entry.after if entry.action != "removed" else entry.before
    words = BACK[entry.action] if is_back(entry, earlier) else ACTIONS[entry.action]
    if entry.action in ("shared", "unshared"):
        named = (entry.after or entry.before or {}).get("user", "")
        words = f"{words} {'with' if entry.action == 'shared' else 'from'} {named}"
    if entry.action == "exported":
        words = f"{words} as {(entry.after or {}).get('format', '')}"
    differences = [
        Difference(
            NAMES.get(name, name),
            *(_written(part, name, zone) for part in (entry.before, entry.after)),
        )
        for name in entry.changed
        if entry.action == "changed"
    ]
    return Shown(
        entry, str((fields or {}).get("value", "")), words, differences, may_undo, is_there
    )


def _written(fields: Mapping[str, Any] | None, name: str, zone: ZoneInfo) -> str:
    value = (fields or {}).get(name)
    if name in ("starts_at", "ends_at") and value is not None:
        value = _moment(str(value), zone)
    if isinstance(value, list):
        value = ", ".join(TITLES.get(each, str(each)) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "none" if value is None else str(value)
    return text if len(text) <= VALUE_MAX else f"{text[:VALUE_MAX]}…"


def _moment(written: str, zone: ZoneInfo) -> str:
    """A time of a row, in the zone and with its name."""
    try:
        moment = datetime.fromisoformat(written)
        return f"{local_text(moment, zone).replace('T', ' ')} {offset_text(moment, zone)}"
    except (ValueError, OverflowError):  # a year that Python does not have
        return written


async def undo(request: web.Request) -> web.StreamResponse:
    number = row_id(request.match_info["id"])
    track_id = await undo_entry(app_context(request).database, person(request), number)
    return see_other(request, f"/tracks/{track_id}/history")


ROUTES = (
    Route("GET", "/history", of_all, "viewer"),
    Route("GET", "/tracks/{id}/history", of_track, "viewer"),
    Route("POST", "/history/{id}/undo", undo, "user"),
)
