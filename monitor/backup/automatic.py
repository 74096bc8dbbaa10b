"""The daily backup beside the archives, without credentials: a key has no business there."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import BinaryIO, cast

from monitor.archive.store import Store
from monitor.aside import Aside
from monitor.backup.lines import Reader
from monitor.backup.making import make
from monitor.chores import Chore
from monitor.leader import Leader
from stream.config import Settings
from stream.db import Database
from stream.errors import TwitterstreamError

logger = logging.getLogger(__name__)

FOLDER = "backup"  # below archive.url
NAME = "%Y%m%dT%H%M%SZ.backup"
AGAIN = timedelta(hours=24)
KEEP = 14  # of them
EVERY = 600.0  # seconds
LIMIT = 1800.0  # seconds


class Backups:
    """Makes one a day, on the leader, and lets the oldest go."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self._aside = Aside("backup")

    def chores(self) -> list[Chore]:
        """What has to be run for this; nothing without an archive."""
        if not self.settings.archive.url:
            return []
        return [Chore("backup", EVERY, self.work, limit=LIMIT)]

    async def work(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Make one if the last one is old; safe to repeat and to end."""
        if not self.leader.leads:
            return
        store = await self._aside.do(partial(Store, self.settings.archive.url))
        there = await self._aside.do(lambda: _there(store))
        if not there or now() - there[-1][0] >= AGAIN:
            await self._make(store, f"{FOLDER}/{now():{NAME}}")
            there = await self._aside.do(lambda: _there(store))
        await self._aside.do(lambda: _delete(store, [path for _, path in there[:-KEEP]]))

    async def _make(self, store: Store, path: str) -> None:
        await self._aside.do(lambda: store.sweep(FOLDER))
        upload = await self._aside.do(partial(store.upload, path))
        await make(self.database, upload.write, None, self._aside.do)
        await self._aside.do(upload.close)
        try:
            await self._aside.do(lambda: _check(store, path))
        except TwitterstreamError:
            await self._aside.do(lambda: store.delete(path))
            raise
        logger.info("backed up", extra={"path": path, "bytes": upload.bytes})


def _there(store: Store) -> list[tuple[datetime, str]]:
    """The backups in the store, oldest first; what else lies there is not ours."""
    found = []
    for entry in store.list(FOLDER):
        with contextlib.suppress(ValueError):
            made_at = datetime.strptime(entry.path.rpartition("/")[2], NAME).replace(tzinfo=UTC)
            found.append((made_at, entry.path))
    return sorted(found)


def _check(store: Store, path: str) -> None:
    """Read it back, to its end."""
    for _ in Reader(cast("BinaryIO", store.open(path)), path).parts():
        pass


def _delete(store: Store, paths: Sequence[str]) -> None:
    for path in paths:
        store.delete(path)
