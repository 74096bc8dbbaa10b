"""`exports run`: does the exports that the table asks for, two at a time."""

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from monitor.export.package import remove, remove_unfinished
from monitor.export.task import DiskShort, Ended, ExportTask
from stream.config import Settings
from stream.db import Database
from stream.errors import Broken, DatabaseAway, TwitterstreamError, unexpected
from stream.export_requests import folder_of
from stream.store import exports
from stream.store.exports import Export, Worker

logger = logging.getLogger(__name__)

CONCURRENT = 2  # so that a large export does not delay a small one
LEASE = timedelta(seconds=10)  # then another process takes over what this one was doing
POLL = 1.0  # seconds
DISK_RETRY = timedelta(minutes=1)


def new_worker() -> Worker:
    """A worker of this process."""
    return Worker(uuid.uuid4(), socket.gethostname()[:200], LEASE)


class ExportRun:
    """Does all exports that wait."""

    def __init__(
        self, database: Database, settings: Settings, report: Callable[[str], None]
    ) -> None:
        self.database = database
        self.settings = settings
        self._report = report
        self._worker = new_worker()
        self._busy = 0

    async def run(self) -> None:
        """Do them until none waits."""
        async with asyncio.TaskGroup() as group:
            for number in range(CONCURRENT):
                group.create_task(self._work(), name=f"exports {number}")

    async def _work(self) -> None:
        while True:
            async with self.database.acquire() as connection:
                export = await self._worker.claim(connection)
            if export is None:
                if not self._busy:
                    return
                await asyncio.sleep(POLL)
                continue
            self._busy += 1
            try:
                await do(self.database, self.settings, self._worker, export, self._report)
            finally:
                self._busy -= 1


async def do(
    database: Database,
    settings: Settings,
    worker: Worker,
    export: Export,
    report: Callable[[str], None],
    on_progress: Callable[[str], None] = lambda _: None,
) -> Path | None:
    """Do a claimed export; its error does not stop the others. The file, if it is finished."""
    folder = folder_of(Path(settings.data_dir), export.id)
    await asyncio.to_thread(remove_unfinished, folder)
    try:
        path = await ExportTask(database, settings, worker, export, on_progress).run()
    except Ended:
        await asyncio.to_thread(_remove_if_over, folder, await _current(database, export.id))
        report(f"Export {export.id}: ended")
    except (Broken, DatabaseAway):
        raise
    except DiskShort as error:
        report(f"Export {export.id}: {error}")
        async with database.acquire() as connection:
            await worker.postpone(connection, export.id, str(error), DISK_RETRY)
    except TwitterstreamError as error:
        await _fail(database, worker, export, folder, str(error))
        report(f"Export {export.id}: {error}")
    except Exception as error:  # of one export: the others are still to do
        logger.exception("an export failed", extra={"export": export.id})
        await _fail(database, worker, export, folder, f"{unexpected(error)}.")
    else:
        report(f"Export {export.id}: done")
        return path
    return None


async def _current(database: Database, export_id: int) -> Export | None:
    async with database.acquire() as connection:
        return await exports.by_id(connection, export_id)


def _remove_if_over(folder: Path, export: Export | None) -> None:
    """Remove the files of a cancelled export; those that another worker goes on with stay."""
    if export is None or export.state in ("cancelled", "failed", "expired"):
        remove(folder)


async def _fail(database: Database, worker: Worker, export: Export, folder: Path, why: str) -> None:
    async with database.acquire() as connection:
        await worker.fail(connection, export.id, why)
    await asyncio.to_thread(remove, folder)
