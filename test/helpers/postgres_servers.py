"""PostgreSQL servers of a test on ports of their own: a primary, standbys of it, and failover."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

from servers import free_port
from stream.postgres import process, unprivileged
from stream.postgres.unprivileged import Account

NAME = "twitterstream"  # of the role and of the database
WITHIN = 200  # seconds for a server to start, stop or be promoted
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "wal_level": "replica",
    "hot_standby_feedback": "on",
    "wal_retrieve_retry_interval": "100ms",
    "shared_buffers": "32MB",
    "max_connections": "60",
}


class PostgresServer:
    """One server; `address` is its host and port."""

    def __init__(self, account: Account, programs: Path, folder: Path) -> None:
        self._account = account
        self._programs = programs
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = address_of(self)

    async def _run(self, program: str, *words: str) -> None:
        command = [*self._account.prefix, str(self._programs / program), *words]
        result = await process.run(command)
        assert result.code == 0, result.output

    async def make(self, settings: dict[str, str]) -> None:
        """Make a primary."""
        words = ("--auth=trust", f"--username={NAME}", "--encoding=UTF8", "--locale=C", "--no-sync")
        await self._run("initdb", *words, f"--pgdata={self.folder}")
        self.configure(SETTINGS | {"port": str(self.port)} | settings)

    async def copy(self, primary: "PostgresServer", name: str) -> None:
        """Make a standby of this primary; `name` is its application_name."""
        source = f"host=127.0.0.1 port={primary.port} user={NAME} application_name={name}"
        words = (f"--pgdata={self.folder}", "--write-recovery-conf", "--checkpoint=fast")
        await self._run("pg_basebackup", f"--dbname={source}", *words, "--no-sync")
        self.configure({"port": str(self.port), "synchronous_standby_names": ""})

    def configure(self, settings: dict[str, str]) -> None:
        """Add settings, before the next start."""
        with (self.folder / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    async def set(self, **settings: str) -> None:
        """Change settings of the running server."""
        for name, value in settings.items():
            await self.ask(f"ALTER SYSTEM SET {name} = '{value}'")
        await self.ask("SELECT pg_reload_conf()")

    async def start(self) -> None:
        log = self.folder / "server.log"
        words = ("start", "--wait", f"--timeout={WITHIN}", f"--log={log}", "--silent")
        await self._run("pg_ctl", f"--pgdata={self.folder}", *words)

    async def promote(self) -> None:
        """Make this standby a primary."""
        words = ("promote", "--wait", f"--timeout={WITHIN}", "--silent")
        await self._run("pg_ctl", f"--pgdata={self.folder}", *words)

    async def kill(self) -> None:
        """SIGKILL to the whole server."""
        found = process.processes_in(self.folder)
        for each in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        assert await process.gone(found, WITHIN)
        # The number in it may belong to another process when the server is started again.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """The server is there, takes connections, and says nothing."""
        for each in process.processes_in(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.suspend()

    def thaw(self) -> None:
        for each in process.processes_in(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()

    async def ask(self, question: str, database: str = NAME) -> Any:
        """The first value of a query to this server, None for a statement without any."""
        url = address_of(self, database=database)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            cursor = await connection.execute(question.encode())
            row = await cursor.fetchone() if cursor.description else None
            return row[0] if row else None


def address_of(*servers: PostgresServer, database: str = NAME) -> str:
    """The URL of a database; of several servers, the one that can be written to."""
    hosts = ",".join(each.address for each in servers)
    writable = "?target_session_attrs=read-write" if len(servers) > 1 else ""
    return f"postgresql://{NAME}@{hosts}/{database}{writable}"


class PostgresServers:
    """The servers of one test."""

    def __init__(self, folder: Path, account: Account, programs: Path) -> None:
        self._folder = folder
        self._account = account
        self._programs = programs
        self._made: list[PostgresServer] = []

    def _new(self) -> PostgresServer:
        made = PostgresServer(
            self._account, self._programs, self._folder / f"server-{len(self._made)}"
        )
        self._made.append(made)
        return made

    async def primary(self, **settings: str) -> PostgresServer:
        """A primary that runs, with an empty database."""
        made = self._new()
        await made.make(settings)
        await made.start()
        await made.ask(f"CREATE DATABASE {NAME}", "postgres")
        return made

    async def standby(self, primary: PostgresServer, name: str = "standby") -> PostgresServer:
        """A standby that runs and streams from this primary."""
        made = self._new()
        await made.copy(primary, name)
        await made.start()
        return made

    async def end(self) -> None:
        for each in self._made:
            each.thaw()
            await each.kill()


@contextlib.asynccontextmanager
async def servers_in(folder: Path) -> AsyncIterator[PostgresServers]:
    """Servers below this folder; they end with the block."""
    folder.mkdir(mode=0o700, exist_ok=True)
    account = await unprivileged.choose(folder, folder, folder / "none")
    programs = await unprivileged.runnable_programs(account, folder)
    servers = PostgresServers(folder, account, programs)
    try:
        yield servers
    finally:
        await asyncio.shield(servers.end())
