"""Who calls, and by which address, when there are servers in front of this one."""

import ipaddress
import re
from collections.abc import Sequence

import msgspec
from aiohttp import web

# A name or an address, and a port. What else stands there is nobody's host.
_HOST = re.compile(r"(?!.{260})([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_PORTS = {"http": ":80", "https": ":443"}


class Caller(msgspec.Struct, frozen=True):
    """Where a request comes from, and how it was addressed."""

    address: str
    scheme: str
    host: str  # with its port, as the browser knows it; empty when it is none

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"


class Proxies:
    """The servers whose X-Forwarded-For, -Proto and -Host are believed, and no others."""

    def __init__(self, trusted: Sequence[str]) -> None:
        """ValueError for what is no address or network."""
        self._trusted = [ipaddress.ip_network(each, strict=False) for each in trusted]

    def caller(self, request: web.Request) -> Caller:
        """Walk back from the nearest server as long as it is one of ours."""
        address = parse(request.remote or "")
        scheme, host = request.scheme, request.headers.get("Host", "")
        if self._trusts(address):
            for before in reversed(_list(request, "X-Forwarded-For")):
                if (found := parse(before)) is None:
                    break  # what a stranger wrote there
                address = found
                if not self._trusts(found):
                    break
            proto = _last(request, "X-Forwarded-Proto").lower()
            scheme = proto if proto in _PORTS else scheme
            host = _last(request, "X-Forwarded-Host") or host
        return Caller(str(address or ""), scheme, _plain(host, scheme))

    def _trusts(self, address: "ipaddress.IPv4Address | ipaddress.IPv6Address | None") -> bool:
        return address is not None and any(address in network for network in self._trusted)


def parse(text: str) -> "ipaddress.IPv4Address | ipaddress.IPv6Address | None":
    """An address as servers write it: also with a port, in brackets, or IPv4 in the form of 6."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _plain(host: str, scheme: str) -> str:
    """As a browser would write it in `Origin`."""
    return host.lower().removesuffix(_PORTS[scheme]) if _HOST.fullmatch(host) else ""


def _list(request: web.Request, header: str) -> list[str]:
    said = ",".join(request.headers.getall(header, ())).split(",")
    return [each.strip() for each in said if each.strip()]


def _last(request: web.Request, header: str) -> str:
    said = _list(request, header)
    return said[-1] if said else ""
