"""`export`: tweets of tracks as files; `exports run` is the process of the daemon."""

import asyncio
import contextlib
import shutil
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import click
import msgspec

from monitor.child_process import die_with_parent
from stream import export_requests, files
from stream.commands.context import Context, command
from stream.commands.parameters import RowId, UtcTime
from stream.db import Executor
from stream.errors import InvalidField, TwitterstreamError
from stream.export_requests import FORMATS, GRAPH_LIMIT, GRAPH_TITLES, ExportRequest
from stream.store import exports as store
from stream.store.export_columns import COLUMN_SETS
from stream.text import format_size


@click.command()
@click.argument("tracks", metavar="TRACK...", type=RowId("track"), nargs=-1, required=True)
@click.option(
    "--format",
    type=click.Choice([*FORMATS]),
    default="csv",
    show_default=True,
    help="The format of the files.",
)
@click.option(
    "--columns",
    type=click.Choice([*COLUMN_SETS]),
    show_default="everything",
    help="Which columns; not for formats with columns of their own.",
)
@click.option("--since", type=UtcTime(), help="From this time on (UTC).")
@click.option("--until", type=UtcTime(), help="Before this time (UTC).")
@click.option("--words", default="", help="Only tweets with all of these words in their text.")
@click.option("--pseudonyms", is_flag=True, help="Replace names and ids of accounts.")
@click.option(
    "--graph",
    type=click.Choice([*GRAPH_TITLES]),
    show_default="co-hashtag",
    help="What --format gexf links.",
)
@click.option(
    "--min-weight",
    type=click.IntRange(1, GRAPH_LIMIT),
    show_default="1",
    help="Of a graph: only edges of at least so many tweets.",
)
@click.option(
    "--max-nodes",
    type=click.IntRange(1, GRAPH_LIMIT),
    show_default=str(store.MAX_NODES),
    help="Of a graph: only so many nodes, those with the heaviest edges.",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1, 1_000_000),
    help="Rows of each file, at most (default: exports.part_rows).",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write (default: export-ID.zip).",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files into this new folder, instead of a .zip.",
)
@command
async def export(
    context: Context,
    /,
    tracks: tuple[int, ...],
    since: datetime | None,
    until: datetime | None,
    output: Path | None,
    folder: Path | None,
    **options: object,
) -> None:
    """Export the tweets of tracks, from Postgres and from archives, as a .zip of files.

    If it is interrupted, a running daemon finishes it; see the page Exports.
    """
    from monitor.export.run import do, new_worker  # noqa: PLC0415 - pyarrow, which few need

    _check_target(output, folder)
    times = {"since": since, "until": until}
    wanted = msgspec.convert({"tracks": tracks, **times, **options}, ExportRequest)
    worker = new_worker()
    async with context.database() as database:
        async with database.transaction() as connection:
            number = await _add(connection, context, wanted)
            claimed = await worker.claim(connection, number)
        assert claimed is not None
        try:
            with _progress(context) as show:
                made = await do(database, context.settings, worker, claimed, lambda _: None, show)
        except asyncio.CancelledError:
            click.echo(f"A running daemon finishes export {number}: page Exports.", err=True)
            raise
        async with database.acquire() as connection:
            found = await store.by_id(connection, number)
    if made is None or found is None:
        why = "it was cancelled" if found is None or not found.reason else found.reason
        raise TwitterstreamError(f"Export {number} was not finished: {why}")
    target = folder or output or Path(f"export-{number}.zip")
    await asyncio.to_thread(_unpack if folder else _copy, made, target)
    context.out.print(f"{target}: {found.contents}, {format_size(found.size)}")


async def _add(connection: Executor, context: Context, wanted: ExportRequest) -> int:
    try:
        return await export_requests.add(connection, context.settings, None, wanted)
    except InvalidField as error:
        option = "TRACK" if error.field == "tracks" else f"--{error.field.replace('_', '-')}"
        raise click.BadParameter(str(error), param_hint=option) from error


@contextlib.contextmanager
def _progress(context: Context) -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says how far it is, until the end; elsewhere nothing."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    hidden = not context.out.is_terminal
    with Progress(*columns, console=context.out, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None)
        yield lambda text: progress.update(task, description=text)


def _check_target(output: Path | None, folder: Path | None) -> None:
    """Refuse at once what could not be written at the end."""
    if output is not None and folder is not None:
        raise click.UsageError("Choose --output (a .zip) or --folder, not both.")
    target = folder or output
    if target is None:
        return
    with _explained(target):
        if not target.resolve().parent.is_dir():
            raise TwitterstreamError(
                f"{target} cannot be written: there is no folder {target.parent}. Create it first."
            )
        if output is not None and output.exists() and not output.is_file():
            raise TwitterstreamError(f"{output} cannot be written: it is not a file.")
        if folder is not None and folder.exists() and any(folder.iterdir()):
            raise TwitterstreamError(f"{folder} is not empty: give the name of a new folder.")


def _copy(made: Path, target: Path) -> None:
    """Write the file where it was wanted, readable by its owner only."""
    with _explained(target), made.open("rb") as source, files.replacing(target) as file:
        shutil.copyfileobj(source, file)


def _unpack(made: Path, target: Path) -> None:
    """Write what is in the file into a folder, which gets its name when it is complete."""
    target = target.resolve()
    partial = target.with_name(f"{target.name}{files.PARTIAL}")
    with _explained(target):
        shutil.rmtree(partial, ignore_errors=True)  # of a command that was killed
        partial.mkdir(mode=0o700)
        try:
            with zipfile.ZipFile(made) as package:
                for name in package.namelist():
                    with package.open(name) as source, files.replacing(partial / name) as file:
                        shutil.copyfileobj(source, file)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TwitterstreamError(f"{target} cannot be written: {error.strerror}.") from error


@click.group(hidden=True)
def exports() -> None:
    """Export what the table `exports` says."""


@exports.command()
@click.option("--die-with-parent", "as_child", is_flag=True, hidden=True)  # for the daemon
@command
async def run(context: Context, as_child: bool) -> None:
    """Do what waits, then end. A running daemon calls this."""
    from monitor.export.run import ExportRun  # noqa: PLC0415 - as above

    async with (
        die_with_parent() if as_child else contextlib.nullcontext(),
        context.database() as database,
    ):
        await ExportRun(database, context.settings, context.out.print).run()
