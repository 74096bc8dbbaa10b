"""`make bench`: everything that is measured, as one table, printed and written to results.md.

`python -m pgbench archive` measures archiving only; so do `live`, `monitor` and `pages`.
"""

import asyncio
import importlib.metadata
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pgbench import (
    archive,
    ceiling,
    corpus,
    live,
    matcher,
    monitoring,
    pages,
    report,
    rows,
    singly,
    strategies,
    today,
    whole,
)
from pgbench import server as postgres
from pgbench.corpus import Corpus
from pgbench.report import Line, Section
from pgbench.rows import Rows
from pgbench.server import Server
from pgbench.whole import Outcome

ROUNDS = 3
MONITORED = 3  # rounds
TWEETS = 30_000  # through the whole program, and through psql
SOME = 6_000  # for each strategy
FEW = 3_000  # for tweepy, a second or ten
SIZES = (100, 500, 2000)  # tweets a transaction
CLIENTS = (1, 8)
STEADY, SECONDS = 1000, 30  # tweets a second, for so long
NETWORK = "x_v2"
MB = 1e6


class Bench:
    """One run of everything, on one server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.posts = corpus.make(TWEETS)
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
        wholes, plain, same = await self._compare()
        steady = await self._whole("steady", self.steady, STEADY)
        return [
            self._program(wholes, plain, same, steady),
            await self.monitoring(),
            await archive.measure(self.server, self.folder, self.posts, ROUNDS),
            await self._strategies(),
            await pages.measure(self.folder / "pages"),
            await live.measure(self.server, self.folder, self.posts),
            Section(
                "Matching",
                "On posts and tracks of its own; see matcher.py.",
                [Line(what, [value], unit) for what, value, unit in matcher.measure()],
            ),
        ]

    async def _compare(self) -> tuple[list[Outcome], list[float], list[float]]:
        """The ceiling, the program and its peers in turns, so that a busy machine harms all."""
        wholes, plain, same = [], [], []
        for turn in range(ROUNDS):
            say(f"round {turn + 1} of {ROUNDS}")
            self.ceilings.append(TWEETS / await ceiling.run(self.server, self.script))
            wholes.append(await self._whole(f"whole-{turn}", self.all, 0))
            plain.append(await self._today("plain", turn))
            same.append(await self._today("same", turn))
        return wholes, plain, same

    async def _whole(self, name: str, replayed: Path, rate: float) -> Outcome:
        tracks, folder = self.posts.tracks, self.folder / name
        return await whole.run(self.server, folder, NETWORK, replayed, tracks, rate)

    async def _today(self, how: str, turn: int) -> float:
        return await today.run(self.server, self.folder / f"{how}-{turn}", how, self.all, FEW)

    def _program(
        self, wholes: list[Outcome], plain: list[float], same: list[float], steady: Outcome
    ) -> Section:
        rates = [outcome.rate for outcome in wholes]
        peak = max(outcome.memory_max for outcome in [*wholes, steady])
        return Section(
            "The program, and the way of today",
            f"The ceiling is psql's `\\copy` of the same rows into the same tables, {SIZES[-1]:,}"
            " tweets a transaction. The whole program runs from the socket of a simulated network"
            f" to the commit, with {len(self.posts.tracks):,} tracks, from the first frame to the"
            " last commit. Latency is from the frame's receipt to the time at which Postgres stamps"
            " the commit, just before it is flushed. tweepy's rows are those of peer.py.",
            [
                Line("ceiling: psql \\copy", self.ceilings, "tweets/s", [1.0]),
                Line("whole program", rates, "tweets/s", over(rates, self.ceilings), "≥ 0.5"),
                Line("tweepy + psycopg, our rows", same, "tweets/s", over(same, self.ceilings)),
                Line("tweepy + psycopg, one table", plain, "tweets/s", over(plain, self.ceilings)),
                Line("whole program to tweepy, our rows", over(rates, same), "times", (), "≥ 10"),
                Line("whole program to tweepy, one table", over(rates, plain), "times"),
                Line(
                    "processor time of the daemon, start included",
                    [outcome.daemon_cpu / outcome.tweets * 1e6 for outcome in wholes],
                    "µs/tweet",
                ),
                Line(f"latency at {STEADY:,}/s, p50", [steady.latency_p50 * 1e3], "ms"),
                Line(
                    f"latency at {STEADY:,}/s, p99", [steady.latency_p99 * 1e3], "ms", (), "≤ 500"
                ),
                Line("commits a second at that rate", [steady.commits / steady.seconds], "/s"),
                Line("resident memory, highest of all", [peak / MB], "MB", (), "≤ 200"),
                Line(
                    f"growth of it over the second half of {SECONDS} s",
                    [steady.memory_growth / MB], "MB", (), "0",
                ),
            ],
        )  # fmt: skip

    async def monitoring(self) -> Section:
        say("with the monitor and without")
        tracks, folder = self.posts.tracks, self.folder / "monitoring"
        rates = await monitoring.run(self.server, folder, self.all, tracks, MONITORED)
        without = rates["without"]
        return Section(
            "The monitor",
            "The whole program without its monitor, with all that the monitor can do, looking ten"
            " times as often as by default, and with each of its chores out of order in turn:"
            " failing, or never coming to an end. Beside the rate, its share of that without.",
            [
                Line("without the monitor", without, "tweets/s"),
                Line("with it", rates["with"], "tweets/s"),
                Line("to that without", over(rates["with"], without), "times", (), "≥ 0.95"),
                Line("chores failing, to that without", over(rates["raising"], without), "times"),
                Line("chores hanging, to that without", over(rates["hanging"], without), "times"),
            ],
        )

    async def _strategies(self) -> Section:
        say("ways to insert")
        lines = [Line("psql \\copy", self.ceilings, "tweets/s", [1.0])]
        for clients in CLIENTS:
            rates = [await singly.run(self.server, self.posts, clients, 3) for _ in range(ROUNDS)]
            name = f"pgbench, one tweet a transaction, {clients} client{'s' * (clients > 1)}"
            lines.append(Line(name, rates, "tweets/s", self._share(rates)))
        some = rows.prepare(Corpus(self.posts.bodies[:SOME], self.posts.tracks))
        cut = {size: list(some.batches(size)) for size in SIZES}
        found: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for name in strategies.STRATEGIES:
                for size, batches in cut.items():
                    found.setdefault((name, size), []).append(await self._strategy(name, batches))
        for (name, size), rates in found.items():
            lines.append(Line(f"{name}, {size:,}", rates, "tweets/s", self._share(rates)))
        return Section(
            "Ways to insert",
            "Identities, tweets and matches into our tables, over one connection; the number is"
            " tweets a transaction. Below pgbench all are asyncpg's. Only"
            f" {' and '.join(f'“{name}”' for name in strategies.CLAIMING)} can leave out what is"
            " stored already.",
            lines,
        )

    async def _strategy(self, name: str, batches: Sequence[Rows]) -> float:
        async with self.server.database() as url:
            begun = time.perf_counter()
            await strategies.store(url, strategies.STRATEGIES[name], batches)
            return SOME / (time.perf_counter() - begun)

    def _share(self, rates: Sequence[float]) -> list[float]:
        return over(rates, self.ceilings)


def over(some: Sequence[float], others: Sequence[float]) -> list[float]:
    """The ratios, round by round."""
    return [one / other for one, other in zip(some, others, strict=True)]


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def main(only: Sequence[str]) -> None:
    """Everything, or only what is named, which then takes its place among the other results."""
    for name in only:
        print(report.replace(await _alone(name)))
    if only:
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        # The server's own account must get into it.
        folder.chmod(0o755)
        async with postgres.running(folder / "data") as server:
            bench = Bench(server, folder)
            version = (await server.program("postgres", server.url, ["--version"])).strip()
            sections = await bench.run()
    facts = [version, f"asyncpg {importlib.metadata.version('asyncpg')}"]
    facts.append(f"posts of {bench.posts.mean_bytes:,.0f} bytes in the mean")
    text = report.markdown(sections, facts)
    report.RESULTS.write_text(text, encoding="utf-8")
    print(text)


async def _alone(name: str) -> Section:
    """One section: `archive`, `live`, `monitor` or `pages`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as here:
        folder = Path(here)
        folder.chmod(0o755)
        if name == "pages":
            return await pages.measure(folder)
        async with postgres.running(folder / "data") as server:
            if name == "archive":
                return await archive.measure(server, folder, corpus.make(TWEETS), ROUNDS)
            if name == "monitor":
                return await Bench(server, folder).monitoring()
            if name == "live":
                return await live.measure(server, folder, corpus.make(TWEETS))
    raise SystemExit(f"{name!r} cannot be measured alone; archive, live, monitor and pages can")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
