"""The bytes of one v1.1 message → what it says.

X v1.1 reference, "Message catalogue" and "Tweet object". Whatever the bytes are, `decode` returns
a Message or raises `errors.Reject`.
"""

from datetime import UTC, datetime

import msgspec

from stream.errors import Reject
from stream.jsontext import mend, read, view
from stream.networks import x_fields
from stream.networks.x_v1.control import control
from stream.networks.x_v1.shapes import Area, Entities, Media, Mention, Point, Rule, Status, Tag
from stream.tweet import Content, LonLat, MediaKind, Message, Notice, Place, Tweet, TweetKind

_STATUS = msgspec.json.Decoder(Status)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_NOTHING = Entities()
_TWEET = b'{"created_at"'  # how X begins every tweet; without it the test takes a little longer
_FIRST = 64  # bytes in which the only key of a control message stands


def decode(body: bytes) -> Message:
    """A tweet, or what a control message says; raises Reject for everything else.

    The body has gone through `jsontext.mend`, once for this and for what is stored.
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


def urgent(body: bytes) -> Notice | None:
    """The disconnect or warning in this frame, if it is one; costs next to nothing for a tweet.

    `number` is the disconnect's code. Never raises.
    """
    if body.startswith(_TWEET):
        return None
    start = body[:_FIRST]
    if b'"disconnect"' not in start and b'"warning"' not in start:
        return None
    try:
        message = decode(mend(body)[0])
    except Reject:
        return None
    if isinstance(message, Notice) and message.kind in {"disconnect", "warning"}:
        return message
    return None


def _tweet(status: Status) -> Tweet:
    native_id = x_fields.usable_id(status.id_str, status.id)
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
        url=x_fields.address(own.author, native_id),
        created_at=moment(status.created_at),
        lang=status.lang,
        reply_to=status.in_reply_to_screen_name,
        reply_to_id=x_fields.usable_id(status.in_reply_to_user_id_str, status.in_reply_to_user_id),
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
    """One part: the longest text there is, and the entities of the same level as that text."""
    extended = status.extended_tweet
    if extended is not None and extended.full_text is not None:
        text, entities, more = extended.full_text, extended.entities, extended.extended_entities
    else:
        text = status.full_text if status.full_text is not None else status.text or ""
        entities, more = status.entities, status.extended_entities
    if entities is None:
        entities = _NOTHING
    mentions = entities.user_mentions
    user = status.user
    return Content(
        text=x_fields.unescape(text),
        hashtags=_tags(entities.hashtags) if entities.hashtags else (),
        mentions=_handles(mentions) if mentions else (),
        mention_ids=_ids(mentions) if mentions else (),
        cashtags=_tags(entities.symbols) if entities.symbols else (),
        links=_links(entities, more.media if more is not None else None),
        author=user.screen_name or None if user is not None else None,
        author_id=x_fields.usable_id(user.id_str, user.id) if user is not None else None,
    )


def _tags(tags: list[Tag]) -> tuple[str, ...]:
    return tuple([tag.text for tag in tags if tag.text])


def _handles(mentions: list[Mention]) -> tuple[str, ...]:
    return tuple([mention.screen_name for mention in mentions if mention.screen_name])


def _ids(mentions: list[Mention]) -> tuple[str, ...]:
    found = [x_fields.usable_id(mention.id_str, mention.id) for mention in mentions]
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
    return x_fields.distinct(found)


def _media(status: Status) -> tuple[MediaKind, ...]:
    """The kind of every picture and film. `entities.media` holds the first alone, as a photo."""
    extended = status.extended_tweet
    for entities in (
        extended.extended_entities if extended is not None else None,
        status.extended_entities,
        extended.entities if extended is not None else None,
        status.entities,
    ):
        if entities is not None and entities.media:
            kinds = [x_fields.MEDIA.get(one.type or "") for one in entities.media]
            return tuple([kind for kind in kinds if kind is not None])
    return ()


def _point(coordinates: Point | None, geo: Point | None) -> LonLat | None:
    if coordinates is not None and coordinates.coordinates and len(coordinates.coordinates) == 2:
        return x_fields.point(coordinates.coordinates[0], coordinates.coordinates[1])
    if geo is not None and geo.coordinates and len(geo.coordinates) == 2:
        return x_fields.point(geo.coordinates[1], geo.coordinates[0])
    return None


def _place(area: Area) -> Place:
    outline = area.bounding_box
    corners = [
        corner
        for ring in (outline.coordinates or () if outline is not None else ())
        for corner in ring
        if len(corner) == 2
    ]
    lons = [corner[0] for corner in corners]
    lats = [corner[1] for corner in corners]
    return Place(
        names=x_fields.distinct((area.id, area.name, area.full_name)),
        country=area.country_code.upper() if area.country_code else None,
        box=x_fields.box(min(lons), min(lats), max(lons), max(lats)) if corners else None,
    )


def _rules(rules: list[Rule]) -> tuple[str, ...]:
    return x_fields.distinct(
        name for rule in rules for name in (rule.tag, x_fields.usable_id(rule.id_str, rule.id))
    )


def _withheld(status: Status) -> tuple[str, ...]:
    """Countries in which the tweet or its whole author is hidden."""
    user = status.user
    of_author = user.withheld_in_countries if user is not None else None
    if not of_author and not status.withheld_in_countries:
        return ()
    return x_fields.countries((*(status.withheld_in_countries or ()), *(of_author or ())))


def moment(text: str | None) -> datetime | None:
    """`Wed Oct 10 20:19:24 +0000 2018`, always English and UTC; None when it is no such time."""
    if text is None or len(text) != 30 or text[20:25] != "+0000" or not text.isascii():
        return None
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
    return at if x_fields.plausible(at) else None
