"""The event log that clients replay: sequence numbers, look-back, and the JSON of both wires."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

TRIM = 1024  # events that are dropped at once

_STRING = msgspec.json.encode


class Event(msgspec.Struct, gc=False):
    """One event, with as much of its JSON as all hosts and both wires share."""

    number: int  # position since the start of the network
    witnessed: int  # µs: what a time cursor looks for
    shown: int  # µs: the time in the message
    did: str
    kind: str  # commit, identity, account, sync; "" for a raw message
    collection: str  # of a commit
    head: bytes  # members of v2 before `record`, without braces: "rev":…,"operation":…
    record: bytes  # JSON of the record, of identity, account or sync; empty for a deletion
    cid: str = ""
    resync: bool = False  # a row that a resync creates: never on v1

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return 400 + len(self.head) + len(self.record)


class EventLog:
    """All events of the network, oldest first, as far as they are kept."""

    def __init__(self, lookback: float, max_bytes: int) -> None:
        self.lookback = lookback
        self.max_bytes = max_bytes
        self.events: list[Event] = []
        self.start = 0  # number of the first event kept
        self.bytes = 0

    @property
    def tip(self) -> int:
        """The number that the next event will get."""
        return self.start + len(self.events)

    def append(self, event: Event) -> None:
        """Add the next event; its number must be `tip`."""
        self.events.append(event)
        self.bytes += event.size

    def trim(self) -> None:
        """Trim what is too old."""
        limit = 0
        if self.events:
            limit = self._index_of(self.events[-1].witnessed - int(self.lookback * 1e6))
        total = self.bytes
        while total > self.max_bytes:
            total -= self.events[limit].size
            limit += 1
        if limit >= TRIM:
            self.bytes -= sum(event.size for event in self.events[:limit])
            del self.events[:limit]
            self.start += limit

    def read(self, number: int, count: int) -> Sequence[Event]:
        """Events from this number on; from the oldest one when it is no longer kept."""
        index = max(0, number - self.start)
        return self.events[index : index + count]

    def at_time(self, micros: int) -> int:
        """Number of the first event witnessed at or after this time."""
        return self.start + self._index_of(micros)

    def floor(self, now: int, keep: int | None = None) -> int:
        """Number of the oldest event within the look-back; `keep`: of so many at most."""
        floor = self.at_time(now - int(self.lookback * 1e6))
        return floor if keep is None else max(floor, self.tip - keep)

    def _index_of(self, micros: int) -> int:
        return bisect_left(self.events, micros, key=attrgetter("witnessed"))


def v1_message(event: Event, seq: int, shift: int) -> bytes:
    """An event on the wire of /subscribe; `shift`: µs that this host differs."""
    if not event.kind:
        return event.record
    body = event.record
    if event.kind == "commit":
        record = b',"record":%b,"cid":"%b"' % (_html_escaped(event.record), event.cid.encode())
        body = b"{%b%b}" % (event.head, record if event.record else b"")
    return b'{"did":%b,"time_us":%d,"cursor":%d,"kind":"%b","%b":%b}' % (
        _STRING(event.did),
        event.shown + shift,
        seq,
        event.kind.encode(),
        event.kind.encode(),
        body,
    )


def _html_escaped(json: bytes) -> bytes:
    """Escape & < > in strings, as the encoder of the v1 wire does."""
    return json.replace(b"&", rb"\u0026").replace(b"<", rb"\u003c").replace(b">", rb"\u003e")


_PAYLOAD = (
    b'{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#%b",'
    b'"seq":%d,"did":%b,"time":"%b",%b}}'
)


def v2_message(event: Event, seq: int, shift: int) -> bytes:
    """An event as a frame of xrpc.v1.json."""
    if not event.kind:
        return event.record
    if event.kind == "commit":
        record = b',"record":%b,"cid":"%b"' % (event.record, event.cid.encode())
        body = event.head + (record if event.record else b"")
    else:
        body = b'"%b":%b' % (event.kind.encode(), event.record)
    return _PAYLOAD % (
        event.kind.encode(),
        seq,
        _STRING(event.did),
        iso_micros(event.shown + shift).encode(),
        body,
    )


def iso_micros(micros: int) -> str:
    """RFC 3339 in UTC with exactly six digits."""
    moment = datetime.fromtimestamp(micros // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{micros % 1_000_000:06d}Z"


def v2_error(name: str, message: str) -> bytes:
    """The frame after which the connection ends."""
    return _STRING({"$type": "error", "error": name, "message": message})


def v2_info(name: str, message: str) -> bytes:
    """An advisory; it has no sequence number."""
    payload = {
        "$type": "network.bsky.jetstream.subscribeEvents#info",
        "name": name,
        "message": message,
    }
    return _STRING({"$type": "message", "payload": payload})
