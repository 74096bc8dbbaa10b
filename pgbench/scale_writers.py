"""Writers that follow the bus, against as many `psql \\copy`, and what each role costs.

    python -m pgbench writers

First all tweets are put on the bus by the program's publisher; then the writers start, one process
and one lane each. Everything runs on this machine: with k writers, k processes decode and match
beside as many backends of Postgres, while `\\copy` needs next to no processor of its own.

The roles are measured at a steady rate, from a simulated network over three servers of NATS, while
a viewer of the Live page watches everything (a sample of it is shown).
"""

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from pgbench import ceiling, end_to_end, live, processes, rows
from pgbench.bus_servers import NatsCluster, running_cluster, running_server
from pgbench.corpus import Corpus
from pgbench.end_to_end import Feed, Track
from pgbench.report import Line, Section
from pgbench.rows import Rows
from pgbench.server import Server, fetch_row
from stream import db
from stream.bus.connection import Bus
from stream.bus.divisions import divide
from stream.bus.publisher import Publisher
from stream.bus.routing import LaneRouter
from stream.cells.databases import Cells
from stream.config import JournalSettings, Settings
from stream.journal import Journal, maintenance
from stream.networks.x_v2.decode import decode
from stream.store import lanes
from stream.tweet import Source, SourceId

ROUNDS = 5
COUNTS = (1, 2)  # writers
TRANSACTION = 2000  # tweets in one transaction of psql
STREAM_BYTES = 4_000_000_000  # less than servers accept that have their store in memory
APPENDED = 200  # tweets appended to the journal at once
ROOMY = JournalSettings(min_free_bytes=0, min_free_percent=0)
ADD_SOURCE = "INSERT INTO sources (name, network, lanes) VALUES ('x', 'x_v2', $1) RETURNING id"
# From the first commit of a writer to the last one.
STORED = """
SELECT count(*) AS tweets, min(committed) AS first, max(committed) AS last,
       count(*) FILTER (WHERE committed = (SELECT min(pg_xact_commit_timestamp(xmin)) FROM tweets))
           AS begun
FROM tweets, pg_xact_commit_timestamp(xmin) AS committed
"""
RECEIVED = "SELECT id, extract(epoch FROM received_at)::double precision AS at FROM tweets"


async def measure(
    server: Server, folder: Path, posts: Corpus, tracks: Sequence[Track], steady: Feed
) -> Section:
    """The section of results.md; `steady` is what the simulated network sends."""
    load = os.getloadavg()[0]
    folder.mkdir(parents=True)
    prepared = rows.prepare(posts)
    lines: list[Line] = []
    for count in COUNTS:
        copied, stored = [], []
        for number in range(ROUNDS):
            at = folder / f"{count}-{number}"
            copied.append(await _copies(server, at / "copy", prepared, count))
            stored.append(await _writers(server, at / "write", posts, tracks, count))
        ratios = [one / other for one, other in zip(stored, copied, strict=True)]
        lines += [
            Line(f"{count} × psql \\copy", copied, "tweets/s"),
            Line(f"{count} × writer", stored, "tweets/s"),
            Line(f"{count} × writer / {count} × \\copy", ratios, "", (), "≥ 0.8"),
        ]
    lines += await _roles(server, folder / "roles", tracks, steady)
    return Section(
        "Writers that follow the bus",
        f"{len(posts.bodies):,} tweets on the bus, one lane for each writer; one server of NATS,"
        f" `sync_interval: always`. Load average before: {load:.1f} on {os.cpu_count()} processors,"
        " which writers, Postgres and NATS share; see scale_writers.py.",
        lines,
    )


async def _copies(server: Server, folder: Path, prepared: Rows, count: int) -> float:
    """Tweets per second of so many psql at the same time, each with its own part."""
    scripts = []
    for number, part in enumerate(prepared.batches(-(-len(prepared.tweets) // count))):
        # Counts of a track by minute are one row, which only one of them can copy.
        minutes = [] if number else prepared.track_minutes
        own = msgspec.structs.replace(part, track_minutes=minutes)
        scripts.append(ceiling.write(folder / str(number), own, TRANSACTION))
    async with server.database() as url:
        begun = time.perf_counter()
        await asyncio.gather(*(ceiling.load(server, url, script) for script in scripts))
        return len(prepared.tweets) / (time.perf_counter() - begun)


async def _writers(
    server: Server, folder: Path, posts: Corpus, tracks: Sequence[Track], count: int
) -> float:
    """Tweets per second of so many writers, from the first commit to the last one."""
    folder.mkdir(parents=True)
    async with server.database() as url, running_server(folder / "nats") as nats:
        settings = {"bus": nats.url, "bus_replicas": 1, "monitor": {"listen": ""}}
        await end_to_end.prepare(url, folder, [], [], tracks, settings)
        async with db.connect(url) as database:
            await fill_bus(Cells(database), nats.url, folder, posts, count)
        async with AsyncExitStack() as writers:
            command = ["twitterstream.py", "--config", str(folder / "config.yaml"), "run"]
            for number in range(count):
                log = folder / f"writer-{number}.log"
                words = [*command, "--role=write"]
                await writers.enter_async_context(processes.running("write", words, log))
            total = len(posts.bodies)
            await end_to_end.wait_until(url, end_to_end.COUNTED, total, end_to_end.OUTCOMES)
        row = await fetch_row(url, STORED)
    return float((row["tweets"] - row["begun"]) / (row["last"] - row["first"]).total_seconds())


async def _roles(server: Server, folder: Path, tracks: Sequence[Track], feed: Feed) -> list[Line]:
    """Latency and processor time of one collector, three servers of NATS, one writer and pages."""
    folder.mkdir()
    tweets, port, pages = feed.messages(), processes.free_port(), processes.free_port()
    async with server.database() as url, running_cluster(folder / "nats") as nats:
        web = {"listen": f"127.0.0.1:{pages}"}
        settings = {"bus": nats.url, "monitor": {"listen": ""}, "web": web}
        await end_to_end.prepare(url, folder, [feed], [port], tracks, settings)
        command = ["twitterstream.py", "--config", str(folder / "config.yaml"), "run", "--role"]
        async with AsyncExitStack() as running:
            pids = {
                role: await running.enter_async_context(
                    processes.running(role, [*command, role], folder / f"{role}.log")
                )
                for role in ("collect", "write", "web")
            }
            await processes.listening(pages)
            cookie, *_ = await live.log_in(url)
            viewers = await running.enter_async_context(live.watching(pages, [(cookie, "")], 1))
            await end_to_end.wait_until(url, end_to_end.ATTEMPTED, 1)
            before = {role: processes.cpu_seconds(pid) for role, pid in pids.items()}
            servers = _cpu_seconds(nats)
            await running.enter_async_context(end_to_end.simulator(folder, feed, port))
            await end_to_end.wait_until(url, end_to_end.COUNTED, tweets, end_to_end.OUTCOMES)
            used = {role: processes.cpu_seconds(pid) - before[role] for role, pid in pids.items()}
            used["the three servers"] = _cpu_seconds(nats) - servers
            await asyncio.sleep(live.LAST_WITHIN)
            seen = statistics.quantiles(await live.delays(url, RECEIVED, viewers), n=100)
        row = await fetch_row(url, end_to_end.TIMES, feed.network)
    rate = f"{feed.rate:,.0f}/s"
    return [
        Line(f"received to committed at {rate}, p50", [row["half"] * 1e3], "ms"),
        Line(f"received to committed at {rate}, p99", [row["most"] * 1e3], "ms", (), "≤ 1,000"),
        Line(f"received to seen live at {rate}, p50", [seen[49] * 1e3], "ms"),
        Line(f"received to seen live at {rate}, p99", [seen[98] * 1e3], "ms", (), "≤ 1,000"),
        *(
            Line(f"processor time of {role}", [seconds / tweets * 1e6], "µs/tweet")
            for role, seconds in used.items()
        ),
    ]


def _cpu_seconds(nats: NatsCluster) -> float:
    pids = [node.process.pid for node in nats.nodes if node.process is not None]
    return sum(map(processes.cpu_seconds, pids))


async def fill_bus(cells: Cells, bus_url: str, folder: Path, posts: Corpus, count: int) -> None:
    """Put all tweets on the bus, as a collector does, for `count` lanes in each cell."""
    settings = Settings(bus=bus_url, bus_replicas=1, bus_max_bytes=STREAM_BYTES)
    async with Bus(settings).connected() as bus:
        async with cells.home.acquire() as connection:
            [added] = await connection.fetch(ADD_SOURCE, count)
            source_id = SourceId(added["id"])
            found = await lanes.lanes_of(connection, source_id, cells.names, count)
        source = Source(source_id, "x", "x_v2", None, None, {}, enabled=True, lanes=count)
        with Journal.open(folder / "journal", ROOMY) as journal:
            journal.resume(0)
            for begin in range(0, len(posts.bodies), APPENDED):
                journal.append(posts.bodies[begin : begin + APPENDED])
            divided = divide(journal.folder, cells.names, journal.start, journal.start)
            router = LaneRouter(found, decode, divided)
            publisher = Publisher(bus, cells, source, journal, router)
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(maintenance.run(journal))
                publisher.drain()
                await publisher.run()
                keeping.cancel()
