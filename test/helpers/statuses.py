"""Statuses of Mastodon for tests, as a server sends them."""

import json
from typing import Any

from stream.jsontext import sanitize_for_jsonb
from stream.networks.mastodon.decode import decode
from stream.tweet import Message, Tweet

SERVER = "https://social.example"


def account(name: str = "ann", host: str | None = None, **changes: Any) -> dict[str, Any]:
    """An account of this server, or of another one."""
    site = SERVER if host is None else f"https://{host}"
    return {
        "id": f"90{len(name)}",
        "username": name,
        "acct": name if host is None else f"{name}@{host}",
        "url": f"{site}/@{name}",
        "uri": f"{site}/users/{name}",
        "note": "<p>Hello</p>",
        "fields": [],
        **changes,
    }


def status(content: str = "<p>Snow in town</p>", **changes: Any) -> dict[str, Any]:
    """A public post."""
    return {
        "id": "1101",
        "created_at": "2026-11-20T10:35:00.120Z",
        "in_reply_to_id": None,
        "in_reply_to_account_id": None,
        "spoiler_text": "",
        "visibility": "public",
        "language": "en",
        "uri": f"{SERVER}/users/ann/statuses/1101",
        "url": f"{SERVER}/@ann/1101",
        "content": content,
        "reblog": None,
        "account": account(),
        "media_attachments": [],
        "mentions": [],
        "tags": [],
        "card": None,
        "poll": None,
        **changes,
    }


def frame(payload: object, event: str = "update", *stream: str) -> bytes:
    """A message of the WebSocket: the payload is JSON in a string."""
    text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
    message = {"stream": [*(stream or ("public",))], "event": event, "payload": text}
    return json.dumps(message, ensure_ascii=False).encode()


def decoded(body: bytes) -> Message:
    """What the writer gets from a frame."""
    return decode(sanitize_for_jsonb(body)[0])


def tweet_of(found: object) -> Tweet:
    """The tweet that a status becomes."""
    message = decoded(frame(found))
    assert isinstance(message, Tweet)
    return message
