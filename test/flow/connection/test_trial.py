"""Trying a source: every trouble by its name, and nobody else disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from simulator import problems
from simulator.server import Limits, OAuth, serve
from simulator.server import Settings as SimulatorSettings
from stream.config import Settings
from stream.networks.trial import Verdict, attempt
from stream.tweet import NetworkName, Source, SourceId

KEYS = {
    "consumer_key": "consumer-key",
    "consumer_secret": "consumer-secret",
    "token": "user-token",
    "token_secret": "user-secret",
}
TOKEN = "a-token-that-nobody-may-see"
SECRETS = {"bearer_token": TOKEN} | KEYS
QUICK = 0.3  # seconds


async def tried(
    url: str,
    network: NetworkName = "x_v2",
    *,
    proxy: str | None = None,
    within: float = 10,
    **changed: str,
) -> Verdict:
    secrets = SECRETS | changed
    source = Source(SourceId(1), "main", network, url, proxy, secrets, enabled=True)
    verdict = await attempt(source, Settings(), within=within)
    assert not [secret for secret in secrets.values() if secret and secret in verdict.sentence]
    return verdict


@contextlib.asynccontextmanager
async def answering(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """The address of a server that answers everything so."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


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


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_good_keys_are_accepted(network: NetworkName) -> None:
    async with serve(simulated(network)) as server:
        verdict = await tried(server.url, network)
    assert verdict.trouble == ""
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
    assert verdict.trouble == "credentials"


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_a_clock_that_is_wrong_is_blamed_rather_than_the_keys(network: NetworkName) -> None:
    async with serve(simulated(network, "clock-skew")) as server:
        verdict = await tried(server.url, network, bearer_token="another")
    assert verdict.trouble == "clock"
    assert "behind" in verdict.sentence


async def test_a_wrong_clock_is_told_although_the_keys_are_right() -> None:
    async with serve(simulated("x_v2", "clock-skew")) as server:
        verdict = await tried(server.url)
    assert verdict.trouble == ""
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
        return problems.door(fault)

    async with answering(door) as url:
        assert (await tried(url)).trouble == trouble


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
        assert (await tried(server.url, "x_v1")).trouble == trouble


async def test_requests_that_are_spent_are_no_fault_of_the_keys() -> None:
    async with serve(simulated("x_v2", limits=Limits(rule_reads=0))) as server:
        assert (await tried(server.url)).trouble == "crowded"


async def test_keys_that_are_missing_are_asked_for_before_anybody_is_called() -> None:
    nobody = f"http://127.0.0.1:{closed_port()}"
    assert (await tried(nobody, bearer_token="")).trouble == "credentials"
    assert (await tried(nobody, "x_v1", token="")).trouble == "credentials"


async def test_a_wrong_address_a_wrong_proxy_and_tls_are_told_apart(tmp_path: Path) -> None:
    async def hello(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>It works!</html>")

    async def login(request: web.Request) -> web.StreamResponse:
        return web.Response(status=407)

    nobody = f"http://127.0.0.1:{closed_port()}"
    assert (await tried(nobody)).trouble == "address"
    assert (await tried("http://no-such-host.invalid")).trouble == "address"
    async with answering(hello) as url:
        assert (await tried(url)).trouble == "address"
        assert (await tried(url, proxy=nobody)).trouble == "proxy"
        assert (await tried(url.replace("http:", "https:"))).trouble == "tls"
    async with answering(login) as proxy:
        assert (await tried("https://api.x.invalid", proxy=proxy)).trouble == "proxy"


@pytest.mark.parametrize("network", ["x_v2", "x_v1"])
async def test_a_server_that_never_answers_is_not_waited_for(network: NetworkName) -> None:
    async def never(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with answering(never) as url, asyncio.timeout(20):
        verdict = await tried(url, network, within=QUICK)
    assert verdict.trouble == "slow"
