"""Run a short command, and look after the processes of the embedded server."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import psutil

POLL = 0.01  # seconds
COMMAND_TIMEOUT = 600.0  # seconds for one command; initdb on a slow disk takes half a minute
KILL_TIMEOUT = 5.0  # seconds for a killed command to end
TIMED_OUT = 124  # exit code of a command that took too long, as of timeout(1)


class Result(NamedTuple):
    """Exit code and output of a command."""

    code: int
    output: str


async def run(command: Sequence[str], text: str = "", limit: float = COMMAND_TIMEOUT) -> Result:
    """Run to the end, `text` as its input. Cancelled, or too slow, it takes the command with it.

    The environment is bare, so that no PGHOST or PGOPTIONS of the caller's misleads the server, and
    it starts in /, since the server's account may not be able to enter where we are. A program that
    is not installed counts as one that failed.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as output:
        given.write(text.encode())
        given.seek(0)
        try:
            child = _start(command, given, output)
        except OSError as error:
            return Result(127, f"{command[0]}: {error.strerror}")
        try:
            # Asked, not announced: the loop has been seen to miss the end of a child, and then a
            # start would wait for ever.
            async with asyncio.timeout(limit):
                while (code := child.poll()) is None:  # noqa: ASYNC110
                    await asyncio.sleep(POLL)
        except (asyncio.CancelledError, TimeoutError) as error:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # initdb has children that would go on
            with suppress(subprocess.TimeoutExpired):  # one that hangs in a call to the kernel
                child.wait(KILL_TIMEOUT)
            if isinstance(error, TimeoutError):
                return Result(TIMED_OUT, f"{command[0]}: did not end within {limit:g} s")
            raise
        output.seek(0)
        return Result(code, output.read().decode(errors="replace").strip())


def _start(command: Sequence[str], given: IO[bytes], output: IO[bytes]) -> subprocess.Popen[bytes]:
    # Files, not pipes: the server that pg_ctl leaves behind may hold a pipe open for ever.
    return subprocess.Popen(  # noqa: S603 - programs of the wheel
        command,
        stdin=given,
        stdout=output,
        stderr=output,
        start_new_session=True,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
    )


def postmaster(cluster: Path) -> psutil.Process | None:
    """The living server of this cluster, if there is one.

    postmaster.pid alone proves nothing: after a crash or a reboot its number may be reused.
    """
    with suppress(OSError, ValueError, IndexError, psutil.Error):
        found = psutil.Process(int((cluster / "postmaster.pid").read_text().splitlines()[0]))
        if Path(found.cwd()) == cluster:
            return found
    return None


def processes_in(cluster: Path) -> list[psutil.Process]:
    """Every server process of this cluster, also those whose parent was killed."""
    found = []
    for each in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if each.name() == "postgres" and Path(each.cwd()) == cluster:
                found.append(each)
    return found


async def gone(processes: Sequence[psutil.Process], within: float) -> bool:
    """Wait until all have ended; False if some have not after `within` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while not all(map(_ended, processes)):  # noqa: ASYNC110  # theirs to end
                await asyncio.sleep(POLL)
    return all(map(_ended, processes))


def _ended(process: psutil.Process) -> bool:
    # As process 1 of a container we inherit the server. Unreaped it would stay as a zombie, and the
    # next server would take it for a living one.
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def end(processes: Sequence[psutil.Process], steps: Sequence[tuple[int, float]]) -> bool:
    """Send one signal after the other, and wait for the seconds of each."""
    for number, seconds in steps:
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.send_signal(signal.Signals(number))
        if await gone(processes, seconds):
            return True
    return False
