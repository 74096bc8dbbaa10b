"""Messages of Bluesky's Jetstream, v2 wire, about invented posts."""

import json
from datetime import UTC, datetime, timedelta

ANN = "did:plc:annannannannannannannann"
BEGIN = datetime(2026, 3, 14, 12, tzinfo=UTC)


def message(kind: str, seq: int, **fields: object) -> bytes:
    """One message; its time is `seq` milliseconds after BEGIN."""
    at = (BEGIN + timedelta(milliseconds=seq)).isoformat().replace("+00:00", "Z")
    payload = {
        "$type": f"network.bsky.jetstream.subscribeEvents#{kind}",
        "seq": seq,
        "did": ANN,
        "time": at,
    }
    return json.dumps({"$type": "message", "payload": payload | fields}).encode()


def post(seq: int, text: str, *, rkey: str = "3lannpost0001", operation: str = "create") -> bytes:
    """A new post, or a new version of one."""
    return message(
        "commit",
        seq,
        rev=f"3lrev{seq:08d}",
        operation=operation,
        collection="app.bsky.feed.post",
        rkey=rkey,
        cid="bafyreiannannannann",
        record={
            "$type": "app.bsky.feed.post",
            "text": text,
            "createdAt": "2026-03-14T11:00:00.000Z",
            "langs": ["en"],
        },
    )


def deletion(seq: int, rkey: str = "3lannpost0001") -> bytes:
    """The author has deleted a post."""
    return message(
        "commit",
        seq,
        rev=f"3lrev{seq:08d}",
        operation="delete",
        collection="app.bsky.feed.post",
        rkey=rkey,
    )


def identity(seq: int, handle: str | None) -> bytes:
    """The author may have another handle; None: the message names none."""
    named = {"did": ANN, "seq": seq} | ({"handle": handle} if handle is not None else {})
    return message("identity", seq, identity=named)


def sync(seq: int) -> bytes:
    """What is stored of the author may be out of date."""
    return message("sync", seq, rev=f"3lrev{seq:08d}")


def account(seq: int, status: str = "") -> bytes:
    """The author's account has this status; empty: it is active."""
    state: dict[str, object] = {"active": not status, "did": ANN, "seq": seq}
    return message("account", seq, account=state | ({"status": status} if status else {}))
