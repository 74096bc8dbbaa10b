"""The program on several machines: collectors, writers and webs around one bus and one Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import pytest

from bus_bench import STREAM, Feed
from nats_servers import running_cluster
from servers import free_port
from simulator.server import Limits
from stream import db
from stream.journal import segments
from stream.journal.recovery import read_id
from stream.store import sources

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from nats_servers import NatsCluster, NatsServer
    from simulator.server import Server
    from stream.tweet import NetworkName
    from test.flow.conftest import OpenTables, Tables
    from test.flow.program.conftest import Cluster, MakeProgram, Program, Simulate
    from waiting import Eventually

MACHINES = {"collect": ("east", "west"), "write": ("north", "south"), "web": ("left", "right")}
WORD = "zeppelin"  # in every second post of Bluesky's simulator
LIMITS = Limits(connects=100_000, rule_reads=100_000, resend=2000, resend_bytes=8 << 20)
SOME = 50  # tweets that are sent after a fault, until one of them has to be stored


class Site:
    """All machines of an installation, and what may happen to them."""

    def __init__(
        self,
        programs: dict[str, list[Program]],
        nats: NatsCluster,
        postgres: Cluster,
        tables: Tables,
        eventually: Eventually,
        x: Server,
        bluesky: Server | None,
        feed: Feed,
    ) -> None:
        self.programs = programs  # by role
        self.nats = nats
        self.postgres = postgres
        self.tables = tables
        self.eventually = eventually
        self.x = x
        self.bluesky = bluesky
        self.feed = feed  # a reader, all the time
        self.waits: list[tuple[str, float]] = []  # how long it took until tweets were stored again

    @property
    def all(self) -> list[tuple[str, Program]]:
        return [(role, each) for role, programs in self.programs.items() for each in programs]

    async def start(self) -> None:
        for role, program in self.all:
            await program.start(roles=[role])

    async def restart(self, role: str, program: Program) -> None:
        """Stop a machine in good order, and wait until it is there again."""
        await self._stop(program)
        await program.start(roles=[role])
        query = "SELECT count(*) FROM daemons WHERE pid = %s"
        await self.eventually(lambda: self.tables.one(query, program.pid))

    async def stop(self) -> None:
        for role in ("web", "collect", "write"):
            for program in self.programs[role]:
                await self._stop(program)

    async def _stop(self, program: Program) -> None:
        """Stop a machine in good order, as soon as it runs."""
        await self.eventually(lambda: program.said("connected to the bus"))
        await program.stop()

    async def collectors(self) -> tuple[Program, Program]:
        """The machine that collects, and the one that stands by."""
        return await self._active("collect", "role = 'collecting'")

    async def writers(self) -> tuple[Program, Program]:
        """The machine that stores, and the one that stands by."""
        return await self._active("write", "lanes <> '{}'")

    async def _active(self, role: str, condition: str) -> tuple[Program, Program]:
        one, other = self.programs[role]
        query = f"SELECT pid FROM daemons WHERE pid IN (%s, %s) AND {condition}"
        found: list[int] = []

        async def met() -> bool:
            found[:] = [pid for (pid,) in await self.tables.rows(query, one.pid, other.pid)]
            return len(found) == 1

        await self.eventually(met)
        return (one, other) if found == [one.pid] else (other, one)

    # -- faults -----------------------------------------------------------------------------------

    async def kill(self, role: str, chance: random.Random) -> None:
        program = chance.choice(self.programs[role])
        await program.kill()
        await program.start(roles=[role])

    async def kill_node(self, node: NatsServer) -> None:
        await node.kill()
        await self.nats.start(node)

    async def kill_leader(self) -> None:
        await self.nats.start(await self.nats.kill_leader(STREAM))

    async def wipe_node(self, node: NatsServer) -> None:
        await self.nats.followed(STREAM)
        await node.kill()
        node.wipe()
        await self.nats.start(node)

    async def damage_node(self, node: NatsServer, seed: int) -> None:
        await self.nats.followed(STREAM)
        await node.kill()
        node.flip_bits(STREAM, seed)
        await self.nats.start(node)

    async def freeze_bus(self, seconds: float) -> None:
        self.nats.freeze()
        await asyncio.sleep(seconds)
        self.nats.thaw()

    async def kill_bus(self, seconds: float) -> None:
        await self.nats.kill()
        await asyncio.sleep(seconds)
        await self.nats.start()

    async def kill_postgres(self) -> None:
        await self.postgres.kill(self.eventually)
        await self.postgres.give_back()

    async def freeze(self, program: Program, seconds: float) -> None:
        """Let a machine stand still, long enough for another one to take over."""
        program.freeze()
        await asyncio.sleep(seconds)
        program.thaw()

    def faults(
        self, chance: random.Random, seconds: float
    ) -> dict[str, Callable[[], Awaitable[None]]]:
        """One of each kind, at a random part."""
        node = chance.choice(self.nats.nodes)
        machine = chance.choice(self.programs["collect"] + self.programs["write"])
        return {
            "collector": lambda: self.kill("collect", chance),
            "writer": lambda: self.kill("write", chance),
            "web": lambda: self.kill("web", chance),
            "frozen machine": lambda: self.freeze(machine, seconds),
            "node": lambda: self.kill_node(node),
            "leader": self.kill_leader,
            "wiped node": lambda: self.wipe_node(node),
            "damaged node": lambda: self.damage_node(node, chance.randrange(1 << 32)),
            "Postgres": self.kill_postgres,
            "frozen bus": lambda: self.freeze_bus(seconds),
            "killed bus": lambda: self.kill_bus(seconds),
        }

    # -- what is stored ---------------------------------------------------------------------------

    async def store_again(self, after: str, gone: Program | None = None) -> None:
        """Wait until what each network sends from now on is stored; no other machine has ended."""
        clock = asyncio.get_running_loop().time
        began = clock()
        for sent in self.sent():
            await self._stores_newer(sent)
        self.waits.append((after, clock() - began))
        for _, program in self.all:
            assert program.alive or program is gone, program.log.read_text()[-3000:]

    async def _stores_newer(self, sent: Callable[[], Sequence[str]]) -> None:
        enough = len(sent()) + SOME
        await self.eventually(lambda: len(sent()) > enough)
        newest = sent()[-1]

        async def met() -> bool:
            query = "SELECT count(*) FROM tweet_ids WHERE native_id = %s"
            return bool(await self.tables.one(query, newest))

        await self.eventually(met)

    def sent(self) -> list[Callable[[], Sequence[str]]]:
        """The ids of what each network has sent."""
        found: list[Callable[[], Sequence[str]]] = [lambda: self.x.sent]
        if (bluesky := self.bluesky) is not None:
            found.append(lambda: bluesky.bluesky.activity.sent.matching)
        return found

    async def end(self) -> list[str]:
        """Let the networks end, wait until all that was received is stored; what they sent."""
        for server in filter(None, (self.x, self.bluesky)):
            server.simulation.core.posts_left = 0
        wanted = [each for sent in self.sent() for each in sent()]

        async def met() -> bool:
            return set(wanted) <= set(await self.stored())

        await self.eventually(met)
        await self.eventually(self._journals_are_stored)
        return wanted

    async def _journals_are_stored(self) -> bool:
        """Also what was received twice: of two machines, or of a network that repeats itself."""
        query = "SELECT journal, min(position) FROM positions GROUP BY journal"
        stored: dict[uuid.UUID | None, int] = dict(await self.tables.rows(query))
        return all(stored.get(journal, 0) >= end for journal, end in self._ends_of_journals())

    def _ends_of_journals(self) -> Iterator[tuple[uuid.UUID | None, int]]:
        for program in self.programs["collect"]:
            for folder in program.data_dir.glob("journal/*"):
                newest = segments.files(folder, segments.RAW)[-1]
                yield read_id(folder / "id"), segments.start_of(newest) + newest.stat().st_size

    async def finish(self) -> list[str]:
        """Let all end after everything was stored and read; what the networks sent."""
        sent = await self.end()
        await self.stop()
        await self.feed.read()
        return sent

    async def stored(self) -> list[str]:
        return [row[0] for row in await self.tables.rows("SELECT native_id FROM tweets")]


class OpenSite(Protocol):
    """`async with open_site("snow", rate=300) as machines`: six that store what X sends.

    With `bluesky` they store its posts with WORD, too, of which that sends as many.
    """

    def __call__(
        self, *tracks: str, rate: float, bluesky: bool = False
    ) -> AbstractAsyncContextManager[Site]: ...


@pytest.fixture
def open_site(
    tmp_path: Path,
    cluster: Cluster,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> OpenSite:
    @contextlib.asynccontextmanager
    async def start(*tracks: str, rate: float, bluesky: bool = False) -> AsyncIterator[Site]:
        tables = open_tables(cluster.url)
        async with contextlib.AsyncExitStack() as opened:
            enter = opened.enter_async_context
            nats = await enter(running_cluster(tmp_path / "nats"))
            x = await enter(simulate(rate=rate, faults=("resend",), limits=LIMITS))
            words = {"words": (WORD,), "words_every": 2}
            sky = await enter(simulate(network="bluesky", rate=rate, **words)) if bluesky else None
            feed = await enter(reading(cluster.url))
            await tables.add_tracks(*tracks)
            programs = _make_programs(make_program, cluster.url, nats, sky)
            made = Site(programs, nats, cluster, tables, eventually, x, sky, feed)
            await _prepare(made)
            await made.start()
            await made.store_again("start")
            yield made

    return start


def _make_programs(
    make_program: MakeProgram, url: str, nats: NatsCluster, bluesky: Server | None
) -> dict[str, list[Program]]:
    """By role; these machines share a bus and a database."""
    settings: dict[str, object] = {"bus": nats.url, "x_v2": {"connect_attempts": 100_000}}
    if bluesky is not None:
        hosts = [bluesky.url.replace("http", "ws")]
        settings["bluesky"] = {"hosts": hosts, "old_hosts": []}
    return {
        role: [
            make_program(name, url, **settings, web={"listen": f"127.0.0.1:{free_port()}"})
            for name in names
        ]
        for role, names in MACHINES.items()
    }


async def _prepare(made: Site) -> None:
    """Add the sources, and give all machines the same key."""
    first, url = made.programs["collect"][0], made.postgres.url
    await first.add_source_to(url, made.x.url, "x_v2")
    if made.bluesky is not None:
        await _add_bluesky(url)
    for _, program in made.all[1:]:
        program.share_key_of(first)


async def _add_bluesky(url: str) -> None:
    network: NetworkName = "bluesky"
    async with db.connect(url, size=1) as opened, opened.acquire() as connection:
        await sources.add(connection, "sky", network)


@contextlib.asynccontextmanager
async def reading(url: str, call_timeout: float = db.CALL_TIMEOUT) -> AsyncIterator[Feed]:
    """A reader with a cursor, while Postgres comes and goes."""
    async with db.connect(url, 1, call_timeout) as opened, asyncio.TaskGroup() as group:
        feed = Feed(opened)
        running = group.create_task(feed.run())
        yield feed
        running.cancel()
