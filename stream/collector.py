"""One source's life in this daemon: its journal, its writer, its lock and its connection.

The journal and the writer run as long as this process has the folder, also without the lock: what a
crash left unstored is stored first. The connection runs only while this daemon is the source's one
collector.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from stream import batch, commit, ledger, sources
from stream.config import Settings
from stream.connection import Connection
from stream.control import Control
from stream.db import Database
from stream.errors import DatabaseAway
from stream.journal import Journal
from stream.journal.journal import JournalTaken
from stream.locks import Locks
from stream.networks.base import Claim, Plan
from stream.networks.table import NETWORKS
from stream.tweet import Match, Source, Tweet
from stream.writer import Writer

logger = logging.getLogger(__name__)

TRY_AGAIN = 1.0  # seconds between two looks at a journal that another process has
DRAIN = 2.5  # seconds that the writer has at the end; what remains is in the journal


class Collector:
    """Collects one source until `stop` is set."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        source: Source,
        control: Control,
        locks: Locks,
    ) -> None:
        self.database = database
        self.locks = locks
        self.settings = settings
        self.source = source
        self.control = control
        self.stop = asyncio.Event()
        self.collecting = False  # False: standing by
        self.journal: Journal | None = None
        self.writer: Writer | None = None
        self.connection: Connection | None = None
        self._plan: Plan | None = None
        self._elsewhere = False  # another process has the journal

    @property
    def standing_by(self) -> bool:
        """Another process has the journal or the lock."""
        return self._elsewhere or self.locks.others_have(self.source.id)

    def set_plan(self, plan: Plan) -> None:
        """Follow this from now on."""
        self._plan = plan
        if self.connection is not None:
            self.connection.set_plan(plan)

    async def run(self) -> None:
        """Collect; ends after `stop` is set, when what was taken is stored or the time is up."""
        with contextlib.ExitStack() as opened:
            journal = await self._open(opened)
            if journal is not None:
                await self._work(journal)

    async def _open(self, opened: contextlib.ExitStack) -> Journal | None:
        """The journal, once no other process has it; None when it is time to stop."""
        folder = journal_folder(self.settings, self.source)
        while not self.stop.is_set():
            try:
                # Recovery reads the newest segment: off the loop.
                return await asyncio.to_thread(
                    opened.enter_context, Journal.open(folder, self.settings.journal)
                )
            except JournalTaken:
                self._elsewhere = True
                await self._pause(TRY_AGAIN)
        return None

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stop.wait()

    async def _work(self, journal: Journal) -> None:
        self.journal, self._elsewhere = journal, False
        self.writer = self._make_writer(journal)
        async with asyncio.TaskGroup() as stages:
            keeper = stages.create_task(journal.run(), name=f"journal {self.source.name}")
            writing = stages.create_task(self.writer.run(), name=f"writer {self.source.name}")
            async with asyncio.TaskGroup() as readers:
                reading = readers.create_task(
                    self._collect(journal, self.writer.started), name=f"collect {self.source.name}"
                )
                await self.stop.wait()
                reading.cancel()
            self.writer.drain()
            await asyncio.wait([writing], timeout=DRAIN)
            if not writing.done():
                behind = journal.end - journal.stored
                logger.warning(
                    "stopped before all was stored; the rest follows at the next start",
                    extra={"source": self.source.name, "bytes": behind},
                )
            writing.cancel()
            keeper.cancel()

    def _make_writer(self, journal: Journal) -> Writer:
        network = NETWORKS[self.source.network]
        return Writer(
            self.database,
            self.source,
            journal,
            network.decode,
            self._attribute,
            save_every=self.settings.save_every,
            longest=self.settings.max_frame_bytes,
            terms=commit.Terms(
                network=self.source.network,
                keep_unmatched=self.settings.keep_unmatched,
                erase=self.settings.deletions == "erase",
            ),
        )

    def _attribute(self, tweet: Tweet) -> Sequence[Match]:
        return batch.attribute(tweet, self.control.followings.matcher.match, self._believed)

    @property
    def _believed(self) -> Callable[[str], Sequence[Claim]]:
        if self.connection is not None:
            return self.connection.believed
        claims = self._plan.claims if self._plan is not None else {}
        return lambda rule: claims.get(rule, ())

    # -- the lock ---------------------------------------------------------------------------------

    async def _collect(self, journal: Journal, started: asyncio.Event) -> None:
        """Connect while the lock is ours; stand by while another daemon has it."""
        await started.wait()
        lock = self.locks.want(self.source.id)
        try:
            while True:
                await lock.until(ours=True)
                async with asyncio.TaskGroup() as group:
                    connected = group.create_task(
                        self._connect(journal), name=f"connection {self.source.name}"
                    )
                    await lock.until(ours=False)
                    connected.cancel()
                self.collecting = False
        finally:
            self.locks.release(self.source.id)

    async def _connect(self, journal: Journal) -> None:
        self.connection = Connection(
            self.source,
            NETWORKS[self.source.network],
            journal,
            self.settings,
            attempts_file=attempts_file(self.settings, self.source),
            on_refused=lambda refused: self.control.note_refusals(self.source.id, refused),
        )
        attempts = self.connection.attempts
        with contextlib.suppress(DatabaseAway):
            async with self.database.acquire() as connection:
                attempts.merge(await ledger.attempts(connection, self.source.id, attempts.seconds))
                # The gap since then is ours to tell: whoever collected may never come back.
                if (at := await sources.last_heard(connection, self.source.id)) is not None:
                    journal.heard_elsewhere(at)
        if self._plan is not None:
            self.connection.set_plan(self._plan)
        self.collecting = True
        await self.connection.run()


def journal_folder(settings: Settings, source: Source) -> Path:
    """Where a source's frames are kept."""
    return Path(settings.data_dir) / "journal" / str(source.id)


def attempts_file(settings: Settings, source: Source) -> Path:
    """Where a source's attempts to connect are remembered across restarts."""
    return journal_folder(settings, source) / "attempts"
