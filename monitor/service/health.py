"""Whether the daemon lives, and whether it does its work: for load balancers, systemd and people.

Live is what a restart can mend: that anybody answers says that the event loop turns. A chore that
hangs is shown there, too, but is no reason to end what collects. Ready is what the daemon is there
for, and a restart mends none of it.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from monitor.chores import Chore
from monitor.reading import DatabaseReading, Reading, SourceReading
from stream.logs import redact

SLACK = 30.0  # seconds that a chore may be late: the machine was busy, or slept
OLD = 3  # a reading is old after so many times the pace of the probes, and SLACK


class Check(msgspec.Struct, frozen=True):
    """One thing, and a sentence about it."""

    name: str
    ok: bool
    text: str


class Answer(msgspec.Struct, frozen=True):
    """All of it; what stands in /health/live and /health/ready."""

    ok: bool
    checks: tuple[Check, ...]


class Liveness:
    """Sees whether the chores of the monitor still go round.

    That somebody can ask at all says that the event loop turns. Time is monotonic: a clock that is
    set must not look like a chore that hangs.
    """

    def __init__(
        self, chores: Sequence[Chore], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.chores = chores
        self._clock = clock
        self._seen: dict[Chore, tuple[float | None, float]] = {}  # the last run, and when we saw it

    def look(self) -> Answer:
        """How they go now; to be asked about as often as the fastest of them runs."""
        now = self._clock()
        checks = tuple(self._check(chore, now) for chore in self.chores)
        fine = Check("event loop", ok=True, text="The event loop turns.")
        return Answer(True, (fine, *checks))

    def _check(self, chore: Chore, now: float) -> Check:
        ran_at, since = self._seen.get(chore, (None, now))
        if chore not in self._seen or chore.ran_at != ran_at:
            since = now
        self._seen[chore] = (chore.ran_at, since)
        late = now - since - chore.every - chore.limit
        if late > SLACK:
            return Check(chore.name, ok=False, text=f"It hangs: {late:.0f} s late.")
        return Check(chore.name, ok=True, text="It goes round.")


def ready(begun: bool, reading: Reading | None, every: float, now: float) -> Answer:
    """Whether tweets are collected and stored; `every` is the pace of the probes, in seconds."""
    checks = [_schema(begun)]
    if reading is None:
        checks.append(Check("probes", ok=False, text="Nothing has been measured yet."))
        return Answer(False, tuple(checks))
    age = now - reading.at
    if age > OLD * every + SLACK:
        checks.append(Check("probes", ok=False, text=f"The last reading is {age:.0f} s old."))
    checks.append(_database(reading.database))
    ok = all(check.ok for check in checks)
    sources = [_source(each) for each in reading.sources if each.enabled]
    if not sources and begun:
        return Answer(ok, (*checks, Check("sources", ok=True, text="No source is enabled.")))
    return Answer(ok and any(check.ok for check in sources), (*checks, *sources))


def _schema(begun: bool) -> Check:
    if begun:
        return Check("schema", ok=True, text="The schema fits this program.")
    return Check("schema", ok=False, text="Postgres could not be read yet since the start.")


def _database(database: DatabaseReading) -> Check:
    if database.up:
        return Check("database", ok=True, text="Postgres answers.")
    why = f": {redact(database.error)}" if database.error else ""
    return Check("database", ok=False, text=f"No answer since {_at(database.since)}{why}.")


def _source(source: SourceReading) -> Check:
    name = f"source {source.name}"
    if source.standing_by:
        return Check(name, ok=True, text="Standing by: another daemon collects it.")
    if source.state in ("streaming", "idle"):
        text = "Streaming." if source.state == "streaming" else "There is nothing to follow."
        return Check(name, ok=True, text=text)
    until = f", until {_at(source.until)}" if source.until is not None else ""
    text = f"{source.state.capitalize()} since {_at(source.state_since)}{until}"
    return Check(name, ok=False, text=f"{text}: {redact(source.reason)}.")


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
