"""The connection test names every problem, and disturbs no other connection."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from servers import V1_KEYS as KEYS
from servers import answering, closed_port
from simulator import problems
from simulator.server import Limits, OAuth, serve
from simulator.server import Settings as SimulatorSettings
from stream.backoff import Clock
from stream.config import Settings
from stream.networks.connection_test import ConnectionTestResult, run_connection_test
from stream.networks.descriptions import SERVICES
from stream.networks.egress import RefusedAddress, make_socket
from stream.tweet import NetworkName, Source, SourceId

TOKEN = "a-token-that-nobody-may-see"
SECRETS = {"bearer_token": TOKEN} | KEYS
OF_MASTODON = {"access_token": "hidden-access-token"}
QUICK = 0.3  # seconds


async def tried(
    url: str,
    network: NetworkName = "x_v2",
    *,
    proxy: str | None = None,
    within: float = 10,
    **changed: str,
) -> ConnectionTestResult:
    secrets = (OF_MASTODON if network == "mastodon" else SECRETS) | changed
    source = Source(SourceId(1), "main", network, url, proxy, secrets, enabled=True)
    verdict = await run_connection_test(source, Settings(), within=within)
    assert not [secret for secret in secrets.values() if secret and secret in verdict.sentence]
    return verdict


def simulated(
    network: NetworkName, *faults: str, limits: Limits | None = None
) -> SimulatorSettings:
    return SimulatorSettings(
        network=network,
        faults=faults,
        bearer_token=TOKEN,
        oauth=OAuth(**KEYS),
        limits=limits or Limits(),
    )


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_good_keys_are_accepted(network: NetworkName) -> None:
    async with serve(simulated(network)) as server:
        verdict = await tried(server.url, network)
    assert verdict.problem == ""
    assert "accepts" in verdict.sentence


async def test_v2_tells_how_full_the_app_is_and_leaves_the_one_connection_alone() -> None:
    async with serve(simulated("x_v2", limits=Limits(connects=0, rules=7))) as server:
        verdict = await tried(server.url)
        assert server.hub.attempt_count == 0
    assert "0 of the 7 rules" in verdict.sentence


async def test_v2_says_that_somebody_else_has_the_connection() -> None:
    async with serve(simulated("x_v2")) as server, aiohttp.ClientSession(server.url) as other:
        other.headers["Authorization"] = f"Bearer {TOKEN}"
        path = "/2/tweets/search/stream"
        async with other.post(f"{path}/rules", json={"add": [{"value": "snow"}]}) as added:
            assert added.status == 201
        async with other.get(path) as stream:
            assert stream.status == 200
            verdict = await tried(server.url)
            assert "stop the other program" in verdict.sentence
            assert server.connections == 1


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_wrong_keys_are_named(network: NetworkName) -> None:
    async with serve(simulated(network)) as server:
        verdict = await tried(server.url, network, bearer_token="another", token_secret="another")
    assert verdict.problem == "credentials"


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_a_clock_that_is_wrong_is_blamed_rather_than_the_keys(network: NetworkName) -> None:
    async with serve(simulated(network, "clock-skew")) as server:
        verdict = await tried(server.url, network, bearer_token="another")
    assert verdict.problem == "clock"
    assert "behind" in verdict.sentence


async def test_a_wrong_clock_is_told_although_the_keys_are_right() -> None:
    async with serve(simulated("x_v2", "clock-skew")) as server:
        verdict = await tried(server.url)
    assert verdict.problem == ""
    assert "set it" in verdict.sentence


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        ("401", "credentials"),
        ("402", "quota"),
        ("403", "plan"),
        ("410", "address"),
        ("429-connections", "crowded"),
        ("429-quota", "quota"),
        ("429-rate", "crowded"),
        ("503", "network"),
    ],
)
async def test_v2_answers_are_told_apart(fault: str, trouble: str) -> None:
    async def door(request: web.Request) -> web.StreamResponse:
        return problems.connect_fault(fault)

    async with answering(door) as url:
        assert (await tried(url)).problem == trouble


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        ("401", "credentials"),
        ("403", "plan"),
        ("410", "plan"),
        ("420", "crowded"),
        ("429-rate", "crowded"),
        ("503", "network"),
    ],
)
async def test_v1_answers_are_told_apart(fault: str, trouble: str) -> None:
    async with serve(simulated("x_v1", fault)) as server:
        assert (await tried(server.url, "x_v1")).problem == trouble


async def test_requests_that_are_spent_are_no_fault_of_the_keys() -> None:
    async with serve(simulated("x_v2", limits=Limits(rule_reads=0))) as server:
        assert (await tried(server.url)).problem == "crowded"


async def test_keys_that_are_missing_are_asked_for_before_anybody_is_called() -> None:
    nobody = f"http://127.0.0.1:{closed_port()}"
    assert (await tried(nobody, bearer_token="")).problem == "credentials"
    assert (await tried(nobody, "x_v1", token="")).problem == "credentials"


async def test_a_wrong_address_a_wrong_proxy_and_tls_are_told_apart(tmp_path: Path) -> None:
    async def hello(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>It works!</html>")

    async def login(request: web.Request) -> web.StreamResponse:
        return web.Response(status=407)

    nobody = f"http://127.0.0.1:{closed_port()}"
    assert (await tried(nobody)).problem == "address"
    assert (await tried("http://no-such-host.invalid")).problem == "address"
    async with answering(hello) as url:
        assert (await tried(url)).problem == "address"
        assert (await tried(url, proxy=nobody)).problem == "proxy"
        assert (await tried(url.replace("http:", "https:"))).problem == "tls"
    async with answering(login) as proxy:
        assert (await tried("https://api.x.invalid", proxy=proxy)).problem == "proxy"


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
@pytest.mark.parametrize(
    ("status", "text", "trouble"),
    [
        (200, "<html><title>Wi-Fi</title>", "address"),
        (302, "", "address"),
        (401, "<html>", "address"),
        (403, "Blocked by policy", "address"),
        (404, "", "address"),
        (407, "", "proxy"),
        (502, "<html>", "network"),
    ],
)
async def test_other_servers_are_told_from_the_network(
    network: NetworkName, status: int, text: str, trouble: str
) -> None:
    async def stranger(request: web.Request) -> web.StreamResponse:
        headers = {"Location": "https://portal.invalid/"} if status == 302 else {}
        kind = "text/html" if text.startswith("<") else "text/plain"
        return web.Response(status=status, text=text, headers=headers, content_type=kind)

    async with answering(stranger) as url:
        verdict = await tried(url, network)
    assert verdict.problem == trouble
    assert f"status {status}" in verdict.sentence


@pytest.mark.parametrize("network", ["x_v2", "x_v1", "bluesky", "mastodon"])
@pytest.mark.parametrize("url", ["http://[", "http://a:b@[::1", "http://:99999", "http://h:x"])
async def test_an_address_that_is_none_is_named(url: str, network: NetworkName) -> None:
    """It may have been written by psql."""
    for verdict in (await tried(url, network), await tried("http://h.invalid", network, proxy=url)):
        assert verdict.problem == "address"
        assert "cannot be used" in verdict.sentence


async def test_an_error_of_ours_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    class Mistaken(Clock):
        def timeout(self, seconds: float) -> asyncio.Timeout:
            raise OverflowError(str(seconds))

    source = Source(SourceId(1), "main", "x_v2", "http://h.invalid", None, SECRETS, enabled=True)
    verdict = await run_connection_test(source, Settings(), Mistaken())
    assert verdict.problem == "network"
    assert "OverflowError" in verdict.sentence
    assert caplog.records[-1].exc_info


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_a_server_that_never_answers_is_not_waited_for(network: NetworkName) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(never) as url, asyncio.timeout(90):
        verdict = await tried(url, network, within=QUICK)
    assert verdict.problem == "slow"


REFUSED = (
    "http://169.254.169.254",
    "http://169.254.1.1:8080",
    "http://[fe80::1]",
    "http://[fe80::1%25lo]:80",
    "http://[::ffff:169.254.169.254]",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://[::169.254.169.254]",
    "http://[fd00:ec2::254]",
    "http://[fd00:ec2::23]",
    "http://100.100.100.200",
    "http://2852039166",
    "http://0xa9fea9fe",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://metadata.google.internal",
    "https://METADATA.google.internal./",
    "http://me:password@169.254.169.254/latest/meta-data",
    "http://me:pw@169.254.169.254",
)


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize("network", ["x_v2", "x_v1", "bluesky", "mastodon"])
async def test_link_local_and_metadata_addresses_are_asked_by_nobody(
    url: str, network: NetworkName
) -> None:
    async def relay(request: web.Request) -> web.StreamResponse:
        asked.append(str(request.url))
        return web.Response()

    asked: list[str] = []
    async with answering(relay) as proxy:
        for verdict in (await tried(url, network), await tried(url, network, proxy=proxy)):
            assert verdict.problem == "address"
            assert "link-local" in verdict.sentence
            assert not re.search(r"\[Errno|:pw@|password", verdict.sentence)
    assert asked == []


async def test_no_proxy_is_at_a_link_local_address() -> None:
    verdict = await tried("https://api.x.invalid", proxy="http://169.254.169.254:80")
    assert "link-local" in verdict.sentence


def test_a_name_that_leads_to_a_link_local_address_gets_no_socket() -> None:
    """The check is on what was looked up."""
    for family, host in (
        (socket.AF_INET, "169.254.169.254"),
        (socket.AF_INET6, "fe80::1%2"),
        (socket.AF_INET6, "::ffff:169.254.169.254"),
    ):
        with pytest.raises(RefusedAddress, match="link-local"):
            make_socket((family, socket.SOCK_STREAM, 0, "", (host, 80)))
    make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80))).close()


async def test_no_reason_for_closing_a_websocket_is_shown() -> None:
    async def close(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close(code=4001, message=b"the secret of a server inside")
        return socket

    async with answering(close) as url:
        verdict = await tried(url, "bluesky")
    assert "4001" in verdict.sentence
    assert "secret" not in verdict.sentence


BODY = "the secret of a server inside, and <b>its page</b>"
SAYINGS = ("json", "html", "text", "own")


@pytest.mark.parametrize("saying", SAYINGS)
@pytest.mark.parametrize("network", ["x_v2", "x_v1", "bluesky", "mastodon"])
async def test_no_word_of_a_server_is_shown_whatever_it_answers(
    saying: str, network: NetworkName
) -> None:
    """Only states: else the button would read what only this machine can reach."""
    own = {"errors": [{"message": BODY, "code": 32}], "title": BODY, "detail": BODY, "type": BODY}
    status = 200

    async def answer(request: web.Request) -> web.StreamResponse:
        match saying:
            case "json":
                return web.json_response({"data": BODY, "meta": BODY}, status=status)
            case "own":
                return web.json_response(own, status=status)
        headers = {"Location": f"http://127.0.0.1:9/{BODY}".replace(" ", "-")}
        kind = "text/html" if saying == "html" else "text/plain"
        return web.Response(
            text=f"<title>{BODY}</title>{BODY}", content_type=kind, status=status, headers=headers,
            reason="the-secret-reason",
        )  # fmt: skip

    async with answering(answer) as url:
        for status in (200, 201, 301, 400, 401, 402, 403, 404, 407, 409, 420, 429, 500, 503):
            verdict = await tried(url, network)
            assert verdict.problem != "", status
            assert "secret" not in verdict.sentence, status
            if status in (200, 404) and saying != "own":
                assert f"it is not {SERVICES[network]}" in verdict.sentence, status
            if status not in (200, 201):
                assert str(status) in verdict.sentence, status


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_a_server_that_speaks_no_http_is_not_quoted(network: NetworkName) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-Secret_9.9\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        verdict = await tried(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", network)
    assert "it is not X" in verdict.sentence
    assert "Secret" not in verdict.sentence
