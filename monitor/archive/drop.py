"""Drops days from Postgres: only those that are verified in the archive and unchanged since."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial

from monitor.archive import catalog, due_days
from monitor.archive.catalog import Archive
from monitor.archive.store import Store
from monitor.archive.verify import check_bytes, check_published, digests_match
from monitor.jobs import DetachedCall
from stream.config import Settings
from stream.db import Database, Executor, translated_errors
from stream.errors import DatabaseAway, TwitterstreamError
from stream.store import archives, day_snapshot, partitions

logger = logging.getLogger(__name__)

KEEP_RESTORED = timedelta(days=7)  # a day that was restored on request stays this long


async def drop_due(
    database: Database, settings: Settings, *, days: Sequence[date] | None = None
) -> list[date]:
    """Drop these days, or else those that are due as a whole; returns the days dropped.

    Days stay when archive.url is empty, when they are not verified, or when they have changed
    since: the next `archive run` archives such a day again.
    """
    if not settings.archive.url:
        return []
    droppable = await _droppable(database)
    if days is None:
        async with database.acquire() as connection:
            days = await due_days.due_as_a_whole(connection, settings.retention)
    due = [day for day in droppable if day in days]
    return await _drop(database, settings, due, len(due))


async def drop_early(database: Database, settings: Settings, *, limit: int = 1) -> list[date]:
    """Drop up to `limit` of the oldest verified days before they are due; returns those dropped.

    For a disk that is nearly full. An empty answer means that no other day may be dropped.
    """
    if not settings.archive.url:
        return []
    return await _drop(database, settings, await _droppable(database), limit)


async def _droppable(database: Database) -> list[date]:
    """Days that are verified, oldest first, without those that were restored lately."""
    async with database.acquire() as connection:
        known = await catalog.rows(connection)
    by_day: dict[date, list[Archive]] = {}
    for archive in known:
        if archive.in_database:
            by_day.setdefault(archive.day, []).append(archive)
    return [day for day, parts in by_day.items() if all(_is_droppable(part) for part in parts)]


def _is_droppable(archive: Archive) -> bool:
    restored = archive.restored_at
    lately = restored is not None and datetime.now(UTC) - restored < KEEP_RESTORED
    return archive.state != "writing" and not lately


async def _drop(
    database: Database, settings: Settings, candidates: Sequence[date], limit: int
) -> list[date]:
    if not candidates:
        return []
    store = await asyncio.to_thread(Store, settings.archive.url)
    dropped: list[date] = []
    problem: TwitterstreamError | None = None
    for day in candidates:
        if len(dropped) == limit:
            break
        async with archives.day_lock(database, day) as connection:
            if connection is None:
                continue
            try:
                with translated_errors():
                    if await drop_day(connection, store, day):
                        dropped.append(day)
            except DatabaseAway:
                raise
            except TwitterstreamError as error:
                problem = error
                logger.warning(
                    "a day cannot be dropped", extra={"day": str(day), "why": str(error)}
                )
                await archives.note_problem(connection, day, str(error))
    if problem is not None and not dropped:
        raise problem
    return dropped


async def drop_day(connection: Executor, store: Store, day: date) -> bool:
    """Drop one day, whose lock the connection holds; False when it has changed since.

    ArchiveError when its archive is damaged or incomplete.
    """
    live = [each for each in await catalog.rows(connection, day) if each.in_database]
    if not live or any(each.state == "writing" for each in live):
        return False
    if await archives.changed(connection, day):
        return False
    made = [each.verified_manifest for each in live]
    if not any(each.partially_expired_at for each in live) and not digests_match(
        await day_snapshot.digests(connection, day), made
    ):
        await archives.mark_changed(connection, day)
        return False
    detached = DetachedCall(f"checking the archive of {day}")
    for each in made:
        await detached.run(partial(check_published, store, each))
        await detached.run(partial(check_bytes, store, each))
    return await _drop_unless_changed(connection, day)


async def _drop_unless_changed(connection: Executor, day: date) -> bool:
    """Lock the day against writers, check for changes once more, and drop it."""

    async def attempt() -> bool:
        async with partitions.short_lock_waits(connection):
            if not await partitions.lock_day(connection, day):
                await archives.mark_changed(connection, day)
            if await archives.changed(connection, day):
                return False
            await partitions.drop_day(connection, day)
            await archives.mark_dropped(connection, day)
            return True

    return await partitions.with_lock_retries(attempt)
