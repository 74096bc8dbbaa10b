"""The bytes of one Jetstream message → what it says.

Bluesky reference, "Events (v1)" and "v2 wire"; both wires are read. Whatever the bytes are,
`decode` returns a Message or raises `errors.Reject`. Nothing upstream checks a post, so that any
part of it may be of a wrong type: then that part is left out, and the post is kept.
"""

import re
from datetime import UTC, datetime, timedelta

import msgspec

from stream.entities import cashtags_in
from stream.errors import Reject
from stream.jsontext import read, sanitize_for_jsonb, view
from stream.networks.bluesky.content import Attached, attached, bare_tag, distinct, marked_by
from stream.networks.bluesky.wire_types import (
    Account,
    Commit,
    Envelope,
    Event,
    Identity,
    Post,
    Reference,
)
from stream.text import plain
from stream.tweet import (
    AccountState,
    AccountStatus,
    AuthorResync,
    Content,
    ControlNotice,
    Deletion,
    HandleChange,
    Message,
    NativeId,
    NoticeKind,
    Tweet,
)

POSTS = "app.bsky.feed.post"

_ENVELOPE = msgspec.json.Decoder(Envelope)
_POST = msgspec.json.Decoder(Post)
_DID = re.compile(r"did:[a-z]{1,20}:[A-Za-z0-9._:%-]{1,2040}")
_RKEY = re.compile(r"[A-Za-z0-9_~.:-]{1,512}")
_URI = re.compile(rf"at://(?P<did>{_DID.pattern})/{re.escape(POSTS)}/(?P<rkey>{_RKEY.pattern})")
HANDLE = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
HANDLE_LENGTH_MAX = 253  # characters
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8}){0,8}")
_ERROR = b'"error"'
_ERROR_LENGTH_MAX = 10_000  # bytes; posts that hold the word error are longer or decoded once more
_INVALID_HANDLE = "handle.invalid"
_STATES: dict[str, AccountState] = {
    "deactivated": "deactivated",
    "suspended": "suspended",
    "takendown": "takendown",
    "deleted": "deleted",
}
_STILL_SHOWN = frozenset({"desynchronized", "throttled"})
_FIRST_YEAR = 2006  # posts are imported from elsewhere, with the times they had there
_CLOCK_ERROR_MAX = timedelta(minutes=10)


def decode(body: bytes) -> Message:
    """A post, or what another message says; raises Reject for everything else.

    `jsontext.sanitize_for_jsonb` has changed the body before, for decoding and for storing.
    """
    envelope = read(_ENVELOPE, body)
    if envelope.error is not None or envelope.type == "error":
        return _notice("error", envelope.error, envelope.message)
    event = envelope.payload or envelope
    commit = commit_of(event)
    if commit is not None:
        return _commit(event, commit, body)
    kind = event.kind or (event.type or "").rpartition("#")[2]
    if kind == "identity" or event.identity is not None:
        return _handle_change(event, event.identity)
    if event.account is not None:
        return _account_status(event, event.account)
    if kind == "sync" or event.sync is not None:
        return AuthorResync(did_of(event))
    if event.name is not None:
        return _notice("warning", event.name, event.message)
    raise Reject("bad_shape", "no commit, identity, account, sync, info or error of Jetstream")


def commit_of(event: Event) -> Commit | None:
    """The commit of an event of either wire, if it is one."""
    commit = event.commit or event
    return commit if commit.collection is not None else None


def urgent(body: bytes) -> ControlNotice | None:
    """The error in this message, if it is one: the server closes the connection after it.

    Costs next to nothing for a post. Never raises.
    """
    if len(body) > _ERROR_LENGTH_MAX or _ERROR not in body:
        return None
    try:
        message = decode(sanitize_for_jsonb(body)[0])
    except Reject:
        return None
    return message if isinstance(message, ControlNotice) and message.kind == "error" else None


def _notice(kind: NoticeKind, name: str | None, message: str | None) -> ControlNotice:
    """The text begins with the name, which stays the same; the message is for people."""
    return ControlNotice(kind, plain(": ".join(part for part in (name, message) if part)))


# -- accounts ------------------------------------------------------------------------------------


def _handle_change(event: Event, identity: Identity | None) -> Message:
    handle = (identity.handle or "").lower() if identity is not None else ""
    known = (
        HANDLE.fullmatch(handle) and len(handle) <= HANDLE_LENGTH_MAX and handle != _INVALID_HANDLE
    )
    return HandleChange(did_of(event), handle if known else None)


def _account_status(event: Event, account: Account) -> Message:
    did = did_of(event)
    if account.active:
        return AccountStatus(did, "active")
    if account.status in _STILL_SHOWN:
        return ControlNotice("account", f"{did}: {account.status}")
    if account.active is None and account.status not in _STATES:
        raise Reject("bad_shape", f"an account that is {account.status!r:.80}")
    # One that is inactive without a reason that we know is hidden, which can be reversed.
    return AccountStatus(did, _STATES.get(account.status or "", "deactivated"))


# -- posts ---------------------------------------------------------------------------------------


def _commit(event: Event, commit: Commit, body: bytes) -> Message:
    operation = commit.operation or "create"
    if commit.collection != POSTS:
        return ControlNotice("ignored", plain(f"{operation} of {commit.collection}"))
    did, rkey = did_of(event), rkey_of(commit)
    if operation == "delete":
        return Deletion(native_id(did, rkey))
    post = commit.record or _post_alone(body)
    return _tweet(post, did, rkey, _event_time(event), edited=operation == "update")


def did_of(event: Event) -> str:
    """The account of an event; raises Reject when it has none."""
    did = event.did or ""
    if not _DID.fullmatch(did):
        raise Reject("no_id", f"did {event.did!r:.80}")
    return did


def rkey_of(commit: Commit) -> str:
    """The key of a record among those of its account; raises Reject when it has none."""
    rkey = commit.rkey or ""
    if not _RKEY.fullmatch(rkey):
        raise Reject("no_id", f"rkey {commit.rkey!r:.80}")
    return rkey


def native_id(did: str, rkey: str) -> NativeId:
    """The record's key comes first: it rises with time, so that new posts lie together."""
    return NativeId(f"{rkey}/{did}")


def _post_alone(body: bytes) -> Post:
    """The record of a message that has so many wrong types that all of the record was left out."""
    whole = view(body)
    inside = whole.get("payload") or whole.get("commit")
    record = inside.get("record") if isinstance(inside, dict) else None
    if not isinstance(record, dict):
        raise Reject("bad_shape", "a post without a record")
    return read(_POST, msgspec.json.encode(record))


def _tweet(post: Post, did: str, rkey: str, at: datetime | None, *, edited: bool) -> Tweet:
    text, reply = post.text or "", post.reply
    own_id = native_id(did, rkey)
    quoted = _referred_to(post.embed.record) if post.embed is not None else None
    parent, root = (_referred_to(reply.parent), _referred_to(reply.root)) if reply else (None, None)
    extra = attached(post.embed)
    return Tweet(
        native_id=own_id,
        # As on X, a reply that quotes is a quote; `reply_to_id` shows that it is a reply, too.
        kind="quote" if quoted is not None else "reply" if reply is not None else "original",
        own=_content(text, post, extra, did),
        quoted=Content(author_id=quoted[0]) if quoted is not None else None,
        text=text,
        url=f"https://bsky.app/profile/{did}/post/{rkey}",
        created_at=_created_at(post.created_at, at) if post.created_at is not None else None,
        lang=_language(post.langs) if post.langs else None,
        reply_to_id=parent[0] if parent is not None else None,
        conversation_id=native_id(*root) if root is not None else own_id,
        media=extra.media,
        edited=edited,
    )


def uri_of(record: Reference | None) -> str | None:
    """The address of a record referred to."""
    if record is None:
        return None
    return record.uri or (record.record.uri if record.record is not None else None)


def _referred_to(record: Reference | None) -> tuple[str, str] | None:
    """The author and key of a post referred to; None for lists, feeds and the like."""
    found = _URI.fullmatch(uri_of(record) or "")
    return (found["did"], found["rkey"]) if found is not None else None


def _content(text: str, post: Post, extra: Attached, did: str) -> Content:
    marked = marked_by(text, post.facets)
    tags, links = marked.hashtags, marked.links
    if post.tags:
        tags += tuple([bare_tag(tag) for tag in post.tags])
    if extra.links:
        links += extra.links
    return Content(
        text=text,
        hashtags=distinct(tags) if tags else (),
        mentions=marked.mentions,
        mention_ids=marked.mention_ids,
        cashtags=cashtags_in(text),  # Bluesky marks none
        links=distinct(links) if links else (),
        descriptions=extra.descriptions,
        author_id=did,
    )


def _language(codes: list[str]) -> str | None:
    """The first language that the author has declared."""
    return next((code for code in codes if _LANGUAGE.fullmatch(code)), None)


# -- times ---------------------------------------------------------------------------------------


def _event_time(event: Event) -> datetime | None:
    """When the server received the post."""
    if event.time is not None:
        return _moment(event.time)
    if event.time_us is None or not 0 < event.time_us < 1e17:
        return None
    return datetime.fromtimestamp(event.time_us / 1e6, UTC)


def _created_at(text: str, at: datetime | None) -> datetime | None:
    """The time that the author's program claims, unless it is long before Bluesky or to come."""
    claimed = _moment(text)
    if claimed is None or claimed.year < _FIRST_YEAR:
        return None
    latest = at + _CLOCK_ERROR_MAX if at is not None else datetime.max.replace(tzinfo=UTC)
    return claimed if claimed <= latest and claimed.year < 2100 else None


def _moment(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
