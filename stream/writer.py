"""Follow the frames of one source: decode, match, and commit in ONE transaction.

The writer reads whatever its reader has (frame_readers.py). While one batch is written to Postgres,
the next is decoded, so batches grow with the load; only at low rates do frames wait for
`flush_interval`. When Postgres does not store, the writer keeps its batch and retries: the frames
are safe in the journal, so memory stays flat (backpressure without a queue).
"""

import asyncio
import logging
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from stream.batch import Batch, CreditTracks, Decode
from stream.commit import Progress, commit
from stream.db import Database, Executor
from stream.errors import DatabaseAway, RowRefused
from stream.frame_readers import FrameReader
from stream.incoming_tweets import StorePolicy
from stream.store import ingest_log
from stream.store.ingest_log import Position
from stream.tweet import Source

T = TypeVar("T")
logger = logging.getLogger(__name__)

BATCH_FRAMES = 1500  # at most, in one transaction: more is hardly faster, and takes more memory
BATCH_BYTES = 8 << 20  # at most, in one transaction
# Decoded at once, in less than 1 ms, before the event loop serves the sockets: Postgres would idle
# if its socket waited longer for more data.
SLICE_FRAMES = 8
SLICE_BYTES = 1 << 20
READY_BYTES = 128 << 10  # enough for a transaction without waiting
RETRY_FIRST, RETRY_MAX = 0.1, 5.0  # seconds between two attempts while Postgres does not store
TIMINGS_KEPT = 1000  # commits that are kept for the monitor


class CommitTiming(msgspec.Struct, frozen=True, gc=False):
    """Size of one commit, and how long its frames had waited for it."""

    at: float  # seconds since 1970
    frames: int
    oldest: float  # seconds from received to committed, of its first frame
    newest: float  # and of its last


class Writer:
    """Stores the frames of one source, or of one lane of it; the only task that does."""

    def __init__(
        self,
        database: Database,
        source: Source,
        reader: FrameReader,
        decode: Decode,
        credit_tracks: CreditTracks,
        *,
        flush_interval: float,
        max_frame_bytes: int,
        policy: StorePolicy,
    ) -> None:
        self.database = database
        self.source = source
        self.reader = reader
        self.decode = decode
        self.credit_tracks = credit_tracks
        self.flush_interval = flush_interval
        self.max_frame_bytes = max_frame_bytes
        self.policy = policy
        self.stored: Counter[str] = Counter()  # outcomes since the start
        self.rejects: Counter[str] = Counter()  # of those, the rejected by reason
        self.timings: deque[CommitTiming] = deque(maxlen=TIMINGS_KEPT)
        self.away_since: float | None = None  # loop time; Postgres does not store since then
        self.on_stored: Callable[[Batch], None] = lambda _: None  # called after each commit
        self.started = asyncio.Event()  # it is known what is stored
        self._progress: dict[uuid.UUID, Progress] = {}  # by journal
        self._batches: list[Batch] = []  # being written, and being gathered
        self._committing = False
        self._draining = False

    async def run(self) -> None:
        """Store until cancelled, or after `drain()` until all is stored.

        CommitsLost when Postgres has less than it had: it may be called again.
        """
        try:
            await self.reader.open(self)
            self.started.set()
            batch = await self._gather()
            while batch.frames:
                self._committing = True
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._commit(batch), name=f"commit {self.source.name}")
                    gathering = group.create_task(self._gather(), name=f"gather {self.source.name}")
                batch = gathering.result()
        finally:
            await self.reader.close()
            self._batches.clear()
            self._committing = False

    def drain(self) -> None:
        """Store what is there without waiting, then end."""
        self._draining = True
        self.reader.notify()

    async def open_journal(self, journal: uuid.UUID, start: int | None) -> Position | None:
        """See `frame_readers.PositionStore`."""
        found = await self.in_transaction(
            lambda connection: ingest_log.open_position(
                connection, journal, self.reader.lane, start
            )
        )
        if found is not None:
            self._progress[journal] = Progress(found.undelivered, found.cursor)
        return found

    @property
    def waiting_since(self) -> float | None:
        """Time of the oldest frame that is not stored yet, in seconds since 1970."""
        first = next((batch.frames[0] for batch in self._batches if batch.frames), None)
        return None if first is None else first.received / 1e6

    # -- gathering --------------------------------------------------------------------------------

    async def _gather(self) -> Batch:
        """Gather the next batch, of one journal; empty only at the end of a drain."""
        reader = self.reader
        batch = self._begin_batch()
        deadline: float | None = None  # loop time
        clock = asyncio.get_running_loop().time
        while len(batch.frames) < BATCH_FRAMES and batch.bytes < BATCH_BYTES:
            if not self._committing and self._is_ready(batch, deadline):
                break
            frames = await reader.read(SLICE_FRAMES, SLICE_BYTES)
            if frames:
                batch.add(frames, self.decode, self.credit_tracks, self.policy.may_match)
                batch.bus_position = reader.bus_position
                deadline = deadline or clock() + self.flush_interval
                await asyncio.sleep(0)
            elif reader.journal != batch.journal:
                if batch.frames:
                    deadline = clock()  # the next frames go into another batch
                    await self._wait_commit()
                else:
                    self._batches.remove(batch)
                    batch = self._begin_batch()
            elif self._draining and not self._committing:
                break
            else:
                await self._wait_frames(deadline)
        return batch

    def _begin_batch(self) -> Batch:
        reader = self.reader
        batch = Batch(self.source.id, reader.position, self.max_frame_bytes, reader.lane)
        batch.journal, batch.lanes = reader.journal, reader.lanes
        self._batches.append(batch)
        return batch

    def _is_ready(self, batch: Batch, deadline: float | None) -> bool:
        if not batch.frames:
            return False
        late = deadline is not None and asyncio.get_running_loop().time() >= deadline
        return batch.bytes >= READY_BYTES or late

    async def _wait_frames(self, deadline: float | None) -> None:
        """Wait until there are more frames, a commit has ended, or the deadline has passed."""
        try:
            async with asyncio.timeout_at(None if self._committing else deadline):
                await self.reader.wait_changed()
        except TimeoutError:
            return

    async def _wait_commit(self) -> None:
        while self._committing:
            await self.reader.wait_changed()

    # -- committing -------------------------------------------------------------------------------

    async def _commit(self, batch: Batch) -> None:
        await self._store(batch)
        self._batches.remove(batch)
        self._committing = False
        self.reader.notify()

    async def _store(self, batch: Batch) -> None:
        """Store a batch; a row that Postgres refuses is found by halving."""
        try:
            counted = await self.in_transaction(lambda connection: self._write(connection, batch))
        except RowRefused as error:
            if len(batch.frames) > 1:
                for half in self._halves(batch):
                    await self._store(half)
                return
            logger.warning("row refused", extra={"source": self.source.name, "why": str(error)})
            batch.reject_all("refused", str(error))
            counted = await self.in_transaction(lambda connection: self._write(connection, batch))
        self._note_stored(batch, counted)

    def _note_stored(self, batch: Batch, counted: Counter[str]) -> None:
        self.stored.update(counted)
        self.rejects.update(rejected.reason for rejected in batch.rejects)
        now, first, last = time.time(), batch.frames[0].received, batch.frames[-1].received
        self.timings.append(
            CommitTiming(now, len(batch.frames), now - first / 1e6, now - last / 1e6)
        )
        self.reader.note_stored(batch.after, batch.bus_position)
        self.on_stored(batch)

    def _halves(self, batch: Batch) -> list[Batch]:
        middle = len(batch.frames) // 2
        position, halves = batch.before, []
        for frames in (batch.frames[:middle], batch.frames[middle:]):
            half = Batch(self.source.id, position, self.max_frame_bytes, batch.lane)
            half.journal, half.lanes = batch.journal, batch.lanes
            half.bus_position = batch.bus_position
            half.add(frames, self.decode, self.credit_tracks, self.policy.may_match)
            position = half.after
            halves.append(half)
        return halves

    async def _write(self, connection: Executor, batch: Batch) -> Counter[str]:
        before = self._progress[batch.journal]
        committed = await commit(connection, batch, self.policy, batch.journal, before)
        self._progress[batch.journal] = committed.progress
        return committed.outcomes

    async def in_transaction(self, work: Callable[[Executor], Awaitable[T]]) -> T:
        """Do `work` in a transaction; retried until Postgres is reachable."""
        pause = RETRY_FIRST
        while True:
            try:
                async with self.database.transaction() as connection:
                    done = await work(connection)
            except DatabaseAway as error:
                self._note_away(error)
                # Jitter: not all writers at the same moment when Postgres is back.
                await asyncio.sleep(pause * random.uniform(1, 1.2))  # noqa: S311 - no secret
                pause = min(pause * 2, RETRY_MAX)
            else:
                self._note_back()
                return done

    def _note_away(self, error: DatabaseAway) -> None:
        if self.away_since is None:
            self.away_since = asyncio.get_running_loop().time()
            logger.warning(
                "Postgres does not store at the moment; frames wait in the journal",
                extra={"source": self.source.name, "why": str(error)},
            )

    def _note_back(self) -> None:
        if self.away_since is not None:
            seconds = asyncio.get_running_loop().time() - self.away_since
            self.away_since = None
            logger.warning(
                "Postgres stores again",
                extra={"source": self.source.name, "seconds": round(seconds, 1)},
            )
