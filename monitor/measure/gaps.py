"""The seconds without delivery since midnight UTC, of each source."""

import time
from collections.abc import Mapping

from stream import ledger
from stream.db import Database
from stream.ledger import GapsOfDay
from stream.tweet import SourceId

DAY = 86_400  # seconds


class Gaps:
    """Asks Postgres once in a while, and counts on by itself meanwhile."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._found: Mapping[SourceId, GapsOfDay] = {}
        self._midnight = 0.0
        self._asked_at = 0.0

    async def look(self) -> None:
        """Ask. DatabaseAway when it cannot."""
        midnight = _midnight()
        async with self.database.acquire() as connection:
            self._found = await ledger.gaps_of_day(connection, midnight)
        self._midnight, self._asked_at = midnight, time.time()

    def today(self, source_id: SourceId, *, delivering: bool) -> float:
        """Seconds, the open gap included, which is over when the source delivers again."""
        found, midnight, now = self._found.get(source_id), _midnight(), time.time()
        if found is None:
            return 0.0
        closed = found.closed if midnight == self._midnight else 0.0
        if found.open_since is None:
            return closed
        until = self._asked_at if delivering else now
        return closed + max(until - max(found.open_since, midnight), 0.0)


def _midnight() -> float:
    return time.time() // DAY * DAY
