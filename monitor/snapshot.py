"""The types of a snapshot: machine, process, sources, commits, Postgres and jobs at one moment.

The border between measuring and everything that uses it: alerts, /metrics, health, machine_minutes.
Counters count from the start of the daemon; a rate needs two snapshots.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from stream.cluster import Cluster
from stream.daemon_report import BusReport, LaneReport
from stream.files import Disk

VolumeName = Literal["data", "journal", "postgres", "archive"]


class Volume(msgspec.Struct, frozen=True):
    """A file system in use; several names may be the same one."""

    name: VolumeName
    path: str
    device: int  # the same for two names on one file system
    total: int  # bytes
    used: int
    free: int  # for this program, without what is reserved for root

    @property
    def free_percent(self) -> float:
        """Free space as a percentage of what this program could use."""
        return Disk(self.total, self.used, self.free).free_percent


class Machine(msgspec.Struct, frozen=True):
    """The machine as a whole."""

    cpu_percent: float  # of all cores, since the last snapshot
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
    """Measurements of this process."""

    memory: int  # bytes, resident
    cpu_percent: float  # of one core, since the last snapshot
    files: int  # open descriptors
    files_limit: int
    loop_lag: float  # seconds, the longest that the event loop was blocked since the last snapshot
    started_at: float  # seconds since 1970
    clock_jump: float = 0.0  # seconds by which the clock was changed since the last snapshot


class SourceSnapshot(msgspec.Struct, frozen=True):
    """One source, as seen by this daemon."""

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
    losses: Mapping[str, int]  # interruptions, by cause
    outcomes: Mapping[str, int]  # frames, by outcome
    rejects: Mapping[str, int]  # by reason
    journal_bytes: int  # on disk
    why_journal_full: str | None  # why nothing can be appended
    lag_bytes: int  # in the journal, not yet in Postgres
    lag_seconds: float  # how long the oldest of these has waited
    away_since: float | None  # seconds since 1970; since when Postgres does not answer its writer
    gap_seconds_today: float  # since midnight UTC, including the open gap
    not_in_force: str = ""  # which part of the plan the network has not applied
    clock_corrections: int = 0  # times since the start that the time of its frames was corrected
    journal_damaged: int = 0  # damaged places found since the start
    writer_stalled: float = 0.0  # seconds without progress of the position, while frames wait
    code: str = ""  # the kind of failure behind the state; see errors.FailureCode
    bus_failing: str = ""  # with a bus: why that does not take what was collected
    resent: int = 0  # with a bus: times that blocks were sent again

    @property
    def works(self) -> bool:
        """Whether it is collected, or tried again by itself, here or by another daemon."""
        return self.standing_by or (self.collecting and self.state not in ("failed", "paused"))


class Commits(msgspec.Struct, frozen=True):
    """The commits of all writers since the last snapshot; None where there were none."""

    number: int
    batch_frames: float | None  # mean
    p50: float | None  # seconds from received to committed
    p99: float | None


class DatabaseSnapshot(msgspec.Struct, frozen=True):
    """Postgres, if it answered; sizes are read rarely, and the last ones stay."""

    up: bool
    error: str  # why not
    since: float  # up, or not up, since; seconds since 1970
    size: int | None  # bytes
    tables: Mapping[str, int]  # bytes with indexes; partitions are added up
    partitions: int | None
    days_ahead: int | None  # how many days after today have partitions, without a hole
    connections: int | None
    connections_max: int | None
    oldest_transaction: float | None  # seconds
    standby_bytes: Mapping[str, int] = {}  # how far each standby is behind
    standby_seconds: Mapping[str, float] = {}


class JobSnapshot(msgspec.Struct, frozen=True):
    """The last run of one of the monitor's jobs."""

    name: str
    ran_at: float | None  # seconds since 1970
    done_at: float | None
    took: float  # seconds
    failed: str | None
    failing_since: float | None


class SinkSnapshot(msgspec.Struct, frozen=True):
    """A sink that this daemon runs."""

    name: str
    reason: str  # why it fails; empty: it does not
    remedy: str
    late_since: float | None  # seconds since 1970; tweets have waited since then


class WebhookSnapshot(msgspec.Struct, frozen=True):
    """A webhook that this daemon serves; what it has counted since it began to."""

    id: int
    state: str  # as in webhooks.state
    delivered: int  # messages
    failed: int  # tries
    given_up: int  # messages
    waiting_since: float | None  # seconds since 1970: of the oldest tweet that waits


class Snapshot(msgspec.Struct, frozen=True):
    """Everything that the monitor measures, at one moment."""

    at: float  # seconds since 1970
    host: str
    version: str
    leads: bool  # this daemon does the work that concerns all daemons of the database
    machine: Machine
    process: Process
    sources: tuple[SourceSnapshot, ...]
    commits: Commits
    database: DatabaseSnapshot
    jobs: tuple[JobSnapshot, ...]
    tracks: Mapping[str, int]  # number by state
    sinks: tuple[SinkSnapshot, ...] = ()
    webhooks: tuple[WebhookSnapshot, ...] = ()
    # With several machines; see stream/daemon_report.py.
    name: str = ""  # of this daemon: the machine, and its roles unless it has all of them
    reports_machine: bool = True  # of several daemons on a machine one does, its disks and load
    lanes: tuple[LaneReport, ...] = ()  # that this daemon stores
    bus: BusReport | None = None
    cluster: Cluster | None = None  # all machines; of the newest snapshot only
