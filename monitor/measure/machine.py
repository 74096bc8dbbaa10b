"""The machine, this process, and how long its event loop is held up."""

import asyncio
import os
import resource
import time

import msgspec
import psutil

from monitor.aside import Aside
from monitor.measure.volumes import PATIENCE, Volumes
from monitor.reading import Machine, Process

LOOPBACK = ("lo", "lo0")
TICK = 0.25  # seconds between two looks at the event loop


class LoopLag:
    """Measures how late the event loop wakes up whom it should wake."""

    def __init__(self) -> None:
        self._worst = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + TICK
            await asyncio.sleep(TICK)
            self._worst = max(self._worst, time.monotonic() - due)

    def take(self) -> float:
        """Seconds, the worst since the last time somebody asked."""
        worst, self._worst = self._worst, 0.0
        return worst


class _Busy(msgspec.Struct, frozen=True):
    """Seconds of work since the start of the machine, or of the process."""

    machine: float
    idle: float
    process: float
    at: float  # monotonic


class _Look(msgspec.Struct, frozen=True):
    """What the kernel says at one moment."""

    busy: _Busy
    load: float
    memory_total: int
    memory_used: int
    received: int
    sent: int
    resident: int
    files: int
    files_limit: int


class MachineProbe:
    """Looks at machine and process; percentages are those since the last look."""

    def __init__(self, volumes: Volumes) -> None:
        self.volumes = volumes
        self.lag = LoopLag()
        self._process = psutil.Process()
        self._started_at = self._process.create_time()
        self._kernel = Aside("machine")
        self._before = self._busy()

    async def look(self) -> tuple[Machine, Process]:
        look = await self._kernel.do(self._ask, PATIENCE)
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
        )

    def _ask(self) -> _Look:
        memory = psutil.virtual_memory()
        wires = psutil.net_io_counters(pernic=True)
        outside = [wire for name, wire in wires.items() if name not in LOOPBACK]
        return _Look(
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

    def _busy(self) -> _Busy:
        # psutil's own percentages are kept by thread, and each of our looks has another one.
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # A guest's time is part of the user's time already.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        own = self._process.cpu_times()
        return _Busy(sum(times) - guests - idle, idle, own.user + own.system, time.monotonic())


def _percent(before: _Busy, now: _Busy) -> tuple[float, float]:
    """Of the machine, and of one core by this process."""
    busy, idle = now.machine - before.machine, now.idle - before.idle
    machine = 100.0 * busy / (busy + idle) if busy + idle > 0 else 0.0
    seconds = now.at - before.at
    process = 100.0 * (now.process - before.process) / seconds if seconds > 0 else 0.0
    return min(max(machine, 0.0), 100.0), max(process, 0.0)
