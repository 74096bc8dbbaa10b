"""What is in deploy/cluster/: the bus as its files say, with real servers, and the units."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as ClientError

from deployed_bus import CLUSTER, HOST, deployed_bus, make_secrets
from nats_servers import SERVER, NatsCluster, NatsServer
from stream.bus.transport import use_aborting_transport
from tools import compose, run, tool
from waiting import Eventually

ROLES = {"collect", "write", "web", "monitor"}
EXPOSURE = 2.0  # of 10; systemd-analyze security


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return make_secrets(tmp_path_factory.mktemp("bus") / "secrets", HOST)


@pytest.fixture
async def bus(secrets: Path, tmp_path: Path) -> AsyncIterator[NatsCluster]:
    shutil.copytree(secrets, tmp_path / "secrets")
    async with deployed_bus(tmp_path) as made:
        yield made


@contextlib.asynccontextmanager
async def connected(node: NatsServer, secrets: Path, **changed: Any) -> AsyncIterator[Client]:
    """A client with the files of `bus_credentials` and `bus_ca`."""

    async def ignore(error: Exception) -> None:
        """It is raised, too."""

    login = yaml.safe_load((secrets / "bus_credentials").read_text())
    options = {
        "user": login["user"],
        "password": login["password"],
        "tls": ssl.create_default_context(cafile=secrets / "ca.pem"),
        "tls_handshake_first": True,
        "allow_reconnect": False,
        "connect_timeout": 60,
        "error_cb": ignore,
    }
    use_aborting_transport()  # another one never closes after a handshake that failed
    client = Client()
    try:
        await client.connect(f"nats://{HOST}:{node.port}", **(options | changed))
        yield client
    finally:
        await client.close()


async def routes(node: NatsServer) -> set[str]:
    url = f"http://127.0.0.1:{node.monitor_port}/routez"
    async with aiohttp.request("GET", url) as response:
        return {each["remote_name"] for each in (await response.json())["routes"]}


# -- the configuration of NATS --------------------------------------------------------------------


def test_nats_understands_its_file(secrets: Path, tmp_path: Path) -> None:
    shutil.copytree(secrets / HOST, tmp_path / "secrets")
    text = (CLUSTER / "nats-server.conf").read_text(encoding="utf-8")
    (tmp_path / "nats-server.conf").write_text(text.replace("/etc/nats", str(tmp_path)))
    named = ("env", "NATS_NAME=host1")
    said = run(*named, SERVER, "-t", "-c", tmp_path / "nats-server.conf")
    assert "is valid" in said


async def test_three_servers_keep_what_is_published_on_disk(
    bus: NatsCluster, secrets: Path
) -> None:
    for node in bus.nodes:
        assert await routes(node) == {each.name for each in bus.nodes} - {node.name}
        assert (await node.jetstream())["config"]["sync_always"] is True
    async with connected(bus.nodes[0], secrets) as client:
        jetstream = client.jetstream(timeout=240)
        await jetstream.add_stream(name="T", subjects=["T"], num_replicas=3, max_bytes=20 * 10**9)
        assert (await jetstream.publish("T", b"tweets", timeout=60)).seq == 1
    await bus.in_step("T")
    await bus.kill()
    await bus.start()
    async with connected(bus.nodes[1], secrets) as client:
        await bus.in_step("T")
        assert (await client.jetstream(timeout=240).get_msg("T", 1)).data == b"tweets"


async def test_nobody_else_can_read_the_bus(bus: NatsCluster, secrets: Path) -> None:
    strangers: Sequence[dict[str, Any]] = (
        {"user": None, "password": None},
        {"password": "guessed"},
        {"user": "admin"},
        {"tls": None, "tls_handshake_first": False},
        {"tls": ssl.create_default_context()},  # and does not know the authority
    )
    for changed in strangers:
        with pytest.raises((ClientError, ssl.SSLError)):
            async with connected(bus.nodes[0], secrets, **changed):
                pass


async def test_the_administrator_sees_the_servers_and_no_tweets(
    bus: NatsCluster, secrets: Path
) -> None:
    found = re.search(r'ADMIN_PASSWORD: "(\w+)"', (secrets / "passwords.conf").read_text())
    assert found is not None
    admin = {"user": "admin", "password": found[1]}
    async with (
        connected(bus.nodes[0], secrets) as client,
        connected(bus.nodes[0], secrets, **admin) as administrator,
    ):
        heard: list[str] = []

        async def hear(message: Msg) -> None:
            heard.append(message.subject)

        await administrator.subscribe(">", cb=hear)
        listening = await client.subscribe("T")
        await client.publish("T", b"tweets")
        assert (await listening.next_msg(60)).data == b"tweets"
        asked = await administrator.request("$SYS.REQ.SERVER.PING.JSZ", timeout=60)
        assert b'"sync_always":true' in asked.data
        assert "T" not in heard


async def test_a_server_with_a_certificate_of_another_authority_cannot_join(
    bus: NatsCluster, tmp_path: Path, eventually: Eventually
) -> None:
    stranger = bus.nodes[2]
    await stranger.kill()
    make_secrets(tmp_path / "other", HOST)
    for name in ("server.pem", "server-key.pem"):  # it does trust the others
        shutil.copy(tmp_path / "other" / HOST / name, tmp_path / "secrets" / HOST / name)
    starting = asyncio.create_task(bus.start(stranger))
    try:
        # Each side tries to reach the other, again and again.
        await eventually(lambda: _log(bus.nodes[0]).count("signed by unknown authority") > 4)
        assert await routes(bus.nodes[0]) == {bus.nodes[1].name}
    finally:
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting


def _log(node: NatsServer) -> str:
    return (node.folder / "log.txt").read_text()


async def test_a_reload_takes_new_certificates_and_passwords(
    bus: NatsCluster, tmp_path: Path, eventually: Eventually
) -> None:
    node = bus.nodes[0]
    made = tmp_path / "secrets"
    shutil.copytree(made, tmp_path / "old")
    async with connected(node, made) as client:
        before = _serial_number(client)
    for old in ("localhost/server.pem", "passwords.conf", "bus_credentials"):
        (made / old).unlink()
    make_secrets(made, HOST)
    shutil.copytree(made / HOST, node.folder / "secrets", dirs_exist_ok=True)
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)

    async def is_new() -> bool:
        with contextlib.suppress(ClientError):
            async with connected(node, made) as client:
                return _serial_number(client) != before
        return False

    await eventually(is_new)
    assert "Reloaded server configuration" in _log(node)
    old_login = yaml.safe_load((tmp_path / "old/bus_credentials").read_text())
    with pytest.raises(ClientError, match="Authorization"):
        async with connected(node, made, password=old_login["password"]):
            pass


def _serial_number(client: Client) -> str:
    """Of the server's certificate."""
    writer: Any = client._transport
    return str(writer._io_writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])


# -- certificates and passwords -------------------------------------------------------------------


def test_secrets_are_private_and_stay_when_they_are_made_again(tmp_path: Path) -> None:
    folder = make_secrets(tmp_path / "secrets", "host1", "host2")
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.name for path in (folder / "host1").iterdir()} == {
        "ca.pem", "passwords.conf", "server-key.pem", "server.pem",
    }  # fmt: skip
    (folder / "host1/server.pem").unlink()
    make_secrets(folder, "host1", "host2", "host3")
    changed = {path.name for path, before in files.items() if path.read_bytes() != before}
    assert changed == {"server.pem", "server-key.pem", "ca.srl"}
    assert (folder / "host3/server.pem").exists()


# -- systemd and compose --------------------------------------------------------------------------


def test_the_unit_of_nats_is_right_and_confined(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    unit = tmp_path / "nats-server.service"
    text = (CLUSTER / unit.name).read_text(encoding="utf-8")
    assert "Environment=NATS_NAME=%H" in text
    assert "--name" not in text, "it could not be reloaded"
    unit.write_text(text.replace("/usr/local/bin/nats-server", str(SERVER)))
    assert run(analyze, "verify", "--man=no", unit) == ""
    options = ("--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}")
    run(analyze, "security", *options, unit)


def test_compose_understands_its_file() -> None:
    said = run(*compose(), "-f", CLUSTER / "compose.yaml", "config")
    services: Mapping[str, Any] = yaml.safe_load(said)["services"]
    assert set(services) == {"nats1", "nats2", "nats3", "postgres", "migrate", *ROLES}
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for port in service.get("ports", ()):
            host = port.get("host_ip") if isinstance(port, dict) else port.partition(":")[0]
            assert host == "127.0.0.1", name
        if name != "postgres":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert "password" not in json.dumps(service.get("environment", {})).lower()
    for role in ROLES:
        assert services[role]["command"] == ["run", "--role", role]
    for number in (1, 2, 3):
        service = services[f"nats{number}"]
        assert service["networks"]["default"]["aliases"] == [f"host{number}"]
        assert service["environment"]["NATS_NAME"] == f"host{number}"
        assert "--name" not in service["command"], "it could not be reloaded"
        assert any(f"/secrets/host{number}" in json.dumps(each) for each in service["volumes"])


def test_a_certificate_can_be_for_an_address(tmp_path: Path) -> None:
    file = make_secrets(tmp_path / "secrets", "192.0.2.1") / "192.0.2.1/server.pem"
    assert "IP Address:192.0.2.1" in run("openssl", "x509", "-in", file, "-noout", "-text")
