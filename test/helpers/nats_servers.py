"""NATS JetStream of a test: one server, or three as a cluster, with faults on demand.

Each node keeps its store in a folder of its own and syncs every write, as in production. A node can
be killed, frozen, wiped and started again on the same ports; bits of its store can be flipped.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from server_process import ServerProcess
from servers import free_port
from waiting import wait_for

SERVER = Path(sys.executable).with_name("nats-server")
POLL = 0.05  # seconds
ANSWER_WITHIN = aiohttp.ClientTimeout(30)  # a frozen node does not answer at all
FLIPS = 20  # bits in each file
HELD = ("messages", "bytes", "first_seq", "last_seq")

# Clients may ask the servers how they store, as in deploy/cluster/nats-server.conf.
ASKABLE = """
accounts {
  BUS {
    jetstream: enabled
    users: [{ user: bus, password: bus }]
    imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }]
  }
  SYS {
    users: [{ user: admin, password: admin }]
    exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response: "stream", accounts: [BUS] }]
  }
}
system_account: SYS
no_auth_user: bus
"""

Json = dict[str, Any]
_until = partial(wait_for, poll=POLL)


class NatsServer(ServerProcess):
    """A node, alone or of a cluster; its ports are for clients, monitoring and other nodes."""

    def __init__(self, folder: Path, name: str, settings: str, ports: Sequence[int]) -> None:
        super().__init__()
        self.folder = folder
        self.name = name
        self.settings = settings  # more lines of its configuration
        self.port, self.monitor_port, self.route_port = ports
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = folder / "store"

    async def start(self, routes: Sequence[int] = ()) -> None:
        """Start it, and wait until its JetStream answers; with others this takes a majority.

        `routes` are the ports for other nodes of all nodes of its cluster.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure(routes)
        await self._launch()
        await _until(self._serves, what=f"{self.name} starts: see {self.folder}/log.txt")

    def reload(self, settings: str) -> None:
        """Change its settings while it runs; it is alone."""
        assert self.process is not None
        self.settings = settings
        self._configure(())
        self.process.send_signal(signal.SIGHUP)

    async def health(self) -> str:
        """What /healthz of its JetStream says: "ok", a fault, or "" without an answer."""
        return str((await self._ask("/healthz?js-server-only=true")).get("status", ""))

    async def jetstream(self) -> Json:
        """What /jsz says of the node and its streams; empty without an answer."""
        return await self._ask("/jsz?accounts=true&streams=true")

    async def stream(self, name: str) -> Json:
        """What /jsz says of a stream; empty when the node does not have or know it."""
        for account in (await self.jetstream()).get("account_details", ()):
            for stream in account.get("stream_detail", ()):
                if stream["name"] == name:
                    return dict(stream)
        return {}

    def wipe(self) -> None:
        """Delete its whole store, as when its disk was replaced; it must not run."""
        assert not self.runs
        shutil.rmtree(self.store)

    def flip_bits(self, stream: str, seed: int = 0) -> int:
        """Flip bits all over the stored messages of a stream; how many files were damaged."""
        chance = random.Random(seed)
        files = sorted(self.store.glob(f"jetstream/*/streams/{stream}/msgs/*.blk"))
        damaged = [path for path in files if path.stat().st_size]
        for path in damaged:
            data = bytearray(path.read_bytes())
            for place in chance.sample(range(len(data)), min(FLIPS, len(data))):
                data[place] ^= 1 << chance.randrange(8)
            with path.open("r+b") as file:  # in place: the server may have it open
                file.write(data)
        return len(damaged)

    def _configure(self, routes: Sequence[int]) -> None:
        (self.folder / "nats.conf").write_text(self.configuration(routes), encoding="utf-8")

    async def _launch(self) -> None:
        with (self.folder / "log.txt").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                SERVER,
                "-c",
                "nats.conf",
                cwd=self.folder,
                env=os.environ | {"NATS_NAME": self.name},
                stdout=log,
                stderr=log,
            )

    async def _serves(self) -> bool:
        if not self.runs:  # another test may have had its port for a moment
            await self._launch()
        return await self.health() == "ok"

    async def _ask(self, path: str) -> Json:
        url = f"http://127.0.0.1:{self.monitor_port}{path}"
        if not self.runs:
            return {}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, json.JSONDecodeError):
            async with aiohttp.request("GET", url, timeout=ANSWER_WITHIN) as response:
                return dict(json.loads(await response.read()))
        return {}

    def configuration(self, routes: Sequence[int]) -> str:
        """Its file of settings; `routes` as in `start`."""
        lines = [
            f"server_name: {self.name}",
            f'listen: "127.0.0.1:{self.port}"',
            f'http: "127.0.0.1:{self.monitor_port}"',
            'jetstream { store_dir: "store", sync_interval: "always" }',
        ]
        if routes:
            urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
            listen = f'listen: "127.0.0.1:{self.route_port}"'
            lines.append(f"cluster {{ name: test, {listen}, routes: [{urls}] }}")
        return "\n".join([*lines, self.settings, ""])


class NatsCluster:
    """Three nodes; a stream with three replicas goes on while two of them run."""

    def __init__(
        self, folder: Path, settings: str = "", server: type[NatsServer] = NatsServer
    ) -> None:
        ports = iter(_distinct_ports(9))
        self.nodes = [
            server(folder / name, name, settings, [next(ports) for _ in range(3)])
            for name in ("n1", "n2", "n3")
        ]
        self.url = ",".join(node.url for node in self.nodes)

    async def start(self, *nodes: NatsServer) -> None:
        """Start these nodes, or all; wait until all that run are one cluster with a leader."""
        routes = [node.route_port for node in self.nodes]
        await asyncio.gather(*(node.start(routes) for node in nodes or self.nodes))
        await _until(self._complete, what="the nodes find each other")

    async def leader(self, stream: str) -> NatsServer:
        """The node that leads a stream, as soon as all nodes that run agree on it."""
        found: list[NatsServer] = []

        async def met() -> bool:
            found[:] = [node] if (node := await self._leader(stream)) else []
            return bool(found)

        await _until(met, what=f"{stream} has a leader")
        return found[0]

    async def kill_leader(self, stream: str) -> NatsServer:
        """Kill the node that leads a stream; which one it was."""
        node = await self.leader(stream)
        await node.kill()
        return node

    async def in_step(self, stream: str) -> None:
        """Wait until all nodes run and hold the same messages of a stream."""

        async def met() -> bool:
            leader = await self._leader(stream)
            if leader is None:
                return False
            details = [await node.stream(stream) for node in self.nodes]
            current = await self._is_followed(leader, stream)
            held = [{name: each.get("state", {}).get(name) for name in HELD} for each in details]
            return current and held[0] == held[1] == held[2]

        await _until(met, what=f"all replicas of {stream} hold the same")

    async def followed(self, stream: str) -> None:
        """Wait until all nodes run and follow the leader of a stream, which may be written to."""

        async def met() -> bool:
            leader = await self._leader(stream)
            return leader is not None and await self._is_followed(leader, stream)

        await _until(met, what=f"all nodes follow the leader of {stream}")

    async def _is_followed(self, leader: NatsServer, stream: str) -> bool:
        replicas = (await leader.stream(stream)).get("cluster", {}).get("replicas", ())
        return [each["current"] for each in replicas] == [True, True]

    async def kill(self) -> None:
        """Kill all nodes at once."""
        await asyncio.gather(*(node.close() for node in self.nodes))

    def freeze(self) -> None:
        """Let all nodes stand still: connections stay open, but nothing answers."""
        for node in self._running():
            node.freeze()

    def thaw(self) -> None:
        for node in self._running():
            node.thaw()

    def _running(self) -> list[NatsServer]:
        return [node for node in self.nodes if node.runs]

    async def _complete(self) -> bool:
        running = self._running()
        for node in running:
            meta = (await node.jetstream()).get("meta_cluster", {})
            if meta.get("leader") == node.name and meta["cluster_size"] == len(self.nodes):
                replicas = meta.get("replicas", ())
                current = {each["name"] for each in replicas if each["current"]} | {node.name}
                return current >= {each.name for each in running}
        return False

    async def _leader(self, stream: str) -> NatsServer | None:
        running = self._running()
        details = [await node.stream(stream) for node in running]
        names = {detail.get("cluster", {}).get("leader") for detail in details}
        return next((node for node in running if names == {node.name}), None)


@contextlib.asynccontextmanager
async def running_server(folder: Path, settings: str = "") -> AsyncIterator[NatsServer]:
    """One server, for tests that need no replicas."""
    server = NatsServer(folder, "n1", settings, _distinct_ports(3))
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def running_cluster(
    folder: Path, settings: str = "", server: type[NatsServer] = NatsServer
) -> AsyncIterator[NatsCluster]:
    """Three servers that have found each other."""
    cluster = NatsCluster(folder, settings, server)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.kill()


def _distinct_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)
