"""What people keep of Mastodon: statuses alone, in arrays and pages, and lines of the stream.

Only an import asks here; what comes from a network goes to `decode` as it is.
"""

from collections.abc import Sequence

from stream.jsontext import sign
from stream.networks.base import RawObject

_POSTS = (b'"update"', b'"status.update"')


def unfold(found: RawObject, body: bytes) -> Sequence[bytes] | None:
    """The message itself; None when it holds no status of Mastodon."""
    return [body] if _is_event(found) or _is_status(found) else None


def _is_event(found: RawObject) -> bool:
    return bytes(found.get("event", b"")) in _POSTS and sign(found.get("payload")) in ('"', "{")


def _is_status(found: RawObject) -> bool:
    return (
        sign(found.get("uri")) == '"'
        and sign(found.get("account")) == "{"
        and "content" in found
        and "visibility" in found
    )
