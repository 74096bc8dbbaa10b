"""Reads recorded Jetstream lines (v1 envelopes or v2 frames), to send their events again."""

import msgspec

from simulator.bluesky.event_log import Event
from simulator.bluesky.identifiers import POSTS

_NONE = msgspec.Raw(b"")


class _Commit(msgspec.Struct):
    rev: str = ""
    operation: str = ""
    collection: str = ""
    rkey: str = ""
    cid: str = ""
    record: msgspec.Raw = _NONE


class _Envelope(msgspec.Struct):
    did: str
    kind: str
    commit: _Commit | None = None
    identity: msgspec.Raw = _NONE
    account: msgspec.Raw = _NONE


class _Message(msgspec.Struct):
    type: str = msgspec.field(name="$type", default="")
    payload: msgspec.Raw = _NONE


class _V2Event(_Commit):
    type: str = msgspec.field(name="$type", default="")
    did: str = ""
    identity: msgspec.Raw = _NONE
    account: msgspec.Raw = _NONE
    sync: msgspec.Raw = _NONE


_v1 = msgspec.json.Decoder(_Envelope)
_v2 = msgspec.json.Decoder(_Message)
_payload = msgspec.json.Decoder(_V2Event)


def read_line(line: bytes, number: int, now: int) -> Event:
    """The event of a recorded line, with the present time; a raw message when it is none."""
    try:
        line.decode()  # the decoder does not check values that it skips
        event = _of_v2(line) if b'"payload"' in line else _of_v1(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        event = None
    if event is None:
        return Event(number, now, now, "", "", "", b"", line)
    event.number, event.witnessed, event.shown = number, now, now
    return event


def post_key(event: Event) -> tuple[str, str] | None:
    """Operation and record key, when the event is about a post."""
    if event.collection != POSTS:
        return None
    commit = msgspec.json.decode(b"{%b}" % event.head, type=_Commit)
    return commit.operation, commit.rkey


def _of_v1(line: bytes) -> Event | None:
    envelope = _v1.decode(line)
    bodies = {"identity": envelope.identity, "account": envelope.account}
    return _event(envelope.did, envelope.kind, envelope.commit, bodies)


def _of_v2(line: bytes) -> Event | None:
    payload = _payload.decode(_v2.decode(line).payload)
    kind = payload.type.rpartition("#")[2]
    bodies = {"identity": payload.identity, "account": payload.account, "sync": payload.sync}
    return _event(payload.did, kind, payload, bodies)


def _event(
    did: str, kind: str, commit: _Commit | None, bodies: dict[str, msgspec.Raw]
) -> Event | None:
    if kind == "commit" and commit is not None and commit.operation:
        head = msgspec.json.encode(
            {
                "rev": commit.rev,
                "operation": commit.operation,
                "collection": commit.collection,
                "rkey": commit.rkey,
            }
        )[1:-1]
        record = bytes(commit.record)
        return Event(0, 0, 0, did, kind, commit.collection, head, record, commit.cid)
    if kind in bodies and bytes(bodies[kind]):
        return Event(0, 0, 0, did, kind, "", b"", bytes(bodies[kind]))
    return None
