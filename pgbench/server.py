"""A PostgreSQL of the benchmark's own, with a fresh migrated database for every run."""

import asyncio
import contextlib
import itertools
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from stream import db
from stream.postgres import Embedded, client_environment
from stream.store import migrations

# Commit timestamps; they cost twelve bytes per transaction.
SETTINGS = {"track_commit_timestamp": "on"}
TEMPLATE = "bench_template"


class Server:
    """The embedded server with its default settings: fsync on, 128 MB of shared buffers."""

    def __init__(self, url: str, programs: Path) -> None:
        self.url = url
        self.programs = programs
        self._numbers = itertools.count(1)

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of an empty migrated database, dropped at the end."""
        name = f"bench_{next(self._numbers)}"
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
            # No run pays for dirty pages of the run before.
            await connection.execute("CHECKPOINT")
            yield self._named(name)
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await connection.close()

    async def program(self, name: str, url: str, arguments: Sequence[str]) -> str:
        """Run psql or pgbench on a database and return its output."""
        return await asyncio.to_thread(self._run_program, name, url, arguments)

    def _run_program(self, name: str, url: str, arguments: Sequence[str]) -> str:
        command = [str(self.programs / name), *arguments]
        done = subprocess.run(
            command, env=client_environment(url), check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
        return done.stdout

    def _named(self, database: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    async def make_template(self) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        finally:
            await connection.close()
        async with db.connect(self._named(TEMPLATE)) as database:
            await migrations.migrate(database)


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Server]:
    """A server in this folder."""
    embedded = Embedded(folder, SETTINGS)
    async with embedded.lease() as url:
        server = Server(url, embedded.psql_path.parent)
        await server.make_template()
        yield server


async def fetch_row(url: str, query: str, *arguments: object) -> asyncpg.Record:
    """The one row of a query."""
    connection = await asyncpg.connect(url)
    try:
        row = await connection.fetchrow(query, *arguments)
    finally:
        await connection.close()
    assert row is not None
    return row
