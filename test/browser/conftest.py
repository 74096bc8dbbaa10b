"""The whole program with its pages, and people who look at them with a real browser.

Every page that is opened here is watched: an error in the console, a script that fails, or a
request that leaves the machine fails the test in which it happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from stream import db
from web.accounts import invites, sessions, users
from web.guard import SESSION
from web.person import Role

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
OPENED = re.compile(r"Open the pages:\s+(http://\S+)")
PATIENCE = 60_000  # milliseconds: of a busy machine, not of a person
ROOMY = {"min_free_bytes": 0, "min_free_percent": 0}
expect.set_options(timeout=PATIENCE)


class House:
    """One running program; `database` is empty when it is the program's own server."""

    def __init__(self, folder: Path, database: str, changed: dict[str, object]) -> None:
        self.folder = folder
        self.database = database
        self.link = ""  # as the program says it: with the key that works once
        self.address = ""
        self._log = folder / "log.txt"
        self._config = folder / "config.yaml"
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, object] = {
            "database": database,
            "data_dir": str(folder / "data"),
            "journal": ROOMY,
            "monitor": {"listen": ""},
            "web": {"listen": "127.0.0.1:0"},
        }
        self._config.write_text(json.dumps(settings | changed))

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def start(self, command: str = "run") -> None:
        """Begin, and wait for the address."""
        words = [str(ROOT / "twitterstream.py"), "--config", str(self._config), command]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *words, stdout=log, stderr=log, cwd=self.folder
            )
        async with asyncio.timeout(120):
            while (found := OPENED.search(self.said)) is None:
                assert self._process.returncode is None, self.said
                await asyncio.sleep(0.05)
        self.link = found.group(1)
        self.address = self.link.partition("/welcome")[0].rstrip("/")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await self._process.wait()

    def ask(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of the database, seen from outside."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    async def session(self, name: str, role: Role) -> str:
        """The key of a new session of this user, who is made if there is none."""
        async with db.connect(self.database, size=1) as own, own.acquire() as connection:
            known = await users.named(connection, name)
            user_id = known.id if known else await users.add(connection, name, role)
            return await sessions.begin(connection, user_id, "127.0.0.1", "a test", 1)

    async def invite(self, name: str) -> str:
        """The key of a link with which this new user chooses a password."""
        async with db.connect(self.database, size=1) as own, own.acquire() as connection:
            user_id = await users.add(connection, name, "user")
            return await invites.make(connection, user_id)


class Watched:
    """Somebody's browser window."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        self.expected: list[str] = []  # parts of messages that the test wants to come
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: self._note(said.type == "error", said.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("request", lambda asked: self._note(self._is_outside(asked.url), asked.url))
        page.on("websocket", lambda socket: self._note(self._is_outside(socket.url), socket.url))

    def _note(self, is_fault: bool, what: str) -> None:
        if is_fault and not any(part in what for part in self.expected):
            self.faults.append(f"{self.page.url}: {what}")

    def _is_outside(self, url: str) -> bool:
        ours = self.address.partition("://")[2]
        return not url.startswith((f"http://{ours}/", f"ws://{ours}/", "data:", "blob:", "about:"))

    async def open(self, path: str) -> int:
        """Go there; the status of the answer."""
        answer = await self.page.goto(self.address + path, wait_until="load")
        assert answer is not None
        return answer.status

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait for a JavaScript expression to be true."""
        await self.page.wait_for_function(condition, arg=argument, timeout=PATIENCE)


class OpenWindow(Protocol):
    """`await window(house, name, role)`; an empty name: somebody who is not logged in."""

    async def __call__(
        self, house: House, name: str = "admin", role: Role = "admin", **options: Any
    ) -> Watched: ...


class MakeHouse(Protocol):
    def __call__(
        self, name: str, database: str, **settings: object
    ) -> contextlib.AbstractAsyncContextManager[House]: ...


def program() -> str:
    """The browser of this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing = "no Chromium is installed (Debian, Ubuntu: apt install chromium)"
        if os.environ.get("CI_NEEDS_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    executable = program()
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable, args=[*FLAGS, *sandbox]
        )
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def _living(house: House) -> AsyncIterator[House]:
    try:
        await house.start()
        yield house
    finally:
        await house.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_house(tmp_path_factory: pytest.TempPathFactory) -> MakeHouse:
    def make(
        name: str, database: str, **settings: object
    ) -> contextlib.AbstractAsyncContextManager[House]:
        return _living(House(tmp_path_factory.mktemp(name), database, settings))

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house(empty_database: Callable[[], str], make_house: MakeHouse) -> AsyncIterator[House]:
    """A program that all tests may use which only look, or mind no neighbour."""
    async with make_house("house", empty_database()) as made:
        yield made


@pytest.fixture(scope="session")
def axe() -> str:
    """What looks for barriers in a page."""
    return AXE.read_text()


@pytest_asyncio.fixture(loop_scope="session")
async def window(chromium: Browser, request: pytest.FixtureRequest) -> AsyncIterator[OpenWindow]:
    """Opens windows; at the end nothing may have gone wrong in any of them."""
    contexts: list[BrowserContext] = []
    opened: list[Watched] = []

    async def make(
        house: House, name: str = "admin", role: Role = "admin", **options: Any
    ) -> Watched:
        context = await chromium.new_context(
            **({"viewport": {"width": 1200, "height": 900}} | options)
        )
        contexts.append(context)
        if name:
            key = await house.session(name, role)
            await context.add_cookies(
                [{"name": SESSION, "value": key, "url": house.address, "httpOnly": True}]
            )
        opened.append(Watched(await context.new_page(), house.address))
        return opened[-1]

    yield make
    for context in contexts:
        await context.close()
    assert [fault for each in opened for fault in each.faults] == []
