"""Tracks as channels of Mastodon, on servers that offer all, some or none of them."""

import pytest

from stream.config import MastodonSettings, Settings
from stream.networks.base import Usage
from stream.networks.mastodon import plan as mastodon
from stream.networks.mastodon.plan import (
    Channel,
    Choice,
    FeedAccess,
    MastodonPlan,
    MastodonPlanner,
    Offer,
    choose_channels,
    usage,
)
from stream.query import TrackKind, parse
from stream.tweet import TrackId

SETTINGS = Settings()
OFF = FeedAccess(local=False, remote=False)
LOCAL = FeedAccess(remote=False)
REMOTE = FeedAccess(local=False)


def planned(*tracks: tuple[TrackKind, str]) -> MastodonPlan:
    planner = MastodonPlanner(SETTINGS)
    for number, (kind, value) in enumerate(tracks, 1):
        planner.follow(TrackId(number), parse(kind, value))
    return planner.plan()


def chosen(*values: str, offer: Offer | None = None, most: int = 200) -> Choice:
    plan = planned(*(("query", value) for value in values))
    return choose_channels(plan, offer or Offer(), most)


@pytest.mark.parametrize(
    ("kind", "value", "hashtags"),
    [
        ("keyword", "#Flood", ["flood"]),
        ("keyword", "#café, #東京 rain", ["cafe", "東京"]),
        ("keyword", "#Straße, #οδος", ["straße", "strasse", "οδος", "οδοσ"]),
        ("keyword", "flood", None),
        ("keyword", "#flood, storm", None),
        ("query", "#flood lang:de -is:reply", ["flood"]),
        ("query", "(#flood OR #storm) has:media", ["flood", "storm"]),
        ("query", "(#flood OR rain) #storm", ["storm"]),
        ("query", "#flood OR rain", None),
        ("query", "rain -#flood", None),
        ("user", "@ann@social.example", None),
    ],
)
def test_hashtags_suffice_where_every_post_that_can_match_has_one(
    kind: TrackKind, value: str, hashtags: list[str] | None
) -> None:
    plan = planned((kind, value))
    assert plan.asked > 0
    if hashtags is None:
        assert plan.by_feed == {1}
    else:
        assert (plan.by_feed, list(plan.hashtags)) == (frozenset(), hashtags)
        assert plan.by_hashtag == {1: tuple(hashtags)}


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("place", "-74,40,-73,41", mastodon.NO_PLACES),
        ("query", "snow place:berlin", mastodon.NO_PLACES),
        ("query", "snow has:geo", mastodon.NO_PLACES),
        ("query", "snow is:retweet", mastodon.NO_BOOSTS),
        ("query", "retweets_of:ann@social.example", mastodon.NO_BOOSTS),
        ("query", "snow is:verified", mastodon.NO_VERIFIED),
        ("query", "conversation_id:12", mastodon.NO_CONVERSATIONS),
        ("user", "@nasa", mastodon.NO_SERVER),
        ("user", "12", mastodon.NO_SERVER),
        ("query", "from:nasa.bsky.social", mastodon.NO_SERVER),
    ],
)
def test_what_mastodon_cannot_deliver_is_refused(
    kind: TrackKind, value: str, sentence: str
) -> None:
    plan = planned((kind, value))
    assert plan.asked == 0
    assert plan.refused[TrackId(1)].endswith(sentence)


def test_only_what_is_impossible_is_left_out() -> None:
    plan = planned(("user", "@nasa, @ann@social.example"), ("query", "snow -is:retweet"))
    assert plan.refused == {}
    assert plan.caveats[TrackId(1)] == (
        f"Tracked only partly. @nasa: {mastodon.NO_SERVER} {mastodon.FEW_REPLIES}"
    )
    assert TrackId(2) not in plan.caveats


def test_hashtags_alone_need_no_public_feed() -> None:
    choice = chosen("#flood", "#Storm has:media")
    assert choice.channels == (Channel("hashtag", "flood"), Channel("hashtag", "storm"))
    assert choice.refused == {}
    assert choice.reach == dict.fromkeys((1, 2), mastodon.BY_HASHTAG)


def test_with_the_public_feed_hashtags_still_bring_replies() -> None:
    choice = chosen("#flood", "rain")
    assert choice.channels == (Channel("public"), Channel("hashtag", "flood"))
    assert choice.reach == {1: mastodon.BY_HASHTAG, 2: mastodon.EVERYTHING}


@pytest.mark.parametrize(
    ("live", "channel", "sentence"),
    [
        (FeedAccess(), "public", mastodon.EVERYTHING),
        (LOCAL, "public:local", mastodon.LOCAL_ONLY),
        (REMOTE, "public:remote", mastodon.REMOTE_ONLY),
    ],
)
def test_a_server_may_show_only_a_part(live: FeedAccess, channel: str, sentence: str) -> None:
    choice = chosen("rain", offer=Offer(live))
    assert choice.channels == (Channel(channel),)
    assert choice.reach == {1: sentence}


def test_without_a_public_feed_only_hashtags_are_left_and_the_rows_say_so() -> None:
    choice = chosen("#flood", "rain", "#storm OR rain", offer=Offer(OFF))
    assert choice.channels == (Channel("hashtag", "flood"), Channel("hashtag", "storm"))
    only = "Only #storm: this server has switched its public feed off."
    assert choice.refused == {2: mastodon.PUBLIC_OFF, 3: only}
    assert choice.reach == {1: mastodon.BY_HASHTAG, 3: only}


def test_hashtag_feeds_may_be_off_or_local() -> None:
    assert chosen("#flood", offer=Offer(hashtag=OFF)).channels == (Channel("public"),)
    assert chosen("#flood", offer=Offer(hashtag=LOCAL)).channels == (
        Channel("hashtag:local", "flood"),
    )
    nothing = chosen("#flood", offer=Offer(OFF, OFF))
    assert (nothing.channels, nothing.refused) == ((), {1: mastodon.EVERYTHING_OFF})


def test_more_hashtags_than_channels_come_through_the_public_feed() -> None:
    choice = chosen("#a", "#b", "#c", most=2)
    assert choice.channels == (Channel("public"), Channel("hashtag", "a"), Channel("hashtag", "b"))
    assert choice.reach[TrackId(3)] == mastodon.EVERYTHING
    assert choice.refused == {}


def test_the_usage_counts_hashtags() -> None:
    settings = Settings(mastodon=MastodonSettings(max_hashtags=2))
    plan = planned(("keyword", "#a, #b, #c"))
    assert usage(plan, settings) == [Usage("hashtags", 2, 2)]


def test_a_plan_follows_its_tracks() -> None:
    planner = MastodonPlanner(SETTINGS)
    planner.follow(TrackId(1), parse("keyword", "#flood"))
    assert planner.plan() is planner.plan()
    planner.follow(TrackId(2), parse("keyword", "rain"))
    assert planner.plan().by_feed == {2}
    planner.drop(TrackId(2))
    assert planner.plan().by_feed == frozenset()
    planner.drop(TrackId(1))
    assert planner.plan().asked == 0
