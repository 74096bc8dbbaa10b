"""The daemon under test of `prove`: started again whenever it ends, and killed on demand."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Self

PROGRAM = Path(__file__).resolve().parents[2] / "twitterstream.py"
OUTAGE = 6.0  # seconds, longer than a connection may be silent


class DaemonUnderTest:
    """The daemon, started again whenever it ends, as systemd would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._held = asyncio.Event()  # set: it may run
        self._held.set()
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.create_task(self._supervise(), name="daemon under test")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._supervisor is not None
        self._supervisor.cancel()
        await asyncio.wait([self._supervisor])
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            await self._process.wait()

    async def _supervise(self) -> None:
        with (self._folder / "collect.log").open("ab") as log:
            while True:
                await self._held.wait()
                self._process = await asyncio.create_subprocess_exec(
                    *self._command("collect"), stdout=log, stderr=log
                )
                await self._process.wait()

    def _command(self, *arguments: str) -> list[str]:
        config = f"--config={self._folder / 'config.yaml'}"
        return [sys.executable, str(PROGRAM), config, *arguments]

    async def run(self, *arguments: str, given: str = "") -> str | None:
        """The output of another command; None when it fails, as while the database is away."""
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate(given.encode())
        return output.decode() if process.returncode == 0 else None

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def kill_postgres(self) -> None:
        """Kill the server process of the embedded Postgres, if it runs at this moment."""
        with contextlib.suppress(OSError, ValueError):
            path = self._folder / "data" / "postgres" / "cluster" / "postmaster.pid"
            os.kill(int(path.read_text(encoding="utf-8").split("\n")[0]), signal.SIGKILL)

    async def outage(self) -> None:
        """Keep it from running for longer than a connection lasts without data."""
        self._held.clear()
        await self.kill()
        await asyncio.sleep(OUTAGE)
        self._held.set()
