"""What `status` prints of the bus."""

from io import StringIO

from rich.console import Console

from stream.cluster import BusView, Cluster
from stream.commands.cluster_tables import show_cluster
from stream.daemon_report import BusReport, ServerReport

GOOD = ServerReport(sync_always=True)
OFF = ServerReport(jetstream=False)


def printed(**servers: ServerReport) -> str:
    replicas = {name: each.jetstream for name, each in servers.items()}
    state = BusReport(created="2026", leader="n1", wanted=3, replicas=replicas, servers=servers)
    out = Console(file=StringIO(), width=10_000)
    with out.capture() as said:
        show_cluster(out, Cluster([], [], [], [], True, BusView(state, [])))
    return said.get()


def test_a_server_with_jetstream_off_is_named_with_its_remedy_and_is_not_unsynced() -> None:
    said = printed(n1=GOOD, n2=GOOD, n3=OFF)
    assert "n3 is not current; sync_interval always" in said
    assert "JetStream is off on n3. See the server's log: its disk may be full." in said
    assert "without sync_interval always" not in said


def test_a_server_that_does_not_sync_is_named() -> None:
    said = printed(n1=GOOD, n2=ServerReport(), n3=GOOD)
    assert "without sync_interval always: n2" in said
    assert "JetStream" not in said
