"""A plan that tracks were added to and dropped from is the plan that a new planner makes."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from call_counts import calls_of
from stream.config import Settings, XV1Settings, XV2Settings
from stream.networks.base import Planner
from stream.networks.x_v1.plan import XV1Planner
from stream.networks.x_v2.plan import XV2Planner
from stream.query import Query, TrackKind, parse
from stream.tweet import TrackId

TIGHT = Settings(
    x_v2=XV2Settings(max_rules=6, max_rule_length=60),
    x_v1=XV1Settings(max_phrases=20, max_follow=3, max_boxes=2),
)


BOTH = pytest.mark.parametrize("planner", [XV2Planner, XV1Planner])


def query(rng: random.Random, number: int) -> Query:
    written: list[tuple[TrackKind, str]] = [
        ("keyword", f"word{number}"),
        ("keyword", f"same{number % 7}"),
        ("user", f"{100 + number}"),
        ("place", f"{number % 90},10,{number % 90 + 0.2:.1f},10.2"),
        ("query", f"(snow{number} OR ice{number}) lang:en"),
        ("keyword", "東京"),
        ("query", "place_country:NO -is:retweet"),
        ("keyword", f"{'x' * 70}{number}"),
    ]
    return parse(*rng.choice(written))


def made(planner: Planner) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.structs.asdict(planner.plan())
    if "rules" in found:  # their order may differ
        found["rules"] = sorted(map(str, found["rules"]))
    return found


@BOTH
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_changed_plan_equals_a_new_one(planner: Callable[[Settings], Planner], seed: int) -> None:
    rng = random.Random(seed)
    there: dict[TrackId, Query] = {}
    changing = planner(TIGHT)
    told: dict[TrackId, tuple[str | None, str | None]] = {}
    for step in range(60):
        for _ in range(rng.randint(1, 6)):
            number = TrackId(rng.randrange(80 if step < 40 else 12))
            if number in there:
                changing.drop(number)
                del there[number]
            else:
                there[number] = query(rng, number)
                changing.follow(number, there[number])
        fresh = planner(TIGHT)
        for track in sorted(there):
            fresh.follow(track, there[track])
        found = made(changing)
        assert found == made(fresh), step
        # News of a track are reported.
        for track in changing.news():
            told[track] = found["refused"].get(track), found["caveats"].get(track)
        for track in there:
            said = found["refused"].get(track), found["caveats"].get(track)
            assert told[track] == said


@BOTH
def test_an_unknown_track_can_be_dropped(
    planner: Callable[[Settings], Planner],
) -> None:
    changing = planner(Settings())
    changing.follow(TrackId(1), parse("keyword", "snow"))
    changing.drop(TrackId(2))
    assert changing.plan().asked == 1


@BOTH
def test_one_more_track_is_planned_much_faster_than_all(
    planner: Callable[[Settings], Planner],
) -> None:
    changing = planner(Settings())

    def plan_all() -> None:
        for number in range(3000):
            changing.follow(TrackId(number), parse("keyword", f"word{number} and more"))
        changing.plan()

    def plan_two_changes() -> None:
        changing.follow(TrackId(3000), parse("keyword", "word3000"))
        changing.plan()
        changing.drop(TrackId(1000))
        changing.plan()

    whole = calls_of(plan_all)
    assert calls_of(plan_two_changes) / 2 < whole / 5
