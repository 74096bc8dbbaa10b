"""Exports of very many tweets: how long they take, and how much memory.

    python -m pgbench exports --tweets 10000000

The tweets are short ones, each stored again and again with another time and id. 10 million of them
take about 13 GB of disk.
"""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from pgbench import archive, rows
from pgbench.archive import FIRST, INTERVAL, Step, measured
from pgbench.corpus import Corpus
from pgbench.processes import ROOT
from pgbench.report import Line, Section
from pgbench.server import Server
from stream import db
from stream.keys import to_datetime

DISTINCT = 20_000
OPTIONS = (("csv", "--columns", "simple"), ("received",))
MB = 1e6
KEPT = ("id", "text", "author_id", "created_at", "lang", "public_metrics")  # of a short tweet
ADD_DAYS = "SELECT ensure_day(day::date) FROM generate_series($1, $2, interval '1 day') AS day"
ADD_TWEETS = """
INSERT INTO tweets (id, received_at, created_at, network, native_id, kind, lang, author_id, author,
    url, text, doc)
SELECT tweet_key(at, 1), at, created_at, network, tweet_key(at, 1)::text, kind, lang, author_id,
    author, url, text, doc
FROM (SELECT *, received_at + $1 AS at FROM tweets WHERE received_at < $2) AS first
WHERE received_at + $1 < $3
"""
ADD_MATCHES = """
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT id, 1, received_at, 'all', 'text', 'own' FROM tweets
WHERE received_at >= $1 AND received_at < $2
"""


async def measure(server: Server, folder: Path, posts: Corpus, tweets: int) -> Section:
    """Measure, and return the section of the report."""
    folder.mkdir()
    short = Corpus([_shortened(body) for body in posts.bodies[:DISTINCT]], ["all"])
    steps: dict[str, Step] = {}
    sizes: dict[str, int] = {}
    async with server.database() as url:
        await _fill(url, short, tweets)
        config = folder / "config.yaml"
        limits = {"max_disk_bytes": "1 TB"}
        settings = {"database": url, "data_dir": str(folder / "data"), "exports": limits}
        config.write_text(json.dumps(settings))
        output = folder / "made.zip"
        program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(config)]
        for options in OPTIONS:
            words = [*program, "export", "1", "--output", str(output), "--format", *options]
            name = f"{options[0]}, {options[-1]}" if options[1:] else options[0]
            steps[name] = await asyncio.to_thread(measured, words)
            sizes[name] = output.stat().st_size
    return _section(tweets, short.mean_bytes, steps, sizes)


def _shortened(body: bytes) -> bytes:
    """A message with what most columns need."""
    whole = msgspec.json.decode(body)
    user = {name: whole["includes"]["users"][0][name] for name in ("id", "name", "username")}
    data = {name: value for name, value in whole["data"].items() if name in KEPT}
    return msgspec.json.encode({"data": data, "includes": {"users": [user]}})


async def _fill(url: str, short: Corpus, tweets: int) -> None:
    """Store the first ones, and then these once more in each span of the time."""
    await archive.fill(url, rows.prepare(short), min(tweets, DISTINCT))
    span = timedelta(microseconds=DISTINCT * INTERVAL)
    begin, end = to_datetime(FIRST), to_datetime(FIRST + tweets * INTERVAL)
    async with db.connect(url) as database, database.long_running() as connection:
        await connection.execute("INSERT INTO tracks (value) VALUES ('all')")
        await connection.execute("TRUNCATE matches")
        await connection.fetch(ADD_DAYS, begin, end)
        at = begin
        while at < end:
            if at > begin:
                await connection.execute(ADD_TWEETS, at - begin, begin + span, end)
            await connection.execute(ADD_MATCHES, at, at + span)
            at += span
        await connection.execute("VACUUM ANALYZE tweets, matches")


def _section(tweets: int, mean: float, steps: dict[str, Step], sizes: dict[str, int]) -> Section:
    lines: list[Line] = []
    for name, step in steps.items():
        lines += [
            Line(f"{name}: time", [step.seconds / 60], "min"),
            Line(f"{name}: rate", [tweets / step.seconds], "rows/s"),
            Line(f"{name}: resident memory, highest", [step.memory / MB], "MB", (), "≤ 300"),
            Line(f"{name}: file", [sizes[name] / MB], "MB"),
        ]
    return Section(
        "Exports of many tweets",
        f"One track with {tweets:,} tweets of {mean:,.0f} bytes on average, by the command"
        " `export`, once each.",
        lines,
    )
