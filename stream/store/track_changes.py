"""Reading the tracks table again: only the rows that changed since the last time."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from stream.db import Database, Executor
from stream.store import snapshot
from stream.store.tracks import (
    COLUMNS,
    IDS,
    UNREADABLE,
    Track,
    read_by_halving,
    readable_track,
)
from stream.tweet import TrackId

_NUMBER = "SELECT count(*) AS number FROM tracks"
_PAGE = f"""
SELECT {COLUMNS} FROM tracks
WHERE id > $1 AND {snapshot.changed_since("tracks", "$3")} ORDER BY id LIMIT $2
"""  # noqa: S608 - a constant

PAGE_ROWS = 1000  # rows read at once


class TrackChanges(msgspec.Struct, frozen=True):
    """What has changed in the table since the last read."""

    tracks: Sequence[Track]  # new or written to since; some may be unchanged
    unreadable: Mapping[TrackId, str]  # why
    gone: AbstractSet[TrackId]
    at: float  # of which time they are at the latest, by home's clock


class ChangeReader:
    """Reads the whole table once, then only the rows that were written since.

    With 100,000 tracks the whole table takes seconds.
    """

    def __init__(self) -> None:
        self._mark: str | None = None
        self._known: set[TrackId] = set()

    def forget(self) -> None:
        """Read the whole table next time: the server may be another one by then."""
        self._mark = None

    async def read(self, database: Database) -> TrackChanges:
        found: list[Track] = []
        bad: dict[TrackId, str] = {}
        async with database.transaction() as connection:
            seen = await snapshot.begin(connection)
            [there_now] = await connection.fetch(_NUMBER)
            last, more = 0, True
            while more:
                # Page by page, so that other tasks get their turn.
                page, unreadable, last, more = await self._page(connection, last)
                found += page
                bad |= unreadable
            there = self._known | {track.id for track in found} | bad.keys()
            gone: set[TrackId] = set()
            if len(there) != there_now["number"]:
                gone = there.difference(row["id"] for row in await connection.fetch(IDS))
            at = await snapshot.clock(connection)
        self._known = there - gone
        self._mark = seen.mark
        return TrackChanges(found, bad, gone, at)

    async def _page(
        self, connection: Executor, after: int
    ) -> tuple[list[Track], dict[TrackId, str], int, bool]:
        try:
            rows = await connection.fetch(_PAGE, after, PAGE_ROWS, self._mark)
            found, bad = [readable_track(row) for row in rows], dict[TrackId, str]()
        except UNREADABLE:
            # Only the ids are sure to be readable.
            query = f"SELECT id FROM ({_PAGE}) AS page"  # noqa: S608 - a constant
            ids = [row["id"] for row in await connection.fetch(query, after, PAGE_ROWS, self._mark)]
            found, bad = await read_by_halving(connection, ids)
            return found, bad, max(ids), len(ids) == PAGE_ROWS
        return found, bad, found[-1].id if found else after, len(found) == PAGE_ROWS
