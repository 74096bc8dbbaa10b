"""The pages on a real server and a real database, and people who use them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import msgspec
import pytest

from stream import db
from stream.config import Settings
from stream.db import Database
from stream.vault import Vault
from web.accounts import sessions, tokens, users
from web.accounts.secrets import csrf_of
from web.app import build
from web.guard import CSRF_HEADER, SESSION
from web.person import SCOPES, Role, Scope, UserId
from web.server import Server

PASSWORD = "correct horse battery"
# argon2id of it, with so little work that tests do not wait.
HASHED = (
    "$argon2id$v=19$m=8,t=1,p=1$g/Wlh76njHAbi0GDEujRlQ$F+Ew5p+JASsE7s6HJ39180e9k0mpHC+ijeGnU2ebBXo"
)


class Visitor:
    """Somebody with a browser's manners: keeps cookies, sends the CSRF key, follows nothing."""

    def __init__(self, client: aiohttp.ClientSession, name: str, csrf: str) -> None:
        self.client = client
        self.name = name
        self.csrf = csrf

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        """Status and text."""
        async with self.client.get(path, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text()

    async def post(self, path: str, data: Any = None, **options: Any) -> tuple[int, str]:
        """Send a form of ours; status and text."""
        headers = {CSRF_HEADER: self.csrf} | options.pop("headers", {})
        async with self.client.post(
            path, data=data or {}, headers=headers, allow_redirects=False, **options
        ) as answer:
            return answer.status, await answer.text()

    async def json(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any]:
        """Call the API; status and what the answer's JSON says (None for an empty one)."""
        headers = {CSRF_HEADER: self.csrf} | options.pop("headers", {})
        async with self.client.request(
            method, path, json=body, headers=headers, allow_redirects=False, **options
        ) as answer:
            text = await answer.read()
            return answer.status, msgspec.json.decode(text) if text else None


class Pages:
    """A running copy of the pages."""

    def __init__(self, address: str, database: Database, settings: Settings) -> None:
        self.address = address
        self.database = database
        self.settings = settings
        self.base = settings.web.base_path
        self.stack = contextlib.AsyncExitStack()

    async def user(self, name: str, role: Role = "user") -> UserId:
        """Make a user who can log in with PASSWORD, unless there is one of this name."""
        async with self.database.acquire() as connection:
            known = await users.named(connection, name)
            return known.id if known else await users.add(connection, name, role, HASHED)

    async def enter(self, name: str, role: Role = "user") -> Visitor:
        """Somebody who is logged in."""
        user_id = await self.user(name, role)
        async with self.database.acquire() as connection:
            key = await sessions.begin(connection, user_id, "127.0.0.1", "test", 30)
        client = await self._client({SESSION: key}, {})
        return Visitor(client, name, csrf_of(key))

    async def program(
        self, name: str, role: Role = "user", scopes: tuple[Scope, ...] = SCOPES
    ) -> Visitor:
        """A program with a token of this user."""
        user_id = await self.user(name, role)
        async with self.database.acquire() as connection:
            _, token = await tokens.make(connection, user_id, "test", scopes)
        client = await self._client({}, {"Authorization": f"Bearer {token}"})
        return Visitor(client, name, "")

    async def stranger(self) -> Visitor:
        """Somebody who is not logged in."""
        return Visitor(await self._client({}, {}), "", "")

    async def _client(
        self, cookies: dict[str, str], headers: dict[str, str]
    ) -> aiohttp.ClientSession:
        return await self.stack.enter_async_context(
            aiohttp.ClientSession(
                self.address,
                cookies=cookies,
                headers=headers,
                cookie_jar=aiohttp.CookieJar(unsafe=True),
            )
        )


class MakePages(Protocol):
    """`async with make_pages(web={…}) as pages`; settings by section."""

    def __call__(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[Pages]: ...


@pytest.fixture
def make_pages(database: str, tmp_path: Path) -> MakePages:
    @contextlib.asynccontextmanager
    async def make(**settings: Any) -> AsyncIterator[Pages]:
        settings["web"] = {"listen": "127.0.0.1:0"} | settings.get("web", {})
        settings["data_dir"] = str(tmp_path)
        configured = msgspec.convert(settings, Settings)
        opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with db.connect(database) as own, asyncio.TaskGroup() as group:
            server = Server(
                lambda: build(own, configured, Vault(tmp_path)),
                configured.web.listen,
                opened.set_result,
            )
            serving = group.create_task(server.run(), name="pages")
            made = Pages(await opened, own, configured)
            async with made.stack:
                yield made
            serving.cancel()

    return make


@pytest.fixture
async def pages(make_pages: MakePages) -> AsyncIterator[Pages]:
    """The pages with the settings as they are."""
    async with make_pages() as made:
        yield made
