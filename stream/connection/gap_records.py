"""The gaps of one source, and the posts stored before them: the queue of repairs."""

from collections.abc import Sequence

from stream.db import Database
from stream.journal import Journal
from stream.keys import name_of_server_id, server_id
from stream.notes import MissedGap
from stream.store import gaps, tweet_ids
from stream.store.gaps import DeletionCheck
from stream.tweet import Source


class GapRecords:
    """Reads only when everything in the journal is stored. Every call may raise DatabaseAway."""

    def __init__(self, database: Database, source: Source, journal: Journal) -> None:
        self.database = database
        self.source = source
        self.journal = journal

    async def unrefilled(self, seconds: float) -> Sequence[MissedGap]:
        """Gaps that ended in the last `seconds` and are not refilled, the oldest first."""
        await self._wait_stored()
        async with self.database.acquire() as connection:
            return await gaps.unrefilled_gaps(connection, self.source.id, seconds)

    async def due_check(self, seconds: float) -> DeletionCheck | None:
        """The next check for deletions during gaps that ended in the last `seconds`."""
        await self._wait_stored()
        async with self.database.acquire() as connection:
            return await gaps.due_check(connection, self.source.id, seconds)

    async def stored_ids(self, after: str, before: str, limit: int) -> Sequence[str]:
        """The server's ids of stored posts between two ids, in order."""
        bounds = server_id(self.source.id, after), server_id(self.source.id, before)
        async with self.database.acquire() as connection:
            found = await tweet_ids.server_ids(connection, self.source.network, *bounds, limit)
        return [name_of_server_id(native_id) for native_id in found]

    async def note_checked(self, until: float, checked_to: float) -> None:
        """Record how far the check of gaps that ended until then has come."""
        await self._wait_stored()
        async with self.database.acquire() as connection:
            await gaps.note_checked(connection, self.source.id, until, checked_to)

    async def _wait_stored(self) -> None:
        end = self.journal.end
        while self.journal.stored < end:
            await self.journal.wait_changed()
