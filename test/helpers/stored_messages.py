"""Messages of all networks, recorded, invented and damaged, as they are stored."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from network_messages import MESSAGES, Post
from statuses import SERVER, account, frame, status
from stream.db import Database
from stream.errors import Reject
from stream.jsontext import sanitize_for_jsonb
from stream.keys import received_at, tweet_key
from stream.networks.registry import NETWORKS
from stream.store import partitions, tweets
from stream.store.tweets import IncomingTweet
from stream.tweet import NETWORK_NAMES, LaneId, NetworkName, Tweet, TweetId

FRAMES = Path(__file__).parent.parent / "frames"
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
POSTS = (
    Post(),
    Post("a #cat and #Dog", ("cat", "Dog"), by_nasa=True, lang="de"),
    Post("#雪 <3 &amp; #Café #cat", ("雪", "Café", "cat")),
    Post(mentions_nasa=True, answers_nasa=True, link="https://example.com/a?b=1&c=2"),
    Post("#cat", ("cat",), reposts_nasa=True, link="https://example.com/"),
    Post(quotes="a #dog", media="photo"),
    Post(media="video", mentions_nasa=True),
    Post(media="animated_gif", reposts_nasa=True),
)
# Texts of messages without lists of entities.
UNLISTED = (
    "@nasa #col·legi $TSLA &amp;#no example.com/a",
    "RT @ann: (https://www.example.com/a_(b)?c=1#d), see http://t.co/x1!",
    "#1 #1a a#b #_x ##two #雪 @a@b @ann/list x@y.example @ann. &lt;#tag&gt; @Übel",
    "",
)

ODD: tuple[Any, ...] = (
    None,
    True,
    5,
    -1.5,
    1e300,
    "",
    "x",
    "7",
    "é雪",
    "@a #b",
    [],
    {},
    [5],
    [None],
    [{}],
    {"a": 1},
)


def mastodon_pages() -> Iterator[tuple[str, bytes]]:
    """What servers write into a status."""
    link = '<a href="{}" rel="nofollow" class="{}">{}</a>'.format
    tag, mention = f"{SERVER}/tags/", f"{SERVER}/@bob"
    pages = {
        "escaped": link("https://e.example/?a=1&amp;b=2", "", "<span>e.example</span>"),
        "twice": link("https://e.example/", "", "1") + link("https://e.example/", "", "2"),
        "tags": link(f"{tag}snow", "mention hashtag", "#<span>Snow</span>")
        + link(f"{tag}odegard", "hashtag", "#<span>Ødegård</span>"),
        "mention": link(mention, "u-url mention", "@<span>bob</span>"),
        "plain mention": link(mention, "u-url", "@bob"),
        "quote": f'<span class="quote-inline"><br/>RE: {link("https://q.example/", "", "q")}</span>'
        f"<p>no {link('https://e.example/', '', 'e')}</p>",
    }
    for name, content in pages.items():
        found = status(
            f"<p>{content}</p>",
            tags=[{"name": "snow"}, {"name": "odegard"}, {"name": "unwritten"}],
            mentions=[{"id": "1", "username": "bob", "acct": "bob", "url": mention}],
            account=account(display_name="Ann"),
            card={"url": "https://card.example/"},
        )
        yield name, frame(found)
        yield f"{name}, boosted", frame(status("", reblog=found))
    broken = r'{"id":"1","uri":"u","content":"\u0000 \\u0000 \ud83d x","n":1e99999,"tags":['
    yield "broken", frame(broken + r'{"name":"a\ud83d\ude00\udc00"}],"account":{}}')


def messages(network: NetworkName) -> dict[str, bytes]:
    """Recorded and invented messages with a tweet each, by name."""
    found = {path.stem: path.read_bytes() for path in sorted((FRAMES / network).iterdir())}
    found |= {str(post): MESSAGES[network](post) for post in POSTS}
    if network == "mastodon":
        found |= dict(mastodon_pages())
    if network == "x_v1":
        found |= {text: json.dumps({"id": 7, "text": text}).encode() for text in UNLISTED}
    if network == "x_v2":
        found |= {
            text: json.dumps({"data": {"id": "7", "text": text}}).encode() for text in UNLISTED
        }
    return {name: sanitize_for_jsonb(body)[0] for name, body in found.items()}


def decoded(network: NetworkName, body: bytes) -> Tweet:
    found = NETWORKS[network].decode(body)
    assert isinstance(found, Tweet)
    return found


async def store(
    database: Database, network: NetworkName, bodies: Sequence[bytes], at: datetime = NOON
) -> list[TweetId]:
    """Store tweets a microsecond apart, as the writer does."""
    first = round(at.timestamp() * 1e6)
    keys = [tweet_key(first + number, LaneId(1)) for number in range(len(bodies))]
    arrivals = [
        IncomingTweet(key, received_at(key), at, decoded(network, body), body, (), repaired=False)
        for key, body in zip(keys, bodies, strict=True)
    ]
    async with database.transaction() as connection:
        await partitions.ensure_days(connection, {at.date()})
        await tweets.insert(connection, network, arrivals, None)
    return keys


def damaged(body: bytes, chance: random.Random) -> bytes:
    """The message with something else in some place."""
    message = json.loads(body)
    text = message.get("payload")
    if isinstance(text, str):
        message["payload"] = damaged(text.encode(), chance).decode()
        return json.dumps(message).encode()
    parts = [message]
    for part in parts:
        inner = part.values() if isinstance(part, dict) else part
        parts += [each for each in inner if each and isinstance(each, dict | list)]
    for part in chance.choices(parts, k=3):
        keys = list(part) if isinstance(part, dict) else range(len(part))
        part[chance.choice(keys)] = chance.choice(ODD)
    return json.dumps(message).encode()


def is_tweet(network: NetworkName, body: bytes) -> bool:
    try:
        return isinstance(NETWORKS[network].decode(body), Tweet)
    except Reject:
        return False


def all_messages() -> dict[NetworkName, list[bytes]]:
    """Those of all networks."""
    return {network: list(messages(network).values()) for network in NETWORK_NAMES}


async def fill(database: Database, bodies: Mapping[NetworkName, Sequence[bytes]]) -> None:
    """Store messages of several networks, an hour apart, as tweets of the track 1."""
    for hour, (network, each) in enumerate(bodies.items()):
        await store(database, network, each, NOON + timedelta(hours=hour))
    await database.execute(
        "INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)"
        " SELECT id, 1, received_at, 'x', 'text', 'own' FROM tweets"
    )
