"""The track_shares table: who sees a track beside its owner."""

from collections.abc import Iterable

from stream.db import Executor
from stream.tweet import TrackId

_WITH = """
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
_KNOWN = "SELECT name FROM users WHERE name = ANY ($1)"


async def shared_with(connection: Executor, track_id: TrackId) -> list[str]:
    """Names of those who see it, beside the owner and the admins."""
    return [row["name"] for row in await connection.fetch(_WITH, track_id)]


async def known(connection: Executor, names: Iterable[str]) -> set[str]:
    """Those of the names that are users."""
    possible = [name for name in names if "\0" not in name]  # Postgres has no text with NUL
    return {row["name"] for row in await connection.fetch(_KNOWN, possible)}


async def share(connection: Executor, track_id: TrackId, names: Iterable[str]) -> None:
    await connection.execute(_SHARE, track_id, sorted(names))


async def unshare(connection: Executor, track_id: TrackId, names: Iterable[str]) -> None:
    await connection.execute(_UNSHARE, track_id, sorted(names))
