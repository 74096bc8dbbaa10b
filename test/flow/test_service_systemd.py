"""What systemd hears: over real sockets, and from the whole program."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Self
from urllib.request import urlopen
from uuid import uuid4

import pytest

from monitor.service.systemd import SystemdNotifier
from servers import free_port

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "postgresql://nobody:s3cr3t@127.0.0.1:1/none"

Eventually = Callable[..., Awaitable[None]]


class Heard:
    """A socket as systemd has one, and what came over it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def all(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.lines += self._socket.recv(4096).decode().split("\n")
        return self.lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Heard]:
    abstract = f"@twitterstream-test-{uuid4().hex}"
    made = Heard(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield made
    made.close()


@contextlib.asynccontextmanager
async def running(
    notifier: SystemdNotifier, stop: asyncio.Event
) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(notifier.run(stop))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_ready_status_signs_of_life_and_the_stop(
    heard: Heard, eventually: Eventually
) -> None:
    status: list[str | None] = [None]
    environment = {"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": "200000", "PATH": "/bin"}
    notifier = SystemdNotifier(lambda: status[0], environment)
    assert environment == {"PATH": "/bin"}, "a child must not speak in our name"
    stop = asyncio.Event()
    async with running(notifier, stop) as task:
        await eventually(lambda: heard.all().count("WATCHDOG=1") >= 2)
        assert "READY=1" not in heard.lines
        status[0] = "Collecting.\nREADY=0"
        await eventually(lambda: "READY=1" in heard.all())
        await eventually(lambda: "STATUS=Collecting. READY=0" in heard.all())
        heard.lines.clear()
        await eventually(lambda: "WATCHDOG=1" in heard.all())
        stop.set()
        await eventually(task.done)
    assert heard.all()[-2:] == ["STOPPING=1", "STATUS=Stopping."]
    assert heard.lines.count("READY=1") == 0, "once is enough"


async def test_no_sign_of_life_where_none_is_asked_for(tmp_path: Path) -> None:
    for asked in ({}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}):
        heard = Heard(str(tmp_path / f"notify{len(list(tmp_path.iterdir()))}"))
        with contextlib.closing(heard):
            notifier = SystemdNotifier(lambda: "fine", {"NOTIFY_SOCKET": heard.address, **asked})
            notifier._notify()
            assert heard.all() == ["READY=1", "STATUS=fine"]


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@nobody-listens-here", "x" * 500])
async def test_nobody_to_tell_is_no_harm(address: str) -> None:
    stop = asyncio.Event()
    notifier = SystemdNotifier(lambda: "fine", {"NOTIFY_SOCKET": address})
    async with asyncio.timeout(60):
        asyncio.get_running_loop().call_soon(stop.set)
        await notifier.run(stop)


def test_a_receiver_that_does_not_read_is_no_harm(tmp_path: Path) -> None:
    with contextlib.closing(Heard(str(tmp_path / "notify"))) as heard:
        number = 0

        def status() -> str:
            nonlocal number
            number += 1
            return str(number)

        notifier = SystemdNotifier(status, {"NOTIFY_SOCKET": heard.address})
        for _ in range(5000):
            notifier._notify()
        assert len(heard.all()) < 5000, "the socket was full"


async def test_a_fault_of_ours_in_looking_stops_no_sign_of_life(tmp_path: Path) -> None:
    def fail() -> str:
        raise ValueError("broken")

    with contextlib.closing(Heard(str(tmp_path / "notify"))) as heard:
        environment = {"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": "1000000"}
        SystemdNotifier(fail, environment)._notify()
        assert heard.all() == ["WATCHDOG=1"]


# -- the whole program ----------------------------------------------------------------------------


class Daemon:
    """`collect`, as systemd starts it."""

    def __init__(self, folder: Path, heard: Heard, database: str, **monitor: object) -> None:
        self.log = folder / "log.txt"
        settings = {
            "database": database,
            "data_dir": str(folder / "data"),
            "journal": {"min_free_bytes": 0, "min_free_percent": 0},
            "monitor": {"listen": "", "sample_interval": 0.5, **monitor},
        }
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(settings))
        self.environment = os.environ | {
            "NOTIFY_SOCKET": heard.address,
            "WATCHDOG_USEC": "2000000",
        }
        self.process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        command = [sys.executable, str(ROOT / "twitterstream.py"), "--config", str(self.config)]
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, "collect", stdout=log, stderr=log, env=self.environment
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        print(self.log.read_text()[-20_000:])  # noqa: T201 - shown when the test fails

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(90):
            return await self.process.wait()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Heard]:
    made = Heard(str(tmp_path / "notify"))
    yield made
    made.close()


async def test_the_program_says_how_it_goes_from_start_to_stop(
    database: str, systemd: Heard, tmp_path: Path, eventually: Eventually
) -> None:
    port = free_port()
    async with Daemon(tmp_path, systemd, database, listen=f"127.0.0.1:{port}") as daemon:
        await eventually(lambda: "READY=1" in systemd.all())
        await eventually(lambda: systemd.all().count("WATCHDOG=1") >= 3)
        await eventually(
            lambda: any(line.startswith("STATUS=0 tweets since") for line in systemd.all())
        )

        def read(path: str) -> tuple[int, bytes]:
            with contextlib.closing(urlopen(f"http://127.0.0.1:{port}{path}")) as answer:
                return answer.status, answer.read()

        status, body = await asyncio.to_thread(read, "/health/ready")
        assert (status, json.loads(body)["ok"]) == (200, True)
        status, body = await asyncio.to_thread(read, "/metrics")
        assert b"twitterstream_database_up 1.0" in body
        assert "STOPPING=1" not in systemd.all()
        assert await daemon.stop() == 0
    assert "STOPPING=1" in systemd.all()
    assert systemd.lines.index("READY=1") < systemd.lines.index("STOPPING=1")


async def test_a_start_without_postgres_is_ready_and_says_what_it_waits_for(
    systemd: Heard, tmp_path: Path, eventually: Eventually
) -> None:
    async with Daemon(tmp_path, systemd, NOBODY) as daemon:
        await eventually(lambda: "READY=1" in systemd.all())
        await eventually(
            lambda: any(line.startswith("STATUS=Waiting for Postgres") for line in systemd.all())
        )
        await eventually(lambda: systemd.all().count("WATCHDOG=1") >= 2)
        assert await daemon.stop() == 0
    assert "STOPPING=1" in systemd.all()
    assert "s3cr3t" not in "".join(systemd.lines)


async def test_a_schema_that_does_not_fit_is_never_ready(
    empty_database: Callable[[], str], systemd: Heard, tmp_path: Path
) -> None:
    async with Daemon(tmp_path, systemd, empty_database()) as daemon:
        assert daemon.process is not None
        async with asyncio.timeout(60):
            assert await daemon.process.wait() == 1
    assert "READY=1" not in systemd.all()
