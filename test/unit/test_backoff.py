"""The ladders and the budget of attempts (X v1.1 reference §12, X v2 reference §8)."""

import json
from pathlib import Path

import pytest

from stream.backoff import JITTER, LADDERS, Attempts, Backoff, Rung, Window

NEVER, ALWAYS = (lambda: 0.0), (lambda: 1.0)


@pytest.mark.parametrize(
    ("ladder", "first", "last"),
    [
        ("network", [0.25, 0.5, 0.75], 16),
        ("http", [5, 10, 20, 40, 80, 160, 320], 320),
        ("rate_limit", [60, 120, 240], 960),
        ("slot", [5, 10, 20], 20),
    ],
)
def test_each_ladder_has_the_figures_of_the_reference(
    ladder: Rung, first: list[float], last: float
) -> None:
    backoff = Backoff(NEVER)
    assert [backoff.delay(ladder) for _ in first] == first
    for _ in range(200):
        backoff.delay(ladder)
    assert backoff.delay(ladder) == last


def test_ladders_are_climbed_one_by_one_and_reset_together() -> None:
    backoff = Backoff(NEVER)
    assert (backoff.delay("http"), backoff.delay("network"), backoff.delay("http")) == (5, 0.25, 10)
    backoff.reset()
    assert (backoff.delay("http"), backoff.delay("network")) == (5, 0.25)


@pytest.mark.parametrize("ladder", list(LADDERS))
def test_jitter_only_ever_adds_up_to_a_fifth(ladder: Rung) -> None:
    least, most = Backoff(NEVER).delay(ladder), Backoff(ALWAYS).delay(ladder)
    assert least == LADDERS[ladder].first
    assert most == pytest.approx(least * (1 + JITTER))


def test_the_first_retry_after_a_drop_is_free_once_a_minute() -> None:
    backoff = Backoff(NEVER)
    assert backoff.after_drop(100, delivered=True) == 0
    assert backoff.after_drop(159, delivered=True) == 5
    assert backoff.after_drop(160, delivered=True) == 0


def test_a_connection_that_delivered_nothing_has_no_free_retry() -> None:
    backoff = Backoff(NEVER)
    assert [backoff.after_drop(now, delivered=False) for now in (0, 100, 200)] == [5, 10, 20]


def test_a_window_allows_its_limit_and_then_the_oldest_use_must_leave() -> None:
    window = Window(3, 300)
    for now in (0, 10, 20):
        assert window.wait(now) == 0
        window.use(now)
    assert window.wait(20) == 280
    assert window.left(20) == 0
    assert window.wait(299.5) == pytest.approx(0.5)
    assert window.wait(300) == 0
    assert window.left(300) == 1


def test_a_reserve_is_left_for_others() -> None:
    window = Window(5, 300)
    for _ in range(3):
        window.use(0)
    assert window.wait(1) == 0
    assert window.wait(1, reserve=2) == 299


def test_attempts_outlive_the_process(tmp_path: Path) -> None:
    file = tmp_path / "new" / "attempts"
    first = Attempts(file, 2, 900)
    first.use(1000)
    first.use(1001)
    assert Attempts(file, 2, 900).wait(1002) == 898
    assert json.loads(file.read_text()) == [1000, 1001]
    assert [path.name for path in file.parent.iterdir()] == ["attempts"]


def test_an_attempt_noted_by_a_clock_that_was_ahead_counts_as_one_of_now(tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    Attempts(file, 1, 900).use(50_000)
    assert Attempts(file, 1, 900).wait(1000) == 900


@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', '["x"]', "null"])
def test_a_spoilt_file_of_attempts_does_not_stop_anything(tmp_path: Path, text: str) -> None:
    file = tmp_path / "attempts"
    file.write_text(text)
    attempts = Attempts(file, 1, 900)
    assert attempts.wait(0) == 0
    attempts.use(0)
    assert Attempts(file, 1, 900).wait(1) == 899
