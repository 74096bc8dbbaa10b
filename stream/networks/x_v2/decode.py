"""The bytes of one v2 message → what it says.

X v2 reference, "Messages in the stream" and "Enterprise extras". Whatever the bytes are, `decode`
returns a Message or raises `errors.Reject`.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from stream.errors import Reject
from stream.jsontext import mend, read, view
from stream.networks import x_fields
from stream.networks.x_v2.control import control
from stream.networks.x_v2.shapes import (
    Area,
    Entities,
    Envelope,
    Geo,
    Includes,
    Link,
    Media,
    Mention,
    Post,
    Rule,
    Tag,
    User,
)
from stream.tweet import Content, LonLat, MediaKind, Message, Notice, Place, Tweet, TweetKind

_ENVELOPE = msgspec.json.Decoder(Envelope)
_POST = msgspec.json.Decoder(Post)
_NOTHING = Entities()
_ALONE = Includes()
_TWEET = b'{"data"'  # how X begins every post

Users = dict[x_fields.Id, User]


def decode(body: bytes) -> Message:
    """A tweet, or what a control message says; raises Reject for everything else.

    The body has gone through `jsontext.mend`, once for this and for what is stored.
    """
    envelope = read(_ENVELOPE, body)
    post = envelope.data
    if post is not None and (post.text is not None or post.author_id is not None):
        return _tweet(post, envelope.includes or _ALONE, envelope.matching_rules)
    if post is None and envelope.text is not None and envelope.author_id is not None:
        return _tweet(read(_POST, body), _ALONE, envelope.matching_rules)
    return control(view(body))


def urgent(body: bytes) -> Notice | None:
    """The disconnect or error in this frame, if it is one; costs next to nothing for a tweet.

    `text` begins with the `disconnect_type`. Never raises.
    """
    if body.startswith(_TWEET):
        return None
    try:
        message = decode(mend(body)[0])
    except Reject:
        return None
    if isinstance(message, Notice) and message.kind in {"disconnect", "error"}:
        return message
    return None


def _tweet(post: Post, includes: Includes, rules: list[Rule] | None) -> Tweet:
    native_id = x_fields.usable_id(post.id)
    if native_id is None:
        raise Reject("no_id", f"id {post.id!r:.40}")
    users: Users = {user.id: user for user in includes.users or () if user.id is not None}
    own = _content(post, users)
    source = _referenced(post, "retweeted", includes)
    reposted = _content(source, users) if source is not None and _has_text(source) else None
    quote = _referenced(post, "quoted", includes)
    if quote is None and source is not None:
        quote = _referenced(source, "quoted", includes)
    author = users.get(post.author_id) or post.author
    return Tweet(
        native_id=native_id,
        kind=_kind(post),
        own=own,
        reposted=reposted,
        quoted=_content(quote, users) if quote is not None and _has_text(quote) else None,
        text=own.text if reposted is None else reposted.text,
        url=x_fields.address(own.author, native_id),
        created_at=moment(post.created_at),
        lang=post.lang,
        reply_to=_reply_to(post, users, own),
        reply_to_id=x_fields.usable_id(post.in_reply_to_user_id),
        conversation_id=x_fields.usable_id(post.conversation_id),
        point=_point(post.geo) if post.geo is not None else None,
        place=_place(post.geo, includes.places or ()) if post.geo is not None else None,
        media=_media(post, includes) or (_media(source, includes) if source is not None else ()),
        verified=author is not None and _verified(author),
        rules=_rules(rules) if rules else (),
        withheld=_withheld(post),
    )


def _kind(post: Post) -> TweetKind:
    types = {reference.type for reference in _references(post)}
    if "retweeted" in types:
        return "repost"
    if "quoted" in types:
        return "quote"
    if "replied_to" in types or post.in_reply_to_user_id is not None:
        return "reply"
    return "original"


def _references(post: Post) -> list[Post]:
    return post.referenced_tweets or post.referenced_posts or []


def _referenced(post: Post, kind: str, includes: Includes) -> Post | None:
    """The post referred to: from the includes, or the bare reference when X has left it out."""
    for reference in _references(post):
        if reference.type == kind:
            if reference.text is None:
                for candidate in includes.tweets or includes.posts or ():
                    if candidate.id == reference.id is not None:
                        return candidate
            return reference
    return None


def _has_text(post: Post) -> bool:
    return post.text is not None or post.note_tweet is not None or post.note_post is not None


def _content(post: Post, users: Users) -> Content:
    """One part: the longest text there is, and the entities of the same level as that text."""
    note = post.note_tweet or post.note_post
    if note is not None and note.text is not None:
        text = note.text
        entities = note.entities or post.entities or _NOTHING
    else:
        text = post.text or ""
        entities = post.entities or _NOTHING
    mentions = entities.mentions
    author = users.get(post.author_id) or post.author
    return Content(
        text=x_fields.unescape(text),
        hashtags=_tags(entities.hashtags) if entities.hashtags else (),
        mentions=_handles(mentions) if mentions else (),
        mention_ids=_ids(mentions) if mentions else (),
        cashtags=_tags(entities.cashtags) if entities.cashtags else (),
        links=_links(entities.urls) if entities.urls else (),
        author=author.username or None if author is not None else None,
        author_id=x_fields.usable_id(post.author_id),
    )


def _tags(tags: list[Tag]) -> tuple[str, ...]:
    return tuple([tag.tag for tag in tags if tag.tag])


def _handles(mentions: list[Mention]) -> tuple[str, ...]:
    return tuple([mention.username for mention in mentions if mention.username])


def _ids(mentions: list[Mention]) -> tuple[str, ...]:
    found = [x_fields.usable_id(mention.id) for mention in mentions]
    return tuple([one for one in found if one is not None])


def _links(links: list[Link]) -> tuple[str, ...]:
    return x_fields.distinct(
        [
            address
            for link in links
            for address in (link.expanded_url, link.display_url, link.unwound_url)
        ]
    )


def _reply_to(post: Post, users: Users, own: Content) -> str | None:
    if post.in_reply_to_user_id is None:
        return None
    user = users.get(post.in_reply_to_user_id) or post.in_reply_to_user
    if user is not None and user.username:
        return user.username
    # Without its account among the includes, the reply's own text names whom it answers.
    entities = post.entities
    for mention in (entities.mentions or ()) if entities is not None else ():
        if mention.id == post.in_reply_to_user_id:
            return mention.username
    return own.author if post.in_reply_to_user_id == post.author_id else None


def _media(post: Post, includes: Includes) -> tuple[MediaKind, ...]:
    attachments = post.attachments
    if attachments is None:
        return ()
    media: Iterable[Media] = attachments.media or ()
    if not media and attachments.media_keys:
        keys = set(attachments.media_keys)
        media = [one for one in includes.media or () if one.media_key in keys]
    kinds = [x_fields.MEDIA.get(one.type or "") for one in media]
    return tuple([kind for kind in kinds if kind is not None])


def _point(geo: Geo) -> LonLat | None:
    if geo.coordinates is None or not geo.coordinates.coordinates:
        return None
    pair = geo.coordinates.coordinates
    return x_fields.point(pair[0], pair[1]) if len(pair) == 2 else None


def _place(geo: Geo, places: Iterable[Area]) -> Place | None:
    """The place among the includes; without it at least its id."""
    if geo.place_id is None:
        return None
    area: Area = next((area for area in places if area.id == geo.place_id), geo)
    bbox = area.geo.bbox if area.geo is not None else None
    return Place(
        names=x_fields.distinct((geo.place_id, area.name, area.full_name)),
        country=area.country_code.upper() if area.country_code else None,
        box=x_fields.box(*bbox) if bbox is not None and len(bbox) == 4 else None,
    )


def _verified(user: User) -> bool:
    return bool(user.verified) or user.verified_type not in {None, "", "none"}


def _rules(rules: list[Rule]) -> tuple[str, ...]:
    return x_fields.distinct(
        name for rule in rules for name in (rule.tag, x_fields.usable_id(rule.id))
    )


def _withheld(post: Post) -> tuple[str, ...]:
    if post.withheld is None or not post.withheld.country_codes:
        return ()
    return x_fields.countries(post.withheld.country_codes)


def moment(text: str | None) -> datetime | None:
    """`2026-01-15T10:35:00.000Z`; None when it is no such time, or not one of this service."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if x_fields.plausible(at) else None
