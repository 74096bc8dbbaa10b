"""Archiving one day out of Postgres: snapshot, files, reading them back, manifest.

Whatever a kill leaves is either finished by the next run or written again under the next
generation; what no manifest names is removed.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import date

import pyarrow as pa

from monitor.archive import book, days
from monitor.archive.book import Archive
from monitor.archive.checking import agree, check_bytes
from monitor.archive.comparing import compare
from monitor.archive.days import Facts
from monitor.archive.files import TableFile, copied
from monitor.archive.lines import LinesFile
from monitor.archive.manifest import (
    NAME,
    ArchiveError,
    File,
    Manifest,
    Role,
    day_bounds,
    folder,
    names_of,
    publish,
)
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Store
from monitor.archive.tables import MATCHES, TRACKS, TWEETS, Table
from stream.db import Executor

logger = logging.getLogger(__name__)


async def archive_day(
    connection: Executor, store: Store, day: date, part: int, *, ndjson: bool
) -> Manifest:
    """Write and verify all of a day that is in Postgres; the connection holds the day's lock."""
    known = [each for each in await book.rows(connection, day) if each.part == part]
    generation = known[0].generation + 1 if known else 1
    await book.begin(connection, day, part, generation)
    async with days.snapshot(connection):
        found = await days.facts(connection, day)
        made = await _write(connection, store, found, (day, part, generation), ndjson=ndjson)
        await verify(connection, store, made, found)
    await asyncio.to_thread(publish, store, made)
    await book.verified(connection, made)
    await asyncio.to_thread(clean, store, day, await book.rows(connection, day))
    logger.info("archived %s", day, extra={"tweets": made.tweets, "bytes": made.bytes})
    return made


async def _write(
    connection: Executor,
    store: Store,
    found: Facts,
    which: tuple[date, int, int],
    *,
    ndjson: bool,
) -> Manifest:
    day, part, generation = which
    place, bounds = folder(day, part), day_bounds(day)
    files: dict[Role, File] = {}
    lines = LinesFile(store, f"{place}/tweets-{generation}.ndjson.zst") if ndjson else None
    files["tweets"] = await _write_table(
        connection, store, f"{place}/tweets-{generation}.parquet", TWEETS, bounds, lines
    )
    files["matches"] = await _write_table(
        connection, store, f"{place}/matches-{generation}.parquet", MATCHES, bounds
    )
    files["tracks"] = await _write_table(
        connection, store, f"{place}/tracks-{generation}.parquet", TRACKS, ()
    )
    if lines is not None:
        files["ndjson"] = await asyncio.to_thread(lines.close)
    return Manifest(
        day=day,
        part=part,
        generation=generation,
        written_at=found.now,
        migration=found.migration,
        tweets=files["tweets"].rows,
        matches=files["matches"].rows,
        first_received_at=found.first,
        last_received_at=found.last,
        digests={name: digest.digest for name, digest in found.digests.items()},
        files=files,
        tracks=found.tracks,
        gaps=found.gaps,
        tombstones=found.tombstones,
        authors_at=found.authors_at,
    )


async def _write_table(
    connection: Executor,
    store: Store,
    path: str,
    table: Table,
    arguments: Sequence[object],
    lines: LinesFile | None = None,
) -> File:
    file = await asyncio.to_thread(TableFile, store, path, table)

    def take(rows: pa.Table) -> None:
        file.add(rows)
        if lines is not None:
            lines.add(rows)

    await copied(connection, table, arguments, take)
    return await asyncio.to_thread(file.close)


async def verify(connection: Executor, store: Store, made: Manifest, found: Facts) -> None:
    """Read the files back from the store and compare them with Postgres, in the same snapshot."""
    if not agree(found.digests, [made]):
        raise ArchiveError(f"The files of {made.day} do not have the number of rows of Postgres.")
    await asyncio.to_thread(check_bytes, store, made)
    bounds = day_bounds(made.day)
    await compare(connection, TWEETS, bounds, store, made.path("tweets"))
    await compare(connection, MATCHES, bounds, store, made.path("matches"))
    await compare(connection, TRACKS, (), store, made.path("tracks"))


def clean(store: Store, day: date, archives: Sequence[Archive]) -> None:
    """Remove what lies in a day's folders and is of no archive: left by kills and rewritings.

    What is being written, and archives of somebody else that we do not know, stay.
    """
    for archive in archives:
        if archive.state == "writing" or archive.manifest is None:
            continue
        place, keep = folder(day, archive.part), names_of(archive.manifest)
        entries = list(store.list(place))
        names = {entry.path.removeprefix(f"{place}/") for entry in entries}
        if not keep - {NAME} <= names:
            continue  # it is not whole itself: what lies there may be all that there is
        if read_manifest(store, day, archive.part) != archive.manifest:
            publish(store, archive.manifest)  # one that a kill left was never settled with Postgres
        for entry in entries:
            if entry.path.removeprefix(f"{place}/") not in keep:
                store.delete(entry.path)
        store.sweep(place)


def remove(store: Store, day: date, part: int) -> None:
    """Take an archive out of the store: the manifest first, so that nobody believes in the rest."""
    place = folder(day, part)
    store.delete(f"{place}/{NAME}")
    for entry in list(store.list(place)):
        store.delete(entry.path)
    store.sweep(place)
