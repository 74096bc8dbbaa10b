"""Addresses that strangers choose must be public: nothing is sent to a private one."""

import socket

import pytest
from aiohttp import web

from jetstream_messages import ANN
from servers import answering
from stream.backoff import Clock
from stream.config.settings import BlueskySettings
from stream.errors import ConnectError
from stream.networks.bluesky.identity import Identities
from stream.networks.bluesky.repository import Repository
from stream.networks.egress import RefusedAddress, make_public_socket
from stream.networks.http import NetworkHttp
from stream.tweet import Source, SourceId

PRIVATE = (
    "http://127.0.0.1:{port}",
    "http://localhost:{port}",
    "http://2130706433:{port}",
    "http://[::1]:{port}",
    "http://[::ffff:127.0.0.1]:{port}",
    "http://0.0.0.0:{port}",
    "http://10.1.2.3",
    "http://100.64.0.1",
    "http://169.254.169.254",
    "http://[fd00::1]",
    "http://[fec0::1]",
    "http://[64:ff9b::a01:203]",
    "http://[64:ff9b:1::a01:203]",
    "http://224.0.0.1",
    "https://pds.internal",
    "https://router.local.",
)


def source(proxy: str | None = None) -> Source:
    return Source(SourceId(0), "accounts", "bluesky", None, proxy, {}, enabled=True)


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("url", PRIVATE)
async def test_a_private_address_gets_no_request(url: str, proxied: bool) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(str(request.url))
        return web.json_response({})

    async with answering(answer) as server:
        address = url.format(port=server.rpartition(":")[2])
        http = NetworkHttp(source(server if proxied else None), Clock(), address, public_only=True)
        with pytest.raises(ConnectError, match=r"private|link-local") as refused:
            await http.request("GET", "/", {})
    assert refused.value.retry == "final"
    assert asked == []


@pytest.mark.parametrize(
    ("family", "host", "is_public"),
    [
        (socket.AF_INET, "192.168.0.1", False),
        (socket.AF_INET6, "fd12::1", False),
        (socket.AF_INET6, "2002:a01:203::1", False),  # 6to4 of 10.1.2.3
        (socket.AF_INET, "9.9.9.9", True),
        (socket.AF_INET6, "2620:fe::fe", True),
    ],
)
def test_the_check_is_on_what_a_name_leads_to(
    family: socket.AddressFamily, host: str, is_public: bool
) -> None:
    info = (family, socket.SOCK_STREAM, 0, "", (host, 443))
    if is_public:
        make_public_socket(info).close()
    else:
        with pytest.raises(RefusedAddress, match="private"):
            make_public_socket(info)


async def test_a_name_that_leads_to_a_private_address_gets_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"path": request.path})

    def to_this_machine(host: str, port: int, *wanted: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with answering(answer) as server:
        monkeypatch.setattr(socket, "getaddrinfo", to_this_machine)
        address = f"http://pds.example.org:{server.rpartition(':')[2]}"
        assert (await NetworkHttp(source(), Clock(), address).request("GET", "/", {})).status == 200
        with pytest.raises(ConnectError, match="private"):
            await NetworkHttp(source(), Clock(), address, public_only=True).request("GET", "/", {})


async def test_a_public_host_is_reached_through_a_proxy_at_a_private_address() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"for": str(request.url)})

    async with answering(answer) as proxy:
        http = NetworkHttp(source(proxy), Clock(), "http://pds.example.org", public_only=True)
        response = await http.request("GET", "/page", {})
    assert b"http://pds.example.org/page" in response.body


@pytest.mark.parametrize("private_hosts", [False, True])
async def test_servers_that_accounts_name_are_private_only_where_the_settings_say_so(
    private_hosts: bool,
) -> None:
    """As one learns them: the host of a did:web, and the server of a document."""
    asked: list[str] = []
    named = ""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        service = {"id": "#atproto_pds", "serviceEndpoint": server}
        did = named if "well-known" in request.path else ANN
        names = ["at://ann.example"]
        return web.json_response({"id": did, "alsoKnownAs": names, "service": [service]})

    async with answering(answer) as server:
        named = f"did:web:localhost%3A{server.rpartition(':')[2]}"
        settings = BlueskySettings(
            plc=server, appview=server, did_web="http://{host}", private_hosts=private_hosts
        )
        identities = Identities(settings, Clock())
        assert await identities.pds_of(named) == (server if private_hosts else None)
        assert await identities.pds_of(ANN) == (server if private_hosts else None)
        assert asked == (["/.well-known/did.json"] if private_hosts else []) + [f"/{ANN}"]
        if not private_hosts:
            with pytest.raises(ConnectError, match="private"):
                await Repository(settings, Clock(), ANN, server).page("")
