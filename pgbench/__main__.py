"""`make bench`: run all benchmarks, print the results and write them to results.md.

`python -m pgbench SECTION` runs one section only: see SECTIONS.
"""

import argparse
import asyncio
import importlib.metadata
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from pgbench import (
    analysis,
    archive,
    bluesky,
    ceiling,
    corpus,
    end_to_end,
    exports,
    ids,
    large_exports,
    legacy_baseline,
    live,
    look_back,
    matcher,
    monitoring,
    pages,
    report,
    rows,
    scale,
    scale_cells,
    scale_writers,
    sinks,
    strategies,
    webhooks,
)
from pgbench import server as postgres
from pgbench.corpus import Corpus
from pgbench.end_to_end import Feed, Outcome, Track
from pgbench.report import Line, Section
from pgbench.rows import Rows
from pgbench.server import Server

ROUNDS = 3
MONITORING_ROUNDS = 3  # rounds
TWEETS = 30_000  # for the end-to-end runs and psql
CELL_TWEETS = 60_000  # a publisher puts no more than 256 MB on the bus before some is stored
STRATEGY_TWEETS = 6_000  # for each strategy
BASELINE_TWEETS = 3_000  # for tweepy, which takes up to ten seconds
SIZES = (100, 500, 2000)  # tweets per transaction
CLIENTS = (1, 8)
STEADY, SECONDS = 1000, 30  # tweets/s, and for how many seconds
MB = 1e6


class Bench:
    """Runs all benchmarks on one server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.posts = corpus.make(TWEETS)
        self.tracks: list[Track] = [("keyword", value) for value in self.posts.tracks]
        self.rows = rows.prepare(self.posts)
        self.ceilings: list[float] = []
        self.script = ceiling.write(folder / "files", self.rows, SIZES[-1])
        self.all = self._replay("all", self.posts.bodies)
        self.steady = self._replay("steady", self.posts.bodies[: STEADY * SECONDS])

    def _replay(self, name: str, bodies: Sequence[bytes]) -> Path:
        path = self.folder / f"{name}.ndjson"
        path.write_bytes(b"".join(body + b"\n" for body in bodies))
        return path

    async def run(self) -> list[Section]:
        return [
            await self.program(),
            await self.monitoring(),
            await archive.measure(self.server, self.folder, self.posts, ROUNDS),
            await self._strategies(),
            await pages.measure(self.folder / "pages"),
            await live.measure(self.server, self.folder, self.posts),
            await sinks.measure(self.server, self.folder / "sinks", self.posts),
            await webhooks.measure(self.server, self.folder / "webhooks", self.posts),
            Section(
                "Matching",
                "With its own posts and tracks; see matcher.py.",
                [Line(what, [value], unit) for what, value, unit in matcher.measure()],
            ),
            await bluesky.measure(self.server, self.folder / "bluesky", self.posts),
            await look_back.measure(self.server, self.folder / "look_back", self.posts),
            await exports.measure(self.server, self.folder / "exports", self.posts),
            await scale.measure(self.folder / "scale", self.posts),
            await self.writers(),
            await _cells(),
        ]

    async def writers(self) -> Section:
        """Writers that follow the bus."""
        steady = Feed("x_v2", self.steady, STEADY)
        return await scale_writers.measure(
            self.server, self.folder / "writers", self.posts, self.tracks, steady
        )

    async def program(self) -> Section:
        programs, plain, same = await self._compare()
        steady = await self._end_to_end("steady", self.steady, STEADY)
        return self._program(programs, plain, same, steady)

    async def _compare(self) -> tuple[list[Outcome], list[float], list[float]]:
        """Run psql, the program and tweepy in turns, so that other load affects all alike."""
        programs, plain, same = [], [], []
        for turn in range(ROUNDS):
            log(f"round {turn + 1} of {ROUNDS}")
            self.ceilings.append(TWEETS / await ceiling.run(self.server, self.script))
            programs.append(await self._end_to_end(f"whole-{turn}", self.all, 0))
            plain.append(await self._baseline("plain", turn))
            same.append(await self._baseline("same", turn))
        return programs, plain, same

    async def _end_to_end(self, name: str, replayed: Path, rate: float) -> Outcome:
        feed = Feed("x_v2", replayed, rate)
        [outcome] = await end_to_end.run(self.server, self.folder / name, [feed], self.tracks)
        return outcome

    async def _baseline(self, how: str, turn: int) -> float:
        return await legacy_baseline.run(
            self.server, self.folder / f"{how}-{turn}", how, self.all, BASELINE_TWEETS
        )

    def _program(
        self, programs: list[Outcome], plain: list[float], same: list[float], steady: Outcome
    ) -> Section:
        rates = [outcome.rate for outcome in programs]
        ceilings = self.ceilings
        peak = max(outcome.memory_max for outcome in [*programs, steady])
        return Section(
            "The program compared with psql and tweepy",
            f"The ceiling is psql's `\\copy` of the same rows into the same tables, {SIZES[-1]:,}"
            " tweets per transaction. The whole program includes the socket of a simulated network"
            f" and the commit, with {len(self.posts.tracks):,} tracks, measured from the first"
            " frame to the last commit. Latency is the time from receipt of a frame to the commit"
            " timestamp, which Postgres sets just before the flush. tweepy_baseline.py writes the"
            " rows of tweepy.",
            [
                Line("ceiling: psql \\copy", ceilings, "tweets/s", [1.0]),
                Line("whole program", rates, "tweets/s", ratios(rates, ceilings), "≥ 0.5"),
                Line("tweepy + psycopg, our rows", same, "tweets/s", ratios(same, ceilings)),
                Line("tweepy + psycopg, one table", plain, "tweets/s", ratios(plain, ceilings)),
                Line("whole program to tweepy, our rows", ratios(rates, same), "times", (), "≥ 10"),
                Line("whole program to tweepy, one table", ratios(rates, plain), "times"),
                Line(
                    "processor time of the daemon",
                    [outcome.daemon_cpu / outcome.messages * 1e6 for outcome in programs],
                    "µs/tweet",
                    (),
                    "≤ 100",
                ),
                Line(
                    "processor time of its start",
                    [outcome.start_cpu for outcome in programs],
                    "s",
                ),
                Line(f"latency at {STEADY:,}/s, p50", [steady.latency_p50 * 1e3], "ms"),
                Line(
                    f"latency at {STEADY:,}/s, p99", [steady.latency_p99 * 1e3], "ms", (), "≤ 500"
                ),
                Line("commits per second at that rate", [steady.commits / steady.seconds], "/s"),
                Line("resident memory, maximum", [peak / MB], "MB", (), "≤ 200"),
                Line(
                    f"memory growth over the second half of {SECONDS} s",
                    [steady.memory_growth / MB], "MB", (), "0",
                ),
            ],
        )  # fmt: skip

    async def monitoring(self) -> Section:
        log("with and without the monitor")
        folder = self.folder / "monitoring"
        rates = await monitoring.run(self.server, folder, self.all, self.tracks, MONITORING_ROUNDS)
        without = rates["without"]
        return Section(
            "The monitor",
            "The whole program without the monitor; with all features of the monitor, sampling ten"
            " times as often as by default; and with each of its jobs failing or hanging in turn."
            " Ratios are relative to the rate without the monitor.",
            [
                Line("without the monitor", without, "tweets/s"),
                Line("with the monitor", rates["with"], "tweets/s"),
                Line(
                    "ratio with the monitor", ratios(rates["with"], without), "times", (), "≥ 0.95"
                ),
                Line("ratio with failing jobs", ratios(rates["raising"], without), "times"),
                Line("ratio with hanging jobs", ratios(rates["hanging"], without), "times"),
            ],
        )

    async def _strategies(self) -> Section:
        log("insert strategies")
        lines = [Line("psql \\copy", self.ceilings, "tweets/s", [1.0])]
        for clients in CLIENTS:
            rates = [
                await strategies.single_insert_rate(self.server, self.posts, clients, 3)
                for _ in range(ROUNDS)
            ]
            name = f"pgbench, one tweet per transaction, {clients} client{'s' * (clients > 1)}"
            lines.append(Line(name, rates, "tweets/s", self._share(rates)))
        some = rows.prepare(Corpus(self.posts.bodies[:STRATEGY_TWEETS], self.posts.tracks))
        cut = {size: list(some.batches(size)) for size in SIZES}
        found: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for name in strategies.STRATEGIES:
                for size, batches in cut.items():
                    found.setdefault((name, size), []).append(await self._strategy(name, batches))
        for (name, size), rates in found.items():
            lines.append(Line(f"{name}, {size:,}", rates, "tweets/s", self._share(rates)))
        return Section(
            "Insert strategies",
            "Ids, tweets and matches inserted into our tables over one connection; the number is"
            " tweets per transaction. All but pgbench use asyncpg. Tweets already stored are"
            f" skipped only by {' and '.join(f'“{name}”' for name in strategies.DEDUPLICATING)}.",
            lines,
        )

    async def _strategy(self, name: str, batches: Sequence[Rows]) -> float:
        async with self.server.database() as url:
            begun = time.perf_counter()
            await strategies.store(url, strategies.STRATEGIES[name], batches)
            return STRATEGY_TWEETS / (time.perf_counter() - begun)

    def _share(self, rates: Sequence[float]) -> list[float]:
        return ratios(rates, self.ceilings)


def ratios(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """Ratios of two lists, round by round."""
    return [one / other for one, other in zip(some, others, strict=True)]


def log(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def main(only: Sequence[str], posts: int, tweets: int | None) -> None:
    """Run everything, or only the named sections, whose results are then replaced."""
    for name in only:
        print(report.replace(await _one_section(name, posts, tweets)))
    if only:
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        # The server's account needs access.
        folder.chmod(0o755)
        async with postgres.running(folder / "data") as server:
            bench = Bench(server, folder)
            version = (await server.program("postgres", server.url, ["--version"])).strip()
            sections = await bench.run()
    facts = [version, f"asyncpg {importlib.metadata.version('asyncpg')}"]
    facts.append(f"mean post size {bench.posts.mean_bytes:,.0f} bytes")
    text = report.markdown(sections, facts)
    report.RESULTS.write_text(text, encoding="utf-8")
    print(text)


async def _one_section(name: str, posts: int, tweets: int | None) -> Section:
    """Measure one section."""
    with tempfile.TemporaryDirectory(prefix="bench-") as here:
        folder = Path(here)
        folder.chmod(0o755)
        async with postgres.running(folder / "data") as server:
            if name == "look_back":
                return await _look_back(server, folder, posts)
            if name == "exports" and tweets is not None:
                made = corpus.make(large_exports.DISTINCT)
                return await large_exports.measure(server, folder / "exports", made, tweets)
            return await SECTIONS[name](server, folder)


async def _look_back(server: Server, folder: Path, posts: int = look_back.POSTS) -> Section:
    beside = corpus.make(max(TWEETS, posts // 80))  # more than are sent meanwhile
    return await look_back.measure(server, folder / "look_back", beside, posts)


async def _cells() -> Section:
    posts = corpus.make(CELL_TWEETS)
    tracks: list[Track] = [("keyword", value) for value in posts.tracks]
    return await scale_cells.measure(posts, tracks)


SECTIONS: Mapping[str, Callable[[Server, Path], Awaitable[Section]]] = {
    "analysis": lambda server, folder: analysis.measure(
        server, folder / "analysis", corpus.make(TWEETS)
    ),
    "archive": lambda server, folder: archive.measure(server, folder, corpus.make(TWEETS), ROUNDS),
    "bluesky": lambda server, folder: bluesky.measure(
        server, folder / "bluesky", corpus.make(TWEETS)
    ),
    "cells": lambda _server, _folder: _cells(),
    "exports": lambda server, folder: exports.measure(
        server, folder / "exports", corpus.make(20_000)
    ),
    "ids": lambda server, _: ids.measure(server),
    "live": lambda server, folder: live.measure(server, folder, corpus.make(TWEETS)),
    "look_back": _look_back,
    "monitor": lambda server, folder: Bench(server, folder).monitoring(),
    "pages": lambda _, folder: pages.measure(folder / "pages"),
    "scale": lambda _, folder: scale.measure(folder / "scale", corpus.make(TWEETS)),
    "webhooks": lambda server, folder: webhooks.measure(
        server, folder / "webhooks", corpus.make(TWEETS)
    ),
    "sinks": lambda server, folder: sinks.measure(server, folder / "sinks", corpus.make(TWEETS)),
    "program": lambda server, folder: Bench(server, folder).program(),
    "writers": lambda server, folder: Bench(server, folder).writers(),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pgbench")
    parser.add_argument("only", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--posts", type=int, default=look_back.POSTS, help="of look_back")
    parser.add_argument("--tweets", type=int, help="of exports: measure only so many, once")
    given = parser.parse_args()
    if unknown := set(given.only) - set(SECTIONS):
        parser.error(f"unknown section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    asyncio.run(main(given.only, given.posts, given.tweets))
