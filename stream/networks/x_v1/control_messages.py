"""Read v1.1 messages other than tweets: deletions, limits, disconnects.

X v1.1 reference, "Message catalogue". The catalogue was never complete: what is not in it becomes
a ControlNotice `unknown` and changes nothing.
"""

from collections.abc import Callable

from stream.errors import Reject
from stream.networks import x_common
from stream.tweet import ControlNotice, Deletion, GeoScrub, Message, NativeId, Withheld

Object = dict[str, object]

TEXT = 500  # characters of a notice that are kept


def control(message: Object) -> Message:
    """Dispatch on the top-level key; raises Reject when a known message lacks its subject."""
    for key, read in _KINDS.items():
        if key in message:
            part = message[key]
            if not isinstance(part, dict):
                raise Reject("bad_shape", f"{key} is not an object")
            return read(part)
    ignored = [key for key, kind in _IGNORED.items() if isinstance(message.get(key), kind)]
    if ignored == ["event"] and not {"source", "target"} <= message.keys():
        ignored = []  # an event of another program, such as one that contains a tweet
    if ignored:
        return ControlNotice("ignored", _line(ignored[0], message.get("event")))
    if "text" in message or "full_text" in message:
        raise Reject("bad_shape", "a text that is not a string")
    if "data" in message:
        # A tweet in another API's shape: kept as a reject, not merely counted.
        raise Reject("bad_shape", "data instead of a status; is it a v2 post?")
    return ControlNotice("unknown", f"keys: {', '.join(sorted(message))}"[:TEXT])


def _delete(part: Object) -> Message:
    status = part.get("status")
    if not isinstance(status, dict):
        # Likes and direct messages are deleted in the same way; none of them is stored.
        return ControlNotice("ignored", _line("delete", ", ".join(sorted(part))))
    native_id = _id(status, "id_str", "id")
    if native_id is None:
        raise Reject("bad_shape", "delete without a status id")
    return Deletion(native_id)


def _scrub_geo(part: Object) -> Message:
    author_id = _id(part, "user_id_str", "user_id")
    up_to = _id(part, "up_to_status_id_str", "up_to_status_id_string", "up_to_status_id")
    if author_id is None or up_to is None:
        raise Reject("bad_shape", "scrub_geo without user_id or up_to_status_id")
    return GeoScrub(author_id, int(up_to))


def _status_withheld(part: Object) -> Message:
    native_id = _id(_inner(part, "status"), "id_str", "id")
    if native_id is None:
        raise Reject("bad_shape", "status_withheld without an id")
    return Withheld(native_id, None, _countries(part))


def _user_withheld(part: Object) -> Message:
    author_id = _id(_inner(part, "user"), "id_str", "id")
    if author_id is None:
        raise Reject("bad_shape", "user_withheld without an id")
    return Withheld(None, author_id, _countries(part))


def _limit(part: Object) -> Message:
    return ControlNotice(
        "limit", "not delivered since this connection opened", _number(part.get("track"))
    )


def _disconnect(part: Object) -> Message:
    text = _line(part.get("stream_name"), part.get("reason"))
    return ControlNotice("disconnect", text, _number(part.get("code")))


def _warning(part: Object) -> Message:
    text = _line(part.get("code"), part.get("message"))
    return ControlNotice("warning", text, _number(part.get("percent_full")))


_KINDS: dict[str, Callable[[Object], Message]] = {
    "delete": _delete,
    "scrub_geo": _scrub_geo,
    "limit": _limit,
    "status_withheld": _status_withheld,
    "user_withheld": _user_withheld,
    "disconnect": _disconnect,
    "warning": _warning,
}
# They were sent on user and site streams, never on statuses/filter; a client ignores them.
_IGNORED: dict[str, type | tuple[type, ...]] = {
    "friends": list,
    "friends_str": list,
    "event": str,
    "direct_message": dict,
    "control": dict,
    "for_user": (str, int),
}


def _inner(part: Object, name: str) -> Object:
    """Enterprise streams put the ids one level deeper."""
    inner = part.get(name)
    return inner if isinstance(inner, dict) else part


def _id(part: Object, *names: str) -> NativeId | None:
    spellings = (part.get(name) for name in names)
    return x_common.usable_id(
        *(
            value
            for value in spellings
            if isinstance(value, str | int | float) and not isinstance(value, bool)
        )
    )


def _countries(part: Object) -> tuple[str, ...]:
    codes = part.get("withheld_in_countries")
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise Reject("bad_shape", "withheld_in_countries is not a list of country codes")
    return x_common.countries(codes)


def _number(value: object) -> int:
    """A count or a code; 0 when there is none that fits into a bigint."""
    digits = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


def _line(*parts: object) -> str:
    # Only plain values: a deep structure in a message's place must not be walked.
    return ": ".join(str(part) for part in parts if part and isinstance(part, str | int))[:TEXT]
