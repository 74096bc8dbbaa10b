"""What the commands say of several machines: three NATS servers, a collector and two writers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nats_servers import ASKABLE, NatsCluster, running_cluster, running_server

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator
    from pathlib import Path

    from simulator.server import Server
    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import MakeProgram, Program, Simulate

STREAM = "twitterstream"


class Machines:
    """A collector and two writers, which share the two lanes of a source."""

    def __init__(self, nats: NatsCluster, server: Server, programs: list[Program]) -> None:
        self.nats = nats
        self.server = server
        self.collector, self.first, self.second = programs

    async def status(self) -> Any:
        """What `status --json` says of the machines; empty while fewer than two run."""
        return json.loads(await self.collector.command("status", "--json"))["cluster"] or {}

    async def share_lanes(self) -> bool:
        """Whether both lanes are stored, each by another writer."""
        found = await self.status()
        return sorted(len(each["lanes"]) for each in found.get("daemons", ())) == [0, 1, 1]


@pytest.fixture
async def machines(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
) -> AsyncIterator[Machines]:
    async with (
        running_cluster(tmp_path / "nats", ASKABLE) as nats,
        simulate(rate=200) as server,
    ):
        monitor = {"listen": "", "sample_interval": 1}
        settings = {"bus": nats.url, "status_interval": 1, "monitor": monitor}
        programs = [make_program(name, database, **settings) for name in ("one", "two", "three")]
        await open_tables(database).add_tracks("snow", "rain,sun")
        await programs[0].add_source_to(database, server.url, "x_v2")
        for each in programs[1:]:
            each.share_key_of(programs[0])
        said = await programs[0].command("source", "lanes", "main", "2")
        assert "2 lanes" in said
        await programs[0].start(roles=["collect", "monitor"])
        for each in programs[1:]:
            await each.start(roles=["write"])
        yield Machines(nats, server, programs)


async def test_status_shows_machines_lanes_and_the_bus(
    machines: Machines, eventually: Eventually
) -> None:
    found: dict[str, Any] = {}

    async def complete() -> bool:
        found.update(await machines.status())
        bus = (found.get("bus") or {}).get("state", {})
        return (
            await machines.share_lanes()
            and list(bus.get("replicas", {}).values()) == [True] * 3
            and len(bus.get("servers", {})) == 3
        )

    await eventually(complete)
    text = await machines.collector.command("status")
    assert [lane["number"] for lane in found["lanes"]] == [0, 1]
    assert all(each["sync_always"] for each in found["bus"]["state"]["servers"].values())
    for words in ("collect, monitor", "main, lane 2", "n1 leads", "sync_interval always"):
        assert words.replace("n1", found["bus"]["state"]["leader"]) in text


async def test_status_shows_a_machine_that_is_gone_and_a_lost_quorum(
    machines: Machines, eventually: Eventually
) -> None:
    await eventually(machines.share_lanes)
    for node in machines.nats.nodes[1:]:
        await node.kill()

    async def without_quorum() -> bool:
        found = (await machines.status())["bus"]
        return all("quorum" in each["failing"] for _, each in found["failing"]) and (
            len(found["failing"]) == 3
        )

    async def late() -> bool:
        """What waits for the bus makes the lanes late, although their writers have read all."""
        return all(lane["unsent"] > 3 for lane in (await machines.status())["lanes"])

    async def unknown() -> bool:
        """How many blocks the bus has: it does not say."""
        return not any("blocks" in lane["report"] for lane in (await machines.status())["lanes"])

    await eventually(without_quorum)
    await eventually(late)
    await eventually(unknown)
    text = await machines.collector.command("status")
    assert "Start the servers of the bus that are down" in text
    await machines.first.kill()
    await machines.second.kill()
    await machines.collector.kill()

    async def gone() -> bool:
        found = await machines.status()
        return bool(found.get("gone")) and not found["daemons"]

    await eventually(gone)
    text = await machines.collector.command("status")
    assert "has not been seen since" in text
    assert "wait in the journal" in text


async def test_the_leader_notices_a_lost_quorum_and_lanes_without_writers(
    machines: Machines, database: str, open_tables: OpenTables, eventually: Eventually
) -> None:
    """What writers store is counted for the source, although another daemon collects it."""
    tables = open_tables(database)

    async def alerts(*, closed: bool = False) -> dict[str, str]:
        rows = await tables.rows(
            f"SELECT rule, text FROM alerts WHERE (closed_at IS NOT NULL) = {closed} ORDER BY id"
        )
        return {str(rule): str(text) for rule, text in rows}

    async def opened(*rules: str) -> bool:
        return (await alerts()).keys() >= {*rules}

    async def closed(*rules: str) -> bool:
        return (await alerts(closed=True)).keys() >= {*rules}

    async def counted() -> bool:
        rows = await tables.rows(
            "SELECT sources -> 'main' ->> 'frames', sources -> 'main' ->> 'tweets'"
            " FROM machine_minutes"
        )
        return any(int(frames) > 0 and int(tweets) > 0 for frames, tweets in rows)

    await eventually(machines.share_lanes)
    await eventually(lambda: tables.one("SELECT count(*) FROM tweets"))
    for node in machines.nats.nodes[1:]:
        await node.kill()
    await machines.first.kill()
    await machines.second.kill()
    await eventually(lambda: opened("bus_away", "lane_unwritten", "machine_gone"))
    found = await alerts()
    assert "quorum" in found["bus_away"]
    assert "No machine stores lane" in found["lane_unwritten"]
    assert "has not been seen since" in found["machine_gone"]
    assert "(write), process " in found["machine_gone"], "two of one machine have the same roles"
    await machines.nats.start(*machines.nats.nodes[1:])
    await machines.first.start(roles=["write"])
    await eventually(lambda: closed("bus_away", "lane_unwritten", "machine_gone"))
    await eventually(counted)
    [[waited]] = await tables.rows("SELECT max(commit_p99) FROM machine_minutes")
    assert isinstance(waited, float)
    assert waited < 600


async def test_lanes_need_a_bus(make_program: MakeProgram, database: str) -> None:
    alone = make_program("alone", database)
    code, said = await alone.fails("source", "lanes", "main", "2")
    assert code
    assert "set `bus`" in said
    code, said = await alone.fails("source", "lanes", "main", "1")
    assert "no source named main" in said


async def test_a_machine_without_the_bus_that_others_use_says_so(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    eventually: Eventually,
) -> None:
    async with running_server(tmp_path / "nats") as nats:
        other = make_program("other", database, bus=nats.url, bus_replicas=1)
        await other.start(roles=["write"])
        tables = open_tables(database)
        await eventually(lambda: tables.one("SELECT count(*) FROM daemons WHERE report ? 'bus'"))
        forgetful = make_program("forgetful", database)
        await forgetful.start()
        await eventually(lambda: "`bus` is not set here" in forgetful.log.read_text())


async def test_a_writer_on_another_stream_leaves_all_lanes_to_others_and_says_so(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    tables = open_tables(database)
    async with running_server(tmp_path / "nats") as nats, simulate(rate=100) as server:
        settings = {"bus": nats.url, "bus_replicas": 1}
        collector, right = (make_program(name, database, **settings) for name in ("one", "two"))
        wrong = make_program("three", database, **settings, bus_stream="another")
        await tables.add_tracks("snow")
        await collector.add_source_to(database, server.url, "x_v2")
        for each in (right, wrong):
            each.share_key_of(collector)
        await collector.start(roles=["collect", "monitor"])
        query = "SELECT count(*) FROM daemons WHERE report #>> '{bus,created}' <> ''"
        await eventually(lambda: tables.one(query))
        await wrong.start(roles=["write"])
        await eventually(lambda: wrong.said("not that of the collectors"))
        assert wrong.log.read_text().count("Let `bus_stream` (another)") == 1
        text = " ".join((await collector.command("status")).split())
        assert "it stores nothing, as its stream is not that of the collectors" in text
        assert "Let `bus_stream` (another) and `bus`" in text
        await right.start(roles=["write"])
        await eventually(lambda: tables.one("SELECT count(*) FROM tweets"))
        [[lanes]] = await tables.rows("SELECT lanes FROM daemons WHERE pid = %s", wrong.pid)
        assert not lanes


async def test_a_login_that_is_refused_is_said_once_with_its_remedy(
    tmp_path: Path, database: str, make_program: MakeProgram, eventually: Eventually
) -> None:
    login = "authorization { user: me, password: secret }"
    async with running_server(tmp_path / "nats", login) as nats:
        program = make_program("main", database, bus=nats.url, bus_replicas=1)
        await program.start(roles=["write"])
        await eventually(lambda: "set `bus_credentials`" in program.log.read_text())
        assert program.log.read_text().count("this needs a person") == 1
        nats.settings = ""
        await nats.kill()
        await nats.start()
        await eventually(lambda: "connected to the bus" in program.log.read_text())
