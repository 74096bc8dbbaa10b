"""A daemon whose first attempts to connect to the bus fail tries again, and says why meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployed_bus import make_secrets
from nats_servers import NatsServer, running_server
from stream.bus.connection import Bus
from stream.config import Settings
from waiting import Eventually

HOST = "127.0.0.1"
LATE = 2  # connections

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@contextlib.asynccontextmanager
async def late_network(server: NatsServer) -> AsyncIterator[str]:
    """The address of a way to the server on which it loses patience with the first clients.

    As on a busy machine: what they say arrives after it has begun to speak in the clear.
    """
    late = [asyncio.Event() for _ in range(LATE)]

    async def copy(reader: Reader, writer: Writer, begun: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                begun.set()
        begun.set()
        writer.close()

    async def connect(reader: Reader, writer: Writer) -> None:
        server_reader, server_writer = await asyncio.open_connection(HOST, server.port)
        spoken = asyncio.Event()
        is_late = bool(late)
        if is_late:
            late.pop()
        async with asyncio.TaskGroup() as group:
            group.create_task(copy(server_reader, writer, spoken))
            if is_late:
                await spoken.wait()
            group.create_task(copy(reader, server_writer, asyncio.Event()))

    async with await asyncio.start_server(connect, HOST, 0) as listening:
        yield f"nats://{HOST}:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("handshake_first", ["true", '"auto"'])
async def test_a_first_handshake_that_fails_is_tried_again(
    handshake_first: str, tmp_path: Path, eventually: Eventually
) -> None:
    secrets = make_secrets(tmp_path / "secrets", HOST)
    made = secrets / HOST
    tls = (
        f'tls {{ cert_file: "{made}/server.pem", key_file: "{made}/server-key.pem", timeout: 1,'
        f" handshake_first: {handshake_first} }}"
    )
    async with running_server(tmp_path / "nats", tls) as server, late_network(server) as url:
        settings = Settings(bus=url, bus_ca=str(secrets / "ca.pem"), bus_replicas=1)
        async with Bus(settings).connected() as bus:
            reasons = set[str | None]()

            def connects() -> bool:
                reasons.add(bus.away_because)
                return bus.away_because is None

            await eventually(connects, within=60)
            assert (await bus.ensure_stream()).messages == 0
            assert len(reasons) > 2, reasons  # not connected yet, why, None
