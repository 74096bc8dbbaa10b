"""Keeps the files of exports bounded, current and announced: the periodic job for them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from monitor.export.package import remove
from monitor.jobs import Leader, PeriodicJob
from stream.config import Settings
from stream.db import Database
from stream.export_requests import folder_of
from stream.store import export_deletions, exports
from stream.store.exports import Export

INTERVAL = 30.0  # seconds
RECHECK_AFTER = timedelta(hours=20)  # as for archives: deletions reach a copy once a day

Announce = Callable[[str, str, bool], Awaitable[None]]  # title, body, whether it succeeded


class ExportHousekeeping:
    """Deletes files that are too old, too many or too large; has those with deletions renewed."""

    def __init__(
        self, database: Database, settings: Settings, leader: Leader, announce: Announce
    ) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self.announce = announce
        self.job = PeriodicJob("export files", INTERVAL, self.work, limit=600)

    async def work(self) -> None:
        """Do all of it once."""
        if not self.leader.leads:
            return
        await self._expire()
        await self._renew()
        async with self.database.acquire() as connection:
            news = await exports.take_news(connection)
        for each in news:
            await self.announce(*_words(each))

    async def _expire(self) -> None:
        limits = self.settings.exports
        data_dir = Path(self.settings.data_dir)
        async with self.database.acquire() as connection:
            for number in await exports.too_many(
                connection, limits.max_files_per_user, limits.max_disk_bytes
            ):
                await exports.expire(connection, number)
            kept = await exports.with_files(connection)
        for folder in await asyncio.to_thread(_folders, data_dir):
            if folder not in kept:
                await asyncio.to_thread(remove, folder_of(data_dir, folder))

    async def _renew(self) -> None:
        """Have files written again whose tweets were deleted."""
        async with self.database.acquire() as connection:
            for number in await exports.checked_before(connection, RECHECK_AFTER):
                if await export_deletions.concerned(connection, number, archived=True):
                    await exports.renew(connection, number)
                else:
                    await exports.note_checked(connection, number)


def _folders(data_dir: Path) -> list[int]:
    """The ids of exports that have a folder."""
    root = data_dir / "exports"
    if not root.is_dir():
        return []
    return [int(path.name) for path in root.iterdir() if path.name.isdecimal()]


def _words(ended: Export) -> tuple[str, str, bool]:
    """Title and text of a message about an export."""
    who = ended.owner or "the command line"
    if ended.state == "done":
        body = f"It was requested by {who} and has {ended.contents}. Download it: page Exports."
        return f"Export {ended.id} is ready", body, True
    return f"Export {ended.id} failed", f"It was requested by {who}. {ended.reason}", False
