"""Posts and faulty messages as X v2 JSON, with all fields (X v2 reference §5, §6)."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from simulator.faults import Armed
from simulator.payload import Json
from simulator.posts import Area, Author, Link, Media, Post
from simulator.problems import disconnect
from simulator.rules import Rule

_LONG = 280  # code points in `text`; the full text is in note_tweet


def payload(post: Post) -> Json:
    """`data` and `includes` with every field and expansion."""
    data = _data(post)
    users = {post.author.id: post.author}
    media = list(post.media)
    areas = [post.area] if post.area else []
    others = [other for other in (post.reposted, post.quoted) if other]
    others += [other.quoted for other in others if other.quoted]
    for other in (post, *others):
        users.setdefault(other.author.id, other.author)
        users.update((mention.who.id, mention.who) for mention in other.mentions)
        if other.reply_to_author:
            users.setdefault(other.reply_to_author.id, other.reply_to_author)
        if other is not post:
            media += other.media
            areas += [other.area] if other.area else []
    includes: Json = {"users": [_user(author) for author in users.values()]}
    if media:
        includes["media"] = [_media(item) for item in media]
    if areas:
        includes["places"] = [_place(area) for area in {area.id: area for area in areas}.values()]
    if others:
        includes["tweets"] = [_data(other) for other in others]
    return {"data": data, "includes": includes}


def iso(milliseconds: int) -> str:
    """A time as ISO 8601: UTC with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def _data(post: Post) -> Json:
    text, whole = _texts(post)
    number = str(post.id)
    origin = str(post.edits[0]) if post.edits else number
    data: Json = {
        "id": number,
        "text": text,
        "author_id": str(post.author.id),
        "created_at": iso(post.created_ms),
        "conversation_id": str(post.reply_to or origin),
        "edit_history_tweet_ids": [*map(str, post.edits), number],
        "edit_controls": {
            "edits_remaining": 5 - len(post.edits),
            "is_edit_eligible": post.reposted is None,
            "editable_until": iso(post.created_ms + 1_800_000),
        },
        "lang": post.lang,
        "possibly_sensitive": False,
        "reply_settings": "everyone",
        "source": post.app,
        "display_text_range": [0, len(text)],
        "public_metrics": dict.fromkeys(
            ("retweet_count", "reply_count", "like_count", "quote_count", "bookmark_count",
             "impression_count"), 0
        ),
    }  # fmt: skip
    if entities := _entities(post, len(text), _shift(post)):
        data["entities"] = entities
    if whole is not None:
        data["note_tweet"] = {"text": whole, "entities": _entities(post, len(whole), 0)}
    if references := _references(post):
        data["referenced_tweets"] = references
    if post.reply_to_author:
        data["in_reply_to_user_id"] = str(post.reply_to_author.id)
    if post.media:
        data["attachments"] = {"media_keys": [_media_key(item) for item in post.media]}
    if post.area:
        geo: Json = {"place_id": post.area.id}
        if post.point:
            geo["coordinates"] = {"type": "Point", "coordinates": list(post.point)}
        data["geo"] = geo
    return data


def _texts(post: Post) -> tuple[str, str | None]:
    if post.reposted:
        text = f"RT @{post.reposted.author.handle}: {post.reposted.text}"
        return (text if len(text) <= 140 else text[:139] + "…"), None
    if len(post.text) > _LONG:
        return post.text[:_LONG], post.text
    return post.text, None


def _shift(post: Post) -> int:
    return len(f"RT @{post.reposted.author.handle}: ") if post.reposted else 0


def _entities(post: Post, end: int, shift: int) -> Json:
    """The entities of the first `end` characters; those of a repost follow `RT @name: `."""
    body = post.reposted or post
    cut = end - 1 if post.reposted else end  # the last character may be the ellipsis
    fits = cut - shift
    found: dict[str, list[object]] = {
        "hashtags": [_tag(tag.start, tag.end, tag.text, shift) for tag in body.hashtags
                     if tag.end <= fits],
        "cashtags": [_tag(tag.start, tag.end, tag.text, shift) for tag in body.cashtags
                     if tag.end <= fits],
        "mentions": [_mention(m.start, m.end, m.who, shift) for m in body.mentions
                     if m.end <= fits],
        "urls": [_url(link, shift) for link in body.links if link.end <= fits],
    }  # fmt: skip
    if post.reposted:
        found["mentions"].insert(0, _mention(3, shift - 2, post.reposted.author, 0))
    return {kind: items for kind, items in found.items() if items}


def _tag(start: int, end: int, text: str, shift: int) -> Json:
    return {"start": start + shift, "end": end + shift, "tag": text}


def _mention(start: int, end: int, who: Author, shift: int) -> Json:
    return {"start": start + shift, "end": end + shift, "username": who.handle, "id": str(who.id)}


def _url(link: Link, shift: int) -> Json:
    url: Json = {
        "start": link.start + shift,
        "end": link.end + shift,
        "url": link.short,
        "expanded_url": link.expanded,
        "display_url": link.display,
    }
    if link.media:
        url["media_key"] = _media_key(link.media)
    else:
        url |= {"status": 200, "unwound_url": link.expanded}
    return url


def _references(post: Post) -> list[Json]:
    pairs: Iterable[tuple[str, int | None]] = (
        ("retweeted", post.reposted.id if post.reposted else None),
        ("quoted", post.quoted.id if post.quoted else None),
        ("replied_to", post.reply_to),
    )
    return [{"type": kind, "id": str(number)} for kind, number in pairs if number]


def _media_key(media: Media) -> str:
    return f"{'3' if media.kind == 'photo' else '13'}_{media.id}"


def _user(author: Author) -> Json:
    user: Json = {
        "id": str(author.id),
        "name": author.name,
        "username": author.handle,
        "created_at": iso(author.created_ms),
        "description": author.description,
        "profile_image_url": f"https://pbs.example.com/{author.id}.jpg",
        "protected": False,
        "public_metrics": {
            "followers_count": author.followers,
            "following_count": author.following,
            "tweet_count": author.posts,
            "listed_count": 0,
        },
        "url": "",
        "verified": author.verified,
        "verified_type": "business" if author.verified else "none",
    }
    if author.location:
        user["location"] = author.location
    return user


def _media(media: Media) -> Json:
    item: Json = {
        "media_key": _media_key(media),
        "type": media.kind,
        "width": media.width,
        "height": media.height,
    }
    if media.kind == "photo":
        item["url"] = f"https://pbs.example.com/media/{media.id}.jpg"
    else:
        item["preview_image_url"] = f"https://pbs.example.com/media/{media.id}.jpg"
        item["duration_ms"] = media.duration_ms
    return item


def _place(area: Area) -> Json:
    return {
        "id": area.id,
        "name": area.name,
        "full_name": area.full_name,
        "country": area.country,
        "country_code": area.country_code,
        "place_type": area.kind,
        "geo": {"type": "Feature", "bbox": list(area.box), "properties": {}},
    }


_NEW_NAMES = {
    "edit_history_tweet_ids": "edit_history_post_ids",
    "note_tweet": "note_post",
    "referenced_tweets": "referenced_posts",
}


def messages(armed: Armed, rules: list[Rule]) -> list[bytes]:
    """The lines that this fault sends on an open stream."""
    match armed.fault:
        case "operational-disconnect":
            return [farewell("UpstreamOperationalDisconnect", "The stream is being restarted.")]
        case "bare-problem":
            gone = disconnect("OperationalDisconnect", "The stream is being restarted.")
            return [msgspec.json.encode(gone)]
        case "data-errors":
            return [msgspec.json.encode(_with_errors(rules))]
        case "torn-utf8":
            whole = msgspec.json.encode(_post("1790000000000000311", "un café", rules))
            return [whole.replace("é".encode(), "é".encode()[:1])]
        case "unknown-kinds":
            unknown: list[Json] = [
                {"notice": {"kind": "maintenance", "at": "2030-01-01T00:00:00.000Z"}},
                {"data": {"bookmark": {"id": "1", "event_at": "2030-01-01T00:00:00.000Z"}}},
                {},
            ]
            return [msgspec.json.encode(message) for message in unknown]
        case other:
            raise ValueError(f"{other} sends no message on this network")


def farewell(kind: str, detail: str) -> bytes:
    """The message that ends a stream."""
    return msgspec.json.encode({"errors": [disconnect(kind, detail)]})


def edited(post: Post) -> Post:
    """An edited version of a post: a new id that refers to the earlier ones."""
    return msgspec.structs.replace(
        post, id=post.id + 1, text=post.text + " (edit)", edits=(*post.edits, post.id)
    )


def renamed(payload: Json) -> Json:
    """The payload with the newer field names, which only the specification uses."""
    renamed = dict(payload)
    data = renamed.get("data")
    if isinstance(data, dict):
        renamed["data"] = {_NEW_NAMES.get(key, key): value for key, value in data.items()}
    includes = renamed.get("includes")
    if isinstance(includes, dict):
        renamed["includes"] = {
            "posts" if key == "tweets" else key: value for key, value in includes.items()
        }
    return renamed


def _post(number: str, text: str, rules: list[Rule]) -> Json:
    return {
        "data": {"id": number, "text": text, "edit_history_tweet_ids": [number]},
        "matching_rules": [{"id": rule.id, "tag": rule.tag or ""} for rule in rules[:1]],
    }


def _with_errors(rules: list[Rule]) -> Json:
    post = _post("1790000000000000313", "a post whose quoted post is gone", rules)
    missing = "1790000000000000312"
    post["errors"] = [
        {
            "value": missing,
            "resource_id": missing,
            "resource_type": "tweet",
            "parameter": "referenced_tweets.id",
            "title": "Not Found Error",
            "detail": f"Could not find tweet with referenced_tweets.id: [{missing}].",
            "type": "https://api.twitter.com/2/problems/resource-not-found",
        }
    ]
    return post
