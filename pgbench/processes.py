"""Processes of a run: started, watched, and ended with it."""

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
LOOK = 0.1  # seconds between two looks at the memory
END_WITHIN = 20  # seconds


@contextlib.asynccontextmanager
async def running(name: str, arguments: Sequence[str], log: Path) -> AsyncIterator[int]:
    """A Python program of ours while inside; gives its process id. RuntimeError if it fails."""
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
    """Wait until somebody answers on this port of ours."""
    async with asyncio.timeout(END_WITHIN):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(LOOK)


async def _start(arguments: Sequence[str], log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as said:
        return await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=said, stderr=said, cwd=ROOT, env=dict(os.environ)
        )


def _failure(name: str, child: asyncio.subprocess.Process, log: Path) -> RuntimeError:
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    return RuntimeError(f"{name} ended with {child.returncode}: {tail}")


async def memory(pid: int, samples: list[int]) -> None:
    """Note the resident bytes of a process, again and again, until cancelled."""
    process = psutil.Process(pid)
    while True:
        samples.append(process.memory_info().rss)
        await asyncio.sleep(LOOK)


def cpu_seconds(pid: int) -> float:
    """What a process has used of the processor so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
