"""Decode messages of X v1.1: bytes to a tweet or a control message.

X v1.1 reference, "Message catalogue" and "Tweet object". Whatever the bytes are, `decode` returns
a Message or raises `errors.Reject`.
"""

from datetime import UTC, datetime
from typing import TypeGuard

import msgspec

from stream import geo
from stream.errors import Reject
from stream.jsontext import read, sanitize_for_jsonb, view
from stream.networks import x_common
from stream.networks.x_v1.control_messages import control
from stream.networks.x_v1.wire_types import (
    Area,
    Entities,
    MatchingRule,
    Media,
    Mention,
    Point,
    Status,
    Tag,
)
from stream.tweet import Content, ControlNotice, LonLat, MediaKind, Message, Place, Tweet, TweetKind

_STATUS = msgspec.json.Decoder(Status)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_NOTHING = Entities()
_TWEET = b'{"created_at"'  # how X begins every tweet; without it the test takes a little longer
_FIRST = 64  # bytes that contain the only key of a control message


def decode(body: bytes) -> Message:
    """Decode a frame to a tweet or a control message; raises Reject for everything else.

    `jsontext.sanitize_for_jsonb` has sanitized the body before, for decoding and for storing.
    """
    status = read(_STATUS, body)
    if (
        status.text is not None
        or status.full_text is not None
        or status.user is not None
        or status.extended_tweet is not None
        or status.retweeted_status is not None
    ):
        return _tweet(status)
    return control(view(body))


def urgent(body: bytes) -> ControlNotice | None:
    """The disconnect or warning in this frame, if it is one; fast for tweets.

    `number` is the disconnect's code. Never raises.
    """
    if body.startswith(_TWEET):
        return None
    start = body[:_FIRST]
    if b'"disconnect"' not in start and b'"warning"' not in start:
        return None
    try:
        message = decode(sanitize_for_jsonb(body)[0])
    except Reject:
        return None
    if isinstance(message, ControlNotice) and message.kind in {"disconnect", "warning"}:
        return message
    return None


def _tweet(status: Status) -> Tweet:
    native_id = x_common.usable_id(status.id_str, status.id)
    if native_id is None:
        raise Reject("no_id", f"id_str {status.id_str!r:.40}, id {status.id!r:.40}")
    own = _content(status)
    source = status.retweeted_status
    reposted = _content(source) if source is not None else None
    quote = status.quoted_status
    if quote is None and source is not None:
        quote = source.quoted_status
    user = status.user
    return Tweet(
        native_id=native_id,
        kind=_kind(status),
        own=own,
        reposted=reposted,
        quoted=_content(quote) if quote is not None else None,
        text=own.text if reposted is None else reposted.text,
        url=x_common.address(own.author, native_id),
        created_at=moment(status.created_at),
        lang=status.lang,
        reply_to=status.in_reply_to_screen_name,
        reply_to_id=x_common.usable_id(status.in_reply_to_user_id_str, status.in_reply_to_user_id),
        point=_point(status.coordinates, status.geo),
        place=_place(status.place) if status.place is not None else None,
        media=_media(status) or (_media(source) if source is not None else ()),
        verified=user is not None and bool(user.verified),
        rules=_rules(status.matching_rules) if status.matching_rules else (),
        withheld=_withheld(status),
    )


def _kind(status: Status) -> TweetKind:
    if status.retweeted_status is not None:
        return "repost"
    if status.quoted_status is not None or status.is_quote_status:
        return "quote"
    if (
        status.in_reply_to_status_id_str is not None
        or status.in_reply_to_status_id is not None
        or status.in_reply_to_user_id_str is not None
        or status.in_reply_to_user_id is not None
        or status.in_reply_to_screen_name is not None
    ):
        return "reply"
    return "original"


def _content(status: Status) -> Content:
    """One part of a tweet: its longest text, and the entities of the same level."""
    extended = status.extended_tweet
    if extended is not None and extended.full_text is not None:
        text, entities, more = extended.full_text, extended.entities, extended.extended_entities
    else:
        text = status.full_text if status.full_text is not None else status.text or ""
        entities, more = status.entities, status.extended_entities
    if entities is None:
        entities = _NOTHING
    tags, mentions, symbols = entities.hashtags, entities.user_mentions, entities.symbols
    text = x_common.unescape(text)
    # X sends every list, even empty ones; a missing list was omitted by a recorder.
    missing = tags is None or mentions is None or symbols is None or entities.urls is None
    found = x_common.marked_in(text) if missing else x_common.NOTHING_MARKED
    links = _links(entities, more.media if more is not None else None)
    user = status.user
    return Content(
        text=text,
        hashtags=_tags(tags) if tags is not None else found.hashtags,
        mentions=_handles(mentions) if mentions is not None else found.mentions,
        mention_ids=_ids(mentions) if mentions else (),
        cashtags=_tags(symbols) if symbols is not None else found.cashtags,
        links=links if entities.urls is not None else x_common.distinct((*links, *found.links)),
        author=user.screen_name or None if user is not None else None,
        author_id=x_common.usable_id(user.id_str, user.id) if user is not None else None,
    )


def _tags(tags: list[Tag]) -> tuple[str, ...]:
    return tuple([tag.text for tag in tags if tag.text])


def _handles(mentions: list[Mention]) -> tuple[str, ...]:
    return tuple([mention.screen_name for mention in mentions if mention.screen_name])


def _ids(mentions: list[Mention]) -> tuple[str, ...]:
    found = [x_common.usable_id(mention.id_str, mention.id) for mention in mentions]
    return tuple([one for one in found if one is not None])


def _links(entities: Entities, more: list[Media] | None) -> tuple[str, ...]:
    media = more or entities.media
    if not entities.urls and not media:
        return ()
    found: list[str | None] = []
    for link in entities.urls or ():
        found += (link.expanded_url, link.display_url)
        if link.unwound is not None:
            found.append(link.unwound.url)
    for one in media or ():
        found += (one.expanded_url, one.display_url)
    return x_common.distinct(found)


def _media(status: Status) -> tuple[MediaKind, ...]:
    """The kinds of all photos and videos; `entities.media` has only the first, as a photo."""
    extended = status.extended_tweet
    for entities in (
        extended.extended_entities if extended is not None else None,
        status.extended_entities,
        extended.entities if extended is not None else None,
        status.entities,
    ):
        if entities is not None and entities.media:
            kinds = [x_common.MEDIA.get(one.type or "") for one in entities.media]
            return tuple([kind for kind in kinds if kind is not None])
    return ()


def _point(coordinates: Point | None, older: Point | None) -> LonLat | None:
    if coordinates is not None and coordinates.coordinates and len(coordinates.coordinates) >= 2:
        return x_common.point(coordinates.coordinates[0], coordinates.coordinates[1])
    if older is not None and older.coordinates and len(older.coordinates) >= 2:
        return x_common.point(older.coordinates[1], older.coordinates[0])
    return None


def _place(area: Area) -> Place:
    outline = area.bounding_box
    parts = outline.coordinates or () if outline is not None else ()
    rings = [_corners(ring) for part in parts for ring in (part, *part)]
    return Place(
        names=x_common.distinct((area.id, area.name, area.full_name)),
        country=area.country_code.upper() if area.country_code else None,
        box=geo.enclosing(rings),
    )


def _corners(ring: object) -> list[LonLat]:
    """The corners of a ring; empty for anything else, such as a polygon or a number."""
    pairs = [corner[:2] for corner in ring if isinstance(corner, list)] if _is_list(ring) else []
    return [(pair[0], pair[1]) for pair in pairs if [*map(type, pair)] == [float, float]]


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _rules(rules: list[MatchingRule]) -> tuple[str, ...]:
    return x_common.distinct(
        name for rule in rules for name in (rule.tag, x_common.usable_id(rule.id_str, rule.id))
    )


def _withheld(status: Status) -> tuple[str, ...]:
    """Countries in which the tweet or its whole author is hidden."""
    user = status.user
    of_author = user.withheld_in_countries if user is not None else None
    if not of_author and not status.withheld_in_countries:
        return ()
    return x_common.countries((*(status.withheld_in_countries or ()), *(of_author or ())))


def moment(text: x_common.Time) -> datetime | None:
    """Parse `Wed Oct 10 20:19:24 +0000 2018`, always in English; tools also write ISO 8601."""
    if not isinstance(text, str) or len(text) != 30 or text[20:25] != "+0000" or not text.isascii():
        return x_common.moment(text)
    try:
        at = datetime(
            int(text[26:30]),
            _MONTHS[text[4:7]],
            int(text[8:10]),
            int(text[11:13]),
            int(text[14:16]),
            int(text[17:19]),
            tzinfo=UTC,
        )
    except (ValueError, KeyError):
        return None
    return at if x_common.plausible(at) else None
