"""Small parts of the door: tries, addresses, browsers."""

import ipaddress

import pytest

from web.accounts.devices import device
from web.proxies import parse
from web.throttle import MOST_KEYS, Logins, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tries(logins: Logins, address: str, name: str) -> int:
    """How many there are until one must wait."""
    return next(n for n in range(1000) if logins.take(address, name))


# -- tries ----------------------------------------------------------------------------------------


def test_a_bucket_fills_again() -> None:
    clock = Clock()
    throttle = Throttle(2, 10, clock)
    assert [throttle.take("a") for _ in range(4)] == [0, 0, 5, 5]
    assert throttle.take("b") == 0
    clock.now = 5
    assert [throttle.take("a") for _ in range(2)] == [0, 5]
    throttle.give_back("a")
    assert throttle.take("a") == 0
    clock.now = 1000
    assert [throttle.take("a") for _ in range(3)] == [0, 0, 5]


def test_one_address_has_so_many_tries_at_all_names() -> None:
    logins = Logins(Clock())
    assert sum(tries(logins, "1.1.1.1", f"name{n}") for n in range(50)) == 20
    assert logins.take("1.1.1.2", "name1") == 0


def test_ipv6_addresses_of_one_network_are_one() -> None:
    logins = Logins(Clock())
    assert sum(not logins.take(f"2001:db8::{n:x}", f"name{n}") for n in range(50)) == 20
    assert logins.take("2001:db8:0:1::1", "name") == 0


def test_one_name_has_so_many_tries_from_each_address_and_from_all() -> None:
    logins = Logins(Clock())
    assert tries(logins, "1.1.1.1", "ana") == 13
    assert [tries(logins, f"2.2.2.{n}", "ana") for n in range(5)] == [3] * 5


def test_its_owner_is_not_shut_out_by_those_who_guess() -> None:
    clock = Clock()
    logins = Logins(clock)
    for number in range(255):
        tries(logins, f"2.2.2.{number}", "ana")
    assert logins.take("1.1.1.1", "ana") == 0
    logins.right("1.1.1.1", "ana")
    assert tries(logins, "1.1.1.1", "ana") == 3
    assert 0 < logins.take("1.1.1.1", "ana") <= 30, "and also then not for long"
    clock.now = 30
    assert logins.take("1.1.1.1", "ana") == 0


def test_a_right_password_uses_up_nothing() -> None:
    logins = Logins(Clock())
    for _ in range(100):
        assert logins.take("1.1.1.1", "ana") == 0
        logins.right("1.1.1.1", "ana")


def test_an_account_of_ones_own_gives_no_tries_at_others() -> None:
    logins = Logins(Clock())
    found = 0
    for number in range(100):
        found += not logins.take("1.1.1.1", f"name{number}")
        if not logins.take("1.1.1.1", "eve"):
            logins.right("1.1.1.1", "eve")
    assert found <= 20


def test_memory_is_bounded() -> None:
    logins = Logins(Clock())
    for number in range(MOST_KEYS + 100):
        logins.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x" * 100_000)
    for throttle in (logins._by_address, logins._by_name, logins._by_both):
        assert len(throttle._left) <= MOST_KEYS
        assert all(len(key) < 120 for key in throttle._left)


# -- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_as_servers_write_them(text: str, address: str) -> None:
    assert parse(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize("text", ["", "unknown", "_hidden", "1.2.3", "<script>", "[", "1.2.3.4.5"])
def test_what_is_no_address(text: str) -> None:
    assert parse(text) is None


# -- browsers -------------------------------------------------------------------------------------

CHROME = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/2010 Firefox/127.0", "Firefox on Linux"),
        (CHROME.format("Linux; Android 10; K"), "Chrome on Android"),
        (CHROME.format("Windows NT 10.0; Win64; x64") + " Edg/126.0.0.0", "Edge on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
            " (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "something that does not say what it is"),
        ("x" * 500, "x" * 60),
    ],
)
def test_browsers_in_words(agent: str, words: str) -> None:
    assert device(agent) == words
