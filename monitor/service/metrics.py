"""The newest Reading in the words of Prometheus."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from monitor.reading import Reading
from monitor.service.families import FAMILIES, Family
from stream import __version__

PREFIX = "twitterstream_"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # what generate_latest writes
OpenAlerts: TypeAlias = Sequence[tuple[str, str]]  # rule and severity of each that is open


def exposition(reading: Reading | None, alerts: OpenAlerts) -> bytes:
    """The text of /metrics; pure, so that a thread can make it."""
    # A registry of its own: whatever a library registers for itself stays out of it.
    registry = CollectorRegistry()
    registry.register(_Collector(reading, alerts))
    return generate_latest(registry)


class _Collector:
    """What the registry asks."""

    def __init__(self, reading: Reading | None, alerts: OpenAlerts) -> None:
        self.reading = reading
        self.alerts = alerts

    def collect(self) -> Iterable[Metric]:
        yield _build_info()
        yield _open_alerts(self.alerts)
        if self.reading is not None:
            for family in FAMILIES:
                yield _filled(family, self.reading)


def _build_info() -> Metric:
    metric = GaugeMetricFamily(f"{PREFIX}build_info", "1: what runs.", labels=("version",))
    metric.add_metric((__version__,), 1)
    return metric


def _open_alerts(alerts: OpenAlerts) -> Metric:
    name, labels = f"{PREFIX}alerts_open", ("rule", "severity")
    metric = GaugeMetricFamily(name, "Alerts that are open.", labels=labels)
    for each in sorted(set(alerts)):
        metric.add_metric(each, alerts.count(each))
    return metric


def _filled(family: Family, reading: Reading) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(PREFIX + family.name, family.text, labels=family.labels)
    for labels, value in family.samples(reading):
        if value is not None:
            metric.add_metric(labels, float(value))
    return metric
