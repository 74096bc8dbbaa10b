"""Copies to every cell what its writers need of the home database: sources, lanes and tracks.

One daemon of the home database does it at a time. The rows that changed are copied at every
notification, and every `poll_interval` seconds in case one was lost; the cell's own triggers then
notify its writers.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from datetime import datetime

from stream.db import Database, keep_listening, transaction
from stream.errors import TwitterstreamError
from stream.notes import EventNote
from stream.store import cells, events, lanes, migrations, snapshot
from stream.store.cells import COPIED, Identity
from stream.store.lanes import HOME
from stream.store.locks import CELL_LOCK_CLASS, Locks

DEBOUNCE = 0.05  # seconds; many rows written one by one notify many times
_LOCK = 1  # there is one of its class

logger = logging.getLogger(__name__)


class CellCopier:
    """Keeps the copies in all cells current while this process has the lock."""

    def __init__(self, home: Database, others: Mapping[str, Database], interval: float) -> None:
        self._home = home
        self._copies = [_Copy(home, name, database) for name, database in others.items()]
        self._interval = interval
        self._locks = Locks(home, CELL_LOCK_CLASS)

    async def run(self) -> None:
        """Copy until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._locks.run(), name="lock of cells")
            lock = self._locks.want(_LOCK)
            while True:
                await lock.until(ours=True)
                async with asyncio.TaskGroup() as copying:
                    tasks = [
                        copying.create_task(
                            keep_listening(self._home, self._notify), name="listen"
                        ),
                        *(
                            copying.create_task(each.run(self._interval), name=f"copy {each.name}")
                            for each in self._copies
                        ),
                    ]
                    await lock.until(ours=False)
                    for task in tasks:
                        task.cancel()

    async def copy(self) -> None:
        """Copy what has changed to all cells, without the lock; raises the error of a cell."""
        for each in self._copies:
            await each.copy()

    def _notify(self) -> None:
        for each in self._copies:
            each.changed.set()


class _Copy:
    """The copy in one cell."""

    def __init__(self, home: Database, name: str, database: Database) -> None:
        self.name = name
        self.changed = asyncio.Event()
        self._home = home
        self._database = database
        self._mark: str | None = None  # what was committed before it is copied; None: compare all
        self._copied_at: datetime | None = None  # as the cell has it
        self._failing = ""

    async def run(self, interval: float) -> None:
        self._mark = None  # another process may have copied meanwhile, or the server was replaced
        while True:
            self.changed.clear()
            try:
                await self.copy()
            except TwitterstreamError as error:
                self._mark = None
                self._note_failing(str(error))
            else:
                self._note_failing("")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self.changed.wait()
                    await asyncio.sleep(DEBOUNCE)

    async def copy(self) -> None:
        async with self._home.acquire() as connection:
            home = await cells.identify_home(connection)
        if home.name != HOME:
            raise TwitterstreamError(
                f"The database of this process is cell {home.name}: `cells` belongs in the settings"
                " of the home database's processes."
            )
        # The cell first: while it is away, home need not keep old rows for our snapshot.
        async with self._database.acquire() as cell:
            await migrations.require_current_on(cell, self.name)
            if await cells.adopt(cell, Identity(home.installation, self.name)):
                await self._note_new()
            # Another database may be in its place, or an older state of it.
            is_same = await cells.copied_at(cell) == self._copied_at
            mark = self._mark if is_same else None
            async with transaction(cell), self._home.transaction() as connection:
                seen = await snapshot.begin(connection)
                for copied in COPIED:
                    async for rows in cells.changed_rows(connection, copied, mark):
                        await cells.put(cell, copied, rows)
                    await cells.delete_gone(connection, cell, copied)
                await cells.note_copied(cell, seen.at)
        self._mark, self._copied_at = seen.mark, seen.at

    async def _note_new(self) -> None:
        """Say that the database is an empty one, if the cell may have had another one before."""
        async with self._home.acquire() as connection:
            if not any(each.cell == self.name for each in await lanes.get_all(connection)):
                return
            text = (
                f"The database of cell {self.name} was empty and is set up now. If the cell had"
                " another one before, that one's tweets are not in it, except those that the"
                " journals still have: they are stored again."
            )
            await events.add(connection, None, EventNote("daemon", text, time.time()))
        logger.warning("%s", text)

    def _note_failing(self, why: str) -> None:
        if why != self._failing:
            self._failing = why
            if why:
                logger.warning(
                    "a cell cannot be updated; retrying", extra={"cell": self.name, "why": why}
                )
            else:
                logger.info("the cell is up to date", extra={"cell": self.name})
