"""Decode messages of X v2: bytes to a tweet or a control message.

X v2 reference, "Messages in the stream" and "Enterprise extras". Whatever the bytes are, `decode`
returns a Message or raises `errors.Reject`.
"""

from collections.abc import Iterable

import msgspec

from stream.errors import Reject
from stream.geo import wrapped
from stream.jsontext import read, sanitize_for_jsonb, view
from stream.networks import x_common
from stream.networks.x_v2.control_messages import control
from stream.networks.x_v2.wire_types import (
    Area,
    Entities,
    Envelope,
    Geo,
    Includes,
    Link,
    MatchingRule,
    Media,
    Mention,
    Post,
    Tag,
    User,
)
from stream.tweet import Content, ControlNotice, LonLat, MediaKind, Message, Place, Tweet, TweetKind

_ENVELOPE = msgspec.json.Decoder(Envelope)
_POST = msgspec.json.Decoder(Post)
_NOTHING = Entities()
_ALONE = Includes()
_TWEET = b'{"data"'  # how X begins every post

Users = dict[x_common.Id, User]


def decode(body: bytes) -> Message:
    """Decode a frame to a tweet or a control message; raises Reject for everything else.

    `jsontext.sanitize_for_jsonb` has sanitized the body before, for decoding and for storing.
    """
    envelope = read(_ENVELOPE, body)
    post = envelope.data
    if post is not None and (post.text is not None or post.author_id is not None):
        return _tweet(post, envelope.includes or _ALONE, envelope.matching_rules)
    if post is None and _is_flat(envelope):
        return _tweet(read(_POST, body), _ALONE, envelope.matching_rules)
    return control(view(body))


def _is_flat(envelope: Envelope) -> bool:
    """Whether this is a post without an envelope, as twarc stores it, and not a v1.1 status."""
    if envelope.text is None:
        return False
    if envelope.author_id is not None:
        return True
    return envelope.id is not None and envelope.id_str is None and envelope.user is None


def urgent(body: bytes) -> ControlNotice | None:
    """The disconnect or error in this frame, if it is one; fast for tweets.

    `text` begins with the `disconnect_type`. Never raises.
    """
    if body.startswith(_TWEET):
        return None
    try:
        message = decode(sanitize_for_jsonb(body)[0])
    except Reject:
        return None
    if isinstance(message, ControlNotice) and message.kind in {"disconnect", "error"}:
        return message
    return None


def _tweet(post: Post, includes: Includes, rules: list[MatchingRule] | None) -> Tweet:
    native_id = x_common.usable_id(post.id)
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
        url=x_common.address(own.author, native_id),
        created_at=x_common.moment(post.created_at),
        lang=post.lang,
        reply_to=_reply_to(post, users, own),
        reply_to_id=x_common.usable_id(post.in_reply_to_user_id),
        conversation_id=x_common.usable_id(post.conversation_id),
        point=_point(post.geo) if post.geo is not None else None,
        place=_place(post.geo, includes.places or ()) if post.geo is not None else None,
        media=_media(post, includes) or (_media(source, includes) if source is not None else ()),
        verified=author is not None and _verified(author),
        rules=_rules(rules) if rules else (),
        withheld=_withheld(post),
    )


def _kind(post: Post) -> TweetKind:
    types = [reference.type for reference in _references(post)]
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
    """The post referred to, from `includes`; only the reference when X has omitted it."""
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
    """One part of a tweet: its longest text, and the entities of the same level."""
    note = post.note_tweet or post.note_post
    if note is not None and note.text is not None:
        text, marked = x_common.unescape(note.text), note.entities
    else:
        text, marked = x_common.unescape(post.text or ""), post.entities
    # X omits the field when it marks nothing, and recorders always do.
    found = x_common.marked_in(text) if marked in (None, _NOTHING) else x_common.NOTHING_MARKED
    entities = marked or post.entities or _NOTHING  # those of a long post's beginning, if need be
    mentions = entities.mentions
    author = users.get(post.author_id) or post.author
    return Content(
        text=text,
        hashtags=found.hashtags or (_tags(entities.hashtags) if entities.hashtags else ()),
        mentions=_handles(mentions) if mentions else found.mentions,
        mention_ids=_ids(mentions) if mentions else (),
        cashtags=found.cashtags or (_tags(entities.cashtags) if entities.cashtags else ()),
        links=_links(entities.urls) if entities.urls else found.links,
        author=author.username or None if author is not None else None,
        author_id=x_common.usable_id(post.author_id),
    )


def _tags(tags: list[Tag]) -> tuple[str, ...]:
    return tuple([tag.tag for tag in tags if tag.tag])


def _handles(mentions: list[Mention]) -> tuple[str, ...]:
    return tuple([mention.username for mention in mentions if mention.username])


def _ids(mentions: list[Mention]) -> tuple[str, ...]:
    found = [x_common.usable_id(mention.id) for mention in mentions]
    return tuple([one for one in found if one is not None])


def _links(links: list[Link]) -> tuple[str, ...]:
    return x_common.distinct(
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
    kinds = [x_common.MEDIA.get(one.type or "") for one in media]
    return tuple([kind for kind in kinds if kind is not None])


def _point(geo: Geo) -> LonLat | None:
    if geo.coordinates is None or not geo.coordinates.coordinates:
        return None
    pair = geo.coordinates.coordinates
    return x_common.point(pair[0], pair[1]) if len(pair) in (2, 3) else None


def _place(geo: Geo, places: Iterable[Area]) -> Place | None:
    """The place from `includes`; only its id when it is missing there."""
    if geo.place_id is None:
        return None
    area: Area = next((area for area in places if area.id == geo.place_id), geo)
    bbox = (area.geo.bbox if area.geo is not None else None) or []
    if len(bbox) == 6:  # with heights
        bbox = [*bbox[:2], *bbox[3:5]]
    return Place(
        names=x_common.distinct((geo.place_id, area.name, area.full_name)),
        country=area.country_code.upper() if area.country_code else None,
        box=wrapped(*bbox) if len(bbox) == 4 else None,
    )


def _verified(user: User) -> bool:
    return bool(user.verified) or user.verified_type not in {None, "", "none"}


def _rules(rules: list[MatchingRule]) -> tuple[str, ...]:
    return x_common.distinct(
        [name for rule in rules for name in (rule.tag, x_common.usable_id(rule.id))]
    )


def _withheld(post: Post) -> tuple[str, ...]:
    if post.withheld is None or not post.withheld.country_codes:
        return ()
    return x_common.countries(post.withheld.country_codes)
