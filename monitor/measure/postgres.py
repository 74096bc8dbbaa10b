"""Measure Postgres: whether it answers, its connections and transactions, its sizes."""

import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from monitor.snapshot import DatabaseSnapshot
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.guarded_database import answer_within
from stream.store import server
from stream.store.server import Activity, Sizes, StandbyLag

PING_TIMEOUT = 5.0  # seconds; a server that takes longer for nothing at all is not up
ERROR_MAX = 500  # characters


class PostgresSampler:
    """Asks Postgres; while it does not answer, the last known sizes stay."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.up: bool | None = None  # None: not asked yet
        self.folder: Path | None = None  # of the server, when it is on this machine
        self._error = ""
        self._since = time.time()
        self._activity: Activity | None = None
        self._standbys: Sequence[StandbyLag] = ()
        self._sizes: Sizes | None = None
        self._partitions: int | None = None
        self._days_ahead: int | None = None

    async def sample(self) -> DatabaseSnapshot:
        """Ask whether it is up. That it is not is a result, not an error."""
        try:
            activity = await answer_within(PING_TIMEOUT, self._activity_now)
        except TimeoutError:
            self._note(f"no answer within {PING_TIMEOUT:g} s")
        except TwitterstreamError as error:
            self._note(str(error)[:ERROR_MAX])
        else:
            self._activity, self._standbys = activity
            self._note("")
        return self._snapshot()

    async def _activity_now(self) -> tuple[Activity, Sequence[StandbyLag]]:
        async with self.database.acquire() as connection:
            return await server.activity(connection), await server.standbys(connection)

    def _note(self, error: str) -> None:
        up = not error
        if up is not self.up:
            self.up, self._since = up, time.time()
        if not up:
            self._activity, self._standbys = None, ()
        self._error = error

    def _snapshot(self) -> DatabaseSnapshot:
        activity, sizes = self._activity, self._sizes
        return DatabaseSnapshot(
            up=bool(self.up),
            error=self._error,
            since=self._since,
            size=sizes.database if sizes else None,
            tables=sizes.tables if sizes else {},
            partitions=self._partitions,
            days_ahead=self._days_ahead,
            connections=activity.connections if activity else None,
            connections_max=activity.connections_max if activity else None,
            oldest_transaction=activity.oldest_transaction if activity else None,
            standby_bytes={each.name: each.bytes for each in self._standbys},
            standby_seconds={each.name: each.seconds for each in self._standbys},
        )

    async def sample_sizes(self, database: Database) -> None:
        """Ask how large everything is. DatabaseAway when Postgres does not answer."""
        async with database.acquire() as connection:
            sizes = await server.sizes(connection)
            partitions = await server.partitions(connection)
            self.folder = await server.local_folder(connection)
        # All at once: a snapshot may be taken during any of these statements.
        self._sizes, self._partitions = sizes, len(partitions)
        self._days_ahead = days_ahead(partitions, datetime.now(UTC).date())


def days_ahead(partitions: Iterable[str], today: date) -> int:
    """How many days after today have partitions, without a hole."""
    found = {name for name in partitions if re.search(r"_\d{8}$", name)}
    ahead = 0
    while all(
        f"{parent}_{today + timedelta(ahead + 1):%Y%m%d}" in found
        for parent in ("tweets", "matches")
    ):
        ahead += 1
    return ahead
