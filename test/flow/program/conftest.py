"""The whole program as a process of its own, and a simulator for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import psutil
import pytest

from simulator.server import Server, serve
from simulator.server import Settings as Simulated
from stream import db, migrations
from stream.postgres import Embedded
from stream.postgres.process import inhabitants, postmaster

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

ROOT = Path(__file__).resolve().parents[3]
ROOMY = {"min_free_bytes": 0, "min_free_percent": 0}
SECRETS = {
    "x_v2": "bearer_token: T",
    "x_v1": "consumer_key: a\nconsumer_secret: b\ntoken: c\ntoken_secret: d",
}
# The program as it is, on a machine whose clock is ahead.
AHEAD = """
import runpy, sys, time
ahead = float(sys.argv[1])
seconds, nanoseconds = time.time, time.time_ns
time.time = lambda: seconds() + ahead
time.time_ns = lambda: nanoseconds() + int(ahead * 1e9)
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Program:
    """One data_dir with its config, and the commands that a person gives there."""

    def __init__(self, folder: Path, database: str, changed: dict[str, object]) -> None:
        self.folder = folder
        self.log = folder / "log.txt"
        self.data_dir = folder / "data"
        self.process: asyncio.subprocess.Process | None = None
        settings: dict[str, object] = {
            "database": database,
            "data_dir": str(self.data_dir),
            "x_v2": {"attempts": 10_000},  # this many lives in 15 minutes are for tests only
            "journal": ROOMY,
            "monitor": {"listen": ""},  # several programs at once, on one machine
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(settings | changed))

    def _command(self, *words: str) -> list[str]:
        return [
            sys.executable,
            str(ROOT / "twitterstream.py"),
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

    async def start(self, ahead: float = 0) -> None:
        """Let the daemon run, with a clock that is so many seconds ahead."""
        python, *words = self._command("collect")
        if ahead:
            words = ["-c", AHEAD, str(ahead), *words]
        with self.log.open("ab") as log:
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

    async def kill_postgres(self, eventually: Eventually) -> None:
        """SIGKILL to its own server, as soon as there is one."""
        await _kill_server(self.data_dir / "postgres" / "cluster", eventually)

    @property
    def postgres(self) -> object | None:
        """Its own server, while that lives."""
        return postmaster(self.data_dir / "postgres" / "cluster")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ask the daemon to end; how many seconds it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        async with asyncio.timeout(30):
            code = await self.process.wait()
        assert code == 0, self.log.read_text()
        return time.monotonic() - began

    async def fails(self, *words: str) -> tuple[int, str]:
        """Give a command that may fail: how it ended, and all it said."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*words), stdin=-3, stdout=-1, stderr=-2, cwd=self.folder
        )
        said, _ = await process.communicate()
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
        self.embedded = Embedded(data_dir, {"fsync": "off"})
        self.folder = data_dir / "postgres" / "cluster"
        self.url = ""

    async def kill(self, eventually: Eventually) -> None:
        """SIGKILL to the whole server, as soon as there is one."""
        await _kill_server(self.folder, eventually)

    async def give_back(self) -> None:
        await self.embedded.ensure_running()

    def freeze(self) -> None:
        """The server is there, takes connections, and says nothing."""
        for process in inhabitants(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):  # a backend may end at any time
                process.suspend()

    def thaw(self) -> None:
        for process in inhabitants(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path / "elsewhere")
    async with made.embedded.lease() as made.url:
        async with db.connect(made.url) as database:
            await migrations.migrate(database)
        try:
            yield made
        finally:
            made.thaw()


class Simulate(Protocol):
    """A simulator on the loop of the test: `async with simulate(rate=100) as server`."""

    def __call__(self, **settings: object) -> AbstractAsyncContextManager[Server]: ...


@pytest.fixture
def simulate() -> Simulate:
    def start(**settings: object) -> AbstractAsyncContextManager[Server]:
        return serve(msgspec.structs.replace(Simulated(), **settings))

    return start
