"""The machines of one installation, as their rows in `daemons` show them."""

import uuid
from collections.abc import Iterable, Sequence

import msgspec

from stream.daemon_report import BusReport, LaneReport
from stream.db import Executor
from stream.store import daemons, ingest_log, sources
from stream.store import lanes as lanes_of_sources
from stream.store.daemons import DaemonRow
from stream.store.lanes import HOME, Lane
from stream.store.sources import SourceRow
from stream.tweet import SourceId


class LaneView(msgspec.Struct, frozen=True):
    """A lane of an enabled source, and who stores it."""

    id: SourceId
    source: str
    cell: str
    number: int
    of: int = 1  # lanes that the source has in each cell
    writer: str = ""  # the name of its daemon; empty: none does
    report: LaneReport | None = None

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
    """All daemons on one database."""

    daemons: Sequence[DaemonRow]  # that run
    gone: Sequence[DaemonRow]  # that ended without a stop in the last day, and did not return
    lanes: Sequence[LaneView]  # with a bus
    waiting: Sequence[WaitingJournal]
    uses_bus: bool
    bus: BusView | None  # None: there is none, or no machine runs that sees it


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


def from_rows(
    rows: Sequence[DaemonRow],
    configured: Sequence[SourceRow],
    added: Sequence[Lane],
    cell: str = HOME,
) -> Cluster:
    """Put the rows of the tables together."""
    running = [row for row in rows if row.running]
    uses_bus = any(row.report.bus is not None for row in rows)
    lanes = _lanes(running, configured, added, cell) if uses_bus else []
    return Cluster(running, _gone(rows), lanes, [], uses_bus, _bus(running))


def _gone(rows: Iterable[DaemonRow]) -> list[DaemonRow]:
    """The newest row of each daemon that has not returned under the same name."""
    newest: dict[str, DaemonRow] = {}
    for row in rows:
        known = newest.get(row.name)
        if known is None or (row.running, row.seen_at) > (known.running, known.seen_at):
            newest[row.name] = row
    return [row for row in newest.values() if not row.running]


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
    found = [
        LaneView(
            lane.id,
            source.name,
            lane.cell,
            lane.number,
            source.lanes,
            stored_by.get(lane.id, ""),
            reports.get(lane.id),
        )
        for source in configured
        if source.enabled
        for lane in _lanes_of(source, added)
        if lane.cell == cell
    ]
    return sorted(found, key=lambda each: (each.source, each.cell, each.number))


def _lanes_of(source: SourceRow, added: Sequence[Lane]) -> list[Lane]:
    own = [each for each in added if each.source_id == source.id]
    first = Lane(source.id, source.id, HOME, 0)
    return [each for each in (first, *own) if each.number < source.lanes]


def _bus(running: Sequence[DaemonRow]) -> BusView | None:
    seen = [(row.name, row.report.bus) for row in running if row.report.bus is not None]
    if not seen:
        return None
    works = [report for _, report in seen if not report.failing]
    # Of those for which it fails, one that knows of its servers.
    known = [report for _, report in seen if report.replicas]
    state = next(iter(works or known), seen[0][1])
    return BusView(state, [(name, report) for name, report in seen if report.failing])
