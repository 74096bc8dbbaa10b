"""Behind other servers: who calls, by which address, and whom that is believed."""

import contextlib
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import MakePages, Pages

from web.accounts import passwords, sessions
from web.guard import SESSION, VISITOR

PASSWORD = "correct horse battery"
# argon2id of something else, with so little work that tests do not wait.
HASHED = (
    "$argon2id$v=19$m=8,t=1,p=1$g/Wlh76njHAbi0GDEujRlQ$F+Ew5p+JASsE7s6HJ39180e9k0mpHC+ijeGnU2ebBXo"
)
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

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()


class Browser:
    """Comes to the server in front, as by https://pages.example; from 127.0.0.2 if not said."""

    def __init__(self, client: aiohttp.ClientSession, address: str, **headers: str) -> None:
        self.client = client
        self.address = address
        self.headers = headers
        self.cookies: dict[str, str] = {}
        self.set: list[str] = []  # cookies, as they were given

    async def ask(self, method: str, path: str, **options: object) -> tuple[int, str, str]:
        """Status, text, and where to go on."""
        headers = dict(self.headers)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{n}={v}" for n, v in self.cookies.items())
        async with self.client.request(
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
        form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
        given = form | {"name": name, "password": password}
        status, _, location = await self.ask("POST", base + "/login", data=given)
        return status, location


@contextlib.asynccontextmanager
async def browser(
    address: str, source: str = "127.0.0.2", **headers: str
) -> AsyncIterator[Browser]:
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as client:
        yield Browser(client, address, **{"Origin": ORIGIN} | headers)


async def addresses(pages: "Pages") -> list[str]:
    async with pages.database.acquire() as connection:
        found = await sessions.of_user(connection, await pages.user("ana"))
    return [each.address for each in found]


async def test_a_browser_behind_a_server_that_is_trusted(make_pages: "MakePages") -> None:
    web_settings = {"trusted_proxies": ["127.0.0.1"], "base_path": "/ts"}
    async with make_pages(web=web_settings) as pages, proxy(pages.address) as front:
        await pages.user("ana", "admin")
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
    make_pages: "MakePages",
) -> None:
    """What the caller says of himself before is not believed."""
    async with make_pages(web={"trusted_proxies": ["127.0.0.1", "10.0.0.0/8"]}) as pages:
        await pages.user("ana", "admin")
        async with proxy(pages.address) as front:
            for said in ({}, {"X-Forwarded-For": "9.9.9.9"}, {"X-Forwarded-For": "10.0.0.1"}):
                async with browser(front, **said) as ana:
                    assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
                assert f"__Host-{SESSION}" in ana.cookies
            assert await addresses(pages) == ["127.0.0.2"] * 3
            # Behind what is no address nothing is believed, either.
            said = {"X-Forwarded-For": "9.9.9.9, unknown"}
            async with browser(front, "127.0.0.1", **said) as ana:
                assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
            assert (await addresses(pages))[0] == "127.0.0.1"


async def test_who_is_not_trusted_is_not_believed(make_pages: "MakePages") -> None:
    """Neither a caller without a server in front, nor a server that the settings do not name."""
    said = {
        "X-Forwarded-For": "9.9.9.9",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
    }
    async with make_pages(web={"trusted_proxies": ["127.0.0.1"]}) as pages:
        await pages.user("ana", "admin")
        async with browser(pages.address, **said, Origin=pages.address) as ana:
            assert (await ana.log_in("", "ana", PASSWORD))[0] == 303
            assert await addresses(pages) == ["127.0.0.2"]
            assert SESSION in ana.cookies
            assert not any("secure" in each.lower() for each in ana.set)
        async with browser(pages.address, **said, Origin="https://evil.example") as eve:
            assert (await eve.log_in("", "ana", PASSWORD))[0] == 403
        async with proxy(pages.address, "127.0.0.3") as front, browser(front) as ana:
            status, _ = await ana.log_in("", "ana", PASSWORD)
            assert status == 403, "to us it came by http://127.0.0.1"


async def test_the_cookie_of_a_neighbour_without_https_is_none(make_pages: "MakePages") -> None:
    """Whoever can plant a cookie for the host without HTTPS has not logged anybody in."""
    async with make_pages(web={"trusted_proxies": ["127.0.0.1"]}) as pages:
        user_id = await pages.user("eve", "admin")
        async with pages.database.acquire() as connection:
            key = await sessions.begin(connection, user_id, "", "", 30)
        async with proxy(pages.address) as front, browser(front) as ana:
            ana.cookies = {SESSION: key}
            assert (await ana.ask("GET", "/account"))[0] == 303
            ana.cookies = {f"__Host-{SESSION}": key}
            assert (await ana.ask("GET", "/account"))[0] == 200


async def test_tries_are_counted_by_the_true_address(
    make_pages: "MakePages", monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who invents addresses before the server in front is still one; others go on."""
    monkeypatch.setattr(passwords, "_nobody", HASHED)
    async with make_pages(web={"trusted_proxies": ["127.0.0.1"]}) as pages:
        await pages.user("ana", "admin")
        told: list[int] = []
        async with proxy(pages.address) as front:
            while 429 not in told and len(told) < 60:
                said = {"X-Forwarded-For": f"9.9.9.{len(told)}"}
                async with browser(front, **said) as eve:
                    told.append((await eve.log_in("", f"nobody{len(told)}", "wrong"))[0])
        assert told[:20] == [401] * 20
        assert told[-1] == 429
        ana = await pages.stranger()
        elsewhere = Browser(ana.client, pages.address, Origin=pages.address)
        assert (await elsewhere.log_in("", "ana", PASSWORD))[0] == 303
