"""Read v2 messages other than posts: disconnects, errors, and compliance events.

X v2 reference, "Control messages in-stream" and "Enterprise extras". Compliance messages of X's
separate streams are read too: they may be imported, or received from a source of their own.
"""

from collections.abc import Callable

from stream.errors import Reject
from stream.networks import x_common
from stream.tweet import (
    AuthorDeletion,
    ControlNotice,
    Deletion,
    GeoScrub,
    Message,
    NativeId,
    Withheld,
)

Object = dict[str, object]

TEXT = 500  # characters of a notice that are kept
EVERYWHERE = ("XX",)  # the country code that means all of them
PROBLEM = ("title", "disconnect_type", "detail", "status")


def control(message: Object) -> Message:
    """Dispatch on the keys; raises Reject when a known message lacks its subject."""
    data = message.get("data")
    if isinstance(data, dict) and data:
        return _compliance(data)
    if data:
        raise Reject("bad_shape", f"data is a {type(data).__name__}: one post a message")
    errors = message.get("errors")
    if isinstance(errors, list) and errors:
        return _problem(next((error for error in errors if _is_disconnect(error)), errors[0]))
    if any(key in message for key in PROBLEM):
        # Some arrive bare, without the array around them.
        return _problem(message)
    if "text" in message or "full_text" in message:
        # A tweet in another API's shape: kept as a reject, not merely counted.
        raise Reject("bad_shape", "a text without data; is it a v1.1 status?")
    return _unknown(message)


def _compliance(data: Object) -> Message:
    for kind, read in _KINDS.items():
        event = data.get(kind)
        if isinstance(event, dict):
            return read(kind, event)
    if "text" in data:
        raise Reject("bad_shape" if "id" in data else "no_id", "a post without text or id")
    return _unknown(data)


def _unknown(message: Object) -> ControlNotice:
    return ControlNotice("unknown", f"keys: {', '.join(sorted(message))}"[:TEXT])


def _is_disconnect(error: object) -> bool:
    if not isinstance(error, dict):
        return False
    named = (error.get("title"), error.get("type"))
    return "disconnect_type" in error or any(
        isinstance(name, str) and "disconnect" in name for name in named
    )


def _problem(error: object) -> ControlNotice:
    """The text begins with the most telling name, so that a connection can decide by it."""
    if not isinstance(error, dict):
        return ControlNotice("error", error[:TEXT] if isinstance(error, str) else "")
    name = error.get("disconnect_type") or error.get("title") or error.get("type")
    parts = (name, error.get("detail") or error.get("message"))
    text = ": ".join(part for part in parts if isinstance(part, str))[:TEXT]
    return ControlNotice("disconnect" if _is_disconnect(error) else "error", text)


def _delete(kind: str, event: Object) -> Message:
    return Deletion(_tweet_id(kind, event))


def _hide(kind: str, event: Object) -> Message:
    # It can be taken back: hidden everywhere, not erased.
    return Withheld(_tweet_id(kind, event), None, EVERYWHERE)


def _show(kind: str, event: Object) -> Message:
    return Withheld(_tweet_id(kind, event), None, ())


def _withheld(kind: str, event: Object) -> Message:
    return Withheld(_tweet_id(kind, event), None, _countries(kind, event))


def _user_delete(kind: str, event: Object) -> Message:
    return AuthorDeletion(_user_id(kind, event))


def _user_hide(kind: str, event: Object) -> Message:
    return Withheld(None, _user_id(kind, event), EVERYWHERE)


def _user_show(kind: str, event: Object) -> Message:
    return Withheld(None, _user_id(kind, event), ())


def _user_withheld(kind: str, event: Object) -> Message:
    return Withheld(None, _user_id(kind, event), _countries(kind, event))


def _scrub_geo(kind: str, event: Object) -> Message:
    up_to = _id(event.get("up_to_tweet_id")) or _id(event.get("up_to_post_id"))
    if up_to is None:
        raise Reject("bad_shape", f"{kind} without up_to_tweet_id")
    return GeoScrub(_user_id(kind, event), int(up_to))


def _edit(kind: str, event: Object) -> Message:
    first = _id(event.get("initial_tweet_id")) or _id(event.get("initial_post_id"))
    return ControlNotice("edit", f"{_tweet_id(kind, event)} is an edit of {first}")


def _account(kind: str, event: Object) -> Message:
    return ControlNotice("account", f"{kind}: {_user_id(kind, event)}")


_KINDS: dict[str, Callable[[str, Object], Message]] = {
    "delete": _delete,
    "drop": _hide,
    "undrop": _show,
    "withheld": _withheld,
    "tweet_edit": _edit,
    "post_edit": _edit,
    "user_delete": _user_delete,
    "user_undelete": _user_show,
    "user_protect": _user_hide,
    "user_unprotect": _user_show,
    "user_suspend": _user_hide,
    "user_unsuspend": _user_show,
    "user_withheld": _user_withheld,
    "scrub_geo": _scrub_geo,
    "user_profile_modification": _account,
}


def _tweet_id(kind: str, event: Object) -> NativeId:
    tweet = event.get("tweet") or event.get("post")
    native_id = _id(tweet.get("id")) if isinstance(tweet, dict) else None
    if native_id is None:
        raise Reject("bad_shape", f"{kind} without a tweet id")
    return native_id


def _user_id(kind: str, event: Object) -> NativeId:
    user = event.get("user")
    author_id = _id(user.get("id")) if isinstance(user, dict) else None
    if author_id is None:
        raise Reject("bad_shape", f"{kind} without a user id")
    return author_id


def _id(value: object) -> NativeId | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return x_common.usable_id(value)


def _countries(kind: str, event: Object) -> tuple[str, ...]:
    codes = event.get("withheld_in_countries")
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        raise Reject("bad_shape", f"{kind} without a list of country codes")
    return x_common.countries(codes)
