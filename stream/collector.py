"""Everything that one source runs in this daemon: journal, writer, lock and connection.

The journal and the writer run as long as this process has the folder, also without the lock: what a
crash left unstored is stored first. The connection runs only while this daemon has the lock.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stream.batch import Batch
from stream.bus.divisions import divide
from stream.bus.publisher import Publisher
from stream.bus.routing import LaneRouter
from stream.cells.databases import Cells
from stream.commit import POSITION_TRIES, newest_position
from stream.config import Settings
from stream.connection import ConnectionSupervisor
from stream.connection.gap_records import GapRecords
from stream.connection.recorder import Recorder
from stream.db import Database, Executor
from stream.errors import CommitsLost, DatabaseAway, JournalFull
from stream.frame_readers import DirectReader
from stream.journal import Journal, maintenance
from stream.journal.journal import JournalTaken
from stream.journal.reader import newest_frames
from stream.journal.segments import unwritable
from stream.networks.base import Plan, RuleOwner
from stream.networks.registry import NETWORKS
from stream.notes import GapOpened, StateNote, TracksInForce
from stream.reconciler import TrackReconciler
from stream.source_writer import source_writer
from stream.store import daemons, events, gaps, ingest_log, lanes, sources
from stream.store.locks import Locks
from stream.tweet import NetworkCursor, Source
from stream.writer import Writer

if TYPE_CHECKING:
    from stream.bus.connection import Bus

logger = logging.getLogger(__name__)

OPEN_RETRY = 1.0  # seconds between two attempts to open the journal
FULL_CHECK_INTERVAL = 5.0  # seconds between two looks for a daemon whose disk has room
HANDOVER = 4.0  # seconds for another daemon to take the source; each tries every second
DRAIN_TIMEOUT = 2.5  # seconds for the writer at the end; the rest stays in the journal


class Collector:
    """Collects one source until `stop` is set."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        source: Source,
        reconciler: TrackReconciler,
        locks: Locks,
        on_stored: Callable[[Batch], None] = lambda _: None,
        *,
        bus: "Bus | None" = None,
        cells: Cells | None = None,
    ) -> None:
        self.database = database
        self.locks = locks
        self.settings = settings
        self.source = source
        self.reconciler = reconciler
        self.on_stored = on_stored
        self.bus = bus  # None: this process stores what it collects
        self.cells = cells or Cells(database)
        self.stop = asyncio.Event()
        self._why_ended = "the daemon was stopped"
        self.collecting = False  # False: on standby
        self.blocked: str | None = None  # why its journal cannot be opened
        self._reported: str | None = None  # the part of `blocked` that is in the tables
        self._gap_since: float | None = None  # start of the gap that was opened there
        self.failure = ""  # the unexpected error that ended it
        self.journal: Journal | None = None
        self.writer: Writer | None = None  # these two: one of them, once the journal is open
        self.publisher: Publisher | None = None
        self.connection: ConnectionSupervisor | None = None
        self._plan: Plan | None = None
        self._elsewhere = False  # another process has the journal
        self._took_over = False  # another daemon had the source before this one
        self._unwritten: set[Recorder] = set()  # of former connections: they wait for disk space

    @property
    def standing_by(self) -> bool:
        """Whether another process has the journal or the lock."""
        return self._elsewhere or self.locks.others_have(self.source.id)

    @property
    def ready(self) -> bool:
        """Whether it could collect at once what another daemon has."""
        if self.journal is None or not self.locks.others_have(self.source.id):
            return False
        return self.journal.why_full() is None and not self._unwritten

    def end(self, why: str) -> None:
        """Stop collecting; `why` appears in the gap and in the state of the source."""
        self._why_ended = why
        self.stop.set()

    def note_tracks(self) -> None:
        """Record that other tracks are in force, for the daemons that credit them."""
        if self.bus is not None and self.collecting and self.journal is not None:
            with contextlib.suppress(JournalFull):  # then nothing is received, either
                self.journal.note(TracksInForce(self.reconciler.tracks_at))

    def set_plan(self, plan: Plan) -> None:
        """Use this plan from now on."""
        self._plan = plan
        if self.connection is not None:
            self.connection.set_plan(plan)

    async def run(self) -> None:
        """Collect; ends after `stop` is set, when everything is stored or the time is up."""
        with contextlib.ExitStack() as opened:
            journal = await self._open(opened)
            if journal is not None:
                await self._work(journal)

    async def _open(self, opened: contextlib.ExitStack) -> Journal | None:
        """The journal, once no other process has it; None after `stop`."""
        folder = journal_folder(self.settings, self.source)
        while not self.stop.is_set():
            try:
                # Recovery reads the newest segment: in a thread.
                journal = await asyncio.to_thread(
                    opened.enter_context, Journal.open(folder, self.settings.journal)
                )
            except JournalTaken as error:
                if not self._elsewhere:
                    extra = {"source": self.source.name, "why": str(error)}
                    logger.info("standing by", extra=extra)
                self._elsewhere = True
                await self.pause(OPEN_RETRY)
            except (OSError, JournalFull) as error:
                why = unwritable(folder, error) if isinstance(error, OSError) else str(error)
                if why != self.blocked:
                    self.blocked = why
                    logger.warning(
                        "the journal cannot be opened; retrying",
                        extra={"source": self.source.name, "why": why},
                    )
                await self._report_blocked()
                await self.pause(OPEN_RETRY)
            else:
                self.blocked = None
                if self._gap_since is not None:  # the first byte will end that gap
                    journal.note_received_elsewhere(self._gap_since)
                return journal
        return None

    async def _report_blocked(self) -> None:
        """Report a blocked journal in the tables, unless another daemon collects the source."""
        if self.blocked is None or self.blocked == self._reported:
            return
        now = time.time()
        note = StateNote("paused", self.blocked, now)
        with contextlib.suppress(DatabaseAway):
            async with self.database.transaction() as connection:
                if self.source.id not in await sources.collected_ids(connection):
                    last_byte = await sources.last_byte_at(connection, self.source.id)
                    gap = GapOpened(min(last_byte or now, now), "disk", self.blocked)
                    await gaps.open_gap(connection, self.source.id, gap)
                    self._gap_since = gap.began
                    await sources.write_state(connection, self.source.id, note)
                self._reported = self.blocked

    async def pause(self, seconds: float) -> None:
        """Wait for this time, or until `stop` is set."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    async def _work(self, journal: Journal) -> None:
        self._took_over = self._elsewhere
        self.journal, self._elsewhere = journal, False
        follower = await self._make_follower(journal)
        if follower is None:
            return
        async with asyncio.TaskGroup() as stages:
            keeping = maintenance.run(journal)
            keeper = stages.create_task(keeping, name=f"journal {self.source.name}")
            following = stages.create_task(
                _follow(journal, follower), name=f"follow {self.source.name}"
            )
            async with asyncio.TaskGroup() as readers:
                reading = readers.create_task(
                    self._collect(journal, follower.started), name=f"collect {self.source.name}"
                )
                await self.stop.wait()
                if self.connection is not None:
                    self.connection.why_ended = self._why_ended
                reading.cancel()
            follower.drain()
            await asyncio.wait([following], timeout=DRAIN_TIMEOUT)
            if not following.done():
                backlog = journal.end - journal.stored
                logger.warning(
                    "stopped before everything was stored; the rest follows at the next start",
                    extra={"source": self.source.name, "bytes": backlog},
                )
            following.cancel()
            keeper.cancel()

    async def _make_follower(self, journal: Journal) -> Writer | Publisher | None:
        """What follows the journal: the writer, or with a bus its publisher; None after `stop`."""
        if self.bus is not None:
            router = await self._router(journal)
            if router is not None:
                self.publisher = Publisher(self.bus, self.cells, self.source, journal, router)
            return self.publisher
        self.writer = source_writer(
            self.database,
            self.settings,
            self.source,
            DirectReader(journal, self.source),
            self.reconciler,
            self._owners_of_rule,
            self.on_stored,
        )
        return self.writer

    async def _router(self, journal: Journal) -> LaneRouter | None:
        """The source's lanes, which are added if need be; None after `stop`."""
        while not self.stop.is_set():
            with contextlib.suppress(DatabaseAway):
                async with self.database.transaction() as connection:
                    found = await lanes.lanes_of(
                        connection, self.source.id, self.cells.names, self.source.lanes
                    )
                # Nothing is appended yet.
                divided = divide(journal.folder, self.cells.names, journal.start, journal.end)
                return LaneRouter(found, NETWORKS[self.source.network].decode, divided)
            await self.pause(OPEN_RETRY)
        return None

    def _owners_of_rule(self, rule: str) -> Sequence[RuleOwner]:
        if self.connection is not None:
            return self.connection.owners_of_rule(rule)
        return () if self._plan is None else self._plan.rule_owners.get(rule, ())

    # -- the lock ---------------------------------------------------------------------------------

    async def _collect(self, journal: Journal, started: asyncio.Event) -> None:
        """Connect while we have the lock; wait while another daemon has it."""
        await started.wait()
        try:
            async with asyncio.TaskGroup() as waiting:
                while True:
                    await self._connect_while_ours(journal)
                    if self.connection is not None:
                        waiting.create_task(
                            self._write_rest(self.connection.recorder),
                            name=f"rest of {self.source.name}",
                        )
        finally:
            self.locks.release(self.source.id)

    async def _connect_while_ours(self, journal: Journal) -> None:
        """Connect until another daemon has the lock, or should take it."""
        lock = self.locks.want(self.source.id)
        await lock.until(ours=True)
        self._took_over |= lock.was_others
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(coroutine, name=f"{name} {self.source.name}")
                for name, coroutine in (
                    ("connection", self._connect(journal)),
                    ("lock", lock.until(ours=False)),
                    ("room", self._until_others_have_room()),
                )
            ]
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            if self.connection is not None:
                self.connection.is_taken_over = True
            for task in tasks:
                task.cancel()
        self.collecting = False
        if lock.ours:
            self.locks.release(self.source.id)
            await asyncio.sleep(HANDOVER)
        else:
            extra = {"source": self.source.name}
            logger.warning("another daemon has taken the source over", extra=extra)

    async def _until_others_have_room(self) -> None:
        """Wait until our disk is full, and that of another daemon on standby is not."""
        while True:
            await asyncio.sleep(FULL_CHECK_INTERVAL)
            if self.connection is not None and self.connection.no_space is not None:
                with contextlib.suppress(DatabaseAway):
                    async with self.database.acquire() as connection:
                        if await daemons.is_ready(connection, self.source.id):
                            extra = {"source": self.source.name, "why": self.connection.no_space}
                            logger.warning("leaving the source to a daemon with room", extra=extra)
                            return

    async def _write_rest(self, recorder: Recorder) -> None:
        """Write what a former connection has received, once there is disk space."""
        self._unwritten.add(recorder)
        try:
            await recorder.wait_for_space()
        finally:
            self._unwritten.discard(recorder)

    async def _connect(self, journal: Journal) -> None:
        self.connection = ConnectionSupervisor(
            self.source,
            NETWORKS[self.source.network],
            journal,
            self.settings,
            attempts_file=attempts_file(self.settings, self.source),
            on_tracks=partial(self.reconciler.note_network_report, self.source.id),
        )
        self.connection.confirm = partial(self.locks.confirm, self.source.id)
        self.connection.repair_gaps(GapRecords(self.database, self.source, journal))
        attempts, cursor, last_byte = self.connection.attempts, None, None
        with contextlib.suppress(DatabaseAway):
            async with self.database.acquire() as connection:
                attempts.merge(
                    await events.connection_attempts(connection, self.source.id, attempts.seconds)
                )
                last_byte = await sources.last_byte_at(connection, self.source.id)
                cursor = await self._network_cursor(connection)
        cursor = cursor or await self._received_cursor(journal, last_byte)
        if cursor is not None:
            self.connection.client.resume_after(cursor)
        if last_byte is not None:
            # This daemon records the gap since then: the last collector may never return.
            journal.note_received_elsewhere(last_byte)
        if self._took_over:
            self.connection.why_began = "another daemon took the source over"
        if self._plan is not None:
            self.connection.set_plan(self._plan)
        self.collecting = True
        self.note_tracks()
        async with asyncio.TaskGroup() as group:
            if last_byte is None:
                noting = self._note_first_byte(self.connection.recorder)
                group.create_task(noting, name=f"first byte of {self.source.name}")
            await self.connection.run()

    async def _note_first_byte(self, recorder: Recorder) -> None:
        """Record that the source delivers: until something is stored, only this daemon knows.

        Another one that takes it over then records a gap, and resumes a network that can.
        """
        first: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        recorder.on_streaming.append(
            lambda: None if first.done() else first.set_result(recorder.state.at)
        )
        at = await first
        while True:
            with contextlib.suppress(DatabaseAway):
                async with self.database.acquire() as connection:
                    await sources.note_first_byte(connection, self.source.id, at)
                return
            await asyncio.sleep(OPEN_RETRY)

    async def _network_cursor(self, connection: Executor) -> NetworkCursor | None:
        """Where the network can resume: before what any cell lacks that answers."""
        answers = await self.cells.ask(
            connection, lambda own, _: ingest_log.network_cursor(own, self.source.id)
        )
        cursors = [each for each in answers.by_cell.values() if each is not None]
        return min(cursors, key=lambda each: each.time, default=None)

    async def _received_cursor(
        self, journal: Journal, last_byte: float | None
    ) -> NetworkCursor | None:
        """Where the network can resume when nothing is stored, or Postgres is away.

        That is after the newest event in the journal, or else after the last byte.
        """
        event_position = NETWORKS[self.source.network].event_position
        if event_position is None:
            return None
        bodies = await newest_frames(journal, POSITION_TRIES)
        newest = newest_position(event_position, bodies)
        if newest is not None:
            return NetworkCursor("", "", None, newest.time)
        return None if last_byte is None else NetworkCursor("", "", None, int(last_byte * 1e6))


async def _follow(journal: Journal, follower: Writer | Publisher) -> None:
    """Store or send what is in the journal, again what a promoted standby of Postgres lacks."""
    is_done = False
    while not is_done:
        is_done = True
        try:
            await follower.run()
        except* CommitsLost as group:
            journal.record_event(str(group.exceptions[0]))
            is_done = False


def journal_folder(settings: Settings, source: Source) -> Path:
    """Folder of a source's journal."""
    return Path(settings.data_dir) / "journal" / str(source.id)


def attempts_file(settings: Settings, source: Source) -> Path:
    """File in which a source's connection attempts survive restarts."""
    return journal_folder(settings, source) / "attempts"
