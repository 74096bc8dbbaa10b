"""The bytes of one Mastodon message → what it says.

Mastodon reference, sections 4 to 6. Whatever the bytes are, `decode` returns a Message or raises
`errors.Reject`. The doc stays as it came; the text is derived from it, always in the same way.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

from stream.entities import cashtags_in
from stream.errors import Reject
from stream.jsontext import read, sanitize_for_jsonb
from stream.networks.mastodon.hashtag_names import channel_name
from stream.networks.mastodon.html_text import html_to_text
from stream.networks.mastodon.wire_types import (
    Account,
    Envelope,
    Id,
    Mention,
    Quote,
    Status,
    Tag,
)
from stream.tweet import (
    Content,
    ControlNotice,
    Deletion,
    MediaKind,
    Message,
    NativeId,
    Tweet,
    TweetKind,
)

ID_LENGTH_MAX = 1000  # characters; an index holds 2,700 bytes
YEARS = range(2006, 2100)  # before, there was no such service
DETAIL = 300  # characters of a server's text
# Events for the account of the token; a collector has no use for them.
OTHER_EVENTS = frozenset(
    {
        "notification",
        "notifications_merged",
        "conversation",
        "filters_changed",
        "announcement",
        "announcement.reaction",
        "announcement.delete",
        "encrypted_message",
    }
)
MEDIA: dict[str, MediaKind] = {
    "image": "photo",
    "gifv": "animated_gif",
    "video": "video",
    "audio": "audio",
}

_ENVELOPE = msgspec.json.Decoder(Envelope)
_STATUS = msgspec.json.Decoder(Status)
_string = msgspec.json.Decoder(str).decode
_NO_BOT = re.compile(r"(?<!\w)#no(?:bots?|index)\b", re.IGNORECASE)
_NOBODY = Account()


def decode(body: bytes) -> Message:
    """A tweet, a deletion, or what another message says; raises Reject for everything else.

    `jsontext.sanitize_for_jsonb` has changed the body before, for decoding and for storing.
    """
    envelope = read(_ENVELOPE, body)
    match envelope.event:
        case "update" | "status.update" as event:
            status = read(_STATUS, sanitize_for_jsonb(_payload(envelope))[0])
            return _tweet(status, edited=event == "status.update")
        case "delete":
            return Deletion(_deleted_id(envelope), of_server=True)
        case str(event):
            return ControlNotice("ignored" if event in OTHER_EVENTS else "unknown", event[:DETAIL])
        case None if envelope.error is not None:
            return ControlNotice("error", envelope.error[:DETAIL], envelope.status or 0)
        case None if envelope.uri is not None and bytes(envelope.account).startswith(b"{"):
            return _tweet(read(_STATUS, body), edited=False)
    raise Reject("bad_shape", "neither an event nor a status")


def _payload(envelope: Envelope) -> bytes:
    """The payload's own JSON: out of its string, or as it is."""
    raw = bytes(envelope.payload)
    try:
        return _string(raw).encode() if raw.startswith(b'"') else raw
    except (msgspec.DecodeError, UnicodeError) as wrong:
        raise Reject("not_json", str(wrong)[:DETAIL]) from None


def _deleted_id(envelope: Envelope) -> NativeId:
    payload = _payload(envelope).decode().strip()
    if not 0 < len(payload) <= ID_LENGTH_MAX or payload[0] in "{[":
        raise Reject("no_id", f"delete of {payload:.40}")
    return NativeId(payload)


def is_opted_out(account: Account) -> bool:
    """Whether an account asks search engines or bots to leave its posts alone.

    `indexable` is false unless its owner has agreed; software that does not know it leaves it out.
    """
    if account.noindex or account.indexable is False:
        return True
    texts = [account.note, *(f.value for f in account.fields or ())]
    texts += [field.name for field in account.fields or ()]
    found = (text for text in texts if text and "#" in text and "no" in text.lower())
    return any(_NO_BOT.search(html_to_text(text).text) for text in found)


# -- a status -------------------------------------------------------------------------------------


def _tweet(status: Status, *, edited: bool) -> Tweet:
    reblog, quote = status.reblog, status.quote
    subject = status if reblog is None else reblog
    account = status.account or _NOBODY
    # A boost repeats the text of the boosted post; it has none of its own.
    own = _content(status) if reblog is None else _without_text(status)
    reposted = None if reblog is None else _content(reblog)
    quoted = _quoted(quote if reblog is None else reblog.quote)
    return Tweet(
        native_id=_native_id(status),
        kind=_kind(status),
        own=own,
        reposted=reposted,
        quoted=None if quoted is None else _content(quoted),
        text=own.text if reposted is None else reposted.text,
        url=status.url or status.uri,
        created_at=_moment(status.created_at),
        lang=status.language or subject.language,
        reply_to=_reply_to(status),
        media=_media(subject),
        edited=edited,
        server_id=_server_id(status.id),
        opted_out=is_opted_out(account)
        or (reblog is not None and is_opted_out(reblog.account or _NOBODY)),
    )


def _native_id(status: Status) -> NativeId:
    if not status.uri or len(status.uri) > ID_LENGTH_MAX:
        raise Reject("no_id", f"uri {status.uri!r:.40}")
    return NativeId(status.uri)


def _server_id(native: Id) -> str | None:
    return str(native) if native not in (None, "") else None


def _kind(status: Status) -> TweetKind:
    if status.reblog is not None:
        return "repost"
    if status.quote is not None:
        return "quote"
    return "original" if status.in_reply_to_id is None else "reply"


def _quoted(quote: Quote | None) -> Status | None:
    """The quoted status, if its author allows the quotation."""
    if quote is None:
        return None
    if quote.uri is not None and quote.state is None:
        return quote  # a server that knows no approval
    return quote.quoted_status if quote.state == "accepted" else None


def _content(status: Status) -> Content:
    """One part: the content warning before the text, as an app shows it."""
    found = html_to_text(status.content or "")
    warning = (status.spoiler_text or "").strip()
    card = status.card
    names = {mention.url for mention in status.mentions or ()}
    text = "\n\n".join(filter(None, (warning, found.text)))
    return Content(
        text=text,
        hashtags=_hashtags(found.hashtags, status.tags or ()),
        mentions=_distinct(_mention_handle(mention) for mention in status.mentions or ()),
        cashtags=cashtags_in(text),  # Mastodon marks none
        links=_distinct(
            [
                *(link for link in found.links if link not in names),
                None if card is None else card.url,
            ]
        ),
        descriptions=_distinct(_descriptions(status)),
        author=_author(status),
        author_id=_author_id(status),
    )


def _hashtags(written: tuple[str, ...], tags: Iterable[Tag]) -> tuple[str, ...]:
    """As the author wrote them; the server's list names a tag as its first author did."""
    known = {channel_name(tag) for tag in written}
    listed = (tag.name for tag in tags if tag.name and channel_name(tag.name) not in known)
    return _distinct((*written, *listed))


def _without_text(status: Status) -> Content:
    return Content(author=_author(status), author_id=_author_id(status))


def _author(status: Status) -> str | None:
    account = status.account or _NOBODY
    return _handle(account.acct or account.username, status.uri or account.url)


def _author_id(status: Status) -> str | None:
    account = status.account or _NOBODY
    return account.uri or account.url or None


def _descriptions(status: Status) -> Iterable[str | None]:
    yield from (each.description for each in status.media_attachments or ())
    if status.poll is not None:
        yield from (option.title for option in status.poll.options or ())
    if status.card is not None:
        yield from (status.card.title, status.card.description)


def _handle(name: str | None, address: str | None) -> str | None:
    """name@host; a server leaves the host out for its own accounts."""
    if not name or "@" in name:
        return name or None
    try:
        host = urlsplit(address or "").netloc
    except ValueError:
        host = ""
    return f"{name}@{host.rpartition('@')[2].lower()}" if host else name


def _mention_handle(mention: Mention) -> str | None:
    return _handle(mention.acct or mention.username, mention.url)


def _reply_to(status: Status) -> str | None:
    answered = status.in_reply_to_account_id
    if answered is None:
        return None
    for mention in status.mentions or ():
        if mention.id == answered:
            return _mention_handle(mention)
    account = status.account or _NOBODY
    return _author(status) if account.id == answered else None


def _media(status: Status) -> tuple[MediaKind, ...]:
    kinds = [MEDIA.get(each.type or "") for each in status.media_attachments or ()]
    return tuple([kind for kind in kinds if kind is not None])


def _moment(text: str | None) -> datetime | None:
    """A time as its author's server claims it; None when it cannot be right."""
    try:
        at = datetime.fromisoformat((text or "").strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if at.year in YEARS else None


def _distinct(texts: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))
