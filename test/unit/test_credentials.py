"""Credentials are opened for the address and proxy they were entered for, and for no other."""

from pathlib import Path

import pytest

from stream import credentials
from stream.credentials import OtherAddress
from stream.errors import TwitterstreamError
from stream.networks.registry import NETWORKS
from stream.store.sources import SourceRow
from stream.tweet import SourceId
from stream.vault import Vault

SECRETS = {"bearer_token": "hunter2-hunter2"}
HERE = "https://collector.example/x"
OWN = NETWORKS["x_v2"].address


def row(url: str | None, proxy: str | None, secrets: bytes | None) -> SourceRow:
    return SourceRow(
        SourceId(1), "main", "x_v2", url, proxy, secrets, True, "idle", "", None, None, None
    )


@pytest.mark.parametrize(
    ("url", "other"),
    [
        (HERE, HERE + "/"),
        (HERE, "https://COLLECTOR.example:443/x"),
        (HERE, "https://me:password@collector.example/x"),
        (None, OWN),
        (OWN + ":443", None),
        ("https://xn--a.example", "https://xn--a.example"),  # no name that can exist
        ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/"),
    ],
)
def test_two_spellings_of_one_address_are_equal(
    tmp_path: Path, url: str | None, other: str | None
) -> None:
    vault = Vault(tmp_path)
    sealed = credentials.seal(vault, "x_v2", url, None, SECRETS)
    found = credentials.source_of(vault, row(other, None, sealed))
    assert (found.secrets, found.url) == (SECRETS, other)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        (None, None),
        ("http://collector.example/x", None),
        ("https://collector.example/y", None),
        ("https://collector.example:444/x", None),
        ("https://collector.example.evil/x", None),
        ("https://collector.example@evil.example/x", None),
        ("https://evil.example/x#@collector.example/x", None),
        ("https://evil.example\\@collector.example/x", None),
        ("https://collector.example/x?a=b", None),
        ("https://collector.example:x/x", None),
        (HERE, "http://proxy.example:3128"),
        (HERE, "http://me:password@proxy.example"),
    ],
)
def test_credentials_are_not_sent_to_another_address_or_proxy(
    tmp_path: Path, url: str | None, proxy: str | None
) -> None:
    vault = Vault(tmp_path)
    sealed = credentials.seal(vault, "x_v2", HERE, None, SECRETS)
    with pytest.raises(OtherAddress, match="enter the keys again") as refusal:
        credentials.source_of(vault, row(url, proxy, sealed))
    assert "hunter2" not in str(refusal.value)
    assert "password" not in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    ["collector.example", "ftp://h", "https://[::1", "https://h:99999", "https:///x",
     "https://a..b", "https://xn--a.example", "http://me:hunter2/hunter2@proxy:1",
     "http://me:hunter2@proxy:one", ""],
)  # fmt: skip
def test_the_error_for_an_invalid_address_shows_no_password(address: str) -> None:
    with pytest.raises(TwitterstreamError, match="is not an address") as caught:
        credentials.check_address(address)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", [HERE, OWN, "https://täg.example:8/x", "http://[::1]:8080"])
def test_valid_addresses(address: str) -> None:
    credentials.check_address(address)


@pytest.mark.parametrize(
    "url", ["http://me:hunter2@host", "http://me@host", "http://:hunter2@host"]
)
def test_only_a_proxy_may_have_a_user_name_or_password_in_its_address(url: str) -> None:
    credentials.check_addresses(HERE, url)
    credentials.check_addresses(None, None)
    credentials.check_addresses("", "")
    with pytest.raises(TwitterstreamError, match="user name or a password") as caught:
        credentials.check_addresses(url, None)
    assert "hunter2" not in str(caught.value)


def test_credentials_are_bound_to_their_proxy(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    sealed = credentials.seal(vault, "x_v2", HERE, "http://a:1", SECRETS)
    assert credentials.source_of(vault, row(HERE, "http://me:pw@A:1/", sealed)).secrets == SECRETS
    for proxy in (None, "http://b:1", "http://a:2"):
        with pytest.raises(OtherAddress):
            credentials.source_of(vault, row(HERE, proxy, sealed))


def test_credentials_of_an_older_version_are_bound_to_their_address(
    tmp_path: Path,
) -> None:
    vault = Vault(tmp_path)
    old = row(HERE, None, vault.seal(SECRETS))
    assert credentials.source_of(vault, old).secrets == SECRETS
    with pytest.raises(OtherAddress):
        credentials.unseal(vault, old, url="https://evil.example", proxy=None)
    bound = credentials.rebound(vault, old)
    assert bound is not None
    assert credentials.rebound(vault, row(HERE, None, bound)) is None
    with pytest.raises(OtherAddress):
        credentials.source_of(vault, row("https://evil.example", None, bound))


def test_a_source_without_credentials_may_have_any_address(tmp_path: Path) -> None:
    assert credentials.source_of(Vault(tmp_path), row(HERE, None, None)).secrets == {}


@pytest.mark.parametrize(("scheme", "remedy"), [("wss", "https://"), ("ws", "http://")])
def test_the_address_of_a_websocket_is_refused_with_the_remedy(scheme: str, remedy: str) -> None:
    with pytest.raises(TwitterstreamError, match=f"write it with {remedy} instead of {scheme}://"):
        credentials.check_addresses(f"{scheme}://jetstream.us-east.bsky.network", None)
