"""The engine with a clock in the hand: opened once, told once, closed once."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alert.catalogue import RULES
from monitor.alert.condition import Condition, Severity
from monitor.alert.engine import Alert, Engine, Judgement, Notice

DAY = 86_400.0
RULE = "database_away"  # gone after a minute
GONE = RULES[RULE].gone
OURS = "ours"


def condition(
    rule: str = RULE,
    subject: str = "",
    *,
    severity: Severity = "warning",
    hold: float = 0.0,
    since: float | None = None,
) -> Condition:
    return Condition(rule, subject, severity, "Something is.", "Do it.", 1.0, hold, since)


class Hand:
    """An engine, a clock that stands until it is moved, and what was told."""

    def __init__(self, host: str = "web1") -> None:
        self.engine = Engine(host, DAY)
        self.now = 1_000_000.0
        self.judgement: Judgement = "ours"
        self.mutes: set[str] = set()
        self.told: list[str] = []
        self.reachable = True

    def judge(self, rule: str, subject: str) -> Judgement:
        return self.judgement

    def muted(self, rule: str, subject: str) -> bool:
        return rule in self.mutes

    def due(self) -> list[Notice]:
        return self.engine.due(self.now, self.muted)

    def tell(self) -> None:
        """As the teller does."""
        notices = self.due()
        if self.reachable:
            self.engine.delivered(notices, self.now)
            self.told += [notice.news for notice in notices]
        else:
            self.engine.missed(notices)
        for alert in self.engine.unsaved():
            alert.saved = alert.changed
        self.engine.settled(self.now, self.muted)

    def pass_(self, seconds: float, *conditions: Condition) -> None:
        """Time passes with these conditions, looked at every ten seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 10, end)
            self.engine.step(self.now, conditions, self.judge)
            self.tell()


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_an_alert_is_told_when_it_opens_and_when_it_closes_and_not_between(hand: Hand) -> None:
    hand.pass_(3600, condition())
    assert hand.told == ["opened"]
    hand.pass_(3600)
    assert hand.told == ["opened", "closed"]
    assert (hand.engine.open, hand.engine.closed) == ({}, [])


def test_a_condition_must_hold_for_its_time(hand: Hand) -> None:
    hand.pass_(290, condition(hold=300))
    hand.pass_(10)
    hand.pass_(290, condition(hold=300))
    assert hand.told == []
    hand.pass_(20, condition(hold=300))
    assert hand.told == ["opened"]


def test_a_condition_that_knows_since_when_counts_from_there(hand: Hand) -> None:
    hand.pass_(10, condition(hold=30, since=hand.now - 25))
    [alert] = hand.engine.open.values()
    assert alert.opened_at == 1_000_000.0 - 25


def test_a_condition_must_be_gone_for_a_while_and_its_length_ends_when_it_went(hand: Hand) -> None:
    hand.pass_(100, condition())
    ended = hand.now + 10
    hand.pass_(GONE)
    assert hand.told == ["opened"]
    hand.pass_(10, condition())
    hand.pass_(GONE)
    assert hand.told == ["opened"]  # it was back in time
    went = hand.now - GONE + 10
    hand.pass_(10)
    assert hand.told == ["opened", "closed"]
    assert went > ended
    hand.engine.settled(hand.now, hand.muted)


def test_what_comes_and_goes_must_be_gone_for_longer_each_time(hand: Hand) -> None:
    for _ in range(40):
        hand.pass_(100, condition())
        hand.pass_(GONE + 100)
    # Without that it would be 80 messages in four hours.
    assert len(hand.told) <= 6


def test_a_reminder_comes_once_a_day_unless_somebody_knows(hand: Hand) -> None:
    hand.pass_(DAY * 2.5, condition())
    assert hand.told == ["opened", "still", "still"]
    [alert] = hand.engine.open.values()
    alert.acknowledged_at = hand.now
    hand.pass_(DAY * 2, condition())
    hand.pass_(3600)
    assert hand.told == ["opened", "still", "still", "closed"]


def test_what_seems_to_be_over_is_not_told_again_while_that_is_not_sure(hand: Hand) -> None:
    hand.pass_(DAY - 20, condition())
    hand.pass_(GONE - 10)  # a day has passed since the message, but the condition has gone
    assert hand.told == ["opened"]
    hand.pass_(20, condition())  # and is back
    assert hand.told == ["opened", "still"]


def test_an_alert_that_gets_worse_is_told_again_and_one_that_gets_better_is_not(
    hand: Hand,
) -> None:
    hand.pass_(100, condition())
    hand.pass_(100, condition(severity="critical"))
    hand.pass_(100, condition(severity="notice"))
    hand.pass_(100, condition(severity="warning"))
    assert hand.told == ["opened", "worse"]


def test_a_mute_is_honoured_at_once_and_its_end_too(hand: Hand) -> None:
    hand.mutes.add(RULE)
    hand.pass_(DAY * 3, condition())
    assert hand.told == []
    hand.mutes.clear()
    hand.pass_(100, condition())
    assert hand.told == ["opened"]
    hand.mutes.add(RULE)
    hand.pass_(3600)
    assert (hand.told, hand.engine.closed) == (["opened"], [])


def test_what_opened_and_closed_while_nobody_could_be_told_is_one_message(hand: Hand) -> None:
    hand.reachable = False
    hand.pass_(100, condition())
    hand.pass_(3600)
    hand.reachable = True
    hand.pass_(100)
    assert hand.told == ["passed"]


def test_an_end_that_could_not_be_told_is_told_later(hand: Hand) -> None:
    hand.pass_(100, condition())
    hand.reachable = False
    hand.pass_(3600)
    hand.reachable = True
    hand.pass_(100)
    assert hand.told == ["opened", "closed"]


def test_a_mute_leaves_nothing_to_be_told_of_what_is_over(hand: Hand) -> None:
    hand.mutes.add(RULE)
    hand.pass_(100, condition())
    hand.pass_(3600)
    hand.mutes.clear()
    hand.pass_(100)
    assert hand.told == []


def test_messages_come_in_the_order_in_which_things_happened(hand: Hand) -> None:
    hand.reachable = False
    for subject in ("c", "a", "b"):
        conditions = [condition(subject=each) for each in "cab"[: "cab".index(subject) + 1]]
        hand.pass_(10, *conditions)
    assert [notice.alert.subject for notice in hand.due()] == ["c", "a", "b"]


def test_the_end_of_a_takeover_is_not_told(hand: Hand) -> None:
    hand.pass_(DAY * 3, condition("standby_took_over"))
    hand.pass_(3600)
    assert (hand.told, hand.engine.closed) == (["opened"], [])


def test_what_others_judge_is_left_to_them(hand: Hand) -> None:
    hand.pass_(100, condition("track_silent", "7"))
    hand.judgement = "others"
    hand.pass_(3600)
    assert (hand.told, hand.engine.open, hand.engine.closed) == (["opened"], {}, [])


def test_what_is_not_known_neither_opens_nor_closes(hand: Hand) -> None:
    hand.judgement = "unknown"
    hand.pass_(100, condition())
    assert hand.told == []
    hand.judgement = "ours"
    hand.pass_(100, condition())
    hand.judgement = "unknown"
    hand.pass_(3600)
    assert hand.told == ["opened"]


# -- restarts -------------------------------------------------------------------------------------


def row(**changed: object) -> Alert:
    fields: dict[str, object] = {
        "id": 5,
        "rule": RULE,
        "subject": "",
        "host": "web1",
        "severity": "warning",
        "text": "Something is.",
        "remedy": "Do it.",
        "opened_at": 999_000.0,
        "told_at": 999_010.0,
        "told": 1,
        "told_severity": "warning",
    }
    return Alert(**{**fields, **changed})  # type: ignore[arg-type]  # fields of a row


def merge(hand: Hand, rows: Iterable[Alert]) -> None:
    hand.engine.merge(rows, hand.judge)


def test_after_a_restart_an_open_alert_is_neither_opened_nor_told_again(hand: Hand) -> None:
    merge(hand, [row()])
    hand.pass_(3600, condition())
    assert hand.told == []
    hand.pass_(3600)
    assert hand.told == ["closed"]


def test_an_alert_that_was_found_anew_before_its_row_was_read_takes_the_row_over(
    hand: Hand,
) -> None:
    hand.engine.step(hand.now, [condition()], hand.judge)
    merge(hand, [row()])
    [alert] = hand.engine.open.values()
    assert (alert.id, alert.opened_at, alert.told) == (5, 999_000.0, 1)
    assert hand.due() == []


def test_an_end_that_was_not_told_before_the_restart_is_told_after_it(hand: Hand) -> None:
    merge(hand, [row(closed_at=999_500.0)])
    hand.pass_(10)
    assert hand.told == ["closed"]


def test_an_alert_that_somebody_closed_by_hand_is_forgotten(hand: Hand) -> None:
    merge(hand, [row()])
    merge(hand, [])
    assert hand.engine.open == {}


def test_an_alert_that_is_not_in_the_table_yet_stays(hand: Hand) -> None:
    hand.pass_(10, condition())
    merge(hand, [])
    assert len(hand.engine.open) == 1


def test_a_row_of_before_is_not_opened_again_when_we_know_that_it_is_over(hand: Hand) -> None:
    """Opened, written and closed, but the end is not written yet."""
    merge(hand, [row()])
    hand.reachable = False
    hand.pass_(3600)
    assert hand.engine.open == {}
    merge(hand, [row()])
    assert hand.engine.open == {}


def test_alerts_of_other_machines_and_of_rules_of_other_versions_are_left_alone(
    hand: Hand,
) -> None:
    merge(hand, [row(host="web2"), row(rule="rule_of_tomorrow"), row(rule="track_silent")])
    assert hand.engine.open == {}


# -- whatever comes -------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.booleans(),  # the condition is there
        st.floats(1, 4000),  # seconds
        st.sampled_from([True, True, True, False]),  # messages can be delivered
        st.sampled_from([False, False, False, True]),  # the daemon is restarted before
    ),
    max_size=80,
)


@given(steps)
def test_messages_always_alternate_between_opened_and_closed(
    course: list[tuple[bool, float, bool, bool]],
) -> None:
    """Never two messages without a change between them; what opened has closed or is open."""
    hand = Hand()
    table: dict[int, Alert] = {}
    for present, seconds, reachable, restart in course:
        if restart:
            hand = _restarted(hand, table)
        hand.now += seconds
        hand.reachable = reachable
        hand.engine.step(hand.now, [condition()] if present else [], hand.judge)
        hand.tell()
        for alert in (*hand.engine.open.values(), *hand.engine.closed):
            alert.id = alert.id or len(table) + 1
            table[alert.id] = alert
    news = [each for each in hand.told if each not in ("still", "passed")]
    assert all(each == "opened" for each in news[::2]), hand.told
    assert all(each == "closed" for each in news[1::2]), hand.told
    open_ = [each for each in table.values() if each.closed_at is None]
    assert len(open_) == len(hand.engine.open) <= 1
    untold = [each for each in hand.due() if each.news == "closed"]
    told_open = [each for each in open_ if each.told]
    assert news.count("opened") == news.count("closed") + len(told_open) + len(untold)


def _restarted(hand: Hand, table: dict[int, Alert]) -> Hand:
    """Another process with the same table."""
    after = Hand()
    after.told, after.now = hand.told, hand.now
    for alert in table.values():
        alert.gone_since = None
    untold = [each for each in table.values() if each.all_clear_at is None]
    merge(after, [each for each in untold if each.closed_at is None or each.told or each.missed])
    return after
