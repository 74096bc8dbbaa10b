"""One metric: its name and help, and how its samples are read from a Snapshot.

Base units only: seconds, bytes, ratios. Labels come from closed sets, from names that an
administrator gave (sources), and are ids of webhooks, whose number is limited; never tracks, of
which there may be thousands.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal, TypeAlias, get_args

import msgspec

from monitor.snapshot import (
    JobSnapshot,
    SinkSnapshot,
    Snapshot,
    SourceSnapshot,
    Volume,
    WebhookSnapshot,
)
from stream.cluster import Cluster
from stream.daemon_report import BusReport, LaneReport
from stream.notes import SourceState
from stream.store.webhooks import State as WebhookState

Kind = Literal["gauge", "counter"]
Value: TypeAlias = float | None  # None: not known, so it is left out
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


def source_counts(
    name: str, label: str, text: str, counts: Callable[[SourceSnapshot], Mapping[str, int]]
) -> Family:
    """Counts of each source by something else, such as the reason."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for each in snapshot.sources:
            for key, number in counts(each).items():
                yield (each.name, key), number

    return Family("counter", f"source_{name}", text, ("source", label), samples)


def volume(name: str, text: str, value: Callable[[Volume], Value]) -> Family:
    """A gauge of each file system that the program writes to."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in snapshot.machine.volumes]

    return Family("gauge", f"volume_{name}", text, ("volume",), samples)


def job(name: str, text: str, value: Callable[[JobSnapshot], Value]) -> Family:
    """A gauge of each periodic job."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(each)) for each in snapshot.jobs]

    # Not `job`: Prometheus gives that label to what it scrapes.
    return Family("gauge", f"job_{name}", text, ("name",), samples)


def sink(name: str, text: str, value: Callable[[Snapshot, SinkSnapshot], Value]) -> Family:
    """A gauge of each sink."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.name,), value(snapshot, each)) for each in snapshot.sinks]

    return Family("gauge", f"sink_{name}", text, ("sink",), samples)


def webhook(
    kind: Kind, name: str, text: str, value: Callable[[Snapshot, WebhookSnapshot], Value]
) -> Family:
    """A metric of each webhook."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((str(each.id),), value(snapshot, each)) for each in snapshot.webhooks]

    return Family(kind, f"webhook_{name}", text, ("webhook",), samples)


def lane(
    name: str, text: str, value: Callable[[LaneReport], Value], kind: Kind = "gauge"
) -> Family:
    """A metric of each lane that this daemon stores."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((each.source, str(each.id)), value(each)) for each in snapshot.lanes]

    return Family(kind, f"lane_{name}", text, ("source", "lane"), samples)


def bus(name: str, text: str, value: Callable[[BusReport], Value]) -> Family:
    """A gauge of the bus, where there is one."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [] if snapshot.bus is None else [((), value(snapshot.bus))]

    return Family("gauge", f"bus_{name}", text, (), samples)


def cluster(name: str, text: str, value: Callable[[Cluster], Value]) -> Family:
    """A gauge of all machines together, from the leader: where there is a bus."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        known = snapshot.cluster if snapshot.leads else None
        return [] if known is None else [((), value(known))]

    return Family("gauge", name, text, (), samples)


def named(
    name: str, label: str, text: str, numbers: Callable[[Snapshot], Mapping[str, float]]
) -> Family:
    """A gauge with one label, from numbers by name."""

    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return [((key,), number) for key, number in numbers(snapshot).items()]

    return Family("gauge", name, text, (label,), samples)


def source_states(snapshot: Snapshot) -> Iterable[Sample]:
    """1 for the state that a source is in, 0 for all others."""
    for each in snapshot.sources:
        for state in STATES:
            yield (each.name, state), each.state == state


def webhook_states(snapshot: Snapshot) -> Iterable[Sample]:
    """1 for the state that a webhook is in, 0 for all others."""
    for each in snapshot.webhooks:
        for state in WEBHOOK_STATES:
            yield (str(each.id), state), each.state == state


def late_seconds(snapshot: Snapshot, since: float | None) -> float:
    """How long something has waited; 0 when nothing waits."""
    return max(snapshot.at - (since or snapshot.at), 0.0)


def commit_delays(snapshot: Snapshot) -> Iterable[Sample]:
    """The percentiles of the delay from received to committed."""
    return [(("50",), snapshot.commits.p50), (("99",), snapshot.commits.p99)]


gauge, counter = partial(_plain, "gauge"), partial(_plain, "counter")
source_gauge, source_counter = partial(_source, "gauge"), partial(_source, "counter")
