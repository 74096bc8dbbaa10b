"""What an alert rule looks at (RuleContext), and what it reports (Condition)."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import msgspec

from monitor.snapshot import Snapshot, SourceSnapshot
from stream.config import Settings
from stream.store.alert_facts import DisabledWebhook, Forecast, TrackFact
from stream.store.alerts import Severity

RANK: Mapping[Severity, int] = {"notice": 0, "warning": 1, "critical": 2}


class Rule(msgspec.Struct, frozen=True):
    """An alert rule: its names, who is responsible for its alerts, and how they end."""

    name: str
    title: str  # in a few words
    keep_firing_for: float  # seconds that its condition must not hold before its alert closes
    scope: Literal["host", "daemon", "source", "all"] = "host"  # see registry.is_responsible
    needs_facts: bool = False  # reads Facts from Postgres
    once: bool = False  # neither reminders nor its end are sent


class Condition(msgspec.Struct, frozen=True):
    """A problem that an alert rule finds now; the engine opens an alert when it lasts."""

    rule: str
    subject: str
    severity: Severity
    text: str  # what is wrong, one sentence
    remedy: str  # what to do
    value: float  # what was compared
    for_: float = 0.0  # seconds that it must last before an alert opens
    since: float | None = None  # seconds since 1970, when known better than by watching


class FileProblems(msgspec.Struct, frozen=True):
    """Problems of the key and of certificates: a sentence for each path."""

    problems: Mapping[str, str] = {}
    critical: AbstractSet[str] = frozenset()  # paths without which nothing works


class Facts(msgspec.Struct, frozen=True):
    """What alert rules read from Postgres because snapshots do not have it."""

    at: float  # seconds since 1970
    forecasts: tuple[Forecast, ...] = ()
    outcomes: Mapping[int, Mapping[str, int]] = {}  # of the last hour, by source
    collected: AbstractSet[int] = frozenset()  # sources that some daemon collects
    collectors_died: tuple[float, ...] = ()  # in the last hour; when each was seen last (Unix time)
    has_credentials: bool = False  # some source has some, sealed with our key
    # Only the leader reads the rest.
    complete: bool = False  # whether it was read
    tracks: tuple[TrackFact, ...] = ()
    delivering: Mapping[str, float] = {}  # networks that deliver, without a gap since then
    history_days: float = 0.0  # that anything has been collected, at most 7
    archive_problems: Mapping[str, str] = {}  # by day
    disabled_webhooks: tuple[DisabledWebhook, ...] = ()
    crashes: Mapping[str, int] = {}  # in the last hour, by daemon


class RuleContext(msgspec.Struct, frozen=True):
    """Everything that rules look at."""

    snapshots: Sequence[Snapshot]  # of the last hour, the newest at the end; never empty
    settings: Settings
    facts: Facts | None = None  # None: not known yet
    files: FileProblems = FileProblems()
    opened: AbstractSet[tuple[str, str]] = frozenset()  # rule and subject of open alerts

    @property
    def now(self) -> Snapshot:
        return self.snapshots[-1]

    def last(self, seconds: float) -> Sequence[Snapshot]:
        """The snapshots of the last `seconds`, the newest at the end."""
        from_ = self.now.at - seconds
        found = len(self.snapshots)
        while found and self.snapshots[found - 1].at >= from_:
            found -= 1
        return self.snapshots[found:]

    def source(self, snapshot: Snapshot, source_id: int) -> SourceSnapshot | None:
        """Find a source in a snapshot by its id."""
        return next((each for each in snapshot.sources if each.id == source_id), None)
