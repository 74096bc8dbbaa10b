"""The flat views: of each message what its decoder says, and only the days that are asked for."""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from network_messages import MESSAGES, Post
from statuses import SERVER, account, frame, status
from stream.db import Database
from stream.errors import Reject
from stream.jsontext import sanitize_for_jsonb
from stream.keys import received_at, to_datetime, tweet_key
from stream.networks.registry import NETWORKS
from stream.store import partitions, search, tweets
from stream.store.tweets import IncomingTweet
from stream.tweet import NETWORK_NAMES, NetworkName, SourceId, Tweet, TweetId

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
OWN_MEDIA = re.compile(r"https://(?:twitter|x)\.com/\w+/(?:status/\d+/)?(?:photo|video)/")
# X names a link in several ways, of which the view has the last; or it has not marked any.
LINKS: Mapping[tuple[str, str], list[str]] = {
    ("x_v1", "plain"): ["https://example.com/snow"],
    ("x_v2", "post"): ["https://example.com/snow"],
}
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
    keys = [tweet_key(first + number, SourceId(1)) for number in range(len(bodies))]
    arrivals = [
        IncomingTweet(key, received_at(key), at, decoded(network, body), body, (), repaired=False)
        for key, body in zip(keys, bodies, strict=True)
    ]
    async with database.transaction() as connection:
        await partitions.ensure_days(connection, {at.date()})
        await tweets.insert(connection, network, arrivals, None)
    return keys


def expected(tweet: Tweet, links: list[str] | None) -> dict[str, Any]:
    """The columns of the view, from what the decoder has found."""
    shown = tweet.reposted or tweet.own
    place, point = tweet.place, tweet.point or (None, None)
    if links is None:
        links = [link for link in shown.links if not OWN_MEDIA.match(link)]
        if tweet.native_id.isdigit():  # X lists the shortened addresses, too
            links = [link for link in links if link.startswith("http")]
    return {
        "native_id": tweet.native_id,
        "kind": tweet.kind,
        "text": tweet.text,
        "lang": tweet.lang,
        "url": tweet.url if (tweet.url or "").startswith("http") else None,
        "created_at": tweet.created_at,
        "author": tweet.own.author,
        "author_id": tweet.own.author_id,
        "hashtags": list(dict.fromkeys(shown.hashtags)),
        "links": links,
        "mentions": list(dict.fromkeys(shown.mentions)),
        "mention_ids": list(dict.fromkeys(shown.mention_ids)),
        "media": list(tweet.media),
        "place": place.names[-1] if place and place.names else None,
        "country": place.country if place else None,
        "longitude": point[0],
        "latitude": point[1],
    }


@pytest.mark.parametrize("network", NETWORK_NAMES)
async def test_a_row_says_what_the_decoder_says(connected: Database, network: NetworkName) -> None:
    given = messages(network)
    await store(connected, network, list(given.values()))
    rows = await connected.fetch("SELECT * FROM tweets_flat ORDER BY received_at")
    assert len(rows) == len(given) > len(POSTS)
    for (name, body), row in zip(given.items(), rows, strict=True):
        want = expected(decoded(network, body), LINKS.get((network, name)))
        assert {column: row[column] for column in want} == want, name
        assert row["network"] == network
        assert row["id"] == tweet_key(round(row["received_at"].timestamp() * 1e6), SourceId(1))


async def test_numbers_and_names_are_those_of_the_message(connected: Database) -> None:
    counts = {"favorite_count": 1, "retweet_count": 2, "reply_count": 3, "quote_count": 4}
    v1 = {"id_str": "7", "full_text": "x", "user": {"name": "Ann", "screen_name": "a"}} | counts
    metrics = {"like_count": 1, "retweet_count": 2, "reply_count": 3, "quote_count": 4}
    v2 = {
        "data": {"id": "7", "text": "x", "author_id": "5", "public_metrics": metrics},
        "includes": {"users": [{"id": "6"}, {"id": "5", "name": "Ann"}]},
    }
    retweet = {"id_str": "8", "text": "RT", "user": {"name": "Ann"}, "retweeted_status": v1}
    numbers: dict[str, Any] = {
        "favourites_count": 1,
        "reblogs_count": 2,
        "replies_count": 3,
        "quotes_count": 4,
    }
    boosted = status(account=account(display_name="Bob"), **numbers)
    boost = status("", reblog=boosted, account=account(display_name="Ann"))
    await store(connected, "x_v1", [json.dumps(each).encode() for each in (v1, retweet)])
    await store(connected, "x_v2", [json.dumps(v2).encode()], NOON + timedelta(hours=1))
    await store(connected, "mastodon", [frame(boost)], NOON + timedelta(hours=2))
    columns = "display_name, likes, reposts, replies, quotes"
    rows = await connected.fetch(f"SELECT {columns} FROM tweets_flat")
    assert [tuple(row) for row in rows] == [("Ann", 1, 2, 3, 4)] * 4
    # Whatever stands there instead, the rest of the table can be read.
    odd = v1 | {
        "favorite_count": 1e300,
        "retweet_count": -1,
        "reply_count": "9",
        "user": {"name": 5},
    }
    await store(connected, "x_v1", [json.dumps(odd).encode()], NOON + timedelta(hours=3))
    rows = await connected.fetch(f"SELECT {columns} FROM tweets_flat ORDER BY received_at")
    assert tuple(rows[-1]) == (None, None, None, None, 4)


@pytest.mark.parametrize("network", NETWORK_NAMES)
async def test_the_views_can_be_read_whatever_messages_hold(
    connected: Database, network: NetworkName
) -> None:
    chance = random.Random(1)
    bodies = list(messages(network).values())
    damaged = [_damaged(chance.choice(bodies), chance) for _ in range(400)]
    stored = [body for body in damaged if _is_tweet(network, body)]
    assert len(stored) > 100
    await store(connected, network, stored)
    rows = await connected.fetch("SELECT * FROM tweets_flat")
    assert len(rows) == len(stored)


def _damaged(body: bytes, chance: random.Random) -> bytes:
    """The message with something else in some place."""
    message = json.loads(body)
    text = message.get("payload")
    if isinstance(text, str):
        message["payload"] = _damaged(text.encode(), chance).decode()
        return json.dumps(message).encode()
    parts = [message]
    for part in parts:
        inner = part.values() if isinstance(part, dict) else part
        parts += [each for each in inner if each and isinstance(each, dict | list)]
    for part in chance.choices(parts, k=3):
        keys = list(part) if isinstance(part, dict) else range(len(part))
        part[chance.choice(keys)] = chance.choice(ODD)
    return json.dumps(message).encode()


def _is_tweet(network: NetworkName, body: bytes) -> bool:
    try:
        return isinstance(NETWORKS[network].decode(body), Tweet)
    except Reject:
        return False


async def test_hashtags_links_and_mentions_have_a_row_each(connected: Database) -> None:
    post = Post("#Cat #dog", ("Cat", "dog"), mentions_nasa=True, link="https://E.example:80/a")
    [key] = await store(connected, "x_v1", [MESSAGES["x_v1"](post)])
    at = to_datetime(round(NOON.timestamp() * 1e6))
    first = "tweet_id, received_at, network, author"
    for columns, view, want in (
        ("hashtag, hashtag_lower", "hashtags", [("Cat", "cat"), ("dog", "dog")]),
        ("link, host", "links", [("https://E.example:80/a", "e.example")]),
        ("mention, mention_lower", "mentions", [("nasa", "nasa")]),
    ):
        rows = await connected.fetch(f"SELECT {first}, {columns} FROM {view} ORDER BY 5")
        assert [tuple(row) for row in rows] == [(key, at, "x_v1", "ann", *each) for each in want]


async def test_what_readers_do_not_see_is_not_in_the_views(connected: Database) -> None:
    """As `search.by_keys`, which pages and API use."""
    bodies = [
        json.dumps(
            {
                "id_str": str(number),
                "created_at": "Tue Nov 14 22:13:20 +0000 2023",
                "text": "#x",
                "entities": {"hashtags": [{"text": "x"}]},
                "user": {"id_str": str(number)},
            }
        ).encode()
        for number in range(1, 9)
    ]
    keys = await store(connected, "x_v1", bodies)
    await connected.execute(
        """
        UPDATE tweets SET deleted_at = now() WHERE native_id = '1';
        UPDATE tweets SET withheld = '{XX}' WHERE native_id = '2';
        UPDATE tweets SET withheld = '{DE}' WHERE native_id = '3';
        INSERT INTO author_tombstones (network, author_id, deleted_at, withheld, pending) VALUES
            ('x_v1', '4', now(), NULL, '{deleted}'), ('x_v1', '5', '2020-01-01', NULL, '{deleted}'),
            ('x_v1', '6', NULL, '{XX}', '{withheld}'), ('x_v1', '7', now(), NULL, '{}'),
            ('x_v2', '8', now(), NULL, '{deleted}');
        """
    )
    async with connected.acquire() as connection:
        shown = await search.by_keys(connection, keys, None, None, with_doc=False)
    assert [tweet.native_id for tweet in shown] == ["8", "7", "5", "3"]
    for query in ("SELECT id FROM tweets_flat", "SELECT tweet_id FROM hashtags"):
        rows = await connected.fetch(f"{query} ORDER BY 1 DESC")
        assert [row[0] for row in rows] == [tweet.id for tweet in shown]


@pytest.mark.parametrize("view", ["tweets_flat", "hashtags", "links", "mentions", "tweet_tracks"])
async def test_a_time_limits_the_days_that_are_read(connected: Database, view: str) -> None:
    async with connected.transaction() as connection:
        days = [(NOON + timedelta(days=number)).date() for number in range(5)]
        await partitions.ensure_days(connection, days)
    for times in (
        "received_at >= '2026-03-15' AND received_at < '2026-03-16'",
        # A time that is known when the query runs, as dashboards write it.
        "received_at >= now() - (now() - '2026-03-15') AND received_at < '2026-03-16'",
    ):
        plan = await connected.fetch(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT * FROM {view} WHERE {times}"
        )
        text = "\n".join(row[0] for row in plan)
        assert set(re.findall(r"(?:tweets|matches)_(\d{8})\b", text)) == {"20260315"}, text
