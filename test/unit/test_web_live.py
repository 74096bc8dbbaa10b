"""Queues, rates and samples of live viewers, and their share of the event loop."""

import asyncio

import pytest

from clocks import ManualClock
from stream.loop_budget import LoopBudget
from stream.tweet import UserId
from web.live.broadcaster import Subscription, ViewerQueue, subscription_of
from web.live.pacing import RATE_WINDOW, RateMeter, Sampler
from web.live.protocol import Watch, decode_client_message
from web.person import Person
from web.problem import Problem


def test_a_queue_keeps_the_newest_and_counts_the_dropped() -> None:
    queue = ViewerQueue(items_max=3, bytes_max=100)
    queue.push([b"1", b"2", b"3", b"4"])
    assert queue.take() == ([b"2", b"3", b"4"], 1)
    assert queue.take() == ([], 0)
    queue.push([b"x" * 60])
    queue.push([b"y" * 60])
    assert queue.take() == ([b"y" * 60], 1)
    queue.push([b"z" * 101])  # longer than all that may wait
    assert queue.take() == ([], 1)


async def test_a_queue_wakes_its_session() -> None:
    queue = ViewerQueue()
    queue.wake()
    await queue.wait()
    assert queue.take() == ([], 0)
    queue.push([b"1"])
    await queue.wait()


def test_a_rate_is_that_of_the_last_seconds() -> None:
    clock = ManualClock()
    rate = RateMeter(clock)
    rate.add(50)
    assert rate.per_second() == 50  # the first second is not over
    clock.now += 5
    rate.add(50)
    assert rate.per_second() == 10  # what the first batch brought had come before it
    clock.now += RATE_WINDOW - 1
    assert rate.per_second() == 5
    clock.now += RATE_WINDOW
    assert rate.per_second() == 0
    rate = RateMeter(clock)
    for batch in range(12):  # a batch of 20 each second, the first one at once
        rate.add(20)
        assert rate.per_second() == 20, batch
        clock.now += 1


def test_work_for_viewers_takes_only_its_share_of_the_time() -> None:
    clock = ManualClock()
    budget = LoopBudget(share=0.2, slice_=0.004, clock=clock)
    budget.spend(0.003)
    assert budget.wait() == 0, "so much at once"
    budget.spend(0.002)
    assert budget.wait() == pytest.approx(0.025)
    clock.now += 0.02
    assert budget.wait() == 0
    spent = 0.0
    began = clock.now
    for _ in range(1000):
        clock.now += budget.wait()
        clock.now += 0.003
        budget.spend(0.003)
        spent += 0.003
    assert spent / (clock.now - began) < 0.21
    clock.now += 1000
    budget.spend(0.005)
    assert budget.wait() > 0, "nothing is saved up"


async def test_several_tasks_share_one_budget() -> None:
    budget = LoopBudget(share=0.2)
    loop = asyncio.get_running_loop()
    began, spent = loop.time(), 0.0

    async def work() -> None:
        nonlocal spent
        while loop.time() - began < 0.5:
            await budget.wait_turn()
            budget.spend(0.01)
            spent += 0.01

    await asyncio.gather(*(work() for _ in range(5)))
    assert spent / (loop.time() - began) < 0.4


def test_a_sample_is_even_and_in_order() -> None:
    clock = ManualClock()
    sampler = Sampler(per_second=10, at_once=20, clock=clock)
    chosen = list(sampler.sample(range(1000)))
    assert len(chosen) == 20
    assert chosen == sorted(chosen)
    assert max(chosen) > 500  # no mere beginning; one that is chosen so by chance: 2^-20
    assert list(sampler.sample(range(1000))) == []
    clock.now += 1
    assert list(sampler.sample(range(7))) == list(range(7))
    assert len(sampler.sample(range(1000))) == 3
    clock.now += 1000
    assert len(sampler.sample(range(1000))) == 20


def test_equal_subscriptions_are_shared() -> None:
    def person(role: str) -> Person:
        return Person(UserId(7), "ana", role, frozenset({"read"}))  # type: ignore[arg-type]

    assert subscription_of(person("user"), None, " snow ") == subscription_of(
        person("admin"), None, "snow"
    )
    assert subscription_of(person("viewer"), None, "snow") == Subscription(
        query="snow", within=UserId(7)
    )
    assert Subscription().parsed() is None
    with pytest.raises(Problem):
        Subscription(query="(snow").parsed()


def test_only_client_messages_are_decoded() -> None:
    assert decode_client_message('{"do":"watch","query":"snow"}') == Watch(query="snow")
    deep = '{"do":"watch","x":' + "[" * 5000
    for text in ("", "{", "{}", '{"do":"fly"}', '{"do":"watch","cursor":7}', b"\xff", deep):
        assert decode_client_message(text) is None
