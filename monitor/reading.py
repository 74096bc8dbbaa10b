"""What one look at the machine, the process, the pipeline and Postgres found.

The border between measuring and everything that uses it: alerts, /metrics, health, machine_minutes.
Whatever counts up does so since the daemon started; who wants a rate takes two readings.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

VolumeName = Literal["data", "journal", "postgres", "archive"]


class Volume(msgspec.Struct, frozen=True):
    """A file system that we use; several names may be one."""

    name: VolumeName
    path: str
    device: int  # the same for two names on one file system
    total: int  # bytes
    used: int
    free: int  # for us, without what is reserved for root

    @property
    def free_percent(self) -> float:
        """Of what we could ever have."""
        usable = self.used + self.free
        return 100.0 * self.free / usable if usable else 0.0


class Machine(msgspec.Struct, frozen=True):
    """The machine as a whole."""

    cpu_percent: float  # of all cores, since the last reading
    cores: int
    load: float  # over one minute
    memory_total: int  # bytes
    memory_used: int
    network_received: int  # bytes since boot, all interfaces but loopback
    network_sent: int
    volumes: tuple[Volume, ...]

    @property
    def memory_percent(self) -> float:
        return 100.0 * self.memory_used / self.memory_total


class Process(msgspec.Struct, frozen=True):
    """This process."""

    memory: int  # bytes, resident
    cpu_percent: float  # of one core, since the last reading
    files: int  # open descriptors
    files_limit: int
    loop_lag: float  # seconds that the event loop was held up, the worst since the last reading
    started_at: float  # seconds since 1970


class SourceReading(msgspec.Struct, frozen=True):
    """One source, as this daemon sees it."""

    id: int
    name: str
    network: str
    enabled: bool
    collecting: bool  # by this daemon
    standing_by: bool  # another daemon collects
    state: str  # as in sources.state
    reason: str
    state_since: float  # seconds since 1970
    until: float | None  # waiting or paused until then
    last_byte: float | None  # seconds since 1970
    bytes: int
    frames: int
    attempts: int
    attempts_left: int | None  # of the network's budget, now
    losses: Mapping[str, int]  # interruptions by cause
    outcomes: Mapping[str, int]  # frames by what became of them
    rejects: Mapping[str, int]  # by reason
    journal_bytes: int  # on disk
    journal_room: str | None  # why nothing may be appended
    lag_bytes: int  # in the journal, not yet in Postgres
    lag_seconds: float  # how long the oldest of these waits
    away_since: float | None  # seconds since 1970: Postgres does not answer its writer
    gap_seconds_today: float  # since midnight UTC, the open gap included
    code: str = ""  # which kind of failure the state comes from; see errors.FailureCode


class Commits(msgspec.Struct, frozen=True):
    """The commits since the last reading, of all writers; None where there was none."""

    number: int
    batch_frames: float | None  # mean
    p50: float | None  # seconds from received to committed
    p99: float | None


class DatabaseReading(msgspec.Struct, frozen=True):
    """Postgres, as far as it answered; sizes are looked up rarely, and the last ones stay."""

    up: bool
    error: str  # why not
    since: float  # up, or not up, since; seconds since 1970
    size: int | None  # bytes
    tables: Mapping[str, int]  # bytes with indexes; partitions are added up
    partitions: int | None
    days_ahead: int | None  # partitions of so many days after today are there, without a hole
    connections: int | None
    connections_max: int | None
    oldest_transaction: float | None  # seconds


class ChoreReading(msgspec.Struct, frozen=True):
    """How one of the monitor's own chores goes."""

    name: str
    ran_at: float | None  # seconds since 1970
    done_at: float | None
    took: float  # seconds
    failed: str | None
    failing_since: float | None


class Reading(msgspec.Struct, frozen=True):
    """All of it, at one moment."""

    at: float  # seconds since 1970
    host: str
    version: str
    leads: bool  # this daemon does what concerns all daemons of the database
    machine: Machine
    process: Process
    sources: tuple[SourceReading, ...]
    commits: Commits
    database: DatabaseReading
    chores: tuple[ChoreReading, ...]
    tracks: Mapping[str, int]  # number by state
