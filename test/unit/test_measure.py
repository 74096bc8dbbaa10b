"""Percentiles, rates, minutes: what snapshots are made of, and what is made of them."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.jobs import Busy, DetachedCall
from monitor.measure.machine import (
    TICK,
    ClockJump,
    LoopLag,
    _CpuTimes,
    _percent,
    archive_folder,
    volume,
)
from monitor.measure.pipeline import MonotonicCounter, StallTimer, commits, percentile
from monitor.measure.postgres import days_ahead
from monitor.measure.rollup import MinuteAggregator, minute
from monitor.snapshot import (
    Commits,
    DatabaseSnapshot,
    Machine,
    Process,
    Snapshot,
    SourceSnapshot,
    Volume,
)
from snapshots import make_snapshot, make_source
from stream.journal.backlog import BacklogAge
from stream.store.machine_history import MachineMinute
from stream.writer import CommitTiming

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def source(**changed: object) -> SourceSnapshot:
    """One that has read nothing yet."""
    return make_source(NOON, **({"bytes": 0, "frames": 0} | changed))


def snapshot(after: float, *sources: SourceSnapshot, **changed: object) -> Snapshot:
    """Made so many seconds after noon, by a daemon that began at noon."""
    fields: dict[str, object] = {
        "sources": sources,
        "machine": Machine(50.0, 2, 1.0, 1000, 400, 10_000, 20_000, ()),
        "process": Process(1 << 20, 10.0, 20, 1024, 0.01, NOON),
        "commits": Commits(0, None, None, None),
        "database": DatabaseSnapshot(True, "", NOON, 10, {"tweets": 5}, 16, 7, 3, 100, 0.5),
    }
    return make_snapshot(NOON + after, **(fields | changed))


# -- commits --------------------------------------------------------------------------------------


def test_percentiles_are_those_of_frames_spread_between_the_first_and_the_last() -> None:
    timings = [CommitTiming(NOON, 100, 1.0, 0.0)]
    assert percentile(timings, 0.5) == pytest.approx(0.5)
    assert percentile(timings, 0.99) == pytest.approx(0.99)


def test_a_slow_batch_is_weighted_by_its_frames() -> None:
    timings = [CommitTiming(NOON, 980, 0.2, 0.1), CommitTiming(NOON, 20, 5.0, 5.0)]
    assert percentile(timings, 0.5) == pytest.approx(0.151, abs=0.001)
    assert percentile(timings, 0.99) == pytest.approx(5.0)
    assert commits(timings).batch_frames == 500


def test_without_commits_there_are_no_percentiles() -> None:
    assert commits([]) == Commits(0, None, None, None)


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20
    ),
    st.sampled_from([0.1, 0.5, 0.9, 0.99]),
)
def test_percentiles_agree_with_a_count_of_every_frame(
    batches: list[tuple[int, float, float]], share: float
) -> None:
    fine = 200  # so many frames in place of each
    timings = [CommitTiming(NOON, n, max(a, b), min(a, b)) for n, a, b in batches]
    delays = sorted(
        timing.newest + (timing.oldest - timing.newest) * (n + 0.5) / (timing.frames * fine)
        for timing in timings
        for n in range(timing.frames * fine)
    )
    found = percentile(timings, share)
    below = sum(delay <= found + 1e-6 for delay in delays) / len(delays)
    under = sum(delay < found - 1e-6 for delay in delays) / len(delays)
    assert under - 0.01 <= share <= below + 0.01


# -- counts and rates -----------------------------------------------------------------------------


def test_a_changed_clock_is_measured_and_a_suspended_machine_is_not() -> None:
    wall, steady = 1000.0, 5.0
    clock = ClockJump(lambda: wall, lambda: steady)
    wall, steady = wall + 10, steady + 10
    assert clock.take() == 0
    wall, steady = wall + 3600 + 10, steady + 10
    assert clock.take() == 3600
    wall, steady = wall - 3600 + 10, steady + 10
    assert clock.take() == -3600
    wall, steady = wall + 7200, steady + 7200  # the machine slept
    assert clock.take() == 0


def test_a_position_is_stalled_only_while_there_is_more_to_store() -> None:
    now = 0.0
    standstill = StallTimer(lambda: now)
    for at, position, end, seconds in (
        (5.0, 10, 10, 0.0),  # all is stored
        (20.0, 10, 30, 15.0),  # it was, up to 5.0; since then the journal has grown
        (40.0, 10, 90, 35.0),
        (50.0, 30, 90, 0.0),
        (60.0, 90, 90, 0.0),
    ):
        now = at
        assert standstill.seconds(position, end) == seconds


def test_a_backlog_is_as_old_as_the_first_end_that_is_not_stored() -> None:
    now = [0.0]
    age = BacklogAge(lambda: now[0])
    course = [(0, 0, 5, 0), (10, 5, 9, 0), (20, 5, 12, 10), (30, 10, 20, 10), (40, 20, 20, 0)]
    for at, stored, end, expected in course:
        now[0] = at
        assert age.seconds(stored, end) == expected, at


def test_the_age_of_a_backlog_is_known_however_long_it_lasts() -> None:
    now = [0.0]
    age = BacklogAge(lambda: now[0])
    for at in range(1000):
        now[0] = at
        assert age.seconds(0, at + 1) == at


def test_a_total_continues_when_its_counter_is_replaced() -> None:
    tally = MonotonicCounter()
    first = {"frames": 3}
    assert tally.total(first)["frames"] == 3
    first["frames"] = 5
    assert tally.total(None)["frames"] == 5  # nothing counts now
    assert tally.total({"frames": 2})["frames"] == 7


def test_cpu_use_is_that_since_the_last_measurement() -> None:
    assert _percent(_CpuTimes(10, 90, 5, 0), _CpuTimes(16, 94, 6, 4)) == (60.0, 25.0)
    assert _percent(_CpuTimes(10, 90, 5, 0), _CpuTimes(10, 90, 5, 0)) == (0.0, 0.0)


def test_a_minute_has_the_differences_of_its_snapshots() -> None:
    before = snapshot(59, source(frames=100, bytes=5000, outcomes={"stored": 90}))
    machine = before.machine
    grown = msgspec.structs.replace(machine, network_received=10_500, network_sent=20_700)
    snapshots = [
        snapshot(
            70,
            source(frames=110, lag_bytes=900, lag_seconds=3.0, attempts_left=40),
            machine=msgspec.structs.replace(machine, cpu_percent=90.0, memory_used=600),
            process=msgspec.structs.replace(before.process, loop_lag=0.7, files=33),
            commits=Commits(2, 15.0, 0.1, 0.4),
            database=msgspec.structs.replace(before.database, up=False, oldest_transaction=None),
        ),
        snapshot(
            119,
            source(
                frames=160,
                bytes=8000,
                outcomes={"stored": 120, "unmatched": 20, "duplicate": 7, "rejected": 2},
                rejects={"no_id": 2},
                losses={"silence": 1},
                attempts=3,
                attempts_left=42,
                gap_seconds_today=12.5,
            ),
            machine=grown,
            commits=Commits(1, 30.0, 0.3, 0.2),
        ),
    ]
    made = minute(snapshots, before)
    assert made.at == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)
    assert (made.cpu_percent, made.cpu_percent_max, made.memory_used) == (70.0, 90.0, 500)
    assert (made.network_received, made.network_sent) == (500, 700)
    assert (made.loop_lag_max, made.process_files) == (0.7, 33)
    assert (made.journal_lag_bytes, made.journal_lag_seconds) == (900, 3.0)
    assert made.commit_p50 == pytest.approx(0.2)
    assert (made.commit_p99, made.batch_frames) == (0.4, 20.0)
    assert (made.database_up, made.oldest_transaction) == (0.5, 0.5)
    main = made.sources["main"]
    assert (main.frames, main.bytes, main.tweets) == (60, 3000, 50)
    assert (main.duplicates, main.unmatched, main.rejected) == (7, 20, 2)
    assert (main.rejects, main.reconnects) == ({"no_id": 2}, {"silence": 1})
    assert (main.frames_per_s, main.tweets_per_s, main.bytes_per_s) == (1.0, 0.833, 50.0)
    assert (main.attempts, main.attempts_left, main.gap_seconds_today) == (2, 40, 12.5)


def test_the_first_minute_counts_from_the_start_of_the_daemon() -> None:
    made = minute([snapshot(30, source(frames=60))], None)
    assert (made.sources["main"].frames, made.sources["main"].frames_per_s) == (60, 2.0)
    assert made.network_received == 0  # that counts since the machine began


def test_a_source_of_another_daemon_is_left_out() -> None:
    other = source(name="other", id=2, collecting=False, standing_by=True)
    assert set(minute([snapshot(1, source(), other)], None).sources) == {"main"}


def test_counters_that_restart_are_never_negative() -> None:
    before = snapshot(59, source(outcomes={"stored": 5}))
    small = msgspec.structs.replace(before.machine, network_received=1, network_sent=1)
    made = minute([snapshot(61, source(), machine=small)], before)
    assert (made.network_received, made.network_sent) == (0, 0)
    assert made.sources["main"].tweets == 0


def test_volumes_are_kept_by_name() -> None:
    disk = Volume("data", "/somewhere", 1, 100, 60, 30)
    machine = msgspec.structs.replace(snapshot(0).machine, volumes=(disk,))
    made = minute([snapshot(0, machine=machine)], None)
    assert made.volumes == {"data": {"path": "/somewhere", "total": 100, "used": 60, "free": 30}}


def test_every_frame_is_in_exactly_one_minute() -> None:
    aggregator, chance = MinuteAggregator(), random.Random(3)
    frames, after, found = 0, 0.0, list[MachineMinute]()
    for _ in range(400):
        after += chance.uniform(1, 25)
        frames += chance.randrange(100)
        if (done := aggregator.add(snapshot(after, source(frames=frames)))) is not None:
            found.append(done)
    assert len({made.at for made in found}) == len(found)
    open_minute = minute(aggregator._snapshots, aggregator._before)
    assert sum(made.sources["main"].frames for made in [*found, open_minute]) == frames


# -- looking --------------------------------------------------------------------------------------


async def test_a_blocked_event_loop_is_measured_once(eventually: Eventually) -> None:
    lag = LoopLag()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lag.run())
        await asyncio.sleep(0)
        time.sleep(TICK + 0.3)  # noqa: ASYNC251 - it is what is to be noticed
        await eventually(lambda: lag._worst)
        task.cancel()
    assert lag.take() >= 0.3
    assert lag.take() == 0.0


async def test_a_call_that_hangs_times_out_alone(eventually: Eventually) -> None:
    come_back = threading.Event()
    detached = DetachedCall("disk")
    with pytest.raises(Busy, match="no answer within"):
        await detached.run(come_back.wait, 0.05)
    with pytest.raises(Busy, match="the previous call"):
        await detached.run(come_back.wait)
    come_back.set()
    assert detached._last is not None
    await eventually(detached._last.done)
    assert await detached.run(come_back.wait) is True


async def test_an_error_in_a_call_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError):
        await DetachedCall("disk").run(fail)


def test_a_folder_that_does_not_exist_yet_is_on_the_disk_of_its_parent(tmp_path: Path) -> None:
    there, coming = volume("data", tmp_path), volume("archive", tmp_path / "a" / "b")
    assert coming.device == there.device
    assert coming.total == there.total > 0
    assert there.used + there.free <= there.total
    with pytest.raises(FileNotFoundError):  # of a server somewhere else
        volume("postgres", tmp_path / "a" / "b")


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("", None),
        ("/srv/tweets", Path("/srv/tweets")),
        ("file:///srv/my%20tweets", Path("/srv/my tweets")),
        ("s3://bucket/tweets", None),
    ],
)
def test_only_a_folder_of_this_machine_is_a_volume(url: str, folder: Path | None) -> None:
    assert archive_folder(url) == folder


def test_days_ahead_end_at_the_first_missing_partition() -> None:
    names = [f"{parent}_202603{day:02}" for parent in ("tweets", "matches") for day in (1, 2, 3, 5)]
    assert days_ahead(names, date(2026, 3, 1)) == 2
    assert days_ahead([*names, "matches_20260304"], date(2026, 3, 1)) == 2
    assert days_ahead([], date(2026, 3, 1)) == 0
