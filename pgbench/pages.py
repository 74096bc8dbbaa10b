"""Response times of the pages and the API when much is stored, and the cost of a large download.

    python -m pgbench.pages FOLDER      fill a server there, unless it is filled; measure; keep it

Times are those that a client on the same machine waits for a complete response, one request at a
time.
"""

import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import asyncpg
import msgspec
import psutil

from pgbench import processes, report, seed_data
from pgbench.report import Line, Section
from stream import db
from stream.postgres import Embedded
from stream.store import migrations, users
from web.accounts.credentials import begin_session
from web.app import ROUTES
from web.auth import SESSION

TWEETS = 5_000_000
DOWNLOADED = 1_000_000
WARM_UP, TIMES, ROUNDS = 3, 40, 3  # requests
AIM = 100  # ms
MB = 1e6
# Only while it is filled: then losing everything does not matter.
FILL = {
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "wal_level": "minimal",
    "max_wal_senders": "0", "max_wal_size": "8GB", "maintenance_work_mem": "512MB",
    "autovacuum": "off",
}  # fmt: skip
PLACE = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^}]*\})?)?\}")  # {id}, {id:\d{1,18}}
TWEET_KEY = re.compile(r"(?<=/)\d{6,}")
# Responses that never end, and downloads, which are measured apart.
LEFT_OUT = re.compile(r"socket|stream|download|export|\.csv|\.ndjson|/welcome|/login")
# In addition to every address without parameters.
WITH_PARAMETERS = (
    "/?q=ka",
    "/?sort=total",
    "/tracks/{busiest}?words=weather",
    "/api/v1/tweets?track={busiest}",
    "/api/v1/tweets?track={busiest}&order=oldest",
    "/api/v1/tweets?track={busiest}&lang=ja",
    "/api/v1/tweets?track={rarest}",
    "/api/v1/tracks/{busiest}/counts?step=hour",
    "/api/v1/tracks/{busiest}/tops?aspect=hashtag",
)


class RunningPages(msgspec.Struct, frozen=True):
    """The running pages: process, address, and a session of the admin."""

    pid: int
    address: str
    session: str
    numbers: dict[str, int]  # the values of the placeholders in addresses


class Timed(msgspec.Struct, frozen=True):
    """One address, and the times of its responses."""

    path: str
    status: int
    bytes: int
    seconds: Sequence[float]

    @property
    def p50(self) -> float:
        return statistics.median(self.seconds) * 1e3

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.seconds, n=20)[-1] * 1e3


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[RunningPages]:
    """Run only the pages, on the server in this folder."""
    port = processes.free_port()
    config = folder / "config.yaml"
    settings = {"listen": f"127.0.0.1:{port}", "requests_per_minute": 10**9}
    config.write_text(
        msgspec.json.encode({"data_dir": str(folder / "data"), "web": settings}).decode()
    )
    async with Embedded(folder / "data").lease() as url:
        session, numbers = await _prepare(url)
        words = ["twitterstream.py", "--config", str(config), "web"]
        async with processes.running("web", words, folder / "web.log") as pid:
            await processes.listening(port)
            yield RunningPages(pid, f"http://127.0.0.1:{port}", session, numbers)


async def _prepare(url: str) -> tuple[str, dict[str, int]]:
    async with db.connect(url, size=1) as database, database.acquire() as connection:
        admin = await users.by_name(connection, "admin")
        assert admin is not None
        session = await begin_session(connection, admin.id, "127.0.0.1", "pgbench", 30)
        [row] = await connection.fetch(_NUMBERS)
    return session, dict(row)


_NUMBERS = """
SELECT 1 AS source_id, busiest, rarest, busiest AS id, busiest AS track_id,
    (SELECT max(id) FROM tweets) AS tweet_id,
    (SELECT extract(epoch FROM max(received_at))::bigint FROM tweets) AS newest
FROM (SELECT (array_agg(track_id ORDER BY tweets DESC))[1] AS busiest,
        (array_agg(track_id ORDER BY tweets))[1] AS rarest
      FROM (SELECT track_id, sum(tweets) AS tweets FROM track_days GROUP BY 1) AS summed) AS found
"""


async def fill(folder: Path, count: int = TWEETS) -> None:
    """Fill the server in this folder, unless that was done already."""
    done = folder / "filled"
    if done.exists():
        return
    async with Embedded(folder / "data", FILL).lease() as url:
        async with db.connect(url) as database:
            await migrations.migrate(database)
        await seed_data.fill(url, count)
        connection = await asyncpg.connect(url)
        await connection.execute("CHECKPOINT")
        await connection.close()
    done.touch()


def addresses(site: RunningPages) -> list[str]:
    """All addresses that are measured."""
    plain = {
        route.path for route in ROUTES if route.method == "GET" and not LEFT_OUT.search(route.path)
    }
    found = [*sorted(plain), *WITH_PARAMETERS]
    return [_filled(site, path) for path in found]


def _filled(site: RunningPages, path: str) -> str:
    return PLACE.sub(lambda at: _number(site, path, at[1]), path)


def _number(site: RunningPages, path: str, name: str) -> str:
    if name == "id" and "/sources" in path:
        name = "source_id"
    elif name == "id" and "/tweets" in path:
        name = "tweet_id"
    return str(site.numbers.get(name, 1))


async def timed(client: aiohttp.ClientSession, path: str) -> Timed:
    """Request the address many times."""
    seconds: list[float] = []
    status, size = 0, 0
    for turn in range(WARM_UP + TIMES):
        begun = time.perf_counter()
        async with client.get(path, allow_redirects=False) as answer:
            status, size = answer.status, len(await answer.read())
        if status != 200:
            break
        if turn >= WARM_UP:
            seconds.append(time.perf_counter() - begun)
    return Timed(path, status, size, seconds)


async def every(site: RunningPages) -> list[Timed]:
    """Time each address in turn; one that does not answer with 200 is reported and left out."""
    found: list[Timed] = []
    async with aiohttp.ClientSession(site.address, cookies={SESSION: site.session}) as client:
        for path in addresses(site) * ROUNDS:
            one = await timed(client, path)
            took = f"{one.p50:.0f} ms, p95 {one.p95:.0f} ms" if one.seconds else "left out"
            report_progress(f"{one.status} {path}: {took}, {one.bytes:,} bytes")
            if one.seconds:
                found.append(one)
    return found


def _many(site: RunningPages) -> str:
    """The address of the newest tweets that are downloaded."""
    days = seed_data.DAYS * DOWNLOADED / TWEETS
    begin = datetime.fromtimestamp(site.numbers["newest"], UTC) - timedelta(days=days)
    return f"/api/v1/tweets?{urlencode({'begin': begin.isoformat()})}"


async def download(site: RunningPages, path: str) -> tuple[float, float, float]:
    """Lines per second, and the memory before the download and at its peak, in bytes."""
    process = psutil.Process(site.pid)
    before = float(process.memory_info().rss)
    samples: list[int] = [process.memory_info().rss]
    watching = asyncio.create_task(processes.memory(site.pid, samples))
    begun, lines = time.perf_counter(), 0
    timeout = aiohttp.ClientTimeout(total=3600)
    headers = {"Accept": "application/x-ndjson"}
    async with (
        aiohttp.ClientSession(
            site.address, cookies={SESSION: site.session}, timeout=timeout, headers=headers
        ) as client,
        client.get(path) as answer,
    ):
        assert answer.status == 200, await answer.text()
        async for chunk in answer.content.iter_any():
            lines += chunk.count(b"\n")
    seconds = time.perf_counter() - begun
    watching.cancel()
    report_progress(f"{lines:,} lines in {seconds:.0f} s")
    return lines / seconds, before, float(max(samples))


def section(times: Sequence[Timed], lines: Sequence[Line]) -> Section:
    """The table of results, the slowest address first."""
    by_path: dict[str, list[Timed]] = {}
    for one in times:
        by_path.setdefault(one.path, []).append(one)
    each: list[Line] = []
    for path, rounds in by_path.items():
        shown = TWEET_KEY.sub("{id}", path)
        each.append(Line(f"{shown}, p50", [one.p50 for one in rounds], "ms"))
        each.append(Line(f"{shown}, p95", [one.p95 for one in rounds], "ms", (), f"≤ {AIM}"))
    pairs = sorted(zip(each[::2], each[1::2], strict=True), key=lambda pair: -pair[1].value)
    return Section(
        "The pages",
        f"{TWEETS:,} tweets of {seed_data.DAYS} days and {seed_data.TRACKS} tracks, requested by an"
        f" admin, who sees everything: {ROUNDS} rounds of {TIMES} requests to each address, one at"
        " a time, up to the last byte of the response. Only the pages run, with the embedded"
        " Postgres at its default settings; the track is the busiest one. The download has"
        f" {DOWNLOADED:,} tweets as NDJSON, with their matches.",
        [*(line for pair in pairs for line in pair), *lines],
    )


async def measure(folder: Path) -> Section:
    """Fill the folder's server, unless it is filled, and measure everything."""
    await fill(folder)
    async with serving(folder) as site:
        times = await every(site)
        rate, before, most = await download(site, _many(site))
    lines = [
        Line("download", [rate], "tweets/s"),
        Line("memory of the pages before it", [before / MB], "MB"),
        Line("memory of the pages while it runs, peak", [most / MB], "MB"),
    ]
    return section(times, lines)


def report_progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


async def main(kept: str = "") -> None:
    if kept:
        print(report.replace(await measure(Path(kept).resolve())))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        Path(name).chmod(0o755)
        print(report.replace(await measure(Path(name))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
