"""One export: writes its parts, and puts them into one file.

A part and the note of it commit together: after a kill the export continues after the last part,
and has the same bytes in the end. What is deleted meanwhile is taken out of the parts that have it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from monitor.archive.store import Store
from monitor.export import data_file
from monitor.export.files import PartFiles
from monitor.export.package import DamagedPart, remove_parts, space_needed, write_package
from monitor.export.source import Moved, Source, first_key, key_at
from stream.config import Settings
from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.export_requests import PACKAGE, folder_of
from stream.files import disk
from stream.keys import received_at
from stream.store import deletion_log, export_deletions, export_rows, exports, sharing
from stream.store.export_rows import Range, Selection
from stream.store.exports import COUNTED, Export, Package, Part, Worker
from stream.text import counted, folded_words, format_size
from stream.tweet import TweetId

logger = logging.getLogger(__name__)

# A part is finished when it lacks at most this share of its rows: what a filter or a deletion takes
# away is not made up for to the last row.
FULL = 0.9
RENEW_INTERVAL = 2.0  # seconds
ATTEMPTS = 5  # to read a part whose day moves


class Ended(Exception):
    """It was cancelled or removed, or another worker has taken over."""


class Refused(TwitterstreamError):
    """It cannot be done; the text says why, and what to do."""


class DiskShort(TwitterstreamError):
    """There is too little space on the disk; it can continue later."""


class ExportTask:
    """Does one export that this worker has claimed."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        worker: Worker,
        export: Export,
        on_progress: Callable[[str], None],
    ) -> None:
        self.database = database
        self.settings = settings
        self.worker = worker
        self.export = export
        self.folder = folder_of(Path(settings.data_dir), export.id)
        self.selection = Selection(
            export.tracks, folded_words(export.words), export.pseudonym_key, export.time_zone
        )
        self.parts: list[Part] = []
        self._on_progress = on_progress
        self._is_finishing = False  # from then on the row says whose it is
        self._reached = TweetId(0)  # all keys up to this one were looked at
        self._rows = 0  # up to there
        self._begin = TweetId(0 if export.since is None else key_at(export.since))
        self._until = key_at(export.until)

    async def run(self) -> Path:
        """Do what is left; returns the finished file. Ended when it must stop."""
        work = asyncio.ensure_future(self._run())
        lease = asyncio.ensure_future(self._keep_lease())
        try:
            await asyncio.wait((work, lease), return_when=asyncio.FIRST_COMPLETED)
            if lease.done():
                await lease
            return await work
        finally:
            for each in (work, lease):
                each.cancel()
            await asyncio.gather(work, lease, return_exceptions=True)

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(RENEW_INTERVAL)
            async with self.database.acquire() as connection:
                mine = await self.worker.renew(
                    connection, self.export.id, self._progress, self._rows
                )
            self._require(mine or self._is_finishing)

    @property
    def _progress(self) -> float:
        span = max(self._until - self._begin, 1)
        return min(max((self._reached - self._begin) / span, 0.0), 1.0)

    def _require(self, mine: bool) -> None:
        if not mine:
            raise Ended

    async def _run(self) -> Path:
        self.folder.parent.parent.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(exist_ok=True, mode=0o700)
        store = None
        if self.settings.archive.url:
            store = await asyncio.to_thread(Store, self.settings.archive.url)
        async with self.database.long_running(**export_rows.SESSION) as connection:
            await export_rows.prepare(connection)
            source = Source(self.database, connection, store, self.selection)
            async with self.database.acquire() as own:
                self.parts = await exports.parts(own, self.export.id)
                self._begin = await first_key(own, self._begin, self._until)
            if self.export.deletions is None:
                await self._note_deletions(await self._deletions_now())
            complete = self.export.complete
            while not complete:
                complete = await self._write_next(source)
            return await self._finish(source)

    async def _deletions_now(self) -> tuple[int, datetime]:
        """The newest deletion, and the time."""
        now = datetime.now(UTC)
        async with self.database.acquire() as connection:
            return await deletion_log.head(connection), now

    async def _note_deletions(self, newest: tuple[int, datetime]) -> None:
        """Note that no part has a tweet that was deleted until then."""
        async with self.database.acquire() as connection:
            self._require(await self.worker.note_deletions(connection, self.export.id, *newest))
        number, at = newest
        self.export = msgspec.structs.replace(self.export, deletions=number, valid_until=at)

    # -- parts ------------------------------------------------------------------------------------

    async def _write_next(self, source: Source) -> bool:
        """Write the next part; returns whether it is the last one."""
        after = self.parts[-1].last_id if self.parts else TweetId(max(self._begin - 1, 0))
        number = self.parts[-1].number + 1 if self.parts else 1
        parts = await self._write(source, number, after, self._until)
        complete = parts[-1].last_id >= self._until - 1
        if self.parts and not any(part.rows for part in parts):
            async with self.database.acquire() as connection:
                self._require(await self.worker.complete(connection, self.export.id))
            return True
        await self._save(parts, complete=complete)
        return complete

    async def _save(self, parts: Sequence[Part], *, complete: bool) -> None:
        """Note the files of a part, which replace older ones of the same part."""
        part = parts[-1]
        others = [each for each in self.parts if each.number != part.number]
        limit = self.settings.exports.max_disk_bytes
        written = self.folder.glob(f"*{data_file.SUFFIX}")
        if sum(path.stat().st_size for path in written) > limit:
            raise Refused(
                f"The files are larger than exports.max_disk_bytes ({format_size(limit)}): export"
                " a shorter time, or fewer columns."
            )
        self._reached = max(self._reached, part.last_id)
        async with self.database.transaction() as connection:
            await self._check_access(connection)
            values = self.export.id, parts, self._progress
            self._require(await self.worker.save_parts(connection, *values, complete=complete))
        self.parts = sorted([*others, *parts], key=lambda each: (each.number, each.name))

    async def _check_access(self, connection: Executor) -> None:
        """Refused when the user does not see a track any more."""
        if self.export.user_id is None:
            return
        seen = await sharing.visible_among(connection, self.export.user_id, self.export.tracks)
        if lost := set(self.export.tracks) - seen.keys():
            raise Refused(
                f"Track {min(lost)} was deleted, or its owner does not share it any more."
            )

    async def _write(
        self, source: Source, number: int, after: TweetId, until: TweetId
    ) -> list[Part]:
        """Write a part from a key on, to the end or until it is full."""
        for _ in range(ATTEMPTS):
            with contextlib.suppress(Moved):
                return await self._try_write(source, number, after, until)
        raise Refused("Archived days are being moved now: start the export again later.")

    async def _try_write(
        self, source: Source, number: int, after: TweetId, until: TweetId
    ) -> list[Part]:
        with PartFiles(self.folder, self.export, number) as files:
            filling = _Filling(self.export.part_rows, after, self._tell)
            async with contextlib.aclosing(source.ranges(after, until)) as ranges:
                async for keys in ranges:
                    await self._check_disk()
                    await filling.read(source, files, keys)
                    if filling.is_full:
                        await source.check()
                        break
                else:
                    filling.last = TweetId(until - 1)
            written = await files.finish()
        return [
            Part(
                number, name, after, filling.last, rows, written[name].bytes, written[name].sha256,
                filling.archived,
            )
            for name, rows in files.rows.items()
        ]  # fmt: skip

    def _tell(self, filling: "_Filling") -> None:
        before = [part for part in self.parts if part.last_id <= filling.after]
        rows = sum(part.rows for part in before if part.name in COUNTED)
        self._rows, self._reached = rows + filling.rows, max(self._reached, filling.last)
        at = received_at(filling.last)
        reached = f"up to {at:%Y-%m-%d %H:%M} UTC"
        is_graph = self.export.format == "gexf"  # whose rows are not tweets
        self._on_progress(reached if is_graph else f"{counted(self._rows, 'tweet')}, {reached}")

    async def _check_disk(self, needed: int = 0) -> None:
        """DiskShort when the export would leave too little space."""
        space = disk(self.folder)
        floor = space.floor(
            self.settings.journal.min_free_bytes, self.settings.alerts.disk_archive_percent
        )
        if space.free - needed < floor:
            raise DiskShort(
                f"The disk of `data_dir` has {format_size(space.free)} free; exports leave"
                f" {format_size(floor)}. It continues when there is more space."
            )

    # -- the end ----------------------------------------------------------------------------------

    async def _finish(self, source: Source) -> Path:
        """Take out what was deleted meanwhile, and put the parts into one file."""
        for archived in (True, False):  # the second time what was deleted in the meantime
            newest = await self._deletions_now()
            for number in await self._concerned(archived=archived):
                await self._rewrite(source, number)
            await self._note_deletions(newest)
        await self._check_disk(space_needed(self.folder, self.export, self.parts))
        self._on_progress(f"writing {format_size(sum(part.size for part in self.parts))}")
        written = await self._package(source)
        self._is_finishing = True
        async with self.database.transaction() as connection:
            await self._check_access(connection)
            keep = timedelta(days=self.settings.exports.keep_days)
            mine = await self.worker.finish(connection, self.export.id, written, keep)
            self._require(mine)
            # Before the commit, as a process killed after it would leave them. If the commit
            # fails, the parts are read from the package.
            await asyncio.to_thread(remove_parts, self.folder)
        return self.folder / PACKAGE

    async def _package(self, source: Source) -> Package:
        while True:
            try:
                return await write_package(self.database, self.folder, self.export, self.parts)
            except DamagedPart as error:
                await self._rewrite(source, error.number)

    async def _concerned(self, *, archived: bool) -> list[int]:
        """The parts that have tweets which were deleted since they were written."""
        async with self.database.acquire() as connection:
            return await export_deletions.concerned(connection, self.export.id, archived=archived)

    async def _rewrite(self, source: Source, number: int) -> None:
        """Write a part again, with the same keys."""
        old = next(part for part in self.parts if part.number == number)
        parts = await self._write(source, number, old.after_id, TweetId(old.last_id + 1))
        await self._save(parts, complete=True)


class _Filling:
    """A part that is being written: its rows so far, and the last key that was looked at."""

    def __init__(
        self, rows_max: int, after: TweetId, on_page: "Callable[[_Filling], None]"
    ) -> None:
        self.rows_max = rows_max
        self._on_page = on_page
        self.rows = 0
        self.after = self.last = after
        self.archived = False

    @property
    def is_full(self) -> bool:
        return self.rows >= FULL * self.rows_max

    async def read(self, source: Source, files: PartFiles, keys: Range) -> None:
        """Append the rows of a range, until the part is full."""
        self.archived = self.archived or keys.staged
        while keys.after < keys.last and not self.is_full:
            limit = min(self.rows_max - self.rows, files.keys_max)
            page = await export_rows.next_keys(source.connection, source.selection, keys, limit)
            last = keys.last
            if page.last is not None and page.number == limit:
                last = page.last
            if page.number:
                here = msgspec.structs.replace(keys, last=last)
                if source.selection.words:
                    here = await export_rows.with_words(source.connection, source.selection, here)
                added = await files.add(source.connection, source.selection, here)
                self.rows += added if files.rows_are_tweets else page.number
            self.last = last
            self._on_page(self)
            keys = msgspec.structs.replace(keys, after=last)
