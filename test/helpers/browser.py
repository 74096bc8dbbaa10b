"""The whole program in a process of its own, and tabs of a real browser that show its pages."""

import asyncio
import json
import re
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, Self

import psycopg
from playwright.async_api import BrowserContext, Page, expect

from servers import closed_port
from stream import db
from stream.store import users
from stream.store.users import Role
from web.accounts.credentials import begin_session
from web.accounts.service import add_user, new_invite

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = re.compile(r"Open the pages:\s+(http://\S+)")
TIMEOUT_MS = 240_000  # for a busy machine; waits end as soon as they can
# What htmx reports when a navigation or a newer request ends its request. Of a request that really
# fails Chromium reports "Failed to load resource", too.
ABORTED = ("htmx:afterRequest", "htmx:sendError", "htmx:sendAbort")
NO_DISK_FLOOR = {"min_free_bytes": 0, "min_free_percent": 0}
expect.set_options(timeout=TIMEOUT_MS)


class Program:
    """One running program; `database` is empty when it is the program's own server."""

    def __init__(self, folder: Path, database: str, overrides: dict[str, object]) -> None:
        self.folder = folder
        self.database = database
        self.link = ""  # of the first start: with the key that works once
        self.address = ""
        self.contexts: list[BrowserContext] = []  # of the tabs that show its pages
        self._log = folder / "log.txt"
        self._config = folder / "config.yaml"
        self._process: asyncio.subprocess.Process | None = None
        settings: dict[str, object] = {
            "database": database,
            "data_dir": str(folder / "data"),
            "journal": NO_DISK_FLOOR,
            "monitor": {"listen": ""},
            "web": {"listen": "127.0.0.1:0"},
            "bluesky": {  # as without internet
                "hosts": [f"ws://127.0.0.1:{closed_port()}"],
                "old_hosts": [],
            },
        }
        self._config.write_text(json.dumps(settings | overrides))

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the tabs first: they would miss the program, and report that as a fault."""
        try:
            for context in self.contexts:
                await context.close()
        finally:
            await self._stop()

    async def _start(self) -> None:
        words = [str(ROOT / "twitterstream.py"), "--config", str(self._config), "run"]
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *words, stdout=log, stderr=log, cwd=self.folder
            )
        async with asyncio.timeout(240):
            while (
                found := ADDRESS.search(output := self._log.read_text(errors="replace"))
            ) is None:
                assert self._process.returncode is None, output
                await asyncio.sleep(0.05)
        first = self.folder / "data" / "first-admin-link"
        self.link = first.read_text().strip() if first.exists() else found[1]
        self.address = found[1].rstrip("/")

    async def _stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(240):
                await self._process.wait()

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Rows of the database, seen from outside."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    async def session(self, name: str, role: Role) -> str:
        """The key of a new session of this user, who is added if there is none."""
        async with db.connect(self.database, size=1) as own, own.acquire() as connection:
            known = await users.by_name(connection, name)
            user_id = known.id if known else await add_user(connection, name, role)
            return await begin_session(connection, user_id, "127.0.0.1", "a test", 1)

    async def invite(self, name: str) -> str:
        """The key of a link with which this new user chooses a password."""
        async with db.connect(self.database, size=1) as own, own.acquire() as connection:
            user_id = await add_user(connection, name, "user")
            return await new_invite(connection, user_id)


class Tab:
    """A browser tab; notes errors in its console, and requests that leave the machine."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.faults: list[str] = []
        self.expected: list[str] = []  # parts of messages that are no faults in this test
        page.on("console", lambda message: self._note(message.type == "error", message.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("request", lambda sent: self._note(self._is_outside(sent.url), sent.url))
        page.on("websocket", lambda socket: self._note(self._is_outside(socket.url), socket.url))

    def _note(self, is_fault: bool, what: str) -> None:
        if is_fault and not any(part in what for part in (*self.expected, *ABORTED)):
            self.faults.append(f"{self.page.url}: {what}")

    def _is_outside(self, url: str) -> bool:
        ours = self.address.partition("://")[2]
        return not url.startswith((f"http://{ours}/", f"ws://{ours}/", "data:", "blob:", "about:"))

    async def open(self, path: str) -> int:
        """Go there; the status of the answer."""
        answer = await self.page.goto(self.address + path, wait_until="load")
        assert answer is not None
        return answer.status

    async def wait_for(self, condition: str) -> None:
        """Wait for a JavaScript expression to be true."""
        await self.page.wait_for_function(condition, timeout=TIMEOUT_MS)


class OpenTab(Protocol):
    """`await open_tab(program, name, role)`; an empty name: not logged in."""

    async def __call__(
        self, program: Program, name: str = "admin", role: Role = "admin", **options: Any
    ) -> Tab: ...


class MakeProgram(Protocol):
    def __call__(
        self, name: str, database: str, **settings: object
    ) -> AbstractAsyncContextManager[Program]: ...
