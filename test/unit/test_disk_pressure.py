"""Levels of a nearly full disk, and which tracks pause first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from monitor.maintenance.disk_pressure import (
    HYSTERESIS,
    Level,
    level_of,
    lowest_priority,
    thresholds,
)
from stream.config import AlertSettings
from stream.store.tracks import Track, TrackState
from stream.tweet import TrackId

SETTINGS = AlertSettings()


@pytest.mark.parametrize(
    ("free", "before", "level"),
    [
        (15, Level.FINE, Level.FINE),
        (14.9, Level.FINE, Level.WARN),
        (15.9, Level.WARN, Level.WARN),
        (16, Level.WARN, Level.FINE),
        (9.9, Level.FINE, Level.ARCHIVE),
        (10.9, Level.ARCHIVE, Level.ARCHIVE),
        (11, Level.ARCHIVE, Level.WARN),
        (7.4, Level.WARN, Level.PAUSE_LOW),
        (8.4, Level.PAUSE_LOW, Level.PAUSE_LOW),
        (8.5, Level.PAUSE_LOW, Level.ARCHIVE),
        (4.9, Level.FINE, Level.PAUSE_ALL),
        (5.9, Level.PAUSE_ALL, Level.PAUSE_ALL),
        (6, Level.PAUSE_ALL, Level.PAUSE_LOW),
        (0, Level.FINE, Level.PAUSE_ALL),
        (50, Level.PAUSE_ALL, Level.FINE),
    ],
)
def test_a_level_begins_below_its_percentage_and_ends_one_percent_above(
    free: float, before: Level, level: Level
) -> None:
    assert level_of(free, before, SETTINGS) == level


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 100), st.floats(0, HYSTERESIS * 0.99))
def test_a_level_does_not_flap(course: list[float], end: float, wobble: float) -> None:
    """Less than a point up and down changes a level at most once."""
    level = Level.FINE
    for free in course:
        level = level_of(free, level, SETTINGS)
    changes = 0
    for step in range(20):
        after = level_of(end + wobble * (step % 2), level, SETTINGS)
        changes += after != level
        level = after
    assert changes <= 2  # to where it is now, and over one border below it


@given(st.floats(0, 100))
def test_zero_percent_turns_a_level_off(free: float) -> None:
    names = ("warn", "archive", "pause_low", "pause_all")
    off = msgspec.convert({f"disk_{name}_percent": 0 for name in names}, AlertSettings)
    assert set(thresholds(off).values()) == {0}
    assert level_of(free, Level.FINE, off) == Level.FINE


def track(number: int, priority: int, state: TrackState = "active", **more: Any) -> Track:
    made = Track(TrackId(number), None, "keyword", "x", None, True, None, None, priority, state, "")
    return replace(made, **more)


def test_tracks_of_the_lowest_priority_pause() -> None:
    assert lowest_priority([track(1, 0), track(2, 5), track(3, 0)]) == {1, 3}
    assert lowest_priority([track(1, 0, "paused"), track(2, 5)]) == {1}  # it is paused already
    assert lowest_priority([track(1, 0, enabled=False), track(2, 1), track(3, 2)]) == {2}


@pytest.mark.parametrize(
    "tracks",
    [
        [],
        [track(1, 3)],
        [track(1, 3), track(2, 3)],
        [track(1, 3), track(2, 4, enabled=False)],
        [track(1, 3), track(2, 4, "refused")],
        [track(1, 3), track(2, 4, ends_at=datetime.now(UTC) - timedelta(hours=1))],
    ],
)
def test_never_all_tracks_pause(tracks: list[Track]) -> None:
    assert lowest_priority(tracks) == frozenset()
