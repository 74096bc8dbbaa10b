"""Tracks → the rules of X's filtered stream (X v2 reference §3 and §4)."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_counts import calls_of
from stream.config import Settings, XV2Settings
from stream.errors import InvalidQuery
from stream.networks.base import RuleOwner
from stream.networks.planning import parts, size
from stream.networks.x_v2.plan import PREFIX, XV2Plan, XV2Planner
from stream.networks.x_v2.rule_compiler import Limits, values
from stream.query import And, InBox, InRadius, Not, Or, Term, TrackKind, parse
from stream.tweet import TrackId

LIMITS = Limits(1024, 64)


def follow(*tracks: tuple[TrackKind, str], **limits: int) -> XV2Plan:
    """A plan for these tracks, with ids from 1."""
    planner = XV2Planner(Settings(x_v2=msgspec.convert(limits, XV2Settings)))
    for number, track in enumerate(tracks, 1):
        planner.follow(TrackId(number), parse(*track))
    return planner.plan()


def rules(*tracks: tuple[TrackKind, str], **limits: int) -> list[str]:
    return [rule.value for rule in follow(*tracks, **limits).rules]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("keyword", "twitter api", ["api twitter"]),
        ("keyword", "snow day,blizzard", ["day snow", "blizzard"]),
        ("keyword", "#Snow", ["#snow"]),
        ("keyword", "@nasa", ["@nasa"]),
        ("keyword", "$TSLA", ["$tsla"]),
        ("keyword", "coca-cola", ['"coca-cola"']),
        ("keyword", "example.com", ['url:"example.com" OR "example.com"']),
        ("keyword", "touché", ["touché"]),
        ("keyword", "OR", ['"or"']),
        ("user", "@NASA", ["from:nasa OR to:nasa OR retweets_of:nasa"]),
        ("user", "11348282", ["from:11348282 OR to:11348282 OR retweets_of:11348282"]),
        ("query", "(cat OR dog) lang:en -is:retweet", ["(cat OR dog) lang:en -is:retweet"]),
        ("query", '"snow day" from:nasa', ['"snow day" from:nasa']),
        ("query", "cat -dog -@mouse", ["cat -@mouse -dog"]),
        ("query", "cat OR (dog lang:en)", ["cat", "dog lang:en"]),
        ("place", "oslo", ['place:"oslo"']),
        ("keyword", '"snow day"', ['"snow day"']),
        ("keyword", "#ラブ・ライブ", ["#ラブ・ライブ"]),
        ("keyword", "$BRK.B", ["$brk.b"]),
        ("keyword", "🇺🇸", ['"🇺🇸"']),
    ],
)
def test_the_rules_of_a_track(kind: TrackKind, value: str, wanted: list[str]) -> None:
    assert sorted(rules((kind, value))) == sorted(wanted)


@given(st.text(max_size=40), st.sampled_from(["keyword", "query", "user", "place"]))
def test_no_text_of_a_track_is_in_a_rule_without_quotes(text: str, kind: TrackKind) -> None:
    """Outside of quotes there are only words, our own operators, and brackets that match."""
    try:
        made = follow((kind, text))
    except InvalidQuery:
        return
    for rule in made.rules:
        assert len(rule.value) <= 1024
        assert rule.value.count('"') % 2 == 0
        bare = re.sub(r'"[^"]*"', "", rule.value)
        bare = re.sub(r"\b(bounding_box|point_radius):\[[-0-9. km]*\]", "", bare)
        assert bare.count("(") == bare.count(")")
        for word in bare.replace("(", " ").replace(")", " ").split():
            assert re.fullmatch(
                r"-?((from|to|retweets_of|url|place|place_country|lang|is|has|conversation_id):)?"
                r"[#@$]?[\w\u0300-\u036f\W]*",
                word,
            )
            assert not set(word) & set('"\\[]{}'), word


def test_equal_alternatives_of_different_tracks_share_a_rule() -> None:
    made = follow(("keyword", "snow,ice"), ("keyword", "ICE"))
    assert sorted(rule.value for rule in made.rules) == ["ice", "snow"]
    [ice] = [rule for rule in made.rules if rule.value == "ice"]
    assert made.rule_owners[ice.tag] == (RuleOwner(TrackId(1), "ice"), RuleOwner(TrackId(2), "ice"))
    assert made.asked == 2


def test_a_tag_depends_only_on_the_value_of_its_rule() -> None:
    [first] = follow(("keyword", "ice")).rules
    [_, second] = follow(("keyword", "snow"), ("keyword", "ice")).rules
    assert first.tag == second.tag
    assert re.fullmatch(PREFIX + "[0-9a-f]{16}", first.tag)


def test_a_plan_without_tracks_is_empty() -> None:
    assert follow().asked == 0


def test_a_term_of_a_script_without_spaces_is_quoted_and_has_a_caveat() -> None:
    made = follow(("keyword", "東京"))
    assert [rule.value for rule in made.rules] == ['"東京"']
    assert "scripts without spaces" in made.caveats[TrackId(1)]


def test_signs_that_x_ignores_have_a_caveat_and_its_match_does_not_count() -> None:
    made = follow(("keyword", "AT&T"), ("query", "-R&B soul"), ("keyword", "$100,snow"))
    assert [rule.value for rule in made.rules] == ['"at&t"', "soul", "snow"]
    assert {owner.term for owners in made.rule_owners.values() for owner in owners} == {"snow"}
    assert "X ignores signs" in made.caveats[TrackId(1)]
    assert "X ignores '$'" in made.caveats[TrackId(3)]
    assert "X ignores '$'" in follow(("keyword", "$100")).refused[TrackId(1)]


# -- places ---------------------------------------------------------------------------------------


def boxes(made: XV2Plan) -> list[tuple[float, ...]]:
    text = " ".join(rule.value for rule in made.rules)
    found = re.findall(r"bounding_box:\[([^\]]*)\]", text)
    return [tuple(float(edge) for edge in box.split()) for box in found]


def test_a_wide_box_is_split_into_parts_under_25_miles_without_a_gap() -> None:
    assert len(boxes(follow(("place", "-73.6,40.5,-73.5,40.6")))) == 1
    found = boxes(follow(("place", "-74,40,-73,41")))
    assert len(found) == 9
    for west, south, east, north in found:
        assert max(size((west, south, east, north))) < 40.2
    for longitude in (-74.0, -73.66667, -73.5, -73.0):
        for latitude in (40.0, 40.33333, 40.5, 41.0):
            assert any(
                west <= longitude <= east and south <= latitude <= north
                for west, south, east, north in found
            )


def test_boxes_are_narrower_in_degrees_near_the_equator_than_near_the_pole() -> None:
    equator, north = parts((0, 0, 1, 0.1), 40, 100), parts((0, 70, 1, 70.1), 40, 100)
    assert equator is not None
    assert north is not None
    assert (len(equator), len(north)) == (3, 1)


def test_an_area_that_takes_too_many_boxes_is_refused_with_its_size() -> None:
    made = follow(("place", "-74,40,-60,50"), ("keyword", "snow"))
    assert "km" in made.refused[TrackId(1)]
    assert "25 miles" in made.refused[TrackId(1)]
    assert [rule.value for rule in made.rules] == ["snow"]


def test_many_boxes_take_several_rules_that_all_belong_to_the_track() -> None:
    made = follow(("place", "-74,40,-72,42"))
    assert len(made.rules) > 1
    assert all(len(rule.value) <= 1024 for rule in made.rules)
    assert {owners[0].track_id for owners in made.rule_owners.values()} == {1}
    assert len(made.rule_owners) == len(made.rules)


def test_an_area_across_the_date_line_becomes_boxes_on_both_sides() -> None:
    found = boxes(follow(("place", "179.8,-17,-179.9,-16.9")))
    assert found == [(179.8, -17.0, 180.0, -16.9), (-180.0, -17.0, -179.9, -16.9)]
    for place, part in (
        ("180,-17,-179.9,-16.9", (-180.0, -17.0, -179.9, -16.9)),
        ("179.9,-17,-180,-16.9", (179.9, -17.0, 180.0, -16.9)),
    ):
        assert boxes(follow(("place", place))) == [part]  # X refuses a box without a width
    circle = values(InRadius((179.9, 0), 60), LIMITS)
    edges = re.findall(r"bounding_box:\[(\S+) \S+ (\S+) ", " ".join(circle.texts))
    assert {float(west) > 0 for west, _ in edges} == {True, False}
    assert all(float(west) < float(east) for west, east in edges)


def test_words_near_a_split_box_are_in_every_one_of_its_rules() -> None:
    node = And((Term("snow"), InBox((-74, 40, -72, 42))))
    found = values(node, LIMITS)
    assert len(found.texts) > 1
    assert all(text.startswith("snow (") and text.endswith(")") for text in found.texts)


def test_a_wide_circle_becomes_boxes_that_are_not_exact() -> None:
    assert values(InRadius((10, 50), 30), LIMITS).exact
    assert values(InRadius((10, 50), 30), LIMITS).texts == (
        "point_radius:[10.00000 50.00000 30.000km]",
    )
    wide = values(InRadius((10, 50), 60), LIMITS)
    assert not wide.exact
    assert all("bounding_box" in text for text in wide.texts)


# -- what X cannot do -----------------------------------------------------------------------------


def test_what_x_cannot_negate_is_left_out_and_the_rule_is_not_exact() -> None:
    node = And((Term("cat"), Not(And((Term("dog"), Term("mouse"))))))
    found = values(node, LIMITS)
    assert found.texts == ("cat",)
    assert not found.exact


def test_a_rule_that_is_too_long_is_split_at_its_or_or_refused() -> None:
    words = tuple(Term(f"word{n:04d}") for n in range(200))
    found = values(Or(words), LIMITS)
    assert all(len(text) <= 1024 for text in found.texts)
    assert sorted(w for text in found.texts for w in text.split(" OR ")) == sorted(
        word.text for word in words
    )
    made = follow(("query", " ".join(f"word{n:04d}" for n in range(200))))
    assert "1,024" in made.refused[TrackId(1)]


def test_a_handle_of_another_network_is_refused_or_left_out() -> None:
    refused = follow(("user", "name.bsky.social")).refused
    assert "name.bsky.social" in refused[TrackId(1)]
    made = follow(("user", "@nasa,name.bsky.social"))
    assert made.refused == {}
    assert "Tracked only partly" in made.caveats[TrackId(1)]


# -- slots ----------------------------------------------------------------------------------------


def test_more_terms_than_rules_are_packed_each_into_one_rule() -> None:
    made = follow(*(("keyword", f"term{n}") for n in range(500)), max_rules=50)
    assert len(made.rules) <= 50
    assert all(len(rule.value) <= 1024 for rule in made.rules)
    terms = [part for rule in made.rules for part in rule.parts]
    assert sorted(terms) == sorted(f"term{n}" for n in range(500))
    assert made.rule_owners == {}
    assert made.refused == {}


def test_one_more_track_changes_few_packed_rules() -> None:
    tracks: list[tuple[TrackKind, str]] = [("keyword", f"term{n}") for n in range(2000)]
    before = follow(*tracks, max_rules=100)
    after = follow(*tracks, ("keyword", "another"), max_rules=100)
    changed = {rule.value for rule in before.rules} ^ {rule.value for rule in after.rules}
    assert 1 <= len(changed) <= 3


def test_when_even_packing_does_not_help_the_youngest_tracks_are_refused() -> None:
    made = follow(*(("keyword", f"{'x' * 50}{n:03d}") for n in range(100)), max_rules=3)
    assert len(made.rules) <= 3
    served = 100 - len(made.refused)
    assert served > 20
    assert sorted(made.refused) == list(range(served + 1, 101))
    assert "All 3 rules" in made.refused[TrackId(100)]


def test_ten_thousand_tracks_are_planned_with_work_in_proportion() -> None:
    def follow_keywords(number: int) -> None:
        made = follow(*(("keyword", f"term{n}") for n in range(number)))
        assert len(made.rules) <= 1000

    assert calls_of(lambda: follow_keywords(10_000)) < 20 * calls_of(lambda: follow_keywords(1000))
