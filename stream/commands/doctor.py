"""`doctor`: looks for what will go wrong, and says what to do about it."""

import asyncio
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

import click
import msgspec

from stream import db, migrations, sources, tracks
from stream.commands.context import Context, command
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.networks.table import NETWORKS

CONNECT_WITHIN = 5.0  # seconds
CLOCK_OFF = 5.0  # seconds between our clock and the database's
OLDEST = 150000  # server_version_num of PostgreSQL 15

_SERVER = """
SELECT current_setting('server_version_num')::integer AS number,
       current_setting('server_version') AS version,
       current_setting('server_encoding') AS encoding,
       current_setting('fsync') AS fsync,
       extract(epoch FROM clock_timestamp())::double precision AS now
"""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    verdict: Literal["fine", "careful", "wrong"]
    text: str


@click.command()
@command
async def doctor(context: Context) -> None:
    """Look at settings, disk, database, sources and tracks, and say what to mend."""
    worst = 0
    async for finding in examine(context):
        context.out.print(f"{finding.verdict:8} {finding.text}")
        worst = max(worst, 1 if finding.verdict == "wrong" else 0)
    if worst:
        raise SystemExit(worst)


async def examine(context: Context) -> AsyncIterator[Finding]:
    """All findings, from the ground up; ends early where nothing above can stand."""
    yield Finding("fine", f"settings are valid; data in {context.data_dir.resolve()}")
    for finding in _disk(context):
        yield finding
    try:
        async with context.url() as url, db.connect(url) as database:
            async for finding in _database(database):
                yield finding
            if await migrations.pending(database):
                yield Finding("wrong", "the schema is behind this program: run `migrate`")
                return
            async for finding in _sources(context, database):
                yield finding
            async for finding in _tracks(database):
                yield finding
    except TwitterstreamError as error:
        yield Finding("wrong", f"the database does not work: {error}")


def _disk(context: Context) -> list[Finding]:
    context.data_dir.mkdir(parents=True, exist_ok=True)
    found = []
    if not os.access(context.data_dir, os.W_OK):
        found.append(Finding("wrong", f"{context.data_dir} cannot be written to"))
    journal = context.settings.journal
    usage = shutil.disk_usage(context.data_dir)
    floor = max(journal.min_free_bytes, usage.total * journal.min_free_percent / 100)
    text = f"{usage.free / 1e9:,.1f} GB free on the disk of data_dir"
    if usage.free < floor:
        found.append(
            Finding("wrong", f"{text}: sources pause below {floor / 1e9:,.1f} GB; free some space")
        )
    elif usage.free < floor + journal.max_bytes:
        found.append(Finding("careful", f"{text}: less than journal.max_bytes above the floor"))
    else:
        found.append(Finding("fine", text))
    key = context.data_dir / "secret.key"
    if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        found.append(Finding("wrong", f"others may read {key}: run chmod 600 on it"))
    return found


async def _database(database: Database) -> AsyncIterator[Finding]:
    [row] = await database.fetch(_SERVER)
    if row["number"] < OLDEST:
        yield Finding("wrong", f"PostgreSQL {row['version']} is too old: 15 or newer is needed")
    else:
        yield Finding("fine", f"PostgreSQL {row['version']} answers")
    if row["encoding"] != "UTF8":
        yield Finding("wrong", f"the database is in {row['encoding']}: make one with UTF8")
    if row["fsync"] != "on":
        yield Finding("careful", "fsync is off: a loss of power may cost what was stored")
    off = time.time() - row["now"]
    if abs(off) > CLOCK_OFF:
        yield Finding("careful", f"our clock and the database's are {off:+.0f} s apart: use NTP")


async def _sources(context: Context, database: Database) -> AsyncIterator[Finding]:
    async with database.acquire() as connection:
        rows = [row for row in await sources.everything(connection) if row.enabled]
        living = await sources.daemons(connection)
    if not rows:
        yield Finding("careful", "no source is enabled: nothing is collected")
    elif not living:
        yield Finding("careful", "no daemon is running: nothing is collected")
    for row in rows:
        network = NETWORKS[row.network]
        try:
            absent = network.missing(context.vault.open(row.secrets) if row.secrets else {})
        except TwitterstreamError as error:
            yield Finding("wrong", f"source {row.name}: {error}")
            continue
        if absent:
            yield Finding("wrong", f"source {row.name} lacks the secrets {', '.join(absent)}")
        yield await _reachable(row.name, row.proxy or row.url or network.address)
        if row.state == "failed":
            yield Finding("wrong", f"source {row.name} has failed: {row.reason}")


async def _reachable(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, TimeoutError) as error:
        why = str(error) or "no answer"
        return Finding("wrong", f"source {name}: {parts.hostname}:{port} is not reachable: {why}")
    writer.close()
    return Finding("fine", f"source {name}: {parts.hostname}:{port} is reachable")


async def _tracks(database: Database) -> AsyncIterator[Finding]:
    async with database.acquire() as connection:
        rows = await tracks.everything(connection)
    refused = [row for row in rows if row.state in ("refused", "partial")]
    if not rows:
        yield Finding("careful", "there is no track: nothing is followed")
    for row in refused[:10]:
        yield Finding("careful", f"track {row.id} is {row.state}: {row.reason}")
    if len(refused) > 10:
        yield Finding("careful", f"{len(refused) - 10} more tracks are not followed in full")
    if rows and not refused:
        yield Finding("fine", f"{len(rows):,} tracks, none refused")
