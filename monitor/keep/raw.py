"""The raw backup: sealed segments of the journals, every message as it came, beside the archives.

Each is copied once, under a name that says where it belongs, read back and compared, and only then
noted in `raw_archives`: so a kill at any moment costs at most one copy more. To use one again, give
it to `twitterstream.py import`.
"""

import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from monitor.archive.store import Store, StoreError
from monitor.aside import Aside
from monitor.chores import Chore
from monitor.leader import Leader
from stream import ledger, sources
from stream.config import Settings
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.journal import segments
from stream.tweet import EventNote, SourceId

logger = logging.getLogger(__name__)

EVERY = 600.0  # seconds; a segment is sealed when its hour is over
LIMIT = 3500.0  # seconds
FOLDER = "raw"  # below archive.url
EXPIRED_AT_ONCE = 500

_KNOWN = "SELECT journal, position, until FROM raw_archives WHERE journal = ANY ($1::uuid[])"
_COPIED = """
INSERT INTO raw_archives (path, source_id, journal, position, until, bytes, sha256, began_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8))
ON CONFLICT DO NOTHING
"""
_EXPIRED = "SELECT path FROM raw_archives WHERE began_at < $1 ORDER BY began_at LIMIT $2"
_GONE = "DELETE FROM raw_archives WHERE path = ANY ($1::text[])"


class Sealed(msgspec.Struct, frozen=True):
    """A segment that will not change any more."""

    source: SourceId
    name: str  # of its source
    journal: uuid.UUID
    start: int
    path: Path


class Copy(msgspec.Struct, frozen=True):
    """What was written into the store."""

    path: str
    until: int  # the position behind its last byte
    size: int
    sha256: bytes
    began_at: float  # seconds since 1970


class RawBackup:
    """Copies what is sealed, of every journal in data_dir, whoever has it open."""

    def __init__(self, database: Database, settings: Settings, leader: Leader) -> None:
        self.database = database
        self.settings = settings
        self.leader = leader
        self._aside = Aside("raw backup")
        self._said: set[tuple[uuid.UUID, int]] = set()  # what is lost to the backup

    def chores(self) -> list[Chore]:
        """What has to be run for this; nothing without an archive."""
        if not self.settings.archive.url:
            return []
        return [Chore("raw backup", EVERY, self.work, limit=LIMIT)]

    async def work(self) -> None:
        """Copy what is not copied yet, and remove copies that are too old."""
        store = await self._aside.do(partial(Store, self.settings.archive.url))
        if self.settings.archive.raw:
            await self._copy_all(store)
        if self.leader.leads and self.settings.archive.raw_days:
            await self._expire(store, timedelta(days=self.settings.archive.raw_days))

    # -- copying ----------------------------------------------------------------------------------

    async def _copy_all(self, store: Store) -> None:
        async with self.database.acquire() as connection:
            rows = await sources.everything(connection)
        names = {row.id: row.name for row in rows if row.state != "importing"}
        folder = Path(self.settings.data_dir) / "journal"
        found = await self._aside.do(lambda: list(sealed_segments(folder, names)))
        known = await self._known({each.journal for each in found})
        failed: TwitterstreamError | None = None
        for each in found:
            ends = known.setdefault(each.journal, {})
            if each.start in ends:
                continue
            await self._say_what_is_lost(each, ends)
            try:
                copy = await self._aside.do(partial(self._copy, store, each))
            except StoreError:
                raise
            except (TwitterstreamError, OSError) as error:  # one bad file is in the way of no other
                failed = failed or TwitterstreamError(f"{each.path} cannot be copied: {error}")
                continue
            if copy is not None:
                await self._note(each, copy)
                ends[each.start] = copy.until
        if failed is not None:
            raise failed

    async def _known(self, journals: set[uuid.UUID]) -> dict[uuid.UUID, dict[int, int]]:
        """The copies there are: by journal, where they begin and end."""
        known: dict[uuid.UUID, dict[int, int]] = {}
        for row in await self.database.fetch(_KNOWN, list(journals)):
            known.setdefault(row["journal"], {})[row["position"]] = row["until"]
        return known

    def _copy(self, store: Store, segment: Sealed) -> Copy | None:
        """Copy one and read it back; None when it was trimmed meanwhile."""
        try:
            with segment.path.open("rb") as file:
                began_at = _began_at(segment.path)
                until = segment.start + segments.packed_length(segment.path)
                self._require_room(store, segment.path)
                path = copy_path(segment, began_at)
                _sweep(store, path)
                written = store.copy_in(path, file)
        except FileNotFoundError:
            return None
        if store.hashed(path) != written:
            store.delete(path)
            raise StoreError(f"{path} is not what was written: the store cannot be trusted.")
        return Copy(path, until, written.bytes, bytes.fromhex(written.sha256), began_at)

    def _require_room(self, store: Store, segment: Path) -> None:
        """A folder of this machine is never filled: nothing that it holds is worth that."""
        if store.folder is None:
            return
        disk = os.statvfs(store.folder)
        least = self.settings.alerts.disk_pause_all_percent
        free = disk.f_bavail * disk.f_frsize - segment.stat().st_size
        if free < disk.f_blocks * disk.f_frsize * least / 100:
            raise StoreError(
                f"The disk of {store.folder} (archive.url) has less than {least:g} % free: nothing "
                "more is archived. Free some space there, or let archive.url name a larger place."
            )

    async def _note(self, segment: Sealed, copy: Copy) -> None:
        await self.database.execute(
            _COPIED,
            copy.path,
            segment.source,
            segment.journal,
            segment.start,
            copy.until,
            copy.size,
            copy.sha256,
            copy.began_at,
        )

    async def _say_what_is_lost(self, segment: Sealed, ends: Mapping[int, int]) -> None:
        """What went from the disk between the last copy and this one was never copied."""
        before = max((end for start, end in ends.items() if start < segment.start), default=None)
        if before is None or before >= segment.start or (segment.journal, before) in self._said:
            return
        self._said.add((segment.journal, before))
        size = segment.start - before
        text = f"{size:,} bytes of the journal went before they were copied to the archive"
        logger.warning("%s", text, extra={"source": segment.name, "position": before})
        async with self.database.acquire() as connection:
            note = EventNote("journal", text, time.time())
            await ledger.event(connection, segment.source, note)

    # -- removing ---------------------------------------------------------------------------------

    async def _expire(self, store: Store, keep: timedelta) -> None:
        oldest = datetime.now(UTC) - keep
        while paths := await self._expired(oldest):
            await self._aside.do(partial(_delete, store, paths))
            await self.database.execute(_GONE, paths)

    async def _expired(self, oldest: datetime) -> list[str]:
        rows = await self.database.fetch(_EXPIRED, oldest, EXPIRED_AT_ONCE)
        return [row["path"] for row in rows]


def sealed_segments(folder: Path, names: Mapping[SourceId, str]) -> Iterator[Sealed]:
    """The sealed segments of these sources' journals, each journal's in order."""
    for of_source in sorted(folder.glob("*/id")):
        name = of_source.parent.name
        source = SourceId(int(name)) if name.isdecimal() else SourceId(0)
        if source in names:
            journal = uuid.UUID(of_source.read_text(encoding="ascii").strip())
            for path in sorted(of_source.parent.glob(f"*{segments.PACKED}")):
                yield Sealed(source, names[source], journal, segments.start_of(path), path)


def copy_path(segment: Sealed, began_at: float) -> str:
    """Where the copy lies, below archive.url."""
    day = datetime.fromtimestamp(began_at, UTC).date()
    file = f"{segment.journal}-{segment.start:020d}{segments.PACKED}"
    return f"{FOLDER}/{segment.name}/{day}/{file}"


def _began_at(path: Path) -> float:
    with segments.open_segment(path) as file:
        for _, microseconds, _ in segments.records(file, path):
            return microseconds / 1e6
    return path.stat().st_mtime


def _sweep(store: Store, path: str) -> None:
    """Remove what a copy of this segment left in a folder when it was killed."""
    if store.folder is not None:
        whole = store.folder / path
        for left in whole.parent.glob(f"{whole.name}#*"):
            left.unlink(missing_ok=True)


def _delete(store: Store, paths: Sequence[str]) -> None:
    for path in paths:
        store.delete(path)
