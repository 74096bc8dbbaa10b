"""Archives that lie in the store, and that this database does not know, or knows as they once were:
because it was moved, or set back to an older backup."""

import asyncio
from collections.abc import Mapping
from datetime import date

from monitor.archive import book, days
from monitor.archive.book import Archive
from monitor.archive.checking import agree
from monitor.archive.manifest import NAME, ROOT, Manifest, names_of, placed
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Store
from stream.db import Database, Executor

Place = tuple[date, int]
Names = Mapping[Place, set[str]]


def names_in(store: Store) -> dict[Place, set[str]]:
    """What lies in the folders of the store."""
    found: dict[Place, set[str]] = {}
    for entry in store.list(ROOT):
        if (place := placed(entry.path)) is not None:
            found.setdefault(place[:2], set()).add(place[2])
    return found


def outdated(archive: Archive, names: Names) -> bool:
    """Whether the store may have a later one: there is something else there instead of its files.

    A rewriting that a kill ended leaves the old files where they were.
    """
    there, own = names.get((archive.day, archive.part), set()), names_of(archive.manifest)
    return NAME in there and bool(own - there) and bool(there - own)


async def adopt(connection: Executor, store: Store, day: date, names: Names) -> None:
    """Make this database know what the store has of a day, whose lock the connection holds."""
    known = {each.part for each in await book.rows(connection, day)}
    for at, part in sorted(names):
        if at == day and NAME in names[at, part] and part not in known:
            found = await asyncio.to_thread(read_manifest, store, day, part)
            if found is not None:
                await book.adopt(connection, found, ours=await _same(connection, found))
    if await days.exist(connection, day):
        return
    # Partitions that somebody else took away: what was archived of them is what there is.
    for archive in await book.rows(connection, day):
        if archive.in_database:
            await book.vanished(connection, archive)
    for archive in await book.rows(connection, day):
        if outdated(archive, names):
            await _renew(connection, store, archive)


async def _same(connection: Executor, found: Manifest) -> bool:
    """Whether these very rows are in this database."""
    present = found.day in await days.present(connection)
    return present and agree(await days.digests(connection, found.day), [found])


async def _renew(connection: Executor, store: Store, archive: Archive) -> None:
    found = await asyncio.to_thread(read_manifest, store, archive.day, archive.part)
    if found is not None and found.generation > archive.generation:
        await book.rewritten(connection, archive.generation, found)


async def renew(database: Database, store: Store, names: Names, only: date | None = None) -> None:
    """Do so for the days of which the store has later archives than this database knows."""
    async with database.acquire() as connection:
        present = await days.present(connection)
        known = await book.rows(connection, only)
    late = {each.day for each in known if each.day not in present and outdated(each, names)}
    for day in sorted(late):
        async with book.locked(database, day) as connection:
            if connection is not None:  # else somebody else is at it
                await adopt(connection, store, day, names)
