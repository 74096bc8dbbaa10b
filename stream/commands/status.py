"""`status`: how everything is, in one screen."""

import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import psutil
from rich.table import Table

from stream import ledger, sources, tracks
from stream.commands.context import Context, command
from stream.commands.source import describe
from stream.db import Executor, Row
from stream.sources import SourceRow


class SourcePicture(msgspec.Struct, frozen=True):
    """One source: its row, and what it brought."""

    row: dict[str, object]
    collected: bool  # by some daemon, at this moment
    outcomes: dict[str, int]  # frames, ever
    recent: dict[str, int]  # frames of the last five minutes
    gaps_today: int
    gap_seconds_today: int


class Picture(msgspec.Struct, frozen=True):
    """All that `status` shows."""

    daemons: Sequence[dict[str, object]]
    sources: Sequence[SourcePicture]
    tracks: dict[str, int]  # number of tracks by state
    journal_bytes: int


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@command
async def status(context: Context, as_json: bool) -> None:
    """Who collects, how each source is, and what it brought."""
    async with context.database() as database, database.acquire() as connection:
        picture = await take(connection, context.data_dir / "journal")
    if as_json:
        sources_flat = [
            each.row | {k: v for k, v in msgspec.structs.asdict(each).items() if k != "row"}
            for each in picture.sources
        ]
        context.print_json(msgspec.structs.asdict(picture) | {"sources": sources_flat})
    else:
        _show(context, picture)


async def take(connection: Executor, journals: Path) -> Picture:
    """Read the picture from the tables and the journal folder."""
    rows = await sources.everything(connection)
    states: Counter[str] = Counter(track.state for track in await tracks.everything(connection))
    return Picture(
        daemons=[_daemon(row) for row in await sources.daemons(connection) if _lives(row)],
        sources=[await _source(connection, row) for row in rows],
        tracks=dict(states),
        journal_bytes=sum(path.stat().st_size for path in journals.glob("*/*.journal*")),
    )


def _lives(row: Row) -> bool:
    """Not so a daemon of this machine whose process is gone: it was killed a moment ago."""
    return bool(row["host"] != socket.gethostname() or psutil.pid_exists(row["pid"]))


def _daemon(row: Row) -> dict[str, object]:
    return {**row, "id": str(row["id"])}


async def _source(connection: Executor, row: SourceRow) -> SourcePicture:
    totals = await ledger.totals(connection, row.id)
    gaps = await ledger.gaps_today(connection, row.id)
    return SourcePicture(
        describe(row),
        row.id in await sources.collected(connection),
        {total["outcome"]: total["frames"] for total in totals},
        {total["outcome"]: total["recent"] for total in totals},
        gaps["gaps"],
        gaps["seconds"],
    )


def _state(source: SourcePicture) -> str:
    """The state; where no daemon is left to change it, so much is said."""
    state = str(source.row["state"])
    over = source.collected or state in ("idle", "failed", "disabled", "importing")
    return state if over else f"{state} when the daemon ended"


def _show(context: Context, picture: Picture) -> None:
    out = context.out
    if not picture.daemons:
        out.print("No daemon is running on this database.")
    for daemon in picture.daemons:
        does = "collecting" if daemon["role"] == "collecting" else "standing by, ready to take over"
        out.print(
            f"Daemon {daemon['host']}:{daemon['pid']} since {daemon['started_at']:%F %T}: {does}"
        )
    table = Table("source", "state", "reason", "tweets", "last 5 min", "rejected", "gaps in 24 h")
    for source in picture.sources:
        outcomes, recent = Counter(source.outcomes), Counter(source.recent)
        table.add_row(
            str(source.row["name"]),
            _state(source),
            str(source.row["reason"]),
            f"{outcomes['stored'] + outcomes['unmatched']:,}",
            f"{recent['stored'] + recent['unmatched']:,}",
            f"{outcomes['rejected']:,}",
            f"{source.gaps_today} ({source.gap_seconds_today:,} s)",
        )
    if picture.sources:
        out.print(table)
    else:
        out.print("There is no source yet. `source add --help` tells how to add one.")
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(picture.tracks.items()))
    out.print(f"Tracks: {states or 'none yet; `track add --help` tells how to add one'}")
    out.print(f"Journal: {picture.journal_bytes:,} bytes on disk")
