"""Follow the journal of one source: decode, match, and commit in ONE transaction.

The writer reads whatever is there. While one batch is written to Postgres, the next is decoded, so
batches grow with the load; only at low rates do frames wait for `flush_interval`. When Postgres is
unreachable, the writer keeps its batch and retries: the frames are safe in the journal, so memory
stays flat (backpressure without a queue).
"""

import asyncio
import logging
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from stream.batch import Batch, CreditTracks, Decode
from stream.commit import Progress, commit
from stream.db import Database, Executor
from stream.errors import DatabaseAway, JournalFull, RowRefused
from stream.incoming_tweets import StorePolicy
from stream.journal import Journal, JournalReader
from stream.journal.reader import is_boundary
from stream.store import ingest_log
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
RETRY_FIRST, RETRY_MAX = 0.1, 5.0  # seconds between two attempts while Postgres is unreachable
TIMINGS_KEPT = 1000  # commits that are kept for the monitor


class CommitTiming(msgspec.Struct, frozen=True, gc=False):
    """Size of one commit, and how long its frames had waited for it."""

    at: float  # seconds since 1970
    frames: int
    oldest: float  # seconds from received to committed, of its first frame
    newest: float  # and of its last


class Writer:
    """Stores the frames of one source; the only task that does."""

    def __init__(
        self,
        database: Database,
        source: Source,
        journal: Journal,
        decode: Decode,
        credit_tracks: CreditTracks,
        *,
        flush_interval: float,
        max_frame_bytes: int,
        policy: StorePolicy,
    ) -> None:
        self.database = database
        self.source = source
        self.journal = journal
        self.decode = decode
        self.credit_tracks = credit_tracks
        self.flush_interval = flush_interval
        self.max_frame_bytes = max_frame_bytes
        self.policy = policy
        self.stored: Counter[str] = Counter()  # outcomes since the start
        self.rejects: Counter[str] = Counter()  # of those, the rejected by reason
        self.timings: deque[CommitTiming] = deque(maxlen=TIMINGS_KEPT)
        self.away_since: float | None = None  # loop time; Postgres is unreachable since then
        self.on_stored: Callable[[Batch], None] = lambda _: None  # called after each commit
        self.started = asyncio.Event()  # the journal may be appended to
        self._progress = Progress()
        self._batches: list[Batch] = []  # being written, and being gathered
        self._committing = False
        self._draining = False

    async def run(self) -> None:
        """Store until cancelled, or after `drain()` until all is stored."""
        reader = await self._start()
        try:
            batch = await self._gather(reader)
            while batch.frames:
                self._committing = True
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._commit(batch), name=f"commit {self.source.name}")
                    gathering = group.create_task(
                        self._gather(reader), name=f"gather {self.source.name}"
                    )
                batch = gathering.result()
        finally:
            reader.close()

    def drain(self) -> None:
        """Store what is in the journal without waiting, then end."""
        self._draining = True
        self.journal.notify()

    @property
    def waiting_since(self) -> float | None:
        """Time of the oldest frame that is not stored yet, in seconds since 1970."""
        first = next((batch.frames[0] for batch in self._batches if batch.frames), None)
        return None if first is None else first.received / 1e6

    # -- gathering --------------------------------------------------------------------------------

    async def _start(self) -> JournalReader:
        async def read(connection: Executor) -> ingest_log.Position:
            if self.journal.id_lost:
                await self._find_journal(connection)
            return await ingest_log.open_position(
                connection, self.journal.id, self.source.id, self.journal.start
            )

        found = await self._retrying(read)
        await self._resume(found.position)
        self._progress = Progress(found.undelivered, found.cursor)
        self.started.set()
        reader = JournalReader(self.journal, found.position)
        await reader.find_start()
        return reader

    async def _resume(self, position: int) -> None:
        """Allow appending to the journal, as soon as the disk has space."""
        while True:
            try:
                self.journal.resume(position)
            except JournalFull as error:
                extra = {"source": self.source.name, "why": str(error)}
                logger.warning("the journal is not writable; retrying", extra=extra)
                await asyncio.sleep(RETRY_MAX)
            else:
                return

    async def _find_journal(self, connection: Executor) -> None:
        """Identify a journal whose id file is lost.

        A stored position of this source that falls between two of its records is its own. Without
        one all is read again: duplicates are recognized by their native ids.
        """
        low, high = max(self.journal.start, 1), self.journal.end  # 0 would fit any journal
        for known, position in await ingest_log.find_positions(
            connection, self.source.id, low, high
        ):
            if await asyncio.to_thread(is_boundary, self.journal, position):
                self.journal.adopt(known)
                return

    async def _gather(self, reader: JournalReader) -> Batch:
        """Gather the next batch; empty only at the end of a drain."""
        batch = Batch(self.source.id, reader.position, self.max_frame_bytes)
        self._batches.append(batch)
        deadline: float | None = None  # loop time
        clock = asyncio.get_running_loop().time
        while len(batch.frames) < BATCH_FRAMES and batch.bytes < BATCH_BYTES:
            if not self._committing and self._is_ready(batch, deadline):
                break
            frames = await reader.read(SLICE_FRAMES, SLICE_BYTES)
            if frames:
                batch.add(frames, self.decode, self.credit_tracks, self.policy.may_match)
                deadline = deadline or clock() + self.flush_interval
                await asyncio.sleep(0)
            elif self._draining and not self._committing:
                break
            else:
                await self._wait_frames(deadline)
        return batch

    def _is_ready(self, batch: Batch, deadline: float | None) -> bool:
        if not batch.frames:
            return False
        late = deadline is not None and asyncio.get_running_loop().time() >= deadline
        return batch.bytes >= READY_BYTES or late

    async def _wait_frames(self, deadline: float | None) -> None:
        """Wait until the journal has grown, a commit has ended, or the deadline has passed."""
        try:
            async with asyncio.timeout_at(None if self._committing else deadline):
                await self.journal.wait_changed()
        except TimeoutError:
            return

    # -- committing -------------------------------------------------------------------------------

    async def _commit(self, batch: Batch) -> None:
        await self._store(batch)
        self._batches.remove(batch)
        self._committing = False
        self.journal.notify()

    async def _store(self, batch: Batch) -> None:
        """Store a batch; a row that Postgres refuses is found by halving."""
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
        self.timings.append(
            CommitTiming(now, len(batch.frames), now - first / 1e6, now - last / 1e6)
        )
        self.journal.stored = batch.after
        self.on_stored(batch)

    def _halves(self, batch: Batch) -> list[Batch]:
        middle = len(batch.frames) // 2
        position, halves = batch.before, []
        for frames in (batch.frames[:middle], batch.frames[middle:]):
            half = Batch(self.source.id, position, self.max_frame_bytes)
            half.add(frames, self.decode, self.credit_tracks, self.policy.may_match)
            position = half.after
            halves.append(half)
        return halves

    async def _write(self, connection: Executor, batch: Batch) -> Counter[str]:
        committed = await commit(connection, batch, self.policy, self.journal.id, self._progress)
        self._progress = committed.progress
        return committed.outcomes

    async def _retrying(self, work: Callable[[Executor], Awaitable[T]]) -> T:
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
                "Postgres is unreachable; frames wait in the journal",
                extra={"source": self.source.name, "why": str(error)},
            )

    def _note_back(self) -> None:
        if self.away_since is not None:
            seconds = asyncio.get_running_loop().time() - self.away_since
            self.away_since = None
            logger.warning(
                "Postgres is reachable again",
                extra={"source": self.source.name, "seconds": round(seconds, 1)},
            )
