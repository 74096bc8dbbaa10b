"""Two databases that share the tweets, against one.

    python -m pgbench cells

Each database and its writer have one processor, as if it were a machine. With one database, the
server of NATS has that same processor; with two, it has both. They would share one disk, which
machines do not: so databases are in memory. All tweets are on the bus before the writers start.
"""

import asyncio
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import psutil

from pgbench import end_to_end, processes, server
from pgbench.bus_servers import NatsServer, running_server
from pgbench.corpus import Corpus
from pgbench.end_to_end import Track
from pgbench.report import Line, Section
from pgbench.scale_writers import fill_bus
from pgbench.server import Server, fetch_row
from stream import db
from stream.cells.copier import CellCopier
from stream.cells.databases import Cells, open_cells
from stream.postgres.process import processes_in

ROUNDS = 3
EAST = "east"
MEMORY = "/dev/shm"  # a file system in memory
POLL = 0.25  # seconds
RANGE = """
SELECT min(committed) AS first, max(committed) AS last
FROM tweets, pg_xact_commit_timestamp(xmin) AS committed
"""
STORED_WITHIN = """
SELECT count(*) AS tweets FROM tweets, pg_xact_commit_timestamp(xmin) AS committed
WHERE committed > $1 AND committed <= $2
"""


async def measure(posts: Corpus, tracks: Sequence[Track]) -> Section:
    """The section of results.md."""
    if len(os.sched_getaffinity(0)) < 2:
        raise RuntimeError("two databases need two processors")
    load = os.getloadavg()[0]
    one, two = list[float](), list[float]()
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with AsyncExitStack() as opened:
            servers = [
                await opened.enter_async_context(server.running(folder / f"postgres-{core}"))
                for core in (0, 1)
            ]
            for core in (0, 1):
                cluster = folder / f"postgres-{core}" / "postgres" / "cluster"
                _pin((each.pid for each in processes_in(cluster)), {core})
            for number in range(ROUNDS):
                one.append(await _rate(servers[:1], folder / f"one-{number}", posts, tracks))
                two.append(await _rate(servers, folder / f"two-{number}", posts, tracks))
    ratios = [both / alone for both, alone in zip(two, one, strict=True)]
    return Section(
        "Cells",
        f"{len(posts.bodies):,} tweets on the bus; each database, in memory, and its writer on one"
        f" processor."
        f" Load average before: {load:.1f} on {os.cpu_count()} processors; see scale_cells.py.",
        [
            Line("one database", one, "tweets/s"),
            Line("two databases", two, "tweets/s"),
            Line("two databases / one", ratios, "", (), "≥ 1.9"),
        ],
    )


def _pin(pids: Iterable[int], cores: set[int]) -> None:
    """Let these processes, and what they start from now on, run on these processors only."""
    for pid in pids:
        for thread in psutil.Process(pid).threads():
            os.sched_setaffinity(thread.id, cores)


async def _rate(
    servers: Sequence[Server], folder: Path, posts: Corpus, tracks: Sequence[Track]
) -> float:
    """Tweets per second of all databases together, while all of them store.

    Processes start one after the other, and a hash does not divide tweets into equal halves.
    """
    folder.mkdir()
    async with AsyncExitStack() as opened:
        urls = [await opened.enter_async_context(each.database()) for each in servers]
        nats = await opened.enter_async_context(running_server(folder / "nats"))
        settings = {"bus": nats.url, "bus_replicas": 1, "monitor": {"listen": ""}}
        await _prepare(urls, folder, posts, tracks, settings)
        _pin_nats(nats, {0} if len(urls) == 1 else {0, 1})
        for core, _ in enumerate(urls):
            command = ["twitterstream.py", "--config", str(folder / f"{core}.yaml"), "run"]
            pid = await opened.enter_async_context(
                processes.running("write", [*command, "--role=write"], folder / f"{core}.log")
            )
            _pin([pid], {core})
        await _wait_until_all(urls, len(posts.bodies))
        ranges = [await fetch_row(url, RANGE) for url in urls]
        begin = max(each["first"] for each in ranges)
        end = min(each["last"] for each in ranges)
        tweets = sum([(await fetch_row(url, STORED_WITHIN, begin, end))["tweets"] for url in urls])
    return float(tweets / (end - begin).total_seconds())


async def _prepare(
    urls: Sequence[str],
    folder: Path,
    posts: Corpus,
    tracks: Sequence[Track],
    settings: dict[str, object],
) -> None:
    """Settings of both writers, the copies in the cell, and all tweets on the bus."""
    others = dict(zip((EAST,), urls[1:], strict=False))
    home = settings | ({"cells": others} if others else {})
    await end_to_end.prepare(urls[0], folder, [], [], tracks, home)
    (folder / "config.yaml").rename(folder / "0.yaml")
    for url in others.values():
        own = settings | {"database": url, "cell": EAST, "data_dir": str(folder / EAST)}
        (folder / "1.yaml").write_text(json.dumps(own), encoding="utf-8")
    async with AsyncExitStack() as opened:
        database = await opened.enter_async_context(db.connect(urls[0]))
        cells = Cells(database, await opened.enter_async_context(open_cells(others)))
        copier = CellCopier(database, cells.others, 10)
        await copier.copy()  # it tells the cell which one it is
        await fill_bus(cells, str(settings["bus"]), folder, posts, 1)
        await copier.copy()


def _pin_nats(nats: NatsServer, cores: set[int]) -> None:
    assert nats.process is not None
    _pin([nats.process.pid], cores)


async def _wait_until_all(urls: Sequence[str], tweets: int) -> None:
    connections = [await asyncpg.connect(url) for url in urls]
    try:
        async with asyncio.timeout(end_to_end.TIMEOUT):
            counted = 0
            while counted < tweets:
                await asyncio.sleep(POLL)
                counted = sum(
                    [
                        await each.fetchval(end_to_end.COUNTED, end_to_end.OUTCOMES)
                        for each in connections
                    ]
                )
    finally:
        for each in connections:
            await each.close()
