"""Addresses: the client's behind reverse proxies, how it addressed us, and our public one."""

import ipaddress
import re
import socket
from collections.abc import Sequence

import msgspec
from aiohttp import web

from stream.config import Settings

# A name or an address, and a port; anything else is not a host.
_HOST = re.compile(r"(?!.{260})([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_PORTS = {"http": ":80", "https": ":443"}


class Caller(msgspec.Struct, frozen=True):
    """The client's address, and the scheme and host that a request was sent to."""

    address: str
    scheme: str
    host: str  # with its port, as the browser knows it; empty when it is invalid

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"


class Proxies:
    """The proxies whose X-Forwarded-For, -Proto and -Host are trusted."""

    def __init__(self, trusted: Sequence[str], scheme: str = "") -> None:
        """`scheme`: used when they do not send it. ValueError for an invalid address."""
        self._scheme = scheme
        self._trusted = [ipaddress.ip_network(each, strict=False) for each in trusted]

    def caller(self, request: web.Request) -> Caller:
        """Walk back from the nearest proxy as long as it is trusted."""
        address = parse(request.remote or "")
        scheme, host = request.scheme, request.headers.get("Host", "")
        if self._trusts(address):
            for before in reversed(_list(request, "X-Forwarded-For")):
                if (found := parse(before)) is None:
                    break  # written by an untrusted client
                address = found
                if not self._trusts(found):
                    break
            was_passed_on = bool(_list(request, "X-Forwarded-For"))
            proto = _last(request, "X-Forwarded-Proto").lower()
            proto = proto or (self._scheme if was_passed_on else "")
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
    """Write an address as a browser does in `Origin`."""
    return host.lower().removesuffix(_PORTS[scheme]) if _HOST.fullmatch(host) else ""


def _list(request: web.Request, header: str) -> list[str]:
    values = ",".join(request.headers.getall(header, ())).split(",")
    return [each.strip() for each in values if each.strip()]


def _last(request: web.Request, header: str) -> str:
    values = _list(request, header)
    return values[-1] if values else ""


_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


def public_origin(settings: Settings, address: str | None = None) -> str:
    """The start of links: `web.public_url`, else this machine; empty when nothing is served.

    `address`: where the pages listen, if known better than from the settings.
    """
    if settings.web.public_url:
        return settings.web.public_url.rstrip("/")
    listen = (address or settings.web.listen).removeprefix("http://")
    host, _, port = listen.rpartition(":")
    if host.strip("[]") in _EVERYWHERE:
        host = socket.gethostname()
    return f"http://{host}:{port}" if listen else ""


def is_ours(settings: Settings, origin: str, asked: str) -> bool:
    """Whether this `Origin` is ours; `asked`: the address of the request.

    A reverse proxy need not pass on the host that the browser shows: `web.public_url` gives it.
    """
    public = settings.web.public_url.rstrip("/").lower()
    default = ":443" if public.startswith("https:") else ":80"
    return origin == asked or (bool(public) and origin == public.removesuffix(default))
