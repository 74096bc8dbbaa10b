"""Updates the catalog from the store: archives that this database does not know, or knows as they
were, because it was moved or restored from an older backup."""

import asyncio
from collections.abc import Mapping
from datetime import date

from monitor.archive import catalog
from monitor.archive.catalog import Archive
from monitor.archive.manifest import (
    NAME,
    ROOT,
    ArchiveError,
    Manifest,
    names_of,
    parse_path,
    publish,
)
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Store
from monitor.archive.verify import digests_match
from stream.db import Database, Executor
from stream.store import archives, day_snapshot, partitions

DayPart = tuple[date, int]
FileNames = Mapping[DayPart, set[str]]


def file_names(store: Store) -> dict[DayPart, set[str]]:
    """The names of all files of archives in the store."""
    found: dict[DayPart, set[str]] = {}
    for entry in store.list(ROOT):
        if (parsed := parse_path(entry.path)) is not None:
            found.setdefault(parsed[:2], set()).add(parsed[2])
    return found


def _is_outdated(archive: Archive, names: FileNames) -> bool:
    """Whether the store may have a later generation: other files instead of these.

    A rewrite that was killed leaves the old files in place.
    """
    found, own = names.get((archive.day, archive.part), set()), names_of(archive.manifest)
    return NAME in found and bool(own - found) and bool(found - own)


def _has_interrupted_rewrite(archive: Archive, names: FileNames) -> bool:
    """Whether the store may have files of a rewrite that was killed, beside all of the archive."""
    found, own = names.get((archive.day, archive.part), set()), names_of(archive.manifest)
    return archive.is_authoritative and own < found


async def refresh_day(connection: Executor, store: Store, day: date, names: FileNames) -> None:
    """Note what the store has of a day; the connection holds the day's lock."""
    await _adopt_unknown(connection, store, day, names)
    for archive in await catalog.rows(connection, day):
        if _has_interrupted_rewrite(archive, names):
            await _withdraw_rewrite(store, archive)
    if await partitions.exists(connection, day):
        return
    # Without their partitions, what was archived of these days is all there is.
    for archive in await catalog.rows(connection, day):
        if archive.in_database:
            await catalog.mark_lost_partitions(connection, archive)
    for archive in await catalog.rows(connection, day):
        if _is_outdated(archive, names):
            await _take_later_generation(connection, store, archive)


async def _adopt_unknown(connection: Executor, store: Store, day: date, names: FileNames) -> None:
    known = {each.part for each in await catalog.rows(connection, day)}
    for at, part in sorted(names):
        if at == day and NAME in names[at, part] and part not in known:
            found = await asyncio.to_thread(read_manifest, store, day, part)
            if found is not None:
                await catalog.adopt(connection, found, stored=await _is_stored(connection, found))


async def _is_stored(connection: Executor, found: Manifest) -> bool:
    """Whether this database has exactly these rows."""
    return found.day in await partitions.days(connection) and digests_match(
        await day_snapshot.digests(connection, found.day), [found]
    )


async def _withdraw_rewrite(store: Store, archive: Archive) -> None:
    """Publish an archive again whose successor was published, but never noted in Postgres.

    What the rewrite changed in Postgres was not committed either, so it has to be done again.
    """
    if await _later_generation(store, archive) is not None:
        await asyncio.to_thread(publish, store, archive.verified_manifest)


async def _take_later_generation(connection: Executor, store: Store, archive: Archive) -> None:
    if (found := await _later_generation(store, archive)) is not None:
        await catalog.mark_rewritten(connection, archive.generation, found)


async def _later_generation(store: Store, archive: Archive) -> Manifest | None:
    """The manifest in the store when it is of a later generation than the one in Postgres."""
    try:
        found = await asyncio.to_thread(read_manifest, store, archive.day, archive.part)
    except ArchiveError:  # damaged: the check of the archive reports it
        return None
    return found if found is not None and found.generation > archive.generation else None


async def refresh_outdated(
    database: Database, store: Store, names: FileNames, only: date | None = None
) -> None:
    """Refresh the days of which the store has other generations than this database."""
    async with database.acquire() as connection:
        present = await partitions.days(connection)
        known = await catalog.rows(connection, only)
    outdated = {
        each.day
        for each in known
        if _has_interrupted_rewrite(each, names)
        or (each.day not in present and _is_outdated(each, names))
    }
    for day in sorted(outdated):
        async with archives.day_lock(database, day) as connection:
            if connection is not None:  # else another process does it
                await refresh_day(connection, store, day, names)
