"""HTTP as hostile, broken or thrifty callers speak it, at every address; and our static files."""

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from web.api import openapi_file
from web.app import ROUTES
from web.auth import CSRF_HEADER
from web.middleware import HEADERS
from web_app import API_PREFIXES, UNSAFE, Client, MakeApp, WebApp, path_of

ROOT = Path(__file__).parents[3]
SOURCES = "".join(
    file.read_text(encoding="utf-8") for file in sorted((ROOT / "web/pages").glob("*.py"))
)
SMALLEST = 1 << 14  # bytes: the least that web.max_body_bytes may be


# -- long and broken ------------------------------------------------------------------------------


async def _in_pieces(length: int) -> AsyncIterator[bytes]:
    for _ in range(0, length, 4096):
        yield b"x" * 4096


async def test_what_is_too_long_is_refused(make_app: MakeApp) -> None:
    async with make_app(web={"max_body_bytes": SMALLEST}) as app:
        ana = await app.log_in("ana", "admin")
        for route in UNSAFE:
            for body in (b"x" * 3 * SMALLEST, _in_pieces(3 * SMALLEST)):
                status, text, _ = await ana.call(route, data=body)
                assert status == 413, route
                assert "at most" in text, route


async def test_a_stranger_may_send_little(app: WebApp) -> None:
    stranger = await app.anonymous()
    for body in (b"a" * (1 << 17), _in_pieces(4096)):
        async with stranger.http.post("/login", data=body) as answer:
            assert answer.status == 413


FORM = "application/x-www-form-urlencoded"
NO_BODIES = [
    (FORM, b"name=\xff\xfe", 400),
    (FORM + "; charset=nothing", b"name=x", 400),
    (FORM, b"&" * 30_000, 413),
    ("multipart/form-data", b"name=x", 400),
    ("multipart/form-data; boundary=x", b"--y\r\n\r\n", 400),
]


async def test_a_body_that_is_none(admin: Client) -> None:
    for kind, body, expected in NO_BODIES:
        headers = {CSRF_HEADER: admin.csrf, "Content-Type": kind}
        async with admin.http.post("/users", data=body, headers=headers) as answer:
            assert answer.status == expected, (kind, body)


BOMB = zlib.compress(b"a" * (1 << 26))
PACKED = ("deflate", "gzip", "br", "zstd", "identity", "x-nothing", "")


async def test_a_compressed_body_is_refused_before_login_and_before_it_is_read(
    app: WebApp,
) -> None:
    stranger, ana = await app.anonymous(), await app.log_in("ana", "admin")
    program = await app.api_client("ana", "admin")
    for route in UNSAFE:
        for client in (stranger, ana, program):
            headers = {CSRF_HEADER: client.csrf, "Content-Encoding": "deflate"}
            status, text, _ = await client.call(route, data=BOMB, headers=headers)
            assert status == 415, route
            assert "Content-Encoding" in text, route
            if route.path.startswith(API_PREFIXES):
                assert json.loads(text)["error"]["code"] == "unsupported_media"
    for packed in PACKED:
        headers = {CSRF_HEADER: ana.csrf, "Content-Encoding": packed}
        async with ana.http.post("/users", data=b"name=x", headers=headers) as answer:
            assert answer.status == 415, packed
            assert answer.headers["Accept-Encoding"] == "identity"


async def test_no_address_unpacks_a_body(app: WebApp) -> None:
    """Also where none is read: what is left of one is thrown away as it came."""
    head = (
        "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
    )
    # Unpacked, this would be damaged, and the connection would end before the next answer.
    answer = await raw(app, head.encode() + b"not gzip!" + END)
    assert answer.count(b"HTTP/1.1 404") == 2


PART = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


async def test_a_form_in_parts_is_read_but_no_compressed_part_and_no_file(app: WebApp) -> None:
    program = await app.api_client("ana", "admin")

    async def send(*parts: tuple[str, str, str]) -> tuple[int, str]:
        body = "".join(PART.format(*part) for part in parts) + "--x--\r\n"
        return await program.post("/stream/start", body.encode(), headers=MULTIPART)

    status, text = await send(("track", "", "snow"), ("kind", "", "keyword"))
    assert (status, json.loads(text)["track"]) == (200, "snow")
    for packed in ("gzip", "deflate", "identity", "nothing"):
        status, text = await send(("track", f"\r\nContent-Encoding: {packed}", "snow"))
        assert (status, json.loads(text)["error"]["code"]) == (415, "unsupported_media"), packed
    status, text = await send(("track", '; filename="a.txt"', "snow"))
    assert (status, json.loads(text)["error"]["field"]) == (422, "track")


async def raw(app: WebApp, request: bytes) -> bytes:
    """The answer to exactly these bytes, until the server closes."""
    reader, writer = await app.connect()
    writer.write(request)
    try:
        async with asyncio.timeout(90):
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
    "x" * 5000,
    "x/" * 2000,
    "style.css/",
    "style.css/x",
]


async def test_a_wrong_method_is_told_which_are_right(ana: Client) -> None:
    status, said = await ana.json("PUT", "/api/v1/tracks")
    assert status == 405
    assert said["error"]["message"] == "PUT is not allowed here; use GET, HEAD, POST."


async def test_only_our_files_are_given(app: WebApp) -> None:
    for name in NOT_OURS:
        answer = await raw(app, f"GET /static/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + END)
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


async def test_a_garbled_host_breaks_nothing(app: WebApp) -> None:
    for host in HOSTS:
        line = b"" if host is None else b"Host: " + host + b"\r\n"
        answer = await raw(app, b"GET /login HTTP/1.1\r\n" + line + b"Connection: close\r\n\r\n")
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


async def test_what_is_no_http_gets_an_answer_with_our_headers(app: WebApp) -> None:
    for request in NO_HTTP:
        answer = await raw(app, request)
        assert answer.split()[1] == b"400", request[:100]
        assert b"Content-Security-Policy" in answer, request[:100]


# -- numbers, HEAD --------------------------------------------------------------------------------

HUGE = "9" * 5000  # Python reads no number of more than 4,300 digits


async def test_a_huge_number_is_none_that_is_here(app: WebApp) -> None:
    ana, program = await app.log_in("ana", "admin"), await app.api_client("ana", "admin")
    for route in ROUTES:
        if "{" in route.path:
            where = path_of(route, HUGE)
            for client in (ana, program):
                headers = {CSRF_HEADER: client.csrf}
                async with client.http.request(
                    route.method, where, headers=headers, allow_redirects=False
                ) as answer:
                    assert answer.status in (303, 400, 403, 404, 422), (route, answer.status)


async def test_huge_numbers_in_queries_and_bodies_are_refused_or_passed_over(
    make_app: MakeApp,
) -> None:
    known = {each.route.path: each.query.__struct_fields__ for each in openapi_file.OPERATIONS}
    async with make_app(web={"requests_per_minute": 10_000}) as app:
        admin, program = await app.log_in("ana", "admin"), await app.api_client("ana", "admin")
        for route in ROUTES:
            by_program = route.path.startswith(API_PREFIXES)
            if route.method == "GET":
                # One at a time for programs, which refuse what they do not know.
                alone = [[name] for name in (*known.get(route.path, ()), "unknown")]
                for names in alone if by_program else [NAMES]:
                    query = dict.fromkeys(names, HUGE)
                    client = program if by_program else admin
                    assert (await client.call(route, params=query))[0] < 500, (route, names)
                continue
            for number in (HUGE, "-" + HUGE, "1e" + HUGE):
                status, _, _ = await admin.call(route, data=dict.fromkeys(NAMES, number))
                assert status < 500, (route, number[:3])
                body = ",".join(f'"{name}": {number}' for name in NAMES)
                for written in ("{" + body + "}", number, '{"tracks": [' + number + "]}"):
                    headers = {"Content-Type": "application/json"}
                    status, _, _ = await program.call(route, data=written, headers=headers)
                    assert status < 500, (route, number[:3])


def _names() -> list[str]:
    """Everything that an address, a form or a body may contain."""
    document = openapi_file.document()
    calls = [call for path in document["paths"].values() for call in path.values()]
    found = {each["name"] for call in calls for each in call.get("parameters", ())}
    for schema in document["components"]["schemas"].values():
        found |= schema.get("properties", {}).keys()
    read = re.findall(r'(?:get|getall|_short)\((?:query, )?"(\w+)"', SOURCES)
    return sorted(found | set(read))


NAMES = _names()


async def test_head_works_everywhere_get_does(app: WebApp) -> None:
    ana, stranger = await app.log_in("ana", "admin"), await app.anonymous()
    await ana.post("/tracks/new", {"kind": "keyword", "value": "snow", "anyway": "1"})
    more = ["/static/page.js", "/nothing", "/static/nothing"]
    gets = [path_of(route) for route in ROUTES if route.method == "GET"] + more
    for client in (ana, stranger):
        for where in gets:
            for accept in ("*/*", "text/csv", "text/event-stream"):
                async with asyncio.timeout(90):
                    async with client.http.head(
                        where, headers={"Accept": accept}, allow_redirects=False
                    ) as head:
                        assert await head.read() == b""
                    if where == "/api/v1/stream" and head.status == 200:
                        assert head.content_type == "text/event-stream"
                        continue  # a GET of it does not end
                    async with client.http.get(
                        where, headers={"Accept": accept}, allow_redirects=False
                    ) as got:
                        await got.read()
                assert head.status == got.status, (where, accept)
                assert head.content_type == got.content_type, (where, accept)


async def test_every_address_that_is_opened_directly_is_a_whole_page(app: WebApp) -> None:
    """Also one that answers htmx with a part of a page."""
    ana = await app.log_in("ana", "admin")
    await ana.post("/tracks/new", {"kind": "keyword", "value": "snow", "anyway": "1"})
    for route in ROUTES:
        if route.method != "GET" or route.path.startswith(API_PREFIXES):
            continue
        async with ana.http.get(path_of(route)) as answer:
            if answer.content_type == "text/html":
                assert "<!doctype html>" in await answer.text(), route


async def test_every_answer_has_the_headers(app: WebApp) -> None:
    ana, stranger = await app.log_in("ana", "admin"), await app.anonymous()
    asked: list[tuple[Client, str, str]] = [
        (ana, "GET", path_of(route)) for route in ROUTES if route.method == "GET"
    ]
    asked += [(ana, "POST", path_of(route)) for route in UNSAFE]  # without a key
    asked += [(stranger, "GET", where) for where in ("/", "/login", "/nothing", "/static/page.js")]
    asked += [(stranger, "DELETE", "/login"), (stranger, "GET", "/static/nothing")]
    for client, method, where in asked:
        async with client.http.request(method, where, allow_redirects=False) as answer:
            for name, value in HEADERS.items():
                assert answer.headers.get(name) == value, (where, name)
            kept = answer.headers["Cache-Control"]
            is_ours = not where.startswith("/static/")
            assert (kept in ("no-store", "private, no-cache")) == is_ours, where
            assert answer.status < 500, where


@pytest.mark.parametrize("path", ["/static/style.css", "/static/vendor/htmx.min.js", "/login"])
async def test_many_come_over_one_connection(app: WebApp, path: str) -> None:
    reader, writer = await app.connect()
    bodies = []
    for _ in range(3):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        bodies.append(await reader.readexactly(int(length[1])))
    writer.close()
    await writer.wait_closed()
    assert len(bodies[0]) > 500
    if path != "/login":
        assert bodies[0] == bodies[1] == bodies[2]
