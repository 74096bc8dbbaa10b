"""Restores a dropped day into Postgres from its archive.

The rows are loaded into staging tables, compared with the manifests, and attached when they are
complete, all in one transaction.
"""

import asyncio
from collections.abc import Sequence
from datetime import date

import msgspec

from monitor.archive import catalog
from monitor.archive.apply_deletions import apply_deletions
from monitor.archive.catalog import Archive
from monitor.archive.data_files import RowReader, records, with_added_columns
from monitor.archive.manifest import ArchiveError, Manifest, Removal
from monitor.archive.store import Store
from monitor.archive.verify import check_bytes, check_published, digests_match
from stream.db import Executor, transaction
from stream.store import archives, day_snapshot, restored_days
from stream.store.day_snapshot import Table

BATCH_ROWS = 5000  # sent at a time
ATTEMPTS = 3  # when tweets are deleted in the meantime


class _DeletedMeanwhile(Exception):
    """A tweet of the day got its tombstone while it was being restored."""


class RestoredDay(msgspec.Struct, frozen=True):
    """Counts of a restored day: rows restored, and tweets left out as deleted or already stored."""

    tweets: int
    matches: int
    left_out: int
    removals: Sequence[Removal] = ()  # by deletions that had not reached the archive before

    @property
    def notes(self) -> list[str]:
        """Remarks for the person who restored the day."""
        notes = []
        if erased := sum(each.erased for each in self.removals):
            notes.append(f"{erased:,} tweets were deleted since, and were not restored.")
        if self.left_out:
            notes.append(
                f"{self.left_out:,} tweets were not restored: they were deleted here, or are stored"
                " under another key."
            )
        return notes


async def restore_day(connection: Executor, store: Store, day: date, *, erase: bool) -> RestoredDay:
    """Restore all parts of a dropped day; the connection holds the day's lock."""
    removals: list[Removal] = []
    for _ in range(ATTEMPTS):
        parts = _dropped(await catalog.rows(connection, day), day)
        # What was deleted since must not be restored.
        for part in parts:
            removal = await apply_deletions(connection, store, part, erase=erase)
            removals += [] if removal is None else [removal]
        parts = _dropped(await catalog.rows(connection, day), day)
        made = [part.verified_manifest for part in parts]
        for each in made:
            await asyncio.to_thread(check_published, store, each)
            await asyncio.to_thread(check_bytes, store, each)
        try:
            async with transaction(connection):
                done = await _restore(connection, store, day, made)
        except _DeletedMeanwhile:
            continue
        return msgspec.structs.replace(done, removals=removals)
    raise ArchiveError(f"Tweets of {day} are being deleted now; restore it later.")


def _dropped(archives_of_day: Sequence[Archive], day: date) -> list[Archive]:
    parts = [each for each in archives_of_day if each.state == "dropped"]
    if not parts:
        where = "is in Postgres already" if archives_of_day else "is not archived"
        raise ArchiveError(f"{day} {where}; `archive list` shows the days that can be restored.")
    return parts


async def _restore(
    connection: Executor, store: Store, day: date, made: Sequence[Manifest]
) -> RestoredDay:
    await restored_days.stage(connection)
    for each in made:
        await _load(connection, store, each.path("tweets"), restored_days.TWEETS)
        await _load(connection, store, each.path("matches"), restored_days.MATCHES)
    loaded = await restored_days.loaded(connection)
    if not digests_match(loaded, made):
        raise ArchiveError(f"The rows loaded of {day} differ from its manifest.")
    if await restored_days.deleted_since(connection):
        raise _DeletedMeanwhile
    left_out = await restored_days.leave_out(connection)
    withheld = await restored_days.withhold(connection)
    await restored_days.add_ids_and_counts(connection)
    matches = await day_snapshot.digest(connection, restored_days.MATCHES)
    if await restored_days.attach(connection, day) or left_out or withheld:
        await archives.mark_changed(connection, day)  # it differs from what was archived
    return RestoredDay(loaded["tweets"].rows - left_out, matches.rows, left_out)


async def _load(connection: Executor, store: Store, path: str, table: Table) -> None:
    reader = await asyncio.to_thread(RowReader, store, path)

    def take() -> Sequence[tuple[object, ...]]:
        return records(with_added_columns(table, reader.take(BATCH_ROWS)))

    while rows := await asyncio.to_thread(take):
        await restored_days.load(connection, table, rows)
