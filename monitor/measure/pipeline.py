"""Measure the sources of this daemon: connection, journal, writer, gaps and commits."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Literal

from monitor.snapshot import Commits, SinkSnapshot, SourceSnapshot, WebhookSnapshot
from stream.collector import Collector
from stream.daemon import Daemon
from stream.db import Database
from stream.journal.backlog import BacklogAge
from stream.lane_writers import LaneWriter
from stream.store import gaps
from stream.store.gaps import GapsOfDay
from stream.store.lanes import first_lane
from stream.store.sources import SourceRow
from stream.tweet import LaneId, SourceId
from stream.writer import CommitTiming, Writer

DAY = 86_400  # seconds
Outcomes = Literal["stored", "rejects"]  # counters of a writer
MIN_SPREAD = 1e-9  # seconds; for a batch whose frames came at the same moment


class MonotonicCounter:
    """A count since the start of the daemon, of an object that may be replaced by a new one."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._now: Mapping[Any, int] = {}

    def total(self, now: Mapping[Any, int] | None) -> Counter[str]:
        """The total. `now` is the present count: the same object until it is replaced."""
        if now is not None and now is not self._now:
            self._before.update(self._now)
            self._now = now
        return self._before + Counter(self._now)


class StallTimer:
    """How long a position has not advanced although frames wait.

    Measured from outside: a writer that hangs cannot report it. Time is monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._position = -1
        self._since = clock()

    def seconds(self, position: int, end: int) -> float:
        """Update with the current position; call this at every snapshot."""
        if position != self._position or position >= end:
            self._position, self._since = position, self._clock()
        return self._clock() - self._since


class GapTimes:
    """The seconds without delivery since midnight UTC, read rarely and counted on in between."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._found: Mapping[SourceId, GapsOfDay] = {}
        self._midnight = 0.0
        self._read_at = 0.0

    async def look(self) -> None:
        """Read the gaps. DatabaseAway when Postgres does not answer."""
        midnight = _midnight()
        async with self.database.acquire() as connection:
            self._found = await gaps.gaps_of_day(connection, midnight)
        self._midnight, self._read_at = midnight, time.time()

    def today(self, source_id: SourceId, *, delivering: bool) -> float:
        """Seconds, including the open gap, which ends when the source delivers again."""
        found, midnight, now = self._found.get(source_id), _midnight(), time.time()
        if found is None:
            return 0.0
        closed = found.closed if midnight == self._midnight else 0.0
        if found.open_since is None:
            return closed
        until = self._read_at if delivering else now
        return closed + max(until - max(found.open_since, midnight), 0.0)


def _midnight() -> float:
    return time.time() // DAY * DAY


class Pipeline:
    """Reads the counters and states of the parts of a daemon."""

    def __init__(self, daemon: Daemon, gaps: GapTimes) -> None:
        self.daemon = daemon
        self.gaps = gaps
        self._counters: dict[SourceId, dict[str, MonotonicCounter]] = {}
        self._newest: dict[LaneId, CommitTiming] = {}  # that was read already
        self._stall_timers: dict[SourceId, StallTimer] = {}
        self._backlogs: dict[SourceId, BacklogAge] = {}
        self._lane_counters: dict[
            tuple[SourceId, LaneId], dict[str, MonotonicCounter]
        ] = {}  # by source and lane

    def sources(self, elsewhere: AbstractSet[SourceId] = frozenset()) -> tuple[SourceSnapshot, ...]:
        """Snapshots of all sources in the table, including those without a collector.

        `elsewhere`: the sources that other daemons are known to collect.
        """
        rows = self.daemon.reconciler.sources
        self._count_lanes()
        self._counters = {row.id: self._counters.get(row.id) or _counters() for row in rows}
        self._stall_timers = {
            row.id: self._stall_timers.get(row.id) or StallTimer() for row in rows
        }
        self._backlogs = {row.id: self._backlogs.get(row.id) or BacklogAge() for row in rows}
        return tuple(
            self._source(row, self.daemon.collectors.get(row.id), row.id in elsewhere)
            for row in rows
        )

    def _source(
        self, row: SourceRow, collector: Collector | None, elsewhere: bool
    ) -> SourceSnapshot:
        counters_of = self._counters[row.id]
        connection = collector.connection if collector is not None else None
        writer = collector.writer if collector is not None else None
        publisher = collector.publisher if collector is not None else None
        journal = collector.journal if collector is not None else None
        collecting = collector is not None and collector.collecting
        counters = counters_of["counters"].total(connection.counters if connection else None)
        state, reason, since, until = _state(row, collector)
        follower = writer or publisher
        started = follower is not None and follower.started.is_set()
        lag = _ago(writer.waiting_since) if writer else 0.0
        if publisher is not None and journal is not None and started:
            lag = self._backlogs[row.id].seconds(journal.stored, journal.end)
        return SourceSnapshot(
            id=row.id,
            name=row.name,
            network=row.network,
            enabled=row.enabled,
            collecting=collecting,
            standing_by=elsewhere if collector is None else collector.standing_by,
            state=state,
            reason=reason,
            state_since=since,
            until=until,
            last_byte=(
                connection.recorder.last_byte
                if connection and collecting
                else _seconds(row.last_at)
            ),
            bytes=counters["bytes"],
            frames=counters["frames"],
            attempts=counters["attempts"],
            attempts_left=(
                connection.attempts.left(connection.clock.time())
                if connection and collecting
                else None
            ),
            losses=counters_of["losses"].total(connection.interruptions if connection else None),
            outcomes=self._stored(row.id, "stored", writer),
            rejects=self._stored(row.id, "rejects", writer),
            journal_bytes=journal.size if journal else 0,
            why_journal_full=(
                journal.why_full()
                if journal
                else collector.blocked
                if collector is not None
                else None
            ),
            # Before the writer has read its position it is not known what is stored.
            lag_bytes=journal.end - journal.stored if journal and started else 0,
            lag_seconds=lag,
            away_since=_wall(writer.away_since) if writer else None,
            gap_seconds_today=self.gaps.today(row.id, delivering=state == "streaming"),
            not_in_force=connection.reporter.not_in_force if connection and collecting else "",
            clock_corrections=journal.clock_corrections if journal else 0,
            journal_damaged=journal.damaged if journal else 0,
            writer_stalled=(
                self._stall_timers[row.id].seconds(journal.stored, journal.end)
                if journal and writer
                else 0.0
            ),
            code=connection.state.code if connection and collecting else "",
            bus_failing=(publisher.failing or "") if publisher else "",
            resent=sum(each.resent for each in publisher.senders.values()) if publisher else 0,
        )

    def _stored(self, source_id: SourceId, what: Outcomes, writer: Writer | None) -> Counter[str]:
        """What this daemon has stored of a source: by its own writer, and those of its lanes."""
        found = self._counters[source_id][what].total(getattr(writer, what) if writer else None)
        for (of, _), counters in self._lane_counters.items():
            if of == source_id:
                found += counters[what].total(None)
        return found

    def _count_lanes(self) -> None:
        for lane_id, each in self._lanes().items():
            key = each.lane.source_id, lane_id
            counters = self._lane_counters.setdefault(key, _counters())
            counters["stored"].total(each.writer.stored)
            counters["rejects"].total(each.writer.rejects)

    def _lanes(self) -> Mapping[LaneId, LaneWriter]:
        writers = self.daemon.lane_writers
        return {} if writers is None else writers.writers

    def _writers(self) -> Iterator[tuple[LaneId, Writer]]:
        """The writers that run, by lane: the first lane of a source has its id."""
        for source_id, collector in self.daemon.collectors.items():
            if collector.writer is not None:
                yield first_lane(source_id), collector.writer
        for lane_id, each in self._lanes().items():
            yield lane_id, each.writer

    def sinks(self) -> tuple[SinkSnapshot, ...]:
        """Snapshots of the sinks that this daemon runs."""
        statuses = self.daemon.sinks.statuses
        return tuple(
            SinkSnapshot(each.name, each.reason, each.remedy, each.late_since) for each in statuses
        )

    def webhooks(self) -> tuple[WebhookSnapshot, ...]:
        """Snapshots of the webhooks that this daemon serves."""
        return tuple(
            WebhookSnapshot(
                each.id,
                each.state,
                each.delivered,
                each.failed,
                each.given_up,
                each.waiting_since,
            )
            for each in self.daemon.sinks.webhooks
        )

    def commits(self) -> Commits:
        """The commits since the last call."""
        fresh: list[CommitTiming] = []
        for lane_id, writer in self._writers():
            known, newest = self._newest.get(lane_id), None
            for timing in reversed(writer.timings):
                if timing is known:
                    break
                newest = newest or timing
                fresh.append(timing)
            if newest is not None:
                self._newest[lane_id] = newest
        return commits(fresh)


def _counters() -> dict[str, MonotonicCounter]:
    return {name: MonotonicCounter() for name in ("counters", "losses", "stored", "rejects")}


def _state(row: SourceRow, collector: Collector | None) -> tuple[str, str, float, float | None]:
    """State, reason, since when, until when: of the collector, or else of the row."""
    if collector is not None and collector.collecting and collector.connection is not None:
        state = collector.connection.state
        return state.state, state.reason, state.at, state.until
    return row.state, row.reason, _seconds(row.state_at) or 0.0, _seconds(row.retry_at)


def _seconds(time_: datetime | None) -> float | None:
    return None if time_ is None else time_.timestamp()


def _ago(since: float | None) -> float:
    return 0.0 if since is None else max(time.time() - since, 0.0)


def _wall(loop_time: float | None) -> float | None:
    """A time of the event loop as seconds since 1970."""
    if loop_time is None:
        return None
    return time.time() - (asyncio.get_running_loop().time() - loop_time)


def commits(timings: Sequence[CommitTiming]) -> Commits:
    """Sum up these commits in four numbers."""
    frames = sum(timing.frames for timing in timings)
    if not frames:
        return Commits(len(timings), None, None, None)
    return Commits(
        len(timings), frames / len(timings), percentile(timings, 0.5), percentile(timings, 0.99)
    )


def percentile(timings: Sequence[CommitTiming], share: float) -> float:
    """The delay in seconds that this share of the frames kept below.

    Only the delays of a batch's first and last frame are known: the others count as spread evenly.
    """
    edges: list[tuple[float, float]] = []  # at this delay, so many more frames a second of delay
    for timing in timings:
        low, high = sorted((max(timing.newest, 0.0), max(timing.oldest, 0.0)))
        high = max(high, low + MIN_SPREAD)
        density = timing.frames / (high - low)
        edges += [(low, density), (high, -density)]
    edges.sort()
    wanted = share * sum(timing.frames for timing in timings)
    passed = density = 0.0
    at = edges[0][0]
    for edge, more in edges:
        within = density * (edge - at)
        if density > 0 and passed + within >= wanted:
            return at + (wanted - passed) / density
        passed, density, at = passed + within, density + more, edge
    return edges[-1][0]
