"""Measures the `archive` commands on one day: their rate and their memory."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path

import msgspec

from pgbench import rows
from pgbench.corpus import Corpus
from pgbench.processes import ROOT
from pgbench.report import Line, Section
from pgbench.rows import Row
from pgbench.server import Server
from stream import db
from stream.db import Executor
from stream.keys import to_datetime, tweet_key
from stream.tweet import LaneId

DAY = "2026-03-14"
FIRST = int(datetime(2026, 3, 14, tzinfo=UTC).timestamp() * 1e6)  # microseconds
INTERVAL = 300_000  # microseconds between two tweets
TWEETS = 250_000
BATCH_TWEETS = 10_000  # stored at a time
MAX_MESSAGE_BYTES = 2900  # the messages used have 2 kB on average
KB = 1024
MB = 1e6


class Step(msgspec.Struct, frozen=True):
    """One command: its time from the start of its process, and its peak memory."""

    seconds: float
    memory: int  # bytes, resident


class Measurements:
    """The results of all rounds."""

    def __init__(self) -> None:
        self.ceilings: list[float] = []  # tweets a second
        self.archived: list[Step] = []
        self.dropped: list[Step] = []
        self.restored: list[Step] = []
        self.queried: list[Step] = []
        self.bytes = 0  # of the archive

    @property
    def memory(self) -> float:
        steps = (*self.archived, *self.dropped, *self.restored, *self.queried)
        return max(step.memory for step in steps) / MB


async def measure(server: Server, folder: Path, posts: Corpus, rounds: int) -> Section:
    """Measure, and return the section of the report."""
    short = [body for body in posts.bodies if len(body) <= MAX_MESSAGE_BYTES]
    made = rows.prepare(Corpus(short, posts.tracks))
    results = Measurements()
    async with server.database() as url:
        await fill(url, made, TWEETS)
        config = folder / "archive.yaml"
        store = folder / "archive"
        settings = {"url": str(store)}
        config.write_text(json.dumps({"database": url, "archive": settings}))
        for _ in range(rounds):
            await _round(server, url, config, results)
            results.bytes = sum(path.stat().st_size for path in store.rglob("*.parquet"))
    return _section(results, sum(map(len, short)) / len(short))


async def _round(server: Server, url: str, config: Path, results: Measurements) -> None:
    began = time.perf_counter()
    for table in ("tweets", "matches"):
        copy = f"\\copy (SELECT * FROM {table} ORDER BY 1) TO /dev/null CSV"
        await server.program("psql", url, ["-c", "SET enable_sort = off", "-c", copy])
    results.ceilings.append(TWEETS / (time.perf_counter() - began))
    results.archived.append(await _step(config, "run", "--day", DAY))
    results.dropped.append(await _step(config, "run", "--day", DAY, "--drop"))
    query = "SELECT lang, count(*) FROM tweets WHERE text ILIKE '%a%' GROUP BY lang"
    results.queried.append(await _step(config, "query", query))
    results.restored.append(await _step(config, "restore", DAY))
    async with db.connect(url) as database:
        await database.execute("INSERT INTO archive_changes (day) VALUES ('2026-03-14')")
        await database.execute("CHECKPOINT")


def _section(results: Measurements, mean: float) -> Section:
    def line(what: str, steps: Sequence[Step], aim: str = "") -> Line:
        rates = [TWEETS / step.seconds for step in steps]
        shares = [rate / most for rate, most in zip(rates, results.ceilings, strict=True)]
        return Line(what, rates, "tweets/s", shares, aim)

    return Section(
        "Archiving",
        f"One day of {TWEETS:,} tweets of {mean:,.0f} bytes on average, with their matches, to a"
        " folder, by the real commands, from the start of each process to its end."
        " “archived” is snapshot, files, reading them back, and comparing every row with Postgres;"
        " “dropped” is hashing the files and comparing the digest once more, then dropping. The"
        " ceiling reads the same rows once, by psql, and discards them; archiving reads them"
        " three times.",
        [
            Line("ceiling: psql \\copy to nowhere", results.ceilings, "tweets/s", [1.0]),
            line("archived", results.archived, "≥ 20,000"),
            line("dropped", results.dropped),
            line("restored", results.restored),
            Line("one query over all texts", [s.seconds for s in results.queried], "s"),
            Line("resident memory, highest of all", [results.memory], "MB", (), "≤ 400"),
            Line("archive to messages", [results.bytes / (mean * TWEETS)], "times"),
        ],
    )


async def _step(config: Path, *words: str) -> Step:
    program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(config), "archive"]
    return await asyncio.to_thread(measured, [*program, *words])


def measured(words: Sequence[str]) -> Step:
    """Run a command, and measure it."""
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return Step(time.perf_counter() - began, usage.ru_maxrss * KB)


# -- the day --------------------------------------------------------------------------------------


async def fill(url: str, made: rows.Rows, number: int) -> None:
    """Store the posts again and again, each time as new tweets, until there are enough."""
    matches: dict[object, list[Row]] = {}
    for match in made.matches:
        matches.setdefault(match[0], []).append(match)
    numbered = enumerate(islice(cycle(made.tweets), number))
    async with db.connect(url) as database, database.transaction() as connection:
        await connection.execute(f"SELECT ensure_day('{DAY}')")
        while some := list(islice(numbered, BATCH_TWEETS)):
            await _insert(connection, some, matches)
    async with db.connect(url) as database:
        await database.execute("VACUUM ANALYZE tweets, matches")


async def _insert(
    connection: Executor, some: list[tuple[int, Row]], matches: dict[object, list[Row]]
) -> None:
    tweets = list(map(_moved, some))
    claims = [("x_v2", tweet[4], tweet[0]) for tweet in tweets]
    await db.copy(connection, "tweets", rows.TWEETS, tweets)
    await db.copy(connection, "tweet_ids", rows.IDENTITIES, claims)
    credited = (
        match
        for (_, old), new in zip(some, tweets, strict=True)
        for match in _credited(matches.get(old[0], ()), new)
    )
    await db.copy(connection, "matches", rows.MATCHES, credited)


def _moved(numbered: tuple[int, Row]) -> Row:
    number, row = numbered
    at = FIRST + number * INTERVAL
    return (tweet_key(at, LaneId(1)), to_datetime(at), *row[2:4], str(10**18 + number), *row[5:])


def _credited(old: Sequence[Row], new: Row) -> Iterator[Row]:
    for _, track, _, *rest in old:
        yield (new[0], track, new[1], *rest)
