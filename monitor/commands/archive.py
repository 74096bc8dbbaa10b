"""`archive run|list|verify|restore|query`: closed days in a folder, S3, GCS or Azure."""

import asyncio
import contextlib
import csv
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

import click
import msgspec
from rich.table import Table

from monitor.archive import catalog
from monitor.archive.catalog import Archive
from monitor.archive.manifest import ArchiveError, display_name, quantity
from monitor.archive.refresh_catalog import file_names, refresh_outdated
from monitor.archive.store import Store
from monitor.child_process import die_with_parent
from stream.commands.context import Context, command, data_output
from stream.config import Settings
from stream.store import archives

TABLE_ROWS = 1000  # of a result that are shown as a table


class Day(click.ParamType[date]):
    """A day (UTC)."""

    name = "day"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a date; write it like 2026-11-20.", param, ctx)


DAY = Day()


@click.group()
def archive() -> None:
    """Archive closed days as Parquet files in a folder, S3, GCS or Azure."""


def _configured_store(settings: Settings) -> Store:
    """The store that `archive.url` names."""
    if not settings.archive.url:
        raise ArchiveError(
            "Archiving is off: set `archive.url` to a folder such as /srv/archive, or to"
            " s3://bucket/folder, gs://… or az://…"
        )
    return Store(settings.archive.url)


@archive.command()
@click.option("--day", type=DAY, help="Only this day, even if it is not due.")
@click.option("--drop", is_flag=True, help="With --day: drop it from Postgres, due or not.")
@click.option("--die-with-parent", "as_child", is_flag=True, hidden=True)  # for the daemon
@command
async def run(context: Context, day: date | None, drop: bool, as_child: bool) -> None:
    """Archive closed days, apply deletions, and drop expired days.

    A running daemon does this every hour. It can be stopped at any time and run again.
    """
    if drop and day is None:
        raise click.UsageError("--drop needs --day: the day to drop.")
    from monitor.archive.run import ArchiveRun  # noqa: PLC0415 - pyarrow, which few need

    store = await asyncio.to_thread(_configured_store, context.settings)
    async with (
        die_with_parent() if as_child else contextlib.nullcontext(),
        context.database() as database,
    ):
        report = context.out.print
        archiving = ArchiveRun(database, context.settings, store, report)
        await archiving.run(day, drop=drop)
        if not archiving.lines and not as_child:
            report("Nothing to do: no closed day waits to be archived or dropped.")


@archive.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def list_(context: Context, as_json: bool) -> None:
    """List archives and their states."""
    _configured_store(context.settings)
    async with context.database() as database, database.acquire() as connection:
        found = await catalog.rows(connection)
    if as_json:
        context.print_json([_as_json(each) for each in found])
    elif found:
        context.out.print(_table(found))
    else:
        context.out.print("Nothing is archived yet; run `archive run`.")


def _as_json(each: Archive) -> dict[str, object]:
    return {
        **{k: v for k, v in msgspec.structs.asdict(each).items() if k != "manifest"},
        "manifest": None if each.manifest is None else msgspec.to_builtins(each.manifest),
    }


def _table(found: Sequence[Archive]) -> Table:
    table = Table("day", "state", "tweets", "matches", "MB", "verified", "removed", "problem")
    for each in found:
        removals = each.manifest.removals if each.manifest else ()
        table.add_row(
            display_name(each.day, each.part),
            each.state,
            f"{each.tweets:,}",
            f"{each.matches:,}",
            f"{each.bytes / 1e6:,.1f}",
            f"{each.verified_at:%F %H:%M}" if each.verified_at else "",
            f"{sum(removal.erased for removal in removals):,}" if removals else "",
            each.problem or "",
        )
    return table


@archive.command()
@click.argument("day", type=DAY, required=False)
@command
async def verify(context: Context, day: date | None) -> None:
    """Compare archives with their manifests and with Postgres."""
    from monitor.archive.verify import compared_with_postgres, problems  # noqa: PLC0415 - as above

    store = await asyncio.to_thread(_configured_store, context.settings)
    damaged = 0
    names = await asyncio.to_thread(file_names, store)
    async with context.database() as database:
        await refresh_outdated(database, store, names, day)
        async with database.acquire() as connection:
            known = await catalog.rows(connection, day)
        if day is not None and not known:
            raise ArchiveError(f"{day} is not archived; `archive list` shows the archived days.")
        if not known:
            context.out.print("Nothing is archived yet; run `archive run`.")
        for each in known:
            name = display_name(each.day, each.part)
            if each.manifest is None:
                context.out.print(f"{name}: not finished; run `archive run --day {each.day}`")
                continue
            found = await asyncio.to_thread(problems, store, each.manifest)
            async with database.acquire() as connection:
                current = await catalog.mark_checked(connection, each, " ".join(found) or None)
            if found and not current and each.state != "writing":
                context.out.print(f"{name}: written again in the meantime")
                continue
            damaged += bool(found)
            results = found or [await compared_with_postgres(database, each)]
            context.out.print(f"{name}: {' '.join(results)}")
    if damaged:
        raise ArchiveError(
            f"{damaged} archive{'s are' if damaged > 1 else ' is'} damaged. Days that are still in"
            " Postgres stay there, and the daemon archives them again within an hour (`archive run"
            " --day DAY` at once). For other days, restore the files from a copy."
        )


@archive.command()
@click.argument("day", type=DAY)
@command
async def restore(context: Context, day: date) -> None:
    """Restore a dropped day into Postgres: tweets, matches and counts."""
    from monitor.archive.restore import restore_day  # noqa: PLC0415 - as above
    from monitor.archive.run import ArchiveRun  # noqa: PLC0415 - as above

    store = await asyncio.to_thread(_configured_store, context.settings)
    async with context.database() as database:
        archive_run = ArchiveRun(database, context.settings, store, context.out.print)
        async with archives.day_lock(database, day) as connection:
            if connection is None:
                raise ArchiveError(f"Another process is archiving {day}; try again later.")
            await archive_run.refresh_catalog(connection, day)
            erase = context.settings.deletions == "erase"
            done = await restore_day(connection, store, day, erase=erase)
    context.out.print(
        f"{day}: restored {quantity(done.tweets, 'tweet')} and {done.matches:,} matches."
    )
    for note in done.notes:
        context.out.print(note)


@archive.command()
@click.argument("query")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@command
async def query(context: Context, query: str, as_json: bool, as_csv: bool) -> None:
    """Run SQL over the archives without restoring them.

    The views are tweets, matches, tracks and track_tweets, each with the column day; a query that
    selects days reads only those. The dialect is DuckDB's, and statements can only read.
    """
    from monitor.archive.query import query_archives  # noqa: PLC0415 - as above, and DuckDB

    store = await asyncio.to_thread(_configured_store, context.settings)
    names = await asyncio.to_thread(file_names, store)
    async with context.database() as database:
        await refresh_outdated(database, store, names)
        async with database.acquire() as connection:
            made = [each.manifest for each in await catalog.rows(connection) if each.manifest]
    found = query_archives(
        store, made, query, lambda warning: click.echo(f"Warning: {warning}", err=True)
    )
    if as_json:
        await asyncio.to_thread(_print_json, found)
    elif as_csv:
        await asyncio.to_thread(_print_csv, found)
    else:
        _print_table(context, found)


def _print_json(found: Iterator[Any]) -> None:
    """Print one array, row by row."""
    encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")
    out = data_output()
    separator = "["
    for batch in found:
        for row in batch.to_pylist():
            out.write(f"{separator}\n{encoder.encode(row).decode()}")
            separator = ","
    out.write("\n]\n" if separator == "," else "[]\n")


def _print_csv(found: Iterator[Any]) -> None:
    writer = csv.writer(data_output())
    for number, batch in enumerate(found):
        if number == 0:
            writer.writerow(batch.schema.names)
        writer.writerows([_plain(value) for value in row.values()] for row in batch.to_pylist())


def _print_table(context: Context, found: Iterator[Any]) -> None:
    table, rows = None, 0
    for batch in found:
        table = table or Table(*batch.schema.names)
        for row in islice(batch.to_pylist(), TABLE_ROWS - rows):
            table.add_row(*(_plain(value) for value in row.values()))
            rows += 1
        if rows == TABLE_ROWS:
            break
    if table is None:
        context.out.print("No rows.")
        return
    context.out.print(table)
    if rows == TABLE_ROWS:
        context.out.print(f"The first {TABLE_ROWS:,} rows; use --csv or --json for all.")


def _plain(value: object) -> str:
    if value is None:
        return ""
    return f"{value:%F %T}" if isinstance(value, datetime) else str(value)
