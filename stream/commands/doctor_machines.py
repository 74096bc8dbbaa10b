"""What `doctor` checks of several machines: roles, lanes, versions, settings, keys, clocks."""

from collections.abc import Collection, Iterator, Sequence

from stream import __version__
from stream.cluster import Cluster, different_settings
from stream.commands.finding import Finding, Result
from stream.config import Settings
from stream.daemon_report import CONNECTING, Role
from stream.heartbeat import must_be_equal
from stream.store.daemons import DaemonRow
from stream.store.lanes import HOME
from stream.store.sources import SourceRow
from stream.text import counted
from stream.tweet import SourceId

CLOCK_OFFSET_MAX = 2.0  # seconds between clocks of machines
CONNECT_WITHIN = 10.0  # seconds; a daemon that starts may not be connected to the bus yet
NEEDED: tuple[tuple[Role, str, Result], ...] = (
    ("collect", "nothing is collected", "error"),
    ("write", "nothing is stored", "error"),
    ("monitor", "there are no alerts, archives and maintenance", "warning"),
)


def machine_findings(
    found: Cluster,
    settings: Settings,
    key: str,
    sources: Sequence[SourceRow],
    collected: Collection[SourceId],
) -> Iterator[Finding]:
    """Check what all daemons report of themselves.

    `key`: the fingerprint of this machine's secret.key; `collected`: sources with a collector.
    """
    for name, why in found.missing_cells.items():
        yield Finding(
            "error",
            f"cell {name} cannot be used: {why.rstrip('.')}. Its database has to run at the address"
            " in `cells`",
        )
    for row in found.gone:
        yield Finding(
            "warning",
            f"{row.name} ended without a stop, last seen {row.seen_at:%F %T}: start it again",
        )
    for each in found.waiting:
        yield Finding(
            "warning",
            f"about {each.bytes / 1e6:,.1f} MB of source {each.source} are only in the journal of"
            f" {each.daemon}, which is away: start it, or attach its disk to another machine",
        )
    running = found.daemons
    if running:
        yield from _roles(running, settings.cell)
        yield from _bus(running)
        wanted = [row for row in sources if row.enabled and not settings.cell]
        yield from _work(found, wanted, collected, settings.cell)
        yield from _versions(running)
        yield from _settings(running, settings)
        yield from _keys(running, sources, key)
        yield from _clocks(running)


def _roles(running: Sequence[DaemonRow], cell: str) -> Iterator[Finding]:
    """Each role needs a machine; collectors belong to no cell."""
    for role, without, result in NEEDED:
        if (role != "collect" or not cell) and not any(role in row.roles for row in running):
            start = f"start a machine with `run --role {role}`"
            yield Finding(result, f"no machine has the role {role}, so {without}: {start}")


def _bus(running: Sequence[DaemonRow]) -> Iterator[Finding]:
    """Each daemon has to reach the bus itself, whatever it is like from here."""
    for row in running:
        bus = row.report.bus
        if bus is None or not bus.failing:
            continue
        if bus.failing != CONNECTING or row.report.at - bus.since > CONNECT_WITHIN:
            why = bus.failing.rstrip(".")
            yield Finding("warning", f"{row.name} cannot use the bus: {why}. {bus.remedy}".rstrip())


def _work(
    found: Cluster, sources: Sequence[SourceRow], collected: Collection[SourceId], cell: str
) -> Iterator[Finding]:
    """Each of these sources needs a collector, each lane a writer."""
    idle = [row.name for row in sources if row.id not in collected]
    for name in idle:
        yield Finding(
            "error", f"no machine collects source {name}: {_remedy(found, 'collect', HOME)}"
        )
    orphans = [lane for lane in found.lanes if not lane.writer]
    for lane in orphans:
        yield Finding(
            "error", f"no machine stores {lane.name}: {_remedy(found, 'write', lane.cell)}"
        )
    if not idle and not orphans:
        if cell:
            text = "every lane has a writer"
        elif found.missing_cells:
            names = ", ".join(found.missing_cells)
            text = f"every enabled source has a collector; the lanes of {names} are unknown"
        else:
            text = "every enabled source has a collector, and every lane a writer"
        yield Finding("ok", f"{counted(len(found.daemons), 'daemon')} running: {text}")


def _remedy(found: Cluster, role: Role, cell: str) -> str:
    """What to do when a machine with this role is needed."""
    if any(role in row.roles and row.report.cell == cell for row in found.daemons):
        return f"see the logs of those with the role {role}"
    where = f" of cell {cell}" if cell else ""
    return f"start a machine{where} with `run --role {role}`"


def _versions(running: Sequence[DaemonRow]) -> Iterator[Finding]:
    others = sorted({row.report.version for row in running} - {__version__})
    if others:
        names = ", ".join(row.name for row in running if row.report.version in others)
        yield Finding(
            "warning",
            f"{names} run version {', '.join(others) or 'unknown'}, this machine has {__version__}:"
            " finish the upgrade",
        )


def _settings(running: Sequence[DaemonRow], settings: Settings) -> Iterator[Finding]:
    """Settings that must be equal everywhere, compared to those of this machine."""
    here = must_be_equal(settings)
    different = different_settings(running, here)
    for (name, there), names in different.items():
        yield Finding(
            "error",
            f"`{name}` is {there or 'not set'} on {', '.join(names)}, and"
            f" {here[name] or 'not set'} here: it has to be the same on all machines",
        )
    streams = {row.report.bus.created for row in running if row.report.bus} - {""}
    if len(streams) > 1 and not {"bus", "bus_stream"} & {name for name, _ in different}:
        yield Finding("error", "the machines use different buses: correct `bus` on some of them")
    elif not different:
        yield Finding("ok", "settings that have to be equal are the same on all machines")


def _keys(
    running: Sequence[DaemonRow], sources: Sequence[SourceRow], key: str
) -> Iterator[Finding]:
    """Those that collect need the key with which the credentials of sources are sealed."""
    if not any(row.secrets for row in sources):
        return
    keys = {row.name: row.report.key for row in running if "collect" in row.roles}
    without = [name for name, each in keys.items() if not each]
    if without:
        yield Finding(
            "error",
            f"{', '.join(without)} collects, but has no secret.key: copy it into data_dir from a"
            " machine that has it, with mode 0600",
        )
    if len({*keys.values(), key} - {""}) > 1:
        yield Finding(
            "error",
            "secret.key is not the same on all machines that collect, and here: copy that with"
            " which the credentials were entered",
        )


def _clocks(running: Sequence[DaemonRow]) -> Iterator[Finding]:
    """Clocks compared to that of Postgres: keys of tweets are made of times."""
    for row in running:
        off = row.report.at - row.seen_at.timestamp() if row.report.at else 0.0
        if abs(off) > CLOCK_OFFSET_MAX:
            yield Finding(
                "warning",
                f"the clock of {row.host} and the database's differ by {off:+.0f} s: use NTP",
            )
