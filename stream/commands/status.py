"""`status`: daemons, sources, tracks and the journal on one screen."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from stream import cluster
from stream.cells.counts import FrameTotals, frame_totals
from stream.cells.databases import Cells, open_cells
from stream.cluster import Cluster
from stream.commands.cluster_tables import ROLE_WORDS, show_cluster
from stream.commands.context import Context, command, not_counted
from stream.commands.daemons import running_daemons
from stream.commands.source import describe
from stream.db import Executor
from stream.store import gaps, sinks, sources, tracks
from stream.store.daemons import DaemonRow
from stream.store.sinks import SinkRow
from stream.store.sources import SourceRow

_AT_HOME = (
    "Sources and tracks are copies of those in the home database. For their states and gaps, give"
    " `status` with its settings."
)


class SourceStatus(msgspec.Struct, frozen=True):
    """One source: its row, and its counts."""

    row: dict[str, object]
    collected: bool  # by a running daemon
    outcomes: dict[str, int]  # frames in total
    recent: dict[str, int]  # frames of the last five minutes
    gaps_last_day: int
    gap_seconds_last_day: int


class Status(msgspec.Struct, frozen=True):
    """Everything that `status` shows."""

    daemons: Sequence[DaemonRow]
    cluster: Cluster | None  # None: there is no bus
    sources: Sequence[SourceStatus]
    tracks: dict[str, int]  # number of tracks by state
    journal_bytes: int
    sinks: Sequence[SinkRow]
    incomplete: tuple[str, ...]  # cells that did not answer: their tweets are not counted


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command
async def status(context: Context, as_json: bool) -> None:
    """Show running daemons, source states, counts, gaps and sinks."""
    async with (
        context.database() as database,
        open_cells(context.settings.cells, size=1) as others,
        database.acquire() as connection,
    ):
        cells = Cells(database, others)
        together = await cluster.read_all(connection, cells, context.settings.cell)
        found = await take(cells, connection, context.data_dir / "journal", together)
    if as_json:
        sources_flat = [
            each.row | {k: v for k, v in msgspec.structs.asdict(each).items() if k != "row"}
            for each in found.sources
        ]
        context.print_json(msgspec.structs.asdict(found) | {"sources": sources_flat})
    else:
        _show(context, found)


async def take(cells: Cells, connection: Executor, journals: Path, together: Cluster) -> Status:
    """Read the status from the tables and the journal folder."""
    rows = await sources.get_all(connection)
    totals = await frame_totals(cells, connection, [row.id for row in rows])
    states: Counter[str] = Counter(track.state for track in await tracks.get_all(connection))
    return Status(
        daemons=await running_daemons(connection),
        cluster=together if together.uses_bus else None,
        sources=[await _source(connection, row, totals.value[row.id]) for row in rows],
        tracks=dict(states),
        journal_bytes=sum(path.stat().st_size for path in journals.glob("*/*.journal*")),
        sinks=await sinks.get_all(connection),
        incomplete=totals.missing,
    )


async def _source(connection: Executor, row: SourceRow, totals: FrameTotals) -> SourceStatus:
    last_day = await gaps.gaps_last_day(connection, row.id)
    return SourceStatus(
        describe(row),
        row.id in await sources.collected_ids(connection),
        dict(totals.frames),
        dict(totals.recent),
        last_day["gaps"],
        last_day["seconds"],
    )


def _show(context: Context, found: Status) -> None:
    out = context.out
    if not found.daemons:
        out.print("No daemon is running on this database.")
    if found.cluster is not None:
        show_cluster(out, found.cluster)
    else:
        for daemon in found.daemons:
            does = ROLE_WORDS.get(daemon.role, daemon.role)
            out.print(f"Daemon {daemon.host}:{daemon.pid} since {daemon.started_at:%F %T}: {does}")
    if found.incomplete:
        out.print(not_counted(found.incomplete))
    if context.settings.cell:
        _show_sources(out, found.sources, of_cell=True)
        out.print(_AT_HOME)
    else:
        _show_sources(out, found.sources)
        states = ", ".join(f"{number:,} {state}" for state, number in sorted(found.tracks.items()))
        out.print(f"Tracks: {states or 'none yet; see `track add --help`'}")
    out.print(f"Journal: {found.journal_bytes:,} bytes on disk")
    for sink in found.sinks:
        out.print(f"Sink {sink.name}: {sink.state}")


def _show_sources(out: Console, found: Sequence[SourceStatus], *, of_cell: bool = False) -> None:
    """Print each source; a cell knows neither states nor gaps, only what it has stored."""
    if not found:
        out.print("There is no source yet." + ("" if of_cell else " See `source add --help`."))
        return
    states = () if of_cell else ("state", "reason")
    losses = () if of_cell else ("gaps in 24 h",)
    table = Table("source", *states, "tweets", "last 5 min", "rejected", *losses)
    for source in found:
        outcomes, recent = Counter(source.outcomes), Counter(source.recent)
        gaps_text = f"{source.gaps_last_day} ({source.gap_seconds_last_day:,} s)"
        table.add_row(
            str(source.row["name"]),
            *(str(source.row[name]) for name in states),
            f"{outcomes['stored'] + outcomes['unmatched']:,}",
            f"{recent['stored'] + recent['unmatched']:,}",
            f"{outcomes['rejected']:,}",
            *(gaps_text for _ in losses),
        )
    out.print(table)
