"""What `doctor` says of a bus: each fault with its remedy, and that all is well."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from nats import connect

from bus_bench import STREAM
from deployed_bus import make_secrets
from full_bus import STREAM_BYTES, full_bus
from nats_servers import ASKABLE, running_cluster, running_server
from servers import free_port
from stream.bus.connection import Bus
from stream.config import Settings

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.program.conftest import MakeProgram, Program

LOGIN = "authorization { user: me, password: secret }"
HOST = "127.0.0.1"


async def doctor(program: Program) -> str:
    """What it says, in one line."""
    _, said = await program.fails("doctor")
    return " ".join(said.split())


async def create_stream(**settings: Any) -> None:
    """Create the stream, as a daemon with these settings does."""
    async with Bus(Settings(**settings)).connected() as bus:
        await bus.until_connected()
        await bus.ensure_stream()


async def test_a_server_that_is_not_there(make_program: MakeProgram, database: str) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    said = await doctor(make_program("main", database, bus=url))
    assert f"error the bus {url} cannot be used" in said
    assert "Check that its servers run" in said
    assert "PostgreSQL" in said, "the rest is checked, too"


async def test_a_login_that_is_wrong_or_missing(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    (tmp_path / "login").write_text("user: me\npassword: wrong\n")
    async with running_server(tmp_path / "nats", LOGIN) as nats:
        said = await doctor(make_program("none", database, bus=nats.url))
        assert "Authorization Violation" in said
        assert "set `bus_credentials`" in said
        program = make_program(
            "wrong", database, bus=nats.url, bus_credentials=str(tmp_path / "login")
        )
        assert f"Correct user and password in {tmp_path}/login." in await doctor(program)


async def test_a_certificate_of_another_authority(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    ours, theirs = (make_secrets(tmp_path / name, HOST) for name in ("ours", "theirs"))
    tls = (
        f'tls {{ cert_file: "{ours}/{HOST}/server.pem", key_file: "{ours}/{HOST}/server-key.pem",'
        " handshake_first: true }"
    )
    async with running_server(tmp_path / "nats", tls) as nats:
        settings = {"bus": nats.url, "bus_replicas": 1}
        wrong = make_program("wrong", database, bus_ca=str(theirs / "ca.pem"), **settings)
        said = await doctor(wrong)
        assert "CERTIFICATE_VERIFY_FAILED" in said
        assert "Set `bus_ca` to the certificate that signed those of the servers" in said
        right = make_program("right", database, bus_ca=str(ours / "ca.pem"), **settings)
        assert "ok the bus answers at" in await doctor(right)
        without = make_program("without", database, **settings)
        assert "Servers that begin with TLS need `bus_ca`" in await doctor(without)


async def test_no_password_goes_to_a_server_without_tls(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    secrets = make_secrets(tmp_path / "secrets", HOST)
    (tmp_path / "login").write_text("user: a\npassword: secret\n")
    heard: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"auth_required":true,"max_payload":1048576}\r\n')
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(10_000):  # until the client hangs up
                heard.append(data)
                writer.write(b"-ERR 'Unknown Protocol Operation'\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        program = make_program(
            "main",
            database,
            bus=f"nats://localhost:{port}",
            bus_ca=str(secrets / "ca.pem"),
            bus_credentials=str(tmp_path / "login"),
        )
        said = await doctor(program)
        assert "The server does not begin with TLS" in said, said
    assert heard
    assert not any(b"secret" in each for each in heard)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"user: me", "it has no line `password: …`"),
        (b"user me", "The credentials' line 1 is not `name: value`"),
        (b"\xac", "'utf-8' codec can't decode byte 0xac in position 0: invalid start byte"),
    ],
)
async def test_a_file_with_the_login_that_cannot_be_read(
    tmp_path: Path, make_program: MakeProgram, database: str, given: bytes, why: str
) -> None:
    path = tmp_path / "login"
    path.write_bytes(given)
    said = await doctor(
        make_program("main", database, bus="nats://127.0.0.1:9", bus_credentials=str(path))
    )
    assert f"error `bus_credentials` {path} cannot be used ({why}): it needs two lines" in said
    assert "PostgreSQL" in said, "the rest is checked, too"


async def test_it_creates_no_stream(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    async with running_server(tmp_path / "nats") as nats:
        program = make_program("main", database, bus=nats.url, bus_replicas=1)
        assert "ok there is no stream twitterstream, as on a new bus: the first" in await doctor(
            program
        )
        client = await connect(nats.url)
        assert not await client.jetstream().streams_info()
        await client.close()


async def test_another_server_than_nats(make_program: MakeProgram, database: str) -> None:
    async def listen(asked: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        await asked.read()  # as a web server does until there is a request
        answers.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        program = make_program("main", database, bus=f"nats://127.0.0.1:{port}")
        assert "cannot be used: no NATS server answers within 5 s. Check" in await doctor(program)


async def test_more_replicas_than_servers(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    async with running_server(tmp_path / "nats") as nats:
        said = await doctor(make_program("main", database, bus=nats.url))
        assert "`bus_replicas` is 3, but the bus is a single server: set `bus_replicas: 1`" in said


async def test_fewer_replicas_in_the_settings_than_the_stream_has(
    tmp_path: Path, make_program: MakeProgram, database: str, eventually: Eventually
) -> None:
    async with running_cluster(tmp_path / "nats") as nats:
        await create_stream(bus=nats.url)
        right = make_program("right", database, bus=nats.url)

        async def current() -> bool:
            return "ok all 3 replicas of the stream are current" in await doctor(right)

        await eventually(current)
        wrong = make_program("wrong", database, bus=nats.url, bus_replicas=1)
        said = await doctor(wrong)
        assert "the stream has 3 replicas, but `bus_replicas` is 1 here: set it to 3" in said
        assert "on one server" not in said


async def test_a_stream_that_is_nearly_full(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    async with running_server(tmp_path / "nats") as nats:
        settings = {"bus": nats.url, "bus_replicas": 1, "bus_max_bytes": 1 << 20}
        await create_stream(**settings)
        program = make_program("main", database, **settings)
        assert "nearly full" not in await doctor(program)
        client = await connect(nats.url)
        try:
            subjects = (await client.jetstream().stream_info(STREAM)).config.subjects
            assert subjects
            await client.jetstream().publish(subjects[0].replace("*", "1"), bytes(900_000))
        finally:
            await client.close()
        said = await doctor(program)
        assert "it is nearly full. See why lanes are not stored" in said
        other = make_program("other", database, **(settings | {"bus_max_bytes": 1 << 24}))
        assert "`bus_max_bytes` is 16.8 MB here: set it to 1048576" in await doctor(other)


async def test_a_server_without_jetstream(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    account = "accounts { A { users: [{ user: a, password: a }] } }\nno_auth_user: a"
    async with running_server(tmp_path / "nats", account) as nats:
        said = await doctor(make_program("main", database, bus=nats.url, bus_replicas=1))
        assert "JetStream not enabled for account" in said
        assert "`jetstream: enabled` in the account" in said


async def test_a_server_with_a_full_disk(
    tmp_path: Path, make_program: MakeProgram, database: str, eventually: Eventually
) -> None:
    async with full_bus(tmp_path / "nats") as nats:
        settings = {"bus": nats.url, "bus_max_bytes": STREAM_BYTES}
        await create_stream(**settings)
        program = make_program("main", database, **settings)

        async def is_synced() -> bool:
            return 'sync_interval is "always" on all 3 servers' in await doctor(program)

        async def is_off() -> bool:
            said = await doctor(program)
            assert "acknowledges blocks" not in said
            assert "n3 are away" not in said or "JetStream is off" not in said
            return (
                "JetStream is off on n3, so nothing is stored there. See the server's log" in said
                and 'sync_interval is "always" on the other servers' in said
            )

        await eventually(is_synced)
        await nats.fill()
        await eventually(is_off)


async def test_what_can_and_cannot_be_known_of_the_servers(
    tmp_path: Path, make_program: MakeProgram, database: str
) -> None:
    async with running_server(tmp_path / "nats") as nats:
        program = make_program("main", database, bus=nats.url, bus_replicas=1)
        assert 'sync_interval "always" cannot be seen from here' in await doctor(program)
        await nats.kill()
        nats.settings = ASKABLE
        await nats.start()
        assert 'sync_interval is "always" on the server of the bus' in await doctor(program)


async def test_a_machine_that_cannot_use_the_bus(
    tmp_path: Path, make_program: MakeProgram, database: str, eventually: Eventually
) -> None:
    (tmp_path / "login").write_text("user: me\npassword: secret\n")
    async with running_server(tmp_path / "nats", LOGIN) as nats:
        settings = {"bus": nats.url, "bus_replicas": 1}
        login = str(tmp_path / "login")
        here = make_program("here", database, bus_credentials=login, **settings)
        other = make_program("other", database, **settings)
        await other.start(roles=["write"])

        async def is_named() -> bool:
            said = await doctor(here)
            assert "ok the bus answers at" in said
            return (
                " cannot use the bus: nats: 'Authorization Violation'. It needs a login: set"
                " `bus_credentials`"
            ) in said

        await eventually(is_named)


async def test_machines_that_differ(
    tmp_path: Path, make_program: MakeProgram, database: str, eventually: Eventually
) -> None:
    async with running_server(tmp_path / "nats", ASKABLE) as nats:
        settings = {"bus": nats.url, "bus_replicas": 1}
        here = make_program("here", database, **settings)
        await here.add_source_to(database, "http://127.0.0.1:1", "x_v2")
        wrong = {"keep_unmatched": False, "bus_max_bytes": 1 << 24}
        other = make_program("other", database, **(settings | wrong))
        await other.start(roles=["collect"])

        async def differs() -> bool:
            said = await doctor(here)
            return all(
                words in said
                for words in (
                    "no machine has the role write, so nothing is stored",
                    "no machine has the role monitor",
                    "no machine stores main: start a machine with `run --role write`",
                    "`keep_unmatched` is false on",
                    "`bus_max_bytes` is 16777216 on",
                    "collects, but has no secret.key",
                )
            )

        await eventually(differs)
