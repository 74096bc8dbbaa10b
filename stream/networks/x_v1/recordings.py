"""Recordings of X v1.1 for imports: statuses from other tools, GraphQL and databases.

Only imports use this; messages from a network go to `decode` unchanged.
"""

from collections.abc import Mapping, Sequence

import msgspec

from stream.jsontext import sign
from stream.networks import x_common
from stream.networks.base import RawObject

Object = dict[str, object]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode


def unfold(found: RawObject, body: bytes) -> Sequence[bytes] | None:
    """The statuses of one object; None when it is not of v1.1."""
    if _has_text(found) or "extended_tweet" in found:
        return _status(found, body)
    if "legacy" in found:
        status = _graphql(_decode(body))
        return None if status is None else [_encode(status)]
    if sign(found.get("body")) == '"' and "postedTime" in found:
        status = _activity(_decode(body))
        return None if status is None else [_encode(status)]
    if "for_user" in found and "message" in found:  # as site streams sent it
        inner = bytes(found["message"])
        return unfold(_object(inner), inner) or [inner]
    return [] if "statuses" in found and not _list(found["statuses"]) else None


def _status(found: RawObject, body: bytes) -> Sequence[bytes] | None:
    if x_common.is_other_api(found, x_common.V2_ONLY, x_common.V1_ONLY):
        return None
    if _is_id(found.get("id_str")) or _is_id(found.get("id")):
        return [body]
    if not _is_id(found.get("_id")):
        return None
    status = _decode(body)  # kept in a database under the tweet's id
    return [_encode(status | {"id_str": str(status["_id"])})]


def _has_text(found: RawObject) -> bool:
    return any(sign(found.get(name)) == '"' for name in ("full_text", "text"))


def _is_id(raw: msgspec.Raw | None) -> bool:
    return raw is not None and x_common.usable_id(bytes(raw).strip(b'"').decode()) is not None


# -- activities, as Gnip sent them ----------------------------------------------------------------


def _activity(found: Object) -> Object | None:
    """An activity with the fields of a status added, so that nothing of it is lost."""
    native_id = _last(found.get("id"), ":")
    if x_common.usable_id(native_id) is None:
        return None
    actor, longer = _inner(found, "actor"), _inner(found, "long_object")
    answered = _last(_inner(found, "inReplyTo").get("link"), "/")
    added: Object = {
        "id_str": native_id,
        "created_at": found["postedTime"],
        "text": found["body"],
        "user": {
            "id_str": _last(actor.get("id"), ":"),
            "screen_name": actor.get("preferredUsername"),
            "name": actor.get("displayName"),
            "verified": actor.get("verified"),
        },
        "lang": found.get("twitter_lang"),
        "entities": found.get("twitter_entities"),
        "extended_entities": found.get("twitter_extended_entities"),
        "in_reply_to_status_id_str": answered or None,
    }
    if longer:
        added["extended_tweet"] = {
            "full_text": longer.get("body"),
            "entities": longer.get("twitter_entities"),
            "extended_entities": longer.get("twitter_extended_entities"),
        }
    for old, new in (("object", "retweeted_status"), ("twitter_quoted_status", "quoted_status")):
        other = _inner(found, old)
        if "postedTime" in other and "body" in other and (status := _activity(other)):
            added[new] = status
    return found | added


def _last(text: object, separator: str) -> str:
    """The id `7` of `id:twitter.com:7`; empty when it is not text."""
    return text.rpartition(separator)[2] if isinstance(text, str) else ""


# -- GraphQL, as web clients get it ---------------------------------------------------------------


def _graphql(found: Object) -> Object | None:
    """`{rest_id, legacy, core}` → the status in `legacy`, completed with the other fields."""
    legacy = _inner(found, "legacy")
    native_id = legacy.get("id_str") or found.get("rest_id")
    if not isinstance(legacy.get("full_text"), str) or not isinstance(native_id, str):
        return None
    if x_common.usable_id(native_id) is None:
        return None
    status = legacy | {"id_str": native_id}
    if user := _inner(found, "core", "user_results", "result"):
        status["user"] = _user(user)
    if note := _inner(found, "note_tweet", "note_tweet_results", "result"):
        status["extended_tweet"] = {
            "full_text": note.get("text"),
            "entities": note.get("entity_set"),
        }
    for outer, old, new in (
        (legacy, "retweeted_status_result", "retweeted_status"),
        (found, "quoted_status_result", "quoted_status"),
    ):
        result = _inner(outer, old, "result")
        if other := _graphql(_inner(result, "tweet") or result):
            status[new] = other
            status.pop(old, None)
    return status


def _user(found: Object) -> Object:
    known = {"id_str": found.get("rest_id")}
    return _inner(found, "legacy") | _inner(found, "core") | known


def _inner(found: Mapping[str, object], *names: str) -> Object:
    """The object at this path; an empty one when there is none."""
    at: object = found
    for name in names:
        at = at.get(name) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else {}
