"""The simulated networks of `prove`: how each is started, and how it can fail."""

import asyncio
import contextlib
import json
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import aiohttp
import msgspec

from stream.commands.prove_daemon import PROGRAM
from stream.tweet import NetworkName

WORD = "completeness"
TIME_SCALE = 1 / 60  # of Mastodon: its limits count pages in windows of 15 minutes
SILENCE_TIMEOUT = 3  # seconds
MODE_SECONDS = 5.0  # longer than that

Fault = tuple[str, Callable[[], Awaitable[None]]]


class Failures(msgspec.Struct, frozen=True):
    """How a network can fail: descriptions with the simulator's names of the faults.

    `once`: what happens to an open or the next connection; `modes`: how a host can be for some
    seconds, on new connections if `reconnects`; `lasting`: armed all the time.
    """

    once: Mapping[str, str]
    modes: Mapping[str, str]
    reconnects: bool = True
    lasting: Sequence[str] = ()


class SimulatedNetwork(msgspec.Struct, frozen=True):
    """What `prove` needs to know of a network."""

    hosts: int
    rate: float  # posts per second, unless the user chooses another
    failures: Failures
    settings: Callable[[Sequence[str]], dict[str, object]]  # of the daemon, by the hosts
    source_needs_url: bool
    simulate: Sequence[str] = ()  # more arguments
    secrets: str = ""


def _bluesky_settings(hosts: Sequence[str]) -> dict[str, object]:
    return {"hosts": list(hosts), "old_hosts": [], "silence_timeout": SILENCE_TIMEOUT}


def _mastodon_settings(hosts: Sequence[str]) -> dict[str, object]:
    del hosts
    # The simulated server alone limits requests: its windows are shorter than the program's.
    return {
        "silence_timeout": SILENCE_TIMEOUT,
        "connect_attempts": 10_000,
        "max_refill_pages": 10_000,
        "max_deletion_lookups": 10_000,
    }


NETWORKS: Mapping[NetworkName, SimulatedNetwork] = {
    "bluesky": SimulatedNetwork(
        hosts=2,
        rate=50,
        failures=Failures(
            once={
                "the host closed the connection without a word": "close-1006",
                "the host shut down": "close-1001",
                "the host called the program too slow": "close-1008",
                "the dictionary of the compression changed": "dictionary-change",
            },
            modes={
                "the host was silent": "silent-host",
                "the host did not know the v2 wire": "v1-only",
            },
            lasting=("edits", "deletes"),
        ),
        settings=_bluesky_settings,
        source_needs_url=False,
    ),
    "mastodon": SimulatedNetwork(
        hosts=1,
        rate=20,
        failures=Failures(
            once={
                "the server closed the connection": "close",
                "the connection was reset": "reset",
                "the open connection fell silent for good": "half-open",
                "the server refused a connection with 503": "503",
                "the server limited connections": "429-rate",
                "the server closed a connection before the first byte": "accept-close",
            },
            modes={
                "the server was silent": "silence",
                "the server refused requests for pages": "paging-429",
            },
            reconnects=False,
            lasting=("edits", "deletes"),
        ),
        settings=_mastodon_settings,
        source_needs_url=True,
        simulate=(f"--time-scale={TIME_SCALE}",),
        secrets="access_token: simulated",
    ),
}


class NetworkControl:
    """The API that controls the simulated network."""

    def __init__(
        self, session: aiohttp.ClientSession, name: NetworkName, ports: Sequence[int]
    ) -> None:
        self.name = name
        self.profile = NETWORKS[name]
        self.url = f"http://127.0.0.1:{ports[0]}"
        self._session = session

    async def get(self, path: str) -> dict[str, object]:
        async with self._session.get(self.url + path) as response:
            found: dict[str, object] = await response.json()
            return found

    async def post(self, path: str, body: object) -> None:
        async with self._session.post(self.url + path, json=body) as response:
            response.raise_for_status()

    async def delete(self, path: str) -> None:
        async with self._session.delete(self.url + path) as response:
            response.raise_for_status()

    async def names(self, path: str, name: str) -> set[str]:
        found = (await self.get(path))[name]
        assert isinstance(found, list)
        return set(found)

    async def count(self, name: str) -> int:
        found = (await self.get("/sim/status"))[name]
        return len(found) if isinstance(found, list) else int(str(found))

    async def is_answering(self) -> bool:
        try:
            await self.get("/sim/status")
        except aiohttp.ClientError:
            return False
        return True

    async def arm(self, fault: str, number: int | None = None) -> None:
        await self.post("/sim/faults", {"fault": fault, "n": number})

    def faults(self, chance: random.Random) -> list[Fault]:
        """What can happen to the network, each with its description."""
        failures = self.profile.failures

        async def change_mode(fault: str) -> None:
            await self.arm(fault, chance.randrange(self.profile.hosts))
            if failures.reconnects:
                await self.post("/sim/disconnect?torn=1", None)
            await asyncio.sleep(MODE_SECONDS)
            await self.delete(f"/sim/faults/{fault}")

        return [
            *((what, partial(self.arm, fault)) for what, fault in failures.once.items()),
            *((what, partial(change_mode, fault)) for what, fault in failures.modes.items()),
        ]


@contextlib.asynccontextmanager
async def simulated_network(
    name: NetworkName, folder: Path, seed: int
) -> AsyncIterator[NetworkControl]:
    """Run a simulated network, and write the daemon's settings for it into `folder`."""
    profile = NETWORKS[name]
    ports = _free_ports(profile.hosts)
    arguments = [
        "simulate", f"--network={name}", f"--port={ports[0]}", f"--hosts={profile.hosts}",
        f"--seed={seed}", f"--words={WORD}", "--words-every=2", "--rate=1", *profile.simulate,
    ]  # fmt: skip
    settings = {
        "data_dir": str(folder / "data"),
        "journal": {"min_free_bytes": 0, "min_free_percent": 0},
        "monitor": {"listen": ""},
        name: profile.settings([f"ws://127.0.0.1:{port}" for port in ports]),
    }
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, PROGRAM, *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession() as session:
            yield NetworkControl(session, name, ports)
    finally:
        process.kill()
        await process.wait()


def _free_ports(number: int) -> Sequence[int]:
    """Some adjacent free ports."""
    while True:
        with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
            first = opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            ports = range(first, first + number)
            for port in ports[1:]:
                opened.enter_context(socket.create_server(("127.0.0.1", port)))
            return ports
