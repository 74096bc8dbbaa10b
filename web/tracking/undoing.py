"""Take back what was done to a track; that is an entry of its history, too."""

import msgspec

from stream import tracks
from stream.db import Database, Executor, meaning
from stream.errors import RowRefused
from stream.tracks import Said
from stream.tweet import TrackId
from web.person import Person
from web.problem import Problem
from web.tracking import records, rights, shares
from web.tracking.records import Entry

_GONE = "There is no such entry, or it is of a track that you do not see."
_THERE = "This track is there again already."
_LATER = "It was changed again since: undo the later change first."


async def undo(database: Database, person: Person, history_id: int) -> TrackId:
    """The opposite of one entry. Problem where something later stands in the way."""
    async with database.transaction() as connection:
        await records.act(connection, person)
        known = 0 < history_id <= rights.GREATEST
        entry = await records.one(connection, history_id) if known else None
        if entry is None:
            raise Problem("not_found", _GONE)
        if entry.action == "removed":
            await _put_back(connection, person, entry)
        else:
            await _take_back(connection, person, entry)
        return entry.track_id


async def _put_back(connection: Executor, person: Person, entry: Entry) -> None:
    """By whom the track belonged to in the end, and as it was in the end: what an earlier removal
    tells of may have been given to somebody else since."""
    his = await rights.removals_of(connection, person, [entry.track_id])
    if entry.track_id not in his:  # it is there, or was not his
        await rights.require(connection, person, entry.track_id)
        raise Problem("conflict", _THERE)
    if his[entry.track_id].id != entry.id:
        raise Problem("conflict", _LATER)
    await _insert(connection, entry)
    names = await records.shared_when_removed(connection, entry)
    await shares.share(connection, entry.track_id, names)


async def _insert(connection: Executor, removal: Entry) -> None:
    """From here on nobody else can change the track: what was done until now is all there is."""
    try:
        with meaning():
            said = msgspec.convert(removal.before, Said)
            await tracks.put_back(connection, removal.track_id, said)
    except RowRefused as error:
        if "tracks_pkey" in str(error):  # somebody was quicker
            raise Problem("conflict", _THERE) from error
        raise
    if await records.removed_later(connection, removal):
        raise Problem("conflict", _LATER)


async def _take_back(connection: Executor, person: Person, entry: Entry) -> None:
    track = await rights.require(connection, person, entry.track_id, change=True, lock=True)
    match entry.action:
        case "added":
            await tracks.remove(connection, track.id)
        case "shared":
            await shares.unshare(connection, track.id, [(entry.after or {})["user"]])
        case "unshared":
            await shares.share(connection, track.id, [(entry.before or {})["user"]])
        case _:
            await _restore(connection, person, track, entry)


async def _restore(connection: Executor, person: Person, track: tracks.Track, entry: Entry) -> None:
    """What this edit changed, and no more, becomes as it was before."""
    now = tracks.said(track)
    before, after = (msgspec.convert(said, Said) for said in (entry.before, entry.after))
    if any(getattr(now, name) != getattr(after, name) for name in entry.changed):
        raise Problem("conflict", _LATER)
    if "owner" in entry.changed and not person.is_admin:
        raise Problem("forbidden", "Only admins give tracks to somebody else.")
    earlier = {name: getattr(before, name) for name in entry.changed}
    await tracks.change(connection, track.id, now, msgspec.structs.replace(now, **earlier))
