"""The hosts of Bluesky's Jetstream, tried in turn."""

from typing import Literal

import msgspec

from stream.config import Settings
from stream.config.settings import BlueskySettings
from stream.tweet import Source

Wire = Literal["v2", "v1"]


class Host(msgspec.Struct, frozen=True):
    """One host, and the version of the protocol to use with it."""

    address: str
    wire: Wire

    @property
    def name(self) -> str:
        """Its name and port, as cursors hold it."""
        return self.address.partition("://")[2].partition("/")[0]


def addresses(settings: Settings) -> list[str]:
    """The addresses of the settings."""
    return [*settings.bluesky.hosts, *settings.bluesky.old_hosts]


class Hosts:
    """All hosts of a source: its own address alone if it has one, else those of the settings."""

    def __init__(self, source: Source, settings: BlueskySettings) -> None:
        if source.url is not None:
            self._hosts = [Host(_http(source.url), "v2")]
        else:
            self._hosts = [Host(_http(url), "v2") for url in settings.hosts]
            self._hosts += [Host(_http(url), "v1") for url in settings.old_hosts]
        self._at = 0

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def current(self) -> Host:
        return self._hosts[self._at]

    def rotate(self) -> None:
        """Use the next host from now on."""
        self._at = (self._at + 1) % len(self._hosts)

    def only_v1(self, host: Host) -> None:
        """This host does not know the v2 wire."""
        self._hosts = [Host(each.address, "v1") if each == host else each for each in self._hosts]


def _http(url: str) -> str:
    """An address as HTTP names it: the dictionary is fetched from there, too."""
    scheme, separator, rest = url.rstrip("/").partition("://")
    return {"ws": "http", "wss": "https"}.get(scheme, scheme) + separator + rest
