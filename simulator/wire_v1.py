"""Posts, control messages and faulty messages as X v1.1 JSON (X v1.1 reference §10, §13)."""

import time
from datetime import UTC, datetime

import msgspec

from simulator.faults import Armed
from simulator.payload import Json
from simulator.posts import Area, Author, Link, Media, Mention, Post, Tag

_SHORT = 140  # code points of compatibility text
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LEVELS = ("none", "low", "low", "medium")


def payload(post: Post, *, inner: bool = False) -> Json:
    """A post as a tweet object; `inner` for one inside another."""
    number = post.id
    tweet: Json = {
        "created_at": stamp(post.created_ms),
        "id": number,
        "id_str": str(number),
        "text": "",
        "source": f'<a href="https://example.com" rel="nofollow">{post.app}</a>',
        "truncated": False,
        "in_reply_to_status_id": post.reply_to,
        "in_reply_to_status_id_str": str(post.reply_to) if post.reply_to else None,
        "in_reply_to_user_id": post.reply_to_author.id if post.reply_to_author else None,
        "in_reply_to_user_id_str": str(post.reply_to_author.id) if post.reply_to_author else None,
        "in_reply_to_screen_name": post.reply_to_author.handle if post.reply_to_author else None,
        "user": user(post.author),
        "geo": _point(post, reverse=True),
        "coordinates": _point(post, reverse=False),
        "place": _place(post.area) if post.area else None,
        "contributors": None,
        "is_quote_status": post.quoted is not None,
        "quote_count": 0,
        "reply_count": 0,
        "retweet_count": 0,
        "favorite_count": 0,
        "favorited": False,
        "retweeted": False,
        "possibly_sensitive": False,
        "filter_level": _LEVELS[number % len(_LEVELS)],
        "lang": post.lang,
    }
    _texts(tweet, post)
    if post.quoted is not None:
        tweet |= {
            "quoted_status_id": post.quoted.id,
            "quoted_status_id_str": str(post.quoted.id),
            "quoted_status": payload(post.quoted, inner=True),
        }
    if post.reposted is not None:
        tweet["retweeted_status"] = payload(post.reposted, inner=True)
    if not inner:
        tweet["timestamp_ms"] = str(post.created_ms)
    return tweet


def stamp(milliseconds: int) -> str:
    """`Wed Oct 10 20:19:24 +0000 2018`: English on every machine."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day} {month} {moment:%d %H:%M:%S} +0000 {moment.year}"


def _texts(tweet: Json, post: Post) -> None:
    if post.reposted is not None:
        head = f"RT @{post.reposted.author.handle}: "
        text = head + post.reposted.text
        cut = len(text) > _SHORT
        tweet["text"] = text[: _SHORT - 1] + "…" if cut else text
        end = (_SHORT - 1 if cut else len(text)) - len(head)
        entities = _entities(post.reposted, end, len(head))
        by = Mention(3, len(head) - 2, post.reposted.author)
        entities["user_mentions"].insert(0, _mention(by, 0))
        tweet["entities"] = entities
        return
    if len(post.text) <= _SHORT:
        tweet["text"] = post.text
        tweet["display_text_range"] = [0, len(post.text)]
        tweet["entities"] = _entities(post, len(post.text), 0)
        if post.media:
            tweet["extended_entities"] = {"media": [_media(link, 0) for link in _attached(post)]}
        return
    short = f"https://t.co/{post.id % 10**10:010d}"
    end = _SHORT - len(short) - 2
    tweet["text"] = f"{post.text[:end]}… {short}"
    tweet["truncated"] = True
    entities = _entities(post, end, 0)
    address = f"https://x.com/i/web/status/{post.id}"
    whole = Link(end + 2, _SHORT, short, address, "x.com/i/web/status/1…")
    entities["urls"].append(_url(whole, 0))
    tweet["entities"] = entities
    extended: Json = {
        "full_text": post.text,
        "display_text_range": [0, len(post.text)],
        "entities": _entities(post, len(post.text), 0),
    }
    if post.media:
        extended["extended_entities"] = {"media": [_media(link, 0) for link in _attached(post)]}
    tweet["extended_tweet"] = extended


def _entities(post: Post, end: int, shift: int) -> dict[str, list[Json]]:
    """The entities of the first `end` characters, moved by `shift`; empty lists are kept."""
    fits = [link for link in post.links if link.end <= end]
    entities = {
        "hashtags": [_tag(tag, shift) for tag in post.hashtags if tag.end <= end],
        "symbols": [_tag(tag, shift) for tag in post.cashtags if tag.end <= end],
        "user_mentions": [_mention(m, shift) for m in post.mentions if m.end <= end],
        "urls": [_url(link, shift) for link in fits if not link.media],
    }
    if media := [_media(link, shift) for link in fits if link.media]:
        entities["media"] = media[:1]
    return entities


def _attached(post: Post) -> list[Link]:
    return [link for link in post.links if link.media]


def _tag(tag: Tag, shift: int) -> Json:
    return {"text": tag.text, "indices": [tag.start + shift, tag.end + shift]}


def _mention(mention: Mention, shift: int) -> Json:
    return {
        "screen_name": mention.who.handle,
        "name": mention.who.name,
        "id": mention.who.id,
        "id_str": str(mention.who.id),
        "indices": [mention.start + shift, mention.end + shift],
    }


def _url(link: Link, shift: int) -> Json:
    return {
        "url": link.short,
        "expanded_url": link.expanded,
        "display_url": link.display,
        "indices": [link.start + shift, link.end + shift],
    }


def _media(link: Link, shift: int) -> Json:
    assert link.media is not None
    media: Media = link.media
    item: Json = {
        "id": media.id,
        "id_str": str(media.id),
        "media_url_https": f"https://pbs.example.com/media/{media.id}.jpg",
        "type": media.kind,
        "sizes": {"large": {"w": media.width, "h": media.height, "resize": "fit"}},
        **_url(link, shift),
    }
    if media.duration_ms is not None:
        item["video_info"] = {
            "aspect_ratio": [16, 9],
            "duration_millis": media.duration_ms,
            "variants": [{"content_type": "video/mp4", "url": "https://video.example.com/1.mp4"}],
        }
    return item


def _point(post: Post, *, reverse: bool) -> Json | None:
    """GeoJSON has the longitude first; the deprecated `geo` has it last."""
    if post.point is None:
        return None
    return {"type": "Point", "coordinates": list(post.point[::-1] if reverse else post.point)}


def _place(area: Area) -> Json:
    west, south, east, north = area.box
    ring = [[west, south], [west, north], [east, north], [east, south]]
    return {
        "id": area.id,
        "place_type": area.kind,
        "name": area.name,
        "full_name": area.full_name,
        "country_code": area.country_code,
        "country": area.country,
        "bounding_box": {"type": "Polygon", "coordinates": [ring]},
        "attributes": {},
    }


def user(author: Author) -> Json:
    """An account as a user object."""
    return {
        "id": author.id,
        "id_str": str(author.id),
        "name": author.name,
        "screen_name": author.handle,
        "location": author.location or None,
        "url": None,
        "description": author.description,
        "protected": False,
        "verified": author.verified,
        "followers_count": author.followers,
        "friends_count": author.following,
        "listed_count": 0,
        "favourites_count": 0,
        "statuses_count": author.posts,
        "created_at": stamp(author.created_ms),
        "lang": None,
        "profile_image_url_https": f"https://pbs.example.com/{author.id}.jpg",
    }


_REASONS = {
    1: "Shutdown", 2: "Duplicate stream", 4: "Stall", 5: "Normal", 6: "Token revoked",
    7: "Admin logout", 9: "Max message limit", 10: "Stream exception", 11: "Broker stall",
    12: "Shed load",
}  # fmt: skip


def messages(armed: Armed) -> list[bytes]:
    """The lines that this fault sends on an open stream."""
    match armed.fault:
        case "disconnect":
            return [disconnect(armed.n or 4)]
        case "stall-warning":
            return [_line({"warning": {
                "code": "FALLING_BEHIND",
                "message": "Your connection is falling behind and messages are being queued.",
                "percent_full": 60,
            }})]  # fmt: skip
        case "torn-utf8":
            return [
                b'{"id":1790000000000000311,"id_str":"1790000000000000311",'
                b'"text":"un caf\xc3","user":{"id":5,"id_str":"5","screen_name":"torn"}}'
            ]
        case "unknown-kinds":
            return [
                _line({"friends": [5, 6]}),
                _line({"event": "user_update", "created_at": "", "source": {}, "target": {}}),
                _line({"for_user": "5", "message": {}}),
                _line({"sunrise": {"code": 1}}),
                _line({}),
            ]
        case other:
            raise ValueError(f"{other} sends no message on this network")


def disconnect(code: int) -> bytes:
    """The disconnect message that ends a stream."""
    reason = _REASONS.get(code, "Unannounced")
    return _line({"disconnect": {"code": code, "stream_name": "sim-filter1", "reason": reason}})


def deletion(post: Post) -> bytes:
    """The deletion message of a post."""
    status = {
        "id": post.id,
        "id_str": str(post.id),
        "user_id": post.author.id,
        "user_id_str": str(post.author.id),
    }
    return _line({"delete": {"status": status, "timestamp_ms": _now()}})


def limit(total: int) -> bytes:
    """The limit message: `total` posts withheld since the connection opened."""
    return _line({"limit": {"track": total, "timestamp_ms": _now()}})


def _line(message: Json) -> bytes:
    return msgspec.json.encode(message)


def _now() -> str:
    return str(int(time.time() * 1000))
