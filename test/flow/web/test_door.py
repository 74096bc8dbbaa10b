"""Every address, for everybody who must stay outside; and what hostile callers send."""

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.flow.web.conftest import MakePages, Pages, Visitor

from web.accounts.secrets import csrf_of
from web.answering import HEADERS
from web.app import ROUTES
from web.guard import CSRF_HEADER, SESSION, VISITOR
from web.person import SCOPES
from web.routing import Route

CLOSED = [route for route in ROUTES if route.access != "public"]
UNSAFE = [route for route in ROUTES if route.method != "GET"]
FOR_PROGRAMS = ("/api/", "/stream/", "/tweets")
SMALLEST = 1 << 14  # bytes: the least that web.body_bytes may be


def path(route: Route) -> str:
    return re.sub(r"{[^/]*}", "1", route.path)


async def ask(visitor: "Visitor", route: Route, **options: Any) -> tuple[int, str, str]:
    """Status, text, and where to go on."""
    headers = options.pop("headers", {CSRF_HEADER: visitor.csrf})
    async with visitor.client.request(
        route.method, path(route), headers=headers, allow_redirects=False, **options
    ) as answer:
        return answer.status, await answer.text(), answer.headers.get("Location", "")


def code(text: str) -> str:
    return str(json.loads(text)["error"]["code"])


# -- who ------------------------------------------------------------------------------------------


def test_what_strangers_may_change_is_known() -> None:
    """Whoever opens an address to everybody decides it here, too."""
    open_ones = {route.path for route in UNSAFE if route.access == "public"}
    assert open_ones == {"/login", "/welcome"}


async def test_nobody_comes_in_without_login(pages: "Pages") -> None:
    stranger = await pages.stranger()
    for route in CLOSED:
        status, text, location = await ask(stranger, route, headers={})
        if route.path.startswith(FOR_PROGRAMS):
            assert (status, code(text)) == (401, "login_needed"), route
        else:
            assert status == 303, route
            assert location.startswith("/login"), route


@pytest.mark.parametrize("role", ["viewer", "user"])
async def test_a_role_reaches_so_far(pages: "Pages", role: Any) -> None:
    reach = {"viewer": {"viewer"}, "user": {"viewer", "user"}}[role]
    visitor = await pages.enter("vic", role)
    for route in CLOSED:
        if route.access not in reach:
            status, text, _ = await ask(visitor, route)
            assert status == 403, route
            assert "you are" in text, route


async def test_a_token_opens_what_its_scopes_say(pages: "Pages") -> None:
    programs = {
        lacking: await pages.program(
            "ana", "admin", tuple(scope for scope in SCOPES if scope != lacking)
        )
        for lacking in (*SCOPES, None)
    }
    for route in CLOSED:
        status, text, _ = await ask(programs[route.scope], route, headers={})
        assert status == 403, route
        word = "a token does not open it" if route.scope is None else f"the scope {route.scope}"
        assert word in text, route


async def test_a_token_that_is_none_opens_nothing(pages: "Pages") -> None:
    stranger = await pages.stranger()
    for token in ("", "ts_", "ts_" + "x" * 43, "\u00fc", "x" * 5000):
        for route in CLOSED[:3]:
            status, _, _ = await ask(stranger, route, headers={"Authorization": f"Bearer {token}"})
            assert status in (303, 401), token


# -- forms of others ------------------------------------------------------------------------------


async def test_no_change_without_the_key_of_our_forms(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    for route in UNSAFE:
        for headers in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: csrf_of("another")}):
            status, text, _ = await ask(ana, route, headers=headers)
            assert status == 403, route
            assert "form" in text, route


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_no_change_from_another_site(pages: "Pages", said: dict[str, str]) -> None:
    ana = await pages.enter("ana", "admin")
    for route in UNSAFE:
        status, text, _ = await ask(ana, route, headers={CSRF_HEADER: ana.csrf} | said)
        assert status == 403, route
        assert "another site" in text, route


async def test_our_own_site_may(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    headers = {"Origin": pages.address, "Sec-Fetch-Site": "same-origin"}
    status, text = await ana.post("/users", {"name": "bo", "role": "viewer"}, headers=headers)
    assert status == 200, text


async def test_a_stranger_has_a_key_of_his_own(pages: "Pages") -> None:
    """Not one that everybody could compute, who has no cookie."""
    stranger = await pages.stranger()
    for headers in ({CSRF_HEADER: csrf_of("")}, {CSRF_HEADER: ""}, {}):
        status, _ = await stranger.post("/login", {"name": "a", "password": "b"}, headers=headers)
        assert status == 403


# -- long and broken ------------------------------------------------------------------------------


async def _in_pieces(length: int) -> AsyncIterator[bytes]:
    for _ in range(0, length, 4096):
        yield b"x" * 4096


async def test_what_is_too_long_is_refused(make_pages: "MakePages") -> None:
    async with make_pages(web={"body_bytes": SMALLEST}) as pages:
        ana = await pages.enter("ana", "admin")
        for route in UNSAFE:
            for body in (b"x" * 3 * SMALLEST, _in_pieces(3 * SMALLEST)):
                status, _, _ = await ask(ana, route, data=body)
                assert status == 413, route


async def test_a_stranger_may_send_little(pages: "Pages") -> None:
    stranger = await pages.stranger()
    for body in (b"a" * (1 << 17), _in_pieces(4096)):
        async with stranger.client.post("/login", data=body) as answer:
            assert answer.status == 413


FORM = "application/x-www-form-urlencoded"
NO_BODIES = [
    (FORM, b"name=\xff\xfe", 400),
    (FORM + "; charset=nothing", b"name=x", 400),
    (FORM, b"&" * 30_000, 413),
    ("multipart/form-data", b"name=x", 400),
    ("multipart/form-data; boundary=x", b"--y\r\n\r\n", 400),
]


async def test_a_body_that_is_none(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    for kind, body, expected in NO_BODIES:
        headers = {CSRF_HEADER: ana.csrf, "Content-Type": kind}
        async with ana.client.post("/users", data=body, headers=headers) as answer:
            assert answer.status == expected, (kind, body)


async def test_what_unpacks_to_too_much(pages: "Pages") -> None:
    ana = await pages.enter("ana", "admin")
    headers = {CSRF_HEADER: ana.csrf, "Content-Encoding": "deflate"}
    bomb = zlib.compress(b"a" * (1 << 26))
    async with ana.client.post("/users", data=bomb, headers=headers) as answer:
        assert answer.status in (400, 413)


async def raw(pages: "Pages", request: bytes) -> bytes:
    """The answer to exactly these bytes, until the server closes."""
    host, port = pages.address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.close()


NOT_OURS = [
    "../app.py",
    "%2e%2e/app.py",
    "..%2fapp.py",
    "..%5capp.py",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "vendor/../../app.py",
    "vendor/..%2f..%2fpackage.json",
    "style.css%00.js",
    "",
    ".",
]


async def test_only_our_files_are_given(pages: "Pages") -> None:
    for name in NOT_OURS:
        answer = await raw(pages, f"GET /static/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + END)
        assert answer.split()[1] in (b"403", b"404"), name


END = b"GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


HOSTS = [
    b'"><script>',
    b"a b",
    b"",
    b"[::1",
    b"x" * 5000,
    b"a:99999999",
    b"\xff\xfe",
    b"a/../b",
    None,
]


async def test_a_garbled_host_breaks_nothing(pages: "Pages") -> None:
    for host in HOSTS:
        line = b"" if host is None else b"Host: " + host + b"\r\n"
        answer = await raw(pages, b"GET /login HTTP/1.1\r\n" + line + b"Connection: close\r\n\r\n")
        assert answer.split()[1] in (b"200", b"400"), host
        assert not host or host not in answer


NO_HTTP = [
    b"NONSENSE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET / HTTP/1.1\r\nA: " + b"x" * 50_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 50_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
    b"POST /login HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /login HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
]


async def test_what_is_no_http_gets_an_answer_with_our_headers(pages: "Pages") -> None:
    for request in NO_HTTP:
        answer = await raw(pages, request)
        assert answer.split()[1] == b"400", request[:100]
        assert b"Content-Security-Policy" in answer, request[:100]


# -- headers, cookies, addresses ------------------------------------------------------------------


async def test_every_answer_has_the_headers(pages: "Pages") -> None:
    ana, stranger = await pages.enter("ana", "admin"), await pages.stranger()
    asked: list[tuple[Visitor, str, str]] = [
        (ana, "GET", path(route)) for route in ROUTES if route.method == "GET"
    ]
    asked += [(ana, "POST", path(route)) for route in UNSAFE]  # without a key
    asked += [(stranger, "GET", where) for where in ("/", "/login", "/nothing", "/static/page.js")]
    asked += [(stranger, "DELETE", "/login"), (stranger, "GET", "/static/nothing")]
    for visitor, method, where in asked:
        async with visitor.client.request(method, where, allow_redirects=False) as answer:
            for name, value in HEADERS.items():
                assert answer.headers.get(name) == value, (where, name)
            kept = answer.headers["Cache-Control"]
            is_ours = not where.startswith("/static/")
            assert (kept in ("no-store", "private, no-cache")) == is_ours, where
            assert answer.status < 500, where


async def log_in_form(client: aiohttp.ClientSession, onward: str = "") -> dict[str, str]:
    async with client.get("/login", params={"next": onward}) as answer:
        text = await answer.text()
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text))
    return form | {"name": "ana", "password": "correct horse battery", "next": onward}


async def send_login(client: aiohttp.ClientSession, form: dict[str, str], **options: Any) -> str:
    """The key of the session."""
    async with client.post("/login", data=form, allow_redirects=False, **options) as answer:
        assert answer.status == 303, await answer.text()
        return answer.cookies[SESSION].value


async def log_in(client: aiohttp.ClientSession, onward: str = "") -> Any:
    form = await log_in_form(client, onward)
    async with client.post("/login", data=form, allow_redirects=False) as answer:
        await answer.read()
        return answer


async def test_the_cookies_are_out_of_reach(pages: "Pages") -> None:
    await pages.user("ana", "admin")
    stranger = await pages.stranger()
    answer = await log_in(stranger.client)
    cookie = answer.cookies[SESSION]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert not cookie["secure"], "there is no HTTPS"
    assert answer.cookies[VISITOR].value == "", "the key of the stranger's forms is taken back"


async def test_a_login_gives_a_key_that_nobody_knew(pages: "Pages") -> None:
    """Neither one that was planted nor the one from before works afterwards."""
    await pages.user("ana", "admin")
    stranger, other = await pages.stranger(), await pages.stranger()
    form = await log_in_form(stranger.client)
    stranger.client.cookie_jar.update_cookies({SESSION: "planted"})
    first = await send_login(stranger.client, form)
    stranger.client.cookie_jar.clear()
    form = await log_in_form(stranger.client)
    stranger.client.cookie_jar.update_cookies({SESSION: first})
    headers = {CSRF_HEADER: csrf_of(first)}
    second = await send_login(stranger.client, form, headers=headers)
    assert second not in (first, "planted")
    for key, status in (("planted", 303), (first, 303), (second, 200)):
        other.client.cookie_jar.update_cookies({SESSION: key})
        assert (await other.get("/account"))[0] == status


ONWARD = [
    ("/account", "/account"),
    ("/?q=a%20b", "/?q=a%20b"),
    ("//evil.example", "/"),
    ("/\\evil.example", "/"),
    ("https://evil.example/", "/"),
    ("javascript:alert(1)", "/"),
    ("/\r\nSet-Cookie: a=b", "/"),
    ("/\tevil", "/"),
    ("", "/"),
]


async def test_a_login_leads_only_to_us(pages: "Pages") -> None:
    await pages.user("ana", "admin")
    for onward, location in ONWARD:
        stranger = await pages.stranger()
        answer = await log_in(stranger.client, onward)
        assert (answer.status, answer.headers["Location"]) == (303, location)
        async with stranger.client.get(
            "/login", params={"next": onward}, allow_redirects=False
        ) as again:
            assert again.headers["Location"] == location, "also for who is logged in already"


async def test_no_form_can_add_a_header(pages: "Pages") -> None:
    """Where a form says to which list it leads back."""
    ana = await pages.enter("ana", "admin")
    given = {"do": "pause", "back": "q=a\r\nSet-Cookie: x=y"}
    async with ana.client.post(
        "/tracks/bulk", data=given, headers={CSRF_HEADER: ana.csrf}, allow_redirects=False
    ) as answer:
        assert (answer.status, "x" in answer.cookies) == (303, False)


async def test_who_wanted_a_page_comes_to_it_after_the_login(pages: "Pages") -> None:
    stranger = await pages.stranger()
    async with stranger.client.get("/users/1?a=b%26c", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/login?next=%2Fusers%2F1%3Fa%3Db%2526c"
    part = {"HX-Request": "true", "HX-Current-URL": f"{pages.address}/users?x=1"}
    async with stranger.client.get("/users/1", headers=part) as answer:
        assert answer.status == 401
        assert answer.headers["HX-Redirect"] == "/login?next=%2Fusers%3Fx%3D1"
