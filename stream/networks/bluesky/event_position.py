"""Where an event stands in the stream, read from its undecoded bytes at next to no cost."""

from datetime import UTC, datetime, timedelta

import msgspec

from stream.errors import Reject
from stream.jsontext import read
from stream.networks.bluesky.wire_types import Number
from stream.tweet import EventPosition

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SEQ_END = 10**15  # from here on, a server takes a number for a time
_TIME_END = 10**17  # the year 5138
_EXACT_END = 1 << 53  # a float holds every whole number below


class _Position(msgspec.Struct, gc=False):
    seq: Number = None
    time: str | None = None
    witnessed_at: str | None = msgspec.field(default=None, name="witnessedAt")


class _PositionedEvent(msgspec.Struct, gc=False):
    time_us: Number = None
    payload: _Position | None = None


_EVENT = msgspec.json.Decoder(_PositionedEvent)


def event_position(body: bytes) -> EventPosition | None:
    """The number (v2) and the time of an event; None for messages that are none. Never raises.

    The time is the one at which the host witnessed the event: `time` may be rewritten by an import.
    """
    try:
        event = read(_EVENT, body)
    except Reject:
        return None
    payload = event.payload
    if payload is None:
        time = _whole(event.time_us, _TIME_END)
        return EventPosition(None, time) if time is not None else None
    time = _microseconds(payload.witnessed_at or payload.time)
    return EventPosition(_whole(payload.seq, _SEQ_END), time) if time is not None else None


def _whole(number: Number, end: int) -> int | None:
    if isinstance(number, float) and not (number.is_integer() and abs(number) < _EXACT_END):
        return None
    return int(number) if number is not None and 0 < number < end else None


def _microseconds(text: str | None) -> int | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
