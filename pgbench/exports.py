"""Measures exports against `\\copy … to stdout` of the same rows and columns, by turns."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pgbench import archive, rows
from pgbench.archive import Step, measured
from pgbench.corpus import Corpus
from pgbench.processes import ROOT
from pgbench.report import Line, Section
from pgbench.server import Server
from stream import db

TWEETS = 60_000
ROUNDS = 2
MB = 1e6
_OF_TRACK = "FROM matches AS own JOIN {0} USING (received_at) WHERE own.track_id = 1"
_FLAT = (
    "SELECT tweets_flat.*, ARRAY[track_id] AS tracks, ARRAY[term] AS terms, look_back "
    f"{_OF_TRACK.format('tweets_flat')} AND tweet_id = id ORDER BY id"
)
Kind = tuple[str, str | None]  # format and columns
# What psql copies for each kind of export.
COPIES: dict[Kind, str] = {
    ("csv", "everything"): f"({_FLAT}) TO STDOUT CSV",
    ("ndjson", "everything"): f"(SELECT to_json(flat) FROM ({_FLAT}) AS flat) TO STDOUT",
    ("received", None): (
        f"(SELECT doc {_OF_TRACK.format('tweets')} AND tweet_id = id ORDER BY id) TO STDOUT"
    ),
}


class Measured(msgspec.Struct):
    """The rounds of one kind of export."""

    copies: list[float] = []  # rows a second
    exports: list[Step] = []


async def measure(server: Server, folder: Path, posts: Corpus) -> Section:
    """Measure, and return the section of the report."""
    folder.mkdir()
    made = rows.prepare(posts)
    results = {kind: Measured() for kind in COPIES}
    async with server.database() as url:
        await archive.fill(url, made, TWEETS)
        async with db.connect(url) as database:
            await database.execute("INSERT INTO tracks (value) VALUES ('all')")
            await database.execute(
                "INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)"
                " SELECT id, 1, received_at, 'all', 'text', 'own' FROM tweets"
                " ON CONFLICT DO NOTHING"
            )
            await database.execute("VACUUM ANALYZE matches")
        config = folder / "config.yaml"
        config.write_text(json.dumps({"database": url, "data_dir": str(folder / "data")}))
        for _ in range(ROUNDS):
            for kind, result in results.items():
                await _round(server, url, config, kind, result)
    return _section(results, posts.mean_bytes)


async def _round(server: Server, url: str, config: Path, kind: Kind, result: Measured) -> None:
    began = time.perf_counter()
    words = ["-o", "/dev/null", "-c", f"\\copy {COPIES[kind]}"]
    await server.program("psql", url, words)
    result.copies.append(TWEETS / (time.perf_counter() - began))
    program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(config)]
    form, columns = kind
    export = ["export", "1", "--format", form, *(("--columns", columns) if columns else ())]
    output = ["--output", str(config.with_name("made.zip"))]
    result.exports.append(await asyncio.to_thread(measured, [*program, *export, *output]))


def _section(results: dict[Kind, Measured], mean: float) -> Section:
    lines: list[Line] = []
    memory: list[float] = []
    raw = results["received", None].copies
    for (form, columns), result in results.items():
        name = f"{form}, {columns}" if columns else form
        rates = [TWEETS / step.seconds for step in result.exports]
        shares: Sequence[float] = [
            rate / most for rate, most in zip(rates, result.copies, strict=True)
        ]
        memory += [step.memory / MB for step in result.exports]
        lines += [
            Line(
                f"\\copy, {name}",
                result.copies,
                "rows/s",
                [rate / most for rate, most in zip(result.copies, raw, strict=True)],
            ),
            Line(f"export, {name}", rates, "rows/s", shares, "≥ 0.5"),
        ]
    lines.append(Line("resident memory, highest of all", [max(memory)], "MB", (), "≤ 300"))
    return Section(
        "Exports",
        f"One track with {TWEETS:,} tweets of {mean:,.0f} bytes on average, by the command"
        " `export`, from the start of its process to the finished .zip, by turns with psql's"
        " \\copy of the same rows and columns to nowhere; \\copy itself is compared with that of"
        " the messages, which the views of tweets are read from.",
        lines,
    )
