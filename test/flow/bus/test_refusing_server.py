"""A server that refuses a connection that it had is connected to again, once it does not."""

import asyncio
from pathlib import Path

from bus_bench import bus_bench
from deployed_bus import make_secrets
from nats_servers import running_server
from stream.bus.connection import Bus
from stream.config import Settings
from stream.db import Database
from waiting import Eventually

OURS = "authorization { user: me, password: secret }"
OTHER = "authorization { user: me, password: changed }"
MANY = 100
HOST = "127.0.0.1"


def is_refused(bus: Bus) -> bool:
    return "authorization" in (bus.away_because or "").lower()


async def test_all_goes_on_after_a_login_was_changed_and_is_valid_again(
    connected: Database, tmp_path: Path, eventually: Eventually
) -> None:
    (tmp_path / "login").write_text("user: me\npassword: secret\n")
    async with (
        running_server(tmp_path / "nats", OURS) as server,
        bus_bench(connected, server, tmp_path) as bench,
    ):
        bench.use(bus_credentials=str(tmp_path / "login"))
        async with bench.collecting() as machine, bench.writing() as writers:
            machine.append(MANY)
            await eventually(machine.all_stored)
            buses = (machine.publisher.bus, writers.bus)
            for _ in range(2):
                server.reload(OTHER)
                await eventually(lambda: all(is_refused(each) for each in buses))
                machine.append(MANY)
                server.reload(OURS)
                await eventually(machine.all_stored)
                assert [each.away_because for each in buses] == [None, None]
            server.reload(OTHER)
            await eventually(lambda: all(is_refused(each) for each in buses))
            (tmp_path / "login").write_text("user: me\npassword: changed\n")
            machine.append(MANY)
            await eventually(machine.all_stored)
        await bench.check(eventually)


def with_tls(secrets: Path) -> str:
    made = secrets / HOST
    return (
        f'tls {{ cert_file: "{made}/server.pem", key_file: "{made}/server-key.pem",'
        " handshake_first: true }"
    )


async def test_a_certificate_that_is_corrected_is_used_without_a_restart(
    tmp_path: Path, eventually: Eventually
) -> None:
    """Before the first connection and after it; a file that cannot be read changes nothing."""
    first, second = (make_secrets(tmp_path / name, HOST) for name in ("first", "second"))
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes((second / "ca.pem").read_bytes())
    async with running_server(tmp_path / "nats", with_tls(first)) as server:
        settings = Settings(bus=server.url, bus_ca=str(trusted), bus_replicas=1)
        async with Bus(settings).connected() as bus:

            def is_refused() -> bool:
                return "CERTIFICATE_VERIFY_FAILED" in (bus.away_because or "")

            await eventually(is_refused)
            trusted.write_bytes((first / "ca.pem").read_bytes())
            await eventually(lambda: bus.away_because is None)
            trusted.write_text("-----BEGIN CERTIFICATE-----\n")
            await server.kill()
            await eventually(lambda: "Connect call failed" in (bus.away_because or ""))
            await server.start()
            await eventually(lambda: bus.away_because is None)
            await server.kill()
            server.settings = with_tls(second)
            await server.start()
            await eventually(is_refused)
            trusted.write_bytes((second / "ca.pem").read_bytes())
            await eventually(lambda: bus.away_because is None)
            assert (await bus.ensure_stream()).messages == 0


async def test_wakes_and_requests_arrive_after_a_limit_was_raised(
    tmp_path: Path, eventually: Eventually
) -> None:
    heard = asyncio.Event()
    async with (
        running_server(tmp_path, "max_subscriptions: 1") as server,
        Bus(Settings(bus=server.url, bus_replicas=1)).connected() as bus,
    ):
        await bus.until_connected()
        await bus.ensure_stream()  # the answers to requests take the only one
        async with bus.listening("topic", "name", lambda _: heard.set()):
            await eventually(lambda: "subscriptions exceeded" in (bus.away_because or ""))
            await server.kill()
            server.settings = ""
            await server.start()
            await eventually(lambda: bus.away_because is None)
            await bus.ensure_stream()
            await bus.notify("topic", "name")
            async with asyncio.timeout(60):
                await heard.wait()
