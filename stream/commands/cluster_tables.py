"""The machines of an installation with a bus on a terminal, for `status`."""

from typing import TYPE_CHECKING

from stream.bus import advice
from stream.cluster import BusView, Cluster, LaneView
from stream.daemon_report import BusReport
from stream.text import counted, format_size

if TYPE_CHECKING:
    from rich.console import Console

UNSENT_SHOWN_MIN = 10.0  # seconds
ROLE_WORDS = {
    "collecting": "collecting",
    "standby": "on standby, ready to take over",
    "other": "not collecting",
}


def show_cluster(out: "Console", found: Cluster) -> None:
    """Print the machines, the lanes, and the bus."""
    from rich.table import Table  # noqa: PLC0415 - only where it is shown

    machines = Table("machine", "process", "since", "roles", "collects", "stores lanes", "version")
    for daemon in found.daemons:
        machines.add_row(
            daemon.host + (f" (cell {daemon.report.cell})" if daemon.report.cell else ""),
            str(daemon.pid),
            f"{daemon.started_at:%F %T}",
            ", ".join(daemon.roles),
            ", ".join(each.source for each in daemon.report.journals if each.collecting) or "–",
            str(len(daemon.lanes)) if daemon.lanes else "–",
            daemon.report.version,
        )
    out.print(machines)
    for name, why in found.missing_cells.items():
        out.print(f"Cell {name} cannot be used: {why}")
    for daemon in found.gone:
        out.print(f"{daemon.name} has not been seen since {daemon.seen_at:%F %T}.")
    for each in found.waiting:
        out.print(
            f"About {each.bytes / 1e6:,.1f} MB of source {each.source} wait in the journal of"
            f" {each.daemon}, which is away."
        )
    if found.lanes:
        lanes = Table("lane", "stored by", "lag", "blocks on the bus", "problem")
        for lane in found.lanes:
            lanes.add_row(lane.name, lane.writer or "no machine", *_lane(lane))
        out.print(lanes)
    if found.bus is not None:
        _show_bus(out, found.bus)


def _lane(lane: LaneView) -> tuple[str, str, str]:
    report = lane.report
    if report is None:
        return "–", "–", "" if lane.writer else "Start a machine with the role write."
    problem = report.failing
    if report.missing:
        problem = "waits for tweets in the journal of another machine"
    if not problem and lane.unsent > UNSENT_SHOWN_MIN:
        problem = "tweets wait in the journal, as the bus does not take them"
    blocks = "–" if report.blocks is None else f"{report.blocks:,}"
    return f"{lane.lag:,.1f} s", blocks, problem


def _show_bus(out: "Console", bus: BusView) -> None:
    state = bus.state
    if state.replicas or not state.failing:
        out.print(f"Bus: {_stream(state)}; {replicas(state)}; {syncing(state)}")
        if off := state.without_jetstream:
            out.print(f"JetStream is off on {', '.join(off)}. {advice.JETSTREAM_OFF}")
    for name, report in bus.failing:
        out.print(f"The bus does not work for {name}: {report.failing}. {report.remedy}")


def _stream(state: BusReport) -> str:
    limit = f" of {format_size(state.max_bytes)}" if state.max_bytes > 0 else ""
    return f"{counted(state.messages, 'block')}, {format_size(state.bytes)}{limit}"


def replicas(state: BusReport) -> str:
    """The servers that have the stream, and which one leads."""
    if state.wanted == 1 and len(state.replicas) <= 1:
        return "one server"
    servers = ", ".join(
        f"{name} {_standing(state, name, current)}"
        for name, current in sorted(state.replicas.items())
    )
    missing = state.wanted - len(state.replicas)
    return f"replicas: {servers}" + (f", {missing} fewer than wanted" if missing > 0 else "")


def _standing(state: BusReport, name: str, current: bool) -> str:
    if name == state.leader:
        return "leads"
    return "is current" if current else "is not current"


def syncing(state: BusReport) -> str:
    """Whether the servers have each write on their disks before they acknowledge it."""
    if len(state.servers) == len(state.without_jetstream):
        return "the servers do not say whether they use sync_interval always"
    lax = [name for name, each in sorted(state.servers.items()) if each.unsynced]
    return f"without sync_interval always: {', '.join(lax)}" if lax else "sync_interval always"
