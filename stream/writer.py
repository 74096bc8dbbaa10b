"""Follow the journal of one source: decode, match, and commit in ONE transaction.

The writer takes whatever is there. While one batch is on its way to Postgres the next is decoded,
so batches grow by themselves with the load; only when it is quiet does `save_every` let a few
frames wait for company. When Postgres is away it keeps its batch and tries again: the frames are
safe in the journal, so memory stays flat.
"""

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from stream import ledger
from stream.batch import Attribute, Batch, Decode
from stream.commit import Terms, commit
from stream.db import Database, Executor
from stream.errors import DatabaseAway, RowRefused
from stream.journal import Follower, Journal
from stream.tweet import Source

T = TypeVar("T")
logger = logging.getLogger(__name__)

BATCH_FRAMES = 2000  # at most, in one transaction
BATCH_BYTES = 8 << 20  # at most, in one transaction
# Decoded at once, about 1 ms, before the sockets have their turn: a socket to Postgres that is not
# filled again that soon leaves it with nothing to do.
SLICE_FRAMES = 16
SLICE_BYTES = 1 << 20
READY_BYTES = 128 << 10  # worth a transaction without waiting for company
RETRY_FIRST, RETRY_MOST = 0.1, 5.0  # seconds between two attempts while Postgres is away
PACES = 1000  # commits that are remembered for whoever wants to know how it is going


class Pace(msgspec.Struct, frozen=True, gc=False):
    """One commit: how large it was, and how long its frames had waited for it."""

    at: float  # seconds since 1970
    frames: int
    oldest: float  # seconds from received to committed, of its first frame
    newest: float  # and of its last


class Writer:
    """The only task that stores the frames of its source."""

    def __init__(
        self,
        database: Database,
        source: Source,
        journal: Journal,
        decode: Decode,
        attribute: Attribute,
        *,
        save_every: float,
        longest: int,
        terms: Terms,
    ) -> None:
        self.database = database
        self.source = source
        self.journal = journal
        self.decode = decode
        self.attribute = attribute
        self.save_every = save_every
        self.longest = longest
        self.terms = terms
        self.stored: Counter[str] = Counter()  # outcomes since the start
        self.rejects: Counter[str] = Counter()  # of those, the rejected by reason
        self.paces: deque[Pace] = deque(maxlen=PACES)
        self.away_since: float | None = None  # loop time; Postgres does not answer since
        self.started = asyncio.Event()  # the journal may be appended to
        self._withheld = 0
        self._batches: list[Batch] = []  # on its way to Postgres, and being gathered
        self._committing = False
        self._draining = False

    async def run(self) -> None:
        """Store until cancelled, or until `drain()` was asked for and all is stored."""
        follower = await self._start()
        try:
            batch = await self._gather(follower)
            while batch.frames:
                self._committing = True
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._commit(batch), name=f"commit {self.source.name}")
                    gathering = group.create_task(
                        self._gather(follower), name=f"gather {self.source.name}"
                    )
                batch = gathering.result()
        finally:
            follower.close()

    def drain(self) -> None:
        """Store what is in the journal without waiting for company, then end."""
        self._draining = True
        self.journal.poke()

    @property
    def waiting_since(self) -> float | None:
        """When the oldest frame was received that is not stored yet, in seconds since 1970."""
        first = next((batch.frames[0] for batch in self._batches if batch.frames), None)
        return None if first is None else first.received / 1e6

    # -- gathering --------------------------------------------------------------------------------

    async def _start(self) -> Follower:
        async def read(connection: Executor) -> ledger.Position:
            return await ledger.position(
                connection, self.journal.id, self.source.id, self.journal.start
            )

        found = await self._retrying(read)
        self.journal.resume(found.position)
        self._withheld = found.withheld
        self.started.set()
        return Follower(self.journal, found.position)

    async def _gather(self, follower: Follower) -> Batch:
        """The next batch; empty only at the end of a drain."""
        batch = Batch(self.source.id, follower.position, self.longest)
        self._batches.append(batch)
        deadline: float | None = None  # loop time
        clock = asyncio.get_running_loop().time
        while len(batch.frames) < BATCH_FRAMES and batch.bytes < BATCH_BYTES:
            if not self._committing and self._enough(batch, deadline):
                break
            frames = await follower.read(SLICE_FRAMES, SLICE_BYTES)
            if frames:
                batch.add(frames, self.decode, self.attribute)
                deadline = deadline or clock() + self.save_every
                await asyncio.sleep(0)
            elif self._draining and not self._committing:
                break
            else:
                await self._news(deadline)
        return batch

    def _enough(self, batch: Batch, deadline: float | None) -> bool:
        if not batch.frames:
            return False
        late = deadline is not None and asyncio.get_running_loop().time() >= deadline
        return batch.bytes >= READY_BYTES or late

    async def _news(self, deadline: float | None) -> None:
        """Wait until the journal has grown, a commit has ended, or the deadline has come."""
        try:
            async with asyncio.timeout_at(None if self._committing else deadline):
                await self.journal.changed()
        except TimeoutError:
            return

    # -- committing -------------------------------------------------------------------------------

    async def _commit(self, batch: Batch) -> None:
        await self._store(batch)
        self._batches.remove(batch)
        self._committing = False
        self.journal.poke()

    async def _store(self, batch: Batch) -> None:
        """Store a batch; what Postgres refuses is found by halving."""
        try:
            counted = await self._retrying(lambda connection: self._write(connection, batch))
        except RowRefused as error:
            if len(batch.frames) > 1:
                for half in self._halves(batch):
                    await self._store(half)
                return
            logger.warning("row refused", extra={"source": self.source.name, "why": str(error)})
            batch.reject_all("refused", str(error))
            counted = await self._retrying(lambda connection: self._write(connection, batch))
        self._note_stored(batch, counted)

    def _note_stored(self, batch: Batch, counted: Counter[str]) -> None:
        self.stored.update(counted)
        self.rejects.update(rejected.reason for rejected in batch.rejects)
        now, first, last = time.time(), batch.frames[0].received, batch.frames[-1].received
        self.paces.append(Pace(now, len(batch.frames), now - first / 1e6, now - last / 1e6))
        self.journal.stored = batch.after

    def _halves(self, batch: Batch) -> list[Batch]:
        middle = len(batch.frames) // 2
        position, halves = batch.before, []
        for frames in (batch.frames[:middle], batch.frames[middle:]):
            half = Batch(self.source.id, position, self.longest)
            half.add(frames, self.decode, self.attribute)
            position = half.after
            halves.append(half)
        return halves

    async def _write(self, connection: Executor, batch: Batch) -> Counter[str]:
        committed = await commit(connection, batch, self.terms, self.journal.id, self._withheld)
        self._withheld = committed.withheld
        return committed.outcomes

    async def _retrying(self, work: Callable[[Executor], Awaitable[T]]) -> T:
        """Do this in a transaction, as often as it takes until Postgres is there."""
        pause = RETRY_FIRST
        while True:
            try:
                async with self.database.transaction() as connection:
                    done = await work(connection)
            except DatabaseAway as error:
                self._note_away(error)
                # Not all writers at the same moment, when Postgres comes back.
                await asyncio.sleep(pause * random.uniform(1, 1.2))  # noqa: S311 - no secret
                pause = min(pause * 2, RETRY_MOST)
            else:
                self._note_back()
                return done

    def _note_away(self, error: DatabaseAway) -> None:
        if self.away_since is None:
            self.away_since = asyncio.get_running_loop().time()
            logger.warning(
                "Postgres is away; frames are kept in the journal until it is back",
                extra={"source": self.source.name, "why": str(error)},
            )

    def _note_back(self) -> None:
        if self.away_since is not None:
            seconds = asyncio.get_running_loop().time() - self.away_since
            self.away_since = None
            logger.warning(
                "Postgres is back", extra={"source": self.source.name, "seconds": round(seconds, 1)}
            )
