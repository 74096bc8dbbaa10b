"""Credentials of sources: bound to the address and proxy they were entered for, sent to no other.

The binding lies inside what the vault encrypts. So it also holds when a person edits the address of
a source by psql, or in a backup, who cannot read the credentials themselves.
"""

from yarl import URL

from stream.config.exposure import safe_url
from stream.errors import TwitterstreamError
from stream.networks.registry import NETWORKS
from stream.store.sources import SourceRow
from stream.tweet import NetworkName, Source
from stream.vault import Destination, Vault

_HTTP_OF = {"ws": "http", "wss": "https"}


class OtherAddress(TwitterstreamError):
    """The credentials were entered for another address or proxy."""


def destination(network: NetworkName, url: str | None, proxy: str | None) -> Destination:
    """The destination of credentials with this address and proxy, in one canonical spelling."""
    return Destination(_plain(url or NETWORKS[network].address), _plain(proxy or ""))


def _plain(address: str) -> str:
    """The same address, the same text; without its user name and password.

    It is read as the HTTP client reads it.
    """
    try:
        url = URL(address)
        name, port = url.host or "", url.port
    except ValueError:
        return address  # the connection reports what is wrong
    if not address:
        return ""
    host = f"[{name}]" if ":" in name else name
    shown = host if url.is_default_port() else f"{host}:{port}"
    query = f"?{url.query_string}" if url.query_string else ""
    return f"{url.scheme}://{shown}{url.path.rstrip('/')}{query}"


def check_addresses(url: str | None, proxy: str | None) -> None:
    """TwitterstreamError when a source could not use this address and proxy; empty: the default."""
    for address in (url, proxy):
        if address:
            check_address(address)
    if url and (URL(url).raw_user or URL(url).raw_password):
        raise TwitterstreamError(
            f"{safe_url(url)!r} has a user name or a password: remove it. A source logs in with its"
            " keys; only a proxy may have a password in its address."
        )


def check_address(address: str) -> None:
    """TwitterstreamError when no HTTP client could use this address."""
    try:
        url = URL(address)
        usable = url.scheme in ("http", "https") and bool((url.host or "").encode("idna"))
    except ValueError:
        url, usable = URL(), False
    if url.scheme in _HTTP_OF:
        http = _HTTP_OF[url.scheme]
        raise TwitterstreamError(
            f"{safe_url(address)!r} is the address of a WebSocket: write it with {http}:// instead"
            f" of {url.scheme}://. The program opens the WebSocket itself."
        )
    if not usable:
        raise TwitterstreamError(
            f"{safe_url(address)!r} is not an address: it is written as https://host or"
            " https://host:port, without spaces, and with / # ? @ : in a password percent-encoded."
        )


def seal(
    vault: Vault,
    network: NetworkName,
    url: str | None,
    proxy: str | None,
    secrets: dict[str, str],
) -> bytes:
    """Credentials for this address and proxy alone."""
    return vault.seal(secrets, destination(network, url, proxy))


def unseal(vault: Vault, row: SourceRow, *, url: str | None, proxy: str | None) -> dict[str, str]:
    """The credentials of a source, to be sent to this address by this proxy.

    OtherAddress when they were entered for another; TwitterstreamError when they cannot be read.
    """
    if row.secrets is None:
        return {}
    found = vault.unseal(row.secrets)
    # Of a version that did not bind them: they belong to the address of their row.
    meant = found.destination or destination(row.network, row.url, row.proxy)
    asked = destination(row.network, url, proxy)
    if meant != asked:
        raise OtherAddress(
            f"The keys were entered for {_words(meant)}, and are not sent to {_words(asked)}:"
            " enter the keys again for this address"
        )
    return found.secrets


def _words(where: Destination) -> str:
    return f"{where.address} through the proxy {where.proxy}" if where.proxy else where.address


def source_of(vault: Vault, row: SourceRow) -> Source:
    """The source with its credentials; raises as `unseal`."""
    secrets = unseal(vault, row, url=row.url, proxy=row.proxy)
    return Source(
        row.id,
        row.name,
        row.network,
        row.url,
        row.proxy,
        secrets,
        enabled=row.enabled,
        lanes=row.lanes,
    )


def rebound(vault: Vault, row: SourceRow) -> bytes | None:
    """Credentials of an older version, bound to their row's address; None if they are bound."""
    if row.secrets is None or vault.unseal(row.secrets).destination is not None:
        return None
    return seal(vault, row.network, row.url, row.proxy, vault.unseal(row.secrets).secrets)
