"""Who calls, and by which address, when there are servers in front of this one."""

import ipaddress
from collections.abc import Sequence

import msgspec
from aiohttp import web


class Caller(msgspec.Struct, frozen=True):
    """Where a request comes from, and how it was addressed."""

    address: str
    scheme: str
    host: str  # with its port, as the browser knows it

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
        address = request.remote or ""
        scheme, host = request.scheme, request.host
        if not self._trusts(address):
            return Caller(address, scheme, host)
        said = request.headers.get("X-Forwarded-For", "").split(",")
        for before in reversed([each.strip() for each in said if each.strip()]):
            address = before
            if not self._trusts(before):
                break
        proto = _last(request.headers.get("X-Forwarded-Proto", ""))
        if proto in ("http", "https"):
            scheme = proto
        return Caller(address, scheme, _last(request.headers.get("X-Forwarded-Host", "")) or host)

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)


def _last(text: str) -> str:
    return text.rpartition(",")[2].strip()
