"""The whole program with Redis: killed at random, the Stream and the tables are the same."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import RedisError

from redis_servers import PASSWORD, PRODUCTS, Product, RedisServer, running
from simulator.server import Limits

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import Cluster, MakeProgram, Program, Simulate

KILLS = int(os.environ.get("SINK_KILLS", "9"))  # more: make it a proof
LIMITS = Limits(connects=10_000, rule_reads=10_000)  # of the network, for as many restarts
VICTIMS = ("daemon", "redis", "postgres")
STREAM = "{tweets}:stream"
KEEPING = ("--appendonly", "yes")


async def ids_of(redis: RedisServer) -> list[str]:
    """Read in pages: one answer with all entries takes longer than the client waits for it."""
    found: list[str] = []
    begin = "-"
    while True:
        entries: Any = await redis.client.xrange(STREAM, begin, count=1000)
        if not entries:
            return found
        found += [fields[b"id"].decode() for _, fields in entries]
        begin = f"({entries[-1][0].decode()}"


async def kill_one(
    victim: str, program: Program, redis: RedisServer, cluster: Cluster, eventually: Eventually
) -> None:
    """SIGKILL, and start it again."""
    match victim:
        case "daemon":
            await program.kill()
            await program.start()
        case "redis":
            await redis.kill()
            await redis.start()
        case "postgres":
            await cluster.kill(eventually)
            await cluster.give_back()


@pytest.mark.timeout(900 + 20 * KILLS)
@pytest.mark.parametrize("product", PRODUCTS)
async def test_the_stream_is_the_tables_however_often_daemon_redis_and_postgres_are_killed(
    product: Product,
    tmp_path: Path,
    cluster: Cluster,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> None:
    chance = random.Random(product)
    async with (
        running(tmp_path / product, product, *KEEPING) as redis,
        simulate(rate=300, limits=LIMITS) as server,
    ):
        sinks = {"redis": {"url": redis.url, "streams": True, "stream_bytes": 1 << 30}}
        program = make_program("main", cluster.url, sinks=sinks, flush_interval=0.05)
        tables = open_tables(cluster.url)
        await tables.add_tracks("snow")
        await program.start()
        copy = "SELECT count(*) FROM consumer_cursors WHERE name = 'redis streams'"

        async def begun() -> bool:
            return bool(await tables.one(copy))

        await eventually(begun)
        await program.add_source(server.url)

        async def passed_on() -> int:
            with contextlib.suppress(RedisError):
                return await redis.client.xlen(STREAM)
            return 0

        async def goes_on() -> None:
            """Wait until more is passed on; not for all, as a busy machine may never have all."""
            enough = await passed_on() + chance.randrange(1, 300)

            async def met() -> bool:
                return await passed_on() > enough

            await eventually(met)

        for _ in range(KILLS):
            await goes_on()
            await kill_one(chance.choice(VICTIMS), program, redis, cluster, eventually)
        await goes_on()
        server.hub.posts_left = 0
        await program.stop()
        await program.store_rest(eventually)
        stored = [str(row[0]) for row in await tables.rows("SELECT id FROM tweets ORDER BY id")]
        await program.start()

        async def all_passed_on() -> bool:
            return await passed_on() >= len(stored)

        # On a busy machine the sink may be tens of thousands of tweets behind after many kills.
        await eventually(all_passed_on, 240 + 5 * KILLS)
        assert await ids_of(redis) == stored
        status = ""

        async def sink_is_ok() -> bool:
            nonlocal status
            status = await program.command("status")
            return "Sink redis streams: ok" in status

        await eventually(sink_is_ok)
        await program.kill()
        assert PASSWORD not in status + program.log.read_text()
