"""Which addresses webhooks may have: public ones, and those in networks that the settings allow.

Users choose these addresses, and what the receiver answers is shown to them. So without this check
they could reach services that are protected only by not being reachable from the internet. The
check is on the address that a socket is made for, so no name and no later change of it helps.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from stream.errors import TwitterstreamError
from stream.networks.egress import (
    AddressInfo,
    IPAddress,
    RefusedAddress,
    check_host,
    is_private,
    is_refused,
    literal_address,
    looked_up,
)
from stream.networks.http_errors import describe
from stream.text import sentence

URL_MAX = 2000  # characters
RESOLVER_THREADS = 32  # each waits for one name; more names wait for a thread
RESOLVE_TIMEOUT = 5.0  # seconds
METADATA = "this address is link-local or of a cloud's metadata service; webhooks cannot use it"
PRIVATE = "this address is private; an administrator can allow it: sinks.webhooks.allowed_networks"
PLAIN = (
    "this address has http, which is not encrypted: use https, or ask an administrator to allow the"
    " receiver's network in sinks.webhooks.allowed_networks"
)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """The networks of the setting allowed_networks."""
    return [ipaddress.ip_network(each, strict=False) for each in texts]


async def check(text: str, allowed: Sequence[Network]) -> None:
    """TwitterstreamError when a webhook cannot have this URL now."""
    check_url(text, allowed)
    url = URL(text)
    if url.scheme == "http" and literal_address(url.raw_host or "") is None:
        await _check_name(url.raw_host or "", allowed)


async def _check_name(host: str, allowed: Sequence[Network]) -> None:
    """TwitterstreamError unless this name has an address to which http is allowed."""
    resolver = Resolver()
    try:
        found = await resolver.resolve(host)
    except OSError as error:
        why = error.strerror or describe(error)
        raise TwitterstreamError(
            f"{host} cannot be looked up ({why}), so it is not known whether http is allowed there:"
            " use https, or try again when the name exists."
        ) from None
    finally:
        resolver.end()
    why = ""
    for each in found:
        try:
            check_address(ipaddress.ip_address(each["host"].partition("%")[0]), allowed, plain=True)
        except RefusedAddress as error:
            why = error.why
        else:
            return
    raise TwitterstreamError(sentence(why))


def check_url(text: str, allowed: Sequence[Network]) -> None:
    """TwitterstreamError when a webhook cannot have this URL, as far as it shows."""
    try:
        url = URL(text)
        host = (url.host or "").encode("idna").decode()
        in_brackets = "[" in urlsplit(text).netloc
    except ValueError:
        url, host, in_brackets = URL(), "", False
    is_place = host and url.port and not (in_brackets and literal_address(host) is None)
    is_written_well = text.isprintable() and " " not in text and len(text) <= URL_MAX
    if not is_place or not is_written_well or not text.startswith(("https://", "http://")):
        raise TwitterstreamError(
            "This is not an address for a webhook: it is written as https://host/path, without"
            f" spaces, and has at most {URL_MAX:,} characters."
        )
    if url.raw_user is not None or url.raw_password is not None:
        raise TwitterstreamError(
            "The address has a user name or a password: remove it. Receivers check the signature."
        )
    try:
        _check_host(url, host, allowed)
    except RefusedAddress as error:
        raise TwitterstreamError(sentence(error.why)) from None


def could_be_allowed(text: str, allowed: Sequence[Network]) -> bool:
    """Whether this depends on the addresses that its name has."""
    try:
        check_url(text, allowed)
    except TwitterstreamError:
        return False
    return True


def _check_host(url: URL, host: str, allowed: Sequence[Network]) -> None:
    """RefusedAddress when a host can be seen to be refused, without looking it up."""
    literal = literal_address(host)
    if literal is not None:
        check_address(literal, allowed, plain=url.scheme == "http")
    for why, public_only in ((METADATA, False), (PRIVATE, True)):
        try:
            check_host(str(url), public_only=public_only and not allowed)
        except RefusedAddress:
            raise RefusedAddress(why) from None
    if url.scheme == "http" and not allowed:
        raise RefusedAddress(PLAIN)


def check_address(address: IPAddress, allowed: Sequence[Network], *, plain: bool) -> None:
    """RefusedAddress unless a webhook may use this address; `plain`: without TLS."""
    if is_refused(address):
        raise RefusedAddress(METADATA)
    inner = getattr(address, "ipv4_mapped", None) or address
    if any(inner in network for network in allowed if network.version == inner.version):
        return
    if is_private(address):
        raise RefusedAddress(PRIVATE)
    if plain:
        raise RefusedAddress(PLAIN)


def socket_factory(
    allowed: Sequence[Network], *, plain: bool
) -> Callable[[AddressInfo], socket.socket]:
    """Makes the sockets of connections; RefusedAddress for an address that is refused."""

    def make(info: AddressInfo) -> socket.socket:
        check_address(looked_up(info), allowed, plain=plain)
        family, kind, protocol, *_ = info
        return socket.socket(family, kind, protocol)

    return make


class Resolver(AbstractResolver):
    """Looks up names in threads of its own.

    A lookup blocks its thread for as long as a name server likes, and the threads of the event loop
    are needed for files.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, "webhook names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name; OSError when there are none."""
        loop = asyncio.get_running_loop()
        looking = loop.run_in_executor(self._threads, _look_up, host, port, family)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                return await looking
        except TimeoutError:
            raise OSError(0, "its name server does not answer") from None

    async def close(self) -> None:
        """Nothing: connectors come and go, the threads stay."""

    def end(self) -> None:
        """End the threads, without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
    )
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=int(address[1]),
            family=family,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for family, _, proto, _, address in found
    ]
