"""Page cursors as text, which programs may keep for as long as they like.

The text names the order and the filters it belongs to: using it for anything else is an error, not
a gap that goes unnoticed.
"""

import binascii
import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal, TypeAlias

import msgspec

from stream.errors import TwitterstreamError
from stream.store import feed
from stream.tweet import TweetId
from web.problem import Problem
from web.routing import row_id

Order = Literal["newest", "oldest"]
Position: TypeAlias = TweetId | feed.Cursor  # newest: a key, exclusive; oldest: of all sources

CURSOR_MAX = 12_288  # characters; over 1,000 lanes it has 8,000 to 11,000
CURSOR_PATTERN = f"^[A-Za-z0-9_-]{{1,{CURSOR_MAX}}}$"
_INVALID = "Invalid cursor: start again without it."


class _Written(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    order: Order
    filters: bytes
    position: str
    packed: bytes = b""  # a long cursor, instead of `position`; otherwise not written


def fingerprint(filters: object) -> bytes:
    """Fingerprint of the filters that a cursor belongs to; it must never change."""
    return hashlib.sha256(msgspec.json.encode(filters)).digest()[:9]


def write(order: Order, filters: bytes, position: Position, wal: int = 0) -> str:
    """The text; `wal`: what a server must have, so that nothing before `position` is missing."""
    written: tuple[object, ...] = (order, filters, f"{position}@{wal}" if wal else str(position))
    if isinstance(position, feed.Cursor) and position.is_long:
        written = (order, filters, "", position.pack())
    packed = msgspec.msgpack.encode(written)
    return urlsafe_b64encode(packed).decode().rstrip("=")


def wal_of(text: str | None) -> int | None:
    """What a server must have that goes on at this cursor; None: only the primary has it surely.

    A cursor in commit order needs nothing: a server that has less just has nothing new.
    """
    if text is None or (written := _unpack(text)).order == "oldest":
        return 0
    return row_id(written.position.partition("@")[2]) or None


def read(text: str, order: Order, filters: bytes) -> Position:
    """The position. Problem for an invalid cursor, or one of another order or other filters."""
    written = _unpack(text)
    if written.order != order:
        raise _problem(f"This cursor is for order={written.order}: use that order.")
    if written.filters != filters:
        raise _problem("This cursor is for other filters: use the same ones, or begin without it.")
    if order == "oldest":
        try:
            if written.packed:
                return feed.Cursor.unpack(written.packed)
            return feed.Cursor.parse(written.position)
        except TwitterstreamError as error:
            raise _problem(_INVALID) from error
    key_text = written.position.partition("@")[0]
    key = row_id(key_text)
    if not key and key_text != "0":
        raise _problem(_INVALID)
    return TweetId(key)


def _unpack(text: str) -> _Written:
    try:
        if len(text) > CURSOR_MAX:
            raise ValueError(text)  # noqa: TRY301 - one message for all that may be wrong with it
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        return msgspec.msgpack.decode(packed, type=_Written)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise _problem(_INVALID) from error


def _problem(sentence: str) -> Problem:
    return Problem("invalid", sentence, field="cursor")
