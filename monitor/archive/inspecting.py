"""How an archive and the day in Postgres stand to each other."""

from datetime import date

import pyarrow as pa

from monitor.archive import book, days
from monitor.archive.checking import agree, check_bytes, check_published
from monitor.archive.files import Rows
from monitor.archive.manifest import ArchiveError, Manifest
from monitor.archive.store import Store, StoreError
from monitor.archive.tables import TABLES
from stream.db import Database


def problems(store: Store, made: Manifest) -> list[str]:
    """Everything that is wrong with an archive in the store; empty when it is whole."""
    found = []
    for check in (check_published, check_bytes, _check_rows):
        try:
            check(store, made)
        except (ArchiveError, StoreError, pa.ArrowException) as error:
            found.append(str(error))
    return found


def _check_rows(store: Store, made: Manifest) -> None:
    for role, file in made.files.items():
        if role in TABLES and Rows(store, made.path(role)).number != file.rows:
            raise ArchiveError(f"{made.path(role)} does not have the rows that its manifest says.")


async def differs(database: Database, day: date) -> str:
    """For people: whole, and what there is in Postgres."""
    async with database.patient() as connection:
        live = [each for each in await book.rows(connection, day) if each.in_database]
        if not live:
            return "whole; not in Postgres any more"
        if any(each.state == "writing" for each in live):
            return "whole; it is being archived again"
        if any(each.thinned_at for each in live):
            return "whole; Postgres has only a part of it any more"
        made = [each.known for each in live]
        if agree(await days.digests(connection, day), made):
            return "whole, and the same as in Postgres"
        return "whole; Postgres has changed since, and the next run archives the day again"
