"""Measure the machine, this process, its event loop, the clock, and the file systems."""

import asyncio
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import psutil

from monitor.jobs import Busy, DetachedCall
from monitor.snapshot import Machine, Process, Volume, VolumeName
from stream.config import Settings
from stream.files import disk

LOOPBACK = ("lo", "lo0")
CALL_TIMEOUT = 5.0  # seconds, for the kernel and for each volume
TICK = 0.25  # seconds between two measurements of the event loop


class LoopLag:
    """Measures how late the event loop runs what is due."""

    def __init__(self) -> None:
        self._worst = 0.0

    async def run(self) -> None:
        """Measure the machine until cancelled."""
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            self._worst = max(self._worst, time.monotonic() - due)

    def take(self) -> float:
        """The longest delay in seconds since the last call."""
        worst, self._worst = self._worst, 0.0
        return worst


class ClockJump:
    """Measures changes of the clock, against one that only counts on, also during sleep."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._before = wall() - steady()

    def take(self) -> float:
        """Seconds, forward or back, since the last call."""
        now = self._wall() - self._steady()
        jump, self._before = now - self._before, now
        return jump


class _CpuTimes(msgspec.Struct, frozen=True):
    """Seconds of processor time since the start of the machine or process."""

    machine: float
    idle: float
    process: float
    at: float  # monotonic


class _Measurement(msgspec.Struct, frozen=True):
    """A reading of the kernel's counters."""

    busy: _CpuTimes
    load: float
    memory_total: int
    memory_used: int
    received: int
    sent: int
    resident: int
    files: int
    files_limit: int


def archive_folder(url: str) -> Path | None:
    """The folder of `archive.url`; None for an object store."""
    if url.startswith("/"):
        return Path(url)
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return None


class Volumes:
    """Measures each volume separately: one that hangs is left out, without delaying the others."""

    def __init__(self, settings: Settings) -> None:
        data = Path(settings.data_dir).expanduser().resolve()
        self.embedded = data / "postgres" / "cluster"
        self._looks: dict[VolumeName, tuple[Path, DetachedCall]] = {}
        self.use("data", data)
        self.use("journal", data / "journal")
        if not settings.database:
            self.use("postgres", self.embedded)
        if (folder := archive_folder(settings.archive.url)) is not None:
            self.use("archive", folder)

    def use(self, name: VolumeName, path: Path) -> None:
        """Measure this volume as well from now on."""
        if name not in self._looks or self._looks[name][0] != path:
            self._looks[name] = path, DetachedCall(f"volume {name}")

    async def look(self) -> tuple[Volume, ...]:
        found = await asyncio.gather(
            *(_look(detached, n, p) for n, (p, detached) in self._looks.items())
        )
        return tuple(volume for volume in found if volume is not None)


async def _look(detached: DetachedCall, name: VolumeName, path: Path) -> Volume | None:
    try:
        return await detached.run(lambda: volume(name, path), CALL_TIMEOUT)
    except (OSError, Busy):
        return None


def volume(name: VolumeName, path: Path) -> Volume:
    """The file system of this path. OSError when it cannot be read."""
    there = path
    # Our own folders are created when needed; the folder of Postgres has to exist.
    while name != "postgres" and not there.exists() and there != there.parent:
        there = there.parent
    found = disk(there)
    return Volume(
        name=name,
        path=str(path),
        device=there.stat().st_dev,
        total=found.total,
        used=found.used,
        free=found.free,
    )


class MachineSampler:
    """Measures machine and process; percentages are since the last call."""

    def __init__(self, volumes: Volumes) -> None:
        self.volumes = volumes
        self.lag = LoopLag()
        self._clock = ClockJump()
        self._process = psutil.Process()
        self._started_at = self._process.create_time()
        self._kernel = DetachedCall("machine")
        self._before = self._busy()

    async def look(self) -> tuple[Machine, Process]:
        look = await self._kernel.run(self._ask, CALL_TIMEOUT)
        machine, process = _percent(self._before, look.busy)
        self._before = look.busy
        return Machine(
            cpu_percent=machine,
            cores=os.cpu_count() or 1,
            load=look.load,
            memory_total=look.memory_total,
            memory_used=look.memory_used,
            network_received=look.received,
            network_sent=look.sent,
            volumes=await self.volumes.look(),
        ), Process(
            memory=look.resident,
            cpu_percent=process,
            files=look.files,
            files_limit=look.files_limit,
            loop_lag=self.lag.take(),
            started_at=self._started_at,
            clock_jump=self._clock.take(),
        )

    def _ask(self) -> _Measurement:
        memory = psutil.virtual_memory()
        wires = psutil.net_io_counters(pernic=True)
        outside = [wire for name, wire in wires.items() if name not in LOOPBACK]
        return _Measurement(
            busy=self._busy(),
            load=os.getloadavg()[0],
            memory_total=memory.total,
            memory_used=memory.total - memory.available,
            received=sum(wire.bytes_recv for wire in outside),
            sent=sum(wire.bytes_sent for wire in outside),
            resident=self._process.memory_info().rss,
            files=self._process.num_fds(),
            files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )

    def _busy(self) -> _CpuTimes:
        # psutil keeps its own percentages per thread, and each call here has another thread.
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # The time of guests is already part of the user time.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        own = self._process.cpu_times()
        return _CpuTimes(sum(times) - guests - idle, idle, own.user + own.system, time.monotonic())


def _percent(before: _CpuTimes, now: _CpuTimes) -> tuple[float, float]:
    """Processor use of the machine, and of one core by this process."""
    busy, idle = now.machine - before.machine, now.idle - before.idle
    machine = 100.0 * busy / (busy + idle) if busy + idle > 0 else 0.0
    seconds = now.at - before.at
    process = 100.0 * (now.process - before.process) / seconds if seconds > 0 else 0.0
    return min(max(machine, 0.0), 100.0), max(process, 0.0)
