"""Measures the ceiling: psql copies the same rows into the same tables."""

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pgbench import rows
from pgbench.rows import Row, Rows
from pgbench.server import Server

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def write(folder: Path, prepared: Rows, size: int) -> Path:
    """Write the rows as COPY text files and a psql script that loads them.

    One transaction per `size` tweets. Minute counts come last, since COPY cannot add to a count.
    """
    folder.mkdir(parents=True)
    script = ["SELECT ensure_day(current_date);"]
    for number, part in enumerate(prepared.batches(size)):
        script.append("BEGIN;")
        script += [
            _copy(folder / f"{number}-{table}", table, columns, values)
            for table, columns, values in (
                ("tweet_ids", rows.IDENTITIES, part.identities),
                ("tweets", rows.TWEETS, part.tweets),
                ("matches", rows.MATCHES, part.matches),
            )
        ]
        script.append("COMMIT;")
    script.append(
        _copy(folder / "minutes", "track_minutes", rows.TRACK_MINUTES, prepared.track_minutes)
    )
    path = folder / "load.sql"
    path.write_text("\n".join(script) + "\n", encoding="utf-8")
    return path


async def run(server: Server, script: Path) -> float:
    """Seconds that psql takes for the script in a fresh database."""
    async with server.database() as url:
        begun = time.perf_counter()
        await load(server, url, script)
        return time.perf_counter() - begun


async def load(server: Server, url: str, script: Path) -> None:
    """Let psql run the script in this database."""
    await server.program("psql", url, ["-qX", "-v", "ON_ERROR_STOP=1", "-f", str(script)])


def _copy(path: Path, table: str, columns: Sequence[str], values: Sequence[Row]) -> str:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(map(_text, value)) + "\n" for value in values)
    return f"\\copy {table} ({', '.join(columns)}) FROM '{path}'"


def _text(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, datetime):
        value = value.isoformat()
    if isinstance(value, tuple):
        value = "{" + ",".join(value) + "}"
    return str(value).translate(_ESCAPES)
