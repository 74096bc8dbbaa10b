"""/metrics: all metrics, and the text for Prometheus."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from monitor.service.cluster_metrics import CLUSTER
from monitor.service.metric_family import (
    Family,
    commit_delays,
    counter,
    gauge,
    job,
    late_seconds,
    named,
    sink,
    source_counter,
    source_counts,
    source_gauge,
    source_states,
    volume,
    webhook,
    webhook_states,
)
from monitor.snapshot import Snapshot
from stream import __version__

PREFIX = "twitterstream_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # what generate_latest writes

OpenAlerts: TypeAlias = Sequence[tuple[str, str]]  # rule and severity of each open alert

_DAEMON = (
    gauge("reading_timestamp_seconds", "Time of this snapshot.", lambda r: r.at),
    gauge("leader", "1 if this daemon is the leader.", lambda r: r.leads),
    gauge(
        "process_start_time_seconds", "Start time of this daemon.", lambda r: r.process.started_at
    ),
    gauge(
        "process_resident_memory_bytes",
        "Resident memory of this daemon.",
        lambda r: r.process.memory,
    ),
    gauge(
        "process_cpu_ratio",
        "Processor use of this daemon, of one core.",
        lambda r: r.process.cpu_percent / 100,
    ),
    gauge("process_open_files", "Open file descriptors.", lambda r: r.process.files),
    gauge(
        "process_open_files_limit",
        "Limit of open file descriptors.",
        lambda r: r.process.files_limit,
    ),
    gauge(
        "clock_jump_seconds",
        "Change of the system clock since the last snapshot.",
        lambda r: r.process.clock_jump,
    ),
    gauge(
        "event_loop_lag_seconds",
        "Longest delay of the event loop since the last snapshot.",
        lambda r: r.process.loop_lag,
    ),
)

_MACHINE = (
    gauge(
        "machine_cpu_ratio",
        "Processor use of the machine, of all cores.",
        lambda r: r.machine.cpu_percent / 100,
    ),
    gauge("machine_cores", "Processor cores.", lambda r: r.machine.cores),
    gauge("machine_load", "Load average of one minute.", lambda r: r.machine.load),
    gauge("machine_memory_bytes", "Total memory of the machine.", lambda r: r.machine.memory_total),
    gauge(
        "machine_memory_used_bytes", "Used memory of the machine.", lambda r: r.machine.memory_used
    ),
    counter(
        "machine_network_received_bytes",
        "Bytes received on all interfaces but loopback.",
        lambda r: r.machine.network_received,
    ),
    counter(
        "machine_network_sent_bytes",
        "Bytes sent on all interfaces but loopback.",
        lambda r: r.machine.network_sent,
    ),
    volume("size_bytes", "Size of the file system.", lambda v: v.total),
    volume("used_bytes", "Used bytes of the file system.", lambda v: v.used),
    volume("free_bytes", "Bytes available to this program.", lambda v: v.free),
    volume("free_ratio", "Available share of the file system.", lambda v: v.free_percent / 100),
)

_SOURCES = (
    Family(
        "gauge",
        "source_state",
        "1 for the current state of the source.",
        ("source", "state"),
        source_states,
    ),
    source_gauge("enabled", "1 if the source is enabled.", lambda s: s.enabled),
    source_gauge("collecting", "1 if this daemon collects the source.", lambda s: s.collecting),
    source_gauge(
        "standing_by", "1 if another daemon collects the source.", lambda s: s.standing_by
    ),
    source_gauge(
        "state_since_timestamp_seconds",
        "Time of the last change of state.",
        lambda s: s.state_since,
    ),
    source_gauge("retry_timestamp_seconds", "Time of the next attempt.", lambda s: s.until),
    source_gauge(
        "last_byte_timestamp_seconds", "Time of the last received byte.", lambda s: s.last_byte
    ),
    source_counter("received_bytes", "Received bytes.", lambda s: s.bytes),
    source_counter("frames", "Received messages.", lambda s: s.frames),
    source_counter("attempts", "Connection attempts.", lambda s: s.attempts),
    source_gauge(
        "attempts_left",
        "Connection attempts that the network still allows.",
        lambda s: s.attempts_left,
    ),
    source_counts("interruptions", "reason", "Interruptions of delivery.", lambda s: s.losses),
    source_counts("outcomes", "outcome", "Frames by outcome.", lambda s: s.outcomes),
    source_counts("rejects", "reason", "Rejected frames by reason.", lambda s: s.rejects),
    source_gauge(
        "gap_today_seconds",
        "Seconds without delivery since midnight UTC.",
        lambda s: s.gap_seconds_today,
    ),
    source_gauge("journal_bytes", "Size of the journal on disk.", lambda s: s.journal_bytes),
    source_gauge(
        "journal_full",
        "1 if nothing can be appended to the journal.",
        lambda s: s.why_journal_full is not None,
    ),
    source_gauge(
        "journal_lag_bytes", "Bytes in the journal that are not stored yet.", lambda s: s.lag_bytes
    ),
    source_gauge(
        "journal_lag_seconds",
        "Age of the oldest frame that is not stored yet.",
        lambda s: s.lag_seconds,
    ),
    source_counter(
        "journal_damaged",
        "Damaged places found in the journal on the disk.",
        lambda s: s.journal_damaged,
    ),
    source_gauge(
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
        commit_delays,
    ),
    gauge("batch_frames", "Mean number of frames in a commit.", lambda r: r.commits.batch_frames),
    gauge("database_up", "1 if Postgres answers.", lambda r: r.database.up),
    gauge(
        "database_since_timestamp_seconds",
        "Time of the last change of database_up.",
        lambda r: r.database.since,
    ),
    gauge("database_size_bytes", "Size of the database.", lambda r: r.database.size),
    named(
        "table_size_bytes",
        "table",
        "Size of a table with indexes and partitions.",
        lambda r: r.database.tables,
    ),
    gauge("partitions", "Number of partitions.", lambda r: r.database.partitions),
    gauge(
        "partitions_ahead",
        "Days after today that have partitions.",
        lambda r: r.database.days_ahead,
    ),
    gauge(
        "database_connections",
        "Connections to Postgres, of all users.",
        lambda r: r.database.connections,
    ),
    gauge(
        "database_connections_limit",
        "Limit of connections to Postgres.",
        lambda r: r.database.connections_max,
    ),
    gauge(
        "oldest_transaction_seconds",
        "Age of the oldest transaction in the database.",
        lambda r: r.database.oldest_transaction,
    ),
    named(
        "standby_lag_bytes",
        "standby",
        "How much of the write-ahead log a standby of Postgres has not replayed.",
        lambda r: r.database.standby_bytes,
    ),
    named(
        "standby_lag_seconds",
        "standby",
        "Time from a commit until a standby of Postgres shows it.",
        lambda r: r.database.standby_seconds,
    ),
)

_JOBS = (
    job("run_timestamp_seconds", "Time of the job's last run.", lambda c: c.ran_at),
    job("success_timestamp_seconds", "Time of the job's last success.", lambda c: c.done_at),
    job("duration_seconds", "Duration of the job's last run.", lambda c: c.took),
    job("failed", "1 if the job's last run failed.", lambda c: c.failed is not None),
    named("tracks", "state", "Number of tracks by state.", lambda r: r.tracks),
)

_SINKS = (
    sink(
        "late_seconds",
        "How long tweets have waited for the sink; 0 while none does.",
        lambda snapshot, each: late_seconds(snapshot, each.late_since),
    ),
    sink("failed", "1 if the sink fails.", lambda _, each: bool(each.reason)),
)

_WEBHOOKS = (
    Family(
        "gauge",
        "webhook_state",
        "1 for the current state of the webhook.",
        ("webhook", "state"),
        webhook_states,
    ),
    webhook("counter", "delivered", "Delivered messages.", lambda _, hook: hook.delivered),
    webhook("counter", "failed_tries", "Tries that failed.", lambda _, hook: hook.failed),
    webhook(
        "counter",
        "given_up",
        "Messages that were given up after 3 days.",
        lambda _, hook: hook.given_up,
    ),
    webhook(
        "gauge",
        "late_seconds",
        "Age of the oldest tweet that waits for the webhook; 0 while none does.",
        lambda snapshot, hook: late_seconds(snapshot, hook.waiting_since),
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
    *CLUSTER,
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
