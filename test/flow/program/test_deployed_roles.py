"""The roles as their units start them, on the bus that deploy/cluster/ describes."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from deployed_bus import HOST, deployed_bus

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import Iterator
    from pathlib import Path

    from test.conftest import Eventually
    from test.flow.conftest import OpenTables
    from test.flow.program.conftest import MakeProgram, Simulate

ROLES = ("monitor", "web", "write", "collect")


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket as systemd has one for a unit of Type=notify."""
    name = f"twitterstream-test-{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(f"\0{name}")
        made.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        yield made


def is_ready(notified: socket.socket) -> bool:
    try:
        return b"READY=1" in notified.recv(4096).split(b"\n")
    except BlockingIOError:
        return False


async def test_each_role_gets_ready_and_tweets_pass_through_the_bus(
    tmp_path: Path,
    database: str,
    make_program: MakeProgram,
    open_tables: OpenTables,
    simulate: Simulate,
    notified: socket.socket,
    eventually: Eventually,
) -> None:
    async with deployed_bus(tmp_path / "nats") as cluster, simulate(rate=50) as server:
        secrets = tmp_path / "nats/secrets"
        settings = {
            "bus": ",".join(f"nats://{HOST}:{node.port}" for node in cluster.nodes),
            "bus_credentials": str(secrets / "bus_credentials"),
            "bus_ca": str(secrets / "ca.pem"),
            "web": {"listen": "127.0.0.1:0"},
            "data_dir": str(tmp_path / "data"),
        }
        programs = {role: make_program(role, database, **settings) for role in ROLES}
        tables = open_tables(database)
        await tables.add_tracks("snow", "rain,sun")
        await programs["collect"].add_source_to(database, server.url, "x_v2")
        for role, program in programs.items():
            await program.start(roles=[role])
            await eventually(lambda: is_ready(notified))
        await eventually(lambda: len(server.sent) > 200)
        server.hub.posts_left = 0
        await eventually(lambda: tables.has_all(server.sent))
        for program in programs.values():
            await program.stop()
