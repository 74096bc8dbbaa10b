"""Archives one day out of Postgres: snapshot, files, verification, manifest.

Whatever a kill leaves is either finished by the next run, or written again as the next generation.
Files that no manifest names are removed.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from monitor.archive import catalog, file_lists
from monitor.archive.catalog import Archive
from monitor.archive.data_files import TYPES, NdjsonWriter, RowReader, TableWriter, copy_rows
from monitor.archive.manifest import (
    NAME,
    ArchiveError,
    File,
    Manifest,
    Role,
    folder,
    names_of,
    publish,
)
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Store
from monitor.archive.verify import check_bytes, digests_match
from stream.db import Executor, Row
from stream.store import archives, day_snapshot
from stream.store.day_snapshot import MATCHES, TRACKS, TWEETS, DayFacts, Table
from stream.store.partitions import day_bounds

logger = logging.getLogger(__name__)

BATCH_ROWS = 2000  # compared at a time


async def archive_day(
    connection: Executor, store: Store, day: date, part: int, *, ndjson: bool
) -> Manifest:
    """Write and verify all of a day that is in Postgres; the connection holds the day's lock."""
    known = [each for each in await catalog.rows(connection, day) if each.part == part]
    generation = known[0].generation + 1 if known else 1
    await archives.begin(connection, day, part, generation, folder(day, part))
    async with day_snapshot.snapshot(connection):
        facts = await day_snapshot.facts(connection, day)
        made = await _write(connection, store, facts, (day, part, generation), ndjson=ndjson)
        await _verify(connection, store, made, facts)
    await asyncio.to_thread(publish, store, made)
    await catalog.mark_verified(connection, made)
    await asyncio.to_thread(remove_leftovers, store, day, await catalog.rows(connection, day))
    logger.info(
        "archived a day", extra={"day": str(day), "tweets": made.tweets, "bytes": made.bytes}
    )
    return made


async def _write(
    connection: Executor,
    store: Store,
    facts: DayFacts,
    which: tuple[date, int, int],
    *,
    ndjson: bool,
) -> Manifest:
    day, part, generation = which
    place, bounds = folder(day, part), day_bounds(day)
    files: dict[Role, File] = {}
    lines = NdjsonWriter(store, f"{place}/tweets-{generation}.ndjson.zst") if ndjson else None
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
        written_at=facts.moment.now,
        migration=facts.moment.migration,
        tweets=files["tweets"].rows,
        matches=files["matches"].rows,
        first_received_at=facts.first,
        last_received_at=facts.last,
        digests={name: digest.digest for name, digest in facts.digests.items()},
        files=files,
        tracks=facts.tracks,
        gaps=facts.gaps,
        tombstones=facts.tombstones,
        authors_at=facts.moment.authors_at,
    )


async def _write_table(
    connection: Executor,
    store: Store,
    path: str,
    table: Table,
    arguments: Sequence[object],
    lines: NdjsonWriter | None = None,
) -> File:
    file = await asyncio.to_thread(TableWriter, store, path, table)

    def take(rows: pa.Table) -> None:
        file.add(rows)
        if lines is not None:
            lines.add(rows)

    await copy_rows(connection, table, arguments, take)
    return await asyncio.to_thread(file.close)


# -- comparing with Postgres ----------------------------------------------------------------------


async def _verify(connection: Executor, store: Store, made: Manifest, facts: DayFacts) -> None:
    """Read the files back from the store and compare them with Postgres, in the same snapshot."""
    if not digests_match(facts.digests, [made]):
        raise ArchiveError(f"The files of {made.day} differ from Postgres in their number of rows.")
    await asyncio.to_thread(check_bytes, store, made)
    bounds = day_bounds(made.day)
    await _compare(connection, TWEETS, bounds, store, made.path("tweets"))
    await _compare(connection, MATCHES, bounds, store, made.path("matches"))
    await _compare(connection, TRACKS, (), store, made.path("tracks"))


async def _compare(
    connection: Executor, table: Table, arguments: Sequence[object], store: Store, path: str
) -> None:
    """Compare a file with Postgres row by row; ArchiveError at a difference.

    The rows are fetched in binary and become Python values before they are columns: not the way in
    which the file was made.
    """
    reader = await asyncio.to_thread(RowReader, store, path)
    cursor = await connection.cursor(table.fetch_query, *arguments)
    comparing: asyncio.Task[None] | None = None
    try:
        while (batch := await asyncio.to_thread(reader.take, BATCH_ROWS)).num_rows:
            rows = await cursor.fetch(batch.num_rows)
            if comparing is not None:
                await comparing
            comparing = asyncio.create_task(
                asyncio.to_thread(_check_equal, table, rows, batch, path)
            )
        if comparing is not None:
            await comparing
    finally:
        if comparing is not None:
            await asyncio.wait([comparing])
    if await cursor.fetch(1):
        raise ArchiveError(f"{path} lacks rows that Postgres has.")


def _check_equal(table: Table, rows: Sequence[Row], found: pa.Table, path: str) -> None:
    if found.num_rows != len(rows):
        raise ArchiveError(f"{path} has rows that Postgres does not have.")
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True))
    for column, values in zip(table.columns, columns, strict=True):
        expected = pa.chunked_array([pa.array(values, TYPES[column.kind])])
        if not found.column(column.name).equals(expected):
            first = found.column(table.key[0])[0].as_py()
            raise ArchiveError(
                f"{path} differs from Postgres in the column {column.name}, in the rows from"
                f" {first} on."
            )


# -- removing -------------------------------------------------------------------------------------


def remove_leftovers(store: Store, day: date, archives_of_day: Sequence[Archive]) -> None:
    """Remove files in a day's folders that belong to no archive: kills and rewrites leave them.

    Before that, the files that stay are listed. Files of an archive that is being written, or that
    this database does not know, are not touched.
    """
    for archive in archives_of_day:
        if archive.state == "writing" or archive.manifest is None:
            continue
        place, keep = folder(day, archive.part), names_of(archive.manifest)
        entries = list(store.list(place))
        names = {entry.path.removeprefix(f"{place}/") for entry in entries}
        if not keep - {NAME} <= names:
            continue  # the archive itself is incomplete: the other files may be all there is
        if read_manifest(store, day, archive.part) != archive.manifest:
            publish(store, archive.manifest)  # a killed run published one that Postgres never got
        file_lists.write(store, archive.manifest)
        for entry in entries:
            if entry.path.removeprefix(f"{place}/") not in keep:
                store.delete(entry.path)
        store.remove_unfinished(place)


def remove_archive(store: Store, day: date, part: int) -> None:
    """Remove an archive from the store, first what makes files an archive: lists and manifest."""
    place = folder(day, part)
    file_lists.remove(store, day, part)
    store.delete(f"{place}/{NAME}")
    for entry in list(store.list(place)):
        store.delete(entry.path)
    store.remove_unfinished(place)
