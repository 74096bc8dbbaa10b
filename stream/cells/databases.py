"""The databases of an installation, asked together.

The home database has users, sources and tracks, and is a cell itself. A cell that does not answer
is left out of an answer, and named there.
"""

import asyncio
import contextlib
import copy
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Generic, TypeVar

import msgspec

from stream import db
from stream.backoff import supervised
from stream.db import POOL_SIZE, Database, Executor
from stream.errors import DatabaseAway, TwitterstreamError
from stream.guarded_database import GuardedDatabase
from stream.keys import FIRST_RUN, Cursor, Run, lane_of
from stream.replica import Replica
from stream.store import cells as cell_tables
from stream.store import lanes, migrations
from stream.store.cells import Identity
from stream.store.lanes import HOME
from stream.tweet import LaneId, TweetId

T = TypeVar("T")

# Seconds without the answer of another cell, once home has answered, after which the rest is left
# out. Cells share the tweets evenly, so none needs much longer than the others.
GRACE = 2.0
RECHECK_INTERVAL = 5.0  # seconds until a cell that was missing is asked again, if nobody does
_LATE = "it does not answer in time"

logger = logging.getLogger(__name__)


class Answers(msgspec.Struct, Generic[T], frozen=True):
    """What the cells answered, by name, and which of them did not answer."""

    by_cell: Mapping[str, T]
    missing: tuple[str, ...] = ()


class Cells:
    """Asks all databases at once; without others than home it only asks that one."""

    def __init__(
        self,
        home: Database,
        others: Mapping[str, GuardedDatabase] | None = None,
        replica: Replica | None = None,
    ) -> None:
        self.home = home
        self.others = others or {}
        self.replica = replica  # of home
        self.home_reader: Executor | None = None  # where the tweets of home are read
        self.why_missing: dict[str, str] = {}  # of the cells that did not answer last
        self._installation: list[Identity] = []  # once it is known; copies share it
        self._verified: set[str] = set()
        self._cell_of: dict[LaneId, str] = {}  # by lane, as far as is known
        self._runs: dict[str, set[Run]] = {}  # by cell, as far as it was read

    @property
    def names(self) -> list[str]:
        """All cells, home first."""
        return [HOME, *self.others]

    async def watch(self) -> None:
        """Guard the calls to other cells until cancelled: one that stands still fails at once."""
        async with asyncio.TaskGroup() as group:
            for name, database in self.others.items():
                group.create_task(supervised(f"guard of cell {name}", database.watch), name=name)
            while self.others:
                await asyncio.sleep(RECHECK_INTERVAL)
                for name in list(self.why_missing):
                    group.create_task(self._ask_other(name, _nothing, {}), name=f"recheck {name}")

    @contextlib.asynccontextmanager
    async def reading(
        self, connection: Executor, position: int | None = 0
    ) -> AsyncIterator["Cells"]:
        """The same, with the tweets of home read from its replica while that is to be used.

        `position`: what it must have; None: read them from home, over `connection`, in any case.
        """
        if self.replica is None:
            yield self
            return
        async with self.replica.beside(connection, position) as own:
            bound = copy.copy(self)
            bound.home_reader = own
            yield bound

    async def position(self) -> int:
        """What a replica must have that continues what was read here; 0 without one."""
        if self.replica is None or self.home_reader is None:
            return 0
        return await self.replica.position(self.home_reader)

    async def ask(
        self,
        connection: Executor,
        read: Callable[[Executor, str], Awaitable[T]],
        cells: Collection[str] | None = None,
    ) -> Answers[T]:
        """What `read` returns for each cell, or for these; `connection` is to the home database.

        The errors of the home database are raised; those of other cells make them missing.
        """
        found: dict[str, T] = {}
        others = [name for name in self.others if cells is None or name in cells]
        asks_home = cells is None or HOME in cells
        if not others:
            if asks_home:
                found[HOME] = await read(self._home(connection), HOME)
            return Answers(found)
        await self._identify(connection)
        tasks = [
            asyncio.create_task(self._ask_other(name, read, found), name=f"cell {name}")
            for name in others
        ]
        try:
            if asks_home:
                found[HOME] = await read(self._home(connection), HOME)
            late = await _all_but_late(tasks)
        finally:
            for task in tasks:
                task.cancel()
        for name, task in zip(others, tasks, strict=True):
            if task in late:
                self._note_missing(name, _LATE)
            else:
                task.result()  # an unexpected error
        return Answers(dict(found), tuple(name for name in others if name not in found))

    def _home(self, connection: Executor) -> Executor:
        return connection if self.home_reader is None else self.home_reader

    async def missing(self, connection: Executor) -> tuple[str, ...]:
        """The cells that do not answer now."""
        return (await self.ask(connection, _nothing, self.others)).missing

    async def _ask_other(
        self, name: str, read: Callable[[Executor, str], Awaitable[T]], found: dict[str, T]
    ) -> None:
        with contextlib.suppress(TwitterstreamError):
            async with self.acquire(name) as connection:
                found[name] = await read(connection, name)

    @contextlib.asynccontextmanager
    async def acquire(self, name: str) -> AsyncIterator[Executor]:
        """A connection to one of the cells, for its tweets."""
        if name == HOME:
            async with (self.replica or self.home).acquire() as connection:
                yield connection
            return
        try:
            async with self.others[name].acquire() as connection:
                await self._verify(connection, name)
                yield connection
        except TwitterstreamError as error:
            self._note_missing(name, str(error))
            raise
        if self.why_missing.pop(name, None) is not None:
            logger.info("cell %s can be used again", name, extra={"cell": name})

    @contextlib.asynccontextmanager
    async def transaction(self, name: str) -> AsyncIterator[Executor]:
        """As `acquire`, inside a transaction: all or nothing."""
        async with self.acquire(name) as connection, db.transaction(connection):
            yield connection

    def _note_missing(self, name: str, why: str) -> None:
        self._verified.discard(name)
        if name not in self.why_missing:
            extra = {"cell": name, "why": why}  # which a command does not show
            logger.warning("cell %s cannot be used", name, extra=extra)
        self.why_missing[name] = why

    # -- which database it is ---------------------------------------------------------------------

    async def _identify(self, connection: Executor) -> None:
        if not self._installation and (found := await cell_tables.identity(connection)):
            self._installation.append(found)

    async def _verify(self, connection: Executor, name: str) -> None:
        """DatabaseAway for another database than this cell, or one of an older version."""
        if name in self._verified:
            return
        if not self._installation:
            async with self.home.acquire() as home:
                await self._identify(home)
        if not self._installation:
            raise DatabaseAway("the daemons of the home database have not set it up yet")
        try:
            await migrations.require_current_on(connection, name)
            await cell_tables.require(
                connection, Identity(self._installation[0].installation, name)
            )
        except TwitterstreamError as error:
            raise DatabaseAway(str(error)) from error
        self._verified.add(name)

    # -- which cell has what ----------------------------------------------------------------------

    async def by_cell(
        self, connection: Executor, keys: Collection[TweetId]
    ) -> dict[str, list[TweetId]]:
        """The cells in which tweets with these keys are, and which keys in each."""
        if not self.others:
            return {HOME: list(keys)} if keys else {}
        await self._learn(connection, {lane_of(key) for key in keys})
        found: dict[str, list[TweetId]] = {}
        for key in keys:
            found.setdefault(self._cell(lane_of(key)), []).append(key)
        return found

    async def split(self, connection: Executor, cursor: Cursor) -> dict[str, Cursor]:
        """The parts of a cursor that belong to each cell, also to cells that there were."""
        if not self.others:
            return {HOME: cursor}
        await self._learn(connection, {run.lane for run in cursor.positions})
        names = {*self.names, *(self._cell(run.lane) for run in cursor.positions)}
        return {name: self.part(cursor, name) for name in names}

    def part(self, cursor: Cursor, name: str) -> Cursor:
        """The part of a cursor that belongs to a cell; it is over lanes that are known here."""
        if not self.others:
            return cursor
        return Cursor({r: key for r, key in cursor.positions.items() if self._is_in(r, name)})

    def moved(self, cursor: Cursor, name: str, part: Cursor) -> Cursor:
        """The cursor with another part for this cell."""
        if not self.others:
            return part
        self.note_runs(name, part.positions)
        rest = {r: key for r, key in cursor.positions.items() if not self._is_in(r, name)}
        return Cursor(rest | dict(part.positions))

    def _is_in(self, run: Run, name: str) -> bool:
        return self._cell(run.lane) == name

    def _cell(self, lane: LaneId) -> str:
        """The cell of a lane; what is no lane at all is home's, until there is one."""
        return self._cell_of.get(lane, HOME)

    def note_runs(self, name: str, runs: Iterable[Run]) -> None:
        """This cell has these runs, as its tables say: a reader's cursor may say anything."""
        known = self._runs.setdefault(name, set())
        for run in runs:
            known.add(run)
            self._cell_of[run.lane] = name

    async def runs_of(self, connection: Executor, name: str) -> set[Run]:
        """The runs of a cell that does not answer: the first of each lane, and those it had."""
        self._cell_of |= await lanes.cells_by_lane(connection)
        first = {Run(lane, FIRST_RUN) for lane, cell in self._cell_of.items() if cell == name}
        return first | self._runs.get(name, set())

    async def _learn(self, connection: Executor, wanted: Collection[LaneId]) -> None:
        """Look up in which cell these lanes are."""
        if not all(lane in self._cell_of for lane in wanted):
            self._cell_of |= await lanes.cells_by_lane(connection)


async def _nothing(_connection: Executor, _name: str) -> None:
    pass


async def _all_but_late(tasks: Sequence["asyncio.Task[None]"]) -> set["asyncio.Task[None]"]:
    """Wait for tasks, as long as one ends now and then; returns those that do not."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(
            pending, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            break
    return pending


@contextlib.asynccontextmanager
async def open_cells(
    urls: Mapping[str, str], size: int = POOL_SIZE
) -> AsyncIterator[dict[str, GuardedDatabase]]:
    """The databases of cells other than home, with at most `size` connections to each."""
    async with contextlib.AsyncExitStack() as opened:
        yield {
            name: GuardedDatabase(
                await opened.enter_async_context(db.connect(url, size)), f"Postgres of cell {name}"
            )
            for name, url in urls.items()
        }
