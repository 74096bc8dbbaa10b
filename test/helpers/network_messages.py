"""Posts as the messages of each network, in the form that the network sends."""

import html
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from stream.tweet import NetworkName

NASA: Mapping[NetworkName, tuple[str, str]] = {  # handle and id of an account
    "x_v2": ("nasa", "11"),
    "x_v1": ("nasa", "11"),
    "bluesky": ("nasa.example", "did:plc:nasanasanasanasanasanasa"),
    "mastodon": ("nasa@social.example", "https://social.example/users/nasa"),
}
ANN: Mapping[NetworkName, tuple[str, str]] = {
    "x_v2": ("ann", "5"),
    "x_v1": ("ann", "5"),
    "bluesky": ("ann.example", "did:plc:annannannannannannannann"),
    "mastodon": ("ann@social.example", "https://social.example/users/ann"),
}
CONVERSATION: Mapping[NetworkName, str] = {"x_v2": "70", "bluesky": "3mroot/did:plc:root"}


class Post(NamedTuple):
    """What a post has. `hashtags` are in its text, with a sign of one character before them."""

    text: str = "cat"
    hashtags: tuple[str, ...] = ()
    by_nasa: bool = False
    mentions_nasa: bool = False
    answers_nasa: bool = False
    quotes: str = ""  # the text of the quoted post
    reposts_nasa: bool = False
    link: str = ""
    media: str = ""  # photo, video or animated_gif
    lang: str = ""
    verified: bool = False

    @property
    def places(self) -> list[tuple[int, str]]:
        """Where the sign of each hashtag is."""
        return [(self.text.index(tag) - 1, tag) for tag in self.hashtags]


def x_v2(post: Post) -> bytes:
    """A post of the filtered stream; `&`, `<` and `>` are escaped."""
    name, number = NASA["x_v2"]
    marked = [{"start": at, "end": at + 1 + len(tag), "tag": tag} for at, tag in post.places]
    entities: dict[str, Any] = {"hashtags": marked}
    if "$AAPL" in post.text:
        entities["cashtags"] = [{"start": 4, "end": 9, "tag": "AAPL"}]
    if post.mentions_nasa:
        entities["mentions"] = [{"username": name, "id": number}]
    if post.link:
        entities["urls"] = [{"url": "https://t.co/x", "expanded_url": post.link}]
    data: dict[str, Any] = {
        "id": "77",
        "text": html.escape(post.text, quote=False),
        "entities": entities,
        "author_id": number if post.by_nasa else "5",
        "conversation_id": "70",
    }
    referred = []
    if post.answers_nasa:
        data["in_reply_to_user_id"] = number
        referred.append({"type": "replied_to", "id": "70"})
    if post.quotes:
        referred.append({"type": "quoted", "id": "71"})
    if post.reposts_nasa:
        referred.append({"type": "retweeted", "id": "72"})
    if referred:
        data["referenced_tweets"] = referred
    if post.media:
        data["attachments"] = {"media_keys": ["3_1"]}
    if post.lang:
        data["lang"] = post.lang
    users = [
        {"id": number, "username": name, "verified": post.verified},
        {"id": "5", "username": "ann", "verified": post.verified},
    ]
    includes = {
        "users": users,
        "media": [{"media_key": "3_1", "type": post.media}],
        "tweets": [
            {"id": "71", "text": post.quotes, "author_id": "6"},
            {"id": "72", "text": post.text, "author_id": number},
        ],
    }
    return json.dumps({"data": data, "includes": includes}, ensure_ascii=False).encode()


def x_v1(post: Post) -> bytes:
    """A tweet of statuses/filter, in ASCII only."""
    name, number = NASA["x_v1"]
    nasa = {"id_str": number, "screen_name": name, "verified": post.verified}
    ann = {"id_str": "5", "screen_name": "ann", "verified": post.verified}
    links = [{"url": "https://t.co/x", "expanded_url": post.link}] if post.link else []
    tweet: dict[str, Any] = {
        "created_at": "Tue Nov 14 22:13:20 +0000 2023",
        "id_str": "77",
        "text": html.escape(post.text, quote=False),
        "entities": {
            "hashtags": [{"text": t, "indices": [at, at + 1 + len(t)]} for at, t in post.places],
            "urls": links,
            "user_mentions": [nasa] if post.mentions_nasa else [],
            "symbols": [{"text": "AAPL", "indices": [4, 9]}] if "$AAPL" in post.text else [],
        },
        "user": nasa if post.by_nasa else ann,
        "lang": post.lang or "und",
    }
    if post.answers_nasa:
        tweet |= {"in_reply_to_status_id_str": "70", "in_reply_to_user_id_str": number}
        tweet["in_reply_to_screen_name"] = name
    if post.quotes:
        quoted = {"id_str": "71", "text": post.quotes, "user": {"id_str": "6"}}
        tweet |= {"is_quote_status": True, "quoted_status": quoted}
    if post.reposts_nasa:
        tweet["retweeted_status"] = {"id_str": "72", "text": post.text, "user": nasa}
    if post.media:
        tweet["extended_entities"] = {"media": [{"type": post.media}]}
    return json.dumps(tweet).encode()


def bluesky(post: Post) -> bytes:
    """A post of Jetstream, wire v2; facets count bytes."""
    facets = [_facet(post.text, at, tag, {"tag": tag}) for at, tag in post.places]
    if post.mentions_nasa:
        facets.append(_facet(post.text, 0, "", {"did": NASA["bluesky"][1]}))
    if post.link:
        facets.append(_facet(post.text, 0, "", {"uri": post.link}))
    record: dict[str, Any] = {"$type": "app.bsky.feed.post", "text": post.text, "facets": facets}
    if post.lang:
        record["langs"] = [post.lang]
    if post.answers_nasa:
        parent = f"at://{NASA['bluesky'][1]}/app.bsky.feed.post/3mparent"
        root = "at://did:plc:root/app.bsky.feed.post/3mroot"
        record["reply"] = {"root": {"uri": root}, "parent": {"uri": parent}}
    media: dict[str, Any] = {}
    if post.media == "photo":
        media = {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": {}}]}
    elif post.media:
        gif = "gif" if post.media == "animated_gif" else "default"
        media = {"$type": "app.bsky.embed.video", "video": {}, "presentation": gif}
    if post.quotes:
        quoted = {"uri": "at://did:plc:quoted/app.bsky.feed.post/3mquoted"}
        record["embed"] = {"record": {"record": quoted}, "media": media} if media else {}
        record["embed"] = record["embed"] or {"record": quoted}
    elif media:
        record["embed"] = media
    payload = {
        "$type": "network.bsky.jetstream.subscribeEvents#commit",
        "seq": 7,
        "did": (NASA if post.by_nasa else ANN)["bluesky"][1],
        "time": "2026-07-04T14:38:06.690Z",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": "3mp2gqqpgsc2u",
        "record": record,
    }
    return json.dumps({"$type": "message", "payload": payload}, ensure_ascii=False).encode()


def _facet(text: str, at: int, name: str, feature: dict[str, str]) -> dict[str, Any]:
    begin = len(text[:at].encode())
    end = begin + len(text[at : at + 1 + len(name)].encode())
    return {"index": {"byteStart": begin, "byteEnd": end}, "features": [feature]}


def mastodon(post: Post) -> bytes:
    """A status of the WebSocket: HTML in JSON in JSON; hashtags are links."""
    content, end = "", 0
    for at, tag in post.places:
        content += html.escape(post.text[end:at])
        content += (
            f'<a href="https://social.example/tags/{html.escape(tag)}" class="mention hashtag" '
            f'rel="tag">{post.text[at]}<span>{html.escape(tag)}</span></a>'
        )
        end = at + 1 + len(tag)
    content += html.escape(post.text[end:])
    if post.link:
        content += f' <a href="{post.link}">link</a>'
    nasa = _mastodon_account("nasa", "11")
    status: dict[str, Any] = {
        "id": "7",
        "uri": "https://social.example/users/ann/statuses/7",
        "content": f"<p>{content}</p>",
        "account": nasa if post.by_nasa else _mastodon_account("ann", "5"),
        "tags": [{"name": tag.lower()} for tag in post.hashtags],
        "mentions": [nasa] if post.mentions_nasa or post.answers_nasa else [],
        "language": post.lang or None,
    }
    if post.answers_nasa:
        status |= {"in_reply_to_id": "70", "in_reply_to_account_id": "11"}
    if post.quotes:
        quoted = status | {"id": "71", "uri": "https://social.example/q", "content": post.quotes}
        status["quote"] = {"state": "accepted", "quoted_status": quoted}
    if post.reposts_nasa:
        boosted = status | {"id": "72", "uri": "https://social.example/b", "account": nasa}
        status |= {"reblog": boosted, "content": ""}
    if post.media:
        kind = {"photo": "image", "animated_gif": "gifv"}.get(post.media, post.media)
        status["media_attachments"] = [{"type": kind}]
    payload = json.dumps(status, ensure_ascii=False)
    message = {"stream": ["public"], "event": "update", "payload": payload}
    return json.dumps(message, ensure_ascii=False).encode()


def _mastodon_account(name: str, number: str) -> dict[str, str]:
    uri = f"https://social.example/users/{name}"
    url = f"https://social.example/@{name}"
    return {"id": number, "acct": name, "username": name, "uri": uri, "url": url}


MESSAGES: Mapping[NetworkName, Callable[[Post], bytes]] = {
    "x_v2": x_v2,
    "x_v1": x_v1,
    "bluesky": bluesky,
    "mastodon": mastodon,
}
