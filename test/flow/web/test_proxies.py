"""Behind other servers: who calls, by which address, and whom that is believed."""

import contextlib
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from servers import answering
from stream.store import sessions
from web.accounts import credentials
from web.accounts.credentials import begin_session
from web.auth import SESSION, VISITOR
from web_app import HASHED, PASSWORD, MakeApp, WebApp, hidden_fields

HOST = "pages.example"
ORIGIN = f"https://{HOST}"
HOPS = ("Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive")


@contextlib.asynccontextmanager
async def proxy(address: str, source: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server in front, as nginx is commonly set up; it calls from `source`."""
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as onward:

        async def forward(request: web.Request) -> web.Response:
            headers = request.headers.copy()
            before = request.headers.get("X-Forwarded-For")
            headers["X-Forwarded-For"] = ", ".join(filter(None, (before, request.remote)))
            headers["X-Forwarded-Proto"] = "https"
            headers["X-Forwarded-Host"] = HOST
            async with onward.request(
                request.method,
                address + request.path_qs,
                headers=headers,
                data=await request.read(),
                allow_redirects=False,
            ) as answer:
                kept = [(n, v) for n, v in answer.headers.items() if n not in HOPS]
                body = await answer.read()
                return web.Response(status=answer.status, headers=kept, body=body)

        async with answering(forward) as url:
            yield url


class Browser:
    """Comes to the server in front, as by https://pages.example; from 127.0.0.2 if not said."""

    def __init__(self, http: aiohttp.ClientSession, address: str, **headers: str) -> None:
        self.http = http
        self.address = address
        self.headers = headers
        self.cookies: dict[str, str] = {}
        self.set: list[str] = []  # cookies, as they were given

    async def ask(self, method: str, path: str, **options: object) -> tuple[int, str, str]:
        """Status, text, and where to go on."""
        headers = dict(self.headers)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{n}={v}" for n, v in self.cookies.items())
        async with self.http.request(
            method,
            self.address + path,
            headers=headers,
            allow_redirects=False,
            **options,  # type: ignore[arg-type]  # as a test says
        ) as answer:
            self.set += answer.headers.getall("Set-Cookie", [])
            self.cookies |= {name: morsel.value for name, morsel in answer.cookies.items()}
            return answer.status, await answer.text(), answer.headers.get("Location", "")

    async def log_in(self, base: str, name: str, password: str) -> tuple[int, str]:
        """Status, and where to go on."""
        _, text, _ = await self.ask("GET", base + "/login")
        given = hidden_fields(text) | {"name": name, "password": password}
        status, _, location = await self.ask("POST", base + "/login", data=given)
        return status, location


@contextlib.asynccontextmanager
async def browser(
    address: str, source: str = "127.0.0.2", **headers: str
) -> AsyncIterator[Browser]:
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as http:
        yield Browser(http, address, **{"Origin": ORIGIN} | headers)


async def addresses(app: WebApp) -> list[str]:
    async with app.database.acquire() as connection:
        found = await sessions.sessions_of(connection, await app.user("ana"))
    return [each.address for each in found]


async def test_a_browser_behind_a_server_that_is_trusted(make_app: MakeApp) -> None:
    web_settings = {"trusted_proxies": ["127.0.0.1"], "base_path": "/ts"}
    async with make_app(web=web_settings) as app, proxy(app.address) as front:
        await app.user("ana", "admin")
        async with browser(front) as ana:
            assert await ana.ask("GET", "/ts") == (308, "", "/ts/")
            assert (await ana.ask("GET", "/ts/account"))[2] == "/ts/login?next=%2Faccount"
            assert await ana.log_in("/ts", "ana", PASSWORD) == (303, "/ts/")
            status, text, _ = await ana.ask("GET", "/ts/account")
            assert status == 200
            assert set(re.findall(r'(?:href|src|action)="(/\w*)', text)) == {"/ts"}
            assert (await ana.ask("GET", "/account"))[0] == 404
    # Which cookies there are is decided by HTTPS between the browser and the server in front.
    [session] = [each for each in ana.set if each.startswith(f"__Secure-{SESSION}=")]
    parts = {part.strip().lower() for part in session.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/ts"} <= parts
    assert all(each.startswith((f"__Secure-{SESSION}", f"__Secure-{VISITOR}")) for each in ana.set)


async def test_the_address_is_the_one_that_the_last_trusted_server_saw(
    make_app: MakeApp,
) -> None:
    """What the caller says of himself before is not believed."""
    async with make_app(web={"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]}) as app:
        await app.user("ana", "admin")
        async with proxy(app.address) as front:
            for said in ({}, {"X-Forwarded-For": "9.9.9.9"}, {"X-Forwarded-For": "10.0.0.1"}):
                async with browser(front, **said) as ana:
                    assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
                assert f"__Host-{SESSION}" in ana.cookies
            assert await addresses(app) == ["127.0.0.2"] * 3
            # Nothing after an invalid address is trusted, either.
            said = {"X-Forwarded-For": "9.9.9.9, unknown"}
            async with browser(front, "127.0.0.1", **said) as ana:
                assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
            assert (await addresses(app))[0] == "127.0.0.1"


async def test_who_is_not_trusted_is_not_believed(make_app: MakeApp) -> None:
    """Neither a caller without a server in front, nor a server that the settings do not name."""
    said = {
        "X-Forwarded-For": "9.9.9.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
    }
    async with make_app(web={"trusted_proxies": ["127.0.0.1"]}) as app:
        await app.user("ana", "admin")
        async with browser(app.address, **said, Origin=app.address) as ana:
            assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
            assert await addresses(app) == ["127.0.0.2"]
            assert SESSION in ana.cookies
            assert not any("secure" in each.lower() for each in ana.set)
        async with browser(app.address, **said, Origin="https://evil.example") as eve:
            assert (await eve.log_in("", "ana", PASSWORD))[0] == 403
        async with proxy(app.address, "127.0.0.3") as front, browser(front) as ana:
            status, _ = await ana.log_in("", "ana", PASSWORD)
            assert status == 403, "to us it came by http://127.0.0.1"


async def test_the_cookie_of_a_neighbour_without_https_is_none(make_app: MakeApp) -> None:
    """A cookie planted for the host without HTTPS logs no one in."""
    async with make_app(web={"trusted_proxies": ["127.0.0.1"]}) as app:
        user_id = await app.user("eve", "admin")
        async with app.database.acquire() as connection:
            key = await begin_session(connection, user_id, "", "", 30)
        async with proxy(app.address) as front, browser(front) as ana:
            ana.cookies = {SESSION: key}
            assert (await ana.ask("GET", "/account"))[0] == 303
            ana.cookies = {f"__Host-{SESSION}": key}
            assert (await ana.ask("GET", "/account"))[0] == 200


async def test_tries_are_counted_by_the_true_address(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who invents addresses before the server in front is still one; others go on."""
    monkeypatch.setattr(credentials, "_UNKNOWN_USER", HASHED)
    async with make_app(web={"trusted_proxies": ["127.0.0.1"]}) as app:
        await app.user("ana", "admin")
        statuses: list[int] = []
        async with proxy(app.address) as front:
            while 429 not in statuses and len(statuses) < 60:
                said = {"X-Forwarded-For": f"9.9.9.{len(statuses)}"}
                async with browser(front, **said) as eve:
                    statuses.append((await eve.log_in("", f"nobody{len(statuses)}", "wrong"))[0])
        assert statuses[:20] == [401] * 20
        assert statuses[-1] == 429
        ana = await app.anonymous()
        elsewhere = Browser(ana.http, app.address, Origin=app.address)
        assert (await elsewhere.log_in("", "ana", PASSWORD))[0] == 303


@pytest.mark.parametrize(
    "public_url", ["https://pages.example", "https://Pages.Example:443/", "https://pages.example/"]
)
async def test_the_public_address_is_ours_whatever_host_is_passed_on(
    make_app: MakeApp, public_url: str
) -> None:
    """Many servers in front pass on a host of their own: forms and sockets work all the same."""
    settings = {"public_url": public_url, "base_path": "/ts"}
    async with make_app(web=settings) as app:
        await app.user("ana", "admin")
        async with browser(app.address) as ana:
            assert (await ana.log_in("/ts", "ana", PASSWORD))[0] == 303
            cookie = "; ".join(f"{name}={value}" for name, value in ana.cookies.items())
            socket = {"Origin": ORIGIN, "Cookie": cookie}
            async with ana.http.ws_connect(f"{app.address}/ts/live/socket", headers=socket):
                pass
        for foreign in ("https://evil.example", "http://pages.example", f"{ORIGIN}.evil", "null"):
            async with browser(app.address, Origin=foreign) as eve:
                assert (await eve.log_in("/ts", "ana", PASSWORD))[0] == 403, foreign


async def test_a_public_address_does_not_make_other_hosts_ours(make_app: MakeApp) -> None:
    """Who is at the machine itself may still use its own address."""
    async with make_app(web={"public_url": ORIGIN}) as app:
        await app.user("ana", "admin")
        async with browser(app.address, Origin=app.address) as ana:
            assert (await ana.log_in("", "ana", PASSWORD))[0] == 303


async def test_cookies_are_secure_when_the_server_in_front_does_not_say_that_it_was_https(
    make_app: MakeApp,
) -> None:
    settings = {"public_url": ORIGIN, "trusted_proxies": ["127.0.0.2"]}
    async with make_app(web=settings) as app:
        await app.user("ana", "admin")
        async with browser(app.address, **{"X-Forwarded-For": "9.9.9.9"}) as ana:
            assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
        assert f"__Host-{SESSION}" in ana.cookies
        async with browser(app.address, Origin=app.address) as direct:  # at the machine itself
            assert (await direct.log_in("", "ana", PASSWORD))[0] == 303
        assert SESSION in direct.cookies
