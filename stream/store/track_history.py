"""The track_history table: who did what to which track. Triggers write it on every change."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from stream.db import Executor, Row, row_count
from stream.tweet import TrackId, UserId

Action = Literal[
    "added", "changed", "paused", "resumed", "removed", "shared", "unshared", "exported"
]

_COLUMNS = "h.id, h.track_id, h.at, h.actor, h.action, h.before, h.after"
# The owner of a track sees whom it is shared with and who exports it; others see only themselves.
_VISIBLE_TO = """(action NOT IN ('shared', 'unshared', 'exported')
    OR coalesce(after, before) ->> 'user' = $1
    OR NOT EXISTS (SELECT FROM tracks
                   WHERE tracks.id = h.track_id AND owner IS DISTINCT FROM $1))"""
_OF_TRACK = f"""
SELECT {_COLUMNS} FROM track_history AS h
WHERE track_id = $3 AND ($5::bigint IS NULL OR id < $5) AND ($2 OR {_VISIBLE_TO})
ORDER BY id DESC LIMIT $4
"""  # noqa: S608 - constants
_OF_ALL = f"""
SELECT {_COLUMNS} FROM track_history AS h WHERE $2::bigint IS NULL OR id < $2
ORDER BY id DESC LIMIT $1
"""  # noqa: S608 - constants
# The tracks that a user sees, and those that were theirs when they were removed.
_OF_USER = f"""
SELECT {_COLUMNS} FROM track_history AS h
WHERE ($4::bigint IS NULL OR id < $4) AND {_VISIBLE_TO} AND track_id IN (
        SELECT track_id FROM tracks_seen_by($2)
        UNION ALL
        SELECT track_id FROM track_history AS gone
        WHERE action = 'removed' AND before ->> 'owner' = $1
          AND NOT EXISTS (SELECT FROM tracks WHERE tracks.id = gone.track_id)
          AND NOT EXISTS (SELECT FROM track_history AS later  -- by then another user may own it
                          WHERE later.track_id = gone.track_id AND later.id > gone.id
                            AND later.action = 'removed'))
ORDER BY id DESC LIMIT $3
"""  # noqa: S608 - constants
_BY_ID = f"SELECT {_COLUMNS} FROM track_history AS h WHERE id = $1"  # noqa: S608 - a constant
_LAST_EDIT = f"""
SELECT {_COLUMNS} FROM track_history AS h
WHERE track_id = $1 AND action NOT IN ('shared', 'unshared', 'exported') ORDER BY id DESC LIMIT 1
"""  # noqa: S608 - constants
# An earlier removal says who owned the track then, not who owned it last.
_LAST_REMOVALS = f"""
SELECT {_COLUMNS} FROM unnest($1::bigint[]) AS wanted
CROSS JOIN LATERAL (SELECT * FROM track_history WHERE track_id = wanted AND action = 'removed'
                    ORDER BY id DESC LIMIT 1) AS h
WHERE NOT EXISTS (SELECT FROM tracks WHERE tracks.id = wanted)
"""  # noqa: S608 - constants
_REMOVED_AGAIN = """
SELECT FROM track_history WHERE track_id = $1 AND id > $2 AND action = 'removed' LIMIT 1
"""
# A removal deletes the shares without entries of their own, so that they can be read here.
_SHARED_WHEN_REMOVED = """
SELECT DISTINCT ON (name) name, action FROM (
    SELECT id, action, coalesce(after, before) ->> 'user' AS name FROM track_history
    WHERE track_id = $1 AND action IN ('shared', 'unshared') AND id < $2
      AND id > coalesce((SELECT max(id) FROM track_history
                         WHERE track_id = $1 AND action = 'removed' AND id < $2), 0)
) AS shares
ORDER BY name, id DESC
"""
_NOTE_EXPORT = """
INSERT INTO track_history (track_id, actor, action, after)
SELECT track_id, name, 'exported', $3::jsonb || jsonb_build_object('user', name)
FROM unnest($2::bigint[]) AS track_id
LEFT JOIN users ON users.id = $1
ORDER BY track_id
"""
_SET_ACTOR = "SELECT set_config('twitterstream.actor', $1, true)"
# Ids are given nearly in order of time: only the oldest rows are looked at.
_PRUNE = """
WITH oldest AS (SELECT id, at FROM track_history ORDER BY id LIMIT $2)
DELETE FROM track_history USING oldest WHERE track_history.id = oldest.id AND oldest.at < $1
"""


class Entry(msgspec.Struct, frozen=True):
    """One change of a track; `before` and `after` hold the row, or the user of a share."""

    id: int
    track_id: TrackId
    at: datetime
    actor: str | None  # None: psql or the command line
    action: Action
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def changed(self) -> list[str]:
        """Names of the fields that an edit changed."""
        before, after = self.before or {}, self.after or {}
        if not before or not after:
            return []
        return [name for name in after if before.get(name) != after[name]]


async def set_actor(connection: Executor, name: str) -> None:
    """Name the user who makes the changes that follow in this transaction."""
    await connection.execute(_SET_ACTOR, name)


async def note_export(
    connection: Executor, user_id: UserId | None, tracks: Sequence[TrackId], what: bytes
) -> None:
    """Note that a user exports tweets of these tracks; `what`: JSON that says which tweets."""
    await connection.execute(_NOTE_EXPORT, user_id, tracks, what)


def _entry(row: Row) -> Entry:
    before, after = (
        None if body is None else msgspec.json.decode(body)
        for body in (row["before"], row["after"])
    )
    return Entry(row["id"], row["track_id"], row["at"], row["actor"], row["action"], before, after)


async def of_track(
    connection: Executor,
    track_id: TrackId,
    viewer: str,
    limit: int,
    below: int | None = None,
    *,
    sees_all: bool,
) -> list[Entry]:
    """A track's entries, the newest first; `below` the id of an entry.

    Without `sees_all`, only those that a viewer of this name may see.
    """
    values = viewer, sees_all, track_id, limit, below
    return [_entry(row) for row in await connection.fetch(_OF_TRACK, *values)]


async def of_all(connection: Executor, limit: int, below: int | None = None) -> list[Entry]:
    """The entries of all tracks, the newest first."""
    return [_entry(row) for row in await connection.fetch(_OF_ALL, limit, below)]


async def of_user(
    connection: Executor, user_id: UserId, name: str, limit: int, below: int | None = None
) -> list[Entry]:
    """History of every track that the user sees, or owned until it was removed."""
    rows = await connection.fetch(_OF_USER, name, user_id, limit, below)
    return [_entry(row) for row in rows]


async def by_id(connection: Executor, entry_id: int) -> Entry | None:
    rows = await connection.fetch(_BY_ID, entry_id)
    return _entry(rows[0]) if rows else None


async def last_edit(connection: Executor, track_id: TrackId) -> Entry | None:
    """The last change of the row itself, not of its shares; its id is the row's version."""
    rows = await connection.fetch(_LAST_EDIT, track_id)
    return _entry(rows[0]) if rows else None


async def last_removals(connection: Executor, track_ids: Collection[int]) -> list[Entry]:
    """The last removal of each of these tracks that no longer exists."""
    return [_entry(row) for row in await connection.fetch(_LAST_REMOVALS, list(set(track_ids)))]


async def removed_again(connection: Executor, removal: Entry) -> bool:
    """Whether the track was restored after this removal, and removed again."""
    return bool(await connection.fetch(_REMOVED_AGAIN, removal.track_id, removal.id))


async def shared_when_removed(connection: Executor, removal: Entry) -> Sequence[str]:
    """Names of the users a track was shared with when it was removed."""
    rows = await connection.fetch(_SHARED_WHEN_REMOVED, removal.track_id, removal.id)
    return [row["name"] for row in rows if row["action"] == "shared"]


async def prune(connection: Executor, before: datetime, limit: int) -> int:
    """Delete entries from before then, the oldest first; returns how many."""
    return row_count(await connection.execute(_PRUNE, before, limit))
