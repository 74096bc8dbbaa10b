"""Alert rules about several machines: each opens for its cause, and not before or without it."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from alert_rules import NOON, SNAPSHOT, conditions, context
from alert_rules import replace as changed
from monitor.alert.condition import Condition, RuleContext
from monitor.alert.engine import Engine
from monitor.alert.registry import RULES as RULES_BY_NAME
from monitor.alert.registry import is_responsible
from stream import cluster
from stream.cluster import Cluster, WaitingJournal
from stream.daemon_report import (
    BusReport,
    DaemonReport,
    JournalReport,
    LaneReport,
    MissingFrames,
    ServerReport,
)
from stream.store.daemons import DaemonRow, daemon_name
from stream.store.lanes import Lane
from stream.store.sources import SourceRow
from stream.tweet import LaneId, SourceId

RULES = {
    "bus_away",
    "bus_full",
    "bus_replicas",
    "bus_sync",
    "cell_away",
    "lane_unwritten",
    "lane_lag",
    "frames_missing",
    "machine_gone",
    "settings_differ",
}
FULL = 1_000_000_000
GOOD = BusReport(
    created="2026",
    leader="n1",
    replicas={"n1": True, "n2": True, "n3": True},
    wanted=3,
    max_bytes=FULL,
    servers={"n1": ServerReport(sync_always=True, max_bytes=2 * FULL)},
)
SOURCE = SourceRow(
    SourceId(1), "main", "x_v2", None, None, None, True, "streaming", "", None, None, None, lanes=2
)
LANES = [Lane(LaneId(7), SourceId(1), "", 1), Lane(LaneId(8), SourceId(1), "", 2)]


def daemon(host: str, *roles: str, bus: BusReport = GOOD, **more: Any) -> DaemonRow:
    running = more.pop("running", True)
    lanes = more.get("lanes", ())
    at = datetime.fromtimestamp(NOON - 2 if running else NOON - 90, UTC)
    row = uuid.uuid4()
    report = DaemonReport(version="1", at=NOON, bus=bus, **more)
    ids = [each.id for each in lanes]
    return DaemonRow(row, host, 1, "other", at, at, list(roles), ids, report, running)


COLLECTOR = daemon("host1", "collect", "monitor")
WRITER = daemon("host2", "write", lanes=[LaneReport(id=LaneId(1)), LaneReport(id=LaneId(7))])


def of_machines(*rows: DaemonRow, waiting: tuple[WaitingJournal, ...] = ()) -> RuleContext:
    found = cluster.from_rows(rows, [SOURCE], LANES)
    return context(changed(SNAPSHOT, cluster=changed(found, waiting=waiting)))


def found(looked_at: RuleContext) -> dict[str, Condition]:
    return {each.rule: each for each in conditions(looked_at) if each.rule in RULES}


def writer_of(**lane: Any) -> DaemonRow:
    second = LaneReport(id=LaneId(7), **lane)
    return daemon("host2", "write", lanes=[LaneReport(id=LaneId(1)), second])


def with_bus(**bus: Any) -> tuple[DaemonRow, DaemonRow]:
    state = changed(GOOD, **bus)
    return daemon("host1", "collect", bus=state), changed(
        WRITER, report=changed(WRITER.report, bus=state)
    )


def test_nothing_is_wrong_while_all_machines_work() -> None:
    assert not found(of_machines(COLLECTOR, WRITER))
    assert not found(context(SNAPSHOT)), "nor on a single machine"


@pytest.mark.parametrize(
    ("rule", "rows", "words"),
    [
        (
            "bus_away",
            with_bus(failing="it has no quorum", remedy="Start servers.", since=NOON - 40),
            "does not work for host1 (collect) and host2 (write): it has no quorum",
        ),
        ("bus_full", with_bus(bytes=FULL * 81 // 100), "81% full"),
        (
            "bus_full",
            with_bus(servers={"n2": ServerReport(sync_always=True, bytes=97, max_bytes=100)}),
            "server n2 is 97% full",
        ),
        ("bus_replicas", with_bus(replicas={"n1": True, "n2": False, "n3": True}), "on n2"),
        ("bus_replicas", with_bus(replicas={"n1": True}), "1 replicas of 3"),
        (
            "bus_replicas",
            with_bus(
                replicas={"n1": True, "n2": True, "n3": False},
                servers={"n3": ServerReport(jetstream=False)},
            ),
            "on n3 are away or not current. JetStream is off on n3.",
        ),
        ("bus_sync", with_bus(servers={"n3": ServerReport()}), "server n3 acknowledges"),
        ("lane_unwritten", (COLLECTOR,), "No machine stores lane"),
        (
            "lane_lag",
            (COLLECTOR, writer_of(lag=121.0, blocks=1200)),
            "lane 2 of main are stored 2 min 1 s late by host2 (write); 1,200 blocks",
        ),
        (
            "machine_gone",
            (COLLECTOR, WRITER, daemon("host3", "collect", running=False)),
            "host3 (collect) has not been seen since 11:58 UTC",
        ),
        (
            "settings_differ",
            (COLLECTOR, WRITER, daemon("host3", "write", settings={"keep_unmatched": "false"})),
            "`keep_unmatched` is false for host3 (write), and true on ",
        ),
    ],
)
def test_a_cause_opens_its_alert(rule: str, rows: tuple[DaemonRow, ...], words: str) -> None:
    looked_at = of_machines(*rows)
    assert words in found(looked_at)[rule].text
    assert found(looked_at).keys() == {rule}


@pytest.mark.parametrize(
    ("away", "remedy"),
    [
        (["n3"], "See the server's log: its disk may be full. Free some space and restart"),
        (["n2", "n3"], "Start the servers that are down, and look at their logs. See the server's"),
    ],
)
def test_the_remedy_for_a_server_without_jetstream(away: list[str], remedy: str) -> None:
    replicas = {name: name not in away for name in ("n1", "n2", "n3")}
    servers = {"n3": ServerReport(jetstream=False)}
    looked_at = of_machines(*with_bus(replicas=replicas, servers=servers))
    assert found(looked_at)["bus_replicas"].remedy.startswith(remedy)


def test_frames_that_are_missing_name_the_machine_that_has_them() -> None:
    journal = uuid.uuid4().hex
    gone = daemon(
        "host3",
        "collect",
        running=False,
        journals=[JournalReport(source_id=SourceId(1), source="main", journal=journal, end=9)],
    )
    missing = MissingFrames(journal=journal, position=4, since=NOON - 70)
    waiting = WaitingJournal("host3 (collect)", "main", 5_000_000, NOON - 90)
    looked_at = of_machines(COLLECTOR, writer_of(missing=[missing]), gone, waiting=(waiting,))
    assert "only the journal of host3 (collect) has" in found(looked_at)["frames_missing"].text
    assert "about 5.0 MB of source main" in found(looked_at)["machine_gone"].text


@pytest.mark.parametrize(
    ("roles", "remedy"),
    [
        (("write",), "Start it again: `systemctl start twitterstream-role@write`."),
        (("write", "monitor"), "Start it again: as it was started before."),
    ],
)
def test_how_a_machine_is_started_again(roles: tuple[str, ...], remedy: str) -> None:
    looked_at = of_machines(COLLECTOR, WRITER, daemon("host3", *roles, running=False))
    assert found(looked_at)["machine_gone"].remedy.startswith(remedy)


def test_the_database_of_a_cell_that_is_away_is_an_alert() -> None:
    together = changed(cluster.from_rows([COLLECTOR, WRITER], [SOURCE], LANES))
    together = changed(together, missing_cells={"east": "connection refused"})
    alert = found(context(changed(SNAPSHOT, cluster=together)))["cell_away"]
    assert alert.text == "The database of cell east cannot be used: connection refused."


def test_names_keep_their_capital_letters_and_lanes_their_limit() -> None:
    source = changed(SOURCE, name="myFeed", lanes=64)
    missing = MissingFrames(journal=uuid.uuid4().hex, position=4, since=NOON - 70)
    writer = daemon(
        "host2", "write", lanes=[LaneReport(id=LaneId(1), lag=121.0, missing=[missing])]
    )
    together = cluster.from_rows([COLLECTOR, writer], [source], [])
    looked_at = context(changed(SNAPSHOT, cluster=together))
    assert found(looked_at)["frames_missing"].text.startswith("Lane 1 of myFeed has waited")
    assert "divide it" not in found(looked_at)["lane_lag"].remedy


def test_a_machine_that_is_back_is_not_gone() -> None:
    before = daemon("host2", "write", running=False)
    assert not found(of_machines(COLLECTOR, before, WRITER))


def test_a_lane_that_no_longer_exists_needs_no_writer() -> None:
    [*lanes] = cluster.from_rows([COLLECTOR], [SOURCE], LANES).lanes
    assert [each.number for each in lanes] == [0, 1], "the third lane is beyond sources.lanes"


def test_without_a_running_machine_the_lanes_are_still_known() -> None:
    only_gone: Cluster = cluster.from_rows(
        [daemon("host1", "collect", running=False)], [SOURCE], LANES
    )
    assert only_gone.bus is None
    assert [each.writer for each in only_gone.lanes] == ["", ""]


def test_of_several_daemons_on_a_machine_one_reports_its_disks() -> None:
    quiet = changed(SNAPSHOT, reports_machine=False, leads=False)
    assert is_responsible(SNAPSHOT, RULES_BY_NAME["disk_low"].scope, "data")
    assert not is_responsible(quiet, RULES_BY_NAME["disk_low"].scope, "data")
    assert is_responsible(quiet, RULES_BY_NAME["loop_lag"].scope, ""), "each reports itself"
    assert not is_responsible(quiet, RULES_BY_NAME["bus_away"].scope, ""), "the leader does"
    engine = Engine("host1", 3600, daemon_name("host1", ["write", "web"]))
    assert engine.host_of("disk_low") == "host1"
    assert engine.host_of("loop_lag") == "host1 (web, write)"
    assert engine.host_of("bus_away") == ""


def test_a_daemon_with_all_roles_has_the_name_of_its_machine() -> None:
    assert daemon_name("host1", ["collect", "monitor", "web", "write"]) == "host1"
