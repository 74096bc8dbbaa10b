"""Who sees which track, and who may change it: the track_shares table.

The rule itself is one SQL function, `tracks_seen_by(user_id)`: an admin sees and
changes every track, an owner with the role `user` their own, and others see what is shared with
them. Statements of other tables join it; everything else asks one of the functions here.
"""

from collections.abc import Collection, Iterable

from stream.db import Executor
from stream.tweet import TrackId, UserId

_VISIBLE = "SELECT track_id, may_change FROM tracks_seen_by($1)"
_VISIBLE_AMONG = f"{_VISIBLE} WHERE track_id = ANY ($2)"
# A user of the same name who was removed before is another one.
_EVER_VISIBLE_AMONG = f"""
SELECT track_id FROM ({_VISIBLE}) AS seen WHERE track_id = ANY ($2)
UNION
SELECT track_id FROM track_history JOIN users ON users.id = $1
WHERE track_id = ANY ($2) AND at >= users.created_at
  AND users.name IN (before ->> 'owner', after ->> 'owner', before ->> 'user', after ->> 'user')
"""  # noqa: S608 - constants
_STILL_VISIBLE = """
SELECT user_id, track FROM unnest($1::bigint[], $2::bigint[]) AS pairs (user_id, track)
WHERE EXISTS (SELECT FROM tracks_seen_by(user_id) AS seen WHERE seen.track_id = track)
"""
_SHARED_WITH = """
SELECT users.name FROM track_shares JOIN users ON users.id = user_id
WHERE track_id = $1 ORDER BY name
"""
_SHARE = """
INSERT INTO track_shares (track_id, user_id)
SELECT $1, id FROM users WHERE name = ANY ($2)
ON CONFLICT DO NOTHING
"""
_UNSHARE = """
DELETE FROM track_shares USING users
WHERE users.id = user_id AND track_id = $1 AND name = ANY ($2)
"""

UserTrack = tuple[UserId, TrackId]


async def visible_tracks(connection: Executor, user_id: UserId) -> dict[TrackId, bool]:
    """The tracks that a user sees, and whether they may change each."""
    rows = await connection.fetch(_VISIBLE, user_id)
    return {TrackId(row["track_id"]): row["may_change"] for row in rows}


async def visible_among(
    connection: Executor, user_id: UserId, track_ids: Collection[int]
) -> dict[TrackId, bool]:
    """Select the tracks that a user sees, and whether they may change each."""
    asked = list(track_ids)
    rows = await connection.fetch(_VISIBLE_AMONG, user_id, asked) if asked else []
    return {TrackId(row["track_id"]): row["may_change"] for row in rows}


async def ever_visible_among(
    connection: Executor, user_id: UserId, track_ids: Collection[int]
) -> set[TrackId]:
    """Select the tracks that a user sees or has seen: removed ones, and those shared formerly.

    As far back as the history of tracks goes.
    """
    asked = list(track_ids)
    rows = await connection.fetch(_EVER_VISIBLE_AMONG, user_id, asked) if asked else []
    return {TrackId(row["track_id"]) for row in rows}


async def still_visible(connection: Executor, pairs: Collection[UserTrack]) -> set[UserTrack]:
    """Those pairs of which the user still sees the track: one statement for many viewers."""
    users, tracks = [each[0] for each in pairs], [each[1] for each in pairs]
    rows = await connection.fetch(_STILL_VISIBLE, users, tracks) if pairs else []
    return {(UserId(row["user_id"]), TrackId(row["track"])) for row in rows}


async def shared_with(connection: Executor, track_id: TrackId) -> list[str]:
    """Names of the users a track is shared with; its owner and the admins see it anyway."""
    return [row["name"] for row in await connection.fetch(_SHARED_WITH, track_id)]


async def share(connection: Executor, track_id: TrackId, names: Iterable[str]) -> None:
    """Let these users see the track."""
    await connection.execute(_SHARE, track_id, sorted(names))


async def unshare(connection: Executor, track_id: TrackId, names: Iterable[str]) -> None:
    """Take the track from these users' view."""
    await connection.execute(_UNSHARE, track_id, sorted(names))
