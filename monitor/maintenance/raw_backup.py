"""The raw backup: copies sealed journal segments, with every message as received, to the archive.

Each is copied once, read back and compared, and only then noted in `raw_archives`: so a kill at any
moment costs at most one extra copy. `twitterstream.py import` reads such a copy.
"""

import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from monitor.archive.store import Store, StoreError
from monitor.jobs import DetachedCall, Leader, PeriodicJob
from stream.config import Settings
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.files import disk
from stream.journal import read_id, segments
from stream.notes import EventNote
from stream.store import archives, events, sources
from stream.store.archives import RawCopy
from stream.tweet import SourceId

logger = logging.getLogger(__name__)

INTERVAL = 600.0  # seconds; a segment is sealed when its hour is over
RUN_TIMEOUT = 3500.0  # seconds
FOLDER = "raw"  # below archive.url
EXPIRED_BATCH = 500  # copies


class SealedSegment(msgspec.Struct, frozen=True):
    """A journal segment that will not change any more."""

    source: SourceId
    name: str  # of its source
    journal: uuid.UUID
    start: int
    path: Path


class RawBackup:
    """The periodic job that copies the sealed segments of all journals in data_dir."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self._detached = DetachedCall("raw backup")
        self._reported: set[tuple[uuid.UUID, int]] = set()  # missing parts: journal and position

    def jobs(self) -> list[PeriodicJob]:
        """The periodic job; none without an archive."""
        if not self.settings.archive.url:
            return []
        return [PeriodicJob("raw backup", INTERVAL, self.work, limit=RUN_TIMEOUT)]

    async def work(self) -> None:
        """Copy segments that are not copied yet, and delete copies that are too old."""
        store = await self._detached.run(partial(Store, self.settings.archive.url))
        if self.settings.archive.raw:
            await self._copy_all(store)
        if self.leader.leads and self.settings.archive.raw_days:
            await self._delete_old(store, timedelta(days=self.settings.archive.raw_days))

    # -- copying ----------------------------------------------------------------------------------

    async def _copy_all(self, store: Store) -> None:
        async with self.database.acquire() as connection:
            rows = await sources.get_all(connection)
        names = {row.id: row.name for row in rows if row.state != "importing"}
        folder = Path(self.settings.data_dir) / "journal"
        found = await self._detached.run(lambda: list(sealed_segments(folder, names)))
        journals = {each.journal for each in found}
        async with self.database.acquire() as connection:
            known = await archives.raw_copies(connection, list(journals))
        failed: TwitterstreamError | None = None
        for each in found:
            ends = known.setdefault(each.journal, {})
            if each.start in ends:
                continue
            await self._report_missing(each, ends)
            try:
                copy = await self._detached.run(partial(self._copy, store, each))
            except StoreError:
                raise
            except (TwitterstreamError, OSError) as error:  # the other files are still to do
                failed = failed or TwitterstreamError(f"{each.path} cannot be copied: {error}")
                continue
            if copy is not None:
                async with self.database.acquire() as connection:
                    await archives.add_raw_copy(connection, copy)
                ends[each.start] = copy.until
        if failed is not None:
            raise failed

    def _copy(self, store: Store, segment: SealedSegment) -> RawCopy | None:
        """Copy a segment and read it back; None when it was trimmed meanwhile."""
        try:
            with segment.path.open("rb") as file:
                began_at = _first_time(segment.path)
                until = segment.start + segments.content_length(segment.path)
                self._require_space(store, segment.path)
                path = copy_path(segment, began_at)
                folder, _, name = path.rpartition("/")
                store.remove_unfinished(folder, name)
                written = store.copy_in(path, file)
        except FileNotFoundError:
            return None
        if store.hashed(path) != written:
            store.delete(path)
            raise StoreError(f"{path} differs from what was written: the store is unreliable.")
        return RawCopy(
            path,
            segment.source,
            segment.journal,
            segment.start,
            until,
            written.bytes,
            written.sha256,
            began_at,
        )

    def _require_space(self, store: Store, segment: Path) -> None:
        """StoreError when a copy would leave too little space on a disk of this machine."""
        if store.folder is None:
            return
        found, least = disk(store.folder), self.settings.alerts.disk_pause_all_percent
        if found.free - segment.stat().st_size < found.floor(0, least):
            raise StoreError(
                f"The disk of {store.folder} (archive.url) has less than {least:g} % free: nothing "
                "more is archived. Free some space there, or set archive.url to a larger disk."
            )

    async def _report_missing(self, segment: SealedSegment, ends: Mapping[int, int]) -> None:
        """Report, once, what was deleted from the disk before it was copied."""
        before = max((end for start, end in ends.items() if start < segment.start), default=None)
        if before is None or before >= segment.start or (segment.journal, before) in self._reported:
            return
        self._reported.add((segment.journal, before))
        size = segment.start - before
        text = f"{size:,} bytes of the journal were deleted before they were copied to the archive"
        logger.warning("%s", text, extra={"source": segment.name, "position": before})
        async with self.database.acquire() as connection:
            note = EventNote("journal", text, time.time())
            await events.add(connection, segment.source, note)

    # -- deleting ---------------------------------------------------------------------------------

    async def _delete_old(self, store: Store, keep: timedelta) -> None:
        oldest = datetime.now(UTC) - keep
        while paths := await self._old_copies(oldest):
            await self._detached.run(partial(_delete, store, paths))
            async with self.database.acquire() as connection:
                await archives.delete_raw_copies(connection, paths)

    async def _old_copies(self, oldest: datetime) -> list[str]:
        async with self.database.acquire() as connection:
            return await archives.old_raw_copies(connection, oldest, EXPIRED_BATCH)


def sealed_segments(folder: Path, names: Mapping[SourceId, str]) -> Iterator[SealedSegment]:
    """The sealed segments of these sources' journals, each journal's in order."""
    for of_source in sorted(folder.glob("*/id")):
        name = of_source.parent.name
        source = SourceId(int(name)) if name.isdecimal() else SourceId(0)
        if source in names:
            journal = read_id(of_source)
            if journal is None:
                continue  # its source has not started since the id was lost
            for path in segments.files(of_source.parent, segments.COMPRESSED):
                yield SealedSegment(source, names[source], journal, segments.start_of(path), path)


def copy_path(segment: SealedSegment, began_at: float) -> str:
    """The path of a copy, below archive.url."""
    day = datetime.fromtimestamp(began_at, UTC).date()
    file = f"{segment.journal}-{segment.start:020d}{segments.COMPRESSED}"
    return f"{FOLDER}/{segment.name}/{day}/{file}"


def _first_time(path: Path) -> float:
    with segments.open_segment(path) as file:
        for _, microseconds, _ in segments.records(file, path):
            return microseconds / 1e6
    return path.stat().st_mtime


def _delete(store: Store, paths: Sequence[str]) -> None:
    for path in paths:
        store.delete(path)
