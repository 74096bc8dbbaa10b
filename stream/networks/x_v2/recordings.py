"""Recordings of X v2 for imports: pages of posts, as searches return them.

Only imports use this; messages from a network go to `decode` unchanged.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from stream.errors import Reject
from stream.jsontext import read, sanitize_for_jsonb, sign
from stream.networks import x_common
from stream.networks.base import RawObject
from stream.networks.x_v2.wire_types import Post

T = TypeVar("T", bound=msgspec.Struct)

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_post = msgspec.json.Decoder(Post)


class _Key(msgspec.Struct, gc=False):
    """The keys by which posts refer to an entry of `includes`."""

    id: x_common.Id = None
    media_key: str | None = None
    username: str | None = None


class _SearchMeta(msgspec.Struct, gc=False):
    """The `meta` of a page of search results."""

    result_count: int | None = None


_META = msgspec.json.Decoder(_SearchMeta)
_keyed = msgspec.json.Decoder(_Key)
_EMPTY = _Key()


def unfold(found: RawObject, body: bytes) -> Sequence[bytes] | None:
    """The posts of one object, each with its own includes; None when it is not of v2."""
    data = found.get("data")
    if data is None:
        return [body] if _is_post(found) else _empty_page(found)
    text = bytes(data)
    if text.startswith(b"{"):
        return [body] if _is_post(_object(text)) else None
    if not text.startswith(b"["):
        return None
    posts = _list(text)
    if not posts:
        return _empty_page(found)
    return _page(posts, found) if any(map(_may_be_post, posts)) else None


def _is_post(found: RawObject) -> bool:
    return (
        "id" in found
        and sign(found.get("text")) == '"'
        and not x_common.is_other_api(found, x_common.V1_ONLY, x_common.V2_ONLY)
    )


def _may_be_post(raw: msgspec.Raw) -> bool:
    return sign(raw) == "{" and _is_post(_object(raw))


def _empty_page(found: RawObject) -> Sequence[bytes] | None:
    """No posts, when `meta` says that the page is empty; otherwise None."""
    meta = _read(_META, bytes(found["meta"])) if "meta" in found else None
    return [] if meta is not None and meta.result_count == 0 else None


# -- pages ----------------------------------------------------------------------------------------


def _page(posts: Iterable[msgspec.Raw], found: RawObject) -> list[bytes]:
    """One message a post, as the stream would have sent it; anything but a post stays as it is."""
    includes = _IncludedObjects(found.get("includes"))
    return [
        includes.with_includes(bytes(post)) if _may_be_post(post) else bytes(post) for post in posts
    ]


class _IncludedObjects:
    """The `includes` of a page, by kind and key."""

    def __init__(self, raw: msgspec.Raw | None) -> None:
        self._kinds: dict[str, dict[object, bytes]] = {}
        for kind, entries in _lists(raw):
            known = self._kinds.setdefault(kind, {})
            for entry in entries:
                key = _read(_keyed, bytes(entry)) or _EMPTY
                for name in (key.id, key.media_key, key.username):
                    if name is not None:
                        known.setdefault(name, bytes(entry))

    def with_includes(self, post: bytes) -> bytes:
        """A message of this post and its own includes."""
        wanted: dict[str, dict[bytes, None]] = {kind: {} for kind in self._kinds}
        self._want(wanted, post, 2)  # a repost of a quote refers to both
        parts = [
            b'"%s":[%s]' % (kind.encode(), b",".join(entries))
            for kind, entries in wanted.items()
            if entries
        ]
        if not parts:
            return b'{"data":%s}' % post
        return b'{"data":%s,"includes":{%s}}' % (post, b",".join(parts))

    def _want(self, wanted: dict[str, dict[bytes, None]], body: bytes, depth: int) -> None:
        post = _read(_post, body)
        if post is None:
            return
        for kind, keys in _references(post):
            for key in keys:
                entry = self._kinds.get(kind, {}).get(key) if key is not None else None
                if entry is None or entry in wanted[kind]:
                    continue
                wanted[kind][entry] = None
                if kind in ("tweets", "posts") and depth:
                    self._want(wanted, entry, depth - 1)


def _lists(raw: msgspec.Raw | None) -> Iterator[tuple[str, list[msgspec.Raw]]]:
    if raw is not None and sign(raw) == "{":
        for kind, entries in _object(raw).items():
            if sign(entries) == "[":
                yield kind, _list(entries)


def _references(post: Post) -> Iterator[tuple[str, list[x_common.Id]]]:
    """The kinds of includes, and the entries of each that this post refers to."""
    mentions = (post.entities.mentions or ()) if post.entities is not None else ()
    named = [one.id if one.id is not None else one.username for one in mentions]
    yield "users", [post.author_id, post.in_reply_to_user_id, *named]
    others = [*(post.referenced_tweets or ()), *(post.referenced_posts or ())]
    for kind in ("tweets", "posts"):
        yield kind, [other.id for other in others]
    if post.attachments is not None:
        yield "media", [*(post.attachments.media_keys or ())]
        yield "polls", [*(post.attachments.poll_ids or ())]
    if post.geo is not None:
        yield "places", [post.geo.place_id]


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    try:
        return read(decoder, sanitize_for_jsonb(body)[0])
    except Reject:
        return None
