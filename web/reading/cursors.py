"""Where a reader has come to, as text that programs keep for as long as they like.

The text says by itself to which order and to which filters it belongs, so that one that is used for
something else is an error, and never a hole that nobody sees.
"""

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal, TypeAlias

import msgspec

from stream import stored
from stream.errors import TwitterstreamError
from stream.tweet import TweetId
from web.problem import Problem

Order = Literal["newest", "oldest"]
Position: TypeAlias = TweetId | stored.Cursor  # newest: a key, exclusive; oldest: of all sources

LONGEST = 8192  # characters of a cursor; with 100 sources it has 6,000
PATTERN = f"^[A-Za-z0-9_-]{{1,{LONGEST}}}$"
_LARGEST_KEY = 2**63 - 1
_STRANGE = "This cursor is none of ours: begin without one."


class _Written(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    order: Order
    filters: bytes
    position: str


def fingerprint(filters: object) -> bytes:
    """Of all that a cursor belongs to; the same for ever."""
    return hashlib.sha256(msgspec.json.encode(filters)).digest()[:9]


def write(order: Order, filters: bytes, position: Position) -> str:
    packed = msgspec.msgpack.encode(_Written(order, filters, str(position)))
    return urlsafe_b64encode(packed).decode().rstrip("=")


def read(text: str, order: Order, filters: bytes) -> Position:
    """Problem for a cursor that was never given out, or for another question."""
    written = _unpack(text)
    if written.order != order:
        raise _problem(f"This cursor is for order={written.order}: ask for that again.")
    if written.filters != filters:
        raise _problem(
            "This cursor is for other filters: ask with the same ones, or begin without it."
        )
    if order == "oldest":
        try:
            return stored.Cursor.parse(written.position)
        except TwitterstreamError as error:
            raise _problem(_STRANGE) from error
    if not (written.position.isdecimal() and int(written.position) <= _LARGEST_KEY):
        raise _problem(_STRANGE)
    return TweetId(int(written.position))


def _unpack(text: str) -> _Written:
    try:
        if len(text) > LONGEST:
            raise ValueError(text)  # noqa: TRY301 - all that is wrong with it is said in one way
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return msgspec.msgpack.decode(packed, type=_Written)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise _problem(_STRANGE) from error


def _problem(sentence: str) -> Problem:
    return Problem("invalid", sentence, field="cursor")
