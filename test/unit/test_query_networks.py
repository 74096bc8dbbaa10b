"""The operators of queries mean the same on all networks; what a network lacks is stated."""

import pytest

from network_messages import ANN, CONVERSATION, MESSAGES, NASA, Post
from stream.config import Settings
from stream.jsontext import sanitize_for_jsonb
from stream.matcher import Matcher
from stream.networks.base import PlannedTrack
from stream.networks.registry import NETWORKS
from stream.query import TrackKind, parse
from stream.tweet import NetworkName, TrackId, Tweet

CAT = Post()
REPOST = Post(reposts_nasa=True)
QUOTE = Post(quotes="dog")
REPLY = Post("@nasa cat", mentions_nasa=True, answers_nasa=True)
# Query, posts that match, posts that do not. {nasa}: the account's name, {nasa_id}: its id.
OPERATORS: tuple[tuple[str, tuple[Post, ...], tuple[Post, ...]], ...] = (
    ("cat has:media", (Post(media="photo"), Post(media="video")), (CAT,)),
    ("cat has:media", (Post(media="animated_gif"), QUOTE._replace(media="photo")), (QUOTE,)),
    ("cat has:images", (Post(media="photo"),), (Post(media="video"), CAT)),
    ("cat has:video_link", (Post(media="video"),), (Post(media="photo"), CAT)),
    ("cat has:links", (Post(link="https://example.org/a"),), (CAT, REPLY)),
    ("cat has:hashtags", (Post("cat #snow", ("snow",)),), (Post("cat snow"),)),
    ("cat has:mentions", (Post("cat @nasa", mentions_nasa=True), REPLY), (CAT,)),
    ("cat has:cashtags", (Post("cat $AAPL"),), (Post("cat AAPL"), Post("cat $5"))),
    ("$aapl", (Post("cat $AAPL"),), (Post("cat AAPL"),)),
    ("#snow", (Post("cat #Snow", ("Snow",)),), (Post("cat snow"),)),
    ("cat is:reply", (REPLY,), (CAT, QUOTE, Post("cat @nasa", mentions_nasa=True))),
    ("cat is:quote", (QUOTE,), (CAT, REPLY)),
    ("cat is:reply is:quote", (REPLY._replace(quotes="dog"),), (REPLY, QUOTE)),
    ("cat -is:reply -is:quote", (CAT,), (REPLY, QUOTE)),
    ("cat lang:de", (Post(lang="de"),), (Post(lang="en"), CAT)),
    ("cat lang:he", (Post(lang="he"),), (Post(lang="en"),)),
    ("cat lang:und", (CAT,), (Post(lang="en"),)),
    ("from:{nasa_id}", (Post(by_nasa=True),), (CAT, REPLY)),
    ("to:{nasa_id}", (REPLY,), (CAT, Post(by_nasa=True))),
    ("url:example.org", (Post(link="https://example.org/a"),), (CAT, Post("example"))),
    ('url:"example.org/a"', (Post(link="https://example.org/a"),), (Post(link="https://a.org"),)),
    ("dog cat", (), (QUOTE,)),  # what is wanted must be in one part
)
# The same, with what not every network sends: the first names those that do.
IN_PART: tuple[tuple[tuple[NetworkName, ...], str, tuple[Post, ...], tuple[Post, ...]], ...] = (
    (("x_v2", "x_v1", "mastodon"), "from:{nasa}", (Post(by_nasa=True),), (CAT, REPLY)),
    (("x_v2", "x_v1", "mastodon"), "to:{nasa}", (REPLY,), (CAT, Post(by_nasa=True))),
    (("x_v2", "x_v1", "mastodon"), "dog", (QUOTE,), (CAT,)),
    (("x_v2", "x_v1", "mastodon"), "cat is:retweet", (REPOST,), (CAT, QUOTE)),
    (("x_v2", "x_v1", "mastodon"), "retweets_of:{nasa}", (REPOST,), (CAT, Post(by_nasa=True))),
    (("x_v2", "x_v1"), "cat is:verified", (Post(verified=True),), (CAT,)),
    (("x_v2", "bluesky"), "conversation_id:{conversation}", (REPLY,), ()),
)


def query(network: NetworkName, text: str) -> str:
    name, number = NASA[network]
    # Ids of Mastodon are addresses, which no person types.
    return text.format(
        nasa=name,
        nasa_id=name if network == "mastodon" else number,
        conversation=CONVERSATION.get(network),
    )


def matches(network: NetworkName, text: str, post: Post, kind: TrackKind = "query") -> bool:
    tweet = NETWORKS[network].decode(sanitize_for_jsonb(MESSAGES[network](post))[0])
    assert isinstance(tweet, Tweet)
    return bool(Matcher([(TrackId(1), parse(kind, query(network, text)))]).match(tweet))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("text", "matching", "others"), OPERATORS)
def test_an_operator_means_the_same_on_all_networks(
    network: NetworkName, text: str, matching: tuple[Post, ...], others: tuple[Post, ...]
) -> None:
    for expected, posts in ((True, matching), (False, others)):
        for post in posts:
            assert matches(network, text, post) is expected, post


@pytest.mark.parametrize(("networks", "text", "matching", "others"), IN_PART)
def test_an_operator_means_the_same_on_all_networks_that_send_what_it_needs(
    networks: tuple[NetworkName, ...],
    text: str,
    matching: tuple[Post, ...],
    others: tuple[Post, ...],
) -> None:
    for network in networks:
        for expected, posts in ((True, matching), (False, others)):
            for post in posts:
                assert matches(network, text, post) is expected, (network, post)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_user_track_matches_posts_of_an_account_and_replies_to_it(network: NetworkName) -> None:
    assert matches(network, "{nasa_id}", Post(by_nasa=True), "user")
    assert matches(network, "{nasa_id}", REPLY, "user")
    assert not matches(network, "{nasa_id}", CAT, "user")
    assert ANN[network] != NASA[network]


# Kind, value, and a part of the reason why a network delivers nothing; "" where it does.
LACKING: tuple[tuple[TrackKind, str, dict[NetworkName, str]], ...] = (
    ("keyword", "cat", {"x_v2": "", "x_v1": "", "bluesky": "", "mastodon": ""}),
    ("user", "@nasa", {"x_v2": "", "bluesky": "add the domain", "mastodon": "add the server"}),
    ("user", "@nasa.example", {"x_v2": "not a valid X name", "bluesky": "looked up"}),
    ("user", "did:plc:nasanasanasanasanasanasa", {"x_v2": "not a valid X name", "bluesky": ""}),
    ("user", "@nasa@social.example", {"x_v2": "not a valid X name", "mastodon": ""}),
    ("user", "11", {"x_v2": "", "x_v1": "", "bluesky": "begin with did:"}),
    ("place", "-74,40,-73.9,40.1", {"x_v2": "", "x_v1": "", "bluesky": "no place"}),
    ("place", "-74,40,-73.9,40.1", {"mastodon": "no place"}),
    ("place", "Munich", {"x_v2": "", "bluesky": "no place", "mastodon": "no place"}),
    ("query", "place_country:de", {"bluesky": "no place", "mastodon": "no place"}),
    ("query", "cat has:geo", {"x_v2": "", "bluesky": "no place", "mastodon": "no place"}),
    ("query", "cat is:retweet", {"x_v2": "", "bluesky": "no reposts", "mastodon": "no boosts"}),
    ("query", "cat is:verified", {"bluesky": "verified", "mastodon": "verified"}),
    ("query", "conversation_id:70", {"x_v2": "", "bluesky": "Conversations"}),
    ("query", "conversation_id:70", {"mastodon": "conversation"}),
    ("query", "conversation_id:3mroot/did:plc:root", {"x_v2": "not a valid", "bluesky": ""}),
)


@pytest.mark.parametrize(("kind", "value", "reasons"), LACKING)
def test_what_a_network_lacks_is_stated(
    kind: TrackKind, value: str, reasons: dict[NetworkName, str]
) -> None:
    for name in NETWORKS.keys() & reasons.keys():
        followed = [PlannedTrack(TrackId(1), parse(kind, value))]
        refused = NETWORKS[name].plan(followed, Settings()).refused
        assert (1 in refused) is bool(reasons[name]), (name, refused)
        assert reasons[name] in refused.get(TrackId(1), ""), name
