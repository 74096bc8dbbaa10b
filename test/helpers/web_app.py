"""The web application on a real server and a real database, and clients of it."""

import asyncio
import contextlib
import html
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import msgspec
import psycopg
from aiohttp import web
from psycopg import sql

from stream import db
from stream.cells.databases import open_cells
from stream.config import Settings
from stream.db import Database
from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.query import Query, parse
from stream.store import users
from stream.store.sessions import SCOPES, Scope
from stream.store.users import Role
from stream.tweet import Frame, SourceId, TrackId, UserId
from stream.vault import Vault
from web.accounts.credentials import begin_session, csrf_of, new_token
from web.accounts.service import add_user
from web.app import ROUTES, build
from web.auth import CSRF_HEADER, SESSION
from web.context import APP_CONTEXT
from web.routing import Route
from web.server import Server
from x_tweets import store_frames, v1_tweet

PASSWORD = "correct horse battery"
# argon2id of it, with so little work that tests do not wait.
HASHED = (
    "$argon2id$v=19$m=8,t=1,p=1$g/Wlh76njHAbi0GDEujRlQ$F+Ew5p+JASsE7s6HJ39180e9k0mpHC+ijeGnU2ebBXo"
)
UNSAFE = [route for route in ROUTES if route.method != "GET"]
API_PREFIXES = ("/api/", "/stream/", "/tweets")
FRAGMENT = {"HX-Request": "true"}  # asks for a part of a page
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; DROP TABLE tracks; --",
    "\u202egnp.exe \u2066a\u2069",
    "{{'co'+'mputed'}}",
    "&lt;b&gt;",
    "%",
    "\\",
    "9" * 40,
    "-1",
    "../../etc/passwd",
)


def assert_harmless(page: str) -> None:
    """Nothing of HOSTILE is markup, or was computed."""
    for part in ("<script>alert", "<img", "onerror=alert(1)>", "computed", 'href="javascript'):
        assert part not in page


def plain_text(page: str) -> str:
    """A page without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def hidden_fields(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def path_of(route: Route, number: str = "1") -> str:
    return re.sub(r"{[^/]*}", number, route.path)


class _Form(HTMLParser):
    """The fields of one form, as a browser without scripts sends them."""

    def __init__(self, action: str) -> None:
        super().__init__()
        self.action = action
        self.fields: list[tuple[str, str]] = []
        self._inside = False
        self._name = self._text = self._list = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._inside = given.get("action") == self.action
        if not self._inside or "form" in given:  # of another form
            return
        name, value = given.get("name", ""), given.get("value", "")
        kind = given.get("type")
        if kind == "datetime-local" and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{5,12}", value):
            value = ""  # the browser drops a time that the field does not take
        ticked = kind not in ("radio", "checkbox") or "checked" in given
        if tag == "input" and name and ticked:
            self.fields.append((name, value))
        elif tag == "select":
            self._list = name
        elif tag == "option" and self._list and "selected" in given:
            self.fields.append((self._list, value))
        elif tag == "textarea":
            self._name, self._text = name, ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._name:
            self.fields.append((self._name, self._text))
            self._name = ""
        elif tag == "select" and self._list:
            if not any(name == self._list for name, _ in self.fields):
                self.fields.append((self._list, ""))
            self._list = ""
        elif tag == "form":
            self._inside = False


def form_in(page: str, action: str) -> dict[str, Any]:
    """What a browser sends of the form with this action; lists for boxes with several ticked."""
    form = _Form(action)
    form.feed(page)
    assert form.fields, action
    found: dict[str, Any] = {}
    for name, value in form.fields:
        found[name] = [*found[name], value] if name in found else [value]
    return {name: value if len(value) > 1 else value[0] for name, value in found.items()}


class Client:
    """Keeps cookies and sends the CSRF key, as a browser does; follows no redirects."""

    def __init__(self, http: aiohttp.ClientSession, name: str, csrf: str) -> None:
        self.http = http
        self.name = name
        self.csrf = csrf

    @property
    def token(self) -> str:
        return self.http.headers["Authorization"].removeprefix("Bearer ")

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        """Status and text."""
        async with self.http.get(path, allow_redirects=False, **options) as answer:
            return answer.status, await answer.text(errors="replace")

    async def page(self, path: str, **options: Any) -> str:
        """The text of a page that is there."""
        status, text = await self.get(path, **options)
        assert status == 200, text
        return text

    async def form(self, path: str, action: str = "") -> dict[str, Any]:
        """What a browser sends of the form with this action on a page, unchanged."""
        return form_in((await self.get(path))[1], action or path)

    async def post(self, path: str, data: Any = None, **options: Any) -> tuple[int, str]:
        """Send one of our forms; returns status and text."""
        headers = {CSRF_HEADER: self.csrf} | options.pop("headers", {})
        if isinstance(data, dict) and any(isinstance(value, list) for value in data.values()):
            lists = ((n, v if isinstance(v, list) else [v]) for n, v in data.items())
            data = [(name, each) for name, values in lists for each in values]
        async with self.http.post(
            path, data=data or {}, headers=headers, allow_redirects=False, **options
        ) as answer:
            return answer.status, await answer.text(errors="replace")

    async def submit(self, path: str, **fields: str) -> tuple[int, str]:
        """Open a page with a form and send it with these fields; for who is not logged in yet."""
        hidden = hidden_fields((await self.get(path))[1])
        headers = {CSRF_HEADER: hidden.get("csrf", "")}
        return await self.post(path.partition("?")[0], hidden | fields, headers=headers)

    async def json(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any]:
        """Call the API; status and what the answer's JSON says (None for an empty one)."""
        headers = {CSRF_HEADER: self.csrf} | options.pop("headers", {})
        async with self.http.request(
            method, path, json=body, headers=headers, allow_redirects=False, **options
        ) as answer:
            text = await answer.read()
            return answer.status, msgspec.json.decode(text) if text else None

    async def call(self, route: Route, **options: Any) -> tuple[int, str, str]:
        """Status, text, and where to go on; with 1 for each number in the path."""
        headers = options.pop("headers", {CSRF_HEADER: self.csrf})
        async with self.http.request(
            route.method, path_of(route), headers=headers, allow_redirects=False, **options
        ) as answer:
            return answer.status, await answer.text(), answer.headers.get("Location", "")


class WebApp:
    """A running copy of the web application."""

    def __init__(self, address: str, database: Database, application: web.Application) -> None:
        self.address = address
        self.application = application
        self.database = database
        self.cells = application[APP_CONTEXT].cells
        self.execute = database.execute
        self.stack = contextlib.AsyncExitStack()

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: Any) -> Any:
        [[found]] = await self.rows(query, *arguments)
        return found

    async def user(self, name: str, role: Role = "user") -> UserId:
        """Add a user who can log in with PASSWORD, unless there is one of this name."""
        async with self.database.acquire() as connection:
            known = await users.by_name(connection, name)
            return known.id if known else await add_user(connection, name, role, HASHED)

    async def log_in(self, name: str, role: Role = "user") -> Client:
        """A browser with a session of this user."""
        user_id = await self.user(name, role)
        async with self.database.acquire() as connection:
            key = await begin_session(connection, user_id, "127.0.0.1", "test", 30)
        return Client(await self._http({SESSION: key}, {}), name, csrf_of(key))

    async def api_client(
        self, name: str, role: Role = "user", scopes: tuple[Scope, ...] = SCOPES
    ) -> Client:
        """A program with a token of this user."""
        user_id = await self.user(name, role)
        async with self.database.acquire() as connection:
            _, token = await new_token(connection, user_id, "test", scopes)
        return Client(await self._http({}, {"Authorization": f"Bearer {token}"}), name, "")

    async def anonymous(self) -> Client:
        """A browser without a session."""
        return Client(await self._http({}, {}), "", "")

    async def _http(
        self, cookies: dict[str, str], headers: dict[str, str]
    ) -> aiohttp.ClientSession:
        jar = aiohttp.CookieJar(unsafe=True)
        session = aiohttp.ClientSession(
            self.address, cookies=cookies, headers=headers, cookie_jar=jar
        )
        return await self.stack.enter_async_context(session)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection for bytes that no HTTP client sends."""
        parts = urlsplit(self.address)
        return await asyncio.open_connection(parts.hostname, parts.port)

    async def insert(self, table: str, **columns: Any) -> int:
        """A row, by its number."""
        places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places}) RETURNING id"
        return int(await self.value(statement, *columns.values()))

    async def add_track(
        self, value: str = "snow", owner: str | None = "ana", **columns: Any
    ) -> TrackId:
        return TrackId(await self.insert("tracks", value=value, owner=owner, **columns))

    async def share(self, track: int, *names: str) -> None:
        await self.execute(
            "INSERT INTO track_shares (track_id, user_id)"
            " SELECT $1, id FROM users WHERE name = ANY($2)",
            track,
            list(names),
        )

    async def store_tweets(
        self, *messages: Mapping[str, Any], at: datetime | None = None, first: int = 1
    ) -> None:
        """Tweets as the writer stores them, in this order, credited to the tracks there are."""
        tracks = await self.rows("SELECT id, value FROM tracks")
        matcher = Matcher([(TrackId(number), _query(value)) for number, value in tracks])
        begin = round((at or datetime.now(UTC)).timestamp() * 1e6)
        frames = [
            Frame(begin + number, v1_tweet(number, **message), number)
            for number, message in enumerate(messages, first)
        ]
        await store_frames(self.database, await self.source(), frames, matcher.match)

    async def source(self) -> SourceId:
        if known := await self.rows("SELECT id FROM sources WHERE name = 'one'"):
            return SourceId(known[0][0])
        return SourceId(await self.insert("sources", name="one", network="x_v1"))


def _query(value: str) -> Query:
    try:
        return parse("keyword", value)
    except InvalidQuery:
        return Query("keyword", ())


class MakeApp(Protocol):
    """`async with make_app(web={…}) as app`; settings by section."""

    def __call__(self, **settings: Any) -> contextlib.AbstractAsyncContextManager[WebApp]: ...


@contextlib.asynccontextmanager
async def running_app(
    database: str, data_dir: Path, routes: tuple[Route, ...] = (), **settings: Any
) -> AsyncIterator[WebApp]:
    """Serve the application, with more routes if a test needs them."""
    settings["web"] = {"listen": "127.0.0.1:0"} | settings.get("web", {})
    settings["data_dir"] = str(data_dir)
    settings |= {"bus": "nats://127.0.0.1:1"} if settings.get("cells") else {}
    configured = msgspec.convert(settings, Settings)
    opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with (
        db.connect(database) as own,
        open_cells(configured.cells) as others,
        asyncio.TaskGroup() as group,
    ):
        every = (*ROUTES, *routes)
        application = build(own, configured, Vault(data_dir), every, other_cells=others)
        server = Server(lambda: application, configured.web.listen, opened.set_result)
        serving = group.create_task(server.run(), name="web server")
        app = WebApp(await opened, own, application)
        async with app.stack:
            yield app
        serving.cancel()


@contextlib.contextmanager
def database_away(server: str, database: str) -> Iterator[None]:
    """Refuse all connections to this database, and end those that there are."""
    name = urlsplit(database).path.removeprefix("/")
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            yield
        finally:
            admin.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
