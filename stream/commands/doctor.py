"""`doctor`: check settings, disk, bus, database, machines, sources and tracks; suggest fixes."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlsplit

import click

from stream import cluster, credentials, db
from stream.cells.databases import Cells, open_cells
from stream.commands.context import Context, command
from stream.commands.daemons import running_daemons
from stream.commands.doctor_machines import machine_findings
from stream.commands.finding import Finding
from stream.config import WebSettings, exposure
from stream.config.exposure import safe_url
from stream.db import Database
from stream.errors import TwitterstreamError
from stream.files import disk
from stream.networks.egress import choose_proxy
from stream.networks.registry import NETWORKS
from stream.replica import OTHER_DATABASE
from stream.store import cells, migrations, server, sources, tracks
from stream.store.sources import SourceRow

CONNECT_TIMEOUT = 5.0  # seconds
CLOCK_OFFSET_MAX = 5.0  # seconds between our clock and the database's
POSTGRES_MIN = 150000  # server_version_num of PostgreSQL 15


@click.command()
@command
async def doctor(context: Context) -> None:
    """Check settings, disk, database, sources and tracks, and suggest fixes."""
    worst = 0
    async for finding in examine(context):
        context.out.print(f"{finding.result:8} {finding.text}")
        worst = max(worst, 1 if finding.result == "error" else 0)
    if worst:
        raise SystemExit(worst)


async def examine(context: Context) -> AsyncIterator[Finding]:
    """Run the checks of `doctor` in order of dependence; ends early if later ones cannot work."""
    yield Finding("ok", f"settings are valid; data folder {context.data_dir.resolve()}")
    for warning in exposure.warnings(context.settings, context.config_file):
        yield Finding("warning", warning[:1].lower() + warning[1:])
    for finding in _disk(context):
        yield finding
    if context.settings.bus:
        # Most installations have none, and need not import its client.
        from stream.commands.doctor_bus import bus_findings  # noqa: PLC0415 - see above

        async for finding in bus_findings(context.settings):
            yield finding
    try:
        async with context.url() as url, db.connect(url) as database:
            async for finding in _installation(context, database):
                yield finding
    except TwitterstreamError as error:
        yield Finding("error", f"the database cannot be used: {error}")


async def _installation(context: Context, database: Database) -> AsyncIterator[Finding]:
    """What the database is, and what it says."""
    async for finding in _database(database):
        yield finding
    if await migrations.pending(database):
        yield Finding("error", "the database schema is outdated: run `migrate`")
        return
    async with database.acquire() as connection:
        await cells.require_name(connection, context.settings.cell)
    for finding in await _machines(context, database):
        yield finding
    if context.settings.cell:
        yield await _cell(context.settings.cell, database)
    else:
        async for finding in _sources(context, database):
            yield finding
        async for finding in _tracks(database):
            yield finding
    if context.settings.web.replica:
        yield await replica_finding(context.settings.web, database)


def _disk(context: Context) -> list[Finding]:
    context.data_dir.mkdir(parents=True, exist_ok=True)
    found = []
    if not os.access(context.data_dir, os.W_OK):
        found.append(
            Finding("error", f"{context.data_dir} is not writable: give this user write permission")
        )
    journal = context.settings.journal
    usage = disk(context.data_dir)
    floor = usage.floor(journal.min_free_bytes, journal.min_free_percent)
    text = f"{usage.free / 1e9:,.1f} GB free on the disk of data_dir"
    if usage.free < floor:
        found.append(
            Finding("error", f"{text}: sources pause below {floor / 1e9:,.1f} GB; free some space")
        )
    elif usage.free < floor + journal.max_bytes:
        found.append(Finding("warning", f"{text}: less than the minimum plus journal.max_bytes"))
    else:
        found.append(Finding("ok", text))
    key = context.data_dir / "secret.key"
    if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        found.append(Finding("error", f"other users can read {key}: run chmod 600 on it"))
    return found


async def _database(database: Database) -> AsyncIterator[Finding]:
    async with database.acquire() as connection:
        found = await server.version(connection)
    if found.number < POSTGRES_MIN:
        yield Finding("error", f"PostgreSQL {found.text} is too old: 15 or newer is needed")
    else:
        yield Finding("ok", f"PostgreSQL {found.text} answers")
    if found.encoding != "UTF8":
        yield Finding("error", f"the database's encoding is {found.encoding}: create one with UTF8")
    if found.fsync != "on":
        yield Finding("warning", "fsync is off: a power loss may destroy stored tweets")
    off = time.time() - found.now
    if abs(off) > CLOCK_OFFSET_MAX:
        yield Finding(
            "warning", f"this machine's clock and the database's differ by {off:+.0f} s: use NTP"
        )


async def replica_finding(web: WebSettings, database: Database) -> Finding:
    """Check that the replica of the web UI answers, and how far it is behind."""
    try:
        async with (
            database.acquire() as primary,
            db.connect(web.replica, size=1, standby=True) as opened,
            opened.acquire() as replica,
        ):
            position = await server.wal_position(primary)
            is_same = await migrations.created_at(replica) == await migrations.created_at(primary)
            replayed = await server.replayed_position(replica) or 0
            seconds = await server.replay_delay(replica)
    except TwitterstreamError as error:
        return Finding("error", f"the replica (web.replica) cannot be used: {error}")
    if not is_same:
        return Finding("error", f"the replica (web.replica) cannot be used: {OTHER_DATABASE}")
    behind = max(0, position - replayed)
    if not behind:
        return Finding("ok", "the replica (web.replica) has all that the database has")
    late = "" if seconds is None else f"{seconds:,.0f} s and "
    text = f"the replica (web.replica) is {late}{behind / 1e6:,.1f} MB behind"
    is_late = seconds is not None and seconds > web.replica_max_lag
    return Finding("warning" if is_late else "ok", text)


async def _machines(context: Context, database: Database) -> list[Finding]:
    """Check the other machines of an installation with a bus."""
    async with (
        open_cells(context.settings.cells, size=1) as others,
        database.acquire() as connection,
    ):
        together = await cluster.read_all(
            connection, Cells(database, others), context.settings.cell
        )
        rows = await sources.get_all(connection)
        collected = await sources.collected_ids(connection)
    if not context.settings.bus:
        if not together.uses_bus or not together.daemons:
            return []
        return [Finding("error", "other machines use a bus, but `bus` is not set here: set it")]
    key = context.vault.fingerprint()
    return [*machine_findings(together, context.settings, key, rows, collected)]


async def _cell(cell: str, database: Database) -> Finding:
    """A cell has copies of sources and tracks, without credentials and states."""
    async with database.acquire() as connection:
        living = await running_daemons(connection)
    if not living:
        return Finding("warning", f"no daemon of cell {cell} is running: nothing is stored here")
    return Finding("ok", "sources and tracks are checked by `doctor` with the settings of home")


async def _sources(context: Context, database: Database) -> AsyncIterator[Finding]:
    async with database.acquire() as connection:
        rows = [row for row in await sources.get_all(connection) if row.enabled]
        living = await running_daemons(connection)
    if not rows:
        yield Finding("warning", "no source is enabled: nothing is collected")
    elif not living:
        yield Finding("warning", "no daemon is running: nothing is collected")
    for row in rows:
        network = NETWORKS[row.network]
        try:
            absent = network.missing_credentials(credentials.source_of(context.vault, row).secrets)
        except TwitterstreamError as error:
            yield Finding("error", f"source {row.name}: {error}")
            continue
        if absent:
            yield Finding("error", f"source {row.name} needs these secrets: {', '.join(absent)}")
        yield await _reachable(row, network.addresses(row.url, context.settings))
        if row.state == "failed":
            yield Finding("error", f"source {row.name} has failed: {row.reason}")


async def _reachable(row: SourceRow, addresses: Sequence[str]) -> Finding:
    """Check that one of these, which are tried in turn, accepts connections."""
    found = await asyncio.gather(*(_connect(row.proxy, address) for address in addresses))
    for where, why in found:
        if not why:
            return Finding("ok", f"source {row.name}: {where} is reachable")
    failures = "; ".join(f"{where} is not reachable: {why}" for where, why in found)
    return Finding("error", f"source {row.name}: {failures}")


async def _connect(own_proxy: str | None, address: str) -> tuple[str, str]:
    """Connect to an address, or to the proxy on the way: to which, and why that failed."""
    proxy = choose_proxy(own_proxy, address)
    where = safe_url(address) if proxy is None else f"the proxy {proxy}"
    try:
        parts = urlsplit(address if proxy is None else proxy.url)
        port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except (OSError, ValueError) as error:
        return where, str(error) or "no answer"
    writer.close()
    return where, ""


async def _tracks(database: Database) -> AsyncIterator[Finding]:
    async with database.acquire() as connection:
        rows = await tracks.get_all(connection)
    refused = [row for row in rows if row.state in ("refused", "partial")]
    if not rows:
        yield Finding("warning", "there is no track: nothing is collected")
    for row in refused[:10]:
        yield Finding("warning", f"track {row.id} is {row.state}: {row.reason}")
    if len(refused) > 10:
        yield Finding(
            "warning", f"{len(refused) - 10} more tracks are refused or only partly supported"
        )
    if rows and not refused:
        yield Finding("ok", f"{len(rows):,} tracks, none refused")
