"""Recordings of Jetstream for imports: one message of either wire per line."""

from collections.abc import Sequence

from stream.jsontext import sign
from stream.networks.base import RawObject

_KINDS = (b'"commit"', b'"identity"', b'"account"')
_V2 = b'"network.bsky.jetstream.subscribeEvents#'


def unfold(found: RawObject, body: bytes) -> Sequence[bytes] | None:
    """The message itself; None when it is none of Jetstream."""
    if bytes(found.get("kind", b"")) in _KINDS and sign(found.get("did")) == '"':
        return [body]
    payload = found.get("payload")
    if sign(payload) == "{" and payload is not None and _V2 in bytes(payload):
        return [body]
    return None
