"""What each metric is called, what it means, and where in a Reading it stands.

Base units only: seconds, bytes, ratios. Labels come from closed sets and from names that an
administrator gave (sources); there is none for each track, of which there may be thousands.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec

from monitor.reading import ChoreReading, Reading, SourceReading, Volume
from stream.tweet import SourceState

Kind = Literal["gauge", "counter"]
Value: TypeAlias = float | None  # None: not known, so it is left out
Sample: TypeAlias = tuple[tuple[str, ...], Value]  # the values of the labels come first
STATES: tuple[SourceState, ...] = get_args(SourceState)


class Family(msgspec.Struct, frozen=True):
    """One metric. The name is without `twitterstream_`, and a counter's without `_total`."""

    kind: Kind
    name: str
    text: str
    labels: tuple[str, ...]
    samples: Callable[[Reading], Iterable[Sample]]


def _plain(kind: Kind, name: str, text: str, value: Callable[[Reading], Value]) -> Family:
    return Family(kind, name, text, (), lambda reading: [((), value(reading))])


def _source(kind: Kind, name: str, text: str, value: Callable[[SourceReading], Value]) -> Family:
    def samples(reading: Reading) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in reading.sources]

    return Family(kind, f"source_{name}", text, ("source",), samples)


def _source_counts(
    name: str, label: str, text: str, counts: Callable[[SourceReading], Mapping[str, int]]
) -> Family:
    def samples(reading: Reading) -> Iterable[Sample]:
        for each in reading.sources:
            for key, number in counts(each).items():
                yield (each.name, key), number

    return Family("counter", f"source_{name}", text, ("source", label), samples)


def _volume(name: str, text: str, value: Callable[[Volume], Value]) -> Family:
    def samples(reading: Reading) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in reading.machine.volumes]

    return Family("gauge", f"volume_{name}", text, ("volume",), samples)


def _chore(name: str, text: str, value: Callable[[ChoreReading], Value]) -> Family:
    def samples(reading: Reading) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in reading.chores]

    return Family("gauge", f"chore_{name}", text, ("chore",), samples)


def _named(
    name: str, label: str, text: str, numbers: Callable[[Reading], Mapping[str, int]]
) -> Family:
    def samples(reading: Reading) -> Iterable[Sample]:
        return [((key,), number) for key, number in numbers(reading).items()]

    return Family("gauge", name, text, (label,), samples)


def _states(reading: Reading) -> Iterable[Sample]:
    for each in reading.sources:
        for state in STATES:
            yield (each.name, state), each.state == state


def _delays(reading: Reading) -> Iterable[Sample]:
    return [(("50",), reading.commits.p50), (("99",), reading.commits.p99)]


_DAEMON = (
    _plain("gauge", "reading_timestamp_seconds", "When all of this was measured.", lambda r: r.at),
    _plain("gauge", "leader", "1: this daemon does what concerns all daemons.", lambda r: r.leads),
    _plain(
        "gauge",
        "process_start_time_seconds",
        "When this daemon started.",
        lambda r: r.process.started_at,
    ),
    _plain(
        "gauge",
        "process_resident_memory_bytes",
        "Memory of this process.",
        lambda r: r.process.memory,
    ),
    _plain("gauge", "process_cpu_ratio", "Use of one core.", lambda r: r.process.cpu_percent / 100),
    _plain("gauge", "process_open_files", "Open descriptors.", lambda r: r.process.files),
    _plain(
        "gauge",
        "process_open_files_limit",
        "Descriptors it may have.",
        lambda r: r.process.files_limit,
    ),
    _plain(
        "gauge",
        "event_loop_lag_seconds",
        "Worst delay of the event loop.",
        lambda r: r.process.loop_lag,
    ),
)

_MACHINE = (
    _plain(
        "gauge",
        "machine_cpu_ratio",
        "Use of all cores together.",
        lambda r: r.machine.cpu_percent / 100,
    ),
    _plain("gauge", "machine_cores", "Cores of the machine.", lambda r: r.machine.cores),
    _plain("gauge", "machine_load", "Processes that run or wait.", lambda r: r.machine.load),
    _plain(
        "gauge", "machine_memory_bytes", "Memory of the machine.", lambda r: r.machine.memory_total
    ),
    _plain("gauge", "machine_memory_used_bytes", "Of it, in use.", lambda r: r.machine.memory_used),
    _plain(
        "counter",
        "machine_network_received_bytes",
        "All interfaces.",
        lambda r: r.machine.network_received,
    ),
    _plain(
        "counter", "machine_network_sent_bytes", "All interfaces.", lambda r: r.machine.network_sent
    ),
    _volume("size_bytes", "Size of the file system.", lambda v: v.total),
    _volume("used_bytes", "Of it, in use.", lambda v: v.used),
    _volume("free_bytes", "Of it, free for this program.", lambda v: v.free),
    _volume("free_ratio", "Share that is free.", lambda v: v.free_percent / 100),
)

_SOURCES = (
    Family("gauge", "source_state", "1 for the state that it is in.", ("source", "state"), _states),
    _source("gauge", "enabled", "1: shall be collected.", lambda s: s.enabled),
    _source("gauge", "collecting", "1: by this daemon.", lambda s: s.collecting),
    _source("gauge", "standing_by", "1: another daemon collects it.", lambda s: s.standing_by),
    _source(
        "gauge", "state_since_timestamp_seconds", "In its state since.", lambda s: s.state_since
    ),
    _source("gauge", "retry_timestamp_seconds", "Waits or pauses until.", lambda s: s.until),
    _source("gauge", "last_byte_timestamp_seconds", "The last byte came.", lambda s: s.last_byte),
    _source("counter", "received_bytes", "Bytes that came.", lambda s: s.bytes),
    _source("counter", "frames", "Messages that came.", lambda s: s.frames),
    _source("counter", "attempts", "Attempts to connect.", lambda s: s.attempts),
    _source(
        "gauge",
        "attempts_left",
        "Attempts that the network still allows.",
        lambda s: s.attempts_left,
    ),
    _source_counts("interruptions", "reason", "Interruptions of delivery.", lambda s: s.losses),
    _source_counts("outcomes", "outcome", "What became of the frames.", lambda s: s.outcomes),
    _source_counts("rejects", "reason", "Frames that could not be stored.", lambda s: s.rejects),
    _source(
        "gauge",
        "gap_today_seconds",
        "Without delivery since midnight UTC.",
        lambda s: s.gap_seconds_today,
    ),
    _source("gauge", "journal_bytes", "Disk that the journal takes.", lambda s: s.journal_bytes),
    _source(
        "gauge", "journal_full", "1: nothing may be appended.", lambda s: s.journal_room is not None
    ),
    _source(
        "gauge", "journal_lag_bytes", "In the journal, not yet in Postgres.", lambda s: s.lag_bytes
    ),
    _source(
        "gauge", "journal_lag_seconds", "How long the oldest of it waits.", lambda s: s.lag_seconds
    ),
)

_DATABASE = (
    Family(
        "gauge", "commit_delay_seconds", "From received to committed.", ("percentile",), _delays
    ),
    _plain("gauge", "batch_frames", "Mean frames of a commit.", lambda r: r.commits.batch_frames),
    _plain("gauge", "database_up", "1: Postgres answers.", lambda r: r.database.up),
    _plain(
        "gauge",
        "database_since_timestamp_seconds",
        "Up or not up since.",
        lambda r: r.database.since,
    ),
    _plain("gauge", "database_size_bytes", "Size of the database.", lambda r: r.database.size),
    _named(
        "table_size_bytes",
        "table",
        "Size with indexes and partitions.",
        lambda r: r.database.tables,
    ),
    _plain("gauge", "partitions", "Partitions that there are.", lambda r: r.database.partitions),
    _plain("gauge", "partitions_ahead", "Made ahead, a day each.", lambda r: r.database.days_ahead),
    _plain(
        "gauge",
        "database_connections",
        "Connections, of all users.",
        lambda r: r.database.connections,
    ),
    _plain(
        "gauge", "database_connections_limit", "Of so many.", lambda r: r.database.connections_max
    ),
    _plain(
        "gauge", "oldest_transaction_seconds", "Its age.", lambda r: r.database.oldest_transaction
    ),
)

_CHORES = (
    _chore("run_timestamp_seconds", "When it ran last.", lambda c: c.ran_at),
    _chore("success_timestamp_seconds", "When it went well last.", lambda c: c.done_at),
    _chore("duration_seconds", "How long the last run took.", lambda c: c.took),
    _chore("failed", "1: the last run did not go well.", lambda c: c.failed is not None),
    _named("tracks", "state", "Tracks in this state.", lambda r: r.tracks),
)

FAMILIES: Sequence[Family] = (*_DAEMON, *_MACHINE, *_SOURCES, *_DATABASE, *_CHORES)
