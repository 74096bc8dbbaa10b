"""What each network delivers of a track: each kind and operator on each network, and sentences."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from stream.config import Settings
from stream.networks.base import PlannedTrack
from stream.networks.registry import NETWORKS
from stream.query import Query, TrackKind, User, parse
from stream.reach import Reached, reach_sentence
from stream.store.track_reach import TrackReach
from stream.store.tracks import Track
from stream.tweet import NetworkName, ReachHow, SourceId, TrackId

NOW = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)
ONE = TrackId(1)
MAIN = SourceId(1)
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
# kind, value, and how x_v2, x_v1, bluesky and mastodon deliver it
TABLE: list[tuple[TrackKind, str, ReachHow, ReachHow, ReachHow, ReachHow]] = [
    ("keyword", "snow", "pushed", "both", "decided", "decided"),
    ("keyword", "snow day, black ice", "pushed", "both", "decided", "decided"),
    ("keyword", '"snow day"', "pushed", "both", "decided", "decided"),
    ("keyword", "#snow", "pushed", "both", "decided", "pushed"),
    ("keyword", "#snow, ice", "pushed", "both", "decided", "both"),
    ("keyword", "#snow ice", "pushed", "both", "decided", "both"),
    ("keyword", "@nasa", "pushed", "both", "decided", "decided"),
    ("keyword", "$tsla", "pushed", "both", "decided", "decided"),
    ("keyword", "example.com", "pushed", "both", "decided", "decided"),
    ("keyword", "AT&T", "both", "both", "decided", "decided"),
    ("keyword", "雪", "pushed", "both", "decided", "decided"),
    ("user", "@nasa", "pushed", "both", "cannot", "cannot"),
    ("user", "77", "pushed", "both", "cannot", "cannot"),
    ("user", DID, "cannot", "cannot", "pushed", "cannot"),
    ("user", "@ana.bsky.social", "cannot", "both", "cannot", "cannot"),  # not looked up yet
    ("user", "@ana@example.social", "cannot", "both", "cannot", "decided"),
    ("place", "Paris", "pushed", "cannot", "cannot", "cannot"),
    ("place", "-74,40,-73.9,40.1", "pushed", "both", "cannot", "cannot"),
    ("query", "snow lang:en", "pushed", "both", "decided", "decided"),
    ("query", "snow has:media", "pushed", "both", "decided", "decided"),
    ("query", "snow has:links", "pushed", "both", "decided", "decided"),
    ("query", "snow has:geo", "pushed", "both", "cannot", "cannot"),
    ("query", "snow is:reply", "pushed", "both", "decided", "decided"),
    ("query", "snow is:quote", "pushed", "both", "decided", "decided"),
    ("query", "snow is:retweet", "pushed", "both", "cannot", "cannot"),
    ("query", "snow -is:retweet", "pushed", "both", "decided", "decided"),
    ("query", "snow is:verified", "pushed", "both", "cannot", "cannot"),
    ("query", "from:nasa snow", "pushed", "both", "cannot", "cannot"),
    ("query", "from:77", "pushed", "both", "cannot", "cannot"),
    ("query", f"from:{DID}", "cannot", "cannot", "pushed", "cannot"),
    ("query", f"from:{DID} snow", "cannot", "both", "both", "cannot"),
    ("query", "to:nasa", "pushed", "both", "cannot", "cannot"),
    ("query", "retweets_of:nasa", "pushed", "both", "cannot", "cannot"),
    ("query", "url:example.com", "pushed", "both", "decided", "decided"),
    ("query", "conversation_id:77", "pushed", "cannot", "cannot", "cannot"),
    ("query", "place:paris snow", "pushed", "both", "cannot", "cannot"),
    ("query", "place_country:fr snow", "pushed", "both", "cannot", "cannot"),
    ("query", "point_radius:[2.35 48.85 10km]", "pushed", "both", "cannot", "cannot"),
    ("query", "bounding_box:[2.3 48.8 2.4 48.9]", "pushed", "both", "cannot", "cannot"),
    ("query", "(snow OR ice) lang:en", "pushed", "both", "decided", "decided"),
    ("query", 'snow -"black ice"', "pushed", "both", "decided", "decided"),
    ("query", "snow -AT&T", "both", "both", "decided", "decided"),
    ("query", "snow has:images", "pushed", "both", "decided", "decided"),
    ("query", "snow has:videos", "pushed", "both", "decided", "decided"),
    ("query", "snow has:mentions", "pushed", "both", "decided", "decided"),
    ("query", "snow has:hashtags", "pushed", "both", "decided", "decided"),
    ("query", "snow has:cashtags", "pushed", "both", "decided", "decided"),
    ("query", "snow -is:nullcast", "pushed", "both", "decided", "decided"),
    ("query", "#snow lang:en", "pushed", "both", "decided", "both"),
]
ORDER: tuple[NetworkName, ...] = ("x_v2", "x_v1", "bluesky", "mastodon")


def reached(
    name: NetworkName, *tracks: tuple[TrackKind, str], **reports: dict[TrackId, str]
) -> Reached:
    """What is known about one source of a network; the tracks have ids from 1."""
    planned = [PlannedTrack(TrackId(n), parse(*each)) for n, each in enumerate(tracks, 1)]
    plan = NETWORKS[name].plan(planned, Settings())
    refused = {MAIN: reports.get("refused", {})}
    reach = {MAIN: reports.get("reach", {})}
    return Reached({name: NETWORKS[name]}, {name: plan}, [(MAIN, "main", name)], refused, reach)


def row(kind: TrackKind, value: str, track_id: TrackId = ONE) -> Track:
    return Track(track_id, None, kind, value, None, True, None, None, 0, "active", "")


@pytest.mark.parametrize(("kind", "value", "x_v2", "x_v1", "bluesky", "mastodon"), TABLE)
def test_each_kind_and_operator_on_each_network(
    kind: TrackKind,
    value: str,
    x_v2: ReachHow,
    x_v1: ReachHow,
    bluesky: ReachHow,
    mastodon: ReachHow,
) -> None:
    for name, wanted in zip(ORDER, (x_v2, x_v1, bluesky, mastodon), strict=True):
        known = reached(name, (kind, value))
        [found] = known.of_track(row(kind, value), NOW)
        assert (name, found.how, found.since) == (name, wanted, NOW)
        if wanted == "cannot":
            why = known.plans[name].refused[ONE]
            assert found.sentence == f"Cannot be collected here. {why}"
        else:
            assert found.sentence.startswith(NETWORKS[name].delivers[wanted])
            note = known.plans[name].caveats.get(ONE, "")
            assert found.sentence.endswith(note)
            assert found.replays == (name == "bluesky" and not note)


def test_the_sentences_of_the_networks() -> None:
    expected: dict[NetworkName, str] = {
        "bluesky": "Every public post.",
        "x_v2": "Sent to X as a rule.",
        "mastodon": "Public posts that this server knows; replies to others never arrive.",
    }
    for name, sentence in expected.items():
        [found] = reached(name, ("keyword", "snow")).of_track(row("keyword", "snow"), NOW)
        assert found.sentence == sentence


def test_accounts_alone_are_pushed_to_bluesky_until_another_track_needs_all_posts() -> None:
    planner = NETWORKS["bluesky"].planner(Settings())
    planner.follow(ONE, parse("query", f"from:{DID}"))
    assert planner.plan().how == {ONE: "pushed"}
    planner.news()
    planner.follow(TrackId(2), parse("query", f"from:{DID} lang:en"))
    assert planner.plan().how == {ONE: "pushed", 2: "both"}
    planner.follow(TrackId(3), parse("keyword", "snow"))
    assert planner.plan().how == {ONE: "decided", 2: "decided", 3: "decided"}
    assert planner.news() == {1, 2, 3}


def test_a_handle_of_bluesky_is_followed_once_its_account_is_known() -> None:
    tracked = parse("user", "@ana.bsky.social")
    [alternative] = tracked.alternatives
    assert isinstance(alternative.node, User)
    node = msgspec.structs.replace(alternative.node, found=DID)
    found = Query("user", (msgspec.structs.replace(alternative, node=node),))
    planner = NETWORKS["bluesky"].planner(Settings())
    planner.follow(ONE, tracked)
    assert (planner.plan().how, [*planner.plan().refused]) == ({}, [ONE])
    planner.drop(ONE)
    planner.follow(ONE, found)
    assert planner.plan().how == {ONE: "pushed"}


def test_rules_that_are_shared_are_decided_here_and_are_not_once_there_is_room() -> None:
    settings = msgspec.convert({"x_v2": {"max_rules": 2, "max_rule_length": 60}}, Settings)
    planner = NETWORKS["x_v2"].planner(settings)
    for number, word in enumerate(("snow", "ice"), 1):
        planner.follow(TrackId(number), parse("keyword", word))
    assert planner.plan().how == {1: "pushed", 2: "pushed"}
    planner.news()
    for number, word in enumerate(("rain", "hail", "fog", "sleet"), 3):
        planner.follow(TrackId(number), parse("keyword", word))
    how = planner.plan().how
    assert planner.news() >= {1, 2, 3, 4, 5, 6}
    assert list(how.values()).count("both") >= 4
    for number in (3, 4, 5, 6):
        planner.drop(TrackId(number))
    assert planner.plan().how == {1: "pushed", 2: "pushed"}
    assert planner.news() >= {number for number, each in how.items() if each == "both"}


def test_what_one_server_reports_is_said_of_it() -> None:
    only = "Only #flood: this server has switched its public feed off."
    track = row("keyword", "#flood, storm")
    known = reached("mastodon", ("keyword", track.value), reach={ONE: only}, refused={ONE: only})
    [found] = known.of_track(track, NOW)
    assert (found.how, found.sentence) == ("both", only)
    off = "This server has switched its public feed off."
    [found] = reached("mastodon", ("keyword", "storm"), refused={ONE: off}).of_track(track, NOW)
    assert (found.how, found.sentence) == ("cannot", f"Cannot be collected here. {off}")


def test_a_track_that_is_not_asked_for_or_not_active_has_no_reach() -> None:
    known = reached("bluesky", ("keyword", "snow"))
    assert known.of_track(row("keyword", "ice", TrackId(2)), NOW) == ()
    other = msgspec.structs.replace(row("keyword", "snow"), networks=["x_v2"])
    assert known.of_track(other, NOW) == ()


def test_since_stays_while_a_source_delivers_in_whatever_way() -> None:
    track = row("keyword", "snow")
    first = reached("bluesky", ("keyword", "snow")).of_track(track, NOW)
    track = msgspec.structs.replace(track, reach=first)
    later = NOW + timedelta(hours=1)
    assert reached("bluesky", ("keyword", "snow")).of_track(track, later) == first
    known = reached("bluesky", ("query", f"from:{DID}"))
    [found] = known.of_track(track, later)
    assert (found.how, found.since) == ("pushed", NOW)
    known = reached("bluesky", ("keyword", "snow"), refused={ONE: "It is closed."})
    [found] = known.of_track(track, later)
    assert (found.how, found.since) == ("cannot", later)


def test_no_row_grows_beyond_its_bound() -> None:
    known = reached("bluesky", ("keyword", "snow"), reach={ONE: "x" * 10_000})
    many = [(SourceId(n), f"s{n}", "bluesky") for n in range(1, 4000)]
    known = msgspec.structs.replace(known, sources=many)
    found = known.of_track(row("keyword", "snow"), NOW)
    assert len(found) == 100
    assert max(len(each.sentence) for each in found) <= 500


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "Every public post. Complete since 21 Nov 14:02 UTC."),
        ({"replays": False}, "Every public post. No gaps since 21 Nov 14:02 UTC."),
        (
            {"seconds_missing": 90, "seconds_refilled": 7200},
            "Every public post. Complete since 21 Nov 14:02 UTC. Missing: 1 minute 30 seconds."
            " Refilled: 2 hours.",
        ),
        (
            {"complete_since": None, "seconds_missing": 5},
            "Every public post. It does not deliver at the moment. Missing: 5 seconds.",
        ),
        ({"how": "cannot", "sentence": "Cannot be collected here. So."},
         "Cannot be collected here. So."),
        ({"complete_since": NOW.replace(year=2025)},
         "Every public post. Complete since 21 Nov 2025 14:02 UTC."),
    ],
)  # fmt: skip
def test_the_sentence_says_since_when_and_what_is_missing(
    change: dict[str, object], sentence: str
) -> None:
    reach = TrackReach(
        ONE, MAIN, "main", "bluesky", "decided", "Every public post.", True, NOW, NOW, 0, 0
    )
    assert reach_sentence(msgspec.structs.replace(reach, **change), now=NOW) == sentence


def test_the_sentence_has_the_time_of_the_zone() -> None:
    reach = TrackReach(ONE, MAIN, "main", "bluesky", "decided", "All.", True, NOW, NOW, 0, 0)
    assert reach_sentence(reach, ZoneInfo("Asia/Tokyo"), NOW) == "All. Complete since 21 Nov 23:02."
