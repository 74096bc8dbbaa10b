"""What waits for viewers, and how much of it they are shown."""

import pytest

from web.live.feed import Feed
from web.live.rate import WINDOW, Rate, Sample
from web.live.view import View, view_of
from web.live.wire import Watch, wish
from web.person import Person, UserId
from web.problem import Problem


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_feed_keeps_the_newest_and_counts_the_others() -> None:
    feed = Feed(most=3, most_bytes=100)
    feed.push([b"1", b"2", b"3", b"4"])
    assert feed.take() == ([b"2", b"3", b"4"], 1)
    assert feed.take() == ([], 0)
    feed.push([b"x" * 60])
    feed.push([b"y" * 60])
    assert feed.take() == ([b"y" * 60], 1)
    feed.push([b"z" * 101])  # longer than all that may wait
    assert feed.take() == ([], 1)


async def test_a_feed_wakes_whoever_waits() -> None:
    feed = Feed()
    feed.stir()
    await feed.wait()
    assert feed.take() == ([], 0)
    feed.push([b"1"])
    await feed.wait()


def test_a_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    rate = Rate(clock)
    rate.add(50)
    assert rate.per_second() == 50  # the first second is not over
    clock.now += 5
    rate.add(50)
    assert rate.per_second() == 20
    clock.now += WINDOW - 1
    assert rate.per_second() == 5
    clock.now += WINDOW
    assert rate.per_second() == 0


def test_a_sample_is_even_and_in_order() -> None:
    clock = Clock()
    sample = Sample(a_second=10, at_once=20, clock=clock)
    chosen = list(sample.of(range(1000)))
    assert len(chosen) == 20
    assert chosen == sorted(chosen)
    assert max(chosen) > 500  # no mere beginning; one that is chosen so by chance: 2^-20
    assert list(sample.of(range(1000))) == []
    clock.now += 1
    assert list(sample.of(range(7))) == list(range(7))
    assert len(sample.of(range(1000))) == 3
    clock.now += 1000
    assert len(sample.of(range(1000))) == 20


def test_what_is_watched_alike_is_one_view() -> None:
    def person(role: str) -> Person:
        return Person(UserId(7), "ana", role, frozenset({"read"}))  # type: ignore[arg-type]

    assert view_of(person("user"), None, " snow ") == view_of(person("admin"), None, "snow")
    assert view_of(person("viewer"), None, "snow") == View(query="snow", within=UserId(7))
    assert View().parsed() is None
    with pytest.raises(Problem):
        View(query="(snow").parsed()


def test_only_wishes_are_wishes() -> None:
    assert wish('{"do":"watch","query":"snow"}') == Watch(query="snow")
    for text in ("", "{", "{}", '{"do":"fly"}', '{"do":"watch","cursor":7}', b"\xff"):
        assert wish(text) is None
