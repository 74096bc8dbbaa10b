"""Admission limits, rate limits and login attempts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from clocks import ManualClock
from web.limiters import KEYS_MAX, AdmissionLimiter, LoginLimiter, RateLimiter

if TYPE_CHECKING:
    from test.conftest import Eventually


def tries(logins: LoginLimiter, address: str, name: str) -> int:
    """How many there are until one must wait."""
    return next(n for n in range(1000) if logins.take(address, name))


def test_a_token_bucket_refills() -> None:
    clock = ManualClock(0.0)
    limiter = RateLimiter(2, 10, clock)
    assert [limiter.take("a") for _ in range(4)] == [0, 0, 5, 5]
    assert limiter.take("b") == 0
    clock.now = 5
    assert [limiter.take("a") for _ in range(2)] == [0, 5]
    limiter.give_back("a")
    assert limiter.take("a") == 0
    clock.now = 1000
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 5]


def test_one_address_has_20_tries_at_all_names() -> None:
    logins = LoginLimiter(ManualClock(0.0))
    assert sum(tries(logins, "1.1.1.1", f"name{n}") for n in range(50)) == 20
    assert logins.take("1.1.1.2", "name1") == 0


def test_ipv6_addresses_of_one_network_share_a_limit() -> None:
    logins = LoginLimiter(ManualClock(0.0))
    assert sum(not logins.take(f"2001:db8::{n:x}", f"name{n}") for n in range(50)) == 20
    assert logins.take("2001:db8:0:1::1", "name") == 0


def test_one_name_has_so_many_tries_from_each_address_and_from_all() -> None:
    logins = LoginLimiter(ManualClock(0.0))
    assert tries(logins, "1.1.1.1", "ana") == 13
    assert [tries(logins, f"2.2.2.{n}", "ana") for n in range(5)] == [3] * 5


def test_an_ipv6_site_has_60_tries_and_its_neighbour_its_own() -> None:
    """A customer with a /48 has 65,536 networks; all of them together are one who guesses."""
    clock = ManualClock(0.0)
    logins = LoginLimiter(clock)
    tried = [logins.take(f"2001:db8:7:{n:x}::1", f"name{n}") for n in range(200)]
    assert tried.count(0) == 60
    assert all(0 < seconds <= 10 for seconds in tried[60:]), "one more every ten seconds"
    assert logins.take("2001:db8:8::1", "name") == 0
    clock.now = 10
    assert [bool(logins.take("2001:db8:7:ffff::1", f"other{n}")) for n in range(2)] == [False, True]


def test_tries_at_a_name_become_slower_and_are_forgotten_after_an_hour() -> None:
    clock = ManualClock(0.0)
    logins = LoginLimiter(clock)
    for number in range(10):  # the first three of each address are its own
        assert [logins.take(f"3.3.3.{number}", "ana") for _ in range(4)] == [0] * 4
    waits = []
    for _ in range(7):
        seconds = logins.take("3.3.3.1", "ana")
        waits.append(round(seconds))
        clock.now += seconds
        assert logins.take("3.3.3.1", "ana") == 0
    assert waits == [2, 4, 8, 16, 30, 30, 30]
    assert [logins.take("3.3.3.2", "bea") for _ in range(4)] == [0] * 4, "another name"
    clock.now += 3601
    assert [logins.take("3.3.3.1", "ana") for _ in range(13)] == [0] * 13


def test_guesses_do_not_lock_the_owner_out() -> None:
    clock = ManualClock(0.0)
    logins = LoginLimiter(clock)
    for number in range(255):
        tries(logins, f"2.2.2.{number}", "ana")
    assert logins.take("1.1.1.1", "ana") == 0
    logins.succeeded("1.1.1.1", "ana")
    assert tries(logins, "1.1.1.1", "ana") == 3
    assert 0 < logins.take("1.1.1.1", "ana") <= 30, "and also then not for long"
    clock.now = 30
    assert logins.take("1.1.1.1", "ana") == 0


def test_a_successful_login_does_not_count() -> None:
    logins = LoginLimiter(ManualClock(0.0))
    for _ in range(100):
        assert logins.take("1.1.1.1", "ana") == 0
        logins.succeeded("1.1.1.1", "ana")


def test_logins_to_one_account_give_no_tries_at_others() -> None:
    logins = LoginLimiter(ManualClock(0.0))
    found = 0
    for number in range(100):
        found += not logins.take("1.1.1.1", f"name{number}")
        if not logins.take("1.1.1.1", "eve"):
            logins.succeeded("1.1.1.1", "eve")
    assert found <= 20


def test_memory_is_bounded() -> None:
    logins = LoginLimiter(ManualClock(0.0))
    for number in range(KEYS_MAX + 100):
        logins.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x" * 100_000)
    for keys in (
        logins.by_address.buckets.keys(),
        logins.by_name.attempts.keys(),
        logins.by_address_and_name.buckets.keys(),
    ):
        assert len(keys) <= KEYS_MAX
        assert all(len(key) < 120 for key in keys)


# -- how many at once -----------------------------------------------------------------------------


async def test_each_key_has_a_limit_of_running_and_waiting_requests(eventually: Eventually) -> None:
    limiter = AdmissionLimiter(2, waiting=4)
    running, go_on = 0, asyncio.Event()

    async def one(key: str) -> None:
        nonlocal running
        async with limiter.admit(ConnectionRefusedError("full"), key):
            running += 1
            await go_on.wait()
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(2 + 4):
            group.create_task(one("ana"))
        await eventually(lambda: running == 2)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError, match="full"):
                await one("ana")
        group.create_task(one("ben"))
        await eventually(lambda: running == 3)
        go_on.set()
    assert (running, limiter.count("ana"), limiter.count("ben")) == (0, 0, 0)
    async with asyncio.TaskGroup() as group:
        leaving = [group.create_task(one("ana")) for _ in range(6)]
        for task in leaving:
            task.cancel()
    assert limiter.count("ana") == 0


async def test_any_number_may_wait_without_a_limit() -> None:
    limiter = AdmissionLimiter(1, waiting=None)
    inside, most = 0, 0

    async def run() -> None:
        nonlocal inside, most
        async with limiter.admit():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(run() for _ in range(100)))
    assert most == 1
    assert not limiter.is_full()
    assert limiter.count() == 0
