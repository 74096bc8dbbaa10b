"""What a rule says, and what it may look at."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

import msgspec

from monitor.reading import Reading, SourceReading
from stream.config import Settings

Severity = Literal["notice", "warning", "critical"]
RANK: Mapping[Severity, int] = {"notice": 0, "warning": 1, "critical": 2}


class Rule(msgspec.Struct, frozen=True):
    """One rule: how its alerts are named, whose they are, and how they end."""

    name: str
    title: str  # in a few words
    gone: float  # seconds that its condition must be gone before its alert ends
    scope: Literal["host", "source", "all"] = "host"  # who speaks: see `Judge` in alerts.py
    asks: bool = False  # needs Facts from Postgres
    once: bool = False  # its end is not told


class Condition(msgspec.Struct, frozen=True):
    """Something is wrong now."""

    rule: str
    subject: str
    severity: Severity
    text: str  # what is wrong, one sentence
    remedy: str  # what to do
    value: float  # what was compared
    hold: float = 0.0  # seconds that it must last before it is worth telling
    since: float | None = None  # seconds since 1970, where that is known better than by watching


class Forecast(msgspec.Struct, frozen=True):
    """When a volume of this machine will be full, by the slope of seven days."""

    volume: str
    free: float  # bytes
    bytes_per_day: float
    days: float


class TrackFact(msgspec.Struct, frozen=True):
    """What a followed track gets, and what it usually got."""

    id: int
    value: str
    networks: tuple[str, ...] | None  # None: all
    since: float  # followed as it is since; seconds since 1970
    days: float  # of its history, at most 7
    profile: tuple[float, ...]  # tweets in each hour of the day (UTC), the mean of these days
    last_at: float | None  # its newest tweet; seconds since 1970, to the minute
    last_hour: int  # tweets

    @property
    def per_hour(self) -> float:
        """Its usual tweets in an hour."""
        return sum(self.profile) / 24


class Files(msgspec.Struct, frozen=True):
    """Key and certificates, as far as something is wrong: a sentence for each path."""

    problems: Mapping[str, str] = {}
    critical: AbstractSet[str] = frozenset()  # of these paths: nothing works without


class Facts(msgspec.Struct, frozen=True):
    """What Postgres knows and the readings do not."""

    at: float  # seconds since 1970
    forecasts: tuple[Forecast, ...] = ()
    outcomes: Mapping[int, Mapping[str, int]] = {}  # of the last hour, by source
    collected: AbstractSet[int] = frozenset()  # sources that some daemon collects
    has_secrets: bool = False  # some source has credentials, sealed with our key
    starts: int = 0  # of daemons of this machine in the last hour
    # The rest is asked only by the leader.
    whole: bool = False  # it was
    tracks: tuple[TrackFact, ...] = ()
    delivering: Mapping[str, float] = {}  # networks that deliver, without a gap since then
    history_days: float = 0.0  # that anything has been collected, at most 7
    archive_problems: Mapping[str, str] = {}  # by day


class View(msgspec.Struct, frozen=True):
    """All that rules look at."""

    readings: Sequence[Reading]  # of the last hour, the newest at the end; never empty
    settings: Settings
    facts: Facts | None = None  # None: not known yet
    files: Files = Files()
    opened: AbstractSet[tuple[str, str]] = frozenset()  # rule and subject of open alerts

    @property
    def now(self) -> Reading:
        return self.readings[-1]

    def last(self, seconds: float) -> Sequence[Reading]:
        """The readings of the last so many seconds, the newest at the end."""
        from_ = self.now.at - seconds
        found = len(self.readings)
        while found and self.readings[found - 1].at >= from_:
            found -= 1
        return self.readings[found:]

    def source(self, reading: Reading, source_id: int) -> SourceReading | None:
        """The same source in another reading."""
        return next((each for each in reading.sources if each.id == source_id), None)
