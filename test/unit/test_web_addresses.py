"""Client addresses and browser names, as HTTP headers give them."""

import ipaddress

import pytest

from web.pages.account import device
from web.proxies import parse


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
def test_an_invalid_address_is_none(text: str) -> None:
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
        ("", "unknown device"),
        ("x" * 500, "x" * 60),
    ],
)
def test_browsers_in_words(agent: str, words: str) -> None:
    assert device(agent) == words
