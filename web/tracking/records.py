"""The track_history table: who did what to which track. Triggers write it, whatever the way."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from stream.db import Executor, Row
from stream.tweet import TrackId
from web.person import Person

Action = Literal["added", "changed", "paused", "resumed", "removed", "shared", "unshared"]

_COLUMNS = "h.id, h.track_id, h.at, h.actor, h.action, h.before, h.after"
_OF_TRACK = f"""
SELECT {_COLUMNS} FROM track_history AS h WHERE track_id = $1 AND ($3::bigint IS NULL OR id < $3)
ORDER BY id DESC LIMIT $2
"""  # noqa: S608 - constants
_OF_ALL = f"""
SELECT {_COLUMNS} FROM track_history AS h WHERE $2::bigint IS NULL OR id < $2
ORDER BY id DESC LIMIT $1
"""  # noqa: S608 - constants
# What a person sees, and what was his before it was removed.
_OF_PERSON = f"""
SELECT {_COLUMNS} FROM track_history AS h
WHERE ($4::bigint IS NULL OR id < $4) AND track_id IN (
        SELECT track_id FROM tracks_seen_by($1)
        UNION ALL
        SELECT track_id FROM track_history AS gone
        WHERE action = 'removed' AND before ->> 'owner' = $2
          AND NOT EXISTS (SELECT FROM tracks WHERE tracks.id = gone.track_id)
          AND NOT EXISTS (SELECT FROM track_history AS later  -- it may have been another's since
                          WHERE later.track_id = gone.track_id AND later.id > gone.id
                            AND later.action = 'removed'))
ORDER BY id DESC LIMIT $3
"""  # noqa: S608 - constants
_ONE = f"SELECT {_COLUMNS} FROM track_history AS h WHERE id = $1"  # noqa: S608 - a constant
_LAST_EDIT = f"""
SELECT {_COLUMNS} FROM track_history AS h
WHERE track_id = $1 AND action NOT IN ('shared', 'unshared') ORDER BY id DESC LIMIT 1
"""  # noqa: S608 - constants
# Of tracks that are gone: an earlier removal tells whose a track once was, and no more.
_REMOVALS = f"""
SELECT {_COLUMNS} FROM unnest($1::bigint[]) AS wanted
CROSS JOIN LATERAL (SELECT * FROM track_history WHERE track_id = wanted AND action = 'removed'
                    ORDER BY id DESC LIMIT 1) AS h
WHERE NOT EXISTS (SELECT FROM tracks WHERE tracks.id = wanted)
"""  # noqa: S608 - constants
_REMOVED_LATER = """
SELECT FROM track_history WHERE track_id = $1 AND id > $2 AND action = 'removed' LIMIT 1
"""
# A removal ends the shares without a word, so that they can be read here.
_SHARED_WHEN_REMOVED = """
SELECT DISTINCT ON (name) name, action FROM (
    SELECT id, action, coalesce(after, before) ->> 'user' AS name FROM track_history
    WHERE track_id = $1 AND action IN ('shared', 'unshared') AND id < $2
      AND id > coalesce((SELECT max(id) FROM track_history
                         WHERE track_id = $1 AND action = 'removed' AND id < $2), 0)
) AS shares
ORDER BY name, id DESC
"""
_ACT = "SELECT set_config('twitterstream.actor', $1, true)"


class Entry(msgspec.Struct, frozen=True):
    """One thing that was done; `before` and `after` as the row was, or the user of a share."""

    id: int
    track_id: TrackId
    at: datetime
    actor: str | None  # None: psql, or the command line
    action: Action
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    @property
    def changed(self) -> list[str]:
        """Names of what an edit changed."""
        before, after = self.before or {}, self.after or {}
        if not before or not after:
            return []
        return [name for name in after if before.get(name) != after[name]]


async def act(connection: Executor, person: Person) -> None:
    """Say who does what follows in this transaction."""
    await connection.execute(_ACT, person.name)


def _entry(row: Row) -> Entry:
    before, after = (
        None if body is None else msgspec.json.decode(body)
        for body in (row["before"], row["after"])
    )
    return Entry(row["id"], row["track_id"], row["at"], row["actor"], row["action"], before, after)


async def of_track(
    connection: Executor, track_id: TrackId, limit: int, below: int | None = None
) -> list[Entry]:
    """The newest first; `below` an entry's number."""
    return [_entry(row) for row in await connection.fetch(_OF_TRACK, track_id, limit, below)]


async def of_all(
    connection: Executor, person: Person, limit: int, below: int | None = None
) -> list[Entry]:
    """The same of every track that the person sees, or had until it was removed."""
    if person.is_admin:
        rows = await connection.fetch(_OF_ALL, limit, below)
    else:
        rows = await connection.fetch(_OF_PERSON, person.id, person.name, limit, below)
    return [_entry(row) for row in rows]


async def one(connection: Executor, history_id: int) -> Entry | None:
    rows = await connection.fetch(_ONE, history_id)
    return _entry(rows[0]) if rows else None


async def last_edit(connection: Executor, track_id: TrackId) -> Entry | None:
    """The last thing that was done to the row itself; its number is the row's version."""
    rows = await connection.fetch(_LAST_EDIT, track_id)
    return _entry(rows[0]) if rows else None


async def removals(connection: Executor, track_ids: Collection[int]) -> list[Entry]:
    """The last removal of each of these tracks that is gone."""
    return [_entry(row) for row in await connection.fetch(_REMOVALS, list(set(track_ids)))]


async def removed_later(connection: Executor, removal: Entry) -> bool:
    """Whether the track came back after this removal, and was removed again."""
    return bool(await connection.fetch(_REMOVED_LATER, removal.track_id, removal.id))


async def shared_when_removed(connection: Executor, removal: Entry) -> Sequence[str]:
    """Who saw a track when it was removed."""
    rows = await connection.fetch(_SHARED_WHEN_REMOVED, removal.track_id, removal.id)
    return [row["name"] for row in rows if row["action"] == "shared"]
