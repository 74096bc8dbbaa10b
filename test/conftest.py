"""What all tests share: one PostgreSQL, and a fresh copy of a migrated database for each test.

TEST_DATABASE_URL names another server; its role must be allowed to create databases.
"""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import LiteralString, Protocol
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from stream import db, migrations
from stream.postgres import Embedded

# A busy machine is slow, which proves nothing. Continuous integration tries the same each time, so
# that it never fails by luck; at home other examples are tried every time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("patient"), derandomize=True)
settings.load_profile("steady" if "CI_NEEDS_TOOLS" in os.environ else "patient")

# A crash of the server loses nothing without fsync, only one of the machine would.
QUICK = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
POLL = 0.01  # seconds


class Eventually(Protocol):
    """Wait for a condition, plain or async; fails with its name after so many seconds."""

    async def __call__(
        self, condition: Callable[[], object | Awaitable[object]], within: float = 90
    ) -> None: ...


@pytest.fixture
def eventually() -> Eventually:
    return _eventually


async def _eventually(
    condition: Callable[[], object | Awaitable[object]], within: float = 90
) -> None:
    try:
        async with asyncio.timeout(within):
            while True:
                met = condition()
                if await met if inspect.isawaitable(met) else met:
                    return
                await asyncio.sleep(POLL)
    except TimeoutError:
        pytest.fail(f"not within {within} s: {inspect.getsource(condition).strip()}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL for tests; the workers share one, as processes of the program do."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    lease = Embedded(shared / "data", QUICK).lease()
    with asyncio.Runner() as runner:
        yield runner.run(lease.__aenter__())
        runner.run(lease.__aexit__(None, None, None))


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
def database(server: str, template: str) -> Iterator[str]:
    """The URL of a fresh migrated database of this test's own."""
    name = f"test_{uuid4().hex}"
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
    yield _named(server, name)
    _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


async def _migrate(url: str) -> None:
    async with db.connect(url) as database:
        await migrations.migrate(database)


def _execute(url: str, statement: LiteralString, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        filled = sql.SQL(statement).format(*map(sql.Identifier, names))
        connection.execute(filled)


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
