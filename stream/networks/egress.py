"""Outgoing requests of a source: the proxy that they use, and the addresses that are blocked.

A proxy is the source's own, or the one that the environment names. The variables are those of curl
and most other programs: HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, in capitals or small letters, and
NO_PROXY with hosts, domains, networks (10.0.0.0/8) or `*`.

No source connects to link-local addresses, where clouds hand out credentials. A user who may enter
the address of a source could otherwise ask these services in the name of this machine. The check is
on the address that a socket is made for, so a name that leads there does not help; a name that only
a proxy looks up is checked as far as it can be without looking it up.

Addresses that strangers choose, such as the server that an account names, must be public: this
machine reaches private ones that are protected from the internet only by not being reachable.
"""

import contextlib
import ipaddress
import socket
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import aiohttp
import msgspec

SCHEMES = ("http://", "https://")
_AS_HTTP = {"wss": "https", "ws": "http"}  # a WebSocket uses the proxy of its first request
AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]  # of getaddrinfo
IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

REFUSED = "this address is link-local or of a cloud's metadata service; sources cannot use it"
NOT_PUBLIC = "this address is private, and an account on the network chose it; it is not used"
_METADATA = frozenset(
    ipaddress.ip_address(each)
    for each in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, of pods
        "fd20:ce::254",  # Google Cloud
    )
)
_NAMES = ("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal")
_PRIVATE_NAMES = ("localhost", "local", "internal", "lan", "home.arpa")  # and names below them
# The last 32 bits of these are an IPv4 address: NAT64, and the compatible form of old.
_WITH_IPV4 = tuple(ipaddress.ip_network(each) for each in ("64:ff9b::/96", "::/96"))
# Private addresses that `is_global` does not know: local NAT64, and the site-local form of old.
_PRIVATE = tuple(ipaddress.ip_network(each) for each in ("64:ff9b:1::/48", "fec0::/10"))


class Proxy(msgspec.Struct, frozen=True):
    """A proxy, and the variable that names it; empty for a source's own."""

    url: str
    variable: str = ""

    def __str__(self) -> str:
        """The address without user name and password, for people."""
        scheme, _, rest = self.url.partition("://")
        address = f"{scheme}://{rest.rpartition('@')[2].partition('/')[0]}"
        return f"{address} (from {self.variable})" if self.variable else address

    __repr__ = __str__

    @property
    def usable(self) -> bool:
        """SOCKS proxies are not."""
        return self.url.lower().startswith(SCHEMES)


def choose_proxy(own: str | None, address: str) -> Proxy | None:
    """The proxy for this address; the source's own wins over the environment."""
    if own:
        return Proxy(own)
    variables = getproxies_environment()
    # Not urlsplit: the connection says what is wrong with an address that it cannot take.
    scheme = _AS_HTTP.get(found := address.partition(":")[0].lower(), found)
    name = scheme if scheme in variables else "all"
    url = variables.get(name)
    if not url or _is_exception(address, variables.get("no", "")):
        return None
    return Proxy(url if "://" in url else f"http://{url}", f"{name.upper()}_PROXY")


def _is_exception(address: str, no_proxy: str) -> bool:
    """Whether NO_PROXY says that this address is reached without a proxy."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # an address that cannot be used at all
        return False
    port = port or (443 if parts.scheme in ("https", "wss") else 80)
    entries = no_proxy.lower().replace(",", " ").split()
    return any(entry == "*" or _names(entry, host, port) for entry in entries)


def _names(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY is this host, its domain, or a network that it is in."""
    with contextlib.suppress(ValueError):
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(host) in network
        return False
    name, _, only = entry.partition(":")
    if only and only != str(port):
        return False
    domain = name.removeprefix("*").lstrip(".")
    return host == domain or host.endswith(f".{domain}")


class RefusedAddress(OSError):
    """The address is blocked: nothing is sent there."""

    def __init__(self, why: str = REFUSED) -> None:
        super().__init__(0, why)
        self.why = why

    def __str__(self) -> str:
        return self.why


def is_refusal(error: BaseException) -> bool:
    """Whether a connection failed because its address is blocked."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, RefusedAddress)


def make_socket(info: AddressInfo) -> socket.socket:
    """The socket for a connection to this address; RefusedAddress for one that is refused."""
    family, kind, protocol, *_ = info
    if is_refused(looked_up(info)):
        raise RefusedAddress
    return socket.socket(family, kind, protocol)


def make_public_socket(info: AddressInfo) -> socket.socket:
    """As `make_socket`; RefusedAddress for private addresses, too."""
    if is_private(looked_up(info)):
        raise RefusedAddress(NOT_PUBLIC)
    return make_socket(info)


def looked_up(info: AddressInfo) -> IPAddress:
    """The address of a socket."""
    return ipaddress.ip_address(str(info[-1][0]).partition("%")[0])


def check_host(url: str, *, public_only: bool = False) -> None:
    """RefusedAddress when the host of a URL can be seen to be one, without looking it up."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return  # the connection says what is wrong with it
    address = literal_address(host)
    if host in _NAMES or (address is not None and is_refused(address)):
        raise RefusedAddress
    if not public_only:
        return
    private_name = any(f".{host}".endswith(f".{name}") for name in _PRIVATE_NAMES)
    if private_name or (address is not None and is_private(address)):
        raise RefusedAddress(NOT_PUBLIC)


def is_refused(address: IPAddress) -> bool:
    """Whether no source may connect to this address."""
    address = _inner(address)
    return address.is_link_local or address in _METADATA


def is_private(address: IPAddress) -> bool:
    """Whether an address is not one of the public internet, or is refused anyway."""
    outer = any(address in network for network in _PRIVATE if network.version == address.version)
    address = _inner(address)
    return outer or is_refused(address) or not address.is_global or address.is_multicast


def _inner(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address stands for; else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if any(address in network for network in _WITH_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def literal_address(host: str) -> IPAddress | None:
    """An address as it is written, also as one number: 2852039166 is 169.254.169.254."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None
