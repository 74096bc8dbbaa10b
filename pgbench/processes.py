"""Starts, observes and ends the processes of a run."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
POLL = 0.1  # seconds
END_WITHIN = 20  # seconds


@contextlib.asynccontextmanager
async def running(name: str, arguments: Sequence[str], log: Path) -> AsyncIterator[int]:
    """Run a Python program inside the `async with`; yields its pid. RuntimeError if it fails."""
    child = await _start(arguments, log)
    try:
        yield child.pid
    finally:
        if child.returncode is not None:
            raise _failure(name, child, log)
        child.send_signal(signal.SIGINT)
        async with asyncio.timeout(END_WITHIN):
            await child.wait()


async def ended(name: str, arguments: Sequence[str], log: Path) -> None:
    """Run a Python program to its end. RuntimeError if it fails."""
    child = await _start(arguments, log)
    try:
        await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode:
        raise _failure(name, child, log)


async def listening(port: int) -> None:
    """Wait until a program listens on this local port."""
    async with asyncio.timeout(END_WITHIN):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(POLL)


async def _start(arguments: Sequence[str], log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as said:
        return await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=said, stderr=said, cwd=ROOT, env=dict(os.environ)
        )


def _failure(name: str, child: asyncio.subprocess.Process, log: Path) -> RuntimeError:
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    return RuntimeError(f"{name} ended with {child.returncode}: {tail}")


async def memory(pid: int, samples: list[int]) -> None:
    """Sample the resident bytes of a process until cancelled."""
    process = psutil.Process(pid)
    while True:
        samples.append(process.memory_info().rss)
        await asyncio.sleep(POLL)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
