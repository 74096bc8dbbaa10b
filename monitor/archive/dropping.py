"""Taking days out of Postgres: only such as are verified in the archive, and unchanged since."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial

from monitor.archive import book, dues
from monitor.archive import days as content
from monitor.archive.book import Archive
from monitor.archive.checking import agree, check_bytes, check_published
from monitor.archive.manifest import ArchiveError
from monitor.archive.store import Store
from monitor.aside import Aside
from stream.config import Settings
from stream.db import Database, Executor, meaning
from stream.errors import DatabaseAway, TwitterstreamError

logger = logging.getLogger(__name__)

RESTORED_STAYS = timedelta(days=7)  # what somebody asked for, he wants to look at


async def drop_due(
    database: Database, settings: Settings, *, days: Sequence[date] | None = None
) -> list[date]:
    """Drop these days, or else those that the settings and the tracks leave nothing of.

    Returns those that went. Nothing goes when archive.url is empty, that is not verified, or that
    has changed since: such a day is archived again by the next `archive run`.
    """
    if not settings.archive.url:
        return []
    ripe = await _droppable(database)
    if days is None:
        async with database.acquire() as connection:
            days = await dues.whole(connection, settings.retention)
    due = [day for day in ripe if day in days]
    return await _drop(database, settings, due, len(due))


async def drop_early(database: Database, settings: Settings, *, most: int = 1) -> list[date]:
    """Drop up to so many of the oldest verified days before their time; those that went.

    For a disk that fills. An empty answer means that there is nothing left that may go.
    """
    if not settings.archive.url:
        return []
    return await _drop(database, settings, await _droppable(database), most)


async def _droppable(database: Database) -> list[date]:
    """Days that are verified, oldest first, without those that were restored lately."""
    async with database.acquire() as connection:
        archives = await book.rows(connection)
    by_day: dict[date, list[Archive]] = {}
    for archive in archives:
        if archive.in_database:
            by_day.setdefault(archive.day, []).append(archive)
    return [day for day, parts in by_day.items() if all(_ripe(part) for part in parts)]


def _ripe(archive: Archive) -> bool:
    restored = archive.restored_at
    lately = restored is not None and datetime.now(UTC) - restored < RESTORED_STAYS
    return archive.state != "writing" and not lately


async def _drop(
    database: Database, settings: Settings, candidates: Sequence[date], most: int
) -> list[date]:
    if not candidates:
        return []
    store = await asyncio.to_thread(Store, settings.archive.url)
    gone: list[date] = []
    problem: TwitterstreamError | None = None
    for day in candidates:
        if len(gone) == most:
            break
        async with book.locked(database, day) as connection:
            if connection is None:
                continue
            try:
                with meaning():
                    if await drop_day(connection, store, day):
                        gone.append(day)
            except DatabaseAway:
                raise
            except TwitterstreamError as error:
                problem = error
                logger.warning("a day stays", extra={"day": str(day), "why": str(error)})
                await book.note_problem(connection, day, str(error))
    if problem is not None and not gone:
        raise problem
    return gone


async def drop_day(connection: Executor, store: Store, day: date) -> bool:
    """Drop one day, whose lock the connection holds; False when it has changed since.

    ArchiveError when its archive is not whole any more.
    """
    live = [each for each in await book.rows(connection, day) if each.in_database]
    if not live or any(each.state == "writing" for each in live):
        return False
    if await book.touched(connection, day):
        return False
    made = [each.known for each in live]
    thinned = any(each.thinned_at for each in live)
    if not thinned and not agree(await content.digests(connection, day), made):
        await book.touch(connection, day)
        return False
    aside = Aside(f"looking at the archive of {day}")
    for each in made:
        await aside.do(partial(check_published, store, each))
        await aside.do(partial(check_bytes, store, each))
    return await _take_away(connection, day)


async def _take_away(connection: Executor, day: date) -> bool:
    """The one moment in which nobody else may be there: look once more, and drop."""

    async def attempt() -> bool:
        async with book.short_lock(connection):
            watched = await book.hold_day(connection, day)
            if not watched:
                await book.touch(connection, day)
            if await book.touched(connection, day):
                return False
            await book.dropped(connection, day)
            return True

    return await book.patiently(attempt)


def need_store(settings: Settings) -> Store:
    """The store of the settings; a sentence on what to set when there is none."""
    if not settings.archive.url:
        raise ArchiveError(
            "Nothing is archived: set `archive.url` to a folder such as /srv/archive, or to"
            " s3://bucket/folder, gs://… or az://…"
        )
    return Store(settings.archive.url)
