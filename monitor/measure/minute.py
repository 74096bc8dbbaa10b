"""The readings of one minute, made into one row of machine_minutes; pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from monitor.reading import Commits, Reading, SourceReading

Number = TypeVar("Number", int, float)

MINUTE = 60  # seconds
KEPT = ("stored", "unmatched")


class SourceMinute(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one source in a minute, an entry of machine_minutes.sources."""

    network: str
    state: str
    frames: int
    tweets: int  # new ones, matched or not
    bytes: int
    duplicates: int
    unmatched: int
    rejected: int
    rejects: Mapping[str, int]  # by reason
    reconnects: Mapping[str, int]  # by cause
    attempts: int
    gap_seconds_today: float
    lag_bytes: int  # the greatest
    lag_seconds: float  # the greatest
    frames_per_s: float
    tweets_per_s: float
    bytes_per_s: float
    attempts_left: int | None = None  # the least


class MachineMinute(msgspec.Struct, frozen=True):
    """A row of machine_minutes; its columns, in their order."""

    host: str
    at: datetime
    cpu_percent: float
    cpu_percent_max: float
    load: float
    memory_used: int
    memory_total: int
    network_received: int
    network_sent: int
    process_memory: int
    process_files: int
    loop_lag_max: float
    journal_lag_bytes: int
    journal_lag_seconds: float
    commit_p50: float | None
    commit_p99: float | None
    batch_frames: float | None
    database_up: float
    database_size: int | None
    database_connections: int | None
    oldest_transaction: float | None
    partitions: int | None
    volumes: Mapping[str, Mapping[str, object]]
    sources: Mapping[str, SourceMinute]
    tables: Mapping[str, int]


class Gatherer:
    """Takes the readings one by one, and gives a minute when it is over."""

    def __init__(self) -> None:
        self._before: Reading | None = None  # the last one of the minutes before
        self._readings: list[Reading] = []

    def add(self, reading: Reading) -> MachineMinute | None:
        """The minute that ended before this reading, if one did."""
        done: MachineMinute | None = None
        if self._readings and _minute(self._readings[0]) != _minute(reading):
            done = minute(self._readings, self._before)
            self._before = self._readings[-1]
            self._readings = []
        self._readings.append(reading)
        return done


def _minute(reading: Reading) -> int:
    return int(reading.at // MINUTE)


def minute(readings: Sequence[Reading], before: Reading | None) -> MachineMinute:
    """One row; `before` is the last reading of the minute before, None for the daemon's first."""
    first, last = readings[0], readings[-1]
    machines = [reading.machine for reading in readings]
    wires = (before or first).machine
    database = last.database
    p50, p99, batch = _commits([reading.commits for reading in readings])
    lags = [source for reading in readings for source in reading.sources]
    return MachineMinute(
        host=last.host,
        at=datetime.fromtimestamp(_minute(first) * MINUTE, UTC),
        cpu_percent=_mean(machine.cpu_percent for machine in machines),
        cpu_percent_max=max(machine.cpu_percent for machine in machines),
        load=_mean(machine.load for machine in machines),
        memory_used=round(_mean(machine.memory_used for machine in machines)),
        memory_total=last.machine.memory_total,
        # An interface that went away took its counter with it.
        network_received=max(last.machine.network_received - wires.network_received, 0),
        network_sent=max(last.machine.network_sent - wires.network_sent, 0),
        process_memory=max(reading.process.memory for reading in readings),
        process_files=max(reading.process.files for reading in readings),
        loop_lag_max=max(reading.process.loop_lag for reading in readings),
        journal_lag_bytes=max((source.lag_bytes for source in lags), default=0),
        journal_lag_seconds=max((source.lag_seconds for source in lags), default=0.0),
        commit_p50=p50,
        commit_p99=p99,
        batch_frames=batch,
        database_up=_mean(reading.database.up for reading in readings),
        database_size=database.size,
        database_connections=_greatest(readings, lambda reading: reading.database.connections),
        oldest_transaction=_greatest(readings, lambda reading: reading.database.oldest_transaction),
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
        sources=_sources(readings, before),
        tables=database.tables,
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _greatest(readings: Sequence[Reading], of: Callable[[Reading], Number | None]) -> Number | None:
    return max((found for reading in readings if (found := of(reading)) is not None), default=None)


def _commits(all_commits: Sequence[Commits]) -> tuple[float | None, float | None, float | None]:
    """p50, p99 and the mean batch. Of p50 a mean by the number of frames, of p99 the worst."""
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


def _sources(readings: Sequence[Reading], before: Reading | None) -> dict[str, SourceMinute]:
    """By name. What another daemon collects is for that one to tell."""
    base = {source.id: source for source in before.sources} if before is not None else {}
    last = readings[-1]
    # Everything counts since the daemon began, and so does its first minute.
    seconds = max(last.at - (before.at if before is not None else last.process.started_at), 1.0)
    found = {}
    for source in last.sources:
        course = [each for reading in readings for each in reading.sources if each.id == source.id]
        done = _source(course, base.get(source.id), seconds)
        if done.frames or not source.standing_by:
            found[source.name] = done
    return found


def _source(
    course: Sequence[SourceReading], before: SourceReading | None, seconds: float
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
    """What was added."""
    return Counter(now) - Counter(before)
