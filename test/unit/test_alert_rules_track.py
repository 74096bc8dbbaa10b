"""Alert rules about tracks: silent or runaway, each against its own history."""

from typing import Any

import pytest

from alert_rules import FACTS, NOON, condition, conditions, context, replace
from monitor.alert.condition import Facts
from stream.store.alert_facts import TrackFact

HOUR = 3600.0
EVEN = (40.0,) * 24
DAYTIME = tuple(80.0 if 8 <= hour < 20 else 0.0 for hour in range(24))


def track(**changed: Any) -> TrackFact:
    fact = TrackFact(
        id=7,
        value="snow day",
        networks=None,
        since=NOON - 86_400 * 30,
        days=7.0,
        profile=EVEN,
        last_at=NOON - 60,
        last_hour=40,
    )
    return replace(fact, **changed)


def found(facts: Facts) -> list[str]:
    return [each.rule for each in conditions(context(facts=facts))]


def quiet(seconds: float, **changed: Any) -> Facts:
    """The track has had no tweet for so long."""
    return replace(FACTS, tracks=(track(last_at=NOON - seconds, **changed),))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (quiet(HOUR - 1), False),  # at least an hour
        (quiet(HOUR), True),
        (quiet(10 * HOUR - 60, profile=(2.0,) * 24), False),  # 20 tweets are usual in 10 hours
        (quiet(10 * HOUR, profile=(2.0,) * 24), True),
        # Too little history or delivery to say.
        (quiet(10 * HOUR, days=0.9), False),
        (quiet(10 * HOUR, profile=(0.01,) * 24), False),
        (quiet(10 * HOUR, since=NOON - 600), False),  # edited or resumed
        (quiet(10 * HOUR, networks=("x_v1",)), False),  # that one does not deliver
        (replace(quiet(10 * HOUR), delivering={}), False),
        (replace(quiet(10 * HOUR), delivering={"x_v2": NOON - 600}), False),  # after a gap
    ],
)
def test_a_track_is_silent_when_many_tweets_would_be_usual(facts: Facts, expected: bool) -> None:
    assert found(facts) == ["track_silent"] * expected


def test_the_text_about_a_silent_track() -> None:
    silent = condition(context(facts=quiet(2 * HOUR + 48 * 60)), "track_silent")
    assert silent.subject == "7"
    assert silent.text == (
        "Track 7 (snow day) is silent: nothing since 09:12 UTC, usually 40 an hour."
    )


def test_a_track_is_not_silent_in_hours_that_usually_have_no_tweets() -> None:
    """At 06:00, ten hours after its last tweet of the evening, none was to be expected."""
    six, eight = NOON - 6 * HOUR, NOON - 4 * HOUR
    night = replace(FACTS, at=six, tracks=(track(profile=DAYTIME, last_at=six - 10 * HOUR),))
    assert found(night) == []
    assert found(replace(night, at=eight + HOUR)) == ["track_silent"]


def runaway(last_hour: int, total: int, history_days: float = 7.0, **changed: Any) -> Facts:
    return replace(
        FACTS,
        outcomes={1: {"stored": total}},
        tracks=(track(last_hour=last_hour, **changed),),
        history_days=history_days,
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (runaway(400, 800), True),
        (runaway(399, 700), False),  # not ten times its average
        (runaway(400, 801), False),  # not half of all
        (runaway(190, 199), False),  # too few to say
        (runaway(4000, 5000, history_days=0.9, profile=(0.0,) * 24), False),
    ],
)
def test_a_track_runs_away_by_share_and_by_factor(facts: Facts, expected: bool) -> None:
    assert ("track_runaway" in found(facts)) is expected


@pytest.mark.parametrize(
    ("facts", "usual"),
    [
        (runaway(4000, 5000), "40 an hour"),
        (runaway(4000, 5000, history_days=1.0, profile=(0.0,) * 24), "none"),
    ],
)
def test_the_text_about_a_runaway_track(facts: Facts, usual: str) -> None:
    seen = condition(context(facts=facts), "track_runaway")
    assert seen.text == (
        f"Track 7 (snow day) got 4,000 tweets in the last hour, 80 % of all; usually {usual}."
    )
    assert "track pause 7" in seen.remedy
