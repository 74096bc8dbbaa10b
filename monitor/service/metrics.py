"""/metrics: each metric's name, help, and value in a Snapshot, and the text for Prometheus.

Base units only: seconds, bytes, ratios. Labels come from closed sets, from names that an
administrator gave (sources), and are ids of webhooks, whose number is limited; never tracks, of
which there may be thousands.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias, get_args

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from monitor.snapshot import (
    JobSnapshot,
    SinkSnapshot,
    Snapshot,
    SourceSnapshot,
    Volume,
    WebhookSnapshot,
)
from stream import __version__
from stream.notes import SourceState
from stream.store.webhooks import State as WebhookState

PREFIX = "twitterstream_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # what generate_latest writes

Kind = Literal["gauge", "counter"]
Value: TypeAlias = float | None  # None: not known, so it is left out
OpenAlerts: TypeAlias = Sequence[tuple[str, str]]  # rule and severity of each open alert
Sample: TypeAlias = tuple[tuple[str, ...], Value]  # label values first
STATES: tuple[SourceState, ...] = get_args(SourceState)
WEBHOOK_STATES: tuple[WebhookState, ...] = get_args(WebhookState)


class Family(msgspec.Struct, frozen=True):
    """A metric. The name is without `twitterstream_`, and a counter's without `_total`."""

    kind: Kind
    name: str
    text: str
    labels: tuple[str, ...]
    samples: Callable[[Snapshot], Iterable[Sample]]


def _plain(kind: Kind, name: str, text: str, value: Callable[[Snapshot], Value]) -> Family:
    return Family(kind, name, text, (), lambda snapshot: [((), value(snapshot))])


def _source(kind: Kind, name: str, text: str, value: Callable[[SourceSnapshot], Value]) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in snapshot.sources]

    return Family(kind, f"source_{name}", text, ("source",), samples)


def _source_counts(
    name: str, label: str, text: str, counts: Callable[[SourceSnapshot], Mapping[str, int]]
) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for each in snapshot.sources:
            for key, number in counts(each).items():
                yield (each.name, key), number

    return Family("counter", f"source_{name}", text, ("source", label), samples)


def _volume(name: str, text: str, value: Callable[[Volume], Value]) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in snapshot.machine.volumes]

    return Family("gauge", f"volume_{name}", text, ("volume",), samples)


def _job(name: str, text: str, value: Callable[[JobSnapshot], Value]) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in snapshot.jobs]

    # Not `job`: Prometheus gives that label to what it scrapes.
    return Family("gauge", f"job_{name}", text, ("name",), samples)


def _sink(name: str, text: str, value: Callable[[Snapshot, SinkSnapshot], Value]) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(snapshot, each)) for each in snapshot.sinks]

    return Family("gauge", f"sink_{name}", text, ("sink",), samples)


def _webhook(
    kind: Kind, name: str, text: str, value: Callable[[Snapshot, WebhookSnapshot], Value]
) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((str(each.id),), value(snapshot, each)) for each in snapshot.webhooks]

    return Family(kind, f"webhook_{name}", text, ("webhook",), samples)


def _named(
    name: str, label: str, text: str, numbers: Callable[[Snapshot], Mapping[str, int]]
) -> Family:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((key,), number) for key, number in numbers(snapshot).items()]

    return Family("gauge", name, text, (label,), samples)


def _states(snapshot: Snapshot) -> Iterable[Sample]:
    for each in snapshot.sources:
        for state in STATES:
            yield (each.name, state), each.state == state


def _webhook_states(snapshot: Snapshot) -> Iterable[Sample]:
    for each in snapshot.webhooks:
        for state in WEBHOOK_STATES:
            yield (str(each.id), state), each.state == state


def _late_seconds(snapshot: Snapshot, since: float | None) -> float:
    return max(snapshot.at - (since or snapshot.at), 0.0)


def _delays(snapshot: Snapshot) -> Iterable[Sample]:
    return [(("50",), snapshot.commits.p50), (("99",), snapshot.commits.p99)]


_gauge, _counter = partial(_plain, "gauge"), partial(_plain, "counter")
_source_gauge, _source_counter = partial(_source, "gauge"), partial(_source, "counter")

_DAEMON = (
    _gauge("reading_timestamp_seconds", "Time of this snapshot.", lambda r: r.at),
    _gauge("leader", "1 if this daemon is the leader.", lambda r: r.leads),
    _gauge(
        "process_start_time_seconds", "Start time of this daemon.", lambda r: r.process.started_at
    ),
    _gauge(
        "process_resident_memory_bytes",
        "Resident memory of this daemon.",
        lambda r: r.process.memory,
    ),
    _gauge(
        "process_cpu_ratio",
        "Processor use of this daemon, of one core.",
        lambda r: r.process.cpu_percent / 100,
    ),
    _gauge("process_open_files", "Open file descriptors.", lambda r: r.process.files),
    _gauge(
        "process_open_files_limit",
        "Limit of open file descriptors.",
        lambda r: r.process.files_limit,
    ),
    _gauge(
        "clock_jump_seconds",
        "Change of the system clock since the last snapshot.",
        lambda r: r.process.clock_jump,
    ),
    _gauge(
        "event_loop_lag_seconds",
        "Longest delay of the event loop since the last snapshot.",
        lambda r: r.process.loop_lag,
    ),
)

_MACHINE = (
    _gauge(
        "machine_cpu_ratio",
        "Processor use of the machine, of all cores.",
        lambda r: r.machine.cpu_percent / 100,
    ),
    _gauge("machine_cores", "Processor cores.", lambda r: r.machine.cores),
    _gauge("machine_load", "Load average of one minute.", lambda r: r.machine.load),
    _gauge(
        "machine_memory_bytes", "Total memory of the machine.", lambda r: r.machine.memory_total
    ),
    _gauge(
        "machine_memory_used_bytes", "Used memory of the machine.", lambda r: r.machine.memory_used
    ),
    _counter(
        "machine_network_received_bytes",
        "Bytes received on all interfaces but loopback.",
        lambda r: r.machine.network_received,
    ),
    _counter(
        "machine_network_sent_bytes",
        "Bytes sent on all interfaces but loopback.",
        lambda r: r.machine.network_sent,
    ),
    _volume("size_bytes", "Size of the file system.", lambda v: v.total),
    _volume("used_bytes", "Used bytes of the file system.", lambda v: v.used),
    _volume("free_bytes", "Bytes available to this program.", lambda v: v.free),
    _volume("free_ratio", "Available share of the file system.", lambda v: v.free_percent / 100),
)

_SOURCES = (
    Family(
        "gauge",
        "source_state",
        "1 for the current state of the source.",
        ("source", "state"),
        _states,
    ),
    _source_gauge("enabled", "1 if the source is enabled.", lambda s: s.enabled),
    _source_gauge("collecting", "1 if this daemon collects the source.", lambda s: s.collecting),
    _source_gauge(
        "standing_by", "1 if another daemon collects the source.", lambda s: s.standing_by
    ),
    _source_gauge(
        "state_since_timestamp_seconds",
        "Time of the last change of state.",
        lambda s: s.state_since,
    ),
    _source_gauge("retry_timestamp_seconds", "Time of the next attempt.", lambda s: s.until),
    _source_gauge(
        "last_byte_timestamp_seconds", "Time of the last received byte.", lambda s: s.last_byte
    ),
    _source_counter("received_bytes", "Received bytes.", lambda s: s.bytes),
    _source_counter("frames", "Received messages.", lambda s: s.frames),
    _source_counter("attempts", "Connection attempts.", lambda s: s.attempts),
    _source_gauge(
        "attempts_left",
        "Connection attempts that the network still allows.",
        lambda s: s.attempts_left,
    ),
    _source_counts("interruptions", "reason", "Interruptions of delivery.", lambda s: s.losses),
    _source_counts("outcomes", "outcome", "Frames by outcome.", lambda s: s.outcomes),
    _source_counts("rejects", "reason", "Rejected frames by reason.", lambda s: s.rejects),
    _source_gauge(
        "gap_today_seconds",
        "Seconds without delivery since midnight UTC.",
        lambda s: s.gap_seconds_today,
    ),
    _source_gauge("journal_bytes", "Size of the journal on disk.", lambda s: s.journal_bytes),
    _source_gauge(
        "journal_full",
        "1 if nothing can be appended to the journal.",
        lambda s: s.why_journal_full is not None,
    ),
    _source_gauge(
        "journal_lag_bytes", "Bytes in the journal that are not stored yet.", lambda s: s.lag_bytes
    ),
    _source_gauge(
        "journal_lag_seconds",
        "Age of the oldest frame that is not stored yet.",
        lambda s: s.lag_seconds,
    ),
    _source_counter(
        "journal_damaged",
        "Damaged places found in the journal on the disk.",
        lambda s: s.journal_damaged,
    ),
    _source_gauge(
        "writer_stalled_seconds",
        "Seconds since the writer last made progress, while frames wait.",
        lambda s: s.writer_stalled,
    ),
)

_DATABASE = (
    Family(
        "gauge",
        "commit_delay_seconds",
        "Delay from received to committed.",
        ("percentile",),
        _delays,
    ),
    _gauge("batch_frames", "Mean number of frames in a commit.", lambda r: r.commits.batch_frames),
    _gauge("database_up", "1 if Postgres answers.", lambda r: r.database.up),
    _gauge(
        "database_since_timestamp_seconds",
        "Time of the last change of database_up.",
        lambda r: r.database.since,
    ),
    _gauge("database_size_bytes", "Size of the database.", lambda r: r.database.size),
    _named(
        "table_size_bytes",
        "table",
        "Size of a table with indexes and partitions.",
        lambda r: r.database.tables,
    ),
    _gauge("partitions", "Number of partitions.", lambda r: r.database.partitions),
    _gauge(
        "partitions_ahead",
        "Days after today that have partitions.",
        lambda r: r.database.days_ahead,
    ),
    _gauge(
        "database_connections",
        "Connections to Postgres, of all users.",
        lambda r: r.database.connections,
    ),
    _gauge(
        "database_connections_limit",
        "Limit of connections to Postgres.",
        lambda r: r.database.connections_max,
    ),
    _gauge(
        "oldest_transaction_seconds",
        "Age of the oldest transaction in the database.",
        lambda r: r.database.oldest_transaction,
    ),
)

_JOBS = (
    _job("run_timestamp_seconds", "Time of the job's last run.", lambda c: c.ran_at),
    _job("success_timestamp_seconds", "Time of the job's last success.", lambda c: c.done_at),
    _job("duration_seconds", "Duration of the job's last run.", lambda c: c.took),
    _job("failed", "1 if the job's last run failed.", lambda c: c.failed is not None),
    _named("tracks", "state", "Number of tracks by state.", lambda r: r.tracks),
)

_SINKS = (
    _sink(
        "late_seconds",
        "How long tweets have waited for the sink; 0 while none does.",
        lambda snapshot, sink: _late_seconds(snapshot, sink.late_since),
    ),
    _sink("failed", "1 if the sink fails.", lambda _, sink: bool(sink.reason)),
)

_WEBHOOKS = (
    Family(
        "gauge",
        "webhook_state",
        "1 for the current state of the webhook.",
        ("webhook", "state"),
        _webhook_states,
    ),
    _webhook("counter", "delivered", "Delivered messages.", lambda _, hook: hook.delivered),
    _webhook("counter", "failed_tries", "Tries that failed.", lambda _, hook: hook.failed),
    _webhook(
        "counter",
        "given_up",
        "Messages that were given up after 3 days.",
        lambda _, hook: hook.given_up,
    ),
    _webhook(
        "gauge",
        "late_seconds",
        "Age of the oldest tweet that waits for the webhook; 0 while none does.",
        lambda snapshot, hook: _late_seconds(snapshot, hook.waiting_since),
    ),
)

FAMILIES: Sequence[Family] = (
    *_DAEMON,
    *_MACHINE,
    *_SOURCES,
    *_DATABASE,
    *_JOBS,
    *_SINKS,
    *_WEBHOOKS,
)


# -- exposition ------------------------------------------------------------------------------------


def exposition(snapshot: Snapshot | None, alerts: OpenAlerts) -> bytes:
    """The text of /metrics; pure, so that a thread can make it."""
    # A registry of its own, without the default metrics of libraries.
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot, alerts))
    return generate_latest(registry)


class _Collector:
    """The collector of the registry."""

    def __init__(self, snapshot: Snapshot | None, alerts: OpenAlerts) -> None:
        self.snapshot = snapshot
        self.alerts = alerts

    def collect(self) -> Iterable[Metric]:
        yield _build_info()
        yield _open_alerts(self.alerts)
        if self.snapshot is not None:
            for family in FAMILIES:
                yield _filled(family, self.snapshot)


def _build_info() -> Metric:
    metric = GaugeMetricFamily(
        f"{PREFIX}build_info", "The version of this daemon.", labels=("version",)
    )
    metric.add_metric((__version__,), 1)
    return metric


def _open_alerts(alerts: OpenAlerts) -> Metric:
    name, labels = f"{PREFIX}alerts_open", ("rule", "severity")
    metric = GaugeMetricFamily(name, "Open alerts by rule and severity.", labels=labels)
    for each in sorted(set(alerts)):
        metric.add_metric(each, alerts.count(each))
    return metric


def _filled(family: Family, snapshot: Snapshot) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(PREFIX + family.name, family.text, labels=family.labels)
    for labels, value in family.samples(snapshot):
        if value is not None:
            metric.add_metric(labels, float(value))
    return metric
