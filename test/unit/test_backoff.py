"""Back-off, limits of connection attempts (X v1.1 reference §12, X v2 §8), supervised loops."""

import asyncio
import json
from pathlib import Path

import pytest

from stream.backoff import (
    Backoff,
    BackoffName,
    ConnectBudget,
    SlidingWindowLimiter,
    supervised,
)


def without_jitter() -> Backoff:
    return Backoff(lambda: 0.0)


@pytest.mark.parametrize(
    ("retry", "first", "last"),
    [
        ("network", [0.25, 0.5, 0.75], 16),
        ("http", [5, 10, 20, 40, 80, 160, 320], 320),
        ("rate_limit", [60, 120, 240], 960),
        ("connection_limit", [5, 10, 20], 20),
    ],
)
@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 1), (1.0, 1.2)])
def test_each_back_off_policy_has_the_figures_of_the_reference(
    retry: BackoffName, first: list[float], last: float, jitter: float, factor: float
) -> None:
    backoff = Backoff(lambda: jitter)
    assert [backoff.delay(retry) for _ in first] == pytest.approx([n * factor for n in first])
    for _ in range(200):
        backoff.delay(retry)
    assert backoff.delay(retry) == pytest.approx(last * factor)


def test_back_off_policies_count_separately_and_reset_together() -> None:
    backoff = without_jitter()
    assert (backoff.delay("http"), backoff.delay("network"), backoff.delay("http")) == (5, 0.25, 10)
    backoff.reset()
    assert (backoff.delay("http"), backoff.delay("network")) == (5, 0.25)


def test_the_first_retry_after_a_drop_is_free_once_a_minute() -> None:
    backoff = without_jitter()
    assert backoff.after_drop(100, delivered=True) == 0
    assert backoff.after_drop(159, delivered=True) == 5
    assert backoff.after_drop(160, delivered=True) == 0


def test_a_connection_that_delivered_nothing_has_no_free_retry() -> None:
    backoff = without_jitter()
    assert [backoff.after_drop(now, delivered=False) for now in (0, 100, 200)] == [5, 10, 20]
    resumed = [backoff.after_drop(now, delivered=False, policy="resumable") for now in range(9)]
    assert resumed == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_window_allows_its_limit_and_then_the_oldest_use_must_leave() -> None:
    window = SlidingWindowLimiter(3, 300)
    for now in (0, 10, 20):
        assert window.wait(now) == 0
        window.use(now)
    assert window.wait(20) == 280
    assert window.left(20) == 0
    assert window.wait(299.5) == pytest.approx(0.5)
    assert window.wait(300) == 0
    assert window.left(300) == 1


def test_a_reserve_is_left_for_others() -> None:
    window = SlidingWindowLimiter(5, 300)
    for _ in range(3):
        window.use(0)
    assert window.wait(1) == 0
    assert window.wait(1, reserve=2) == 299


def test_attempts_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "attempts"
    first = ConnectBudget(file, 2, 900)
    first.use(1000)
    first.use(1001)
    assert ConnectBudget(file, 2, 900).wait(1002) == 898
    assert json.loads(file.read_text()) == [1000, 1001]
    assert [path.name for path in file.parent.iterdir()] == ["attempts"]


def test_an_attempt_in_the_future_counts_as_one_of_now(tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    ConnectBudget(file, 1, 900).use(50_000)
    assert ConnectBudget(file, 1, 900).wait(1000) == 900


@pytest.mark.parametrize(
    "found",
    [b"", b"{", b"\0\0\0", b"[1, 2", b'{"a": 1}', b'["x"]', b"null", b"[" * 100_000, b"\xff"],
)
def test_a_damaged_file_of_attempts_counts_as_none_and_is_reported(
    tmp_path: Path, found: bytes
) -> None:
    file = tmp_path / "attempts"
    file.write_bytes(found)
    attempts = ConnectBudget(file, 1, 900)
    assert attempts.uses == []
    assert str(file) in attempts.unreadable
    assert attempts.wait(0) == 0
    attempts.use(0)
    assert ConnectBudget(file, 1, 900).wait(1) == 899
    assert not ConnectBudget(tmp_path / "none yet", 1, 900).unreadable


async def test_a_loop_that_fails_or_ends_is_started_again_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: asyncio.Queue[int] = asyncio.Queue()

    async def work() -> None:
        runs.put_nowait(1)
        if len(caplog.records) == 0:
            raise RuntimeError("for once")

    task = asyncio.create_task(supervised("the loop", work, 0.001))
    async with asyncio.timeout(60):
        for _ in range(3):
            await runs.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first, second, *_ = [record.getMessage() for record in caplog.records]
    assert (first, second) == ("the loop failed", "the loop ended")
    assert "for once" in caplog.text
