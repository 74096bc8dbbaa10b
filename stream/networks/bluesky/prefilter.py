"""Whether an undecoded message may belong to a track: of almost all posts none does.

One pass of the parser over the bytes checks them, undoes every escape and finds the few strings
that `decode` would search. The matcher looks for its words in these alone, before there is a tweet.
This was faster than looking for words in all of the bytes, most of which are ids and names of
fields; and as both ways read the strings alike, they cannot differ.
"""

import msgspec

from stream.errors import Reject
from stream.matcher import Matcher
from stream.networks.bluesky.content import attached, marked_by
from stream.networks.bluesky.decode import (
    POSTS,
    commit_of,
    did_of,
    native_id,
    rkey_of,
    uri_of,
)
from stream.networks.bluesky.wire_types import Envelope

_ENVELOPE = msgspec.json.Decoder(Envelope)


def may_match(body: bytes, matcher: Matcher) -> bool:
    """False only for a new post for which `matcher.match(decode(body))` finds no track.

    True for every other message, also for what is to be rejected. Never raises.
    """
    try:
        if not body.isascii():
            body.decode()
        envelope = _ENVELOPE.decode(body)
        event = envelope.payload or envelope
        commit = commit_of(event)
        if (
            commit is None
            or (post := commit.record) is None
            or commit.collection != POSTS
            or commit.operation != "create"
            or envelope.error is not None
            or envelope.type == "error"
        ):
            return True
        did = did_of(event)
        names = [did, native_id(did, rkey_of(commit))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Reject):
        return True  # wrong types and unpaired surrogates, too: decode repairs them
    texts = [post.text or ""]
    if post.facets:
        marked = marked_by(texts[0], post.facets)
        texts += marked.hashtags + marked.links
        names += marked.mentions + marked.mention_ids
    if post.tags:
        texts += post.tags
    if post.embed is not None:
        extra = attached(post.embed)
        texts += extra.links + extra.descriptions
    if post.reply is not None:
        for replied_to in (post.reply.parent, post.reply.root):
            names += _names_in(uri_of(replied_to) or "")
    return matcher.may_match("\n".join(texts), names)


def _names_in(uri: str) -> tuple[str, ...]:
    """The account and the native id in the address of a post."""
    parts = uri.split("/")
    return (parts[2], native_id(parts[2], parts[-1])) if len(parts) == 5 else ()
