"""Alert rules about several machines: the bus, the lanes, and machines that are gone.

The leader judges what all machines report of themselves in the table `daemons`.
"""

from collections.abc import Iterator

from monitor.alert.condition import Condition, RuleContext
from monitor.alert.text import clock, lasting, listed, size
from stream.bus import advice
from stream.cluster import Cluster, LaneView, different_settings
from stream.heartbeat import must_be_equal
from stream.store.alerts import Severity
from stream.store.daemons import DaemonRow
from stream.store.sources import LANES_MAX

BUS_AWAY_FOR = 30.0  # seconds; a new leader of the bus is elected within seven
NO_WRITER_FOR = 30.0  # seconds; another machine takes a lane over within ten
LANE_LATE_FOR = 60.0  # seconds
CELL_FOR = 30.0  # seconds
MISSING_FOR = 60.0  # seconds; until then they may just be sent again
GONE_FOR = 60.0  # seconds
REPLICA_FOR = 300.0  # seconds; a restarted server has to catch up
FULL_WARNING, FULL_CRITICAL = 0.8, 0.95  # of the stream's limit, and of a server's store


def bus_away(context: RuleContext) -> Iterator[Condition]:
    """Machines that collect or write cannot use the bus."""
    cluster = _cluster(context)
    failing = cluster.bus.failing if cluster is not None and cluster.bus is not None else ()
    if cluster is not None and failing:
        first = failing[0][1]
        names = listed([name for name, _ in failing])
        text = f"The bus does not work for {names}: {first.failing.rstrip('.')}."
        since = min(report.since for _, report in failing)
        number = float(len(failing))
        yield Condition(
            "bus_away", "", "critical", text, first.remedy, number, BUS_AWAY_FOR, since or None
        )


def bus_full(context: RuleContext) -> Iterator[Condition]:
    """The stream, or the store of a server, is nearly full."""
    cluster = _cluster(context)
    if cluster is None or cluster.bus is None:
        return
    state = cluster.bus.state
    stores = [("", "The bus", state.bytes, state.max_bytes)]
    stores += [
        (name, f"The store of the bus's server {name}", each.bytes, each.max_bytes)
        for name, each in state.servers.items()
    ]
    for subject, what, used, limit in stores:
        share = used / limit if limit > 0 else 0.0
        if share < FULL_WARNING:
            continue
        severity: Severity = "critical" if share >= FULL_CRITICAL else "warning"
        text = f"{what} is {share:.0%} full: {size(used)} of {size(limit)} wait to be stored."
        remedy = (
            "Check why lanes are not stored (`twitterstream.py status`), or raise `bus_max_bytes`"
            " and the servers' `max_file_store`. When it is full, tweets wait in the journals."
        )
        yield Condition("bus_full", subject, severity, text, remedy, 100 * share)


def bus_replicas(context: RuleContext) -> Iterator[Condition]:
    """Fewer servers than wanted have all of the stream; with one more gone it may stop."""
    cluster = _cluster(context)
    if cluster is None or cluster.bus is None or cluster.bus.state.failing:
        return
    state = cluster.bus.state
    behind = sorted(name for name, current in state.replicas.items() if not current)
    if behind:
        text = f"The bus's replicas on {listed(behind)} are away or not current."
    elif 0 < len(state.replicas) < state.wanted:
        text = f"The bus has {len(state.replicas)} replicas of {state.wanted} wanted."
    else:
        return
    off = [name for name in state.without_jetstream if state.replicas.get(name) is not True]
    remedy = "Start the servers that are down, and look at their logs."
    if off:
        text += f" JetStream is off on {listed(off)}."
        only = set(behind) <= set(off)
        remedy = advice.JETSTREAM_OFF if only else f"{remedy} {advice.JETSTREAM_OFF}"
    remedy += (
        " Replicas that are back catch up by themselves. If another server is lost meanwhile, the"
        " bus may stop."
    )
    yield Condition("bus_replicas", "", "warning", text, remedy, float(len(behind)), REPLICA_FOR)


def bus_sync(context: RuleContext) -> Iterator[Condition]:
    """Servers acknowledge messages that are not on their disks yet."""
    cluster = _cluster(context)
    if cluster is None or cluster.bus is None:
        return
    for name, server in cluster.bus.state.servers.items():
        if server.unsynced:
            text = f"The bus's server {name} acknowledges blocks before they are on its disk."
            remedy = (
                'Set `sync_interval: "always"` in its `jetstream` section and restart it. Until'
                " then a power loss costs resends, and the time they take."
            )
            yield Condition("bus_sync", name, "warning", text, remedy, 1.0)


def cell_away(context: RuleContext) -> Iterator[Condition]:
    """The database of another cell cannot be used."""
    cluster = _cluster(context)
    for name, why in cluster.missing_cells.items() if cluster is not None else ():
        text = f"The database of cell {name} cannot be used: {why.rstrip('.')}."
        remedy = (
            "Start it, or correct its address in `cells`. Meanwhile its tweets wait in the journals"
            " of the collectors, and pages lack what it has."
        )
        yield Condition("cell_away", name, "critical", text, remedy, 1.0, CELL_FOR)


def lane_unwritten(context: RuleContext) -> Iterator[Condition]:
    """No machine stores a lane."""
    cluster = _cluster(context)
    for lane in cluster.lanes if cluster is not None else ():
        if lane.writer:
            continue
        text = f"No machine stores {_named(lane)}; its tweets wait on the bus and in the journal."
        remedy = (
            "Start a machine with the role write, or check the logs of those that run:"
            " `twitterstream.py status` lists them."
        )
        yield Condition("lane_unwritten", lane.name, "critical", text, remedy, 1.0, NO_WRITER_FOR)


def lane_lag(context: RuleContext) -> Iterator[Condition]:
    """A lane is stored late; not while Postgres is away, which has its own alert."""
    cluster = _cluster(context) if context.now.database.up else None
    for lane in cluster.lanes if cluster is not None else ():
        report = lane.report
        if report is None or report.lag <= context.settings.alerts.journal_lag:
            continue
        waiting = f"; {report.blocks:,} blocks wait on the bus" if report.blocks else ""
        text = (
            f"Tweets of {_named(lane)} are stored {lasting(report.lag)} late by"
            f" {lane.writer}{waiting}."
        )
        remedy = (
            "Check whether Postgres or its disk is slow, or has long transactions"
            " (`pg_stat_activity`)."
        )
        if lane.of < LANES_MAX:
            at_home = " on a machine of the home database" if lane.cell else ""
            more = min(2 * lane.of, LANES_MAX)
            remedy += (
                f" If one writer is too slow for the source, divide it{at_home}:"
                f" `twitterstream.py source lanes {lane.source} {more}`."
            )
        yield Condition("lane_lag", lane.name, "warning", text, remedy, report.lag, LANE_LATE_FOR)


def frames_missing(context: RuleContext) -> Iterator[Condition]:
    """A lane waits for frames that only the journal of one machine has."""
    cluster = _cluster(context)
    for lane in cluster.lanes if cluster is not None else ():
        for missing in lane.report.missing if lane.report is not None else ():
            assert cluster is not None
            owner = _owner(cluster, missing.journal)
            where = f"the journal of {owner}" if owner else f"the journal {missing.journal}"
            text = (
                f"{_capitalized(_named(lane))} has waited since"
                f" {clock(missing.since, context.now.at)} for tweets that only {where} has."
            )
            remedy = (
                "Start that machine again, or attach its disk to another one that collects. What"
                " other machines collect is stored meanwhile."
            )
            subject = f"{lane.name} {missing.journal[:8]}"
            now = context.now.at
            yield Condition(
                "frames_missing",
                subject,
                "warning",
                text,
                remedy,
                now - missing.since,
                MISSING_FOR,
                missing.since,
            )


def machine_gone(context: RuleContext) -> Iterator[Condition]:
    """A daemon ended without a stop, and has not returned under the same name."""
    cluster = _cluster(context)
    if cluster is None or not cluster.uses_bus:
        return
    for row in cluster.gone:
        seen = row.seen_at.timestamp()
        waiting = [
            f"about {size(each.bytes)} of source {each.source}"
            for each in cluster.waiting
            if each.daemon == row.name
        ]
        text = f"{row.name} has not been seen since {clock(seen, context.now.at)}."
        if waiting:
            text += f" In its journal {listed(waiting)} wait to be stored."
        remedy = (
            f"Start it again: {_start(row)}. The others do its work meanwhile. A machine that will"
            " not return is forgotten after a day."
        )
        yield Condition(
            "machine_gone", row.name, "warning", text, remedy, float(len(waiting)), GONE_FOR, seen
        )


def settings_differ(context: RuleContext) -> Iterator[Condition]:
    """Machines have other settings than this one, where they must be the same."""
    cluster = _cluster(context)
    if cluster is None or not cluster.uses_bus:
        return
    here = must_be_equal(context.settings)
    for (name, there), names in different_settings(cluster.daemons, here).items():
        text = (
            f"The setting `{name}` is {there or 'not set'} for {listed(names)}, and"
            f" {here[name] or 'not set'} on {context.now.host}."
        )
        remedy = (
            "It has to be the same on all machines: correct config.yaml, and restart what has read"
            " the wrong one. `twitterstream.py doctor` compares them."
        )
        subject = f"{name} {names[0]}"
        yield Condition("settings_differ", subject, "warning", text, remedy, float(len(names)))


def _start(row: DaemonRow) -> str:
    if len(row.roles) > 1:  # in one process: the command, not a unit of the cluster
        return "as it was started before"
    return f"`systemctl start twitterstream-role@{row.roles[0]}`"


def _cluster(context: RuleContext) -> Cluster | None:
    return context.now.cluster


def _capitalized(text: str) -> str:
    """With a capital letter at the beginning; names in it stay as they are."""
    return text[:1].upper() + text[1:]


def _named(lane: LaneView) -> str:
    return f"source {lane.name}" if lane.of == 1 else f"lane {lane.number + 1} of {lane.source}"


def _owner(cluster: Cluster, journal: str) -> str:
    """The daemon that has a journal, as far as it is known."""
    for row in (*cluster.daemons, *cluster.gone):
        if any(each.journal == journal for each in row.report.journals):
            return row.name
    return ""
