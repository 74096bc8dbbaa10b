"""`archive run|list|verify|restore|query`: closed days in a folder, S3, GCS or Azure."""

import asyncio
import contextlib
import csv
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

import click
import msgspec
from rich.table import Table

from monitor.archive import book
from monitor.archive.adopting import names_in, renew
from monitor.archive.book import Archive
from monitor.archive.checking import counted, describe
from monitor.archive.child import tied
from monitor.archive.dropping import need_store
from monitor.archive.manifest import ArchiveError
from stream.commands.context import Context, command

SHOWN = 1000  # rows of an answer that are shown as a table


class Day(click.ParamType[date]):
    """A day (UTC)."""

    name = "day"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        try:
            return value if isinstance(value, date) else date.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no day; write one as in 2026-11-20.", param, ctx)


DAY = Day()


@click.group()
def archive() -> None:
    """Closed days as Parquet files, in a folder, S3, GCS or Azure."""


@archive.command()
@click.option("--day", type=DAY, help="This day only, at once.")
@click.option("--drop", is_flag=True, help="With --day: then drop it from Postgres, due or not.")
@click.option("--tied", "is_tied", is_flag=True, hidden=True)  # as a daemon calls it
@command
async def run(context: Context, day: date | None, drop: bool, is_tied: bool) -> None:
    """Archive closed days, let deletions reach archives, drop what retention allows.

    A running daemon does the same every hour. It can be ended at any moment, and run again.
    """
    if drop and day is None:
        raise click.UsageError("--drop needs --day: which day shall go?")
    from monitor.archive.running import Archivist  # noqa: PLC0415 - pyarrow, which few need

    store = await asyncio.to_thread(need_store, context.settings)
    async with tied() if is_tied else contextlib.nullcontext(), context.database() as database:
        report = context.out.print
        await Archivist(database, context.settings, store, report).run(day, drop=drop)


@archive.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@command
async def list_(context: Context, as_json: bool) -> None:
    """What there is, and in which state."""
    need_store(context.settings)
    async with context.database() as database, database.acquire() as connection:
        archives = await book.rows(connection)
    if as_json:
        context.print_json([_for_programs(each) for each in archives])
    elif archives:
        context.out.print(_table(archives))
    else:
        context.out.print("Nothing is archived yet; `archive run` begins with it.")


def _for_programs(each: Archive) -> dict[str, object]:
    return {
        **{k: v for k, v in msgspec.structs.asdict(each).items() if k != "manifest"},
        "manifest": None if each.manifest is None else msgspec.to_builtins(each.manifest),
    }


def _table(archives: Sequence[Archive]) -> Table:
    table = Table("day", "state", "tweets", "matches", "MB", "verified", "removed", "problem")
    for each in archives:
        removals = each.manifest.removals if each.manifest else ()
        table.add_row(
            describe(each.day, each.part),
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
    """Read archives back, and compare them with their manifests and with Postgres."""
    from monitor.archive.inspecting import differs, problems  # noqa: PLC0415 - as above

    store = await asyncio.to_thread(need_store, context.settings)
    bad = 0
    names = await asyncio.to_thread(names_in, store)
    async with context.database() as database:
        await renew(database, store, names, day)
        async with database.acquire() as connection:
            archives = await book.rows(connection, day)
        if day is not None and not archives:
            raise ArchiveError(f"{day} is not archived; `archive list` shows what is.")
        for each in archives:
            name = describe(each.day, each.part)
            if each.manifest is None:
                context.out.print(f"{name}: never finished; `archive run` does it")
                continue
            found = await asyncio.to_thread(problems, store, each.manifest)
            async with database.acquire() as connection:
                same = await book.inspected(connection, each, " ".join(found) or None)
            if found and not same and each.state != "writing":
                context.out.print(f"{name}: it was written anew meanwhile")
                continue
            bad += bool(found)
            said = found or [await differs(database, each)]
            context.out.print(f"{name}: {' '.join(said)}")
    if bad:
        raise ArchiveError(
            f"{bad} archive{'s are' if bad > 1 else ' is'} damaged. What is still in Postgres stays"
            " there and is archived again: by the daemon within an hour, by `archive run --day DAY`"
            " at once; else bring the files back from a copy."
        )


@archive.command()
@click.argument("day", type=DAY)
@command
async def restore(context: Context, day: date) -> None:
    """Bring a dropped day back into Postgres: tweets, matches and counts."""
    from monitor.archive.restoring import restore_day  # noqa: PLC0415 - as above
    from monitor.archive.running import Archivist  # noqa: PLC0415 - as above

    store = await asyncio.to_thread(need_store, context.settings)
    async with context.database() as database:
        archivist = Archivist(database, context.settings, store, context.out.print)
        async with book.locked(database, day) as connection:
            if connection is None:
                raise ArchiveError(f"Another archiver works on {day} at this moment; try again.")
            await archivist.take_up(connection, day)
            erase = context.settings.deletions == "erase"
            done = await restore_day(connection, store, day, erase=erase)
    context.out.print(
        f"{day}: {counted(done.tweets, 'tweet')} and {done.matches:,} matches are back."
    )
    for said in done.notes:
        context.out.print(said)


@archive.command()
@click.argument("query")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--csv", "as_csv", is_flag=True, help="For spreadsheets.")
@command
async def query(context: Context, query: str, as_json: bool, as_csv: bool) -> None:
    """Run SQL over the archives in place.

    There are the views tweets, matches, tracks and track_tweets; day is a column, and a query that
    names days reads only these. It is DuckDB's SQL, and it can only read.
    """
    from monitor.archive.answering import answer  # noqa: PLC0415 - as above, and DuckDB

    store = await asyncio.to_thread(need_store, context.settings)
    names = await asyncio.to_thread(names_in, store)
    async with context.database() as database:
        await renew(database, store, names)
        async with database.acquire() as connection:
            made = [each.manifest for each in await book.rows(connection) if each.manifest]
    found = answer(store, made, query, lambda said: click.echo(f"Warning: {said}", err=True))
    if as_json:
        await asyncio.to_thread(_print_json, found)
    elif as_csv:
        await asyncio.to_thread(_print_csv, found)
    else:
        _print_table(context, found)


def _print_json(found: Iterator[Any]) -> None:
    """One array, made while it is printed."""
    encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="number")
    separator = "["
    for batch in found:
        for row in batch.to_pylist():
            sys.stdout.write(f"{separator}\n{encoder.encode(row).decode()}")
            separator = ","
    sys.stdout.write("\n]\n" if separator == "," else "[]\n")


def _print_csv(found: Iterator[Any]) -> None:
    writer = csv.writer(sys.stdout)
    for number, batch in enumerate(found):
        if number == 0:
            writer.writerow(batch.schema.names)
        writer.writerows([_plain(value) for value in row.values()] for row in batch.to_pylist())


def _print_table(context: Context, found: Iterator[Any]) -> None:
    table, rows = None, 0
    for batch in found:
        table = table or Table(*batch.schema.names)
        for row in islice(batch.to_pylist(), SHOWN - rows):
            table.add_row(*(_plain(value) for value in row.values()))
            rows += 1
        if rows == SHOWN:
            break
    if table is None:
        context.out.print("No rows.")
        return
    context.out.print(table)
    if rows == SHOWN:
        context.out.print(f"These are the first {SHOWN:,} rows; --csv and --json give all.")


def _plain(value: object) -> str:
    if value is None:
        return ""
    return f"{value:%F %T}" if isinstance(value, datetime) else str(value)
