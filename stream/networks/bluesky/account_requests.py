"""Requests about accounts: to the directory, the AppView, and the hosts that accounts name."""

from typing import TypeVar

import msgspec

from stream.backoff import Clock
from stream.errors import Reject
from stream.jsontext import read
from stream.networks.http import NetworkHttp
from stream.networks.response import Response
from stream.tweet import Source, SourceId

T = TypeVar("T", bound=msgspec.Struct)

ANSWER_BYTES_MAX = 1 << 20  # a DID document of that size would hold thousands of names


async def get(
    clock: Clock,
    base: str,
    path: str,
    *,
    public_only: bool = False,
    max_bytes: int = ANSWER_BYTES_MAX,
) -> Response:
    """The response to a GET, whatever its status; see `NetworkHttp`. Raises ConnectError."""
    source = Source(SourceId(0), "accounts", "bluesky", None, None, {}, enabled=True)
    http = NetworkHttp(source, clock, base, public_only=public_only, max_bytes=max_bytes)
    return await http.request("GET", path, {})


def body_as(response: Response, kind: type[T]) -> T:
    """The body of a response; parts of a wrong type have their defaults."""
    try:
        return read(msgspec.json.Decoder(kind), response.body)
    except Reject:
        return kind()
