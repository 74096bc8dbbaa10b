"""What can pass by itself never ends a source: certificates, login pages, firewalls, proxies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from certificates import self_signed
from servers import V2_TWEET as TWEET
from servers import closed_port, send, status
from stream.networks.egress import choose_proxy
from stream.notes import GapClosed, GapOpened, StateNote

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from stream.connection import ConnectionSupervisor
    from test.conftest import Eventually
    from test.flow.connection.conftest import MakeRig, Rig

PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Airport Wi-Fi</title></head>\n"
    b"<body>\n{}\n<p>Accept the terms\n</body></html>\n"
)
PROXY_PASSWORD = "pass-of-the-proxy"


@pytest.fixture(params=["x_v1", "x_v2"])
async def rig(make_rig: MakeRig, request: pytest.FixtureRequest) -> Rig:
    made = await make_rig(speed=50)
    made.network = request.param
    return made


async def waits(connection: ConnectionSupervisor, eventually: Eventually, *said: str) -> str:
    """The reason of a source that waits for the second time, without having failed."""
    await eventually(lambda: connection.counters["waiting"] >= 2)
    assert connection.counters["failed"] == 0
    await eventually(lambda: connection.state.state == "waiting")
    reason = connection.state.reason
    assert all(each in reason for each in said), reason
    return reason


# -- certificates ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def hanging_up(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """The port of a server that ends every connection."""

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("host", "days", "said"),
    [
        ("127.0.0.1", 1, "self-signed certificate"),
        ("127.0.0.1", -1, "certificate"),
        ("10.9.8.7", 1, "certificate"),
        (None, 0, "no connection"),  # no TLS at all
    ],
)
async def test_no_fault_of_a_certificate_ends_a_source(
    rig: Rig, eventually: Eventually, tmp_path: Path, host: str | None, days: int, said: str
) -> None:
    context = None if host is None else self_signed(tmp_path, host, days)
    async with hanging_up(context) as port, rig.running(url=f"https://127.0.0.1:{port}") as found:
        await waits(found, eventually, said, f"127.0.0.1:{port}")


# -- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("then", ["close", "hold"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=utf-8", PAGE),
        ("application/octet-stream", b"\n\n" + PAGE),
        ("application/json", b"\xef\xbb\xbf" + PAGE),
        ("text/plain", b"Accept the terms of the Airport Wi-Fi\r\n{}\r\n"),
        ("application/json", b'{\n  "error": "Airport Wi-Fi",\n  "status": 511\n}\n'),
        ("application/json", b'[{"error": "Airport Wi-Fi"}]\r\n'),
        ("application/json", b'"Airport Wi-Fi"\r\ntrue\r\n'),
    ],
)
async def test_a_login_page_is_no_stream_and_makes_one_gap(
    rig: Rig, eventually: Eventually, kind: str, body: bytes, then: str
) -> None:
    """Each attempt gets the page until a person has logged in."""
    portal = send(body, kind=kind, then=then)
    rig.server.script = [send(TWEET, then="close"), *[portal] * 3, send(TWEET)]
    async with rig.running() as connection:
        await eventually(lambda: connection.counters["waiting"] >= 2)
        await eventually(lambda: connection.counters["frames"] == 2)
        assert connection.counters["failed"] == 0
    assert await rig.frames() == [TWEET.strip()] * 2
    opened, closed, stopped = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert isinstance(closed, GapClosed)
    assert isinstance(stopped, GapOpened)
    notes = [record for record in await rig.records() if isinstance(record, StateNote)]
    said = [note.reason for note in notes if note.state == "waiting"]
    assert any("Airport Wi-Fi" in reason for reason in said), said


@pytest.mark.parametrize(
    "first", [b"Exceeded a limit\r\n", b"[1]\r\n", b'\xff{"data"\r\n', b"null\n"]
)
async def test_a_first_line_that_is_no_message_costs_no_tweet_after_it(
    rig: Rig, first: bytes
) -> None:
    """What arrived with it would be lost: nothing replays it."""
    rig.server.script = [send(first + TWEET)]
    async with rig.running(until="streaming"):
        pass
    assert await rig.frames() == [first.strip(), TWEET.strip()]


async def test_a_page_in_utf_16_is_a_page(rig: Rig, eventually: Eventually) -> None:
    portal = send(PAGE.decode().encode("utf-16"), kind="application/json")
    rig.server.script = [portal, portal, send(TWEET)]
    async with rig.running() as connection:
        await waits(connection, eventually, "a web page instead of the stream")
        await eventually(lambda: connection.state.state == "streaming")
    assert await rig.frames() == [TWEET.strip()]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "its response is not valid HTTP: Bad status line"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "its response is not valid HTTP: "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "its response is not valid HTTP: "),
        (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", "no reason given"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + TWEET, "the response ended early"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n{}\r\n",
            "the connection broke: Can not decode",
        ),
    ],
)
async def test_an_answer_that_is_broken_is_said_in_words(
    make_rig: MakeRig, eventually: Eventually, answer: bytes, said: str
) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    rig = await make_rig(speed=50)
    rig.network = "x_v1"
    async with (
        await asyncio.start_server(reply, "127.0.0.1", 0) as server,
        rig.running(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as connection,
    ):
        reason = await waits(connection, eventually, said)
        assert "400" not in reason
        assert "\n" not in reason


async def test_an_answer_of_a_known_length_is_no_stream(rig: Rig, eventually: Eventually) -> None:
    rig.server.script = [status(200, {"error": "log in first"}), send(TWEET)]
    async with rig.running(until="waiting") as connection:
        assert "log in first" in connection.state.reason
        await eventually(lambda: connection.state.state == "streaming")
    assert await rig.frames() == [TWEET.strip()]


async def test_a_page_in_place_of_the_list_of_rules_is_called_so(
    make_rig: MakeRig, eventually: Eventually
) -> None:
    rig = await make_rig(speed=20)
    rig.server.rule_step = status(200, PAGE.decode())
    rig.server.script = [send(TWEET)]
    async with rig.running() as connection:
        await waits(connection, eventually, "a web page instead of", "Airport Wi-Fi")
        rig.server.rule_step = None
        await eventually(lambda: connection.state.state == "streaming")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_no_credentials_to_another_host(
    rig: Rig, make_rig: MakeRig, eventually: Eventually, code: int
) -> None:
    other = await make_rig()
    other.server.script = [send(TWEET)]
    target = f"{other.server.url}/login"
    rig.server.script = [status(code, "", {"Location": target})]
    async with rig.running() as connection:
        await waits(connection, eventually, str(code), target, "not followed")
    assert other.server.requests == []


@pytest.mark.parametrize("code", [400, 401, 403, 404, 407, 410, 451])
async def test_what_a_firewall_answers_is_tried_again_until_the_stream_is_there(
    rig: Rig, code: int
) -> None:
    rig.server.script = [status(code, "Blocked."), status(code), send(TWEET)]
    async with rig.running(until="streaming") as connection:
        assert connection.counters["failed"] == 0
    opened, *_ = await rig.gaps()
    assert isinstance(opened, GapOpened)
    assert str(code) in opened.detail
    assert opened.cause == "http"


async def test_what_the_network_itself_refuses_fails_and_is_tried_again(
    rig: Rig, eventually: Eventually
) -> None:
    rig.settings = msgspec.structs.replace(rig.settings, retry_failed_interval=40.0)
    own = {"errors": [{"code": 32, "message": "no"}], "title": "Unauthorized"}
    rig.server.script = [status(401, own), status(401, own), send(TWEET)]
    async with rig.running(until="failed") as connection:
        assert connection.state.code == "credentials"
        await eventually(lambda: connection.state.state == "streaming")
        assert connection.counters["failed"] == 2
    for wait in await rig.waits():
        assert 40 <= round(wait, 1) < 50
    gaps = await rig.gaps()
    assert [type(gap) for gap in gaps] == [GapOpened, GapClosed, GapOpened]
    notes = [record for record in await rig.records() if isinstance(record, StateNote)]
    again = [note for note in notes if note.state == "connecting"][1]
    assert again.code == "credentials"  # what is wrong stays in sight while it is tried again


# -- proxies --------------------------------------------------------------------------------------


@pytest.fixture
def no_exceptions(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without proxies, and without exceptions from them."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch  # type: ignore[return-value] # nothing to undo here


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", None])
async def test_a_proxy_of_the_source_or_the_environment_is_used(
    rig: Rig, no_exceptions: pytest.MonkeyPatch, variable: str | None
) -> None:
    """The scripted server plays the proxy, for a host that does not exist."""
    if variable is None:
        rig.proxy = rig.server.url
    else:
        no_exceptions.setenv(variable, rig.server.url.removeprefix("http://"))
    rig.server.script = [send(TWEET)]
    await rig.run(url="http://api.invalid/", until="streaming")
    assert rig.server.requests[0].headers["Host"] == "api.invalid"


async def test_a_proxy_gets_the_name_and_password_of_its_address(
    rig: Rig, no_exceptions: pytest.MonkeyPatch
) -> None:
    address = rig.server.url.removeprefix("http://")
    no_exceptions.setenv("HTTP_PROXY", f"http://me:p%40ss-word@{address}")
    rig.server.script = [send(TWEET)]
    await rig.run(url="http://api.invalid/", until="streaming")
    header = rig.server.requests[0].headers["Proxy-Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")) == b"me:p@ss-word"


async def test_a_dead_proxy_is_named_and_its_password_is_not(
    rig: Rig,
    eventually: Eventually,
    no_exceptions: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy = f"http://me:{PROXY_PASSWORD}@127.0.0.1:{closed_port()}"
    no_exceptions.setenv("HTTPS_PROXY", proxy)
    async with rig.running(url="https://api.invalid") as connection:
        named = f"proxy http://127.0.0.1:{closed_port()} (from HTTPS_PROXY): Connection refused"
        await waits(connection, eventually, named)
    assert PROXY_PASSWORD not in repr(await rig.records())
    assert PROXY_PASSWORD not in caplog.text
    assert "requests use the proxy" in caplog.text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "asks for a user name"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "it answered 403 Forbidden"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://portal.invalid/\r\n\r\n", "it answered 302"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "through the proxy"),
        (b"", "through the proxy"),
    ],
)
async def test_a_proxy_that_does_not_connect_is_named(
    rig: Rig, eventually: Eventually, answer: bytes, said: str
) -> None:
    asked = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        rig.proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with rig.running(url="https://api.invalid") as connection:
            await waits(connection, eventually, rig.proxy, said)
    assert asked[0].startswith(b"CONNECT api.invalid:443")


async def test_a_proxy_of_another_kind_is_refused_rather_than_passed_by(
    rig: Rig, no_exceptions: pytest.MonkeyPatch
) -> None:
    no_exceptions.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    rig.server.script = [send(TWEET)]
    async with rig.running(until="failed") as connection:
        assert "socks5://127.0.0.1:9 (from ALL_PROXY) is not supported" in connection.state.reason
    assert rig.server.requests == []


@pytest.mark.parametrize(
    ("no_proxy", "address", "direct"),
    [
        ("", "https://api.x.com", False),
        ("*", "https://api.x.com", True),
        ("x.com", "https://api.x.com", True),
        (".x.com", "https://api.x.com", True),
        ("*.x.com, other", "https://API.X.com/", True),
        ("ax.com", "https://max.com", False),
        ("api.x.com:8443", "https://api.x.com", False),
        ("api.x.com:443", "https://api.x.com", True),
        ("localhost 127.0.0.1", "http://127.0.0.1:8080", True),
        ("10.0.0.0/8,fd00::/8", "http://10.1.2.3", True),
        ("10.0.0.0/8,fd00::/8", "http://[fd00::1]:80", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("[::1]", "http://[::1]:80", True),
        ("10.0.0.0/8", "http://ten.example", False),
    ],
)
def test_no_proxy_makes_exceptions(
    no_exceptions: pytest.MonkeyPatch, no_proxy: str, address: str, *, direct: bool
) -> None:
    no_exceptions.setenv("HTTPS_PROXY", "proxy:3128")
    no_exceptions.setenv("HTTP_PROXY", "http://proxy:3128")
    no_exceptions.setenv("NO_PROXY", no_proxy)
    found = choose_proxy(None, address)
    assert (found is None) == direct
    assert str(choose_proxy("http://me:secret@own:1", address)) == "http://own:1"


def test_a_proxy_is_shown_without_its_password() -> None:
    for url in ("http://me:secret@own:1/x", "http://me:se@cret@own:1", "http://me:secret@[bad"):
        found = choose_proxy(url, "https://api.x.com")
        assert "secret" not in f"{found} {found!r}"
        assert "cret" not in f"{found} {found!r}"
