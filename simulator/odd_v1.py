"""X v1.1 messages that are no tweets (§10), and tweets that are broken."""

import time

import msgspec

from simulator.connection import Json
from simulator.faults import Armed
from simulator.posts import Post

_REASONS = {
    1: "Shutdown", 2: "Duplicate stream", 4: "Stall", 5: "Normal", 6: "Token revoked",
    7: "Admin logout", 9: "Max message limit", 10: "Stream exception", 11: "Broker stall",
    12: "Shed load",
}  # fmt: skip


def messages(armed: Armed) -> list[bytes]:
    """The lines with which this fault shows itself on an open stream."""
    match armed.fault:
        case "disconnect":
            return [disconnect(armed.n or 4)]
        case "stall-warning":
            return [_line({"warning": {
                "code": "FALLING_BEHIND",
                "message": "Your connection is falling behind and messages are being queued.",
                "percent_full": 60,
            }})]  # fmt: skip
        case "torn-utf8":
            return [
                b'{"id":1790000000000000311,"id_str":"1790000000000000311",'
                b'"text":"un caf\xc3","user":{"id":5,"id_str":"5","screen_name":"torn"}}'
            ]
        case "unknown-kinds":
            return [
                _line({"friends": [5, 6]}),
                _line({"event": "user_update", "created_at": "", "source": {}, "target": {}}),
                _line({"for_user": "5", "message": {}}),
                _line({"sunrise": {"code": 1}}),
                _line({}),
            ]
        case other:
            raise ValueError(f"{other} says nothing on this network")


def disconnect(code: int) -> bytes:
    """The message with which the server ends a stream."""
    reason = _REASONS.get(code, "Unannounced")
    return _line({"disconnect": {"code": code, "stream_name": "sim-filter1", "reason": reason}})


def deletion(post: Post) -> bytes:
    """The author took this post back."""
    status = {
        "id": post.id,
        "id_str": str(post.id),
        "user_id": post.author.id,
        "user_id_str": str(post.author.id),
    }
    return _line({"delete": {"status": status, "timestamp_ms": _now()}})


def limit(total: int) -> bytes:
    """So many matches were withheld since the connection opened."""
    return _line({"limit": {"track": total, "timestamp_ms": _now()}})


def _line(message: Json) -> bytes:
    return msgspec.json.encode(message)


def _now() -> str:
    return str(int(time.time() * 1000))
