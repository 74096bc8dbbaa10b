"""The flat views: of each message what its decoder says, and only the days that are asked for."""

import json
import random
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from network_messages import MESSAGES, Post
from statuses import account, frame, status
from stored_messages import NOON, POSTS, damaged, decoded, is_tweet, messages, store
from stream.db import Database
from stream.keys import to_datetime, tweet_key
from stream.store import partitions, search
from stream.tweet import NETWORK_NAMES, LaneId, NetworkName, Tweet

OWN_MEDIA = re.compile(r"https://(?:twitter|x)\.com/\w+/(?:status/\d+/)?(?:photo|video)/")
# X names a link in several ways, of which the view has the last; or it has not marked any.
LINKS: Mapping[tuple[str, str], list[str]] = {
    ("x_v1", "plain"): ["https://example.com/snow"],
    ("x_v2", "post"): ["https://example.com/snow"],
}


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
        assert row["id"] == tweet_key(round(row["received_at"].timestamp() * 1e6), LaneId(1))


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
    broken = [damaged(chance.choice(bodies), chance) for _ in range(400)]
    stored = [body for body in broken if is_tweet(network, body)]
    assert len(stored) > 100
    await store(connected, network, stored)
    rows = await connected.fetch("SELECT * FROM tweets_flat")
    assert len(rows) == len(stored)


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
        shown = await search.by_keys(connection, keys, with_doc=False)
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
