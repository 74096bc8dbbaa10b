"""Which tracks somebody sees, and which he may change: what the database says, in words."""

from collections.abc import Collection

from stream import tracks
from stream.db import Executor
from stream.tracks import Track
from stream.tweet import TrackId
from web.person import Person
from web.problem import Problem
from web.tracking import records
from web.tracking.records import Entry

GREATEST = 2**63 - 1  # number of a row
NO_TRACK = "There is no such track, or it is not shared with you."
NOT_YOURS = "This track is shared with you: only its owner and the admins change it."

_SEEN = "SELECT track_id, may_change FROM tracks_seen_by($1)"
_SOME = "SELECT track_id, may_change FROM tracks_seen_by($1) WHERE track_id = ANY ($2)"


async def seen(connection: Executor, person: Person) -> dict[TrackId, bool]:
    """The tracks that a person sees, and whether he may change them."""
    rows = await connection.fetch(_SEEN, person.id)
    return {TrackId(row["track_id"]): row["may_change"] for row in rows}


async def seen_of(
    connection: Executor, person: Person, track_ids: Collection[int]
) -> dict[TrackId, bool]:
    """Those of these tracks that he sees, and whether he may change them."""
    rows = await connection.fetch(_SOME, person.id, list(track_ids))
    return {TrackId(row["track_id"]): row["may_change"] for row in rows}


async def require(
    connection: Executor,
    person: Person,
    track_id: int,
    *,
    change: bool = False,
    lock: bool = False,
) -> Track:
    """The track, for whoever may see it (or change it). Problem for everybody else."""
    if not 0 < track_id <= GREATEST:
        raise Problem("not_found", NO_TRACK)
    may = await seen_of(connection, person, [track_id])
    found = await tracks.some(connection, [track_id], lock=lock) if may else []
    if not found:
        raise Problem("not_found", NO_TRACK)
    if change and not may[TrackId(track_id)]:
        raise Problem("forbidden", NOT_YOURS)
    return found[0]


async def removals_of(
    connection: Executor, person: Person, track_ids: Collection[int]
) -> dict[TrackId, Entry]:
    """The removals that he may take back: of those of these tracks that were his in the end."""
    return {
        removal.track_id: removal
        for removal in await records.removals(connection, track_ids)
        if _was_his(person, removal)
    }


def _was_his(person: Person, removal: Entry) -> bool:
    owner = (removal.before or {}).get("owner")
    return person.is_admin or (person.reaches("user") and owner == person.name)
