"""What all tests share: one PostgreSQL, and a fresh copy of a migrated database for each test.

TEST_DATABASE_URL names another server; its role must be allowed to create databases.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, LiteralString
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from patient_loop import PatientLoop
from stream import db
from stream.store import migrations
from waiting import Eventually, wait_for

# A busy machine is slow, which proves nothing. Continuous integration tries the same each time, so
# that it never fails by luck; at home other examples are tried every time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("patient"), derandomize=True)
settings.load_profile("steady" if "CI_NEEDS_TOOLS" in os.environ else "patient")

# The servers of the tests are on this machine, whatever proxy leads from it.
os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost,::1"

# Shells start background jobs with SIGINT ignored, and the programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["Eventually"]  # the type of the fixture of this name
ROOT = Path(__file__).resolve().parents[1]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"patient": PatientLoop}


@pytest.fixture
def eventually() -> Eventually:
    return wait_for


@contextlib.contextmanager
def session_child(task: str, folder: Path) -> Iterator[IO[str]]:
    """A process that ends with this one; its output."""
    words = [sys.executable, str(Path(__file__).with_name("session_child.py")), task, str(folder)]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,  # Ctrl-C is for the tests
    ) as child:
        assert child.stdout is not None
        yield child.stdout


@pytest.fixture(scope="session", autouse=True)
def reaper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ends programs and servers that tests leave, also when the session is killed."""
    with session_child("reap", tmp_path_factory.getbasetemp()):
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL for tests; the workers share one, as processes of the program do."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with session_child("lease", shared / "data") as output:
        url = output.readline().strip()
        assert url, "the server does not start"
        yield url


@pytest.fixture(scope="session")
def empty_database(server: str) -> Iterator[Callable[[], str]]:
    """Makes databases with nothing in them; they go with the session."""
    made: list[str] = []

    def make() -> str:
        made.append(f"empty_{uuid4().hex}")
        _execute(server, "CREATE DATABASE {}", made[-1])
        return _named(server, made[-1])

    yield make
    for name in made:
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a migrated database of this worker, to be copied and never connected to."""
    name = f"template_{uuid4().hex}"
    _execute(server, "CREATE DATABASE {}", name)
    asyncio.run(_migrate(_named(server, name)))
    yield name
    _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def make_database(server: str, template: str) -> Iterator[Callable[[], str]]:
    """Makes fresh migrated databases; they go with the test."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid4().hex}")
        # Without STRATEGY all blocks go through the WAL, which takes five times as much processor
        # time as the clone of its files that session_child.py chooses.
        _execute(server, "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", made[-1], template)
        return _named(server, made[-1])

    yield make
    for name in made:
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def database(make_database: Callable[[], str]) -> str:
    """The URL of a fresh migrated database of this test's own."""
    return make_database()


@pytest.fixture
async def connected(database: str) -> AsyncIterator[db.Database]:
    """This test's database, opened."""
    async with db.connect(database) as opened:
        yield opened


async def _migrate(url: str) -> None:
    async with db.connect(url) as database:
        await migrations.migrate(database)


def _execute(url: str, statement: LiteralString, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        filled = sql.SQL(statement).format(*map(sql.Identifier, names))
        connection.execute(filled)


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
