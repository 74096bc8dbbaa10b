"""Compressed messages of Bluesky's v2 wire: dictionaries, and reading without them.

Jetstream reference §7: each host has its own dictionary, which changes with deployments. One that
fails costs bandwidth, never a connection.
"""

import zstandard

from stream.errors import ConnectError
from stream.networks.bluesky.hosts import Host
from stream.networks.http import NetworkHttp

DICTIONARY_PATH = "/xrpc/network.bsky.jetstream.getZstdDictionary"
MESSAGE_BYTES_MAX = 8 << 20  # decompressed


class Dictionary:
    """A dictionary for compressed messages, and its id; v1 has none in its address."""

    def __init__(self, data: bytes, max_bytes: int) -> None:
        dictionary = zstandard.ZstdCompressionDict(data)
        self.id = dictionary.dict_id()
        self._max_bytes = max_bytes
        self._decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)

    def decompress(self, message: bytes) -> bytes:
        """One message; a ConnectError ends the connection when it is broken or too large."""
        try:
            return self._decompressor.decompress(message, max_output_size=self._max_bytes)
        except zstandard.ZstdError as error:
            raise ConnectError(f"a compressed message is broken: {error}", "drop") from error


class Dictionaries:
    """The dictionaries of all hosts; a host without one that works is read without compression."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._known: dict[str, Dictionary | None] = {}
        self._rejected: set[str] = set()

    async def of(self, host: Host, http: NetworkHttp) -> Dictionary | None:
        """The dictionary of this host; None: connect without compression."""
        if not self._wanted or host.wire == "v1":
            return None
        if host.name not in self._known:
            self._known[host.name] = await self._fetch(http)
        return self._known[host.name]

    def reject(self, host: Host) -> None:
        """The dictionary failed, or was replaced: fetch it once more, then do without."""
        if host.name in self._rejected:
            self._known[host.name] = None
        else:
            self._rejected.add(host.name)
            self._known.pop(host.name, None)

    async def _fetch(self, http: NetworkHttp) -> Dictionary | None:
        try:
            response = await http.request("GET", DICTIONARY_PATH, {})
        except ConnectError:
            return None
        if response.status != 200 or not response.body:
            return None
        try:
            dictionary = Dictionary(response.body, MESSAGE_BYTES_MAX)
        except zstandard.ZstdError:
            return None
        return dictionary if dictionary.id else None  # any bytes are a dictionary without an id
