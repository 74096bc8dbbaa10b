"""The machines of one installation, as their rows in `daemons` show them."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from stream.cells.databases import Cells
from stream.daemon_report import CONNECTING, BusReport, LaneReport
from stream.db import Executor
from stream.store import daemons, ingest_log, sources
from stream.store import lanes as lanes_of_sources
from stream.store.daemons import DaemonRow
from stream.store.lanes import HOME, Lane
from stream.store.sources import SourceRow
from stream.tweet import LaneId, SourceId


class LaneView(msgspec.Struct, frozen=True):
    """A lane of an enabled source, and who stores it."""

    id: LaneId
    source: str
    cell: str
    number: int
    of: int = 1  # lanes that the source has in each cell
    writer: str = ""  # the name of its daemon; empty: none does
    report: LaneReport | None = None
    unsent: float = 0.0  # seconds that tweets of the source wait for the bus

    @property
    def lag(self) -> float:
        """Seconds that tweets have waited, for the bus or for the writer."""
        return max(self.unsent, 0.0 if self.report is None else self.report.lag)

    @property
    def name(self) -> str:
        """The source, with a number from 1 where it has several lanes."""
        name = self.source if self.of == 1 else f"{self.source}, lane {self.number + 1}"
        return f"{name}, in {self.cell}" if self.cell else name


class WaitingJournal(msgspec.Struct, frozen=True):
    """Frames of a source that only the disk of a machine has that is away."""

    daemon: str
    source: str
    bytes: int
    since: float  # it is away; Unix time


class BusView(msgspec.Struct, frozen=True):
    """The bus, as the machines see it."""

    state: BusReport  # of one for which it works, if there is any
    failing: Sequence[tuple[str, BusReport]]  # the names of those for which it does not


class Cluster(msgspec.Struct, frozen=True):
    """All daemons on one database, or on all those of an installation."""

    daemons: Sequence[DaemonRow]  # that run
    gone: Sequence[DaemonRow]  # that ended without a stop in the last day, and did not return
    lanes: Sequence[LaneView]  # with a bus
    waiting: Sequence[WaitingJournal]
    uses_bus: bool
    bus: BusView | None  # None: there is none, or no machine runs that sees it
    missing_cells: Mapping[str, str] = {}  # those that do not answer, and why


async def read(connection: Executor, cell: str = HOME) -> Cluster:
    """What the tables of a cell say at this moment: those of its own daemons and lanes."""
    rows = await daemons.get_all(connection)
    configured = await sources.get_all(connection)
    found = from_rows(rows, configured, await lanes_of_sources.get_all(connection), cell)
    away = {
        each.journal: (row, each)
        for row in found.gone
        for each in row.report.journals
        if each.journal not in _open_journals(found.daemons)
    }
    stored = await ingest_log.positions_of(connection, [uuid.UUID(name) for name in away])
    waiting = [
        WaitingJournal(row.name, journal.source, journal.end - position, row.seen_at.timestamp())
        for name, (row, journal) in away.items()
        if (position := stored.get(uuid.UUID(name), 0)) < journal.end
    ]
    return msgspec.structs.replace(found, waiting=waiting)


async def read_all(connection: Executor, cells: Cells, cell: str = HOME) -> Cluster:
    """As `read`, of all databases when it is asked of home: a cell knows only itself."""
    if not cells.others:
        return await read(connection, cell)
    answers = await cells.ask(connection, read)
    found = [answers.by_cell[name] for name in cells.names if name in answers.by_cell]
    buses = [each.bus for each in found if each.bus is not None]
    failing = [daemon for each in buses for daemon in each.failing]
    return msgspec.structs.replace(
        answers.by_cell[HOME],
        daemons=[row for each in found for row in each.daemons],
        gone=[row for each in found for row in each.gone],
        lanes=[lane for each in found for lane in each.lanes],
        bus=BusView(buses[0].state, failing) if buses else None,
        missing_cells={name: cells.why_missing.get(name, "") for name in answers.missing},
    )


def from_rows(
    rows: Sequence[DaemonRow],
    configured: Sequence[SourceRow],
    added: Sequence[Lane],
    cell: str = HOME,
) -> Cluster:
    """Put the rows of the tables together."""
    running = [row for row in rows if row.running]
    # What runs counts: `bus` may have been removed from the settings since others ended.
    uses_bus = cell != HOME or any(row.report.bus is not None for row in running or rows)
    lanes = _lanes(running, configured, added, cell) if uses_bus else []
    return Cluster(running, _gone(rows), lanes, [], uses_bus, _bus(running))


def different_settings(
    running: Sequence[DaemonRow], here: Mapping[str, str]
) -> dict[tuple[str, str], list[str]]:
    """Settings that must be the same on all machines, but differ from those here.

    By name and value there: the names of daemons.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for row in running:
        for name, there in row.report.settings.items():
            if there != here.get(name, there):
                found.setdefault((name, there), []).append(row.name)
    return found


def _gone(rows: Sequence[DaemonRow]) -> list[DaemonRow]:
    """Daemons that have ended and were not started again on the same machine."""
    newest_start: dict[tuple[str, ...], datetime] = {}
    for row in sorted(rows, key=lambda each: each.started_at):
        newest_start[row.host, *row.roles] = row.started_at
    return [
        row for row in rows if not row.running and newest_start[row.host, *row.roles] <= row.seen_at
    ]


def _open_journals(running: Iterable[DaemonRow]) -> set[str]:
    return {each.journal for row in running for each in row.report.journals}


def _lanes(
    running: Sequence[DaemonRow],
    configured: Sequence[SourceRow],
    added: Sequence[Lane],
    cell: str,
) -> list[LaneView]:
    """The lanes that have to be stored; of a source with one lane, the source itself."""
    stored_by = {lane: row.name for row in running for lane in row.lanes}
    reports = {each.id: each for row in running for each in row.report.lanes}
    unsent: dict[SourceId, float] = {}
    for journal in (each for row in running for each in row.report.journals):
        unsent[journal.source_id] = max(journal.lag, unsent.get(journal.source_id, 0.0))
    found = [
        LaneView(
            lane.id,
            source.name,
            lane.cell,
            lane.number,
            source.lanes,
            stored_by.get(lane.id, ""),
            reports.get(lane.id),
            unsent.get(source.id, 0.0),
        )
        for source in configured
        if source.enabled
        for lane in lanes_of_sources.in_use(source.id, source.lanes, added)
        if lane.cell == cell
    ]
    return sorted(found, key=lambda each: (each.source, each.cell, each.number))


def _bus(running: Sequence[DaemonRow]) -> BusView | None:
    seen = [(row.name, row.report.bus) for row in running if row.report.bus is not None]
    if not seen:
        return None
    works = [report for _, report in seen if not report.failing]
    # Of those for which it fails, one that knows of its servers.
    known = [report for _, report in seen if report.replicas]
    state = next(iter(works or known), seen[0][1])
    failing = [each for each in seen if each[1].failing not in ("", CONNECTING)]
    return BusView(state, failing)
