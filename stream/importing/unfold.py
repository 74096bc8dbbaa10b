"""One JSON document → the messages in it: out of pages, arrays, wrappers and databases.

Bytes are cut out of the document and never rewritten, except what a database or a tool changed.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from stream import jsontext
from stream.errors import Reject
from stream.networks.base import RawObject
from stream.networks.registry import NETWORKS
from stream.tweet import ControlNotice, Message, NetworkName, Tweet

DEPTH = 6  # wrappers around each other
NAMES = 200  # characters of an object's keys in a hint

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_string = msgspec.json.Decoder(str).decode
_value = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_CONSTANT = re.compile(rb"NaN|Infinity")
_STRING_OR_CONSTANT = re.compile(
    rb'(?P<string>"(?:[^"\\]++|\\.)*+")|-?\b(?:NaN|Infinity)\b', re.DOTALL
)
_MONGO = re.compile(
    rb'\{\s*"\$(?:oid|date|uuid|numberLong|numberInt|numberDouble|numberDecimal)"\s*:'
)


class Unfolder:
    """The messages of one network's recordings, and how many of them are usable."""

    def __init__(self, network: NetworkName) -> None:
        self._network = network
        self._others = [name for name in NETWORKS if name != network]
        self.understood = 0  # tweets, and messages about tweets

    def __call__(self, body: bytes) -> Sequence[bytes]:
        """The messages in a document; the document itself if it is unknown."""
        body = _plain_json(body)
        found = self.tweets(body)
        if found is None and (sanitized := _sanitized(body)) != body:
            found = self.tweets(sanitized)  # one half of an emoji must not cost a whole page
            found = [body] if found == [sanitized] else found
        if found is not None:
            self.understood += self._number_good(found)
            return found
        self.understood += _changes_tweets(self._message(body))
        return [body]

    def _number_good(self, found: Sequence[bytes]) -> int:
        """How many are usable; after the first, the exact number does not matter."""
        if self.understood:
            return len(found)
        return sum(isinstance(self._message(body), Tweet) for body in found)

    def decode(self, body: bytes) -> Message:
        """Decode as the network does, but an unknown message is a reject."""
        try:
            message = NETWORKS[self._network].decode(body)
        except Reject as reject:
            if reject.reason != "bad_shape":
                raise
            raise Reject("bad_shape", f"{reject.detail}; {self.hint(body)}") from None
        if isinstance(message, Tweet):
            whole = message.own.author_id is not None and message.text
            known = whole or self.tweets(body, 0) is not None
        else:
            known = not _is_unknown(message)
        if not known:
            raise Reject("bad_shape", self.hint(body))
        return message

    def hint(self, body: bytes) -> str:
        """Explain why a document has no tweet."""
        try:
            jsontext.sanitize_for_jsonb(body)
        except Reject as reject:
            return f"it is not in UTF-8 ({reject.detail})"
        for name in self._others:
            if Unfolder(name).tweets(body):
                return f"this looks like {name}: import it with --network {name}"
        found = _decoded(body)
        if found is None:
            return "no tweet in it"
        return f"no tweet in it; its keys: {', '.join(sorted(found))}"[:NAMES]

    def tweets(self, body: bytes, depth: int = DEPTH) -> Sequence[bytes] | None:
        """The messages of a document that has tweets; None when it has none."""
        if body[:1] == b"[":
            return self._elements(body, depth)
        if b'"$' in body and _MONGO.search(body):
            body = _without_mongo(body)
        found = _decoded(body)
        if found is None:
            return None
        own = _unfold(self._network, found, body)
        if own is not None:
            return own
        if not depth or self._is_something_else(found, body):
            return None
        parts: list[bytes] = []
        for value in found.values():
            if jsontext.sign(value) in "{[":
                parts += self.tweets(bytes(value), depth - 1) or ()
        return parts or None

    def _elements(self, body: bytes, depth: int) -> Sequence[bytes] | None:
        """Unfold each; what is not a tweet stays as it is."""
        try:
            elements = [bytes(element) for element in _list(body)]
        except (msgspec.DecodeError, RecursionError):
            return None
        found = [self.tweets(element, depth - 1) if depth else None for element in elements]
        if elements and not any(found):
            return None
        return [
            part
            for element, parts in zip(elements, found, strict=True)
            for part in (parts if parts is not None else [element])
        ]

    def _is_something_else(self, found: RawObject, body: bytes) -> bool:
        """A tweet without an id, a control message, or another network's: nothing to look into."""
        if any(jsontext.sign(found.get(name)) == '"' for name in ("text", "full_text")):
            return True
        if any(_unfold(other, found, body) for other in self._others):
            return True
        message = self._message(body)
        if message is None or _is_unknown(message):
            return False
        # A control message has one subject; with more keys it is a wrapper.
        return "event" in found or sum(jsontext.sign(each) in "{[" for each in found.values()) == 1

    def _message(self, body: bytes) -> Message | None:
        try:
            return NETWORKS[self._network].decode(jsontext.sanitize_for_jsonb(body)[0])
        except Reject:
            return None


def _sanitized(body: bytes) -> bytes:
    try:
        return jsontext.sanitize_for_jsonb(body)[0]
    except Reject:
        return body


def _plain_json(body: bytes) -> bytes:
    """JSON out of a string that holds it; NaN and Infinity, which JSON does not have, as null."""
    if body[:1] == b'"':
        try:
            inner = _string(body).encode()
        except (msgspec.MsgspecError, UnicodeError):
            return body
        return _plain_json(inner) if inner[:1] in (b"{", b"[") else body
    if _CONSTANT.search(body) and not _is_json(body):
        changed = _STRING_OR_CONSTANT.sub(lambda m: m["string"] or b"null", body)
        return changed if _is_json(changed) else body
    return body


def _is_json(body: bytes) -> bool:
    try:
        _raw(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _decoded(body: bytes) -> RawObject | None:
    try:
        return _object(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _unfold(network: NetworkName, found: RawObject, body: bytes) -> Sequence[bytes] | None:
    try:
        return NETWORKS[network].unfold(found, body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _is_unknown(message: Message) -> bool:
    return isinstance(message, ControlNotice) and message.kind in ("unknown", "error")


def _changes_tweets(message: Message | None) -> bool:
    return message is not None and not isinstance(message, Tweet | ControlNotice)


# -- MongoDB's Extended JSON ----------------------------------------------------------------------


def _without_mongo(body: bytes) -> bytes:
    """Replace MongoDB's wrapped values with plain ones."""
    try:
        return _encode(_plain(_value(jsontext.sanitize_for_jsonb(body)[0])))
    except (Reject, msgspec.MsgspecError, RecursionError, UnicodeError):
        return body


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(name, inner)] = value.items()
        if name in _TYPES:
            return _TYPES[name](_plain(inner))
    return {name: _plain(inner) for name, inner in value.items()}


def _number(value: object) -> object:
    """Convert a number that was written as text; any other text stays as it is."""
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _date(value: object) -> object:
    """Milliseconds since 1970 as ISO 8601, which older exports write themselves."""
    number = _number(value)
    if not isinstance(number, int | float):
        return value
    try:
        return datetime.fromtimestamp(number / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return value


_TYPES: dict[str, Callable[[object], object]] = {
    "$oid": lambda value: value,
    "$uuid": lambda value: value,
    "$date": _date,
    "$numberLong": _number,
    "$numberInt": _number,
    "$numberDouble": _number,
    "$numberDecimal": _number,
}
