"""Which addresses webhooks may have."""

import ipaddress
import socket

import pytest

from stream.errors import TwitterstreamError
from stream.networks.egress import RefusedAddress
from stream.sinks.webhook_address import check, check_address, check_url, parse_networks

REFUSED = (
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.1.1"),
    *("100.64.0.1", "0.0.0.0", "224.0.0.1", "239.1.1.1", "255.255.255.255", "168.63.129.16"),
    *("192.0.0.192", "198.18.0.1", "192.0.2.1", "240.0.0.1", "::1", "::", "fe80::1", "fc00::1"),
    *("fd00:ec2::254", "ff02::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("2002:7f00:1::", "::127.0.0.1", "2001:db8::1"),
)
LOCAL = parse_networks(["10.0.0.0/8", "fd00::/8"])
EVERYTHING = parse_networks(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("address", REFUSED)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(RefusedAddress):
        check_address(ipaddress.ip_address(address), [], plain=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_allowed_with_https_only(address: str) -> None:
    check_address(ipaddress.ip_address(address), LOCAL, plain=False)
    with pytest.raises(RefusedAddress, match="http, which is not encrypted"):
        check_address(ipaddress.ip_address(address), LOCAL, plain=True)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::5"])
def test_a_setting_allows_networks_of_ones_own(address: str, plain: bool) -> None:
    check_address(ipaddress.ip_address(address), LOCAL, plain=plain)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "100.100.100.200", "fd00:ec2::254"],
)
def test_no_setting_allows_addresses_of_metadata(address: str) -> None:
    with pytest.raises(RefusedAddress, match="metadata"):
        check_address(ipaddress.ip_address(address), EVERYTHING, plain=False)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "written as https://host/path"),
        ("ftp://example.org/", "written as https://host/path"),
        ("https://", "written as https://host/path"),
        ("https://exa mple.org/", "written as https://host/path"),
        ("https://example.org/hook\r", "written as https://host/path"),
        ("https://example.org/\u2028hook", "written as https://host/path"),
        ("https://example.org:0/", "written as https://host/path"),
        ("HTTPS://example.org/", "written as https://host/path"),
        ("https://[v1.fe]/", "written as https://host/path"),
        ("https://example.org/" + "x" * 2000, "at most 2,000 characters"),
        ("https://[::1/", "written as https://host/path"),
        ("https://example.org:99999/", "written as https://host/path"),
        ("https://me:secret@example.org/", "user name or a password"),
        ("http://example.org/", "This address has http.* use https, or ask an administrator"),
        ("http://10.0.0.1/", "This address is private; an administrator can allow it"),
        ("https://127.0.0.1/", "This address is private"),
        ("https://2130706433/", "This address is private"),
        ("https://0x7f.1/", "This address is private"),
        ("https://[::ffff:10.0.0.1]/", "This address is private"),
        ("https://localhost/", "This address is private"),
        ("https://db.internal/", "This address is private"),
        ("https://169.254.169.254/latest", "metadata service"),
        ("https://metadata.google.internal/", "metadata service"),
    ],
)
def test_what_cannot_be_an_address_is_said_at_once(url: str, words: str) -> None:
    with pytest.raises(TwitterstreamError, match=words) as refused:
        check_url(url, [])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://example.org/hook?a=b", "https://münchen.example/"])
def test_public_addresses_are_taken(url: str) -> None:
    check_url(url, [])


def test_with_networks_of_ones_own_http_is_allowed_there() -> None:
    check_url("http://10.0.0.5:8000/hook", LOCAL)
    check_url("http://receiver/hook", LOCAL)  # looked up when it is used
    with pytest.raises(TwitterstreamError, match="http, which is not encrypted"):
        check_url("http://8.8.8.8/", LOCAL)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["10.0.0.5"], ""),
        (["2606:4700::1111", "10.0.0.5"], ""),
        (["8.8.8.8"], "http, which is not encrypted"),
        (["192.168.0.1"], "This address is private"),
        (["169.254.169.254"], "metadata service"),
        ([], r"receiver.example cannot be looked up \(Name or service not known\), .*use https"),
    ],
)
async def test_http_is_allowed_for_names_within_networks_of_ones_own_only(
    monkeypatch: pytest.MonkeyPatch, found: list[str], words: str
) -> None:
    def look_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        return [(*kind, (address, 0)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    await check("https://receiver.example/", LOCAL)  # it is looked up when it is used
    if words:
        with pytest.raises(TwitterstreamError, match=f"(?i){words}"):
            await check("http://receiver.example/", LOCAL)
    else:
        await check("http://receiver.example/", LOCAL)
