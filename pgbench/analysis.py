"""Questions about many archived days, by examples/archive_duckdb.py and examples/archive_spark.py.

    python -m pgbench analysis

One day is archived by the program, and copied as DAYS days with keys and times of their own. They
take 6 GB of disk.
"""

import asyncio
import json
import os
import sys
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from monitor.archive.data_files import RowReader, TableWriter
from monitor.archive.manifest import Manifest, Role, folder, publish
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Store
from pgbench import archive, rows
from pgbench.archive import DAY, TWEETS, Step, measured
from pgbench.corpus import Corpus
from pgbench.processes import ROOT
from pgbench.report import Line, Section
from pgbench.server import Server
from stream.keys import LANE_BITS
from stream.store import day_snapshot
from stream.store.day_snapshot import Table

DAYS = 40
DAY_MICROSECONDS = 86_400_000_000
COPIED: dict[Role, Table] = {"tweets": day_snapshot.TWEETS, "matches": day_snapshot.MATCHES}
COPIED_ROWS = 10_000  # at a time
FIRST = date.fromisoformat(DAY)
TRACK = "1"  # that with most tweets
MB, GB = 1e6, 1e9


async def measure(server: Server, place: Path, posts: Corpus) -> Section:
    """Measure, and return the section of the report."""
    place.mkdir()
    store = Store(str(place / "archive"))
    async with server.database() as url:
        await archive.fill(url, rows.prepare(posts), TWEETS)
        config = place / "config.yaml"
        config.write_text(json.dumps({"database": url, "archive": {"url": store.name}}))
        program = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(config)]
        await asyncio.to_thread(measured, [*program, "archive", "run", "--day", DAY])
    made = read_manifest(store, FIRST, 0)
    assert made is not None
    for number in range(1, DAYS):
        await asyncio.to_thread(_copy, store, made, number)
    load = os.getloadavg()[0]
    week = ("--since", str(FIRST + timedelta(days=DAYS - 7)))
    steps = {
        "DuckDB, all days": await _asked("archive_duckdb.py", store, place),
        "DuckDB, the last 7 days": await _asked("archive_duckdb.py", store, place, *week),
        "Spark, all days": await _asked("archive_spark.py", store, place),
    }
    return _section(steps, made.bytes * DAYS, load)


async def _asked(program: str, store: Store, place: Path, *options: str) -> Step:
    words = [str(ROOT / "examples" / program), store.name, str(place / "answers")]
    return await asyncio.to_thread(measured, [sys.executable, *words, "--track", TRACK, *options])


def _copy(store: Store, made: Manifest, number: int) -> None:
    """Copy the day as one that is so many days later."""
    day = FIRST + timedelta(days=number)
    files = dict(made.files)
    for role, table in COPIED.items():
        reader = RowReader(store, made.path(role))
        writer = TableWriter(store, f"{folder(day, 0)}/{made.files[role].name}", table)
        while (some := reader.take(COPIED_ROWS)).num_rows:
            writer.add(_moved(some, table, number * DAY_MICROSECONDS))
        files[role] = writer.close()
    name = made.files["tracks"].name
    store.put(f"{folder(day, 0)}/{name}", store.read(made.path("tracks")))
    publish(store, msgspec.structs.replace(made, day=day, files=files))


def _moved(some: pa.Table, table: Table, microseconds: int) -> pa.Table:
    """Rows with later keys and times of receipt."""
    later = {
        table.key[0]: pc.add(some[table.key[0]], microseconds << LANE_BITS),
        "received_at": pc.add(some["received_at"], pa.scalar(microseconds, pa.duration("us"))),
    }
    for name, column in later.items():
        some = some.set_column(some.column_names.index(name), name, column)
    return some


def _section(steps: dict[str, Step], size: int, load: float) -> Section:
    lines = [Line(f"{name}: time", [step.seconds], "s") for name, step in steps.items()]
    duckdb = steps["DuckDB, all days"]
    return Section(
        "Analysis of archives",
        f"{DAYS} archived days of {TWEETS:,} tweets, {DAYS * TWEETS:,} in all: tweets by day and"
        " track, hashtags and authors of the track with most tweets, by the programs of examples/,"
        " from the start of each process to its end, once each."
        f" Load average before: {load:.1f} on {os.cpu_count()} processors.",
        [
            *lines,
            Line("DuckDB, all days: rate", [DAYS * TWEETS / duckdb.seconds], "tweets/s"),
            Line("DuckDB, all days: resident memory", [duckdb.memory / MB], "MB", (), "≤ 2,500"),
            Line("files", [size / GB], "GB"),
        ],
    )
