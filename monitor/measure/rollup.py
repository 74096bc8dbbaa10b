"""Roll up the snapshots of a minute into one row of machine_minutes, and queue it for writing."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from monitor.snapshot import Commits, Snapshot, SourceSnapshot
from stream.db import Database, translated_errors
from stream.errors import RowRefused
from stream.store import machine_history
from stream.store.machine_history import MachineMinute, SourceMinute

Number = TypeVar("Number", int, float)

QUEUE_MAX = 24 * 60  # minutes that wait; beyond it the oldest are dropped
MINUTE = 60  # seconds
KEPT = ("stored", "unmatched")


class MinuteAggregator:
    """Takes snapshots one by one, and returns a minute when it has ended."""

    def __init__(self) -> None:
        self._before: Snapshot | None = None  # the last one of the previous minute
        self._snapshots: list[Snapshot] = []

    def add(self, snapshot: Snapshot) -> MachineMinute | None:
        """The minute that ended before this snapshot, if one did."""
        done: MachineMinute | None = None
        if self._snapshots and _minute(self._snapshots[0]) != _minute(snapshot):
            done = minute(self._snapshots, self._before)
            self._before = self._snapshots[-1]
            self._snapshots = []
        self._snapshots.append(snapshot)
        return done


def _minute(snapshot: Snapshot) -> int:
    return int(snapshot.at // MINUTE)


def minute(snapshots: Sequence[Snapshot], before: Snapshot | None) -> MachineMinute:
    """The row of a minute; `before`: the last snapshot of the minute before, None for the first."""
    first, last = snapshots[0], snapshots[-1]
    machines = [snapshot.machine for snapshot in snapshots]
    wires = (before or first).machine
    database = last.database
    p50, p99, batch = _commits([snapshot.commits for snapshot in snapshots])
    lags = [source for snapshot in snapshots for source in snapshot.sources]
    return MachineMinute(
        host=last.host,
        at=datetime.fromtimestamp(_minute(first) * MINUTE, UTC),
        cpu_percent=_mean(machine.cpu_percent for machine in machines),
        cpu_percent_max=max(machine.cpu_percent for machine in machines),
        load=_mean(machine.load for machine in machines),
        memory_used=round(_mean(machine.memory_used for machine in machines)),
        memory_total=last.machine.memory_total,
        # The counters of an interface disappear with it.
        network_received=max(last.machine.network_received - wires.network_received, 0),
        network_sent=max(last.machine.network_sent - wires.network_sent, 0),
        process_memory=max(snapshot.process.memory for snapshot in snapshots),
        process_files=max(snapshot.process.files for snapshot in snapshots),
        loop_lag_max=max(snapshot.process.loop_lag for snapshot in snapshots),
        journal_lag_bytes=max((source.lag_bytes for source in lags), default=0),
        journal_lag_seconds=max((source.lag_seconds for source in lags), default=0.0),
        commit_p50=p50,
        commit_p99=p99,
        batch_frames=batch,
        database_up=_mean(snapshot.database.up for snapshot in snapshots),
        database_size=database.size,
        database_connections=_greatest(snapshots, lambda snapshot: snapshot.database.connections),
        oldest_transaction=_greatest(
            snapshots, lambda snapshot: snapshot.database.oldest_transaction
        ),
        partitions=database.partitions,
        volumes={
            volume.name: {
                "path": volume.path,
                "total": volume.total,
                "used": volume.used,
                "free": volume.free,
            }
            for volume in last.machine.volumes
        },
        sources=_sources(snapshots, before),
        tables=database.tables,
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _greatest(
    snapshots: Sequence[Snapshot], of: Callable[[Snapshot], Number | None]
) -> Number | None:
    return max(
        (found for snapshot in snapshots if (found := of(snapshot)) is not None), default=None
    )


def _commits(all_commits: Sequence[Commits]) -> tuple[float | None, float | None, float | None]:
    """The mean p50, weighted by frames; the worst p99; the mean batch."""
    known = [
        (commits.batch_frames * commits.number, commits.p50, commits.p99)
        for commits in all_commits
        if commits.batch_frames and commits.p50 is not None and commits.p99 is not None
    ]
    if not known:
        return None, None, None
    frames = sum(weight for weight, _, _ in known)
    p50 = sum(weight * p50 for weight, p50, _ in known) / frames
    number = sum(commits.number for commits in all_commits)
    return p50, max(p99 for _, _, p99 in known), frames / number


def _sources(snapshots: Sequence[Snapshot], before: Snapshot | None) -> dict[str, SourceMinute]:
    """The sources of a row by name, without those that another daemon collects and reports."""
    base = {source.id: source for source in before.sources} if before is not None else {}
    last = snapshots[-1]
    # Counters start with the daemon, and so does its first minute.
    seconds = max(last.at - (before.at if before is not None else last.process.started_at), 1.0)
    found = {}
    for source in last.sources:
        course = [
            each for snapshot in snapshots for each in snapshot.sources if each.id == source.id
        ]
        done = _source(course, base.get(source.id), seconds)
        # Of a source that another daemon collects, this one may store lanes.
        if done.frames or done.tweets or done.rejected or not source.standing_by:
            found[source.name] = done
    return found


def _source(
    course: Sequence[SourceSnapshot], before: SourceSnapshot | None, seconds: float
) -> SourceMinute:
    last = course[-1]
    outcomes = _more(last.outcomes, before.outcomes if before else {})
    frames = last.frames - (before.frames if before else 0)
    size = last.bytes - (before.bytes if before else 0)
    tweets = sum(outcomes[outcome] for outcome in KEPT)
    attempts = [each.attempts_left for each in course if each.attempts_left is not None]
    return SourceMinute(
        network=last.network,
        state=last.state,
        frames=frames,
        tweets=tweets,
        bytes=size,
        duplicates=outcomes["duplicate"],
        unmatched=outcomes["unmatched"],
        rejected=outcomes["rejected"],
        rejects=_more(last.rejects, before.rejects if before else {}),
        reconnects=_more(last.losses, before.losses if before else {}),
        attempts=last.attempts - (before.attempts if before else 0),
        gap_seconds_today=round(last.gap_seconds_today, 3),
        lag_bytes=max(each.lag_bytes for each in course),
        lag_seconds=round(max(each.lag_seconds for each in course), 3),
        frames_per_s=round(frames / seconds, 3),
        tweets_per_s=round(tweets / seconds, 3),
        bytes_per_s=round(size / seconds, 3),
        attempts_left=min(attempts, default=None),
    )


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> Counter[str]:
    """The difference of two counts."""
    return Counter(now) - Counter(before)


class MinuteQueue:
    """Finished minutes that wait to be written, also while Postgres is away."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.waiting: deque[MachineMinute] = deque(maxlen=QUEUE_MAX)

    async def write(self) -> None:
        """Write all. DatabaseAway keeps them for later; a row that Postgres refuses is dropped."""
        if not self.waiting:
            return
        async with self.database.acquire() as connection:
            while self.waiting:
                minute = self.waiting[0]
                try:
                    with translated_errors():
                        await machine_history.insert(connection, minute)
                except RowRefused:
                    self._done(minute)
                    raise
                self._done(minute)

    def _done(self, minute: MachineMinute) -> None:
        # While it was written, a full deque may have dropped it.
        if self.waiting and self.waiting[0] is minute:
            self.waiting.popleft()
