"""The whole program as a process of its own, and a simulator for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import psutil
import psycopg
import pytest

from simulator.server import Server, serve
from simulator.server import Settings as Simulated
from stream import credentials, db
from stream.postgres import Embedded
from stream.postgres.process import postmaster, processes_in
from stream.store import migrations, sources
from stream.vault import Vault
from terminal import Terminal
from whole_cluster import open_site

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from stream.tweet import NetworkName
    from test.conftest import Eventually
    from test.flow.conftest import OpenTables, Tables

__all__ = ["open_site"]  # a fixture
ROOT = Path(__file__).resolve().parents[3]
ROOMY = {"min_free_bytes": 0, "min_free_percent": 0}
SECRETS = {
    "x_v2": "bearer_token: T",
    "x_v1": "consumer_key: a\nconsumer_secret: b\ntoken: c\ntoken_secret: d",
}
# The program as it is, on a machine whose clock is as many seconds ahead as a file says.
AHEAD = """
import pathlib, runpy, sys, time
file = pathlib.Path(sys.argv[1])
seconds, nanoseconds = time.time, time.time_ns
time.time = lambda: seconds() + int(file.read_text())
time.time_ns = lambda: nanoseconds() + int(file.read_text()) * 10**9
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Program:
    """One data_dir with its config, and the commands that a person gives there."""

    def __init__(self, folder: Path, database: str, changed: dict[str, object]) -> None:
        self.folder = folder
        self.installed = ROOT  # the release that it runs
        self.log = folder / "log.txt"
        self.process: asyncio.subprocess.Process | None = None
        self._life = 0  # where the log of the newest process begins
        settings: dict[str, object] = {
            "database": database,
            "data_dir": str(folder / "data"),
            "x_v2": {"connect_attempts": 10_000},  # so many in 15 minutes only in tests
            "journal": ROOMY,
            "monitor": {"listen": ""},  # several programs at once, on one machine
        }
        settings |= changed
        self.data_dir = Path(str(settings["data_dir"]))
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(settings))

    def _command(self, *words: str) -> list[str]:
        return [
            sys.executable,
            str(self.installed / "twitterstream.py"),
            "--config",
            str(self.config),
            *words,
        ]

    async def command(self, *words: str, given: str = "") -> str:
        """Give a command, wait for its end, and return what it said."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*words), stdin=-1, stdout=-1, stderr=-1, cwd=self.folder
        )
        said, wrong = await process.communicate(given.encode())
        assert process.returncode == 0, wrong.decode()
        return said.decode()

    async def add_source(self, url: str, network: str = "x_v2") -> None:
        words = ("source", "add", "main", "--network", network, "--url", url, "--secrets", "-")
        await self.command(*words, given=SECRETS[network])

    async def add_source_to(self, database: str, url: str, network: NetworkName) -> None:
        """As `add_source` to a database that runs, without the time that a command takes."""
        secrets = dict(line.split(": ") for line in SECRETS[network].splitlines())
        sealed = credentials.seal(Vault(self.data_dir), network, url, None, secrets)
        async with db.connect(database, size=1) as opened, opened.acquire() as connection:
            await sources.add(connection, "main", network, url, None, sealed)

    async def start(self, ahead: Path | None = None, *, roles: Sequence[str] = ()) -> None:
        """Let the daemon run, with a clock that is as many seconds ahead as this file says.

        `roles`: the part of the work that it does, with a bus.
        """
        given = ["run", *(f"--role={role}" for role in roles)] if roles else ["collect"]
        python, *words = self._command(*given)
        if ahead is not None:
            words = ["-c", AHEAD, str(ahead), *words]
        with self.log.open("ab") as log:
            self._life = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                python, *words, stdout=log, stderr=log, cwd=self.folder
            )

    async def kill(self) -> float:
        """SIGKILL; when it happened, in seconds since 1970."""
        assert self.process is not None
        assert self.process.returncode is None, self.log.read_text()
        self.process.kill()
        now = time.time()
        await self.process.wait()
        return now

    def freeze(self) -> None:
        """Let it stand still, with its connections open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def kill_postgres(self, eventually: Eventually) -> None:
        """SIGKILL to its own server, as soon as there is one."""
        await _kill_server(self.data_dir / "postgres" / "cluster", eventually)

    @property
    def postgres(self) -> object | None:
        """Its own server, while that lives."""
        return postmaster(self.data_dir / "postgres" / "cluster")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask the daemon to end; how many seconds it took, without those of a frozen machine."""
        assert self.process is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        self.process.send_signal(number)
        async with asyncio.timeout(90):
            code = await self.process.wait()
        assert code == 0, self.log.read_text()
        return clock() - began

    async def store_rest(self, eventually: Eventually) -> None:
        """Start and stop it until it has stored all that it took: its end may have come too soon.

        The network sends no more.
        """

        while self.said("stopped before everything was stored"):
            await self.start()
            await eventually(lambda: self.said("source is"))
            await self.stop()

    def said(self, words: str) -> bool:
        """Whether the newest process has logged this."""
        return words.encode() in self.log.read_bytes()[self._life :]

    async def fails(self, *words: str, given: str = "") -> tuple[int, str]:
        """Give a command that may fail: its exit code and all its output."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*words), stdin=-1, stdout=-1, stderr=-2, cwd=self.folder
        )
        said, _ = await process.communicate(given.encode())
        assert process.returncode is not None
        return process.returncode, said.decode()

    def share(self, other: Program) -> None:
        """Live in the data_dir of another one."""
        self.use(other.data_dir)

    def use(self, data_dir: Path) -> None:
        """Live in this data_dir."""
        settings = json.loads(self.config.read_text())
        self.data_dir = data_dir
        self.config.write_text(json.dumps({**settings, "data_dir": str(self.data_dir)}))

    def share_key_of(self, other: Program) -> None:
        """Have the key of another one, in a data_dir of its own, which is made."""
        self.data_dir.mkdir()
        shutil.copy(other.data_dir / "secret.key", self.data_dir)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def journal(self) -> Path:
        """The journal of the first source."""
        return self.data_dir / "journal" / "1"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


@pytest.fixture
def terminal(tmp_path: Path, database: str) -> Terminal:
    return Terminal(tmp_path, database)


class MakeProgram(Protocol):
    """A program with this name, database (empty: its own) and settings; killed at the end."""

    def __call__(self, name: str, database: str, **settings: object) -> Program: ...


@pytest.fixture
async def make_program(tmp_path: Path) -> AsyncIterator[MakeProgram]:
    made: list[Program] = []

    def make(name: str, database: str, **settings: object) -> Program:
        made.append(Program(tmp_path / name, database, settings))
        return made[-1]

    yield make
    for program in made:
        if program.alive:
            await program.kill()
        if program.log.exists():  # shown when the test fails
            print(f"--- {program.log}\n{program.log.read_text()[-5000:]}")  # noqa: T201


async def _kill_server(folder: Path, eventually: Eventually) -> None:
    await eventually(lambda: postmaster(folder))
    found = postmaster(folder)
    assert found is not None
    found.kill()
    await eventually(lambda: postmaster(folder) != found)


class Cluster:
    """A PostgreSQL of the test's own, that can be taken away and given back."""

    def __init__(self, data_dir: Path) -> None:
        self.embedded = Embedded(data_dir, {"fsync": "off", "file_copy_method": "clone"})
        self.folder = data_dir / "postgres" / "cluster"
        self.url = ""

    async def kill(self, eventually: Eventually) -> None:
        """SIGKILL to the whole server, as soon as there is one."""
        await _kill_server(self.folder, eventually)

    async def give_back(self) -> None:
        await self.embedded.ensure_running()

    def freeze(self) -> None:
        """The server is there, takes connections, and says nothing."""
        for process in processes_in(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend may end at any time
                process.suspend()

    def thaw(self) -> None:
        for process in processes_in(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


@pytest.fixture(scope="session")
def cluster_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data_dir of this server, with a migrated database to be copied: it takes seconds."""
    folder = tmp_path_factory.mktemp("cluster")

    async def make() -> None:
        async with Cluster(folder).embedded.lease() as url, db.connect(url) as database:
            await migrations.migrate(database)

    asyncio.run(make())
    return folder


@pytest.fixture
async def cluster(cluster_folder: Path) -> AsyncIterator[Cluster]:
    made = Cluster(cluster_folder)
    async with made.embedded.lease() as url:
        parts = urlsplit(url)
        migrated, name = parts.path[1:], f"test_{uuid4().hex}"
        admin = parts._replace(path="/postgres").geturl()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                f"CREATE DATABASE {name} TEMPLATE {migrated} STRATEGY FILE_COPY".encode()
            )
        made.url = parts._replace(path=f"/{name}").geturl()
        try:
            yield made
        finally:
            made.thaw()
            await made.give_back()
            with psycopg.connect(admin, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class Simulate(Protocol):
    """A simulator on the loop of the test: `async with simulate(rate=100) as server`."""

    def __call__(self, **settings: object) -> AbstractAsyncContextManager[Server]: ...


@pytest.fixture
def simulate() -> Simulate:
    def start(**settings: object) -> AbstractAsyncContextManager[Server]:
        return serve(msgspec.structs.replace(Simulated(), **settings))

    return start


class Run:
    """A daemon that collects from a simulator."""

    def __init__(
        self, program: Program, tables: Tables, server: Server, eventually: Eventually
    ) -> None:
        self.program = program
        self.tables = tables
        self.server = server
        self.eventually = eventually

    async def more_sent(self, count: int) -> None:
        """Wait until the simulator has sent so many more tweets."""
        enough = len(self.server.sent) + count
        await self.eventually(lambda: len(self.server.sent) > enough)

    async def rows_are(self, query: str, *expected: object) -> None:
        """Wait until a query has these rows of one column."""

        async def met() -> bool:
            return await self.tables.rows(query) == [(each,) for each in expected]

        await self.eventually(met)

    async def stored(self, number: int) -> None:
        """Wait until more than so many tweets are stored."""

        async def met() -> bool:
            return await self.tables.stored() > number

        await self.eventually(met)

    async def stored_all(self) -> None:
        """Let the simulator end, and wait until all that it sent is stored, repeated tweets too."""
        self.server.hub.posts_left = 0
        await self.eventually(lambda: self.tables.has_all(self.server.sent))
        await self.eventually(self._is_journal_stored)

    async def _is_journal_stored(self) -> bool:
        newest = max(self.program.journal.glob("*.journal"))
        end = int(newest.stem) + newest.stat().st_size
        return int(await self.tables.one("SELECT max(position) FROM positions")) >= end


class Collect(Protocol):
    """`async with collect("snow", rate=100) as run`: the tracks, and how to simulate.

    `settings` are the program's; `url` is another database than the test's own.
    """

    def __call__(
        self,
        *tracks: str,
        settings: dict[str, object] | None = None,
        url: str = "",
        **simulated: object,
    ) -> AbstractAsyncContextManager[Run]: ...


@pytest.fixture
def collect(
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    eventually: Eventually,
) -> Collect:
    @contextlib.asynccontextmanager
    async def start(
        *tracks: str,
        settings: dict[str, object] | None = None,
        url: str = "",
        **simulated: object,
    ) -> AsyncIterator[Run]:
        url = url or database
        program, tables = make_program("main", url, **(settings or {})), open_tables(url)
        await tables.add_tracks(*tracks)
        async with simulate(**simulated) as server:
            await program.add_source_to(url, server.url, server.hub.settings.network)
            await program.start()
            yield Run(program, tables, server, eventually)

    return start
