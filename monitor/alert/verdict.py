"""Whether tweets are collected and stored: the verdict of the alerts, for /health and heartbeats.

All that is critical is an alert rule. Only what keeps the rules from knowing is decided here.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from monitor.alert.condition import Condition
from monitor.snapshot import Snapshot
from stream.store.alerts import Alert

# A snapshot is old after so many sampling intervals, and as many seconds as a machine may be busy.
SNAPSHOT_AGE_FACTOR = 3
SNAPSHOT_DELAY_MAX = 30.0


class Check(msgspec.Struct, frozen=True):
    """A check of one component, with a sentence about it."""

    name: str
    ok: bool
    text: str


class HealthReport(msgspec.Struct, frozen=True):
    """The body of /health/live and /health/ready."""

    ok: bool
    checks: tuple[Check, ...]


def readiness(
    begun_at: float | None,
    snapshot: Snapshot | None,
    sample_interval: float,
    now: float,
    critical: Sequence[Alert | Condition],
) -> HealthReport:
    """Ready: measured since the start, and nothing critical.

    `begun_at`: when the tables had been read for the first time (Unix time); None before.
    `critical`: what the alert engine finds critical at this moment.
    """
    failed = []
    if begun_at is None:
        text = "Postgres has not been read since the start."
        failed.append(Check("start", ok=False, text=text))
    elif snapshot is not None and snapshot.at < begun_at:
        snapshot = None  # from before the tables were first read: it knows no source
    failed += obstacles(snapshot, sample_interval, now)
    if snapshot is not None:
        failed += _unreachable(snapshot, {each.rule for each in critical})
    for each in critical:
        failed.append(Check(f"alert {each.rule} {each.subject}".rstrip(), ok=False, text=each.text))
    if failed:
        return HealthReport(False, tuple(failed))
    return HealthReport(True, (Check("alerts", ok=True, text="Nothing critical."),))


def _unreachable(snapshot: Snapshot, alerts: AbstractSet[str]) -> Iterator[Check]:
    """What this process cannot reach, where another one has the alert."""
    if not snapshot.database.up and "database_away" not in alerts:
        text = f"Postgres does not answer: {snapshot.database.error.rstrip('.')}."
        yield Check("database", ok=False, text=text)
    if snapshot.bus is not None and snapshot.bus.failing and "bus_away" not in alerts:
        text = f"The bus does not work: {snapshot.bus.failing.rstrip('.')}."
        yield Check("bus", ok=False, text=text)


def obstacles(snapshot: Snapshot | None, sample_interval: float, now: float) -> list[Check]:
    """What keeps alert rules from knowing that something is wrong."""
    if snapshot is None:
        return [Check("measurement", ok=False, text="Nothing has been measured yet.")]
    age = now - snapshot.at
    if age > SNAPSHOT_AGE_FACTOR * sample_interval + SNAPSHOT_DELAY_MAX:
        return [Check("measurement", ok=False, text=f"The last snapshot is {age:.0f} s old.")]
    enabled = [source for source in snapshot.sources if source.enabled]
    if enabled and not any(source.works for source in enabled):
        states = ", ".join(
            f"{each.name} is {each.state}" if each.collecting else f"{each.name} has no collector"
            for each in enabled
        )
        return [Check("sources", ok=False, text=f"No source is collected: {states}.")]
    return []
