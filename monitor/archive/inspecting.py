"""How an archive, its files and the day in Postgres stand to each other."""

from collections.abc import Callable
from functools import partial

from monitor.archive import book, days
from monitor.archive.book import Archive
from monitor.archive.checking import agree, check_file, check_published
from monitor.archive.files import Rows
from monitor.archive.manifest import ArchiveError, Manifest, Role
from monitor.archive.store import Missing, Store
from monitor.archive.tables import MATCHES, TRACKS, TWEETS
from stream.db import Database

_NAMES = {table.name for table in (TWEETS, MATCHES, TRACKS)}


def problems(store: Store, made: Manifest) -> list[str]:
    """What is wrong with an archive in the store, once for each file; empty when it is whole.

    StoreError when the store cannot be asked, which says nothing about the archive.
    """
    checks: list[Callable[[], None]] = [partial(check_published, store, made)]
    checks += [partial(_check, store, made, role) for role in made.files]
    found = []
    for check in checks:
        try:
            check()
        except (ArchiveError, Missing) as error:
            found.append(str(error))
    return found


def _check(store: Store, made: Manifest, role: Role) -> None:
    check_file(store, made, role)
    if role in _NAMES and Rows(store, made.path(role)).number != made.files[role].rows:
        raise ArchiveError(f"{made.path(role)} does not have the rows that its manifest says.")


async def differs(database: Database, archive: Archive) -> str:
    """For people: how the day in Postgres stands to a whole archive of it."""
    day = archive.day
    again = f"the daemon archives the day again once a day, `archive run --day {day}` at once"
    async with database.patient() as connection:
        live = [each for each in await book.rows(connection, day) if each.in_database]
        if not live and await days.some(connection, day):
            return (
                "whole; not in Postgres any more, but tweets came late: they become another part,"
                f" by the daemon within an hour, by `archive run --day {day}` at once"
            )
        if not archive.in_database or not await days.exist(connection, day):
            return "whole; not in Postgres any more"
        if any(each.state == "writing" for each in live):
            return "whole, as it was verified last; it is being archived again, or will be"
        if any(each.thinned_at for each in live):
            return "whole; Postgres has only a part of it any more"
        if agree(await days.digests(connection, day), [each.known for each in live]):
            return "whole, and the same as in Postgres"
        return f"whole; Postgres has changed since: {again}"
