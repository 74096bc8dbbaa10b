"""Keep the files of a journal in order: sync, seal, compress, trim."""

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from stream.errors import JournalFull
from stream.journal import segments
from stream.journal.journal import Journal
from stream.journal.segments import Segment, unwritable

SYNC_INTERVAL = 0.2  # seconds; a power loss costs at most what arrived since
CHECK_INTERVAL = 1.0  # seconds
COMPRESS_RETRY = 10.0  # seconds after compressing a segment failed
NEARLY_FULL = 0.9  # share of max_bytes above which stored segments go early
HOUR = 3600  # seconds; a segment never contains frames of two hours

logger = logging.getLogger(__name__)


async def run(journal: Journal) -> None:
    """Sync, seal, compress and trim until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_sync_loop(journal), name=f"sync {journal.folder.name}")
        group.create_task(_files_loop(journal), name=f"files {journal.folder.name}")


async def _sync_loop(journal: Journal) -> None:
    journal.has_unsynced.set()  # what a killed process has left
    while True:
        await journal.has_unsynced.wait()
        journal.has_unsynced.clear()
        try:
            end = journal.end
            await asyncio.to_thread(journal.sync, journal.take_unsynced())
            journal.synced = end
        except OSError as error:  # no descriptor is left, or the folder is missing
            why = unwritable(journal.folder, error)
            logger.warning("the journal could not be synced; retrying", extra={"why": why})
            journal.has_unsynced.set()
            await asyncio.sleep(CHECK_INTERVAL)
        await asyncio.sleep(SYNC_INTERVAL)


async def _files_loop(journal: Journal) -> None:
    while True:
        with contextlib.suppress(JournalFull):  # reported by `why_full`: the source pauses
            if journal.unusable is not None:
                journal.rotate()
            _seal_by_hour(journal)
            _seal_when_full(journal)
            journal.append_surplus()
        await _compress_all(journal)
        await trim(journal)
        await asyncio.sleep(CHECK_INTERVAL)


async def _compress_all(journal: Journal) -> None:
    """Compress sealed segments; on a full disk they stay as they are until there is space."""
    failed = 0
    for segment in journal.segments[:-1]:
        if segment.compressed or time.monotonic() < segment.compress_at:
            continue
        if not await asyncio.to_thread(_compress, journal, segment):
            segment.compress_at = time.monotonic() + COMPRESS_RETRY
            failed += 1
        if failed > 1:  # then the cause is not the segment
            break


def _compress(journal: Journal, segment: Segment) -> bool:
    """Compress a sealed segment; False when that fails now, and it stays as it is."""
    raw = segment.path
    with journal.rewrite_lock:
        try:
            compressed = segments.compress(raw)
            size = compressed.stat().st_size
        except Exception as error:  # noqa: BLE001 - compression may never end collection
            level = logging.DEBUG if segment.compress_at else logging.WARNING  # a repeated failure
            extra = {"path": str(raw), "why": str(error)}
            logger.log(level, "compressing a segment failed; retrying later", extra=extra)
            return False
        segment.path, segment.size = compressed, size
        _remove(raw)  # otherwise at the next start
    return True


async def trim(journal: Journal) -> None:
    """Delete segments that are stored and expired, or whose space new frames need."""
    taken = _take_trimmable(journal)
    left = await asyncio.to_thread(_unlink, taken)
    journal.segments[:0] = left


def _seal_by_hour(journal: Journal) -> None:
    if journal.clock.last // 1_000_000 // HOUR < time.time() // HOUR:
        journal.rotate()


def _seal_when_full(journal: Journal) -> None:
    """Seal the current segment when the journal is nearly full and stored, so that it can go."""
    if journal.stored >= journal.end and journal.size >= journal.settings.max_bytes * NEARLY_FULL:
        journal.rotate()


def _take_trimmable(journal: Journal) -> list[Segment]:
    """Remove from the list, and return, the segments that `trim` deletes."""
    taken = []
    oldest = time.time() - journal.settings.keep_hours * HOUR
    while len(journal.segments) > 1 and journal.segments[0].end <= journal.stored:
        first = journal.segments[0]
        young = first.changed_at >= oldest and journal.keep_stored
        if young and journal.size < journal.settings.max_bytes * NEARLY_FULL:
            break
        taken.append(journal.segments.pop(0))
    return taken


def _unlink(taken: list[Segment]) -> list[Segment]:
    """Delete these files in order; returns those left after the first failure."""
    while taken and _remove(taken[0].path):
        del taken[0]
    return taken


def _remove(path: Path) -> bool:
    """Delete a file; False when that fails now."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("deleting a file failed", extra={"path": str(path), "why": str(error)})
        return False
    return True
