"""Three networks at once: however one of them fails, of the others all that was sent is stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pytest

from simulator.faults import Armed, faults_of, kind_of
from simulator.server import Server
from simulator.settings import NetworkName

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import Tables
    from test.flow.program.conftest import MakeProgram, Simulate

WORD = "zeppelin"
# Bluesky last: some of its faults delete accounts.
NETWORKS: tuple[NetworkName, ...] = ("x_v2", "mastodon", "bluesky")
SECRETS = {"x_v2": "bearer_token: T", "mastodon": "access_token: T", "bluesky": ""}
# Modes of Bluesky that matter while a client connects: it may not connect more than 60 times.
ON_CONNECTING = {
    "no-dictionary", "bad-dictionary", "wrong-dictionary", "v1-only", "silent-host", "short-memory",
}  # fmt: skip
MODE_SECONDS = 0.15
WAIT_SECONDS = 0.5


class Networks:
    """The simulated networks, and the program that collects from all of them."""

    def __init__(
        self, servers: Mapping[NetworkName, Server], tables: Tables, eventually: Eventually
    ) -> None:
        self.servers = servers
        self.tables = tables
        self.eventually = eventually
        self.changes = 0

    def sent(self, network: NetworkName) -> Sequence[str]:
        """Ids of the posts that the track matches, in order."""
        server = self.servers[network]
        if network == "bluesky":
            return server.bluesky.activity.sent.matching
        return server.mastodon.truth.matching if network == "mastodon" else server.sent

    async def has_stored(self, network: NetworkName, ids: Sequence[str]) -> bool:
        rows = await self.tables.rows("SELECT native_id FROM tweets WHERE network = %s", network)
        return {native_id for (native_id,) in rows} >= set(ids)

    async def gaps(self, network: NetworkName) -> int:
        found = await self.tables.one(
            "SELECT count(*) FROM gaps JOIN sources ON sources.id = source_id WHERE network = %s",
            network,
        )
        return int(found)

    async def reconnect(self, network: NetworkName) -> None:
        """Begin a new connection at once, whatever the source waits for: it gets a new name."""
        self.changes += 1
        name = f"{network}-{self.changes}"
        await self.tables.rows("UPDATE sources SET name = %s WHERE network = %s", name, network)
        if network == "x_v2":  # rules are added and deleted as well
            value = f"only {self.changes}"
            await self.tables.rows("UPDATE tracks SET value = %s WHERE id = 2", value)

    async def suffer(self, network: NetworkName, fault: str) -> None:
        """Let one fault happen to a network."""
        core = self.servers[network].simulation.core
        kind, attempts = kind_of(fault), core.attempt_count
        core.faults.arm(Armed(fault=fault, seconds=MODE_SECONDS))
        if kind == "mode":
            if network != "bluesky" or fault in ON_CONNECTING:
                await self.reconnect(network)
                # A feed that is off is not connected to.
                await self._wait_for(lambda: core.attempt_count > attempts)
            await asyncio.sleep(MODE_SECONDS)
            core.faults.clear(fault)
            return
        while fault in core.faults.armed:
            # An earlier fault may have left an open connection that is dead.
            if kind != "stream" or not self.servers[network].connections:
                await self.reconnect(network)
            await self._wait_for(lambda: fault not in core.faults.armed)
            if fault in core.faults.armed:
                await self.reconnect(network)

    async def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition for a short time."""
        with contextlib.suppress(pytest.fail.Exception):
            await self.eventually(condition, WAIT_SECONDS)

    async def recover(self, network: NetworkName) -> None:
        """Connect again, and wait until what is sent then is stored, and the gap before it."""
        core = self.servers[network].simulation.core
        attempts = core.attempt_count
        await self.reconnect(network)
        await self.eventually(lambda: core.attempt_count > attempts)
        number = len(self.sent(network))
        await self.eventually(lambda: len(self.sent(network)) > number + 1)
        newest = self.sent(network)[-1:]
        await self.eventually(lambda: self.has_stored(network, newest))


@contextlib.asynccontextmanager
async def running(
    database: str,
    make_program: MakeProgram,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> AsyncIterator[Networks]:
    simulated = {"words": (WORD,), "words_every": 2, "rate": 20}
    async with contextlib.AsyncExitStack() as opened:
        servers = {
            network: await opened.enter_async_context(simulate(network=network, **simulated))
            for network in NETWORKS
        }
        hosts = [servers["bluesky"].url.replace("http", "ws")]
        program = make_program(
            "main",
            database,
            bluesky={"hosts": hosts, "old_hosts": []},
            mastodon={"connect_attempts": 1000},
            x_v2={"connect_attempts": 1000, "max_rule_changes": 1000},
        )
        await tables.add_tracks(WORD)
        await tables.rows("INSERT INTO tracks (value, networks) VALUES ('only', '{x_v2}')")
        for network, server in servers.items():
            words = ["source", "add", network, "--network", network]
            if network != "bluesky":
                words += ["--url", server.url, "--secrets", "-"]
            await program.command(*words, given=SECRETS[network])
        await program.start()
        networks = Networks(servers, tables, eventually)
        for network in NETWORKS:
            await networks.recover(network)
        yield networks
        await program.stop()


async def test_one_that_fails_in_every_way_disturbs_no_other(
    database: str,
    make_program: MakeProgram,
    tables: Tables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    async with running(database, make_program, tables, simulate, eventually) as networks:
        for failing in NETWORKS:
            others = [network for network in NETWORKS if network != failing]
            begun = {network: len(networks.sent(network)) for network in others}
            before = [await networks.gaps(network) for network in others]
            for fault in faults_of(failing):
                await networks.suffer(failing, fault)
            for network in others:
                sent = networks.sent(network)[begun[network] :]
                assert len(sent) > 20
                await eventually(partial(networks.has_stored, network, sent))
            assert [await networks.gaps(network) for network in others] == before
            await networks.recover(failing)
