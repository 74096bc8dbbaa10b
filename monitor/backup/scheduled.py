"""The daily backup next to the archives, without credentials."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import BinaryIO, cast

from monitor.archive.store import Store
from monitor.backup.create import make
from monitor.backup.format import Reader
from monitor.jobs import DetachedCall, Leader, PeriodicJob
from stream.config import Settings
from stream.db import Database
from stream.errors import TwitterstreamError

logger = logging.getLogger(__name__)

FOLDER = "backup"  # below archive.url
NAME_FORMAT = "%Y%m%dT%H%M%SZ.backup"
BACKUP_INTERVAL = timedelta(hours=24)
BACKUPS_KEPT = 14
CHECK_INTERVAL = 600.0  # seconds
TIME_LIMIT = 1800.0  # seconds


class Backups:
    """Makes one backup a day, on the leader, and deletes the oldest."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self._detached = DetachedCall("backup")

    def jobs(self) -> list[PeriodicJob]:
        """The jobs that write backups; none without an archive."""
        if not self.settings.archive.url:
            return []
        return [PeriodicJob("backup", CHECK_INTERVAL, self.work, limit=TIME_LIMIT)]

    async def work(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Make a backup if the last one is old. Safe to repeat and to cancel."""
        if not self.leader.leads:
            return
        store = await self._detached.run(partial(Store, self.settings.archive.url))
        existing = await self._detached.run(lambda: _existing(store))
        if not existing or now() - existing[-1][0] >= BACKUP_INTERVAL:
            await self._make(store, f"{FOLDER}/{now():{NAME_FORMAT}}")
            existing = await self._detached.run(lambda: _existing(store))
        await self._detached.run(
            lambda: _delete(store, [path for _, path in existing[:-BACKUPS_KEPT]])
        )

    async def _make(self, store: Store, path: str) -> None:
        await self._detached.run(lambda: store.remove_unfinished(FOLDER))
        upload = await self._detached.run(partial(store.upload, path))
        await make(self.database, upload.write, None, self._detached.run)
        await self._detached.run(upload.close)
        try:
            await self._detached.run(lambda: _check(store, path))
        except TwitterstreamError:
            await self._detached.run(lambda: store.delete(path))
            raise
        logger.info("backup written", extra={"path": path, "bytes": upload.bytes})


def _existing(store: Store) -> list[tuple[datetime, str]]:
    """The backups in the store, oldest first; other files are ignored."""
    found = []
    for entry in store.list(FOLDER):
        with contextlib.suppress(ValueError):
            made_at = datetime.strptime(entry.path.rpartition("/")[2], NAME_FORMAT).replace(
                tzinfo=UTC
            )
            found.append((made_at, entry.path))
    return sorted(found)


def _check(store: Store, path: str) -> None:
    """Read it back to its end."""
    for _ in Reader(cast("BinaryIO", store.open(path)), path).parts():
        pass


def _delete(store: Store, paths: Sequence[str]) -> None:
    for path in paths:
        store.delete(path)
