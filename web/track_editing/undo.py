"""Undo one change of a track; the undo is an entry of the history itself."""

from collections.abc import Mapping
from typing import Any

import msgspec

from stream.db import Database, Executor, translated_errors
from stream.errors import RowRefused
from stream.store import sharing, track_history, tracks
from stream.store.track_history import Entry
from stream.store.tracks import TrackSpec
from stream.tweet import TrackId
from web.accounts.service import require_track_quota
from web.person import Person
from web.problem import Problem
from web.routing import ROW_ID_MAX
from web.track_editing import service

_GONE = "This entry does not exist, or its track is not shared with you."
_THERE = "This track has already been restored."
_LATER = "It was changed again later. Undo the later change first."
_NOT_ALLOWED = "The earlier values are no longer allowed."


async def undo_entry(database: Database, person: Person, history_id: int) -> TrackId:
    """Revert one entry. Problem when a later change prevents it."""
    async with database.transaction() as connection:
        await track_history.set_actor(connection, person.name)
        known = 0 < history_id <= ROW_ID_MAX
        entry = await track_history.by_id(connection, history_id) if known else None
        if entry is None:
            raise Problem("not_found", _GONE)
        try:
            if entry.action == "removed":
                await _undo_removal(connection, person, entry)
            else:
                await _undo_change(connection, person, entry)
        except Problem as problem:
            if problem.code != "not_found":
                raise
            raise Problem("not_found", _GONE) from problem  # as if the entry did not exist
        return entry.track_id


async def _undo_removal(connection: Executor, person: Person, entry: Entry) -> None:
    """For the last owner, as the track was in the end: after an earlier removal it may have got
    another owner."""
    removals = await service.removals_of(connection, person, [entry.track_id])
    if entry.track_id not in removals:  # it exists, or had another owner
        await service.require(connection, person, entry.track_id)
        raise Problem("conflict", _THERE)
    if removals[entry.track_id].id != entry.id:
        raise Problem("conflict", _LATER)
    await _insert(connection, entry)
    names = await track_history.shared_when_removed(connection, entry)
    await sharing.share(connection, entry.track_id, names)


async def _insert(connection: Executor, removal: Entry) -> None:
    """Once inserted, no other transaction can change the track: its history is complete."""
    spec = _spec(removal.before)
    await require_track_quota(connection, spec.owner or "", 1)
    try:
        with translated_errors():
            await tracks.reinsert(connection, removal.track_id, spec)
    except RowRefused as error:
        is_there = error.constraint == "tracks_pkey"  # another request was quicker
        raise Problem("conflict", _THERE if is_there else _NOT_ALLOWED) from error
    if await track_history.removed_again(connection, removal):
        raise Problem("conflict", _LATER)


async def _undo_change(connection: Executor, person: Person, entry: Entry) -> None:
    track = await service.require(connection, person, entry.track_id, change=True, lock=True)
    match entry.action:
        case "added":
            await tracks.remove(connection, track.id)
        case "shared":
            await sharing.unshare(connection, track.id, [(entry.after or {})["user"]])
        case "unshared":
            await sharing.share(connection, track.id, [(entry.before or {})["user"]])
        case _:
            await _restore(connection, person, track, entry)


async def _restore(connection: Executor, person: Person, track: tracks.Track, entry: Entry) -> None:
    """Restore the fields that this edit changed, and no others."""
    now = tracks.spec_of(track)
    before, after = _spec(entry.before), _spec(entry.after)
    if any(getattr(now, name) != getattr(after, name) for name in entry.changed):
        raise Problem("conflict", _LATER)
    if "owner" in entry.changed and not person.is_admin:
        raise Problem("forbidden", "Only admins can change the owner.")
    if "priority" in entry.changed:
        service.require_priority(person, before.priority, now.priority)
    if "owner" in entry.changed:
        await require_track_quota(connection, before.owner or "", 1)
    earlier = {name: getattr(before, name) for name in entry.changed}
    try:
        with translated_errors():
            await tracks.change(connection, track.id, now, msgspec.structs.replace(now, **earlier))
    except RowRefused as error:
        raise Problem("conflict", _NOT_ALLOWED) from error


def _spec(then: Mapping[str, Any] | None) -> TrackSpec:
    """A row from the history; Problem for one that the table would not accept today."""
    try:
        return msgspec.convert(then, TrackSpec)
    except msgspec.ValidationError as error:
        raise Problem("conflict", _NOT_ALLOWED) from error
