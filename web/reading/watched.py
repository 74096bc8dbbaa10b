"""Which tracks those who watch may see: asked again and again, for many at once."""

from collections.abc import Collection

from stream.db import Executor
from stream.tweet import TrackId
from web.person import UserId

_OF = "SELECT track_id FROM tracks_seen_by($1)"
_STILL = """
SELECT who, track FROM unnest($1::bigint[], $2::bigint[]) AS asked (who, track)
WHERE EXISTS (SELECT FROM tracks_seen_by(who) AS seen WHERE seen.track_id = track)
"""

_CHOICES = """
SELECT id, value FROM tracks
WHERE id IN (SELECT track_id FROM tracks_seen_by($1)) AND (enabled OR id = $3)
ORDER BY id = $3 DESC, id DESC LIMIT $2
"""

Pair = tuple[UserId, TrackId]


async def tracks_of(connection: Executor, user_id: UserId) -> frozenset[TrackId]:
    """All that he sees."""
    return frozenset(TrackId(row["track_id"]) for row in await connection.fetch(_OF, user_id))


async def still_seen(connection: Executor, asked: Collection[Pair]) -> set[Pair]:
    """Those pairs of which the user sees the track."""
    who, track = [each[0] for each in asked], [each[1] for each in asked]
    rows = await connection.fetch(_STILL, who, track) if asked else []
    return {(UserId(row["who"]), TrackId(row["track"])) for row in rows}


async def choices(
    connection: Executor, user_id: UserId, most: int, first: TrackId | None
) -> list[tuple[TrackId, str]]:
    """Numbers and values of the newest tracks that he sees, before them the one asked for."""
    rows = await connection.fetch(_CHOICES, user_id, most, first)
    return [(TrackId(row["id"]), row["value"]) for row in rows]
