"""The sources of this daemon: connection, journal and writer of each."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from monitor.measure.commits import commits
from monitor.measure.gaps import Gaps
from monitor.reading import Commits, SourceReading
from stream.collector import Collector
from stream.daemon import Daemon
from stream.sources import SourceRow
from stream.tweet import SourceId
from stream.writer import Pace


class Tally:
    """A count since the start of the daemon, of something that is replaced now and then."""

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._now: Mapping[Any, int] = {}

    def total(self, now: Mapping[Any, int] | None) -> Counter[str]:
        """All together; `now` is the count that goes on, always the same object while it does."""
        if now is not None and now is not self._now:
            self._before.update(self._now)
            self._now = now
        return self._before + Counter(self._now)


class Pipeline:
    """Reads what the parts of a daemon count."""

    def __init__(self, daemon: Daemon, gaps: Gaps) -> None:
        self.daemon = daemon
        self.gaps = gaps
        self._tallies: dict[SourceId, dict[str, Tally]] = {}
        self._newest: dict[SourceId, Pace] = {}  # that was read already

    def sources(self) -> tuple[SourceReading, ...]:
        """All sources of the table, also those without a collector."""
        rows = self.daemon.control.sources
        self._tallies = {row.id: self._tallies.get(row.id) or _tallies() for row in rows}
        return tuple(self._source(row, self.daemon.collectors.get(row.id)) for row in rows)

    def _source(self, row: SourceRow, collector: Collector | None) -> SourceReading:
        tallies = self._tallies[row.id]
        connection = collector.connection if collector is not None else None
        writer = collector.writer if collector is not None else None
        journal = collector.journal if collector is not None else None
        collecting = collector is not None and collector.collecting
        counters = tallies["counters"].total(connection.counters if connection else None)
        state, reason, since, until = _state(row, collector)
        started = writer is not None and writer.started.is_set()
        return SourceReading(
            id=row.id,
            name=row.name,
            network=row.network,
            enabled=row.enabled,
            collecting=collecting,
            standing_by=collector is not None and collector.standing_by,
            state=state,
            reason=reason,
            state_since=since,
            until=until,
            last_byte=(
                connection.delivery.last_byte
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
            losses=tallies["losses"].total(connection.losses if connection else None),
            outcomes=tallies["outcomes"].total(writer.stored if writer else None),
            rejects=tallies["rejects"].total(writer.rejects if writer else None),
            journal_bytes=journal.size if journal else 0,
            journal_room=journal.room() if journal else None,
            # Before the writer has asked for its position nobody knows what is stored.
            lag_bytes=journal.end - journal.stored if journal and started else 0,
            lag_seconds=_ago(writer.waiting_since) if writer else 0.0,
            away_since=_wall(writer.away_since) if writer else None,
            gap_seconds_today=self.gaps.today(row.id, delivering=state == "streaming"),
            code=connection.state.code if connection and collecting else "",
        )

    def commits(self) -> Commits:
        """Those since the last time somebody asked."""
        fresh: list[Pace] = []
        for source_id, collector in self.daemon.collectors.items():
            if collector.writer is None:
                continue
            known, newest = self._newest.get(source_id), None
            for pace in reversed(collector.writer.paces):
                if pace is known:
                    break
                newest = newest or pace
                fresh.append(pace)
            if newest is not None:
                self._newest[source_id] = newest
        return commits(fresh)


def _tallies() -> dict[str, Tally]:
    return {name: Tally() for name in ("counters", "losses", "outcomes", "rejects")}


def _state(row: SourceRow, collector: Collector | None) -> tuple[str, str, float, float | None]:
    """State, reason, since when, until when: the collector's own, or what the row says."""
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
